"""The shape of the bands follows from the threshold; keys and the history index follow from signatures."""

import numpy as np
import pyarrow as pa
import pytest

from datasets_pipeline.dedup import minhash
from datasets_pipeline.dedup.bands import (
    NEIGHBOUR_SHAPE,
    BandShape,
    band_keys,
    band_shape,
    history_segment,
)
from ingot.errors import RecipeError
from ingot.schemas import HISTORY
from tests.dedup.conftest import GroundTruth, doc_ids_of, generated_texts


def test_shapes_of_common_thresholds_are_stated() -> None:
    assert [band_shape(t) for t in (0.7, 0.8, 0.9, 1.0)] == [
        BandShape(16, 4),
        BandShape(14, 6),
        BandShape(10, 10),
        BandShape(1, 112),
    ]


@pytest.mark.parametrize("threshold", [0.5, 0.62, 0.75, 0.8, 0.87, 0.95, 0.99])
def test_a_shape_finds_the_stated_share_at_its_threshold_and_no_other_is_more_selective(
    threshold: float,
) -> None:
    chosen = band_shape(threshold)
    assert chosen.candidate_probability(threshold) >= 0.985
    assert chosen.bands * chosen.rows <= minhash.NUM_PERMUTATIONS
    for rows in range(1, 113):
        for bands in range(1, 112 // rows + 1):
            other = BandShape(bands, rows)
            if other.candidate_probability(threshold) >= 0.985:
                assert chosen.false_candidate_rate(threshold) <= other.false_candidate_rate(threshold)


def test_an_unreachable_recall_is_refused_with_the_threshold() -> None:
    with pytest.raises(RecipeError, match=r"threshold 0\.01"):
        band_shape(0.01, num_permutations=16)


def test_neighbour_bands_find_pairs_at_one_half() -> None:
    assert NEIGHBOUR_SHAPE.candidate_probability(0.5) > 0.99
    assert NEIGHBOUR_SHAPE.bands * NEIGHBOUR_SHAPE.rows <= minhash.NUM_PERMUTATIONS


def test_keys_are_equal_exactly_where_the_rows_of_a_band_are() -> None:
    random = np.random.default_rng(3)
    rows = random.integers(0, 2, (200, 12), dtype=np.uint32)  # two values, so that rows often agree
    shape = BandShape(bands=4, rows=3)
    keys = band_keys(rows, shape)
    for band in range(4):
        part = rows[:, 3 * band : 3 * band + 3]
        same_rows = (part[:, None] == part[None]).all(axis=2)
        assert (same_rows == (keys[:, None, band] == keys[None, :, band])).all()
    assert len(np.unique(keys[:, 0])) + len(np.unique(keys[:, 1])) == len(np.unique(keys[:, :2]))


def test_a_history_segment_is_sorted_and_the_same_in_any_order_of_documents() -> None:
    texts = [*generated_texts(50, seed=2), "?!"]
    ids, rows = doc_ids_of(texts), minhash.signatures(pa.array(texts))
    segment = history_segment(ids, rows, band_shape(0.8))
    assert segment.schema.equals(HISTORY)
    assert segment.num_rows == 50 * 14  # the text without words is in no band
    assert segment.equals(
        segment.sort_by([("band", "ascending"), ("key", "ascending"), ("doc_id", "ascending")])
    )
    order = np.random.default_rng(0).permutation(len(texts))
    assert history_segment(ids.take(pa.array(order)), rows[order], band_shape(0.8)).equals(segment)


def test_bands_find_985_in_1000_of_the_real_pairs_before_verification(
    truth: GroundTruth, truth_signatures: np.ndarray
) -> None:
    exact = minhash.jaccard_pairs(truth.texts, truth.left, truth.right)
    for threshold in (0.7, 0.8):
        keys = band_keys(truth_signatures, band_shape(threshold))
        similar = exact >= threshold
        found = (keys[truth.left[similar]] == keys[truth.right[similar]]).any(axis=1)
        assert found.mean() >= 0.985
