"""Statistics for comparing two models on the same documents, and for rates. numpy only, seeded.

Bits per byte of a set is a ratio of sums (all bits over all bytes), so documents, not tokens, are resampled:
the tokens of one document are not independent. Pairing matters more than anything else: two models
find the same documents hard, and their difference varies far less than either (Miller 2024,
arXiv:2411.00640).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

_CELLS = 1 << 21  # resampled documents drawn at a time: about 50 MB of work space


@dataclass(frozen=True)
class PairedDifference:
    """First model minus second, in bits per byte (negative: the first is better), with its interval."""

    difference: float
    low: float
    high: float
    p_value: float
    """Two-sided, of "no difference"; the smallest possible value is 2 / (resamples + 1)."""
    num_documents: int


def bits_per_byte(nats: Sequence[float], num_bytes: Sequence[int]) -> float:
    """Code length of all documents together, in bits per UTF-8 byte; independent of any tokenizer.

    Raises ValueError when there is no byte.
    """
    total = sum(num_bytes)
    if total == 0:
        raise ValueError("bits_per_byte: the evaluated text is empty (num_bytes=0); check the held-out split")
    return math.fsum(nats) / (math.log(2) * total)


def paired_bootstrap(
    first_nats: Sequence[float],
    second_nats: Sequence[float],
    num_bytes: Sequence[int],
    *,
    alpha: float = 0.05,
    resamples: int = 10_000,
    seed: int = 0,
) -> PairedDifference:
    """Difference in bits per byte and its percentile interval at level 1 - alpha.

    The three sequences belong to the same documents in the same order. Documents are drawn with
    replacement (numpy PCG64 from `seed`); the result depends on that order and on nothing else.
    Costs about 10 ns per document and resample.
    """
    differences, weights = _paired(first_nats, second_nats, num_bytes)
    count = len(weights)
    random = np.random.Generator(np.random.PCG64(seed))
    ratios = np.empty(resamples)
    step = max(1, _CELLS // count)
    for begin in range(0, resamples, step):
        rows = min(step, resamples - begin)
        drawn = random.integers(0, count, size=(rows, count))
        ratios[begin : begin + rows] = differences[drawn].sum(axis=1) / weights[drawn].sum(axis=1)
    low, high = np.quantile(ratios, [alpha / 2, 1 - alpha / 2])
    tail = min(int((ratios <= 0).sum()), int((ratios >= 0).sum()))
    return PairedDifference(
        difference=float(differences.sum() / weights.sum()),
        low=float(low),
        high=float(high),
        p_value=min(1.0, 2 * (tail + 1) / (resamples + 1)),
        num_documents=count,
    )


def documents_needed(
    first_nats: Sequence[float],
    second_nats: Sequence[float],
    num_bytes: Sequence[int],
    *,
    effect: float,
    alpha: float = 0.05,
    power: float = 0.8,
) -> int | None:
    """About how many documents like these show a true difference `effect` (bits per byte) with this power.

    n = ((z_{1 - alpha/2} + z_power) * s / effect)^2, with s the standard deviation of the documents'
    influence on the ratio of sums. None when no number can be given: fewer than two documents, or an
    effect of zero.
    """
    differences, weights = _paired(first_nats, second_nats, num_bytes)
    if len(weights) < 2 or effect == 0:
        return None
    influence = (differences - differences.sum() / weights.sum() * weights) / weights.mean()
    normal = NormalDist()
    z = normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)
    needed = (z * float(influence.std(ddof=1)) / effect) ** 2
    return max(2, math.ceil(needed)) if math.isfinite(needed) else None


def wilson_interval(successes: int, trials: int, *, alpha: float = 0.05) -> tuple[float, float]:
    """Interval of a rate (Wilson 1927): holds its level for few trials and for rates near 0 and 1."""
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"wilson_interval: {successes} successes in {trials} trials; count at least one trial")
    z = NormalDist().inv_cdf(1 - alpha / 2)
    rate, spread = successes / trials, z * z / trials
    middle = (rate + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(rate * (1 - rate) / trials + spread / (4 * trials))
    # At the ends the formula is exactly 0 or 1; rounding must not leave the unit interval.
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == trials else min(1.0, middle + half)
    return low, high


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values for several tests at once (Holm 1979); reject those at or below alpha."""
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, (name, value) in enumerate(sorted(p_values.items(), key=lambda item: (item[1], item[0]))):
        largest = max(largest, min(1.0, value * (len(p_values) - rank)))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def _paired(
    first_nats: Sequence[float], second_nats: Sequence[float], num_bytes: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Difference in bits and number of bytes, a value a document; refuses what has no meaning."""
    first, second = np.asarray(first_nats, np.float64), np.asarray(second_nats, np.float64)
    weights = np.asarray(num_bytes, np.float64)
    if not len(first) == len(second) == len(weights) or len(weights) == 0:
        raise ValueError(
            f"paired statistics need the same documents on both sides; got {len(first)}, {len(second)} and "
            f"{len(weights)} values"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all() and (weights > 0).all()):
        raise ValueError("paired statistics need finite scores and documents of at least one byte")
    return (first - second) / math.log(2), weights
