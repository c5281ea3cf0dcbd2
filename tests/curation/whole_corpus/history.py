"""Buckets and similarities of a corpus whose signatures are all in memory, nothing kept from run to run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pyarrow as pa

from datasets_pipeline.dedup.bands import BandShape, history_segment
from datasets_pipeline.dedup.edges import Buckets
from datasets_pipeline.dedup.minhash import has_shingles, jaccard_pairs
from datasets_pipeline.parallel import Killed, Pool
from ingot.errors import DataError
from ingot.parquet import read_table
from ingot.storage import Store

_PAIRS_PER_UNIT = 2000


def band_buckets(
    shape: BandShape, doc_ids: pa.Array, signatures: np.ndarray, eligible: np.ndarray
) -> Buckets:
    """Buckets of the eligible documents, members numbered by row; doc_ids ascend.

    Every key of every document is in memory.
    """
    ids = _id_keys(doc_ids)
    has_words = has_shingles(signatures)
    index = history_segment(doc_ids.filter(pa.array(has_words)), signatures[has_words], shape)
    index_ids = _id_keys(index["doc_id"].combine_chunks())
    row = np.searchsorted(ids, index_ids) if len(ids) else np.zeros(len(index_ids), np.int64)
    row = np.minimum(row, max(len(ids) - 1, 0))
    present = (ids[row] == index_ids) & eligible[row] if len(ids) else np.zeros(len(index_ids), bool)
    band = index["band"].to_numpy()[present].astype(np.uint64)
    key = index["key"].to_numpy()[present]
    member = row[present].astype(np.int64)
    order = np.lexsort((member, key, band))
    band, key, member = band[order], key[order], member[order]
    # Two runs at the same time may each have added a document: it is one member of its bucket.
    once = np.ones(len(member), bool)
    once[1:] = (band[1:] != band[:-1]) | (key[1:] != key[:-1]) | (member[1:] != member[:-1])
    band, key, member = band[once], key[once], member[once]
    opens = np.ones(len(member), bool)
    opens[1:] = (band[1:] != band[:-1]) | (key[1:] != key[:-1])
    label = np.cumsum(opens) - 1
    shared = np.bincount(label)[label] > 1 if len(label) else opens
    return Buckets(label[shared].astype(np.int64), member[shared])


def _id_keys(doc_ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Document ids as numpy S16, which compares like the 16 bytes do."""
    array = doc_ids.combine_chunks() if isinstance(doc_ids, pa.ChunkedArray) else doc_ids
    if len(array) == 0:
        return np.empty(0, dtype="S16")
    return np.frombuffer(array.buffers()[1], "S16", count=array.offset + len(array))[array.offset :]


@dataclass(frozen=True)
class Place:
    """Where a document's text lies."""

    unit: str
    row: int


@dataclass(frozen=True)
class CompareUnit:
    """Pairs to compare, for a worker: places of the texts, and pairs of their positions."""

    store: Store
    number: int
    places: tuple[Place, ...] = field(repr=False)
    left: tuple[int, ...] = field(repr=False)
    right: tuple[int, ...] = field(repr=False)


class PairVerifier:
    """Exact similarity of pairs of rows; measured once per pair of documents and store."""

    def __init__(
        self,
        store: Store,
        doc_ids: Sequence[bytes],
        places: Sequence[Place],
        pool: Pool,
        on_progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        """on_progress is told of pairs, anew for each call that has to measure some."""
        self._store, self._ids, self._places, self._pool = store, doc_ids, places, pool
        self._on_progress = on_progress
        self._scores: dict[tuple[bytes, bytes], float] = {}
        self._new: list[tuple[bytes, bytes]] = []
        self.num_reused = 0

    @property
    def num_measured(self) -> int:
        """Pairs whose texts were read in this run."""
        return len(self._new)

    def __call__(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """float64 [p]: Jaccard of rows left[i] and right[i]."""
        pairs = [self._pair(a, b) for a, b in zip(left.tolist(), right.tolist(), strict=True)]
        missing = [i for i, pair in enumerate(pairs) if pair not in self._scores]
        self.num_reused += len(pairs) - len(missing)
        if missing:
            self._measure([(int(left[i]), int(right[i])) for i in missing])
        return np.array([self._scores[pair] for pair in pairs], np.float64)

    def _pair(self, a: int, b: int) -> tuple[bytes, bytes]:
        left, right = self._ids[a], self._ids[b]
        return (left, right) if left < right else (right, left)

    def _measure(self, rows: list[tuple[int, int]]) -> None:
        # Neighbouring places together, so that a worker opens few units.
        rows.sort(key=lambda pair: (self._places[pair[0]].unit, self._places[pair[1]].unit, pair))
        finished = 0
        parts = [rows[i : i + _PAIRS_PER_UNIT] for i in range(0, len(rows), _PAIRS_PER_UNIT)]
        for done in self._pool.map(compare_unit, [self._unit(number, part) for number, part in enumerate(parts)]):
            if isinstance(done, Killed):
                raise DataError("comparing near-duplicates killed its worker; give workers more memory, run again")
            for (a, b), score in zip(parts[done.unit.number], done.result, strict=True):
                self._scores[self._pair(a, b)] = score
                self._new.append(self._pair(a, b))
            finished += len(parts[done.unit.number])
            if self._on_progress is not None:
                self._on_progress("compare", finished, len(rows))

    def _unit(self, number: int, rows: list[tuple[int, int]]) -> CompareUnit:
        used = sorted({row for pair in rows for row in pair})
        position = {row: i for i, row in enumerate(used)}
        return CompareUnit(
            self._store,
            number,
            tuple(self._places[row] for row in used),
            tuple(position[a] for a, _ in rows),
            tuple(position[b] for _, b in rows),
        )


def compare_unit(unit: CompareUnit) -> list[float]:
    """Jaccard of each pair of a unit; reads the texts it needs; runs in a worker."""
    texts: list[str] = [""] * len(unit.places)
    by_unit: dict[str, list[int]] = {}
    for i, place in enumerate(unit.places):
        by_unit.setdefault(place.unit, []).append(i)
    for name, positions in by_unit.items():
        column = _text_column(unit.store, name)
        picked = column.take(pa.array([unit.places[i].row for i in positions], pa.int64())).to_pylist()
        for i, text in zip(positions, picked, strict=True):
            texts[i] = text
    scores = jaccard_pairs(pa.array(texts, pa.large_string()), np.array(unit.left), np.array(unit.right))
    return [float(score) for score in scores]


@lru_cache(maxsize=4)
def _text_column(store: Store, unit: str) -> pa.ChunkedArray:
    return read_table(store, f"documents/{unit}.parquet", columns=["text"])["text"]
