"""A git repository at a commit: a working tree or a bare clone on this machine, read from its objects.

- name: handbook
  source: git
  uri: /srv/git/handbook.git
  revision: main
  include: ["docs/**/*.md"]

What is committed counts, not what lies in the working tree (for that, read it as a `folder`). The commit is
not part of any document: two commits with the same files give the same bytes. A file states its licence by an
SPDX header, by a REUSE sidecar `<file>.license`, or by the licence file of the nearest folder above it, in this
order; its date is that of the last commit that touched it. A file whose blob is the same is not opened again.
Links and submodules are passed over and counted.
"""

import atexit
import logging
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping

from pydantic import Field

from datasets_pipeline import extract
from datasets_pipeline.sources.base import (
    MEBIBYTE,
    ExtractionError,
    ExtractionResult,
    FileContent,
    FileEntry,
    SourceConfig,
    with_stated_attributes,
)
from datasets_pipeline.sources.files import uri_of
from datasets_pipeline.sources.git_licences import is_sidecar, licences_by_folder, stated_licence
from datasets_pipeline.sources.git_objects import Repository, TreeFile
from datasets_pipeline.sources.globs import is_included
from datasets_pipeline.sources.paths import PathStatements, stated_by_path

logger = logging.getLogger(__name__)

VERSION = "1"

_LINK, _SUBMODULE = "120000", "commit"
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_MAX_LFS_POINTER_BYTES = 1024  # the specification's bound


class Config(SourceConfig, PathStatements, extract.ExtractOptions):
    """The files of one commit of a git repository."""

    revision: str = Field(
        default="HEAD",
        pattern=r"^[^-\s~^:?*\[\\{}\x00][^\s~^:?*\[\\{}\x00]*$",
        description="Branch, tag or commit; a branch is looked up in every run.",
    )
    commit_dates: bool = Field(
        default=True,
        description="State each file's date by the last commit that touched it; false saves a walk over the history, "
        "about a minute for a million commits.",
    )
    max_file_bytes: int = Field(
        default=64 * MEBIBYTE,
        ge=1,
        description="Bytes from which a file is quarantined as too_large; a document of 64 MiB is a dump.",
    )


def list_files(config: Config, skipped: Counter[str] | None = None) -> Iterator[FileEntry]:
    """The files of the commit that the globs select, sorted; `skipped` counts links, submodules and odd names."""
    skipped = skipped if skipped is not None else Counter()
    with Repository(config.uri) as repository:
        commit = repository.resolve(config.revision)
        tree = _regular_files(repository.files(commit), skipped)
        chosen = {
            uri: file
            for uri, file in tree.items()
            if is_included(uri, config.include, config.exclude) and not is_sidecar(uri, tree)
        }
        dates = repository.commit_dates(commit, {f.path for f in chosen.values()}) if config.commit_dates else {}
        by_folder = licences_by_folder(repository, tree)
        entries = []
        for uri in sorted(chosen):
            file = chosen[uri]
            attributes = stated_by_path(config.path_pattern, uri) | stated_licence(repository, tree, by_folder, uri)
            attributes |= {"stated_date": dates[file.path]} if file.path in dates else {}
            # mtime_ns 0: nothing but the blob's id and what is stated tells that a file changed.
            entries.append(FileEntry(uri, file.size, 0, attributes, etag=file.oid))
    logger.info("source %s: commit %s of %s, %s files", config.name, commit, config.revision, f"{len(entries):,}")
    yield from entries


def read_file(config: Config, entry: FileEntry) -> FileContent:
    """The bytes of one blob, at most config.max_file_bytes. Raises ExtractionError."""
    if entry.size > config.max_file_bytes:
        raise ExtractionError(
            "too_large",
            f"{entry.uri}: larger than max_file_bytes ({config.max_file_bytes:,} bytes); raise the limit or exclude it",
        )
    try:
        return FileContent(_readers.blob(config.uri, entry.etag or "", config.max_file_bytes))
    except ExtractionError as error:
        raise ExtractionError(error.reason, f"{entry.uri}: {error.message}") from error


def extract_file(config: Config, entry: FileEntry, data: bytes) -> ExtractionResult:
    """The documents of one file, with what its repository states. Raises ExtractionError."""
    if len(data) <= _MAX_LFS_POINTER_BYTES and data.startswith(_LFS_POINTER):
        raise ExtractionError(
            "content_elsewhere",
            f"{entry.uri}: a git LFS pointer, its content is in no object of the repository; check it out with "
            "git lfs and read the working tree as a `folder`, or exclude it",
        )
    return with_stated_attributes(extract.extract(data, entry.uri, None, config), entry.attributes)


def extraction_version(config: Config) -> dict[str, str]:
    """What besides the bytes and the attributes shapes the extracted documents."""
    return {"source.git": VERSION, "option.max_file_bytes": str(config.max_file_bytes)} | extract.extraction_version(
        config
    )


def _regular_files(tree: Iterator[TreeFile], skipped: Counter[str]) -> Mapping[str, TreeFile]:
    """The regular files of a tree by uri."""
    found: dict[str, TreeFile] = {}
    for file in tree:
        uri = uri_of(os.fsdecode(file.path))
        if file.kind == _SUBMODULE:
            skipped["submodule"] += 1
        elif file.mode == _LINK:
            skipped["link"] += 1
        elif uri in found or any(part in ("", ".", "..") for part in uri.split("/")):
            skipped["invalid_name"] += 1  # git does not write such names, but whoever writes objects can
        else:
            found[uri] = file
    return found


class _Readers:
    """The repository that this process read last, kept open: a unit's files are mostly of one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: tuple[int, str, Repository] | None = None

    def blob(self, place: str, oid: str, max_bytes: int) -> bytes:
        with self._lock:
            if self._open is None or self._open[:2] != (os.getpid(), place):
                self._close()
                self._open = (os.getpid(), place, Repository(place))
            return self._open[2].blob(oid, max_bytes)

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._open is not None:
            self._open[2].close()
        self._open = None


_readers = _Readers()
atexit.register(_readers.close)
