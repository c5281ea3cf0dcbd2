"""What is held out stays held out, and nothing near it is trained on."""

import tracemalloc
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from datasets_pipeline import heldout, heldout_neighbours
from datasets_pipeline.dedup import minhash
from datasets_pipeline.dedup.bands import NEIGHBOUR_SHAPE
from datasets_pipeline.dedup.edges import PairScores
from datasets_pipeline.dedup.near import find_near_duplicates
from datasets_pipeline.exchange import Workplace
from datasets_pipeline.heldout import EXCLUDED, HELDOUT, NOT_ELIGIBLE, TRAIN, SplitAssignment, find_neighbours
from datasets_pipeline.heldout_neighbours import SignatureUnit, near_anchors
from ingot.config import NearDedup
from ingot.errors import RecipeError
from ingot.storage import Store
from tests.dedup.conftest import GroundTruth, doc_ids_of, generated_texts, order_table, verifier

SALT = b"salt of the tests"


def split(
    texts: list[str], share: float = 0.1, eligible: np.ndarray | None = None
) -> tuple[SplitAssignment, np.ndarray]:
    """The splits of distinct texts, and their clusters."""
    text, doc_ids = pa.array(texts, pa.large_string()), doc_ids_of(texts)
    eligible = np.ones(len(texts), bool) if eligible is None else eligible
    rows, verify = minhash.signatures(text), verifier(text)
    near = find_near_duplicates(
        doc_ids, rows, order_table(len(texts)), eligible, config=NearDedup(), verify=verify
    )
    assigned = heldout.assign_splits(
        doc_ids, rows, eligible, near.cluster, salt=SALT, share=share, verify=verify, known=near.edges
    )
    return assigned, near.cluster


def named(texts: list[str], assigned: SplitAssignment) -> dict[str, tuple[int, str | None, float | None]]:
    return {
        text: (int(s), texts[n] if n >= 0 else None, None if np.isnan(j) else float(j))
        for text, s, n, j in zip(texts, assigned.split, assigned.near, assigned.jaccard, strict=True)
    }


def test_the_draw_is_the_keyed_hash_of_the_doc_id_below_the_share() -> None:
    doc_ids = doc_ids_of([str(i) for i in range(2000)])
    drawn = heldout.draw(doc_ids, salt=SALT, share=0.05)
    numbers = [
        int.from_bytes(blake2b(i, key=SALT, digest_size=8).digest(), "big") for i in doc_ids.to_pylist()
    ]
    assert drawn.tolist() == [number < 0.05 * 2**64 for number in numbers]
    assert 60 < drawn.sum() < 140
    assert (heldout.draw(doc_ids, salt=SALT, share=0.2) >= drawn).all()
    assert (heldout.draw(doc_ids, salt=b"another", share=0.05) != drawn).any()
    assert heldout.draw(doc_ids, salt=SALT, share=1.0).all()
    assert not heldout.draw(doc_ids, salt=SALT, share=0.0).any()


def test_a_share_or_salt_out_of_range_is_refused() -> None:
    with pytest.raises(RecipeError, match="share is 1.5"):
        heldout.draw(doc_ids_of(["a"]), salt=SALT, share=1.5)
    with pytest.raises(RecipeError, match="salt has 0 bytes"):
        heldout.draw(doc_ids_of(["a"]), salt=b"", share=0.5)


def test_one_of_a_cluster_is_evaluated_and_the_rest_is_excluded() -> None:
    texts = generated_texts(80, seed=21, num_originals=3)
    assigned, cluster = split(texts, share=0.3)
    ids = np.array(doc_ids_of(texts).to_pylist(), dtype=object)
    drawn = heldout.draw(doc_ids_of(texts), salt=SALT, share=0.3)
    for label in np.unique(cluster):
        members = np.flatnonzero(cluster == label)
        candidates = members[drawn[members]]
        if len(candidates):
            smallest = min(candidates, key=lambda row: ids[row])
            assert assigned.split[smallest] == HELDOUT
            others = members[members != smallest]
            assert (assigned.split[others] == EXCLUDED).all()
            assert (assigned.near[others] == smallest).all()
    assert (assigned.split == HELDOUT).sum() == len(np.unique(cluster[drawn]))


def test_every_neighbour_of_a_held_out_document_is_excluded_and_says_of_which() -> None:
    texts = generated_texts(120, seed=22)  # banding is probabilistic and misses none of these
    assigned, _ = split(texts, share=0.15)
    held = np.flatnonzero(assigned.split == HELDOUT)
    for row in np.flatnonzero(assigned.split == TRAIN):
        assert all(minhash.jaccard(texts[row], texts[h]) < 0.5 for h in held)
    excluded = np.flatnonzero(assigned.split == EXCLUDED)
    assert len(excluded) > 20
    for row in excluded:
        assert assigned.split[assigned.near[row]] == HELDOUT
        assert assigned.jaccard[row] == minhash.jaccard(texts[row], texts[assigned.near[row]])


def test_new_data_never_moves_a_document_from_held_out_to_train() -> None:
    texts = generated_texts(240, seed=23, num_originals=20)
    before: dict[str, int] = {}
    was_held = 0
    for grown in range(40, 241, 40):
        subset = texts[:grown]
        assigned, _ = split(subset, share=0.1)
        now = dict(zip(subset, assigned.split.tolist(), strict=True))
        for text, earlier in before.items():
            was_held += earlier == HELDOUT
            assert not (earlier == HELDOUT and now[text] == TRAIN)
            assert not (earlier == TRAIN and now[text] == HELDOUT)
        before = now
    assert was_held > 20


def test_splits_do_not_depend_on_the_order_of_documents() -> None:
    texts = generated_texts(120, seed=24)
    expected = named(texts, split(texts)[0])
    order = np.random.default_rng(0).permutation(len(texts))
    shuffled = [texts[i] for i in order]
    assert named(shuffled, split(shuffled)[0]) == expected


def test_documents_that_are_not_eligible_are_in_no_split() -> None:
    texts = generated_texts(100, seed=25)
    eligible = np.random.default_rng(2).random(100) < 0.5
    assigned, _ = split(texts, share=0.2, eligible=eligible)
    assert ((assigned.split == NOT_ELIGIBLE) == ~eligible).all()
    kept = [text for text, takes_part in zip(texts, eligible, strict=True) if takes_part]
    alone = named(kept, split(kept, share=0.2)[0])
    assert {t: v for t, v in named(texts, assigned).items() if v[0] != NOT_ELIGIBLE} == alone


def test_documents_without_words_can_be_held_out_and_exclude_nothing() -> None:
    texts = ["?" * i for i in range(1, 30)]
    assigned, _ = split(texts, share=0.3)
    assert set(assigned.split.tolist()) == {TRAIN, HELDOUT}


def test_nothing_to_split_is_fine() -> None:
    assert len(split([])[0].split) == 0
    assert (split(generated_texts(5, seed=1), share=0.0)[0].split == TRAIN).all()


def test_nearly_all_real_pairs_across_train_and_heldout_are_found(
    truth: GroundTruth, truth_signatures: np.ndarray
) -> None:
    """Banding at J = 0.5 is probabilistic; of the pairs that must not be split, few may remain."""
    num = len(truth.texts)
    verify = verifier(truth.texts)
    assigned = heldout.assign_splits(
        truth.doc_ids,
        truth_signatures,
        np.ones(num, bool),
        np.arange(num),
        salt=SALT,
        share=0.05,
        verify=verify,
    )
    near = verify(truth.left, truth.right) >= 0.5
    a, b = assigned.split[truth.left[near]], assigned.split[truth.right[near]]
    crossing = ((a == HELDOUT) & (b == TRAIN)) | ((a == TRAIN) & (b == HELDOUT))
    touching = (a == HELDOUT) ^ (b == HELDOUT)
    assert touching.sum() > 500
    assert crossing.sum() <= 0.005 * touching.sum()


def test_candidates_that_are_all_estimated_below_the_floor_are_no_neighbours():
    signatures = np.arange(2 * 112, dtype=np.uint32).reshape(2, 112)
    signatures[1, :3] = signatures[0, :3]  # one band of three is shared: a candidate, estimated at 3 of 112
    scores = PairScores(2, lambda left, right: np.zeros(len(left)))
    found, anchors = find_neighbours(signatures, np.array([0]), np.array([1]), scores)
    assert len(found) == len(anchors) == 0


def test_a_band_that_all_share_takes_no_memory_for_pairs_that_are_not_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    signatures = rng.integers(0, 1 << 32, (3000, minhash.NUM_PERMUTATIONS), np.uint32)
    signatures[:, : NEIGHBOUR_SHAPE.rows] = 7
    signatures[100:130, :80] = signatures[2000:2030, :80]  # these are close
    anchors, documents = np.arange(1500), np.arange(1500, 3000)
    store = Store(str(tmp_path))
    place = Workplace(store, ".tmp/test")
    store.put_bytes(place.key("anchors", 0), signatures[anchors].tobytes())
    store.put_bytes(place.key("anchors", 1), anchors.astype("<i8").tobytes())
    monkeypatch.setattr(heldout_neighbours, "signatures_of", lambda unit: signatures[unit.documents])
    unit = SignatureUnit(place, "unit", documents, documents)
    expected = sorted(zip(*heldout.all_candidates(signatures, anchors, documents, NEIGHBOUR_SHAPE), strict=True))
    monkeypatch.setattr(heldout, "MAX_PAIRS", 50_000)
    monkeypatch.setattr(heldout_neighbours, "_PAIRS_AT_ONCE", 4096)
    tracemalloc.start()
    document, anchor, estimate = near_anchors(unit)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sorted(zip(document, anchor, estimate, strict=True)) == sorted(set(expected))
    assert len(document) == 30
    assert peak < 9_000_000, "2,250,000 pairs share a band: 18 MB"
