"""What a threshold rule answers: one verdict a document, as columns, and the helper that makes them.

Inside one rule the first failing check wins, as in datatrove: it gives the reason, its score and the
threshold it broke. A document that passes, and one that is not judged, has nulls there.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Verdicts:
    """Rows as in the features table. reason null means passed; abstained means not judged."""

    reason: pa.Array
    score: pa.Array
    threshold: pa.Array
    abstained: pa.Array


@dataclass(frozen=True)
class Check:
    """One comparison of a rule over all rows; threshold NaN where it is switched off or has none."""

    reason: str
    failed: Bools
    score: Floats
    threshold: Floats


_watcher: ContextVar[list[tuple["Check", Bools]] | None] = ContextVar("watcher", default=None)


@contextmanager
def watched_checks() -> Iterator[list[tuple[Check, Bools]]]:
    """Every check that is made inside, with the rows it judged: for pictures of scores and thresholds."""
    seen: list[tuple[Check, Bools]] = []
    token = _watcher.set(seen)
    try:
        yield seen
    finally:
        _watcher.reset(token)


def below(reason: str, score: Floats, threshold: Floats) -> Check:
    """Fails where score < threshold; never where either is NaN (not defined, switched off)."""
    return Check(reason, score < threshold, score, threshold)


def above(reason: str, score: Floats, threshold: Floats) -> Check:
    """Fails where score > threshold; never where either is NaN (not defined, switched off)."""
    return Check(reason, score > threshold, score, threshold)


def first_failing(checks: Sequence[Check], judged: Bools) -> Verdicts:
    """Verdicts of a rule from its checks in their published order; rows not judged abstain."""
    if (seen := _watcher.get()) is not None:
        seen += [(check, judged) for check in checks]
    num_rows = len(judged)
    winner = np.full(num_rows, -1, dtype=np.int32)
    score, threshold = np.full(num_rows, np.nan), np.full(num_rows, np.nan)
    for index, check in enumerate(checks):
        hits = check.failed & judged & (winner < 0)
        winner[hits] = index
        score[hits] = check.score[hits]
        threshold[hits] = check.threshold[hits]
    reasons = pa.array([check.reason for check in checks], pa.string())
    return Verdicts(
        reason=reasons.take(pa.array(winner, mask=winner < 0)),
        score=pa.array(score, pa.float64(), from_pandas=True),
        threshold=pa.array(threshold, pa.float64(), from_pandas=True),
        abstained=pa.array(~judged, pa.bool_()),
    )


def column(features: pa.Table, name: str) -> Floats:
    """A feature column as float64; counts stay exact up to 2**53."""
    return features[name].to_numpy().astype(np.float64)


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """numerator / denominator; NaN, which no check fails on, where there is nothing to divide by."""
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator != 0)
