"""Buckets become stars of verified edges: linear, complete, and a function of their members alone."""

import time

import numpy as np
import pytest

from datasets_pipeline.dedup.edges import Buckets, PairScores, ScoredPairs, buckets_from_keys, score_buckets
from ingot.errors import DataError


def one_bucket(*members: int) -> Buckets:
    return Buckets(np.zeros(len(members), dtype=np.int64), np.array(members, dtype=np.int64))


def same_group(group: np.ndarray, asked: list[tuple[int, int]] | None = None):
    """Documents of one group are the same (1.0), others are not (0.25); records what is asked."""

    def verify(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        if asked is not None:
            asked.extend(zip(left.tolist(), right.tolist(), strict=True))
        return np.where(group[left] == group[right], 1.0, 0.25)

    return verify


def edges_of(pairs: ScoredPairs, threshold: float = 0.8) -> list[tuple[int, int]]:
    passed = pairs.at_least(threshold)
    return list(zip(passed.left.tolist(), passed.right.tolist(), strict=True))


def test_each_member_is_compared_with_the_smallest_only() -> None:
    asked: list[tuple[int, int]] = []
    verify = same_group(np.zeros(10), asked)
    pairs = score_buckets(one_bucket(2, 4, 5, 9), num_documents=10, threshold=0.8, verify=verify)
    assert edges_of(pairs) == asked == [(2, 4), (2, 5), (2, 9)]


def test_those_that_fail_form_a_new_star_at_most_four_times() -> None:
    group = np.array([0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 4])
    pairs = score_buckets(one_bucket(*range(11)), num_documents=11, threshold=0.8, verify=same_group(group))
    # Four centres (0, 1, 2, 3) find their own; the fifth group is left to other bands.
    assert edges_of(pairs) == [(0, 5), (1, 6), (2, 7), (3, 8)]


def test_a_pair_of_several_buckets_is_verified_once() -> None:
    asked: list[tuple[int, int]] = []
    keys = np.array([[7, 1, 5], [7, 1, 5], [7, 2, 5]], dtype=np.uint64)
    buckets = buckets_from_keys(keys, np.array([0, 1, 2]))
    score_buckets(buckets, num_documents=3, threshold=0.8, verify=same_group(np.array([0, 1, 1]), asked))
    assert sorted(asked) == [(0, 1), (0, 2), (1, 2)]
    assert len(asked) == 3


def test_the_edges_of_a_bucket_do_not_depend_on_other_buckets() -> None:
    random = np.random.default_rng(4)
    group = random.integers(0, 6, 60)
    keys = random.integers(0, 8, (60, 3), dtype=np.uint64)
    buckets = buckets_from_keys(keys, np.arange(60))
    together = set(
        edges_of(score_buckets(buckets, num_documents=60, threshold=0.8, verify=same_group(group)))
    )
    alone: set[tuple[int, int]] = set()
    for label in np.unique(buckets.label):
        members = buckets.member[buckets.label == label]
        pairs = score_buckets(one_bucket(*members), num_documents=60, threshold=0.8, verify=same_group(group))
        alone |= set(edges_of(pairs))
    assert together == alone


def test_buckets_do_not_depend_on_the_order_of_documents() -> None:
    random = np.random.default_rng(4)
    keys = random.integers(0, 20, (100, 5), dtype=np.uint64)
    expected = buckets_from_keys(keys, np.arange(100))
    order = random.permutation(100)
    shuffled = buckets_from_keys(keys[order], order)
    assert (shuffled.label == expected.label).all()
    assert (shuffled.member == expected.member).all()
    assert (np.bincount(expected.label)[expected.label] > 1).all()


def test_nothing_in_common_asks_nothing() -> None:
    def verify(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        raise AssertionError("no pair should be asked for")

    for keys in (np.arange(6, dtype=np.uint64).reshape(3, 2), np.empty((0, 2), dtype=np.uint64)):
        buckets = buckets_from_keys(keys, np.arange(len(keys)))
        assert len(score_buckets(buckets, num_documents=3, threshold=0.8, verify=verify)) == 0


def test_a_bucket_of_200_000_documents_takes_seconds() -> None:
    num, bands = 200_000, 14
    group = np.arange(num) % 3  # three boilerplates behind one key: three stars
    asked: list[int] = []

    def verify(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        asked.append(len(left))
        return np.where(group[left] == group[right], 0.95, 0.3)

    started = time.process_time()
    buckets = buckets_from_keys(np.zeros((num, bands), dtype=np.uint64), np.arange(num))
    pairs = score_buckets(buckets, num_documents=num, threshold=0.8, verify=verify)
    assert len(pairs.at_least(0.8)) == num - 3
    assert sum(asked) < 3 * num
    assert time.process_time() - started < 10


@pytest.mark.parametrize("answer", [np.array([0.5]), np.array([0.5, 1.5]), np.array([0.5, np.nan])])
def test_a_callback_that_does_not_answer_each_pair_is_refused(answer: np.ndarray) -> None:
    with pytest.raises(DataError, match="verification of 2 pairs"):
        score_buckets(one_bucket(0, 1, 2), num_documents=3, threshold=0.8, verify=lambda left, right: answer)


def test_known_pairs_are_not_asked_again_in_either_orientation() -> None:
    asked: list[tuple[int, int]] = []
    known = ScoredPairs(np.array([0]), np.array([2]), np.array([0.9]))
    scores = PairScores(4, same_group(np.zeros(4), asked), known)
    assert scores.score(np.array([2, 3, 1]), np.array([0, 1, 3])).tolist() == [0.9, 1.0, 1.0]
    assert asked == [(1, 3)]
    assert scores.score(np.array([3]), np.array([1])).tolist() == [1.0]
    assert len(asked) == 1
