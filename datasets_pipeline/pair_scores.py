"""Exact similarity of pairs of documents, measured once per pair and store.

`history/pairs-<verifier version>/` holds what was measured, as sorted segments of at most a million pairs: a cache of
a pure function of two texts. Pairs that it does not hold are measured in two steps. Each unit's text is read once,
whatever the number of pairs, and the sets of shingle hashes of the documents that are asked for are left in a file;
then workers compare pairs by reading those sets. Text stays where it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline.band_index import by_unit
from datasets_pipeline.dedup.ids import id_array, id_keys
from datasets_pipeline.dedup.minhash import VERIFIER_VERSION, jaccard_of_sets, shingle_sets
from datasets_pipeline.exchange import Workplace
from datasets_pipeline.judged_parts import Judged
from datasets_pipeline.parallel import Pool, finish_all
from datasets_pipeline.snapshot import OpenUnit
from ingot.errors import NotFoundError
from ingot.parquet import num_rows, read_table, write_table
from ingot.schemas import PAIRS
from ingot.storage import Store

_PREFIX = f"history/pairs-{VERIFIER_VERSION}"
# Pairs of two documents of 4 kB each make 16 MB of hashes; of longer ones fewer pairs go together.
_PAIRS_PER_UNIT = 2000
_HASHES_PER_UNIT = 1 << 23
_SEGMENT_PAIRS = 1 << 20
_MAX_SMALL_SEGMENTS = 16


@dataclass(frozen=True)
class SetsUnit:
    """Documents of one unit whose shingles are asked for."""

    place: Workplace
    what: str
    number: int
    unit: str
    rows: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class CompareUnit:
    """Pairs to compare: where each document's set lies, and pairs of positions in that list. int64 all."""

    place: Workplace
    what: str
    number: int
    unit: np.ndarray = field(repr=False)
    start: np.ndarray = field(repr=False)
    stop: np.ndarray = field(repr=False)
    left: np.ndarray = field(repr=False)
    right: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class MergeUnit:
    """Segments of measured pairs to make one of."""

    store: Store
    keys: tuple[str, ...]


class PairVerifier:
    """Exact similarity of pairs of documents by number."""

    def __init__(
        self,
        place: Workplace,
        judged: Judged,
        units: Sequence[OpenUnit],
        pool: Pool,
        on_progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        """on_progress is told of pairs, anew for each call that has to measure some."""
        self._place, self._judged, self._units, self._pool = place, judged, units, pool
        self._on_progress = on_progress
        self._segments = place.store.list(f"{_PREFIX}/")
        self._new: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._calls = 0
        self.num_reused = 0
        self.num_measured = 0
        self.text_bytes = 0
        """UTF-8 bytes of the texts whose shingles were computed."""

    def __call__(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """float64 [p]: Jaccard of documents left[i] and right[i]; left is the smaller number, no pair comes twice."""
        scores = self._from_history(left, right)
        missing = np.flatnonzero(np.isnan(scores))
        self.num_reused += len(left) - len(missing)
        self.num_measured += len(missing)
        if len(missing):
            scores[missing] = self._measure(left[missing], right[missing])
            self._new.append((left[missing], right[missing], scores[missing]))
        return scores

    def save(self) -> None:
        """Keep what was measured for the next run."""
        store = self._place.store
        if self._new:
            left, right, scores = (np.concatenate(parts) for parts in zip(*self._new, strict=True))
            order = np.lexsort((right, left))
            for start in range(0, len(order), _SEGMENT_PAIRS):
                piece = order[start : start + _SEGMENT_PAIRS]
                ids = [id_array(self._judged.doc_id[side[piece]]) for side in (left, right)]
                write_table(store, pa.table([*ids, pa.array(scores[piece])], schema=PAIRS), _PREFIX)
        _merge_small(store, self._pool)

    def _from_history(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Similarities that an earlier run measured, NaN elsewhere; one segment in memory at a time."""
        scores = np.full(len(left), np.nan)
        if not self._segments or len(left) == 0:
            return scores
        ids = self._judged.doc_id
        num = len(ids)
        wanted = left * num + right
        order = np.argsort(wanted)
        for key in self._segments:
            try:
                table = read_table(self._place.store, key)
            except NotFoundError:  # a run beside this one merged it: what it held is measured again
                continue
            rows = [np.minimum(np.searchsorted(ids, id_keys(table[name])), num - 1) for name in ("left", "right")]
            here = (ids[rows[0]] == id_keys(table["left"])) & (ids[rows[1]] == id_keys(table["right"]))
            codes = rows[0][here] * num + rows[1][here]
            at = np.minimum(np.searchsorted(wanted, codes, sorter=order), len(wanted) - 1)
            asked = wanted[order[at]] == codes
            scores[order[at[asked]]] = table["jaccard"].to_numpy()[here][asked]
        return scores

    def _measure(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        what = f"shingles-{self._calls}"
        self._calls += 1
        used = np.unique(np.r_[left, right])
        start, stop = np.zeros(len(used), np.int64), np.zeros(len(used), np.int64)
        tasks = []
        members_of: dict[int, np.ndarray] = {}
        for number, members in by_unit(self._judged, used):
            members_of[number] = np.searchsorted(used, members)
            rows = self._judged.row[members].astype(np.int64)
            tasks.append(SetsUnit(self._place, what, number, self._units[number].unit, rows))
        for unit, (offsets, num_bytes) in finish_all(self._pool, write_sets, tasks, "reading texts to compare"):
            start[members_of[unit.number]], stop[members_of[unit.number]] = offsets[:-1], offsets[1:]
            self.text_bytes += num_bytes
        a, b = np.searchsorted(used, left), np.searchsorted(used, right)
        unit_of = self._judged.place[used].astype(np.int64)
        # Neighbouring places together, so that a worker opens few files.
        order = np.lexsort((start[b], unit_of[b], start[a], unit_of[a]))
        scores = np.empty(len(left))
        sizes = stop - start
        pieces = _pieces(order, (sizes[a] + sizes[b])[order])
        comparing = []
        for number, piece in enumerate(pieces):
            mine, position = np.unique(np.r_[a[piece], b[piece]], return_inverse=True)
            sides = position[: len(piece)], position[len(piece) :]
            comparing.append(CompareUnit(self._place, what, number, unit_of[mine], start[mine], stop[mine], *sides))
        finished = 0
        for compared, found in finish_all(self._pool, compare, comparing, "comparing near-duplicates"):
            scores[pieces[compared.number]] = found
            finished += len(found)
            if self._on_progress is not None:
                self._on_progress("compare", finished, len(left))
        for task in tasks:
            self._place.store.delete(self._place.key(what, task.number))
        return scores


def _pieces(order: np.ndarray, num_hashes: np.ndarray) -> list[np.ndarray]:
    """Pairs in their order, cut so that the sets of each piece fit a worker; a pair that is too large goes alone."""
    ends = np.cumsum(num_hashes)
    pieces: list[np.ndarray] = []
    start = 0
    while start < len(order):
        before = int(ends[start - 1]) if start else 0
        stop = int(np.searchsorted(ends, before + _HASHES_PER_UNIT, side="right"))
        stop = max(start + 1, min(stop, start + _PAIRS_PER_UNIT))
        pieces.append(order[start:stop])
        start = stop
    return pieces


def write_sets(unit: SetsUnit) -> tuple[np.ndarray, int]:
    """(offsets int64 [n + 1] of each document's hashes in the file, bytes of their texts); runs in a worker."""
    texts = read_table(unit.place.store, f"documents/{unit.unit}.parquet", columns=["text"])["text"]
    texts = texts.take(pa.array(unit.rows)).combine_chunks()
    hashes, offsets = shingle_sets(texts)
    with unit.place.store.scratch(unit.what, hashes.nbytes) as folder:
        path = folder / "sets"
        hashes.tofile(path)
        unit.place.store.put_file(unit.place.key(unit.what, unit.number), path)
    return offsets, int(pc.sum(pc.binary_length(texts)).as_py() or 0)


def compare(unit: CompareUnit) -> np.ndarray:
    """float64: Jaccard of each pair; runs in a worker."""
    sizes = unit.stop - unit.start
    offsets = np.r_[0, np.cumsum(sizes)]
    hashes = np.empty(int(offsets[-1]), np.uint64)
    for number in np.unique(unit.unit).tolist():
        path = unit.place.store.local_path(unit.place.key(unit.what, number))
        with open(path, "rb") as file:
            for position in np.flatnonzero(unit.unit == number).tolist():
                file.seek(int(unit.start[position]) * 8)
                file.readinto(hashes[offsets[position] : offsets[position + 1]].data)
    return jaccard_of_sets(hashes, offsets, unit.left, unit.right)


def _merge_small(store: Store, pool: Pool) -> None:
    try:
        sizes = {key: num_rows(store, key) for key in store.list(f"{_PREFIX}/")}
    except NotFoundError:  # a run beside this one merges them
        return
    small = sorted((key for key, size in sizes.items() if size < _SEGMENT_PAIRS // 2), key=lambda k: (sizes[k], k))
    if len(small) <= _MAX_SMALL_SEGMENTS:
        return
    chosen: list[str] = []
    for key in small:
        if sum(sizes[k] for k in chosen) + sizes[key] <= _SEGMENT_PAIRS:
            chosen.append(key)
    for _ in finish_all(pool, merge_pairs, [MergeUnit(store, tuple(chosen))], "merging measured pairs"):
        pass


def merge_pairs(unit: MergeUnit) -> None:
    """Make one segment of several, then remove them; runs in a worker."""
    try:
        table = pa.concat_tables([read_table(unit.store, key) for key in unit.keys])
    except NotFoundError:  # a run beside this one merges them
        return
    left, right = id_keys(table["left"]), id_keys(table["right"])
    order = np.lexsort((right, left))
    once = np.ones(len(order), bool)
    once[1:] = (left[order][1:] != left[order][:-1]) | (right[order][1:] != right[order][:-1])
    merged = write_table(unit.store, table.take(pa.array(order[once])).cast(PAIRS), _PREFIX)
    for old in unit.keys:
        if old != merged.key:
            unit.store.delete(old)
