"""From buckets to verified edges: who really resembles whom, in time linear in the buckets.

A bucket is the set of documents that share a band key. Comparing all its pairs is quadratic, so each
member is compared with the smallest doc_id of the bucket only; those that fail verification form a new
star among themselves, up to four times. No bucket is too large and no member is cut off. The edges of a
bucket depend on its members alone, not on other buckets or on the order of anything.

In this module documents are numbered in ascending order of doc_id: 0 is the smallest.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from ingot.errors import DataError

#: Stars tried in one bucket. What four centres did not match is left to the other bands.
MAX_ROUNDS = 4
#: Members of buckets that are worked on together: 16 bytes each, and twice that while they are.
MAX_MEMBERS = 8_000_000

#: (left int64 [p], right int64 [p]) -> exact Jaccard float64 [p] of each pair of documents.
Verify = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Buckets:
    """Members of all buckets, sorted by (label, member); a label names one bucket. int64 [m] each."""

    label: np.ndarray
    member: np.ndarray


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs with their exact Jaccard similarity; left < right, sorted by (left, right), no repetition."""

    left: np.ndarray
    right: np.ndarray
    jaccard: np.ndarray

    def __len__(self) -> int:
        return len(self.left)

    def at_least(self, threshold: float) -> "ScoredPairs":
        """The pairs whose similarity is the threshold or more."""
        kept = self.jaccard >= threshold
        return ScoredPairs(self.left[kept], self.right[kept], self.jaccard[kept])

    def renumbered(self, numbers: np.ndarray) -> "ScoredPairs":
        """The same pairs with document i called numbers[i]: oriented and sorted by the new numbers."""
        left, right = numbers[self.left], numbers[self.right]
        left, right = np.minimum(left, right), np.maximum(left, right)
        order = np.lexsort((right, left))
        return ScoredPairs(left[order], right[order], self.jaccard[order])

    @staticmethod
    def empty() -> "ScoredPairs":
        """No pairs."""
        none = np.empty(0, dtype=np.int64)
        return ScoredPairs(none, none, np.empty(0, dtype=np.float64))


class PairScores:
    """Verified pairs so far; asks `verify` about each pair once, smaller document on the left."""

    def __init__(self, num_documents: int, verify: Verify, known: ScoredPairs | None = None) -> None:
        """num_documents bounds every index; known pairs are never asked for."""
        known = known or ScoredPairs.empty()
        self._num = num_documents
        self._verify = verify
        self._codes = known.left * num_documents + known.right
        self._scores = known.jaccard

    def score(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Exact Jaccard float64 [p] of the pairs, which may repeat and come in either orientation."""
        codes = np.minimum(left, right) * self._num + np.maximum(left, right)
        wanted = np.unique(codes)
        new = wanted[~self._has(wanted)]
        if len(new):
            scores = checked_scores(self._verify, new // self._num, new % self._num)
            order = np.argsort(np.concatenate([self._codes, new]), kind="stable")
            self._scores = np.concatenate([self._scores, scores])[order]
            self._codes = np.concatenate([self._codes, new])[order]
        return self._scores[np.searchsorted(self._codes, codes)]

    def pairs(self) -> ScoredPairs:
        """All pairs known by now."""
        return ScoredPairs(self._codes // self._num, self._codes % self._num, self._scores)

    def _has(self, codes: np.ndarray) -> np.ndarray:
        if len(self._codes) == 0:
            return np.zeros(len(codes), dtype=bool)
        positions = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        return self._codes[positions] == codes


def buckets_from_keys(keys: np.ndarray, members: np.ndarray) -> Buckets:
    """Buckets with two members or more from band keys uint64 [n, bands] of documents `members` int64 [n]."""
    order = np.argsort(members, kind="stable")
    keys, members = keys[order], members[order].astype(np.int64)
    labels: list[np.ndarray] = []
    grouped: list[np.ndarray] = []
    num_labels = 0
    for band in range(keys.shape[1]):
        by_key = np.argsort(keys[:, band], kind="stable")  # members stay ascending within a key
        opens = _opens_group(keys[by_key, band])
        label = np.cumsum(opens) - 1
        sizes = np.bincount(label, minlength=0) if len(label) else np.empty(0, dtype=np.int64)
        shared = sizes[label] > 1
        labels.append(label[shared] + num_labels)
        grouped.append(members[by_key[shared]])
        num_labels += len(sizes)
    if not labels:
        return Buckets(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    return Buckets(np.concatenate(labels).astype(np.int64), np.concatenate(grouped))


def score_buckets(buckets: Buckets, *, num_documents: int, threshold: float, verify: Verify) -> ScoredPairs:
    """All pairs the star rounds compare, with their similarity, those below the threshold included.

    `verify` is called once a round at most, with distinct pairs in ascending order. Raises DataError when
    it does not answer with one number from 0 to 1 for each pair.
    """
    scores = PairScores(num_documents, verify)
    score_stars([buckets], scores, threshold=threshold)
    return scores.pairs()


def score_stars(
    parts: Iterable[Buckets], scores: PairScores, *, threshold: float, max_members: int = MAX_MEMBERS
) -> None:
    """Compare what the star rounds compare, for buckets that come in parts; `scores` has the pairs afterwards.

    Parts are taken together until they have max_members, so that few calls verify many pairs in little memory; a
    bucket's edges depend on its members alone, so neither parts nor their order matter.
    """
    waiting: list[Buckets] = []
    for part in parts:
        waiting.append(part)
        if sum(len(buckets.member) for buckets in waiting) >= max_members:
            _score_rounds(_together(waiting), scores, threshold)
            waiting = []
    _score_rounds(_together(waiting), scores, threshold)


def _together(parts: list[Buckets]) -> Buckets:
    first = np.cumsum([0, *(int(part.label[-1]) + 1 if len(part.label) else 0 for part in parts)])
    none = np.empty(0, dtype=np.int64)
    labels = [part.label + start for part, start in zip(parts, first.tolist(), strict=False)]
    return Buckets(np.concatenate([none, *labels]), np.concatenate([none, *(part.member for part in parts)]))


def _score_rounds(buckets: Buckets, scores: PairScores, threshold: float) -> None:
    label, member = buckets.label, buckets.member
    for _ in range(MAX_ROUNDS):
        opens = _opens_group(label)
        centre = member[np.flatnonzero(opens)[np.cumsum(opens) - 1]] if len(member) else member
        label, left, right = label[~opens], centre[~opens], member[~opens]
        if len(right) == 0:
            break
        failed = scores.score(left, right) < threshold
        label, member = label[failed], right[failed]


def checked_scores(verify: Verify, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """What verify answers, as float64 [p]; raises DataError when that is not one number from 0 to 1 each."""
    scores = np.asarray(verify(left, right), dtype=np.float64)
    if scores.shape != left.shape or not ((scores >= 0.0) & (scores <= 1.0)).all():
        raise DataError(
            f"dedup: verification of {len(left)} pairs answered with {scores.shape[0] if scores.ndim else 0}"
            " numbers or with some outside 0..1; the callback must return one Jaccard value for each pair"
        )
    return scores


def _opens_group(values: np.ndarray) -> np.ndarray:
    """bool [m]: True where a run of equal values begins."""
    opens = np.ones(len(values), dtype=bool)
    opens[1:] = values[1:] != values[:-1]
    return opens
