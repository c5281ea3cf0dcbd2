"""What a document's text is after its edits, as an id: two texts that redaction made equal are one text.

Reads the text of edited documents only; runs in workers, returns ids.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from datasets_pipeline.dedup.edges import ScoredPairs
from datasets_pipeline.dedup.numbers import order_by_group
from datasets_pipeline.edits import apply_spans
from datasets_pipeline.exchange import Workplace, read_part
from datasets_pipeline.judged_parts import Judged, Judging
from datasets_pipeline.normalize import document_id
from datasets_pipeline.parallel import Pool, finish_all
from datasets_pipeline.snapshot import OpenUnit
from ingot.parquet import read_table

_ROWS_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class EditUnit:
    """Edited documents whose text lies in one unit, and the parts that hold their spans."""

    place: Workplace
    number: int
    unit: str
    parts: tuple[int, ...]


@dataclass(frozen=True)
class EditedIds:
    """Documents with edits, ascending by number, and the ids of their texts afterwards."""

    document: np.ndarray
    """int32 [e]"""
    after: np.ndarray
    """S16 [e]; of no meaning where nothing is left."""
    is_empty: np.ndarray
    """bool [e]: nothing is left."""

    def among(self, *documents: np.ndarray) -> "EditedIds":
        """Of these documents (numbers, in any order) alone."""
        asked = np.unique(np.concatenate(documents)).astype(np.int32)
        at = np.searchsorted(self.document, asked)
        inside = at < len(self.document)
        at, asked = at[inside], asked[inside]
        at = at[self.document[at] == asked]
        return EditedIds(self.document[at], self.after[at], self.is_empty[at])

    def after_of(self, judged: Judged, documents: np.ndarray) -> np.ndarray:
        """S16: the id of each document's text after its edits, its own where it has none."""
        ids = judged.doc_id[documents].copy()
        if len(self.document):
            at = np.minimum(np.searchsorted(self.document, documents), len(self.document) - 1)
            is_edited = self.document[at] == documents
            ids[is_edited] = self.after[at[is_edited]]
        return ids


def edited_ids(judging: Judging, judged: Judged, units: list[OpenUnit], pool: Pool) -> EditedIds:
    """The id of each edited document's text after its edits."""
    parts_of: dict[int, list[int]] = {}
    for part, places in enumerate(judged.edited):
        for place in places.tolist():
            parts_of.setdefault(place, []).append(part)
    tasks = [EditUnit(judging.place, k, units[k].unit, tuple(parts)) for k, parts in sorted(parts_of.items())]
    num = judged.num_edited
    document, after, is_empty = np.empty(num, np.int32), np.empty(num, "S16"), np.empty(num, bool)
    filled = 0
    for _, (part, position, ids, empty) in finish_all(pool, edit_unit, tasks, "editing documents"):
        mine = slice(filled, filled + len(ids))
        document[mine], after[mine], is_empty[mine] = judged.part_starts[part] + position, ids, empty
        filled += len(ids)
    assert filled == num, f"{filled} of {num} edited documents came back"
    order = np.argsort(document).astype(np.int32)
    # Half an id at a time: a second copy of all of them is what this process has no room for.
    halves = after.view(np.uint64).reshape(-1, 2)
    for half in halves.T:
        half[:] = half[order]
    return EditedIds(document[order], after, is_empty[order])


def edit_unit(unit: EditUnit) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(part, position in it, id after edits, whether nothing is left) of one unit's edited documents."""
    edits = read_part(unit.place, "edits", unit.parts, unit.number)
    column = read_table(unit.place.store, f"documents/{unit.unit}.parquet", columns=["text"])["text"]
    ids: list[bytes] = []
    rows, spans = edits["row"], edits["spans"]
    for text, found in zip(column.take(rows).to_pylist(), spans.to_pylist(), strict=True):
        after = apply_spans(text, found)
        ids.append(document_id(after) if after else b"")
    return (
        edits["part"].to_numpy(),
        edits["position"].to_numpy(),
        np.array(ids, "S16"),
        np.array([not after for after in ids], bool),
    )


def join_equal_texts(edges: ScoredPairs, edited: EditedIds, judged: Judged, eligible: np.ndarray) -> ScoredPairs:
    """The edges with one more, of similarity 1, from each document to the first one with the same text after edits.

    Documents ascend by doc_id. Without these a held-out text could reach training with its addresses replaced.
    """
    pairs = [_pairs_of_equal_texts(rows, edited, judged, eligible) for rows in _by_after(edited.after)]
    if not pairs:
        return edges
    left, right = (np.concatenate(side) for side in zip(*pairs, strict=True))
    num = len(judged.doc_id)
    old = edges.left * num + edges.right
    new = left * num + right
    kept = ~np.isin(old, new)
    codes = np.r_[old[kept], new]
    order = np.argsort(codes)
    scores = np.r_[edges.jaccard[kept], np.ones(len(new))]
    return ScoredPairs(codes[order] // num, codes[order] % num, scores[order])


def _by_after(after: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of ids (S16) in groups of about `_ROWS_AT_ONCE`, equal ids in one group."""
    if len(after) == 0:
        return
    bits = min(16, (len(after) // _ROWS_AT_ONCE).bit_length())
    group = after.view(">u2")[:: after.itemsize // 2].astype(np.int32) >> (16 - bits)
    order, starts = order_by_group(group, 1 << bits)
    del group
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        if stop > start:
            yield order[start:stop]


def _pairs_of_equal_texts(
    rows: np.ndarray, edited: EditedIds, judged: Judged, eligible: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(first document of a text, another one with it), int64 each, of some rows of `edited`."""
    document = edited.document[rows].astype(np.int64)
    mine = eligible[document] & ~edited.is_empty[rows]
    document, after = document[mine], edited.after[rows[mine]]
    # A text that is not edited may be what another one becomes.
    wanted = np.unique(after)
    at = np.minimum(np.searchsorted(judged.doc_id, wanted), len(judged.doc_id) - 1)
    there = (judged.doc_id[at] == wanted) & eligible[at]
    number = at.astype(np.int32)
    there &= edited.document[np.minimum(np.searchsorted(edited.document, number), len(edited.document) - 1)] != number
    document, after = np.r_[document, at[there]], np.r_[after, wanted[there]]
    order = np.lexsort((document, after))
    document, after = document[order], after[order]
    opens = np.ones(len(after), bool)
    opens[1:] = after[1:] != after[:-1]
    owner = document[np.flatnonzero(opens)[np.cumsum(opens) - 1]]
    return owner[~opens], document[~opens]
