"""The licences of a repository's files: licence files by folder, REUSE sidecars, LICENSES/ folders.

REUSE specification 3.3 (reuse.software) for `<file>.license` and `LICENSES/<SPDX identifier>.txt`.
"""

import posixpath
import re
from collections.abc import Collection, Mapping

from datasets_pipeline.extract.licences import UNKNOWN, spdx_of, spdx_of_header, spdx_of_text
from datasets_pipeline.sources.base import ExtractionError
from datasets_pipeline.sources.git_objects import Repository, TreeFile

Stated = dict[str, str]
"""`licence` and `licence_evidence`, as in FileEntry.attributes; empty when nothing is stated."""

_LICENCE_FILE = re.compile(
    r"(?:(?:un)?licen[cs]e|copying)(?:[-.](?!py|go|js|ts|rs|rb|sh|h|c)[a-z0-9.+-]{1,24})?\Z", re.I
)
_TEXTS_FOLDER = re.compile(r"(?:(.*)/)?LICEN[SC]ES/([^/]+)\.(?:txt|md)\Z")
_SIDECAR = ".license"
_MAX_BYTES = 256 * 1024
_MAX_FILES = 20_000
"""Licence files looked at; a tree of vendored packages has hundreds."""


def is_sidecar(uri: str, tree: Mapping[str, TreeFile]) -> bool:
    """Whether a file is the REUSE sidecar of another file of the tree."""
    return uri.endswith(_SIDECAR) and uri.removesuffix(_SIDECAR) in tree


def licences_by_folder(repository: Repository, tree: Mapping[str, TreeFile]) -> dict[str, Stated]:
    """What the licence files of each folder state, by folder; that of the top folder is "".

    Several licences in one folder are all taken to hold (AND). A text that is not recognised states nothing in
    the top folder, where the recipe may know better, and `unknown` below it, where it stands against the top's.
    """
    found: dict[str, dict[str, str]] = {}
    listed: dict[str, dict[str, str]] = {}
    for uri in sorted(tree):
        folder, name = posixpath.split(uri)
        texts = _TEXTS_FOLDER.match(uri)
        if texts is not None:
            listed.setdefault(texts.group(1) or "", {})[spdx_of(texts.group(2))] = "LICENSES/"
        elif _LICENCE_FILE.match(name) and len(found) < _MAX_FILES:
            text = _text(repository, tree[uri])
            header = spdx_of_header(text)
            licence = header[0] if header and header[1].startswith("SPDX") else spdx_of_text(text)
            found.setdefault(folder, {}).setdefault(licence, name)
    stated: dict[str, Stated] = {}
    for folder in found.keys() | listed.keys():
        licences = found.get(folder) or listed[folder]
        names = ", ".join(sorted(set(licences.values())))
        evidence = f"licence file {posixpath.join(folder, names)}"
        if UNKNOWN not in licences:
            stated[folder] = {"licence": _all_of(licences), "licence_evidence": evidence}
        elif folder:
            stated[folder] = {"licence": UNKNOWN, "licence_evidence": evidence}
    return stated


def stated_licence(
    repository: Repository, tree: Mapping[str, TreeFile], by_folder: Mapping[str, Stated], uri: str
) -> Stated:
    """What is stated about one file's licence outside of the file itself."""
    sidecar = tree.get(uri + _SIDECAR)
    if sidecar is not None:
        header = spdx_of_header(_text(repository, sidecar))
        return {"licence": header[0] if header else UNKNOWN, "licence_evidence": "REUSE sidecar"}
    folder = posixpath.dirname(uri)
    while folder and folder not in by_folder:
        folder = posixpath.dirname(folder)
    return by_folder.get(folder, {})


def _all_of(licences: Collection[str]) -> str:
    if len(licences) == 1:
        return next(iter(licences))
    return " AND ".join(sorted(f"({licence})" if " OR " in licence else licence for licence in licences))


def _text(repository: Repository, file: TreeFile) -> str:
    """The text of a small file; nothing of one that is large or cannot be read."""
    if file.size > _MAX_BYTES:
        return ""
    try:
        return repository.blob(file.oid, _MAX_BYTES).decode("utf-8", "replace")
    except ExtractionError:
        return ""
