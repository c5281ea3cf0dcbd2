"""What the last look at each source found, and what it could not read: for `ingot sources` and `ingot quarantine`.

A look is a note beside the acquisition record, written again each time; losing it loses nothing but the note.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline.acquisition_record import read_record, write_record
from ingot.errors import NotFoundError, StorageError
from ingot.parquet import read_table
from ingot.schemas import QUARANTINE
from ingot.storage import Store


@dataclass(frozen=True)
class Look:
    """One look at one source."""

    source: str
    kind: str
    """`folder`, `sql` ..., as a recipe names it."""
    prefix: str
    """Where the record of this look lies in the store."""
    time: str
    """When it was done, ISO 8601: the last success."""
    counts: dict[str, int]
    reasons: dict[str, int]
    """Quarantined files by reason."""


@dataclass(frozen=True)
class Quarantined:
    """A file, or a part of one, that is not read now."""

    source: str
    uri: str
    start: int
    end: int
    """The part [start, end), in bytes or rows of the file."""
    reason: str
    detail: str
    whole_file: bool
    """False: the rest of the file is read."""
    retry: bool
    """It is tried again in the next run without being asked for."""


def remember(store: Store, look: Look) -> None:
    """Keep the look for those who ask later."""
    store.put_bytes(_key(look.source), json.dumps(asdict(look), sort_keys=True).encode(), overwrite=True)


def last_looks(store: Store) -> list[Look]:
    """The last look at each source, by name."""
    return [Look(**store.read_json(key)) for key in sorted(store.list(_FOLDER))]


def last_look(store: Store, source: str) -> Look:
    """The last look at one source; NotFoundError naming those there are."""
    looks = {look.source: look for look in last_looks(store)}
    if source not in looks:
        raise NotFoundError(f"no source {source!r} was ever read; known: {', '.join(looks) or 'none'}")
    return looks[source]


def open_uris(store: Store, source: str) -> set[str]:
    """The files that were there at the last look at a source; none before the first."""
    found = (look for look in last_looks(store) if look.source == source)
    return {row["uri"] for look in found for row in read_record(store, look.prefix) if row["state"] == "open"}


def num_documents(store: Store, look: Look) -> int:
    """Open occurrences of the source."""
    return sum(row["num_rows"] for row in read_record(store, look.prefix) if row["state"] == "open")


def quarantined(store: Store, look: Look) -> Iterator[Quarantined]:
    """What of a source is not read, sorted by place."""
    refusals = _Refusals(store)
    for row in read_record(store, look.prefix):
        whole = row["outcome"] == "quarantined"
        if row["state"] != "open" or not (whole or row["num_rejects"]):
            continue
        for told in refusals.of(row):
            yield Quarantined(look.source, **told, whole_file=whole, retry=row["retry"])


def ask_again(store: Store, look: Look, reason: str | None = None) -> int:
    """Have the next run read again what is quarantined, for one reason or for any; returns the number of files."""
    rows = read_record(store, look.prefix)
    refusals = _Refusals(store)
    chosen = [
        row
        for row in rows
        if row["state"] == "open"
        and (row["outcome"] == "quarantined" or row["num_rejects"])
        and (reason is None or reason in {told["reason"] for told in refusals.of(row)})
    ]
    for row in chosen:
        row["retry"] = True
    if chosen:
        write_record(store, look.prefix, rows)
    return len(chosen)


class _Refusals:
    """The rows of quarantine/, each table read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tables: dict[str, pa.Table] = {}

    def of(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        """uri, start, end, reason, detail of what was refused of the file of a record's row."""
        unit, uri = row["quarantine_unit"], row["uri"]
        if unit is not None and unit not in self._tables:
            try:
                self._tables[unit] = read_table(self._store, f"quarantine/{unit}.parquet")
            except StorageError:  # a cache: lost, it is made again when the file is read again
                self._tables[unit] = QUARANTINE.empty_table()
        table = self._tables.get(unit) if unit is not None else None
        if table is None or not len(table):
            told = {"uri": uri, "start": 0, "end": row["size"], "reason": row["reason"], "detail": ""}
            return [told] if row["reason"] else []
        if "file" not in table.column_names:
            mine = pc.or_(pc.equal(table["uri"], uri), pc.starts_with(table["uri"], uri + "!/"))
        else:
            mine = pc.equal(table["file"], uri)
        return list(table.filter(mine).select(["uri", "start", "end", "reason", "detail"]).to_pylist())


_FOLDER = "looks/"


def _key(source: str) -> str:
    return f"{_FOLDER}{source}.json"
