"""What the process of a flow holds for each document while it joins texts, finds components and splits: 64 bytes.

Each pair of near-duplicates costs more, whatever the number of documents.
"""

import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from datasets_pipeline import band_index
from datasets_pipeline.decide import _relate
from datasets_pipeline.dedup import edges
from datasets_pipeline.dedup.clusters import ORDER_SCHEMA, connected_components
from datasets_pipeline.exchange import Workplace
from datasets_pipeline.judged_parts import Judged
from datasets_pipeline.pair_scores import PairVerifier
from datasets_pipeline.parallel import Done
from ingot.config import parse_recipe
from ingot.storage import Store

DOCUMENTS, UNITS = 1_500_000, 300
BYTES_PER_DOCUMENT, BYTES_PER_PAIR = 64, 500
# Whatever the number of documents: pieces of a fixed size, tasks of a window, modules.
FIXED_BYTES = 8 << 20


class Answers:
    """A pool whose workers' answers are made up, so that only what the flow's own process holds is measured."""

    num_workers = 2

    def __init__(self, judged: Judged, num_pairs: int) -> None:
        self._judged, self._pairs, self._draw = judged, num_pairs, np.random.default_rng(5)

    def map(self, function: Callable[[Any], Any], units: Iterable[Any], **_: Any) -> Iterator[Done]:
        answer = getattr(self, function.__name__)
        for unit in units:
            yield Done(unit, answer(unit), "", 0.0)

    def edit_unit(self, unit: Any) -> tuple[np.ndarray, ...]:
        position = np.flatnonzero(self._judged.place == unit.number)
        ids = self._draw.integers(1, 256, (len(position), 16), dtype=np.uint8).view("S16").ravel()
        return np.zeros(len(position), np.int64), position, ids, np.zeros(len(position), bool)

    def write_segment(self, unit: Any) -> None:
        assert sum(len(rows) for _, rows in unit.places) > 0

    def shared_keys(self, unit: Any) -> tuple[np.ndarray, bytes]:
        """Neighbours in pairs, the same in every band."""
        return np.full(self._pairs, 2, np.int32), self._judged.doc_id[: 2 * self._pairs].tobytes()

    def write_sets(self, unit: Any) -> tuple[np.ndarray, int]:
        return np.arange(len(unit.rows) + 1), 0

    def compare(self, unit: Any) -> np.ndarray:
        return np.ones(len(unit.left))

    def signatures_of(self, unit: Any) -> np.ndarray:
        return np.ones((len(unit.rows), 112), np.uint32)

    def near_anchors(self, unit: Any) -> tuple[np.ndarray, ...]:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)

    def order_of_part(self, unit: Any) -> Any:
        num = len(unit.doc_ids)
        values = {"source_rank": 0, "stated_date": None, "family": None, "version": None, "language": "en",
                  "quality": 1.0, "length": 9}  # fmt: skip
        columns = [pa.repeat(pa.scalar(values[field.name], field.type), num) for field in ORDER_SCHEMA]
        return unit.doc_ids, pa.table(columns, schema=ORDER_SCHEMA)


def made_up(edited: bool) -> Judged:
    draw = np.random.default_rng(4)
    ids = draw.integers(1, 256, (DOCUMENTS, 16), dtype=np.uint8).view("S16").ravel()
    ids.sort()
    return Judged(
        doc_id=ids,
        place=draw.integers(0, UNITS, DOCUMENTS).astype(np.int32),
        row=draw.integers(0, 9000, DOCUMENTS).astype(np.int32),
        eligible=np.ones(DOCUMENTS, bool),
        has_words=np.ones(DOCUMENTS, bool),
        drawn=draw.random(DOCUMENTS) < 0.002,
        any_failed=False,
        part_starts=np.array([0, DOCUMENTS]),
        edited=(np.arange(UNITS if edited else 0, dtype=np.int32),),
        num_edited=DOCUMENTS if edited else 0,
    )


@pytest.mark.parametrize(
    ("edited", "num_pairs"),
    [(False, 1), (True, 1), (False, DOCUMENTS // 20)],
    ids=["as stored", "all edited", "a tenth in pairs"],
)
def test_joins_and_components_take_at_most_64_bytes_a_document(
    edited: bool, num_pairs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = made_up(edited)
    store = Store(str(tmp_path / "store"))
    units: Any = [SimpleNamespace(unit=f"{n:064x}") for n in range(UNITS)]
    pool: Any = Answers(judged, num_pairs)
    source = {"source": "folder", "name": "wiki", "uri": str(tmp_path)}
    recipe = parse_recipe({"corpus": "harbour", "sources": [source]})
    judging: Any = SimpleNamespace(place=Workplace(store, ".tmp/joins"), census=SimpleNamespace(num_parts=1))
    answers = iter([np.zeros, np.ones])  # nothing is indexed, then all is
    monkeypatch.setattr(band_index, "_indexed", lambda *_: next(answers)(DOCUMENTS, bool))
    # Members of buckets looked at together: a bound of its own, up to 256 MB.
    monkeypatch.setitem(edges.score_stars.__kwdefaults__, "max_members", 1 << 16)
    connected_components(2, np.array([0]), np.array([1]))  # numba is loaded before the count begins
    held = sum(column.nbytes for column in vars(judged).values() if isinstance(column, np.ndarray))
    tracemalloc.start()
    try:
        verify = PairVerifier(judging.place, judged, units, pool)
        _, split, _, yielding = _relate(store, recipe, judging, judged, units, verify, pool)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0.95 * num_pairs <= len(yielding.document) <= num_pairs and np.count_nonzero(split == 1) > 1000
    each = (held + peak - FIXED_BYTES) / DOCUMENTS
    print(f"{each:.1f} bytes a document")  # docs/decisions/016 quotes it; pytest -s shows it
    assert each <= BYTES_PER_DOCUMENT + BYTES_PER_PAIR * num_pairs / DOCUMENTS, f"{each:.1f} bytes a document"
