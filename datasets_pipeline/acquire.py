"""Look at a source, read what is new or changed, remember the rest (CONTRACTS 2).

A file whose size, mtime and stated attributes are unchanged is not opened; one whose bytes are unchanged is not
extracted again. What a run works with is the snapshot that `acquire` returns.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from datasets_pipeline import looks
from datasets_pipeline.acquisition_record import Record, could_not_look, read_record, write_record
from datasets_pipeline.documents import FileOutcome, FileTask, ReadUnit, halves, read_unit
from datasets_pipeline.jail import walls
from datasets_pipeline.looks import Look
from datasets_pipeline.normalize import TEXT_VERSION, UNICODE_VERSION
from datasets_pipeline.parallel import Killed, Pool
from datasets_pipeline.sources.base import FileEntry
from ingot import credentials, registry
from ingot.config import NamedConfig
from ingot.digests import fingerprint, sha256_hex
from ingot.errors import DataError, IntegrityError, StorageError
from ingot.parquet import num_rows, read_table
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
    limits = {f"limit.{name}": str(getattr(entry.config, name)) for name in ("max_cpu_seconds", "max_memory_bytes")}
    versions = {**limits, "text": TEXT_VERSION, "unicode": UNICODE_VERSION, **module.extraction_version(entry.config)}
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
    jail: str = walls.AUTO,
    choose: Callable[[list[FileEntry]], list[FileEntry]] | None = None,
    on_progress: Progress | None = None,
) -> SourceSnapshot:
    """Bring the store up to date with one source and return its snapshot.

    place is the expanded uri; now is an ISO 8601 time that goes into the record only; jail is how hostile bytes
    are shut in; choose takes a sample of the files, in a store made for it (None: all). Raises DataError when the
    source lists no file at all.
    """
    config = entry.config.model_copy(update={"uri": place})
    module = registry.load("source", entry.name)
    digest = extraction_digest(entry)
    prefix = f"acquisition/{config.name}/{digest[:16]}"
    record = Record(store, read_record(store, prefix), place_digest=sha256_hex(place.encode()))
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
    if choose is not None:
        listing = choose(listing)
    unchanged, tasks = record.sort_out(listing)
    values = {**config.model_dump(mode="json"), "uri": place}
    # Small enough that every worker gets some; how files are grouped never shows in a version.
    share = sum(task.entry.size for task in tasks) // (4 * pool.num_workers)
    groups = group_by_size(tasks, min(unit_bytes, max(share, _SMALLEST_UNIT_BYTES)))
    secrets = credentials.to_hand_on(getattr(config, "credentials", None))
    units = [ReadUnit(store, entry.name, values, digest, files, jail, secrets) for files in groups]
    outcomes = dict(unchanged)
    for done in _read_all(pool, units, config.name, on_progress):
        for outcome in done:
            outcomes[outcome.uri] = outcome
    key = write_record(store, prefix, record.updated(listing, outcomes, now))
    counts, reasons = _count(store, config.name, listing, outcomes, set(unchanged), record)
    counts |= {f"skipped_{reason}": num for reason, num in sorted(skipped.items())}
    looks.remember(store, Look(config.name, entry.name, prefix, now, counts, reasons))
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


def _count(
    store: Store,
    source: str,
    listing: list[FileEntry],
    outcomes: dict[str, FileOutcome],
    untouched: set[str],
    record: Record,
) -> tuple[dict[str, int], dict[str, int]]:
    listed = {entry.uri for entry in listing}
    read = [o for o in outcomes.values() if o.outcome == "read"]
    quarantined = [o for o in outcomes.values() if o.outcome == "quarantined"]
    was_open = [row for rows in record.by_uri.values() for row in rows if row["state"] == "open"]
    # With other options every file is read again, under a record of its own: it is not new for that.
    known = {row["uri"] for row in was_open} or looks.open_uris(store, source)
    counts = {
        "seen": len(listing),
        "read": sum(not o.reused for o in read),
        "unchanged": sum(o.reused for o in read),
        "quarantined": len(quarantined),
        "opened": len(listing) - len(untouched),
        "new": sum(uri not in known for uri in listed),
        "gone": len(known - listed),
        "superseded": sum(
            row["uri"] in listed
            and row["digest"] not in ("", outcomes[row["uri"]].digest)
            and not could_not_look(outcomes[row["uri"]])
            for row in was_open
        ),
        "rejected_rows": sum(o.num_rejects for o in read),
    }
    if counts["seen"] != counts["read"] + counts["unchanged"] + counts["quarantined"]:
        raise IntegrityError(f"the books of the files do not balance: {counts}; please report it")
    return counts, dict(sorted(Counter(o.reason or "unknown" for o in quarantined).items()))
