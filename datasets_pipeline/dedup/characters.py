"""What a code point means to the shingler: part of a word, a word of its own, a mark, or a gap.

One table over all code points (4.4 MB, built once per process in about 0.2 s from Python's Unicode
database) answers both questions the kernel asks of a character: its class, and what it case-folds to.
The database differs between Python releases, so its version is part of the signature version.
"""

import unicodedata
from functools import lru_cache

import numpy as np

GAP, WORD, MARK, SINGLE = 0, 1, 2, 3

#: Bits of a table entry: the class above, below it a code point or, when FOLDS is set, a row of folds.
CLASS_SHIFT = 24
FOLDS = 1 << 26
CODE_MASK = (1 << 21) - 1

NUM_CODE_POINTS = 0x110000

# Scripts written without spaces between words: each letter is shingled as a word of its own.
# Blocks of the Unicode standard; Hangul is absent because Korean separates words by spaces.
_NO_SPACES = (
    (0x0E00, 0x0FFF),  # Thai, Lao, Tibetan
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x3005, 0x3007),  # ideographic iteration mark, closing mark, zero
    (0x3021, 0x312F),  # Hangzhou numerals, kana, Bopomofo
    (0x31A0, 0x31BF),  # Bopomofo extended
    (0x31F0, 0x31FF),  # Katakana extensions
    (0x3400, 0x4DBF),  # CJK extension A
    (0x4E00, 0xA4CF),  # CJK, Yi
    (0xA9E0, 0xA9FF),  # Myanmar extended B
    (0xAA60, 0xAA7F),  # Myanmar extended A
    (0xAA80, 0xAADF),  # Tai Viet
    (0xF900, 0xFAFF),  # CJK compatibility
    (0xFF66, 0xFF9F),  # half-width Katakana
    (0x1AFF0, 0x1B16F),  # kana extensions
    (0x20000, 0x323AF),  # CJK extensions B to H
)
# Joiners stand inside words of Persian and of Indic scripts (Unicode TR18, annex C, Join_Control).
_JOINERS = (0x200C, 0x200D)
# Variation selectors only choose a glyph; an emoji and its selector are not a word.
_VARIATION_SELECTORS = ((0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
# Assigned planes; what lies outside is unassigned or private and therefore a gap.
_ASSIGNED = ((0x0000, 0xD7FF), (0xF900, 0x323AF), (0xE0000, 0xE01EF))


def character_class(character: str) -> int:
    """GAP, WORD, MARK or SINGLE for one character.

    A word character is what `\\w` matches in Python's `re`. Combining marks continue a word without
    starting one, where Python would split it: Hindi and Bengali would fall into single consonants.
    """
    code = ord(character)
    if code in _JOINERS:
        return MARK
    category = unicodedata.category(character)
    if category in ("Mn", "Mc"):
        return GAP if _within(code, _VARIATION_SELECTORS) else MARK
    if character == "_" or character.isalnum():
        is_digit = category == "Nd"
        return SINGLE if not is_digit and _within(code, _NO_SPACES) else WORD
    return GAP


@lru_cache(maxsize=1)
def character_tables() -> tuple[np.ndarray, np.ndarray]:
    """(table uint32 [0x110000], folds uint32 [num_folds, 3]) as described on top of this module.

    folds holds the case foldings of more than one character (German sharp s), padded by zeros.
    """
    table = np.zeros(NUM_CODE_POINTS, dtype=np.uint32)
    folds: list[tuple[int, ...]] = []
    for first, last in _ASSIGNED:
        for code in range(first, last + 1):
            character = chr(code)
            kind = character_class(character)
            if kind == GAP:
                continue
            folded = [ord(c) for c in character.casefold()]
            if len(folded) == 1:
                entry = folded[0]
            else:
                entry = FOLDS | len(folds)
                folds.append(tuple(folded + [0] * (3 - len(folded))))
            table[code] = kind << CLASS_SHIFT | entry
    return table, np.array(folds, dtype=np.uint32).reshape(-1, 3)


def _within(code: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= code <= last for first, last in ranges)
