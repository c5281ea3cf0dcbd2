"""The tokens of infilling: what they are called, and what a tokenizer.json says about them and about characters.

Known to the tokenizer's maker (which reserves them), to training (which writes them into windows) and to
decoding (which writes them into prompts). Standard library only; reading 4,096 entries takes 10 ms.
"""

import json
from dataclasses import dataclass, field

from ingot.errors import DataError

PREFIX = "<|fim_prefix|>"
SUFFIX = "<|fim_suffix|>"
MIDDLE = "<|fim_middle|>"
"""A hole of unknown length is filled after this one."""


def middle_of(num_characters: int) -> str:
    """The token after which a hole of so many characters is filled."""
    return f"<|fim_middle_{num_characters}|>"


def names(lengths: int) -> list[str]:
    """All tokens to reserve, with a length stated from 1 to `lengths` characters."""
    return [PREFIX, SUFFIX, MIDDLE, *map(middle_of, range(1, lengths + 1))]


@dataclass(frozen=True)
class InfillVocabulary:
    """Ids of the infilling tokens, and how the other entries are made of bytes."""

    prefix: int
    suffix: int
    middle: int
    lengths: tuple[int, ...]
    """Ids for holes of 1, 2, ... characters."""
    pieces: tuple[bytes | None, ...] = field(repr=False)
    """The bytes of each entry; None for special tokens, which are no text."""

    def middle_for(self, num_characters: int | None) -> int:
        """The token that opens a hole; the one of unknown length where the tokenizer has none for this one."""
        if num_characters is None or not 1 <= num_characters <= len(self.lengths):
            return self.middle
        return self.lengths[num_characters - 1]

    def characters(self) -> list[int]:
        """How many characters begin in each entry; 0 for special tokens and for the inside of a character."""
        return [sum(not is_inside(byte) for byte in piece or b"") for piece in self.pieces]

    def begins_inside(self) -> list[bool]:
        """Whether an entry begins inside a character, so that a text cannot be cut before it."""
        return [piece is not None and is_inside(piece[0]) for piece in self.pieces]


def is_inside(byte: int) -> bool:
    """Whether a byte of UTF-8 continues a character."""
    return byte & 0xC0 == 0x80


def read_infill_vocabulary(tokenizer_json: str) -> InfillVocabulary:
    """What a byte-level tokenizer.json holds of infilling; DataError when its tokens were not reserved."""
    values = json.loads(tokenizer_json)
    special = {token["content"]: int(token["id"]) for token in values.get("added_tokens", [])}
    missing = [name for name in (PREFIX, SUFFIX, MIDDLE) if name not in special]
    if missing:
        raise DataError(
            f"the tokenizer has no {', '.join(missing)}, which infilling writes around a hole; set "
            "tokenizer.infill_lengths in the recipe, so that they are reserved, and train with the stage infill, "
            "which teaches a model to fill holes"
        )
    lengths: list[int] = []
    while middle_of(len(lengths) + 1) in special:
        lengths.append(special[middle_of(len(lengths) + 1)])
    entries = values["model"]["vocab"]
    pieces: list[bytes | None] = [None] * (1 + max(*entries.values(), *special.values()))
    letters = _bytes_of_letters()
    for piece, index in entries.items():
        if index not in special.values():
            if not all(letter in letters for letter in piece):
                raise DataError(f"entry {index} of the tokenizer is not written in bytes; use a byte-level tokenizer")
            pieces[index] = bytes(letters[letter] for letter in piece)
    return InfillVocabulary(special[PREFIX], special[SUFFIX], special[MIDDLE], tuple(lengths), tuple(pieces))


def _bytes_of_letters() -> dict[str, int]:
    """The letter that byte-level BPE writes for each byte (Radford et al. 2019): its own, or one from 256 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + n): byte for n, byte in enumerate(others)}
