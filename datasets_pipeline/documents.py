"""Files of a source into `documents/<unit>.parquet`: the worker's side of acquisition.

A unit is about 32 MB of new or changed files. Each file is read once; its documents, or the reason
why it has none, are recorded for good. Runs in a Dask worker; returns counts and places, never text.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from datasets_pipeline.extract import html_direct
from datasets_pipeline.jail import walls
from datasets_pipeline.jail.limits import Limits
from datasets_pipeline.jail.parent import Jail, jail_of_this_process
from datasets_pipeline.normalize import document_id, normalize_text
from datasets_pipeline.sources.base import ACCESS_FACTS, ExtractedDocument, ExtractionError, FileEntry, Reject
from ingot import credentials, registry
from ingot.crashpoints import crashpoint
from ingot.digests import digest_of, sha256_hex
from ingot.parquet import write_table
from ingot.schemas import DOCUMENTS, QUARANTINE
from ingot.storage import Store

# Reasons that say nothing about a file's bytes: what caused them may be gone tomorrow, with the same size and mtime.
_NOT_THE_BYTES = frozenset({"timeout", "killed", "unreadable", "not_there"})


@dataclass(frozen=True)
class FileOutcome:
    """What is known of one version of a file: where its documents lie, or why it has none."""

    uri: str
    digest: str
    outcome: str
    """`read` or `quarantined`."""
    reason: str | None = None
    retry: bool = False
    unit: str | None = None
    quarantine_unit: str | None = None
    """quarantine/<quarantine_unit>.parquet holds what was refused of it; None when nothing was."""
    first_row: int = 0
    num_rows: int = 0
    num_rejects: int = 0
    reused: bool = False
    """True when these bytes had been read before and nothing was extracted again."""


@dataclass(frozen=True)
class FileTask:
    """One file to look at, with what is already known of its uri by digest."""

    entry: FileEntry
    known: dict[str, FileOutcome] = field(default_factory=dict)


@dataclass(frozen=True)
class ReadUnit:
    """What a worker needs to read a group of files."""

    store: Store
    source: str
    config_values: dict[str, Any]
    extraction_digest: str
    files: tuple[FileTask, ...]
    jail: str = walls.AUTO
    """How hostile bytes are shut in, as INGOT_JAIL says."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What read_file may need, by credential name; never part of a name, a record or an error."""

    def halves(self) -> list["ReadUnit"]:
        """Two units of half the files; itself when there is one file."""
        if len(self.files) == 1:
            return [self]
        middle = len(self.files) // 2
        return [replace(self, files=part) for part in (self.files[:middle], self.files[middle:])]


def halves(unit: ReadUnit) -> list[ReadUnit]:
    """`ReadUnit.halves` as a function, for `Pool.map`."""
    return unit.halves()


def file_digest(entry: FileEntry, content_sha256: str) -> str:
    """Identity of one version of a file: its bytes and what the source states about it."""
    return digest_of({"content": content_sha256, "attributes": entry.attributes})


def read_unit(unit: ReadUnit) -> list[FileOutcome]:
    """Read, extract and store a unit's files; returns one outcome per file, in the unit's order."""
    module = registry.load("source", unit.source)
    config = module.Config.model_validate(unit.config_values)
    limits = Limits(memory_bytes=config.max_memory_bytes, cpu_seconds=config.max_cpu_seconds)
    jail = jail_of_this_process(unit.jail, limits, html_direct.machine_code)
    outcomes: list[FileOutcome] = []
    rows = _Rows()
    for task in unit.files:
        outcomes.append(_read_file(module, config, jail, unit, task, rows))
    # In the order of the rows: one name must never mean two orders.
    name = sha256_hex(
        "\n".join([unit.extraction_digest, *(f"{o.uri}\t{o.digest}" for o in outcomes if not o.reused)]).encode()
    )[:32]
    if rows.documents:
        table = pa.Table.from_pylist(rows.documents, schema=DOCUMENTS)
        write_table(unit.store, table, "documents", key=f"documents/{name}.parquet")
    if rows.quarantine:
        table = pa.Table.from_pylist(rows.quarantine, schema=QUARANTINE)
        write_table(unit.store, table, "quarantine", key=f"quarantine/{name}.parquet")
    crashpoint("acquire.unit.after", name)
    return [outcome if outcome.reused else _in_unit(outcome, name) for outcome in outcomes]


def _in_unit(outcome: FileOutcome, unit: str) -> FileOutcome:
    refused = outcome.outcome == "quarantined" or outcome.num_rejects
    return replace(outcome, unit=unit if outcome.num_rows else None, quarantine_unit=unit if refused else None)


class _Rows:
    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []
        self.quarantine: list[dict[str, Any]] = []


def _read_file(module: Any, config: Any, jail: Jail, unit: ReadUnit, task: FileTask, rows: _Rows) -> FileOutcome:
    entry = task.entry
    digest = ""
    try:
        with credentials.given(unit.secrets):
            content = module.read_file(config, entry)
        digest = file_digest(entry, content.sha256)
        known = task.known.get(digest)
        if known is not None and not known.retry:
            return FileOutcome(**{**known.__dict__, "reused": True})
        crashpoint("extract.file", entry.uri)
        result = jail.extract(unit.source, unit.config_values, entry, content.data)
    except ExtractionError as error:
        rows.quarantine.append(_quarantined(entry.uri, entry.uri, 0, entry.size, error.reason, error.message))
        return FileOutcome(entry.uri, digest, "quarantined", error.reason, retry=error.reason in _NOT_THE_BYTES)
    if any(document.keeps_file for document in result.documents):
        unit.store.put_bytes(f"images/{content.sha256}", content.data)
    first_row = len(rows.documents)
    rejects: Sequence[Reject] = result.rejects
    for reject in rejects:
        place = reject.uri or entry.uri
        rows.quarantine.append(_quarantined(entry.uri, place, reject.start, reject.end, reject.reason, reject.detail))
    for document in result.documents:
        row = _row(entry.uri, document)
        if row is None:
            rejects = [*rejects, Reject(document.start, document.end, "empty")]
            place = document.uri or entry.uri
            rows.quarantine.append(_quarantined(entry.uri, place, document.start, document.end, "empty", ""))
        else:
            rows.documents.append(row)
    num_rows = len(rows.documents) - first_row
    if num_rows == 0 and rejects:
        return FileOutcome(entry.uri, digest, "quarantined", rejects[0].reason, num_rejects=len(rejects))
    # Nothing found and nothing refused: a module without docstrings is read and holds no document.
    return FileOutcome(entry.uri, digest, "read", first_row=first_row, num_rows=num_rows, num_rejects=len(rejects))


def _row(uri: str, document: ExtractedDocument) -> dict[str, Any] | None:
    text = normalize_text(document.text)
    if not text:
        return None
    return {
        "doc_id": document_id(text),
        "text": text,
        "uri": document.uri or uri,
        "start": document.start,
        "end": document.end,
        "media_type": document.media_type,
        "language": document.language,
        "licence": document.licence,
        "licence_evidence": document.licence_evidence,
        "stated_date": document.stated_date,
        "family": document.family,
        "version": document.version,
        "extractor": document.extractor,
        "extractor_version": document.extractor_version,
        **{name: getattr(document, name) for name in ACCESS_FACTS},
        "metadata": json.dumps(document.metadata, sort_keys=True, ensure_ascii=False),
    }


def _quarantined(file: str, uri: str, start: int, end: int, reason: str, detail: str) -> dict[str, Any]:
    return {"file": file, "uri": uri, "start": start, "end": end, "reason": reason, "detail": detail}
