"""Ids after edits, as a list."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from datasets_pipeline.dedup.edges import ScoredPairs
from datasets_pipeline.edits import Span, apply_spans
from datasets_pipeline.normalize import document_id
from datasets_pipeline.parallel import Killed, Pool
from ingot.errors import DataError
from ingot.parquet import read_table
from ingot.storage import Store


@dataclass(frozen=True)
class EditUnit:
    """Edited documents whose text lies in one unit: positions in the documents table, rows of the unit."""

    store: Store
    unit: str
    positions: tuple[int, ...]
    rows: tuple[int, ...]
    spans: tuple[tuple[Span, ...], ...] = field(repr=False)


def edited_ids(store: Store, documents: pa.Table, edits: Sequence[Sequence[Span]], pool: Pool) -> list[bytes | None]:
    """The id of each document's text after its edits: its doc_id when it has none, None when nothing is left."""
    ids: list[bytes | None] = list(documents["doc_id"].to_pylist())
    units, rows = documents["unit"].to_pylist(), documents["row"].to_pylist()
    by_unit: dict[str, list[int]] = {}
    for position, spans in enumerate(edits):
        if spans:
            by_unit.setdefault(units[position], []).append(position)
    tasks = [
        EditUnit(store, unit, tuple(members), tuple(rows[p] for p in members), tuple(tuple(edits[p]) for p in members))
        for unit, members in sorted(by_unit.items())
    ]
    for done in pool.map(edit_unit, tasks):
        if isinstance(done, Killed):
            raise DataError(f"editing documents of unit {done.unit.unit} killed its worker; give workers more memory")
        for position, edited in zip(done.unit.positions, done.result, strict=True):
            ids[position] = edited
    return ids


def edit_unit(unit: EditUnit) -> list[bytes | None]:
    """Ids after edits of one unit's documents; runs in a worker."""
    column = read_table(unit.store, f"documents/{unit.unit}.parquet", columns=["text"])["text"]
    texts = column.take(pa.array(unit.rows, pa.int64())).to_pylist()
    edited = [apply_spans(text, spans) for text, spans in zip(texts, unit.spans, strict=True)]
    return [document_id(text) if text else None for text in edited]


def join_equal_texts(edges: ScoredPairs, ids_after: Sequence[bytes | None], eligible: np.ndarray) -> ScoredPairs:
    """The edges with one more, of similarity 1, from each document to the first one with the same text after edits.

    Rows ascend by doc_id. Without these a held-out text could reach training with its addresses replaced.
    """
    first: dict[bytes, int] = {}
    scores = {(int(a), int(b)): float(j) for a, b, j in zip(edges.left, edges.right, edges.jaccard, strict=True)}
    for row in np.flatnonzero(eligible).tolist():
        after = ids_after[row]
        if after is not None:
            owner = first.setdefault(after, row)
            if owner != row:
                scores[(owner, row)] = 1.0
    pairs = sorted(scores)
    left = np.array([a for a, _ in pairs], np.int64)
    right = np.array([b for _, b in pairs], np.int64)
    return ScoredPairs(left, right, np.array([scores[pair] for pair in pairs], np.float64))
