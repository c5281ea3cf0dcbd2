# mypy: allow-untyped-defs
"""Compiled counting of characters: what a document consists of, whatever their order.

The bytes of a document are counted first (a histogram of 256, four side by side so that equal neighbours do
not wait for each other); every count of ASCII characters is a sum over it. Only characters beyond ASCII are
decoded, and only where the histogram shows some.

Imported only by feature_kernels.py, on first use.
"""

import numpy as np
from numba import njit

from datasets_pipeline.features import characters as ch
from datasets_pipeline.features.byte_kernels import HIGH_BITS, class_of, decode
from datasets_pipeline.features.columns import COUNT_COLUMNS
from datasets_pipeline.features.pointers import load_8_bytes

_AT = {column.name: index for index, column in enumerate(COUNT_COLUMNS)}
NUM_BYTES, NUM_CHARS, NUM_NEWLINES = _AT["num_bytes"], _AT["num_chars"], _AT["num_newlines"]
NUM_WHITESPACE, NUM_DIGITS, NUM_UPPERCASE = _AT["num_whitespace"], _AT["num_digits"], _AT["num_uppercase"]
NUM_LETTERS, NUM_SYMBOL_CHARS, NUM_HASHES = _AT["num_letters"], _AT["num_symbol_chars"], _AT["num_hashes"]
NUM_ALPHANUMERIC, NUM_ASCII_ALPHANUMERIC = _AT["num_alphanumeric"], _AT["num_ascii_alphanumeric"]
NUM_PLAIN_MARKS, NUM_BLANKS, NUM_PARENTHESES = _AT["num_plain_marks"], _AT["num_blanks"], _AT["num_parentheses"]
NUM_MARKDOWN_CHARS, NUM_ELLIPSES = _AT["num_markdown_chars"], _AT["num_ellipses"]
NUM_OPENING_BRACES, NUM_CLOSING_BRACES = _AT["num_opening_braces"], _AT["num_closing_braces"]
NUM_SEMICOLONS, NUM_EQUALS_SIGNS = _AT["num_semicolons"], _AT["num_equals_signs"]

ALPHANUMERIC = ch.LETTER | ch.NUMBER
PLAIN_MARKS = np.array([ord(c) for c in "\n?!,."])
BLANKS = np.array([ord(c) for c in " \t\n\r\b"])
ASCII_PARENTHESES = np.array([ord(c) for c in "()[]{}"])
MARKDOWN_SIGNS = np.array([ord(c) for c in "#*_`~|>"])
#: Line breaks other than \n below 128.
ASCII_BREAKS = np.array([ord(c) for c in ch.LINE_BREAKS if c != "\n" and ord(c) < 128])


@njit(nogil=True)
def _count_bytes(data, start, end, histogram):
    """Fill histogram[0] of 4 x 256 with how often each byte stands in data[start:end]."""
    histogram[:] = 0
    at = start
    while at + 8 <= end:
        word = load_8_bytes(data, at)
        for k in range(8):
            histogram[k & 3, (word >> np.uint64(8 * k)) & np.uint64(0xFF)] += np.uint32(1)
        at += 8
    while at < end:
        histogram[0, data[at]] += np.uint32(1)
        at += 1
    for byte in range(256):
        histogram[0, byte] += histogram[1, byte] + histogram[2, byte] + histogram[3, byte]


@njit(nogil=True)
def _sum_of(histogram, bytes_wanted):
    total = np.int64(0)
    for byte in bytes_wanted:
        total += histogram[0, byte]
    return total


@njit(nogil=True)
def _count_beyond_ascii(data, start, end, classes, row):
    """Add the characters above U+007F to `row`; returns whether one of them ends a line."""
    whitespace = digits = uppercase = letters = symbols = alphanumeric = parentheses = ellipses = np.int64(0)
    union = np.int64(0)
    at, was_ascii = start, True
    while at < end:
        if was_ascii and at + 8 <= end and load_8_bytes(data, at) & HIGH_BITS == 0:
            at += 8
            continue
        was_ascii = data[at] < 0x80
        if was_ascii:
            at += 1
            continue
        code, width = decode(data, at, end)
        kind = class_of(code, classes)
        at += width
        union |= kind
        whitespace += (kind & ch.SPACE) != 0
        digits += (kind & ch.DIGIT) != 0
        uppercase += (kind & ch.UPPERCASE) != 0
        letters += (kind & ch.LETTER) != 0
        symbols += (kind & ch.SYMBOL) != 0
        alphanumeric += (kind & ALPHANUMERIC) != 0
        parentheses += code == 0x27E8 or code == 0x27E9
        ellipses += code == 0x2026
    row[NUM_WHITESPACE] += whitespace
    row[NUM_DIGITS] += digits
    row[NUM_UPPERCASE] += uppercase
    row[NUM_LETTERS] += letters
    row[NUM_SYMBOL_CHARS] += symbols
    row[NUM_ALPHANUMERIC] += alphanumeric
    row[NUM_PARENTHESES] += parentheses
    row[NUM_ELLIPSES] += ellipses
    return union & ch.LINE_BREAK != 0


@njit(nogil=True)
def count_characters_of(data, start, end, classes, histogram, row):
    """Fill the columns of single characters; returns whether lines end at more than \\n.

    NUM_ELLIPSES holds '…' alone afterwards: '...' needs the order of characters and is added elsewhere.
    """
    row[NUM_BYTES] = end - start
    _count_bytes(data, start, end, histogram)
    for byte in range(128):
        count = np.int64(histogram[0, byte])
        if count:
            kind = np.int64(classes[byte])
            row[NUM_CHARS] += count
            row[NUM_WHITESPACE] += count * ((kind & ch.SPACE) != 0)
            row[NUM_DIGITS] += count * ((kind & ch.DIGIT) != 0)
            row[NUM_UPPERCASE] += count * ((kind & ch.UPPERCASE) != 0)
            row[NUM_LETTERS] += count * ((kind & ch.LETTER) != 0)
            row[NUM_SYMBOL_CHARS] += count * ((kind & ch.SYMBOL) != 0)
    row[NUM_ASCII_ALPHANUMERIC] = row[NUM_LETTERS] + row[NUM_DIGITS]
    row[NUM_ALPHANUMERIC] = row[NUM_ASCII_ALPHANUMERIC]
    row[NUM_NEWLINES] = histogram[0, 10]
    row[NUM_HASHES] = histogram[0, 0x23]
    row[NUM_PLAIN_MARKS] = _sum_of(histogram, PLAIN_MARKS)
    row[NUM_BLANKS] = _sum_of(histogram, BLANKS)
    row[NUM_PARENTHESES] = _sum_of(histogram, ASCII_PARENTHESES)
    row[NUM_MARKDOWN_CHARS] = _sum_of(histogram, MARKDOWN_SIGNS)
    row[NUM_OPENING_BRACES], row[NUM_CLOSING_BRACES] = histogram[0, 0x7B], histogram[0, 0x7D]
    row[NUM_SEMICOLONS], row[NUM_EQUALS_SIGNS] = histogram[0, 0x3B], histogram[0, 0x3D]
    has_breaks = _sum_of(histogram, ASCII_BREAKS) != 0
    if row[NUM_CHARS] != end - start:
        for byte in range(0xC0, 0x100):
            row[NUM_CHARS] += histogram[0, byte]
        has_breaks |= _count_beyond_ascii(data, start, end, classes, row)
    return has_breaks
