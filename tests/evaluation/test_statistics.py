"""Intervals hold their level, pairing helps, and refusals are clear."""

import math

import numpy as np
import pytest

from evaluation.statistics import bits_per_byte, documents_needed, holm, paired_bootstrap, wilson_interval

LN2 = math.log(2)


def synthetic(seed: int, *, documents: int = 80, effect: float = 0.05) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nats of a model, of one `effect` bits per byte worse, bytes; hard documents are hard for both."""
    draw = np.random.default_rng(seed)
    num_bytes = draw.integers(200, 4000, documents)
    hardness = draw.normal(2.0, 0.5, documents)
    first = (hardness + draw.normal(0, 0.1, documents)) * num_bytes * LN2
    second = (hardness + effect + draw.normal(0, 0.1, documents)) * num_bytes * LN2
    return first, second, num_bytes


def test_bits_per_byte_of_the_uniform_model_over_bytes_is_eight() -> None:
    assert bits_per_byte([100 * math.log(256)], [100]) == 8.0
    assert bits_per_byte([3 * math.log(256), 7 * math.log(256)], [3, 7]) == pytest.approx(8.0, rel=1e-15)
    with pytest.raises(ValueError, match="num_bytes=0"):
        bits_per_byte([], [])


def test_the_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        first, second, num_bytes = synthetic(seed)
        result = paired_bootstrap(first, second, num_bytes, resamples=400, seed=seed)
        covered += result.low <= -0.05 <= result.high
    low, high = wilson_interval(covered, 200, alpha=0.001)
    assert low < 0.95 < high


def test_exchanging_the_models_mirrors_the_difference_and_its_interval() -> None:
    first, second, num_bytes = synthetic(1)
    one = paired_bootstrap(first, second, num_bytes, resamples=1000)
    other = paired_bootstrap(second, first, num_bytes, resamples=1000)
    assert (one.difference, one.low, one.high) == pytest.approx((-other.difference, -other.high, -other.low))
    assert one.p_value == other.p_value
    assert one == paired_bootstrap(first, second, num_bytes, resamples=1000)
    assert one != paired_bootstrap(first, second, num_bytes, resamples=1000, seed=1)


def test_the_difference_is_that_of_the_two_ratios_of_sums() -> None:
    first, second, num_bytes = synthetic(2)
    result = paired_bootstrap(first, second, num_bytes, resamples=200)
    expected = bits_per_byte(first, num_bytes) - bits_per_byte(second, num_bytes)
    assert result.difference == pytest.approx(expected)


def test_pairing_makes_the_interval_many_times_narrower() -> None:
    first, second, num_bytes = synthetic(3)
    paired = paired_bootstrap(first, second, num_bytes, resamples=1000)
    order = np.random.default_rng(0).permutation(len(first))
    shuffled = second[order] / num_bytes[order] * num_bytes
    unpaired = paired_bootstrap(first, shuffled, num_bytes, resamples=1000)
    assert (unpaired.high - unpaired.low) > 3 * (paired.high - paired.low)


def test_equal_models_differ_by_nothing() -> None:
    first, _, num_bytes = synthetic(4)
    result = paired_bootstrap(first, first, num_bytes, resamples=200)
    assert (result.difference, result.low, result.high, result.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_the_number_of_documents_needed_gives_about_the_power_asked_for() -> None:
    first, second, num_bytes = synthetic(5, documents=2000)
    needed = documents_needed(first, second, num_bytes, effect=0.05, power=0.8)
    assert needed is not None and 20 < needed < 300
    found = 0
    for seed in range(150):
        sample = synthetic(1000 + seed, documents=needed)
        found += paired_bootstrap(*sample, resamples=300, seed=seed).high < 0
    assert 0.68 < found / 150 < 0.92
    assert documents_needed(first, second, num_bytes, effect=0.025) == pytest.approx(4 * needed, abs=4)
    assert documents_needed(first, second, num_bytes, effect=0.0) is None
    assert documents_needed([1.0], [2.0], [3], effect=1.0) is None


def test_scores_that_are_not_finite_or_not_paired_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        paired_bootstrap([float("nan")], [1.0], [1])
    with pytest.raises(ValueError, match="same documents"):
        paired_bootstrap([1.0], [1.0, 2.0], [1, 1])
    with pytest.raises(ValueError, match="same documents"):
        paired_bootstrap([], [], [])


def test_wilson_intervals_agree_with_published_examples() -> None:
    # Newcombe 1998 (Statistics in Medicine 17:857), table I, method 3 (score interval).
    for successes, trials, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
    ]:
        assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(29, 29)[1] == 1.0
    with pytest.raises(ValueError, match="0 trials"):
        wilson_interval(0, 0)


def test_holm_corrects_a_worked_example() -> None:
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert holm({}) == {}
