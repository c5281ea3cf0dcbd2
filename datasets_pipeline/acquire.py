"""Look at a source, read what is new or changed, remember the rest (CONTRACTS 2).

The acquisition record of a source holds every file ever seen with its state: open, gone (the place
no longer exists) or superseded (the same uri now holds another text). A file whose size, mtime and
stated attributes are unchanged is not opened; one whose bytes are unchanged is not extracted again.
The record is a cache: what a run works with is the snapshot that `acquire` returns.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from datasets_pipeline.documents import FileOutcome, FileTask, ReadUnit, halves, read_unit
from datasets_pipeline.normalize import TEXT_VERSION, UNICODE_VERSION
from datasets_pipeline.parallel import Killed, Pool
from datasets_pipeline.sources.base import FileEntry
from ingot import credentials, registry
from ingot.config import NamedConfig
from ingot.crashpoints import crashpoint
from ingot.digests import digest_of, fingerprint, sha256_hex
from ingot.errors import DataError, IntegrityError, StorageError
from ingot.parquet import num_rows, read_table, write_table
from ingot.schemas import ACQUISITION
from ingot.storage import Store

logger = logging.getLogger(__name__)

ACQUIRE_VERSION = "2"
_SMALLEST_UNIT_BYTES = 1 << 20

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total) as units finish."""


@dataclass(frozen=True)
class OpenFile:
    """A file of the snapshot and where its documents lie."""

    uri: str
    unit: str
    first_row: int
    num_rows: int


@dataclass(frozen=True)
class SourceSnapshot:
    """One source as it stood at the cut of this run."""

    source: str
    record_key: str
    """The acquisition record of this look; it names the open files and where their documents lie."""
    counts: dict[str, int]
    """files seen = read + unchanged + quarantined; also gone, superseded, rejected rows, and what a listing
    passes over by kind: links out of the folder, devices, other file systems, names that are not text."""
    reasons: dict[str, int]
    """Quarantined files by reason."""


def extraction_versions(entry: NamedConfig) -> dict[str, str]:
    """Versions of everything that turns this source's bytes into stored text."""
    module, own = registry.load("source", entry.name), registry.own_digest("source", entry.name)
    versions = {"text": TEXT_VERSION, "unicode": UNICODE_VERSION, **module.extraction_version(entry.config)}
    return {**versions, **({"source_file": own} if own else {})}


def extraction_digest(entry: NamedConfig) -> str:
    """Identity of how this source's files become text; a change reads every file again."""
    return fingerprint(
        "acquire", ACQUIRE_VERSION, values={"source": entry.name}, inputs={}, versions=extraction_versions(entry)
    )


def acquire(
    store: Store,
    entry: NamedConfig,
    pool: Pool,
    *,
    place: str,
    unit_bytes: int,
    now: str,
    on_progress: Progress | None = None,
) -> SourceSnapshot:
    """Bring the store up to date with one source and return its snapshot.

    place is the expanded uri; now is an ISO 8601 time that goes into the record only. Raises DataError
    when the source lists no file at all.
    """
    config = entry.config.model_copy(update={"uri": place})
    module = registry.load("source", entry.name)
    digest = extraction_digest(entry)
    prefix = f"acquisition/{config.name}/{digest[:16]}"
    record = _Record(store, _read_record(store, prefix), place_digest=sha256_hex(place.encode()))
    skipped: Counter[str] = Counter()
    listing: list[FileEntry] = list(module.list_files(config, skipped))
    if skipped["unreadable"]:
        # Taken for gone, everything below such a folder would leave the corpus without a word.
        raise StorageError(
            f"source {config.name}: {skipped['unreadable']} files or folders cannot be read; give this user "
            "permission, or exclude them in the recipe"
        )
    if not listing:
        raise DataError(
            f"source {config.name}: no file matches include {list(config.include)} without exclude "
            f"{list(config.exclude)}; check the uri and the globs of the recipe"
        )
    unchanged, tasks = record.sort_out(listing)
    values = {**config.model_dump(mode="json"), "uri": place}
    # Small enough that every worker gets some; how files are grouped never shows in a version.
    share = sum(task.entry.size for task in tasks) // (4 * pool.num_workers)
    groups = group_by_size(tasks, min(unit_bytes, max(share, _SMALLEST_UNIT_BYTES)))
    secrets = credentials.to_hand_on(getattr(config, "credentials", None))
    units = [ReadUnit(store, entry.name, values, digest, files, secrets) for files in groups]
    outcomes = dict(unchanged)
    for done in _read_all(pool, units, config.name, on_progress):
        for outcome in done:
            outcomes[outcome.uri] = outcome
    key = _write_record(store, prefix, record.updated(listing, outcomes, now))
    counts, reasons = _count(listing, outcomes, set(unchanged), record)
    counts |= {f"skipped_{reason}": num for reason, num in sorted(skipped.items())}
    logger.info(
        "source %s: %s files seen: %s read, %s unchanged, %s quarantined; %s gone",
        config.name, *(f"{counts[k]:,}" for k in ("seen", "read", "unchanged", "quarantined", "gone")),
    )  # fmt: skip
    return SourceSnapshot(config.name, key, counts, reasons)


def open_files(store: Store, snapshot: SourceSnapshot) -> list[OpenFile]:
    """The files of a snapshot that gave documents, by uri."""
    table = read_table(store, snapshot.record_key, columns=["uri", "state", "outcome", "unit", "first_row", "num_rows"])
    return [
        OpenFile(row["uri"], row["unit"], row["first_row"], row["num_rows"])
        for row in table.to_pylist()
        if row["state"] == "open" and row["outcome"] == "read" and row["unit"] is not None
    ]


def units_of(store: Store, snapshots: Iterable[SourceSnapshot]) -> list[tuple[str, int]]:
    """(unit, number of its rows) of every unit that the snapshots read from."""
    names = sorted({file.unit for snapshot in snapshots for file in open_files(store, snapshot)})
    return [(name, num_rows(store, f"documents/{name}.parquet")) for name in names]


def group_by_size(tasks: Iterable[FileTask], unit_bytes: int) -> Iterator[tuple[FileTask, ...]]:
    """Cut files, in order, into groups of about unit_bytes."""
    group: list[FileTask] = []
    size = 0
    for task in tasks:
        if group and size + task.entry.size > unit_bytes:
            yield tuple(group)
            group, size = [], 0
        group.append(task)
        size += task.entry.size
    if group:
        yield tuple(group)


def _read_all(
    pool: Pool, units: list[ReadUnit], source: str, on_progress: Progress | None
) -> Iterator[list[FileOutcome]]:
    total = sum(len(unit.files) for unit in units)
    finished = 0
    for done in pool.map(read_unit, units, split=halves):
        if isinstance(done, Killed):
            (task,) = done.unit.files
            yield [FileOutcome(task.entry.uri, "", "quarantined", "killed", retry=True)]
        else:
            yield done.result
        finished += len(done.unit.files)
        if on_progress is not None:
            on_progress(f"read {source}", finished, total)


class _Record:
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
                unchanged[entry.uri] = _outcome(same, reused=True)
            else:
                there = (row for row in rows if row["digest"] and row["unit"] not in self._lost)
                known = {row["digest"]: _outcome(row) for row in there}
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
            and row["attributes_digest"] == _attributes_digest(entry)
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
            "first_row": outcome.first_row,
            "num_rows": outcome.num_rows,
            "num_rejects": outcome.num_rejects,
            "size": entry.size,
            "mtime_ns": entry.mtime_ns,
            "attributes_digest": _attributes_digest(entry),
            "place_digest": self.place_digest,
            "first_seen": before[outcome.digest]["first_seen"] if outcome.digest in before else now,
        }


def _attributes_digest(entry: FileEntry) -> str:
    """What is stated about a file; with its store's version mark, because S3 keeps time in whole seconds."""
    return digest_of(entry.attributes if entry.etag is None else {**entry.attributes, "etag": entry.etag})


def _outcome(row: dict[str, Any], *, reused: bool = False) -> FileOutcome:
    return FileOutcome(
        uri=row["uri"],
        digest=row["digest"],
        outcome=row["outcome"],
        reason=row["reason"],
        retry=row["retry"],
        unit=row["unit"],
        first_row=row["first_row"],
        num_rows=row["num_rows"],
        num_rejects=row["num_rejects"],
        reused=reused,
    )


def _count(
    listing: list[FileEntry], outcomes: dict[str, FileOutcome], untouched: set[str], record: _Record
) -> tuple[dict[str, int], dict[str, int]]:
    listed = {entry.uri for entry in listing}
    read = [o for o in outcomes.values() if o.outcome == "read"]
    quarantined = [o for o in outcomes.values() if o.outcome == "quarantined"]
    was_open = [row for rows in record.by_uri.values() for row in rows if row["state"] == "open"]
    counts = {
        "seen": len(listing),
        "read": sum(not o.reused for o in read),
        "unchanged": sum(o.reused for o in read),
        "quarantined": len(quarantined),
        "opened": len(listing) - len(untouched),
        "gone": sum(row["uri"] not in listed for row in was_open),
        "superseded": sum(
            row["uri"] in listed and row["digest"] not in ("", outcomes[row["uri"]].digest) for row in was_open
        ),
        "rejected_rows": sum(o.num_rejects for o in read),
    }
    if counts["seen"] != counts["read"] + counts["unchanged"] + counts["quarantined"]:
        raise IntegrityError(f"the books of the files do not balance: {counts}; please report it")
    return counts, dict(sorted(Counter(o.reason or "unknown" for o in quarantined).items()))


def _read_record(store: Store, prefix: str) -> list[dict[str, Any]]:
    pointers = [key for key in store.list(f"{prefix}/") if key.endswith(".json")]
    if not pointers:
        return []
    record = store.read_json(pointers[-1])
    return list(read_table(store, f"{prefix}/{record['record']}.parquet").to_pylist())


def _write_record(store: Store, prefix: str, rows: list[dict[str, Any]]) -> str:
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
