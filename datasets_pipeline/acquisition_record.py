"""The acquisition record of a source: every file ever seen, its state, and where its documents lie (CONTRACTS 2).

The record is a cache: what a run works with is the snapshot that `acquire` returns. A look at a source that found
something else writes a new record under the next number; the last one holds.
"""

from typing import Any

import pyarrow as pa

from datasets_pipeline.documents import FileOutcome, FileTask
from datasets_pipeline.sources.base import FileEntry
from ingot.crashpoints import crashpoint
from ingot.digests import digest_of
from ingot.parquet import read_table, write_table
from ingot.schemas import ACQUISITION
from ingot.storage import Store


class Record:
    """The acquisition record before this run, by uri."""

    def __init__(self, store: Store, rows: list[dict[str, Any]], place_digest: str) -> None:
        self.place_digest = place_digest
        self.by_uri: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            self.by_uri.setdefault(row["uri"], []).append(row)
        # A unit is a cache: files whose unit was lost are read again.
        present = set(store.list("documents/"))
        units = {row["unit"] for row in rows if row["unit"] is not None}
        self._lost = {unit for unit in units if f"documents/{unit}.parquet" not in present}

    def sort_out(self, listing: list[FileEntry]) -> tuple[dict[str, FileOutcome], list[FileTask]]:
        """(outcomes of files that need no look, files to open)."""
        unchanged: dict[str, FileOutcome] = {}
        tasks: list[FileTask] = []
        for entry in listing:
            rows = self.by_uri.get(entry.uri, [])
            same = next((row for row in rows if self._looks_the_same(row, entry)), None)
            if same is not None:
                unchanged[entry.uri] = outcome_of(same, reused=True)
            else:
                there = (row for row in rows if row["digest"] and row["unit"] not in self._lost)
                known = {row["digest"]: outcome_of(row) for row in there}
                tasks.append(FileTask(entry, known))
        return unchanged, tasks

    def _looks_the_same(self, row: dict[str, Any], entry: FileEntry) -> bool:
        return (
            row["state"] == "open"
            and not row["retry"]
            and row["unit"] not in self._lost
            and entry.mtime_ns is not None
            and row["mtime_ns"] == entry.mtime_ns
            and row["size"] == entry.size
            and row["place_digest"] == self.place_digest
            and row["attributes_digest"] == attributes_digest(entry)
        )

    def updated(self, listing: list[FileEntry], outcomes: dict[str, FileOutcome], now: str) -> list[dict[str, Any]]:
        """The rows after this run: every (uri, digest) ever seen, with its state."""
        rows: list[dict[str, Any]] = []
        entries = {entry.uri: entry for entry in listing}
        for uri in sorted(entries.keys() | self.by_uri.keys()):
            before = {row["digest"]: row for row in self.by_uri.get(uri, [])}
            if uri in entries:
                row = self._row(entries[uri], outcomes[uri], before, now)
                before.pop(row["digest"], None)
                rows.append(row)
                if could_not_look(outcomes[uri]):
                    # Nothing says that another text stands there: what was read of it stays until it can be read.
                    there = [old for old in before.values() if old["state"] == "open" and old["digest"]]
                    rows += [before.pop(old["digest"]) for old in there]
                rows += [{**old, "state": "superseded"} for old in before.values() if old["digest"]]
            else:
                gone = [old for old in before.values() if old["digest"]]
                rows += [{**old, "state": "gone" if old["state"] == "open" else old["state"]} for old in gone]
        return rows

    def _row(
        self, entry: FileEntry, outcome: FileOutcome, before: dict[str, dict[str, Any]], now: str
    ) -> dict[str, Any]:
        return {
            "uri": entry.uri,
            "digest": outcome.digest,
            "state": "open",
            "outcome": outcome.outcome,
            "reason": outcome.reason,
            "retry": outcome.retry,
            "unit": outcome.unit,
            "quarantine_unit": outcome.quarantine_unit,
            "first_row": outcome.first_row,
            "num_rows": outcome.num_rows,
            "num_rejects": outcome.num_rejects,
            "size": entry.size,
            "mtime_ns": entry.mtime_ns,
            "attributes_digest": attributes_digest(entry),
            "place_digest": self.place_digest,
            "first_seen": before[outcome.digest]["first_seen"] if outcome.digest in before else now,
        }


def could_not_look(outcome: FileOutcome) -> bool:
    """Whether a file's bytes were not seen, by no fault of theirs; a page that is told to be gone was looked at."""
    return outcome.retry and not outcome.digest and outcome.reason != "not_there"


def attributes_digest(entry: FileEntry) -> str:
    """What is stated about a file; with its store's version mark, because S3 keeps time in whole seconds."""
    return digest_of(entry.attributes if entry.etag is None else {**entry.attributes, "etag": entry.etag})


def outcome_of(row: dict[str, Any], *, reused: bool = False) -> FileOutcome:
    """What a row of the record says of its file."""
    return FileOutcome(
        uri=row["uri"],
        digest=row["digest"],
        outcome=row["outcome"],
        reason=row["reason"],
        retry=row["retry"],
        unit=row["unit"],
        quarantine_unit=row["quarantine_unit"],
        first_row=row["first_row"],
        num_rows=row["num_rows"],
        num_rejects=row["num_rejects"],
        reused=reused,
    )


def read_record(store: Store, prefix: str) -> list[dict[str, Any]]:
    """The rows of the last look; none before the first."""
    pointers = [key for key in store.list(f"{prefix}/") if key.endswith(".json")]
    if not pointers:
        return []
    record = store.read_json(pointers[-1])
    return list(read_table(store, f"{prefix}/{record['record']}.parquet").to_pylist())


def write_record(store: Store, prefix: str, rows: list[dict[str, Any]]) -> str:
    """Make these rows the record; returns the key of the table. Nothing is written when they are it already."""
    table = pa.Table.from_pylist(rows, schema=ACQUISITION)
    written = write_table(store, table, prefix)
    while True:
        pointers = [key for key in store.list(f"{prefix}/") if key.endswith(".json")]
        if pointers and store.read_json(pointers[-1])["record"] == written.sha256:
            return written.key
        sequence = int(pointers[-1].rsplit("/", 1)[1].removesuffix(".json")) + 1 if pointers else 1
        crashpoint("acquire.record.before", prefix)
        # Another run that looked at the same time took the number: ours is the newer look, take the next.
        if store.put_if_absent(f"{prefix}/{sequence:012d}.json", {"record": written.sha256, "rows": len(rows)}):
            crashpoint("acquire.record.after", prefix)
            return written.key
