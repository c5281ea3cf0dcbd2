"""The longest verbatim overlap of generated samples with the training text, traced to its document.

Exact for overlaps of at least `min_bytes` bytes; shorter ones are not looked for. How: a common stretch of
`min_bytes` bytes covers at least one 16-byte word of the document that starts at a multiple of
`min_bytes - 15`. Only those words are looked up among all 16-byte words of the samples (numpy, about
300 MB/s a core); where some are found, the stretch around them is measured by dynamic programming.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

_WORD = 16
# Odd constants of SplitMix64's finalizer, to mix the two halves of a word into one 64-bit key.
_MIX = np.uint64(0xBF58476D1CE4E5B9)


@dataclass(frozen=True)
class Overlap:
    """The longest stretch of a sample that stands in a training document; offsets and lengths in bytes."""

    doc_id: str
    num_bytes: int
    sample_start: int
    document_start: int


class OverlapFinder:
    """Finds the longest overlap of each sample while documents stream by.

    Among equally long overlaps the smallest doc_id wins, then the earliest place in the document,
    so the answer does not depend on the order of the documents.
    """

    def __init__(self, samples: Sequence[bytes], *, min_bytes: int = 32) -> None:
        if min_bytes < _WORD:
            raise ValueError(f"OverlapFinder: min_bytes={min_bytes}; the smallest is {_WORD}")
        self._samples = [np.frombuffer(sample, np.uint8) for sample in samples]
        self._stride = min_bytes - _WORD + 1
        self._min_bytes = min_bytes
        self._best: list[Overlap | None] = [None] * len(samples)
        keys = [_keys(sample, 1) for sample in self._samples]
        self._keys = np.unique(np.concatenate(keys)) if keys else np.empty(0, np.uint64)
        self._own = [np.unique(own) for own in keys]

    def add(self, doc_id: str, text: bytes) -> None:
        """Compare one document with every sample."""
        if not len(self._keys):
            return
        document = np.frombuffer(text, np.uint8)
        keys = _keys(document, self._stride)
        hits = np.flatnonzero(_contains(self._keys, keys))
        if not len(hits):
            return
        for index, sample in enumerate(self._samples):
            places = hits[_contains(self._own[index], keys[hits])] * self._stride
            best = self._best[index]
            wanted = best.num_bytes if best else self._min_bytes
            # A stretch as long as the best one shows in at least so many aligned words.
            if len(places) < max(1, (wanted - _WORD + 1) // self._stride):
                continue
            for begin, end in _regions(places, len(sample), len(document)):
                found = _longest_common(sample, document[begin:end])
                if found[0] >= wanted:
                    self._keep(index, Overlap(doc_id, found[0], found[1], begin + found[2]))
                    wanted = found[0]

    def results(self) -> list[Overlap | None]:
        """The longest overlap of each sample so far; None: none of at least `min_bytes` bytes."""
        return list(self._best)

    def _keep(self, index: int, found: Overlap) -> None:
        best = self._best[index]
        order = (-found.num_bytes, found.doc_id, found.document_start, found.sample_start)
        if best is None or order < (-best.num_bytes, best.doc_id, best.document_start, best.sample_start):
            self._best[index] = found


def longest_overlaps(
    samples: Sequence[bytes], documents: Iterable[tuple[str, bytes]], *, min_bytes: int = 32
) -> list[Overlap | None]:
    """The longest overlap of each sample with any of the (doc_id, UTF-8 text) documents."""
    finder = OverlapFinder(samples, min_bytes=min_bytes)
    for doc_id, text in documents:
        finder.add(doc_id, text)
    return finder.results()


def _keys(text: np.ndarray, stride: int) -> np.ndarray:
    """One 64-bit key for each 16-byte word that starts at a multiple of `stride`."""
    if len(text) < _WORD:
        return np.empty(0, np.uint64)
    words = np.lib.stride_tricks.sliding_window_view(text, _WORD)[::stride]
    halves = np.ascontiguousarray(words).view("<u8")
    mixed = halves[:, 0] * _MIX
    return np.asarray((mixed ^ (mixed >> np.uint64(29))) * _MIX + halves[:, 1], np.uint64)


def _contains(ordered: np.ndarray, keys: np.ndarray) -> np.ndarray:
    if not len(ordered):
        return np.zeros(len(keys), bool)
    return np.asarray(ordered[np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)] == keys)


def _regions(places: np.ndarray, reach: int, length: int) -> list[tuple[int, int]]:
    """Stretches of the document around found words, each wide enough for any overlap that covers the word."""
    regions: list[tuple[int, int]] = []
    for place in places.tolist():
        begin, end = max(0, place - reach), min(length, place + _WORD + reach)
        if regions and begin <= regions[-1][1]:
            regions[-1] = (regions[-1][0], end)
        else:
            regions.append((begin, end))
    return regions


def _longest_common(sample: np.ndarray, text: np.ndarray) -> tuple[int, int, int]:
    """Length of the longest common substring and where it starts in each; earliest in the text.

    Row i of the table holds, for each end in the text, the length of the common suffix with sample[: i + 1].
    """
    masks = {int(byte): (text == byte).astype(np.int32) for byte in np.unique(sample)}
    row = np.zeros(len(text) + 1, np.int32)
    best = (0, 0, 0)
    for index, byte in enumerate(sample.tolist()):
        following = np.empty_like(row)
        following[0] = 0
        np.add(row[:-1], 1, out=following[1:])
        following[1:] *= masks[byte]
        row = following
        end = int(row.argmax())
        length = int(row[end])
        start = end - length
        if length > best[0] or (length == best[0] and length and (start, index + 1 - length) < (best[2], best[1])):
            best = (length, index + 1 - length, start)
    return best


def documents_in_both(train: Iterable[Iterable[bytes]], heldout: Iterable[bytes]) -> list[bytes]:
    """Digests of held-out texts that are trained on too, sorted; exact copies only.

    train comes in parts, one shard's digests after the other, so that held-out ones alone are kept in memory.
    """
    wanted = set(heldout)
    return sorted(set().union(*(wanted.intersection(part) for part in train)))
