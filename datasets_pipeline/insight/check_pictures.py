"""The scores that a rule's checks compare, counted into bins, and their picture with the thresholds as cuts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline.distributions import binned
from datasets_pipeline.rules.verdicts import Bools, Check, Floats
from ingot.count_pictures import Cut, histogram_svg
from ingot.pictures import Markup

_NUM_BINS = 40
_FACTORS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
_MAX_CUTS = 4
_MAX_LANGUAGES = 3


@dataclass(frozen=True)
class CheckCounts:
    """One check of a rule: what it compares, over the documents the rule judges."""

    reason: str
    edges: list[float]
    counts: list[int]
    """Documents per bin, below the first edge, between, and from the last on."""
    before: list[tuple[float, str]]
    """Thresholds that were, with the languages they held for; empty where it was off or the rule is new."""
    after: list[tuple[float, str]]
    failed_before: int
    failed_after: int

    @property
    def is_changed(self) -> bool:
        return self.before != self.after or self.failed_before != self.failed_after


Seen = Sequence[tuple[Check, Bools]]


def count_checks(seen: Seen, earlier: Seen, language: pa.ChunkedArray, judged: Bools) -> list[CheckCounts]:
    """The checks that have a threshold before or after, those that changed first.

    earlier: the same rule's checks as they were; empty for a new rule. judged: documents inside the rule's scope.
    """
    were = {check.reason: (check, rows) for check, rows in earlier}
    found = []
    for check, rows in seen:
        old = were.get(check.reason)
        rows = rows & judged
        after = _thresholds(check.threshold, rows, language)
        before = _thresholds(old[0].threshold, old[1], language) if old else []
        values = check.score[rows & np.isfinite(check.score)]
        if not (before or after) or not len(values):
            continue
        edges = _edges(values, [value for value, _ in (*before, *after)])
        found.append(
            CheckCounts(
                check.reason, edges, binned(values, edges), before, after,
                int((old[0].failed & old[1]).sum()) if old else 0, int((check.failed & rows).sum()),
            )
        )  # fmt: skip
    return sorted(found, key=lambda counts: not counts.is_changed)


def _thresholds(threshold: Floats, rows: Bools, language: pa.ChunkedArray) -> list[tuple[float, str]]:
    """The different thresholds over some documents, with the languages they hold for where there are several."""
    taken = rows & ~np.isnan(threshold)
    values = np.unique(threshold[taken])
    if len(values) <= 1:
        return [(float(value), "") for value in values]
    found = []
    for value in values[:_MAX_CUTS]:
        names = sorted(pc.unique(language.filter(pa.array(taken & (threshold == value)))).to_pylist())
        more = f" and {len(names) - _MAX_LANGUAGES} more" if len(names) > _MAX_LANGUAGES else ""
        found.append((float(value), ", ".join(names[:_MAX_LANGUAGES]) + more))
    return found


def _edges(values: Floats, cuts: Sequence[float]) -> list[float]:
    """Round numbers, about 40, over nearly all values and the cuts; by powers where the values span several of them."""
    low, high = (float(v) for v in np.quantile(values, (0.001, 0.999)))
    low, high = min([low, *cuts]), max([high, *cuts])
    if low == high:
        return [low, high + max(1.0, abs(high))]
    if low >= 0 and high > 20 * max(float(np.median(values)), 1.0) and high > 20:
        decades = range(math.floor(math.log10(max(low, 1.0))), math.ceil(math.log10(high)) + 1)
        steps = [factor * 10.0**decade for decade in decades for factor in _FACTORS]
        return [edge for edge in steps if max(low, 1.0) / 2 < edge <= high * 2]
    rough = (high - low) / _NUM_BINS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def check_picture(rule: str, counts: CheckCounts) -> Markup:
    """Histogram of what a check compares, the threshold now asked about as a line, the one that was as a dashed one."""
    old = [Cut(_label("was", *cut), cut[0], is_new=False) for cut in counts.before if cut not in counts.after]
    new = [Cut(_label("" if cut in counts.before else "new", *cut), cut[0]) for cut in counts.after]
    return histogram_svg(
        counts.edges,
        {"documents": counts.counts},
        title=f"{rule}: {counts.reason}",
        x_label=f"drops {counts.failed_before:,} before, {counts.failed_after:,} after",
        cuts=[*old, *new],
    )


def _label(word: str, value: float, languages: str) -> str:
    return " ".join(part for part in (word, f"{value:,.6g}", f"({languages})" if languages else "") if part)


def as_json(counts: CheckCounts) -> dict[str, object]:
    """The numbers behind a picture."""
    return {
        "reason": counts.reason, "edges": counts.edges, "documents": counts.counts, "before": counts.before,
        "after": counts.after, "dropped_before": counts.failed_before, "dropped_after": counts.failed_after,
    }  # fmt: skip

