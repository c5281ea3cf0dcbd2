"""Metadata sidecars: files beside the documents that state their date, licence, class and owner (exports of
document management systems write them).

`{path}.metadata.json` is one file a document (JSON or YAML, one mapping); `{folder}/metadata.csv` is one for all
documents of a folder, `metadata.jsonl` one for the whole source (CSV or JSON lines, one row a document, found by its
column `path`, relative to the sidecar's folder). Sidecars are read whenever a source is listed, because a changed
one must read its documents again; they are bounded, and parsed without following anything they hold.

A document whose sidecar cannot be read is quarantined: what stands there may be that it is secret.
"""

import csv
import io
import json
import posixpath
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import re2
from pydantic import BaseModel, Field, field_validator

from datasets_pipeline.extract.licences import spdx_of
from datasets_pipeline.extract.stated import iso_date, iso_language
from datasets_pipeline.normalize import normalize_text
from datasets_pipeline.sources import files
from datasets_pipeline.sources.base import MEBIBYTE, ExtractionError, FileEntry
from ingot.errors import RecipeError

_MAX_BYTES = {"json": MEBIBYTE, "yaml": 64 * 1024, "csv": 64 * MEBIBYTE, "jsonl": 64 * MEBIBYTE}
"""YAML is small because its parser reads 50 KB a second."""
_KINDS = {"json": "json", "yaml": "yaml", "yml": "yaml", "csv": "csv", "jsonl": "jsonl", "ndjson": "jsonl"}
_TABLES = ("csv", "jsonl")
_PLACEHOLDER = re.compile(r"\{([a-z]*)\}")
_PER_DOCUMENT = frozenset({"path", "stem", "name"})
_MAX_FIELD_CHARACTERS = 1000
_REMOTE_READERS = 16

# What a fact is called in sidecars besides its own name.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "path": ("path", "file", "filename", "file_name", "fileref", "fileleafref"),
    "title": ("title",),
    "author": ("author", "created_by", "createdby"),
    "modified": ("modified", "stated_date", "last_modified", "lastmodified", "date"),
    "licence": ("licence", "license"),
    "language": ("language", "lang", "locale"),
    "classification": ("classification", "sensitivity", "sensitivity_label"),
    "audience": ("audience",),
    "owner": ("owner",),
    "purpose": ("purpose",),
    "retain_until": ("retain_until", "retention_until", "retain-until"),
}

ERROR = "sidecar_error"
"""Attribute of a file whose sidecar cannot be read: why."""


class SidecarOptions(BaseModel):
    """The options of sources whose files have sidecars."""

    sidecar: str | None = Field(
        default=None,
        description="Where metadata of a document lies: `{path}` is its relative path, `{stem}` that without its last "
        "suffix, `{name}` its name, `{folder}` its folder; .json and .yaml for one document, .csv and .jsonl for many. "
        "Files that fit the pattern are no documents. Null: there are none.",
    )
    sidecar_fields: dict[str, str] | None = Field(
        default=None,
        description="What sidecars call a fact, where it is not its usual name: {classification: Sensitivity Label}. "
        "A dot leads into a mapping: {title: fields.Title}.",
    )
    metadata_fields: tuple[str, ...] | None = Field(
        default=None,
        description="Fields of sidecars that are kept as metadata, besides the title; the author only when named here.",
    )

    @field_validator("sidecar")
    @classmethod
    def _pattern_is_understood(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        used = set(_PLACEHOLDER.findall(pattern))
        example = _PLACEHOLDER.sub("x", pattern)
        kind = _KINDS.get(pattern.rpartition(".")[2].lower())
        leads_out = ".." in example.split("/") or example.startswith("/")
        if kind is None or leads_out or used - _PER_DOCUMENT - {"folder"} or set(example) & set("{}\\"):
            raise RecipeError(
                "is no pattern of sidecars; write e.g. '{path}.metadata.json', '{folder}/metadata.csv' or 'index.jsonl'"
            )
        if bool(used & _PER_DOCUMENT) == (kind in _TABLES):
            raise RecipeError(
                "does not say whether a sidecar is of one document or of many: .json and .yaml are of one (with "
                "{path}, {stem} or {name}), .csv and .jsonl are of many (with {folder}, or one for the source)"
            )
        return pattern

    @field_validator("sidecar_fields")
    @classmethod
    def _facts_are_known(cls, names: dict[str, str] | None) -> dict[str, str] | None:
        unknown = sorted(set(names or ()) - set(_NAMES))
        if unknown:
            raise RecipeError(f"names {', '.join(unknown)}, which is no fact of a sidecar; known: {', '.join(_NAMES)}")
        return names


@dataclass(frozen=True)
class _Sidecar:
    """What one sidecar states: by document for a table, under "" for a sidecar of one document."""

    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    errors: Mapping[str, str] = field(default_factory=dict)
    """Why nothing can be said of single documents."""
    broken: str = ""
    """Why nothing can be said of documents that have no row."""


def with_sidecars(entries: Sequence[FileEntry], everything: Sequence[FileEntry], options: Any) -> Iterator[FileEntry]:
    """The entries without sidecars, each with the attributes that its sidecar states; `sidecar_error` where it is bad.

    everything is all that lies in the place, sidecars included; options is a source's configuration.
    """
    pattern: str = options.sidecar
    is_sidecar = re2.compile(_expression(pattern)).fullmatch  # linear in names that others chose
    documents = [entry for entry in entries if not is_sidecar(entry.uri)]
    present = {entry.uri: entry for entry in everything}
    places = {entry.uri: _place_of(pattern, entry.uri) for entry in documents}
    wanted = [present[place] for place in sorted(set(places.values())) if place in present]
    read = dict(zip((entry.uri for entry in wanted), _read_all(wanted, options), strict=True))
    spelled = {_spelled(uri) for uri in present}
    for place in [place for place, sidecar in read.items() if _about_nothing(sidecar, spelled)]:
        read[place] = _Sidecar(broken=f"none of the paths in its sidecar {place} is a file here")
    for entry in documents:
        sidecar = read.get(places[entry.uri])
        if sidecar is None:
            yield entry
        else:
            yield replace(entry, attributes=entry.attributes | _stated(sidecar, places[entry.uri], entry.uri, options))


def refuse_bad_sidecar(entry: FileEntry) -> None:
    """Raise ExtractionError bad_sidecar for an entry whose sidecar could not be read."""
    if ERROR in entry.attributes:
        raise ExtractionError(
            "bad_sidecar",
            f"{entry.uri}: {entry.attributes[ERROR]}; who may use it is not known, so it is not read: mend the sidecar",
        )


def _expression(pattern: str) -> str:
    """A regular expression for the places of sidecars, of documents that are not there too."""
    optional_folder = pattern.replace("{folder}/", "\0")
    parts = re.split(r"(\{[a-z]*\}|\0)", optional_folder)
    known = {"\0": "(?:.+/)?", "{path}": ".+", "{stem}": ".+", "{name}": "[^/]+", "{folder}": ".*"}
    return "(?s:" + "".join(known.get(part) or re2.escape(part) for part in parts) + ")"


def _place_of(pattern: str, uri: str) -> str:
    folder, name = posixpath.split(uri)
    stem = posixpath.join(folder, name.rpartition(".")[0] or name)
    values = {"path": uri, "stem": stem, "name": name, "folder": folder}
    return _PLACEHOLDER.sub(lambda found: values[found.group(1)], pattern).lstrip("/")


# --- reading --------------------------------------------------------------------------------------


def _read_all(entries: Sequence[FileEntry], options: Any) -> list[_Sidecar]:
    """The sidecars, in order. StorageError rises where the place itself fails."""
    if files.local_root(options.uri) is not None or len(entries) < 2:
        return [_read(entry, options) for entry in entries]
    with ThreadPoolExecutor(_REMOTE_READERS) as readers:  # a request each: they wait for the network
        return list(readers.map(lambda entry: _read(entry, options), entries))


def _read(entry: FileEntry, options: Any) -> _Sidecar:
    kind = _KINDS[entry.uri.rpartition(".")[2].lower()]
    try:
        data = files.read_file(options.uri, entry, _MAX_BYTES[kind]).data
    except ExtractionError as error:
        why = f"is larger than {_MAX_BYTES[kind]:,} bytes" if error.reason == "too_large" else "cannot be read"
        return _Sidecar(broken=f"its sidecar {entry.uri} {why}")
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        return _Sidecar(broken=f"its sidecar {entry.uri} is not UTF-8 text")
    if not text.strip():
        return _Sidecar(broken=f"its sidecar {entry.uri} is empty")
    if kind in _TABLES:
        return _table(_csv_rows(text) if kind == "csv" else _json_rows(text), entry.uri, kind, options)
    try:
        value = _yaml(text) if kind == "yaml" else json.loads(text)
    except Exception:  # whatever a parser makes of hostile input; its message may quote it
        value = None
    if not isinstance(value, dict):
        return _Sidecar(broken=f"its sidecar {entry.uri} is no {kind.upper()} mapping")
    return _Sidecar(rows={"": _plain_keys(value)})


def _yaml(text: str) -> Any:
    import yaml

    if re.search(r"<<\s*:", text):  # merge keys copy mappings, twice as many in each line
        raise ValueError("merge keys")
    return yaml.safe_load(text)


def _csv_rows(text: str) -> Iterator[tuple[int, Mapping[str, Any] | None]]:
    """(line, row or None for one that is none)."""
    header_line = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(",;\t|", key=header_line.count)
    reader = csv.reader(io.StringIO(text.lstrip("\r\n"), newline=""), delimiter=delimiter)
    try:
        header = next(reader, [])
        for row in reader:
            if not row:
                continue
            yield reader.line_num, dict(zip(header, row, strict=True)) if len(row) == len(header) else None
    except csv.Error:
        yield reader.line_num, None


def _json_rows(text: str) -> Iterator[tuple[int, Mapping[str, Any] | None]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        yield number, value if isinstance(value, dict) else None


def _table(numbered: Iterator[tuple[int, Mapping[str, Any] | None]], uri: str, kind: str, options: Any) -> _Sidecar:
    """The rows of a table by the document they are about; a row nobody can read may be about any of the others."""
    rows: dict[str, Mapping[str, Any]] = {}
    errors: dict[str, str] = {}
    broken = ""
    folder = posixpath.dirname(uri)
    for line, row in numbered:
        values = _plain_keys(row) if row is not None else {}
        missing = [name for name in (options.sidecar_fields or {}).values() if _field(values, name) is None]
        if row is not None and missing and kind == "csv":
            return _Sidecar(broken=f"its sidecar {uri} has no column {', '.join(missing)}")
        path = _find(values, "path", options)
        if not isinstance(path, str) or not path.strip():
            broken = broken or f"line {line} of its sidecar {uri} is no row with a path"
            continue
        place = _spelled(posixpath.join(folder, path.strip().replace("\\", "/").lstrip("/")))
        if place in rows and rows[place] != values:
            errors[place] = f"its sidecar {uri} has several rows about it (line {line})"
        rows[place] = values
    return _Sidecar(rows, errors, broken)


def _about_nothing(sidecar: _Sidecar, present: Collection[str]) -> bool:
    """Whether a table names no file at all that is there: then its paths are of another place."""
    return bool(sidecar.rows) and "" not in sidecar.rows and not any(place in present for place in sidecar.rows)


def _spelled(uri: str) -> str:
    """A path as it is compared: file systems and exports spell accents in two ways."""
    return unicodedata.normalize("NFC", posixpath.normpath(uri))


def _plain_keys(values: Mapping[Any, Any]) -> dict[str, Any]:
    return {key: value for name, value in values.items() if (key := _as_text(name).strip())}


# --- what is stated -------------------------------------------------------------------------------


def _stated(sidecar: _Sidecar, place: str, uri: str, options: Any) -> dict[str, str]:
    """The attributes of one document by its sidecar."""
    key = "" if "" in sidecar.rows else _spelled(uri)
    values = sidecar.rows.get(key)
    error = sidecar.errors.get(key) or ("" if values is not None else sidecar.broken)
    if error:
        return {ERROR: error}
    if values is None:
        return {}
    attributes: dict[str, str] = {}
    for name in ("classification", "audience", "owner", "purpose", "retain_until"):
        value = _find(values, name, options)
        word = _words(value)
        if (word is None and value is not None) or (name == "retain_until" and word and not iso_date(word)):
            what = "day (write YYYY-MM-DD)" if name == "retain_until" else "word"
            return {ERROR: f"its sidecar {place} states a {name} that is no {what}"}
        if word:
            attributes[name] = iso_date(word) or word if name == "retain_until" else word
    licence = _words(_find(values, "licence", options))
    if licence:
        attributes |= {"licence": spdx_of(licence), "licence_evidence": f"sidecar {posixpath.basename(place)}"}
    modified, language = _find(values, "modified", options), _find(values, "language", options)
    attributes |= {"stated_date": day} if (day := iso_date(modified)) else {}
    attributes |= {"language": code} if (code := iso_language(language)) else {}
    kept = {"title": _find(values, "title", options)}
    kept |= {name: _field(values, name) for name in options.metadata_fields or ()}
    attributes |= {f"metadata.{name}": words for name, value in kept.items() if (words := _words(value))}
    return attributes


def _find(values: Mapping[str, Any], fact: str, options: Any) -> Any:
    """The value of a fact under the recipe's name for it, else under the first of its usual names."""
    own = (options.sidecar_fields or {}).get(fact)
    names = (own,) if own else _NAMES[fact]
    return next((value for name in names if (value := _field(values, name)) not in (None, "")), None)


def _field(values: Mapping[str, Any], name: str) -> Any:
    """A field by its name in any case; a dot leads into a mapping."""
    if name in values:
        return values[name]
    wanted = name.lower()
    for key, value in values.items():
        if key.lower() == wanted:
            return value
    head, dot, rest = name.partition(".")
    inner = _field(values, head) if dot else None
    return _field(_plain_keys(inner), rest) if isinstance(inner, dict) else None


def _as_text(value: Any) -> str:
    """A scalar as text; empty for a number of so many digits that Python does not write it."""
    try:
        return str(value)
    except ValueError:
        return ""


def _words(value: Any) -> str | None:
    """A scalar, or a list of them with commas between, as one line; None for anything else, blank or too long."""
    if isinstance(value, list):
        # No lists of lists: in YAML a few lines of them are a billion words.
        parts = [None if isinstance(item, list) else _words(item) for item in value]
        return None if not parts or None in parts else _words(", ".join(part for part in parts if part))
    if value is None or isinstance(value, dict | set | bytes):
        return None
    line = " ".join(normalize_text(_as_text(value)).split())
    return None if not line and not isinstance(value, str) else line if len(line) <= _MAX_FIELD_CHARACTERS else None
