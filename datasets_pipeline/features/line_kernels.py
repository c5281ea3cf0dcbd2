# mypy: allow-untyped-defs
"""Compiled counting of characters, lines and paragraphs: one walk over a document's UTF-8 bytes.

Three readings of "line" are counted at once, because the three published filters differ: every Unicode
line break (Gopher quality), runs of `\\n` (Gopher repetition), `\\n` with blank lines left out (FineWeb).
Lines and paragraphs that stood before are found by a 64-bit hash; two different lines are taken for one
with probability 2**-64 a pair.

Imported only by feature_kernels.py, which is imported on first use: numba takes 0.5 s to load.
"""

import numpy as np
from numba import njit

from datasets_pipeline.features import characters as ch
from datasets_pipeline.features.columns import COUNT_COLUMNS, SHORT_LINE_CHARS
from datasets_pipeline.features.pointers import pointer_to

_AT = {column.name: index for index, column in enumerate(COUNT_COLUMNS)}
NUM_BYTES, NUM_CHARS, NUM_NEWLINES = _AT["num_bytes"], _AT["num_chars"], _AT["num_newlines"]
NUM_WHITESPACE, NUM_DIGITS, NUM_UPPERCASE = _AT["num_whitespace"], _AT["num_digits"], _AT["num_uppercase"]
NUM_LETTERS, NUM_SYMBOL_CHARS, NUM_HASHES = _AT["num_letters"], _AT["num_symbol_chars"], _AT["num_hashes"]
NUM_ELLIPSES, NUM_URLS = _AT["num_ellipses"], _AT["num_urls"]
NUM_TEXT_LINES, NUM_BULLET_LINES = _AT["num_text_lines"], _AT["num_bullet_lines"]
NUM_ELLIPSIS_LINES = _AT["num_ellipsis_lines"]
NUM_LINES, NUM_DUPLICATE_LINES = _AT["num_lines"], _AT["num_duplicate_lines"]
DUPLICATE_LINE_CHARS = _AT["duplicate_line_chars"]
NUM_PARAGRAPHS, NUM_DUPLICATE_PARAGRAPHS = _AT["num_paragraphs"], _AT["num_duplicate_paragraphs"]
DUPLICATE_PARAGRAPH_CHARS = _AT["duplicate_paragraph_chars"]
NUM_CONTENT_LINES, NUM_TERMINAL_LINES = _AT["num_content_lines"], _AT["num_terminal_lines"]
NUM_SHORT_LINES = _AT["num_short_lines"]
DUPLICATE_CONTENT_LINE_CHARS = _AT["duplicate_content_line_chars"]

TABLE_SIZE, SPACE, TERMINAL, LINE_BREAK = ch.TABLE_SIZE, ch.SPACE, ch.TERMINAL, ch.LINE_BREAK

_HASH_START = np.uint64(0x9E3779B97F4A7C15)
_HASH_STEP = np.uint64(0xD6E8FEB86659FD93)
_MIX = np.uint64(0xFF51AFD7ED558CCD)


@njit(nogil=True)
def mix(value):
    """Spread a 64-bit value over all its bits (a bijection)."""
    value ^= value >> np.uint64(32)
    value *= _MIX
    value ^= value >> np.uint64(29)
    return value


@njit(nogil=True)
def decode(data, at, end):
    """(code point, bytes taken) of the non-ASCII character at `at`; a cut sequence reads as U+FFFD."""
    lead = np.int64(data[at])
    if lead < 0xE0:
        if at + 1 < end:
            return ((lead & 0x1F) << 6) | (data[at + 1] & 0x3F), 2
    elif lead < 0xF0:
        if at + 2 < end:
            return ((lead & 0x0F) << 12) | (np.int64(data[at + 1] & 0x3F) << 6) | (data[at + 2] & 0x3F), 3
    elif at + 3 < end:
        code = ((lead & 0x07) << 18) | (np.int64(data[at + 1] & 0x3F) << 12)
        return code | (np.int64(data[at + 2] & 0x3F) << 6) | (data[at + 3] & 0x3F), 4
    return 0xFFFD, 1


@njit(nogil=True)
def class_of(code, classes):
    return np.int64(classes[code]) if code < TABLE_SIZE else np.int64(0)


@njit(nogil=True)
def stood_before(key, keys, stamps, stamp, mask):
    """Whether `key` was put into this generation of the hash set; puts it there otherwise."""
    slot = np.int64(key >> np.uint64(20)) & mask
    while stamps[slot] == stamp:
        if keys[slot] == key:
            return True
        slot = (slot + 1) & mask
    stamps[slot] = stamp
    keys[slot] = key
    return False


@njit(nogil=True)
def count_newlines(data, start, end):
    newlines = 0
    for at in range(start, end):
        newlines += data[at] == 10
    return newlines


@njit(nogil=True)
def stripped_bounds(data, start, end, classes):
    """Byte range of the text without whitespace at either end."""
    first = start
    while first < end:
        code, width = np.int64(data[first]), 1
        if code >= 0x80:
            code, width = decode(data, first, end)
        if not class_of(code, classes) & SPACE:
            break
        first += width
    last = end
    while last > first:
        at = last - 1
        while at > first and data[at] & 0xC0 == 0x80:
            at -= 1
        code = np.int64(data[at])
        if code >= 0x80:
            code, _ = decode(data, at, end)
        if not class_of(code, classes) & SPACE:
            break
        last = at
    return first, last


@njit(nogil=True)
def count_characters_and_lines(text, start, end, class_table, row, line_keys, paragraph_keys, marks, stamp, mask):
    """Fill the character, line and paragraph columns of `row`.

    line_keys and paragraph_keys are hash sets of mask + 1 slots, marks[0] and marks[1] their generation
    marks; a slot whose mark differs from `stamp` is free, so that nothing is cleared between documents.
    """
    row[NUM_BYTES] = end - start
    if start == end:
        return
    data, classes = pointer_to(text), pointer_to(class_table)
    line_set, paragraph_set = pointer_to(line_keys), pointer_to(paragraph_keys)
    line_stamps, paragraph_stamps = pointer_to(marks[0]), pointer_to(marks[1])
    strip_start, strip_end = stripped_bounds(data, start, end, classes)
    chars = newlines = whitespace = letters = digits = uppercase = symbols = hashes = ellipses = urls = 0
    dots = 0
    # a line as str.splitlines sees it
    text_lines = bullet_lines = ellipsis_lines = 0
    line_is_open = starts_line = False
    is_bullet = False
    closing_dots = 0
    # a line between \n, and the paragraph
    lines = duplicate_lines = duplicate_line_chars = 0
    content_lines = terminal_lines = short_lines = duplicate_content_chars = 0
    line_hash, line_chars, has_content, last_class = _HASH_START, 0, False, np.int64(0)
    paragraphs = duplicate_paragraphs = duplicate_paragraph_chars = 0
    paragraph_hash, paragraph_chars, pending_newlines = _HASH_START, 0, 0
    starts_line = True

    previous = -1
    at = start
    while at <= end:
        # One step past the end closes what is open, as a newline would, without being counted.
        is_end = at == end
        code, width = np.int64(10), 1
        if not is_end:
            code = np.int64(data[at])
            if code >= 0x80:
                code, width = decode(data, at, end)
        kind = class_of(code, classes)

        if not is_end:
            chars += 1
            whitespace += kind & 1
            letters += (kind >> 1) & 1
            digits += (kind >> 2) & 1
            uppercase += (kind >> 3) & 1
            symbols += (kind >> 4) & 1
            hashes += code == 0x23
            if code == 0x2E:
                dots += 1
                if dots == 3:
                    ellipses += 1
                    dots = 0
            else:
                dots = 0
                ellipses += code == 0x2026
            if code == 0x2F and previous == 0x2F and at - 3 >= start and data[at - 2] == 0x3A:
                urls += 0x61 <= (data[at - 3] | 0x20) <= 0x7A

        if is_end or kind & LINE_BREAK:
            if not (code == 10 and previous == 13) and (not is_end or line_is_open):
                text_lines += 1
                bullet_lines += is_bullet
                ellipsis_lines += closing_dots >= 3
            line_is_open, starts_line, is_bullet, closing_dots = False, True, False, 0
        else:
            line_is_open = True
            if not kind & SPACE:
                if starts_line:
                    is_bullet = code == 0x2022 or code == 0x2D
                    starts_line = False
                if code != 0x2E:
                    closing_dots = 3 if code == 0x2026 else 0
                elif previous != 0x2E:
                    closing_dots = 1
                else:
                    closing_dots += 1

        if code == 10 and (is_end or previous != 10):
            lines += 1
            if stood_before(mix(line_hash ^ np.uint64(line_chars)), line_set, line_stamps, stamp, mask):
                duplicate_lines += 1
                duplicate_line_chars += line_chars
                if has_content:
                    duplicate_content_chars += line_chars
            if has_content:
                content_lines += 1
                terminal_lines += (last_class & TERMINAL) != 0
                short_lines += line_chars <= SHORT_LINE_CHARS
            line_hash, line_chars, has_content = _HASH_START, 0, False
        elif code != 10:
            line_hash = (line_hash ^ np.uint64(code)) * _HASH_STEP
            line_chars += 1
            has_content = has_content or not kind & SPACE
            last_class = kind
        newlines += code == 10 and not is_end

        if strip_start <= at <= strip_end:
            closes = at == strip_end
            if code == 10 and not closes:
                pending_newlines += 1
            else:
                if pending_newlines >= 2 or closes:
                    paragraphs += 1
                    key = mix(paragraph_hash ^ np.uint64(paragraph_chars))
                    if stood_before(key, paragraph_set, paragraph_stamps, stamp, mask):
                        duplicate_paragraphs += 1
                        duplicate_paragraph_chars += paragraph_chars
                    paragraph_hash, paragraph_chars = _HASH_START, 0
                elif pending_newlines == 1:
                    paragraph_hash = (paragraph_hash ^ np.uint64(10)) * _HASH_STEP
                    paragraph_chars += 1
                pending_newlines = 0
                paragraph_hash = (paragraph_hash ^ np.uint64(code)) * _HASH_STEP
                paragraph_chars += 1
        previous = int(code)
        at += width

    row[NUM_CHARS] = chars
    row[NUM_NEWLINES] = newlines
    row[NUM_WHITESPACE] = whitespace
    row[NUM_DIGITS] = digits
    row[NUM_UPPERCASE] = uppercase
    row[NUM_LETTERS] = letters
    row[NUM_SYMBOL_CHARS] = symbols
    row[NUM_HASHES] = hashes
    row[NUM_ELLIPSES] = ellipses
    row[NUM_URLS] = urls
    row[NUM_TEXT_LINES] = text_lines
    row[NUM_BULLET_LINES] = bullet_lines
    row[NUM_ELLIPSIS_LINES] = ellipsis_lines
    row[NUM_LINES] = lines
    row[NUM_DUPLICATE_LINES] = duplicate_lines
    row[DUPLICATE_LINE_CHARS] = duplicate_line_chars
    row[NUM_PARAGRAPHS] = paragraphs
    row[NUM_DUPLICATE_PARAGRAPHS] = duplicate_paragraphs
    row[DUPLICATE_PARAGRAPH_CHARS] = duplicate_paragraph_chars
    row[NUM_CONTENT_LINES] = content_lines
    row[NUM_TERMINAL_LINES] = terminal_lines
    row[NUM_SHORT_LINES] = short_lines
    row[DUPLICATE_CONTENT_LINE_CHARS] = duplicate_content_chars
