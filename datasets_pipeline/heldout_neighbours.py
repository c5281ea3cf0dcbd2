"""Which documents may be too close to a held-out one, found unit by unit in workers.

The signatures of the held-out documents lie in one file that all workers map; those of the others are read where they
are stored, a few units at a time, and no process holds more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pyarrow as pa

from datasets_pipeline import heldout
from datasets_pipeline.analyse import features_key, unpack_signatures
from datasets_pipeline.band_index import by_unit
from datasets_pipeline.dedup.bands import NEIGHBOUR_SHAPE, band_key
from datasets_pipeline.dedup.minhash import NUM_PERMUTATIONS
from datasets_pipeline.exchange import Workplace
from datasets_pipeline.judged_parts import Judged
from datasets_pipeline.parallel import Pool, finish_all
from datasets_pipeline.snapshot import OpenUnit
from ingot.parquet import read_table
from ingot.storage import Store

_WHAT = "anchors"
_PAIRS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class SignatureUnit:
    """Documents of a unit whose signatures are asked for, or are compared with the anchors."""

    place: Workplace
    unit: str
    rows: np.ndarray = field(repr=False)
    documents: np.ndarray = field(repr=False)
    """Their numbers."""


class NeighbourSearch:
    """heldout.Candidates over a corpus."""

    def __init__(self, place: Workplace, judged: Judged, units: Sequence[OpenUnit], pool: Pool) -> None:
        self._place, self._judged, self._units, self._pool = place, judged, units, pool

    def __call__(self, anchors: np.ndarray, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(document, anchor, estimated Jaccard) of pairs that share a band and reach the estimate floor."""
        none = np.empty(0, np.int64)
        found = [(none, none, np.empty(0))]
        if len(anchors) and len(documents):
            signatures = np.empty((len(anchors), NUM_PERMUTATIONS), "<u4")
            for unit, rows in finish_all(self._pool, signatures_of, self._tasks(anchors), "reading signatures"):
                signatures[np.searchsorted(anchors, unit.documents)] = rows
            store = self._place.store
            with store.scratch(_WHAT, signatures.nbytes) as folder:
                signatures.tofile(folder / _WHAT)
                store.put_file(self._place.key(_WHAT, 0), folder / _WHAT)
            store.put_bytes(self._place.key(_WHAT, 1), anchors.astype("<i8").tobytes())
            del signatures
            tasks = self._tasks(documents)
            found += [pairs for _, pairs in finish_all(self._pool, near_anchors, tasks, "comparing signatures")]
        document, anchor, estimate = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return document, anchor, estimate

    def _tasks(self, documents: np.ndarray) -> Iterator[SignatureUnit]:
        for number, members in by_unit(self._judged, documents):
            yield SignatureUnit(self._place, self._units[number].unit, self._judged.row[members], members)


def signatures_of(unit: SignatureUnit) -> np.ndarray:
    """uint32 [n, 112]; runs in a worker."""
    key = features_key(unit.unit)
    table = read_table(unit.place.store, key, columns=["signature"]).take(pa.array(unit.rows))
    return np.ascontiguousarray(unpack_signatures(table["signature"]))


def near_anchors(unit: SignatureUnit) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Candidate pairs of a unit's documents with the held-out ones, each once; runs in a worker."""
    signatures = signatures_of(unit)
    anchors = _Anchors.of(unit.place.store, unit.place.key(_WHAT, 0), unit.place.key(_WHAT, 1))
    pairs = _Pairs(signatures, anchors)
    for band in range(NEIGHBOUR_SHAPE.bands):
        keys, order = anchors.sorted_keys(band)
        mine = band_key(signatures, NEIGHBOUR_SHAPE, band)
        low = np.searchsorted(keys, mine, side="left")
        sizes = np.searchsorted(keys, mine, side="right") - low
        ends = np.cumsum(sizes)
        start = 0
        while start < len(sizes):
            before = int(ends[start - 1]) if start else 0
            stop = max(int(np.searchsorted(ends, before + heldout.MAX_PAIRS, side="right")), start + 1)
            piece = sizes[start:stop]
            within = np.arange(int(piece.sum())) - np.repeat(np.cumsum(piece) - piece, piece)
            anchor = order[np.repeat(low[start:stop], piece) + within].astype(np.int64)
            pairs.add(np.repeat(np.arange(start, stop), piece), anchor)
            start = stop
    row, anchor, estimate = pairs.close()
    return unit.documents[row], anchors.document[anchor], estimate


class _Pairs:
    """Pairs that share a band. Most are not close: beyond a bound they are estimated, and only close ones stay."""

    def __init__(self, signatures: np.ndarray, anchors: "_Anchors") -> None:
        self._signatures, self._anchors = signatures, anchors
        self._new: list[np.ndarray] = []
        self._close = np.empty(0, np.int64)
        self._estimate = np.empty(0)

    def add(self, row: np.ndarray, anchor: np.ndarray) -> None:
        """Take pairs of positions, int64 each; the same pair may come again with another band."""
        self._new.append(np.unique(row * len(self._anchors.document) + anchor))
        if sum(len(part) for part in self._new) > heldout.MAX_PAIRS:
            self._look()

    def close(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(row, anchor, estimated Jaccard) of the close ones, each once."""
        self._look()
        num = max(len(self._anchors.document), 1)
        return self._close // num, self._close % num, self._estimate

    def _look(self) -> None:
        codes = np.unique(np.concatenate([np.empty(0, np.int64), *self._new]))
        self._new = []
        num = max(len(self._anchors.document), 1)
        found, estimates = [self._close], [self._estimate]
        for start in range(0, len(codes), _PAIRS_AT_ONCE):
            some = codes[start : start + _PAIRS_AT_ONCE]
            equal = self._signatures[some // num] == self._anchors.signatures[some % num]
            estimate = equal.sum(axis=1) / NUM_PERMUTATIONS
            is_close = estimate >= heldout.ESTIMATE_FLOOR
            found.append(some[is_close])
            estimates.append(estimate[is_close])
        self._close, first = np.unique(np.concatenate(found), return_index=True)
        self._estimate = np.concatenate(estimates)[first]


class _Anchors:
    """The held-out documents as a worker sees them: mapped signatures, and their order by each band's key."""

    def __init__(self, store: Store, signatures: str, documents: str) -> None:
        self.document = np.frombuffer(store.read_bytes(documents), "<i8")
        self.signatures = np.memmap(store.local_path(signatures), "<u4", "r").reshape(-1, NUM_PERMUTATIONS)
        self._orders: dict[int, np.ndarray] = {}

    def sorted_keys(self, band: int) -> tuple[np.ndarray, np.ndarray]:
        """(keys of a band ascending, int32 positions of the documents in that order)."""
        keys = band_key(self.signatures, NEIGHBOUR_SHAPE, band)
        if band not in self._orders:
            self._orders[band] = np.argsort(keys, kind="stable").astype(np.int32)
        return keys[self._orders[band]], self._orders[band]

    @staticmethod
    @lru_cache(maxsize=1)
    def of(store: Store, signatures: str, documents: str) -> "_Anchors":
        """The same object for all units of a run."""
        return _Anchors(store, signatures, documents)
