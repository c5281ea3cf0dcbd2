"""The documentation that came with the Python packages of an environment: text every machine has.

    - name: packages
      source: python_packages
      uri: ${SITE_PACKAGES}
      docstrings_of: [numpy, pandas]

For every `*.dist-info` of the folder: its METADATA (the project page), its licence files, the README and
other prose it installed, and for chosen packages the docstrings of its modules. Each file carries the
distribution's name as family, its version, and its licence with the header that states it. A package's
RECORD is believed only about names below the root, never about what they hold. Listing 200 packages
takes about a second; no file but METADATA and RECORD is opened for it.
"""

import csv
import os
import posixpath
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import Field

from datasets_pipeline import extract
from datasets_pipeline.extract import package_metadata
from datasets_pipeline.extract.licences import UNKNOWN, spdx_of_text
from datasets_pipeline.sources import files
from datasets_pipeline.sources.base import (
    MEBIBYTE,
    ExtractionError,
    ExtractionResult,
    FileContent,
    FileEntry,
    SourceConfig,
    with_stated_attributes,
)
from datasets_pipeline.sources.globs import is_included
from ingot.errors import DataError, NotFoundError, RecipeError

VERSION = "1"

_DOCSTRINGS = extract.ExtractOptions(python="docstrings")
_INFO = ".dist-info"
_PROSE = re.compile(r"(?:\.(?:md|rst|txt)|(?:^|/)README[^/]*)$", re.IGNORECASE)
_LICENCE_FILE = re.compile(r"(?:^|[/._-])(?:licen[cs]es?|copying|notice|authors)(?:[._-][^/]*)?$", re.IGNORECASE)
# Text by name, but lists for programs.
_NOT_PROSE = re.compile(
    r"(?:^|/)(?:top_level|entry_points|sources|requires|dependency_links|namespace_packages|not-zip-safe|vendor"
    r"|cmakelists|robots|[^/]*requirements[^/]*)(?:\.txt)?$",
    re.IGNORECASE,
)
_MAX_METADATA_BYTES = MEBIBYTE
_MAX_RECORD_BYTES = 64 * MEBIBYTE


class Config(SourceConfig):
    """The installed packages of one site-packages folder."""

    exclude: tuple[str, ...] = Field(
        default=("**/tests/**", "**/test/**", "**/testdata/**"),
        description="Globs of files that are left out although they are included; test data is not prose.",
    )
    packages: tuple[str, ...] | None = Field(
        default=None, description="Distributions to read, by name; null reads all that are installed."
    )
    docstrings_of: tuple[str, ...] = Field(
        default=(),
        description="Distributions whose docstrings are read too, one document a module; parsing takes about "
        "a second for 2 MB of source.",
    )
    max_file_bytes: int = Field(
        default=4 * MEBIBYTE,
        ge=1,
        description="Bytes from which a file is quarantined as too_large; larger texts in packages are data.",
    )


@dataclass(frozen=True)
class _Distribution:
    """One installed distribution and what it states about itself."""

    folder: str  # e.g. numpy-2.4.6.dist-info
    name: str
    attributes: dict[str, str]


def list_files(config: Config, skipped: Counter[str] | None = None) -> Iterator[FileEntry]:
    """The documentation of the chosen distributions, sorted by path.

    Raises NotFoundError for a folder or a named distribution that is not there.
    """
    skipped = skipped if skipped is not None else Counter()
    root = _root(config.uri)
    distributions = [_distribution(root, folder) for folder in _info_folders(root)]
    _refuse_unknown(config, [distribution.name for distribution in distributions])
    wanted = None if config.packages is None else {_plain(name) for name in config.packages}
    with_docstrings = {_plain(name) for name in config.docstrings_of}
    entries: dict[str, FileEntry] = {}
    for distribution in distributions:
        if wanted is not None and _plain(distribution.name) not in wanted:
            continue
        candidates = _candidates(root, distribution.folder, _plain(distribution.name) in with_docstrings)
        for relative in candidates:
            if relative in entries or not is_included(relative, config.include, config.exclude):
                continue
            status = _regular_file(root, relative)
            if status is None:
                skipped["not_regular"] += 1
                continue
            if status.st_size == 0 and relative.endswith(".py"):
                continue  # the usual __init__.py: nothing to quarantine
            entries[relative] = FileEntry(relative, status.st_size, status.st_mtime_ns, dict(distribution.attributes))
    yield from (entries[relative] for relative in sorted(entries))


def read_file(config: Config, entry: FileEntry) -> FileContent:
    """The bytes of one file, at most config.max_file_bytes."""
    return files.read_file(config.uri, entry, config.max_file_bytes)


def extract_file(config: Config, entry: FileEntry, data: bytes) -> ExtractionResult:
    """The documents of one file; a module without docstrings gives none and is no fault. Raises ExtractionError."""
    return with_stated_attributes(extract.extract(data, entry.uri, None, _DOCSTRINGS), entry.attributes)


def extraction_version(config: Config) -> dict[str, str]:
    """What besides the bytes and the attributes shapes the extracted documents."""
    return {
        "source.python_packages": VERSION,
        "option.max_file_bytes": str(config.max_file_bytes),
    } | extract.extraction_version(_DOCSTRINGS)


def _root(uri: str) -> Path:
    root = files.local_root(uri)
    if root is None:
        raise RecipeError(
            f"source python_packages reads a local folder, not {uri.partition('://')[0]}://; name a site-packages"
        )
    if not root.is_dir():
        raise NotFoundError(f"site-packages folder {root} does not exist; check `uri` (python -m site shows yours)")
    _is_plain_folder.cache_clear()
    return root


def _info_folders(root: Path) -> list[str]:
    with os.scandir(root) as found:
        folders = sorted(c.name for c in found if c.name.endswith(_INFO) and c.is_dir(follow_symlinks=False))
    if not folders:
        raise DataError(f"{root} holds no *{_INFO}; name the site-packages folder of an environment")
    return folders


def _distribution(root: Path, folder: str) -> _Distribution:
    """What a distribution states about itself; its folder's name serves when METADATA is broken."""
    name, _, version = folder.removesuffix(_INFO).rpartition("-")
    licence, evidence = UNKNOWN, None
    try:
        # Headers only: the description is not needed to list files.
        metadata = files.read_below(root, f"{folder}/METADATA", _MAX_METADATA_BYTES)
        header = metadata.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
        stated = package_metadata.parse(header.decode("utf-8", "replace"), f"{folder}/METADATA")
        name, version, licence, evidence = stated.name, stated.version, stated.licence, stated.licence_evidence
    except (OSError, ExtractionError):
        pass
    if licence == UNKNOWN or licence.startswith("LicenseRef-"):
        licence, evidence = _licence_of_files(root, folder) or (licence, evidence)
    attributes = {"family": name, "version": version, "licence": licence}
    return _Distribution(folder, name, attributes | ({"licence_evidence": evidence} if evidence else {}))


def _licence_of_files(root: Path, folder: str) -> tuple[str, str] | None:
    """(expression, evidence) when exactly one licence text is found in the dist-info folder."""
    found: dict[str, str] = {}
    for relative in _info_files(root, folder):
        name = posixpath.basename(relative)
        if not re.match(r"licen[cs]e|copying", name, re.IGNORECASE):
            continue
        try:
            licence = spdx_of_text(files.read_below(root, relative, 16384).decode("utf-8", "replace"))
        except (OSError, ExtractionError):
            continue
        if licence != UNKNOWN:
            found.setdefault(licence, f"licence file {name}")
    return next(iter(found.items())) if len(found) == 1 else None


def _candidates(root: Path, folder: str, docstrings: bool) -> list[str]:
    """Documentation of a distribution, as paths below the root: from its dist-info folder and its RECORD."""
    chosen = {path for path in _info_files(root, folder) if _is_documentation(path, folder)}
    for path in _recorded(root, folder):
        if _is_documentation(path, folder) or (docstrings and path.endswith(".py")):
            chosen.add(path)
    return sorted(chosen)


def _is_documentation(path: str, folder: str) -> bool:
    if path == f"{folder}/METADATA":
        return True
    if _NOT_PROSE.search(path):
        return False
    in_info = path.startswith(folder + "/")
    return bool(_PROSE.search(path) or (in_info and (_LICENCE_FILE.search(path) or "/licenses/" in path)))


def _info_files(root: Path, folder: str) -> list[str]:
    """Every regular file of a dist-info folder, as paths below the root, sorted."""
    found = []
    for place, folders, names in os.walk(root / folder, followlinks=False):
        folders.sort()
        prefix = Path(place).relative_to(root).as_posix()
        found += [f"{prefix}/{name}" for name in names]
    return sorted(found)


def _recorded(root: Path, folder: str) -> Iterator[str]:
    """Paths of RECORD that stay below the root; anything else (scripts in ../../bin) is passed over."""
    try:
        record = files.read_below(root, f"{folder}/RECORD", _MAX_RECORD_BYTES).decode("utf-8", "replace")
        for row in csv.reader(record.splitlines()):
            path = row[0] if row else ""
            parts = path.split("/")
            if path and "\\" not in path and not any(part in ("", ".", "..") or "\x00" in part for part in parts):
                yield path
    except (OSError, ExtractionError, csv.Error):
        return


def _regular_file(root: Path, relative: str) -> os.stat_result | None:
    """The status of a regular file reached through no link below the root; None for anything else."""
    if not _is_plain_folder(root, posixpath.dirname(relative)):
        return None
    try:
        status = os.lstat(root / relative)
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


@lru_cache(maxsize=65536)
def _is_plain_folder(root: Path, relative: str) -> bool:
    if not relative:
        return True
    try:
        plain = stat.S_ISDIR(os.lstat(root / relative).st_mode)
    except OSError:
        return False
    return plain and _is_plain_folder(root, posixpath.dirname(relative))


def _refuse_unknown(config: Config, installed: Sequence[str]) -> None:
    known = {_plain(name) for name in installed}
    for option in ("packages", "docstrings_of"):
        missing = [name for name in getattr(config, option) or () if _plain(name) not in known]
        if missing:
            raise NotFoundError(
                f"{option}: {', '.join(missing)} is not installed in {config.uri} ({len(known)} packages are); "
                "install it there or take it out of the recipe"
            )


def _plain(name: str) -> str:
    """A distribution name as packaging tools compare names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
