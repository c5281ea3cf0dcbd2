"""Whose turn it is: exact shares at every prefix, and what happens when a part has given all it may."""

import random
import time
from fractions import Fraction

import numpy as np
import pytest

from training.shares import MAX_PERIOD, Shares, take_turns


@pytest.mark.parametrize("seed", range(12))
def test_every_part_is_less_than_a_row_from_its_share_at_every_prefix(seed: int) -> None:
    draw = random.Random(seed)
    weights = tuple(draw.randrange(1, 60) for _ in range(draw.randrange(2, 7)))
    parts, _ = Shares(weights, [None] * len(weights)).served(np.arange(3 * sum(weights)))
    for part, weight in enumerate(weights):
        counts = np.cumsum(parts == part).tolist()
        share = Fraction(weight, sum(weights))
        assert max(abs(count - share * (row + 1)) for row, count in enumerate(counts)) < 1


def test_a_period_holds_exactly_the_weights_and_never_changes_between_releases() -> None:
    # A checkpoint's order is arithmetic on these turns; another order needs another kind of sampler.
    assert take_turns((7, 3)).tolist() == [0, 1, 0, 0, 0, 1, 0, 0, 1, 0]
    assert take_turns((5, 3, 2)).tolist() == [0, 1, 0, 2, 0, 1, 0, 2, 1, 0]
    assert np.bincount(take_turns((50, 31, 19))).tolist() == [50, 31, 19]


def test_a_part_that_reached_its_limit_leaves_its_share_to_the_others_by_their_weights() -> None:
    shares = Shares([6, 3, 1], [30, None, None])
    assert shares.row_of_end(0) == pytest.approx(50, abs=2)
    parts, counts = shares.served(np.arange(450))
    assert (parts == 0).sum() == 30 and counts[parts == 0].tolist() == list(range(30))
    after = parts[shares.row_of_end(0) :]
    assert not (after == 0).any()
    assert abs((after == 1).sum() - 0.75 * len(after)) < 1 and shares.num_rows is None


def test_with_every_part_limited_all_rows_are_served_and_no_more() -> None:
    limits = [11, 40, 3]
    shares = Shares([1, 2, 5], limits)
    assert shares.num_rows == sum(limits)
    parts, counts = shares.served(np.arange(sum(limits)))
    for part, limit in enumerate(limits):
        assert counts[parts == part].tolist() == list(range(limit))
    assert [shares.row_of_end(part) for part in range(3)] == [
        int(np.flatnonzero(parts == part)[-1]) + 1 for part in range(3)
    ]
    with pytest.raises(ValueError, match="row 55 is outside the 54 rows"):
        shares.counts_at(55)


@pytest.mark.parametrize("seed", range(6))
def test_any_row_alone_is_what_reading_from_the_start_gives(seed: int) -> None:
    draw = random.Random(seed)
    num = draw.randrange(2, 5)
    weights = [draw.randrange(1, 9) for _ in range(num)]
    shares = Shares(weights, [draw.randrange(1, 90) if draw.random() < 0.6 else None for _ in range(num - 1)] + [None])
    parts, counts = shares.served(np.arange(400))
    so_far = np.zeros(num, dtype=int)
    for row in range(400):
        assert shares.counts_at(row).tolist() == so_far.tolist()
        part, count = shares.served(np.array([row]))
        assert (part[0], count[0]) == (parts[row], counts[row]) and counts[row] == so_far[parts[row]]
        so_far[parts[row]] += 1


def test_a_far_row_costs_no_more_than_a_near_one() -> None:
    shares = Shares([7, 3], [None, 10**9])
    far = 10**12
    began = time.perf_counter()
    parts, counts = shares.served(np.array([far]))
    assert time.perf_counter() - began < 0.1
    # The second part ended long before, so all that came after is the first one's.
    assert (parts[0], counts[0]) == (0, far - 10**9)


def test_the_longest_period_is_made_in_seconds() -> None:
    began = time.perf_counter()
    turns = take_turns((MAX_PERIOD - 3, 1, 1, 1))
    assert np.bincount(turns).tolist() == [MAX_PERIOD - 3, 1, 1, 1]
    assert time.perf_counter() - began < 10
