"""How the documents of a version are spread over a few stored numbers, and how far two versions are apart.

Counted into fixed bins, so that two versions can be compared without reading anything but their manifests. The
bins are part of a version's statistics: a change of them raises DECIDE_VERSION.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from datasets_pipeline.rules.verdicts import Bools, Floats, column, ratio

_SHARES = tuple(round(0.05 * step, 2) for step in range(21))


@dataclass(frozen=True)
class Measure:
    """A number of a document: a feature, or the quotient of two."""

    name: str
    title: str
    numerator: str
    denominator: str | None
    edges: tuple[float, ...]
    """Ascending; bin 0 is below the first, bin i is [edges[i-1], edges[i]), the last one is from the last edge on."""


def _powers_of_two(first: int, last: int) -> tuple[float, ...]:
    return tuple(float(1 << power) for power in range(first, last + 1))


MEASURES = (
    Measure("words", "words (punctuation not counted)", "num_non_symbol_words", None, _powers_of_two(0, 18)),
    Measure("bytes", "bytes", "num_bytes", None, _powers_of_two(5, 24)),
    Measure(
        "mean_word_length", "mean word length in characters", "non_symbol_word_chars", "num_non_symbol_words",
        tuple(0.5 * step for step in range(4, 25)),
    ),
    Measure("letters", "letters, share of characters", "num_letters", "num_chars", _SHARES),
    Measure("digits", "digits, share of characters", "num_digits", "num_chars", _SHARES),
    Measure("stop_words", "stop words, share of words", "num_stop_words", "num_words", _SHARES),
    Measure("sentence_ends", "lines that end as a sentence does", "num_terminal_lines", "num_content_lines", _SHARES),
    Measure("repeated_5_grams", "characters in repeated 5-grams", "duplicate_5_gram_chars", "num_chars", _SHARES),
    Measure("language_score", "certainty of the language", "language_score", None, _SHARES),
)  # fmt: skip


def distributions(features: pa.Table, kept: Bools) -> dict[str, dict[str, Any]]:
    """Per measure its edges and the documents in each bin, of all documents and of those kept.

    A document for which a quotient is not defined is in no bin.
    """
    found: dict[str, dict[str, Any]] = {}
    for measure in MEASURES:
        values = column(features, measure.numerator)
        if measure.denominator is not None:
            values = ratio(values, column(features, measure.denominator))
        found[measure.name] = {
            "edges": list(measure.edges),
            "documents": binned(values, measure.edges),
            "kept": binned(values[kept], measure.edges),
        }
    return found


def sum_distributions(parts: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """`distributions` of all parts together."""
    return {
        measure.name: {
            "edges": list(measure.edges),
            **{
                name: np.sum([part[measure.name][name] for part in parts], axis=0, dtype=np.int64).tolist()
                for name in ("documents", "kept")
            },
        }
        for measure in MEASURES
    }


def binned(values: Floats, edges: Sequence[float]) -> list[int]:
    """Documents in each of the len(edges) + 1 bins; NaN is in none."""
    defined = values[~np.isnan(values)]
    bins = np.searchsorted(np.asarray(edges, np.float64), defined, side="right")
    return [int(num) for num in np.bincount(bins, minlength=len(edges) + 1)]


def stability_index(before: Sequence[int], after: Sequence[int]) -> float:
    """Population stability index of two counts over the same bins; 0 when they have the same shape.

    Sum over bins of (q - p) ln(q / p). By the custom of credit scoring below 0.1 is no change, above 0.25 a
    large one. Half a document is added to each bin, because an empty one would make it infinite.
    """
    p, q = np.asarray(before, np.float64) + 0.5, np.asarray(after, np.float64) + 0.5
    p, q = p / p.sum(), q / q.sum()
    return float(((q - p) * np.log(q / p)).sum())


def drift(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, float]:
    """The stability index of each measure that both have with the same bins, of the documents kept."""
    return {
        name: stability_index(before[name]["kept"], after[name]["kept"])
        for name in after
        if name in before and before[name]["edges"] == after[name]["edges"]
    }
