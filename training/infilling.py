"""Fill-in-the-middle: windows of plain token ids are rewritten when they are read, so that a causal model learns it.

# B rows, T tokens

A document is cut at a hole into prefix, middle and suffix, and written as

    SPM    <suffix> suffix <prefix> prefix <middle> middle EOS
    PSM    <prefix> prefix <suffix> suffix <middle> middle EOS

(Bavarian et al. 2022, arXiv:2207.14255, sections 3 and 4.1; every token is trained on, as there). <middle> is one of
two kinds: it states how many characters are missing, as with damaged texts, or leaves that open, as with code.
The cuts are between characters, wherever tokens end, and the three parts are tokenized again, as they will be when
somebody asks (their section 4.3). What is drawn depends on (seed, position of the window in the run) alone. No torch.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingot.infill_tokens import read_infill_vocabulary
from training.models import EOS_ID

REWRITE_KIND = "infill/2"
_NUM_MARKS = 4  # <suffix>, <prefix>, <middle> and EOS
_SHORTEST_PIECE = 8
"""A piece is at least an eighth of the longest one: contexts of every length are met in training."""
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class HoleShape:
    """Which pieces get a hole, and what it is like; `training/stages/infill.py` describes the values."""

    infill_share: float
    spm_share: float
    known_length_share: float
    max_span_characters: int | None
    max_piece_tokens: int | None


class InfillRewrite:
    """Rewrites windows; the same window at the same position of a run of the same seed always the same way."""

    def __init__(self, shape: HoleShape, tokenizer_json: str, *, seed: int) -> None:
        from tokenizers import Tokenizer

        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self._shape, self._seed = shape, seed
        self._vocabulary = read_infill_vocabulary(tokenizer_json)
        self._tokenizer = Tokenizer.from_str(tokenizer_json)
        # A text that spells a token of infilling is text like any other.
        self._tokenizer.encode_special_tokens = True

    def __call__(self, ids_BT: NDArray[np.int64], positions_B: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the same length as they came; the few ids that the infilling tokens push out are not read.

        A piece at a row's end is cut so that its filling stands before the end.
        """
        pairs = zip(ids_BT, positions_B.tolist(), strict=True)
        return np.stack([self._row(row, _Draws(self._seed, position)) for row, position in pairs])

    def _row(self, ids_T: NDArray[np.int64], draws: "_Draws") -> NDArray[np.int64]:
        written: list[int] = []
        for piece, is_end in self._pieces(ids_T.tolist(), draws):
            # Cut to the room that is left: a hole whose filling falls off the row's end teaches nothing.
            room = max(0, len(ids_T) - len(written) - _NUM_MARKS)
            text = self._text(piece[:room]) if draws.share() < self._shape.infill_share else ""
            written += self._with_hole(text, room, draws) if text else [*piece, EOS_ID] if is_end else piece
            if len(written) >= len(ids_T):
                break
        # Tokenized again, what a window's border cut may be a token shorter.
        written += [EOS_ID] * (len(ids_T) - len(written))
        return np.array(written[: len(ids_T)], dtype=np.int64)

    def _pieces(self, ids: list[int], draws: "_Draws") -> Iterator[tuple[list[int], bool]]:
        """The documents of a window without their EOS, long ones cut; True where a document ends."""
        begin = 0
        longest = self._shape.max_piece_tokens
        for end in [*(place for place, token in enumerate(ids) if token == EOS_ID), len(ids)]:
            while longest is not None and end - begin > longest:
                stop = begin + draws.between(max(1, longest // _SHORTEST_PIECE), longest)
                yield ids[begin:stop], False
                begin = stop
            if begin < len(ids):
                yield ids[begin:end], end < len(ids)
            begin = end + 1

    def _text(self, piece: list[int]) -> str:
        """The text of a piece, without what a cut left of a character at its ends."""
        pieces = self._vocabulary.pieces
        return b"".join(pieces[token] or b"" for token in piece).decode(errors="ignore")

    def _with_hole(self, text: str, room: int, draws: "_Draws") -> list[int]:
        start, stop = self._span(len(text), draws)
        parts = [text[:start], text[start:stop], text[stop:]]
        prefix, middle, suffix = (found.ids for found in self._tokenizer.encode_batch(parts, add_special_tokens=False))
        # Cut inside a token, the parts have more tokens than the whole had: what is far from the hole gives way.
        excess = max(0, len(prefix) + len(middle) + len(suffix) - room)
        prefix = prefix[max(0, excess - len(suffix)) :]
        suffix = suffix[: max(0, len(suffix) - excess)]
        names = self._vocabulary
        is_known = draws.share() < self._shape.known_length_share
        before, after = [names.prefix, *prefix], [names.suffix, *suffix]
        both = after + before if draws.share() < self._shape.spm_share else before + after
        return [*both, names.middle_for(stop - start if is_known else None), *middle, EOS_ID]

    def _span(self, num_characters: int, draws: "_Draws") -> tuple[int, int]:
        """Bounds of the hole: at least one character."""
        longest = self._shape.max_span_characters
        if longest is None:
            # Two cuts anywhere, as published; where both fall together the hole is the character behind them.
            start, stop = sorted((draws.between(0, num_characters), draws.between(0, num_characters)))
            start = min(start, num_characters - 1)
            return start, max(stop, start + 1)
        length = draws.between(1, min(longest, num_characters))
        start = draws.between(0, num_characters - length)
        return start, start + length


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
