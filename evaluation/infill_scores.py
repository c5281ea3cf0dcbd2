"""How good fillings are: character error rate, top-1 and top-k against what stood in the hole.

Texts are compared as published work on damaged inscriptions does (Assael et al. 2022, doi:10.1038/s41586-022-04448-z):
without accents and in lower case; here also with one form of sigma and every blank a space. The error rate is edits
over characters of all holes together, so that a long hole counts for its length.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ingot.errors import DataError


def plain_letters(text: str) -> str:
    """The text in lower case, without diacritics, with σ for ς, and one space for each run of blanks."""
    bare = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    words = "".join(" " if c.isspace() else c for c in bare.lower().replace("ς", "σ"))
    while "  " in words:
        words = words.replace("  ", " ")
    return words


def edit_distance(first: str, second: str) -> int:
    """Fewest insertions, deletions and replacements of one character (Levenshtein 1966)."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(second, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


@dataclass(frozen=True)
class InfillScores:
    """What one method reached on one set of holes."""

    num_holes: int
    num_characters: int
    character_error_rate: float
    """Edits of the best filling over characters that stood there; above 1 when fillings are too long."""
    top_1: float
    """Share of holes whose best filling is what stood there."""
    top_k: float
    """Share of holes with it among all fillings that were returned."""


def score_fillings(fillings: Sequence[Sequence[str]], answers: Sequence[str]) -> InfillScores:
    """Scores of ranked fillings, best first; a hole without any is filled with nothing."""
    if len(fillings) != len(answers) or not answers or not all(answers):
        raise DataError(
            f"{len(fillings)} holes were filled and {len(answers)} answers given, none of which may be empty; "
            "pass what stood in each hole"
        )
    edits, hits, found = edits_of(fillings, answers), 0, 0
    for ranked, answer in zip(fillings, answers, strict=True):
        plain = [plain_letters(text) for text in ranked]
        hits += plain[:1] == [plain_letters(answer)]
        found += plain_letters(answer) in plain
    lengths = _lengths(answers)
    return InfillScores(
        len(answers), int(lengths.sum()), float(edits.sum() / lengths.sum()), hits / len(answers), found / len(answers)
    )


def edits_of(fillings: Sequence[Sequence[str]], answers: Sequence[str]) -> np.ndarray:
    """Edits [N] from each hole's best filling to its answer."""
    best = [plain_letters(ranked[0]) if ranked else "" for ranked in fillings]
    pairs = zip(best, answers, strict=True)
    return np.array([edit_distance(text, plain_letters(answer)) for text, answer in pairs], dtype=np.int64)


def error_rate_interval(
    fillings: Sequence[Sequence[str]],
    answers: Sequence[str],
    *,
    than: Sequence[Sequence[str]] | None = None,
    level: float = 0.9,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap interval over holes of the error rate; with `than`, of how much lower it is than theirs."""
    edits = edits_of(fillings, answers)
    if than is not None:
        edits = edits_of(than, answers) - edits
    lengths = _lengths(answers)
    drawn = np.random.Generator(np.random.PCG64(seed)).integers(0, len(answers), (4000, len(answers)))
    rates = edits[drawn].sum(axis=1) / lengths[drawn].sum(axis=1)
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _lengths(answers: Sequence[str]) -> np.ndarray:
    return np.array([len(plain_letters(answer)) for answer in answers], dtype=np.int64)
