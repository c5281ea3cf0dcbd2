"""A character n-gram that fills holes by beam search: the baseline of infilling, and a second reader beside a model.

Interpolated Kneser-Ney with one discount an order, as `evaluation.baselines.ngram_nats` has it for bytes (Chen and
Goodman 1999, section 2.7). A hypothesis is scored with the characters before the hole, and at the end with the
`order - 1` characters behind it: all that an n-gram can see of the other side. numpy; 3 GB of memory for 43 million
characters and six orders.
"""

from collections.abc import Sequence

import numpy as np

from evaluation.infilling import Hole

_BITS = 8
_START = 0
"""Stands before every text; no character has it."""
_RARE = 1
"""All characters beyond the most frequent 253."""


class CharacterNgram:
    """Counts of all orders up to `order`; each text may count several times."""

    def __init__(self, texts: Sequence[tuple[str, int]], *, order: int) -> None:
        self.order = order
        joined = np.frombuffer("".join(text for text, _ in texts).encode("utf-32-le"), dtype="<u4")
        letters, counts = np.unique(joined, return_counts=True)
        kept = np.sort(letters[np.argsort(-counts, kind="stable")][:253])
        self._codes = {chr(letter): index + 2 for index, letter in enumerate(kept.tolist())}
        self.letters = [""] * 2 + [chr(letter) for letter in kept.tolist()]
        self._tables = self._count(joined, kept, texts)

    def _count(self, joined: np.ndarray, kept: np.ndarray, texts: Sequence[tuple[str, int]]) -> list["_Order"]:
        at = np.minimum(np.searchsorted(kept, joined), len(kept) - 1)
        symbols = np.where(kept[at] == joined, at + 2, _RARE).astype(np.uint64)
        lengths = np.array([len(text) for text, _ in texts])
        pad = self.order - 1
        stream = np.full(len(symbols) + pad * len(texts), _START, dtype=np.uint64)
        places = np.arange(len(symbols)) + np.repeat((np.arange(len(texts)) + 1) * pad, lengths)
        stream[places] = symbols
        weights = np.repeat(np.array([weight for _, weight in texts]), lengths)
        grams = np.zeros(len(symbols), dtype=np.uint64)
        for back in range(self.order):
            grams |= stream[places - back] << np.uint64(_BITS * back)
        grams, counts = _summed(grams, weights)
        tables = [_Order(grams, counts)]
        for size in range(self.order - 1, 0, -1):
            # A shorter context counts in how many longer ones it stands (Kneser and Ney 1995).
            shorter = np.sort(grams & np.uint64((1 << (_BITS * size)) - 1))
            first = np.flatnonzero(np.concatenate(([True], shorter[1:] != shorter[:-1])))
            grams = shorter[first]
            tables.append(_Order(grams, np.diff(np.append(first, len(shorter)))))
        return tables[::-1]

    def encode(self, text: str) -> list[int]:
        """Symbols of a text; rare characters are one."""
        return [self._codes.get(letter, _RARE) for letter in text]

    def probabilities(self, context: Sequence[int]) -> np.ndarray:
        """P of each symbol after the last `order - 1` symbols of a context."""
        num_symbols = len(self.letters)
        found = np.full(num_symbols, 1.0 / num_symbols)
        code = 0
        recent = [_START] * (self.order - 1) + list(context)
        for size, table in enumerate(self._tables):
            if size:
                code |= recent[-size] << (_BITS * (size - 1))
            found = table.interpolated(code, found)
        return found

    def propose(self, hole: Hole, *, beam: int) -> list[str]:
        """The best fillings of a hole, best first; none where its length is not known."""
        if hole.num_characters is None:
            return []
        before = self.encode(hole.prefix)[-(self.order - 1) :]
        behind = self.encode(hole.suffix)[: self.order - 1]
        live: list[tuple[float, list[int]]] = [(0.0, [])]
        for _ in range(hole.num_characters):
            scores = np.stack([score + np.log(self.probabilities([*before, *text])) for score, text in live])
            scores[:, :2] = -np.inf  # neither a start nor an unnamed character can be written
            best = np.argsort(-scores, axis=None, kind="stable")[:beam]
            live = [
                (float(scores[row, symbol]), [*live[row][1], symbol])
                for row, symbol in (divmod(index, scores.shape[1]) for index in best.tolist())
            ]
        ranked = sorted(
            ((score + self._log_score([*before, *text], behind), text) for score, text in live),
            key=lambda found: (-found[0], found[1]),
        )
        return ["".join(self.letters[symbol] for symbol in text) for _, text in ranked]

    def score(self, hole: Hole, text: str) -> float:
        """log P(text, the characters behind it that still see it | what stands before)."""
        before = self.encode(hole.prefix)[-(self.order - 1) :]
        return self._log_score(before, [*self.encode(text), *self.encode(hole.suffix)[: self.order - 1]])

    def _log_score(self, context: list[int], following: Sequence[int]) -> float:
        total = 0.0
        for symbol in following:
            total += float(np.log(self.probabilities(context)[symbol]))
            context = [*context, symbol]
        return total


class _Order:
    """Counts of one length of n-gram, sorted by (context, symbol)."""

    def __init__(self, grams: np.ndarray, counts: np.ndarray) -> None:
        self._grams, self._counts = grams, counts.astype(np.float64)
        once, twice = int((counts == 1).sum()), int((counts == 2).sum())
        self._discount = min(0.95, max(0.1, once / (once + 2 * twice))) if once else 0.1

    def interpolated(self, context: int, lower: np.ndarray) -> np.ndarray:
        """P of every symbol after a context, of which `lower` is P after the shorter one."""
        bounds = np.array([context << _BITS, (context + 1) << _BITS], dtype=np.uint64)
        first, last = np.searchsorted(self._grams, bounds)
        if first == last:
            return lower
        symbols = (self._grams[first:last] & np.uint64((1 << _BITS) - 1)).astype(np.int64)
        counts = self._counts[first:last]
        mixed = self._discount * len(symbols) * lower
        mixed[symbols] += np.maximum(counts - self._discount, 0.0)
        return mixed / counts.sum()


def _summed(grams: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different grams in ascending order, and the sum of weights of each."""
    order = np.argsort(grams, kind="stable")
    ordered = grams[order]
    first = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return ordered[first], np.add.reduceat(weights[order], first)
