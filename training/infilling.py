"""Fill-in-the-middle: windows of plain token ids are rewritten when they are read, so that a causal model learns it.

# B rows, T tokens

A document is cut at a hole into prefix, middle and suffix, and written as

    SPM    <suffix> suffix <prefix> prefix <middle> middle EOS
    PSM    <prefix> prefix <suffix> suffix <middle> middle EOS

(Bavarian et al. 2022, arXiv:2207.14255, sections 3 and 4.1; every token is trained on, as there). <middle> is one of
two kinds: it states how many characters are missing, as with damaged texts, or leaves that open, as with code.
What is drawn depends on (seed, position of the window in the run) alone. No torch; 20 us a hole.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingot.infill_tokens import InfillVocabulary
from training.models import EOS_ID

REWRITE_KIND = "infill/1"
_SHORTEST_PIECE = 8
"""A piece is at least an eighth of the longest one: contexts of every length are met in training."""
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class HoleShape:
    """Which pieces get a hole, and what it is like; `training/stages/infill.py` describes the values."""

    infill_share: float
    spm_share: float
    known_length_share: float
    max_span_tokens: int | None
    max_piece_tokens: int | None


class InfillRewrite:
    """Rewrites windows; the same window at the same position of a run of the same seed always the same way."""

    def __init__(self, shape: HoleShape, vocabulary: InfillVocabulary, *, seed: int) -> None:
        self._shape, self._vocabulary, self._seed = shape, vocabulary, seed
        self._characters = np.array(vocabulary.characters())
        self._inside = np.array(vocabulary.begins_inside())

    def __call__(self, ids_BT: NDArray[np.int64], positions_B: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the same length as they came; the few ids that the infilling tokens push out are not read."""
        pairs = zip(ids_BT, positions_B.tolist(), strict=True)
        return np.stack([self._row(row, _Draws(self._seed, position)) for row, position in pairs])

    def _row(self, ids_T: NDArray[np.int64], draws: "_Draws") -> NDArray[np.int64]:
        parts: list[NDArray[np.int64]] = []
        num_written = 0
        for piece, is_end in self._pieces(ids_T, draws):
            if len(piece) and draws.share() < self._shape.infill_share:
                parts += self._with_hole(piece, draws)
            else:
                parts.append(piece)
                if is_end:
                    parts.append(np.array([EOS_ID]))
            num_written = sum(map(len, parts))
            if num_written >= len(ids_T):
                break
        assert num_written >= len(ids_T), "rewriting only adds tokens"
        return np.concatenate(parts)[: len(ids_T)]

    def _pieces(self, ids_T: NDArray[np.int64], draws: "_Draws") -> Iterator[tuple[NDArray[np.int64], bool]]:
        """The documents of a window without their EOS, long ones cut; True where a document ends."""
        begin = 0
        longest = self._shape.max_piece_tokens
        for end in [*np.flatnonzero(ids_T == EOS_ID).tolist(), len(ids_T)]:
            while longest is not None and end - begin > longest:
                stop = begin + draws.between(max(1, longest // _SHORTEST_PIECE), longest)
                while stop > begin + 1 and self._inside[ids_T[stop]]:
                    stop -= 1
                yield ids_T[begin:stop], False
                begin = stop
            if begin < len(ids_T):
                yield ids_T[begin:end], end < len(ids_T)
            begin = end + 1

    def _with_hole(self, piece: NDArray[np.int64], draws: "_Draws") -> list[NDArray[np.int64]]:
        start, stop = self._span(piece, draws)
        prefix, middle, suffix = piece[:start], piece[start:stop], piece[stop:]
        names = self._vocabulary
        is_known = draws.share() < self._shape.known_length_share
        opens = names.middle_for(int(self._characters[middle].sum()) if is_known else None)
        before, after = [np.array([names.prefix]), prefix], [np.array([names.suffix]), suffix]
        order = [*after, *before] if draws.share() < self._shape.spm_share else [*before, *after]
        return [*order, np.array([opens]), middle, np.array([EOS_ID])]

    def _span(self, piece: NDArray[np.int64], draws: "_Draws") -> tuple[int, int]:
        """Bounds of the hole: at least one token, whole characters."""
        longest = self._shape.max_span_tokens
        if longest is None:
            # Two cuts anywhere, as published; where both fall together the hole is the token behind them.
            start, stop = sorted((draws.between(0, len(piece)), draws.between(0, len(piece))))
            start = min(start, len(piece) - 1)
            stop = max(stop, start + 1)
        else:
            length = draws.between(1, min(longest, len(piece)))
            start = draws.between(0, len(piece) - length)
            stop = start + length
        while start > 0 and self._inside[piece[start]]:
            start -= 1
        while stop < len(piece) and self._inside[piece[stop]]:
            stop += 1
        return start, stop


class _Draws:
    """Numbers from (seed, position): splitmix64 (Steele, Lea and Flood 2014), the same in every release."""

    def __init__(self, seed: int, position: int) -> None:
        key = hashlib.blake2b(f"{REWRITE_KIND}:{seed}:{position}".encode(), digest_size=8).digest()
        self._state = int.from_bytes(key, "little")

    def _next(self) -> int:
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        word = self._state
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
        word = (word ^ (word >> 27)) * 0x94D049BB133111EB & _MASK
        return word ^ (word >> 31)

    def share(self) -> float:
        """In [0, 1)."""
        return (self._next() >> 11) * 2.0**-53

    def between(self, least: int, most: int) -> int:
        """One of least ... most, each as likely."""
        return least + (self._next() * (most - least + 1) >> 64)
