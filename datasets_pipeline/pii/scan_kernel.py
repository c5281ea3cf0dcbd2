# mypy: allow-untyped-defs
"""One compiled pass over UTF-8 bytes that notes where personal data or a secret could stand (scan.py says what).

Every byte is looked at once, apart from the run around a colon, which is looked at twice: linear in any text.
"""

import numpy as np
from numba import njit

from datasets_pipeline.features.pointers import pointer_to

AT, DOTTED, COLONS, NUMBER, SHORT_NUMBER, CODE, SECRET, ACCOUNT, PEM = range(9)

_DIGIT, _UPPER, _LOWER, _JOINER, _SEPARATOR, _HEX = 1, 2, 4, 8, 16, 32
_LETTER = _UPPER | _LOWER
_WORD = _DIGIT | _LETTER | _JOINER

_AT_SIGN, _COLON, _DOT, _DASH, _UNDERSCORE, _SPACE, _A, _B, _N = 64, 58, 46, 45, 95, 32, 65, 66, 78

MIN_NUMBER_DIGITS = 7
SHORT_NUMBER_DIGITS = 6
MIN_TOKEN_BYTES = 8
MIN_CODE_DIGITS, MAX_CODE_BYTES = 6, 20
MIN_SECRET_BYTES = 16
MIN_LETTERS_BYTES = 30
AWS_KEY_BYTES = 20
MAX_GAP_BYTES = 3
"""Between the digits of one number: ` - `, `) `, or one no-break space."""


def _classes() -> np.ndarray:
    table = np.zeros(256, np.uint8)
    for bits, members in (
        (_DIGIT, b"0123456789"),
        (_UPPER, bytes(range(65, 91))),
        (_LOWER, bytes(range(97, 123))),
        (_JOINER, b"-_"),
        # Also the bytes of no-break space, narrow no-break space and no-break hyphen.
        (_SEPARATOR, b" .-/()\xc2\xa0\xe2\x80\xaf\x91"),
        (_HEX, b"0123456789abcdefABCDEF"),
    ):
        for byte in members:
            table[byte] |= bits
    return table


CLASSES = _classes()


@njit(cache=True, nogil=True)
def _note(found, count, capacity, what, row, start, end):
    """Note one place when there is room; returns the new count, which says how much room was needed."""
    if count < capacity:
        found[4 * count] = what
        found[4 * count + 1] = row
        found[4 * count + 2] = start
        found[4 * count + 3] = end
    return count + 1


@njit(cache=True, nogil=True)
def _follows_capital(text, bits_of, start, first):
    """Whether a capital letter stands before text[start], perhaps with a blank between."""
    before = start - 1
    if before > first and text[before] == _SPACE:
        before -= 1
    return before >= first and bits_of[text[before]] & _UPPER != 0


@njit(cache=True, nogil=True)
def scan_kernel(data, offsets, classes, places):
    """Fill places, int64 [k, 4], with (what, row, start, end) in bytes of the row's text; returns how many there are.

    data: uint8 of all texts; offsets: int64 [rows + 1] into it; classes: CLASSES.
    Places beyond the k-th are counted only.
    """
    capacity = len(places)
    found = pointer_to(places)
    count = 0
    text = pointer_to(data)
    bits_of = pointer_to(classes)
    for row in range(len(offsets) - 1):
        first, last = offsets[row], offsets[row + 1]
        run_start, run_bits, run_digits = -1, 0, 0
        number_start, number_digits, number_last, number_dots = -1, 0, 0, 0
        colons_done = first
        for i in range(first, last + 1):
            # One byte beyond the end closes what is open there.
            byte = text[i] if i < last else np.uint8(10)
            bits = bits_of[byte]
            if bits & _DIGIT:
                if number_start >= 0:
                    number_digits += 1
                    if i - number_last == 2 and text[i - 1] == _DOT:
                        number_dots += 1
                    number_last = i
                elif i == first or not (bits_of[text[i - 1]] & (_LETTER | _DIGIT) or text[i - 1] == _UNDERSCORE):
                    number_start, number_digits, number_last, number_dots = i, 1, i, 0
            elif number_start >= 0 and (not bits & _SEPARATOR or i - number_last > MAX_GAP_BYTES):
                start, end = number_start - first, number_last + 1 - first
                if number_digits >= MIN_NUMBER_DIGITS:
                    count = _note(found, count, capacity, NUMBER, row, start, end)
                elif number_digits == SHORT_NUMBER_DIGITS and _follows_capital(text, bits_of, number_start, first):
                    count = _note(found, count, capacity, SHORT_NUMBER, row, start, end)
                if number_dots >= 3:
                    count = _note(found, count, capacity, DOTTED, row, start, end)
                number_start = -1
            if bits & _WORD:
                if run_start < 0:
                    run_start, run_bits, run_digits = i, 0, 0
                run_bits |= bits
                run_digits += bits & _DIGIT
                continue
            if run_start >= 0:
                length = i - run_start
                if length >= MIN_TOKEN_BYTES:
                    is_mixed = run_bits & _UPPER and run_bits & _LOWER
                    if run_digits and run_bits & _LETTER:
                        if run_digits >= MIN_CODE_DIGITS and length <= MAX_CODE_BYTES:
                            count = _note(found, count, capacity, CODE, row, run_start - first, i - first)
                        if length >= MIN_SECRET_BYTES or is_mixed:
                            count = _note(found, count, capacity, SECRET, row, run_start - first, i - first)
                    elif (is_mixed and length >= MIN_LETTERS_BYTES) or (
                        length == AWS_KEY_BYTES and text[run_start] == _A
                    ):
                        count = _note(found, count, capacity, SECRET, row, run_start - first, i - first)
                    # `-----BEGIN`, perhaps with the n of an escaped line break before it.
                    if length > 9 and text[i - 1] == _N and text[i - 5] == _B and text[i - 6] == text[i - 10] == _DASH:
                        count = _note(found, count, capacity, PEM, row, i - 10 - first, i - first)
                # IBAN: two letters and two digits, with what follows in the run or in groups behind it.
                if (
                    run_digits >= 2
                    and length >= 4
                    and bits_of[text[run_start]] & _LETTER
                    and bits_of[text[run_start + 1]] & _LETTER
                    and bits_of[text[run_start + 2]] & _DIGIT
                    and bits_of[text[run_start + 3]] & _DIGIT
                ):
                    count = _note(found, count, capacity, ACCOUNT, row, run_start - first, i - first)
                run_start = -1
            if byte == _AT_SIGN:
                if i > first and i + 1 < last and text[i - 1] > _SPACE and text[i + 1] > _SPACE:
                    count = _note(found, count, capacity, AT, row, i - first, i + 1 - first)
            elif byte == _COLON and i >= colons_done:
                start, num_colons = i, 1
                while start > first and i - start < 5 and bits_of[text[start - 1]] & _HEX:
                    start -= 1
                end = i + 1
                while end < last and (bits_of[text[end]] & _HEX or text[end] == _COLON or text[end] == _DOT):
                    num_colons += text[end] == _COLON
                    end += 1
                colons_done = end
                if num_colons >= 2 and end - start >= 4:
                    count = _note(found, count, capacity, COLONS, row, start - first, end - first)
    return count
