"""Numbers of documents in four bytes: the same as numpy's functions say."""

import numpy as np
import pytest

from datasets_pipeline import edited
from datasets_pipeline.dedup.edges import ScoredPairs
from datasets_pipeline.dedup.numbers import numbers_where, order_by_group
from datasets_pipeline.edited import EditedIds, join_equal_texts
from datasets_pipeline.judged_parts import Judged


@pytest.mark.parametrize("num", [0, 1, 1000])
def test_numbers_where_a_mask_is_true(num: int) -> None:
    mask = np.random.default_rng(num).random(num) < 0.3
    assert numbers_where(mask).tolist() == np.flatnonzero(mask).tolist()


@pytest.mark.parametrize("num", [0, 1, 1000])
def test_groups_are_brought_together_in_a_stable_order(num: int) -> None:
    group = np.random.default_rng(num).integers(0, 7, num).astype(np.int32)
    order, starts = order_by_group(group, 9)
    assert order.tolist() == np.argsort(group, kind="stable").tolist() and order.dtype == np.int32
    assert starts.tolist() == [0, *np.cumsum(np.bincount(group, minlength=9)).tolist()]


def ids(draw: np.random.Generator, num: int) -> np.ndarray:
    """Few different ids, some of them ending or beginning in zero bytes."""
    made = np.zeros((num, 16), np.uint8)
    made[:, :3] = draw.integers(0, 3, (num, 3)) * 100
    made[:, 9] = draw.integers(0, 2, num)
    return made.view("S16").ravel()


def made_up(draw: np.random.Generator) -> tuple[EditedIds, Judged]:
    doc_id = np.unique(ids(draw, 60))
    num = len(doc_id)
    document = np.flatnonzero(draw.random(num) < 0.6).astype(np.int32)
    after = EditedIds(document, ids(draw, len(document)), draw.random(len(document)) < 0.1)
    flags = np.ones(num, bool)
    none = np.zeros(num, np.int32)
    return after, Judged(doc_id, none, none, draw.random(num) < 0.9, flags, flags, False, np.array([0, num]), (), num)


@pytest.mark.parametrize("seed", range(40))
def test_equal_texts_are_joined_alike_in_one_group_and_in_many(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(seed)
    after, judged = made_up(draw)
    left = np.sort(draw.integers(0, len(judged.doc_id) - 1, 5))
    edges = ScoredPairs(left, left + 1, np.full(5, 0.9)).at_least(0.5)
    whole = join_equal_texts(edges, after, judged, judged.eligible)
    monkeypatch.setattr(edited, "_ROWS_AT_ONCE", 2)
    parts = join_equal_texts(edges, after, judged, judged.eligible)
    assert all(np.array_equal(getattr(whole, name), getattr(parts, name)) for name in ("left", "right", "jaccard"))
    # By brute force: the text that each eligible document has after its edits, and who has it first.
    texts = judged.doc_id.copy()
    texts[after.document] = after.after
    empty = set(after.document[after.is_empty].tolist())
    mine = [n for n in np.flatnonzero(judged.eligible).tolist() if n not in empty]
    first: dict[bytes, int] = {}
    joined = {(first.setdefault(bytes(texts[n]), n), n) for n in mine if first.setdefault(bytes(texts[n]), n) != n}
    found = {(int(a), int(b)) for a, b, score in zip(whole.left, whole.right, whole.jaccard, strict=True) if score == 1}
    assert joined == found


def test_what_is_kept_of_edits_is_that_of_the_documents_asked_for() -> None:
    after, judged = made_up(np.random.default_rng(3))
    asked = np.array([2, 5, 9, len(judged.doc_id) + 3, 5])
    some = after.among(asked[:2], asked[2:])
    assert some.document.tolist() == [n for n in after.document.tolist() if n in asked.tolist()]
    assert some.after.tolist() == [after.after[after.document.tolist().index(n)] for n in some.document.tolist()]
