"""Thresholds and stop words of a language from its own good text.

The published thresholds were chosen on English. For another language each check of a rule is asked how much of known
good text it would lose; where that is more than `lost`, the threshold moves to the percentile at which it loses just
that. A check that loses less keeps its published threshold: nothing is made stricter than published.

Costs one pass over the text; knows nothing of a rule but what its checks compare.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa

from datasets_pipeline.features import compute_features
from datasets_pipeline.features.stop_words import STOP_WORDS
from datasets_pipeline.rules import fineweb_quality, gopher_quality, gopher_repetition, nemo_heuristics
from datasets_pipeline.rules.verdicts import watched_checks

RULES: dict[str, ModuleType] = {
    "gopher_quality": gopher_quality,
    "gopher_repetition": gopher_repetition,
    "fineweb_quality": fineweb_quality,
    "nemo_heuristics": nemo_heuristics,
}
MIN_DOCUMENTS = 30
"""Fewer say nothing about one in a hundred; the command warns."""
NUM_STOP_WORDS = 14

# A number that no score reaches and that says which field it was put into.
_MARK = 1e15
# English words that stand in pages of every language.
_NOT_OWN = frozenset({*STOP_WORDS["en"], "in", "on", "is", "as", "at", "a", "i", "an", "or", "for", "by", "it"})


@dataclass(frozen=True)
class FittedCheck:
    """One threshold of a rule beside good text."""

    rule: str
    field: str
    published: float | None
    lost: float
    """Share of the text that the published threshold loses."""
    fitted: float | None
    """The threshold to use; the published one where it loses little enough."""


def fit(texts: Sequence[str], language: str, lost: float) -> list[FittedCheck]:
    """Every threshold of every rule in RULES; lost is the largest share of the text that one check may lose."""
    features = compute_features(
        pa.array(texts, pa.large_string()), pa.array(["text/plain"] * len(texts)), pa.array([language] * len(texts))
    )
    return [check for name, rule in RULES.items() for check in _fit_rule(name, rule, features, language, lost)]


def _fit_rule(name: str, rule: ModuleType, features: pa.Table, language: str, lost: float) -> Iterable[FittedCheck]:
    published = rule.Thresholds()
    published = published.model_copy(update=getattr(rule, "LANGUAGE_THRESHOLDS", {}).get(language, {}))
    values = published.model_dump()
    fields = [f for f, value in values.items() if isinstance(value, int | float) and not isinstance(value, bool)]
    marked = rule.Thresholds.model_construct(**{**values, **{f: _MARK + k for k, f in enumerate(fields)}})
    with watched_checks() as seen:
        rule.judge(rule.Config.model_construct(per_language={language: marked}), features)
    for index, field in enumerate(fields):
        value = getattr(published, field)
        shares, limits = [], []
        for check, _ in seen:
            if not np.any(check.threshold == _MARK + index):
                continue
            scores = check.score[~np.isnan(check.score)]
            if not len(scores):
                continue
            # Every score is below the mark: a check that fails on it asks for no less than its threshold.
            is_least = bool(check.failed[~np.isnan(check.score)].all())
            shares.append(float(np.mean(scores < value if is_least else scores > value)))
            limits.append(_percentile(scores, lost, is_least, isinstance(value, int)))
        if not shares:
            continue
        if field == "min_stop_words" and language not in STOP_WORDS:
            yield FittedCheck(name, field, value, 0.0, None)
        elif max(shares) <= lost:
            yield FittedCheck(name, field, value, max(shares), value)
        else:
            loosest = limits[int(np.argmax(shares))]
            yield FittedCheck(name, field, value, max(shares), loosest)


def _percentile(scores: np.ndarray, lost: float, is_least: bool, whole: bool) -> float | None:
    """The threshold that loses at most `lost`, rounded to the kept side; None when only switching off does."""
    ordered = np.sort(scores)
    allowed = int(math.floor(lost * len(ordered)))
    value = float(ordered[allowed] if is_least else ordered[len(ordered) - 1 - allowed])
    step = 1.0 if whole else 1e-3
    rounded = (math.floor if is_least else math.ceil)(value / step) * step
    return int(rounded) if whole and rounded >= 1 else (round(rounded, 3) if rounded > 0 else None)


@lru_cache(maxsize=1)
def _word() -> re.Pattern[str]:
    """A run of letters with their combining marks: `\\w` has no marks and would cut Hindi at every vowel sign."""
    marks = "".join(c for c in map(chr, range(0x300, 0x20000)) if unicodedata.category(c)[0] == "M")
    return re.compile(rf"[^\W\d_](?:[^\W\d_]|[{re.escape(marks)}\u200c\u200d])*")


def stop_words(texts: Iterable[str]) -> list[str]:
    """The words that stand in most documents, lower case, the commonest first; none that English pages have too."""
    documents: Counter[str] = Counter()
    occurrences: Counter[str] = Counter()
    for text in texts:
        words = [word.lower() for word in _word().findall(text)]
        occurrences.update(words)
        documents.update(set(words) - _NOT_OWN)
    ordered = sorted(documents, key=lambda word: (-documents[word], -occurrences[word], word))
    # The kernels look words of up to 12 characters up.
    return [word for word in ordered if len(word) <= 12][:NUM_STOP_WORDS]


def section(checks: Iterable[FittedCheck], language: str) -> dict[str, dict[str, Any]]:
    """{rule: {"per_language": {language: what differs from the defaults}}}; rules of which nothing was fitted left out.

    A section replaces the whole set of a language, so what a rule already knows of the language stands in it too.
    """
    found: dict[str, dict[str, Any]] = {}
    fitted: set[str] = set()
    for check in checks:
        if check.fitted != getattr(RULES[check.rule].Thresholds(), check.field):
            found.setdefault(check.rule, {})[check.field] = check.fitted
        if check.fitted != check.published:
            fitted.add(check.rule)
    return {rule: {"per_language": {language: values}} for rule, values in found.items() if rule in fitted}
