"""What a character is to decontamination: part of a word, a digit, a word of its own, a mark, or a gap.

The normalisation is datatrove's `simplify_text` (the published one for n-gram decontamination): lower case, numbers
alike, punctuation as gaps, no diacritics. In scripts without spaces each letter is a word. Unlike datatrove, symbols
and emoji are gaps too, not letters. One table over all code points, built once a process in about 0.3 s.
"""

import unicodedata
from functools import lru_cache

import numpy as np

from datasets_pipeline.dedup import characters as dedup_characters

GAP, WORD, SINGLE, DIGIT, MARK = 0, 1, 2, 3, 4

#: Bits of a table entry: the class above; below it flags, and a code point or, with MANY, a row of code points.
CLASS_SHIFT = 24
SEPARATOR = 1 << 23
"""A gap that may stand once between the digits of a number."""
MANY = 1 << 22
CODE_MASK = (1 << 21) - 1
MOST_CODES = 4

#: Decimal and thousands marks of datatrove's pattern for numbers.
_SEPARATORS = ".,\u060c\u066b\u2396\u2397\u2398"
_SURROGATES = range(0xD800, 0xE000)
_LAST_ASSIGNED = 0x323AF
_TAGS = range(0xE0100, 0xE01F0)


@lru_cache(maxsize=1)
def character_tables() -> tuple[np.ndarray, np.ndarray]:
    """(table uint32 [0x110000], many uint32 [num, MOST_CODES]) as described on top of this module."""
    table = np.zeros(dedup_characters.NUM_CODE_POINTS, dtype=np.uint32)
    many: list[list[int]] = []
    for code in (*range(_LAST_ASSIGNED + 1), *_TAGS):
        if code in _SURROGATES:
            continue
        character = chr(code)
        kind = _class(character)
        entry = kind << CLASS_SHIFT
        if kind in (WORD, SINGLE, MARK):
            plain = [ord(c) for c in _plain(character)][:MOST_CODES]
            if len(plain) > 1:
                entry |= MANY | len(many)
                many.append(plain + [0] * (MOST_CODES - len(plain)))
            elif plain:
                entry |= plain[0]
        elif character in _SEPARATORS:
            entry |= SEPARATOR
        table[code] = entry
    return table, np.array(many, dtype=np.uint32).reshape(-1, MOST_CODES)


def _class(character: str) -> int:
    if character == "_":
        return GAP
    category = unicodedata.category(character)
    if category == "Nd":
        return DIGIT
    if category == "Mn":
        return MARK
    found = dedup_characters.character_class(character)
    by_class = {dedup_characters.WORD: WORD, dedup_characters.SINGLE: SINGLE, dedup_characters.MARK: MARK}
    return by_class.get(found, GAP)


def _plain(character: str) -> str:
    """Lower case without diacritics; nothing for a mark that is dropped. Hangul stays in syllables."""
    parts = unicodedata.normalize("NFD", character.lower())
    return unicodedata.normalize("NFC", "".join(c for c in parts if unicodedata.category(c) not in ("Mn", "Cf")))
