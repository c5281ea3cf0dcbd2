"""The first look of a decision at what is open: the snapshot's digest, which documents there are, and where to cut.

Each worker takes one unit and returns its ids and some of its places; the lines whose digest names the snapshot stay
in sorted files. What is cut here is how the work is spread, and never shows in a version, but for one thing: parts of
documents end where the decision record is cut, so that a worker can write its pieces of that record whole.
"""

import heapq
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from datasets_pipeline.decision_rows import cuts_after
from datasets_pipeline.dedup.ids import id_bytes, id_keys
from datasets_pipeline.exchange import Workplace
from datasets_pipeline.parallel import Pool, finish_all
from datasets_pipeline.snapshot import OpenUnit, identity_lines, occurrences_of, snapshot_digest

#: Documents of one part, at most and about: with every feature they take 50 MB.
PART_DOCUMENTS = 1 << 15
# A small corpus is cut finer, so that every core has parts to work on; below this a part is mostly overhead.
_LEAST_DOCUMENTS, _PARTS = 1 << 13, 16
_SAMPLE_EVERY = 256
# Files merged at a time: a process may have 1,024 open by default, and a corpus of 32 GB has as many units.
_OPEN_FILES = 256

Place = tuple[str, str, int, bytes]
"""(source, uri, start, doc_id): what rows of a version are ordered by."""


@dataclass(frozen=True)
class CensusUnit:
    """One unit to look at."""

    place: Workplace
    open: OpenUnit


@dataclass(frozen=True)
class Census:
    """What there is to decide about."""

    snapshot_digest: str
    num_occurrences: int
    part_ends: np.ndarray
    """S16 [p - 1]: the last doc_id of every part but the last."""
    range_starts: tuple[Place, ...]
    """Where each range of places begins but the first."""

    @property
    def num_parts(self) -> int:
        """Parts by doc_id."""
        return len(self.part_ends) + 1

    @property
    def num_ranges(self) -> int:
        """Ranges by place."""
        return len(self.range_starts) + 1

    def part_of(self, doc_ids: np.ndarray) -> np.ndarray:
        """int64 [n]: the part of each doc_id (S16)."""
        return np.searchsorted(self.part_ends, doc_ids, side="left")

    def range_of(self, places: Iterator[Place]) -> np.ndarray:
        """int64 [n]: the range of each place."""
        return np.array([bisect_right(self.range_starts, place) for place in places], np.int64)


def take_census(place: Workplace, units: Sequence[OpenUnit], pool: Pool) -> Census:
    """Look at every open occurrence once; 16 bytes each in memory."""
    ids: list[np.ndarray] = []
    samples: list[Place] = []
    tasks = [CensusUnit(place, unit) for unit in units]
    for _, (part, sampled) in finish_all(pool, census_of_unit, tasks, "listing what is open"):
        ids.append(np.frombuffer(part, "S16"))
        samples += sampled
    with place.store.scratch("lines") as folder:
        paths = [place.store.local_path(place.key("lines", unit.number)) for unit in units]
        digest = snapshot_digest([_lines(path) for path in _merged(paths, folder)])
    every = np.concatenate([np.empty(0, "S16"), *ids])
    ids.clear()
    every.sort()
    size = min(PART_DOCUMENTS, max(_LEAST_DOCUMENTS, len(every) // _PARTS))
    step = max(1, size // _SAMPLE_EVERY)
    return Census(digest, len(every), _part_ends(every, size), tuple(sorted(set(samples))[step::step]))


def census_of_unit(unit: CensusUnit) -> tuple[bytes, list[Place]]:
    """(doc_ids of a unit's occurrences, some of their places); writes its lines; runs in a worker."""
    occurrences = occurrences_of(unit.place.store, unit.open)
    with unit.place.store.scratch("lines") as folder:
        path = folder / "lines"
        path.write_bytes(b"".join(line + b"\n" for line in identity_lines(occurrences)))
        unit.place.store.put_file(unit.place.key("lines", unit.open.number), path)
    sampled = occurrences.take(pa.array(range(0, len(occurrences), _SAMPLE_EVERY), pa.int64()))
    return id_keys(occurrences["doc_id"]).tobytes(), list(places_of(sampled))


def places_of(table: pa.Table) -> Iterator[Place]:
    """The place of each row."""
    return zip(*(table[name].to_pylist() for name in ("source", "uri", "start", "doc_id")), strict=True)


def _merged(paths: list[Path], folder: Path) -> list[Path]:
    """The sorted files, or as many fewer as may be open at a time that hold the same lines in the same order."""
    round_ = 0
    while len(paths) > _OPEN_FILES:
        merged = []
        for start in range(0, len(paths), _OPEN_FILES):
            merged.append(folder / f"{round_}-{start}")
            with open(merged[-1], "wb") as file:
                for line in heapq.merge(*(_lines(path) for path in paths[start : start + _OPEN_FILES])):
                    file.write(line + b"\n")
        paths, round_ = merged, round_ + 1
    return paths


def _lines(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        for line in file:
            yield line[:-1]


def _part_ends(ids: np.ndarray, size: int) -> np.ndarray:
    """The first document at or after every size-th occurrence that the decision record is cut after."""
    ends: list[bytes] = []
    position = size
    while position < len(ids) - 1:
        if cuts_after(id_bytes(ids[position : position + 1])[0]):
            ends += id_bytes(ids[position : position + 1])
            position += size
        else:
            position += 1
    return np.array(ends, "S16")
