"""A folder of files of any media type: local, or any fsspec URL (s3://, gs://, sftp://, ...).

- name: wiki
  source: folder
  uri: /data/handbook
  include: ["**/*.md", "**/*.html"]
  path_pattern: "^(?P<language>[a-z]{2})/(?P<version>v[0-9.]+)/(?P<family>.+)$"
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from pydantic import Field, field_validator

from datasets_pipeline import extract
from datasets_pipeline.extract.stated import iso_language
from datasets_pipeline.sources import files
from datasets_pipeline.sources.base import (
    MEBIBYTE,
    ExtractionResult,
    FileContent,
    FileEntry,
    SourceConfig,
    with_stated_attributes,
)
from ingot.errors import RecipeError

VERSION = "1"

_PATTERN_GROUPS = frozenset({"family", "version", "language"})


class Config(SourceConfig, extract.ExtractOptions):
    """A folder of documents."""

    exclude: tuple[str, ...] = Field(
        default=("**/.git/**", "**/.hg/**", "**/.svn/**"),
        description="Globs of files that are left out although they are included; the insides of version "
        "control are not documents.",
    )
    max_file_bytes: int = Field(
        default=64 * MEBIBYTE,
        ge=1,
        description="Bytes from which a file is quarantined as too_large; a document of 64 MiB is a dump.",
    )
    path_pattern: str | None = Field(
        default=None,
        description="Regular expression searched in the relative path; its named groups family, version and "
        "language are what the path states about a page. Null: the path states nothing.",
    )

    @field_validator("path_pattern")
    @classmethod
    def _pattern_has_known_groups(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        try:
            groups = set(re.compile(pattern).groupindex)
        except re.error as error:
            raise RecipeError(f"path_pattern is not a regular expression ({error}); mend it or leave it out") from error
        if not groups or groups - _PATTERN_GROUPS:
            raise RecipeError(
                f"path_pattern has the named groups {sorted(groups)}; use one or more of {sorted(_PATTERN_GROUPS)}, "
                "e.g. '^(?P<version>[^/]+)/(?P<family>.+)$'"
            )
        return pattern


def list_files(config: Config, skipped: Counter[str] | None = None) -> Iterator[FileEntry]:
    """The files the globs select, sorted; `skipped` counts what is not a readable file, by reason."""
    pattern = re.compile(config.path_pattern) if config.path_pattern else None
    for entry in files.list_tree(config.uri, config.include, config.exclude, skipped):
        yield replace(entry, attributes=_stated_by_path(pattern, entry.uri)) if pattern else entry


def read_file(config: Config, entry: FileEntry) -> FileContent:
    """The bytes of one file, at most config.max_file_bytes."""
    return files.read_file(config.uri, entry, config.max_file_bytes)


def extract_file(config: Config, entry: FileEntry, data: bytes) -> ExtractionResult:
    """The documents of one file, with what its path states. Raises ExtractionError."""
    return with_stated_attributes(extract.extract(data, entry.uri, None, config), entry.attributes)


def extraction_version(config: Config) -> dict[str, str]:
    """What besides the bytes and the attributes shapes the extracted documents."""
    return {"source.folder": VERSION, "option.max_file_bytes": str(config.max_file_bytes)} | extract.extraction_version(
        config
    )


def _stated_by_path(pattern: re.Pattern[str], uri: str) -> dict[str, str]:
    found = pattern.search(uri)
    stated = {name: value for name, value in found.groupdict().items() if value} if found else {}
    if "language" in stated:
        language = iso_language(stated.pop("language"))
        stated |= {"language": language} if language else {}
    return stated
