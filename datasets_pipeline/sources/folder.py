"""A folder of files of any media type: local, or any fsspec URL (s3://, gs://, sftp://, ...).

- name: wiki
  source: folder
  uri: /data/handbook
  include: ["**/*.md", "**/*.html"]
  path_pattern: "^(?P<language>[a-z]{2})/(?P<version>v[0-9.]+)/(?P<family>.+)$"
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from pydantic import Field

from datasets_pipeline import extract
from datasets_pipeline.sources import files
from datasets_pipeline.sources.base import (
    MEBIBYTE,
    ExtractionResult,
    FileContent,
    FileEntry,
    SourceConfig,
    with_stated_attributes,
)
from datasets_pipeline.sources.globs import is_included
from datasets_pipeline.sources.paths import PathStatements, stated_by_path
from datasets_pipeline.sources.sidecars import SidecarOptions, refuse_bad_sidecar, with_sidecars

VERSION = "1"


class Config(SourceConfig, PathStatements, SidecarOptions, extract.ExtractOptions):
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


def list_files(config: Config, skipped: Counter[str] | None = None) -> Iterator[FileEntry]:
    """The files the globs select, sorted; `skipped` counts what is not a readable file, by reason."""
    entries = _with_sidecars(config, skipped) if config.sidecar else _listed(config, skipped)
    for entry in entries:
        # What a sidecar states is about this very file, so it says more than the path.
        yield replace(entry, attributes=stated_by_path(config.path_pattern, entry.uri) | entry.attributes)


def read_file(config: Config, entry: FileEntry) -> FileContent:
    """The bytes of one file, at most config.max_file_bytes."""
    refuse_bad_sidecar(entry)
    return files.read_file(config.uri, entry, config.max_file_bytes)


def extract_file(config: Config, entry: FileEntry, data: bytes) -> ExtractionResult:
    """The documents of one file, with what its path states. Raises ExtractionError."""
    return with_stated_attributes(extract.extract(data, entry.uri, None, config), entry.attributes)


def extraction_version(config: Config) -> dict[str, str]:
    """What besides the bytes and the attributes shapes the extracted documents."""
    return {"source.folder": VERSION, "option.max_file_bytes": str(config.max_file_bytes)} | extract.extraction_version(
        config
    )


def _listed(config: Config, skipped: Counter[str] | None) -> Iterator[FileEntry]:
    return files.list_tree(config.uri, config.include, config.exclude, skipped)


def _with_sidecars(config: Config, skipped: Counter[str] | None) -> Iterator[FileEntry]:
    """The files with what their sidecars state; a glob that leaves out sidecars does not silence them."""
    everything = list(files.list_tree(config.uri, ("**",), (), skipped))
    chosen = [entry for entry in everything if is_included(entry.uri, config.include, config.exclude)]
    return with_sidecars(chosen, everything, config)
