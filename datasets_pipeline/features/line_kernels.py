# mypy: allow-untyped-defs
"""Compiled counting of lines and paragraphs: one walk over a document's UTF-8 bytes, eight at a time.

Four readings of "line" are counted at once, because the published filters differ: every Unicode line break
(Gopher quality, C4), runs of `\\n` (Gopher repetition), `\\n` with blank lines left out (FineWeb, NeMo), every
`\\n` (code). Lines and paragraphs that stood before are found by their hash; see byte_kernels.py.

Imported only by feature_kernels.py, on first use.
"""

import numpy as np
from numba import njit

from datasets_pipeline.features import characters as ch
from datasets_pipeline.features.byte_kernels import (
    HIGH_BITS,
    LOW_BITS,
    class_of,
    count_characters,
    hash_bytes,
    hash_end,
    hash_start,
    hash_step,
    last_character,
    phrase_bytes,
    read_character,
    stands_at,
    stood_before,
    up_to_8_bytes,
)
from datasets_pipeline.features.columns import COUNT_COLUMNS, SHORT_LINE_CHARS, STRETCH_LINES
from datasets_pipeline.features.pointers import count_ones, load_8_bytes, trailing_zeros

_AT = {column.name: index for index, column in enumerate(COUNT_COLUMNS)}
NUM_TEXT_LINES, NUM_BULLET_LINES = _AT["num_text_lines"], _AT["num_bullet_lines"]
NUM_ELLIPSIS_LINES, NUM_C4_LINES = _AT["num_ellipsis_lines"], _AT["num_c4_lines"]
NUM_LINES, NUM_DUPLICATE_LINES = _AT["num_lines"], _AT["num_duplicate_lines"]
DUPLICATE_LINE_CHARS = _AT["duplicate_line_chars"]
NUM_PARAGRAPHS, NUM_DUPLICATE_PARAGRAPHS = _AT["num_paragraphs"], _AT["num_duplicate_paragraphs"]
DUPLICATE_PARAGRAPH_CHARS = _AT["duplicate_paragraph_chars"]
NUM_CONTENT_LINES, NUM_TERMINAL_LINES = _AT["num_content_lines"], _AT["num_terminal_lines"]
NUM_SHORT_LINES, NUM_UNENDED_LINES = _AT["num_short_lines"], _AT["num_unended_lines"]
NUM_DUPLICATE_CONTENT_LINES = _AT["num_duplicate_content_lines"]
DUPLICATE_CONTENT_LINE_CHARS = _AT["duplicate_content_line_chars"]
NUM_NEMO_BULLET_LINES, NUM_NEMO_ELLIPSIS_LINES = _AT["num_nemo_bullet_lines"], _AT["num_nemo_ellipsis_lines"]
LONGEST_LINE_CHARS, NUM_COMMENT_LINES = _AT["longest_line_chars"], _AT["num_comment_lines"]
COMMENT_LINE_CHARS, NUM_BLANK_LINE_BREAKS = _AT["comment_line_chars"], _AT["num_blank_line_breaks"]

SPACE, TERMINAL, LINE_BREAK = ch.SPACE, ch.TERMINAL, ch.LINE_BREAK

_NEWLINES = np.uint64(0x0A0A0A0A0A0A0A0A)
NEMO_BULLETS = np.array([ord(c) for c in "•‣⁃⁌⁍∙○●◘◦⦾⦿"])
READ_MORE, READ_MORE_DOTS = phrase_bytes("read more"), phrase_bytes("read more..")
HTML_COMMENT = phrase_bytes("<!--")
SQUARE_DOTS, SQUARE_ELLIPSIS = phrase_bytes("[...]"), phrase_bytes("[…]")
ROUND_DOTS, DASH_ANGLE, DOTS = phrase_bytes("(...)"), phrase_bytes("-»"), phrase_bytes("...")


@njit(nogil=True)
def first_content(data, start, end, classes):
    """Where the first character that is not whitespace begins in data[start:end]; `end` if there is none."""
    at = start
    while at < end:
        code, width = read_character(data, at, end)
        if not class_of(code, classes) & SPACE:
            return at
        at += width
    return end


@njit(nogil=True)
def content_end(data, start, end, classes):
    """Where the last character that is not whitespace ends in data[start:end]; `start` if there is none."""
    last = end
    while last > start:
        code, at = last_character(data, start, last)
        if not class_of(code, classes) & SPACE:
            return last
        last = at
    return start


@njit(nogil=True)
def _ends_with(data, start, end, phrase):
    return stands_at(data, end - phrase.shape[0], end, phrase) and end - phrase.shape[0] >= start


@njit(nogil=True)
def _ends_in_nemo_ellipsis(data, start, end, code):
    """Whether data[start:end], which ends in `code`, ends with one of NeMo's ellipses."""
    if code == 0x2E:
        return _ends_with(data, start, end, DOTS) or _ends_with(data, start, end, READ_MORE_DOTS)
    if code == 0x2026:
        return True
    if code == 0x5D:
        return _ends_with(data, start, end, SQUARE_DOTS) or _ends_with(data, start, end, SQUARE_ELLIPSIS)
    if code == 0x29:
        return _ends_with(data, start, end, ROUND_DOTS)
    if code == 0xBB:
        return _ends_with(data, start, end, DASH_ANGLE)
    return (code | 0x20) == 0x65 and _ends_with(data, start, end, READ_MORE)


@njit(nogil=True)
def _is_comment(data, at, end):
    """Whether a line whose content begins at `at` begins as a comment does in some programming language."""
    byte = data[at]
    following = data[at + 1] if at + 1 < end else np.uint8(0)
    if byte == 0x23 or byte == 0x2A or byte == 0x3B or byte == 0x25:  # # * ; %
        return True
    if byte == 0x2F:
        return following == 0x2F or following == 0x2A
    if byte == 0x2D:
        return following == 0x2D
    return byte == 0x3C and stands_at(data, at, end, HTML_COMMENT)


@njit(nogil=True)
def _ends_as_sentence(code):
    """C4's and NeMo's end marks: . ? ! " '"""
    return code == 0x2E or code == 0x3F or code == 0x21 or code == 0x22 or code == 0x27


@njit(nogil=True)
def _count_text_line(data, first, last, classes, row):
    """Count one line of str.splitlines whose content is data[first:last]."""
    row[NUM_TEXT_LINES] += 1
    if first >= last:
        return
    code, _ = read_character(data, first, last)
    row[NUM_BULLET_LINES] += code == 0x2022 or code == 0x2D
    code, _ = last_character(data, first, last)
    has_dots = code == 0x2E and _ends_with(data, first, last, DOTS)
    row[NUM_ELLIPSIS_LINES] += has_dots or code == 0x2026
    row[NUM_C4_LINES] += _ends_as_sentence(code) and not has_dots


@njit(nogil=True)
def count_text_lines(data, start, end, classes, row):
    """The columns of lines at every Unicode line break, for the few documents that hold more than \\n."""
    line, at = start, start
    while at < end:
        code, width = read_character(data, at, end)
        at += width
        if class_of(code, classes) & LINE_BREAK:
            first = first_content(data, line, at - width, classes)
            _count_text_line(data, first, content_end(data, first, at - width, classes), classes, row)
            if code == 13 and at < end and data[at] == 10:
                at += 1
            line = at
    if line < end:
        first = first_content(data, line, end, classes)
        _count_text_line(data, first, content_end(data, first, end, classes), classes, row)


@njit(nogil=True)
def _read_line(data, start, end, limit):
    """(end of the line that starts at `start`, its hash, bytes of it that continue a character)."""
    at, value, continuing = start, hash_start(), np.int64(0)
    while True:
        is_full = at + 8 <= end
        word = load_8_bytes(data, at) if is_full else up_to_8_bytes(data, at, end, limit)
        matches = word ^ _NEWLINES
        matches = (matches - LOW_BITS) & ~matches & HIGH_BITS
        length = np.int64(8)
        if matches != 0:
            length = trailing_zeros(matches) >> 3
        length = min(length, end - at)
        if length < 8:
            word &= (np.uint64(1) << np.uint64(8 * length)) - np.uint64(1)
        if length:
            value = hash_step(value, word)
        if word & HIGH_BITS != 0:
            continuing += count_ones(word & HIGH_BITS & ~(word << np.uint64(1)))
        at += length
        if length < 8 or at == end:
            return at, hash_end(value, at - start), continuing


@njit(nogil=True)
def count_lines(data, start, end, limit, classes, has_breaks, row, line_set, paragraph_set, stamps, stamp, mask):
    """Fill the columns of lines and paragraphs; returns the stamp of the last generation of the hash sets.

    line_set and paragraph_set are hash sets of mask + 1 slots, stamps[0] and stamps[1] their generation marks;
    a slot whose mark differs from `stamp` is free, so that nothing is cleared between documents. After
    STRETCH_LINES lines a new generation begins.
    """
    line_stamps, paragraph_stamps = stamps
    if has_breaks:
        count_text_lines(data, start, end, classes, row)
    lines = duplicate_lines = duplicate_line_chars = content_lines = duplicate_content_lines = np.int64(0)
    duplicate_content_chars = terminal_lines = short_lines = unended_lines = longest_line = np.int64(0)
    nemo_bullets = nemo_ellipses = comment_lines = comment_chars = blank_line_breaks = np.int64(0)
    strip_start = first_content(data, start, end, classes)
    strip_end = content_end(data, strip_start, end, classes)
    paragraph_start, paragraph_end = np.int64(-1), strip_start
    if strip_start == strip_end:  # an empty stripped text is one empty paragraph
        row[NUM_PARAGRAPHS] = 1
    newlines_in_row = lines_in_stretch = np.int64(0)
    at = start
    while True:
        line_end, line_hash, continuing = _read_line(data, at, end, limit)
        is_empty, chars = line_end == at, line_end - at - continuing
        first = first_content(data, at, line_end, classes) if not is_empty else line_end
        last = line_end
        has_content = first < line_end
        if has_content:
            last = content_end(data, first, line_end, classes)
        if not has_breaks and (line_end < end or not is_empty):
            _count_text_line(data, first, last if has_content else first, classes, row)

        if not is_empty or at == start or line_end == end:
            lines += 1
            repeats = stood_before(line_hash, line_set, line_stamps, stamp, mask)
            if repeats:
                duplicate_lines += 1
                duplicate_line_chars += chars
                if has_content:
                    duplicate_content_lines += 1
                    duplicate_content_chars += chars
            lines_in_stretch += 1
        if has_content:
            content_lines += 1
            final, _ = last_character(data, first, line_end)
            terminal_lines += class_of(final, classes) & TERMINAL != 0
            short_lines += chars <= SHORT_LINE_CHARS
            final, _ = last_character(data, first, last)
            unended_lines += not _ends_as_sentence(final)
            nemo_ellipses += _ends_in_nemo_ellipsis(data, first, last, final)
            if data[first] >= 0x80:
                code, _ = read_character(data, first, last)
                for bullet in NEMO_BULLETS:
                    nemo_bullets += code == bullet
            elif _is_comment(data, first, last):
                comment_lines += 1
                comment_chars += count_characters(data, first, last)
        longest_line = max(longest_line, chars)

        # Paragraphs: of the stripped text, ended by an empty line.
        low, high = max(at, strip_start), min(line_end, strip_end)
        if low < high:
            if paragraph_start < 0:
                paragraph_start = low
            paragraph_end = high
        if paragraph_start >= 0 and (is_empty or line_end >= strip_end):
            row[NUM_PARAGRAPHS] += 1
            key = hash_bytes(data, paragraph_start, paragraph_end, limit)
            if stood_before(key, paragraph_set, paragraph_stamps, stamp, mask):
                row[NUM_DUPLICATE_PARAGRAPHS] += 1
                row[DUPLICATE_PARAGRAPH_CHARS] += count_characters(data, paragraph_start, paragraph_end)
            paragraph_start = np.int64(-1)
        if line_end == end:
            break
        newlines_in_row = newlines_in_row + 1 if is_empty and newlines_in_row else np.int64(1)
        if newlines_in_row == 2:
            blank_line_breaks += 1
            newlines_in_row = np.int64(0)
        if lines_in_stretch >= STRETCH_LINES:
            lines_in_stretch = np.int64(0)
            stamp += np.uint32(1)
        at = line_end + 1

    row[NUM_LINES] = lines
    row[NUM_DUPLICATE_LINES] = duplicate_lines
    row[DUPLICATE_LINE_CHARS] = duplicate_line_chars
    row[NUM_CONTENT_LINES] = content_lines
    row[NUM_DUPLICATE_CONTENT_LINES] = duplicate_content_lines
    row[DUPLICATE_CONTENT_LINE_CHARS] = duplicate_content_chars
    row[NUM_TERMINAL_LINES] = terminal_lines
    row[NUM_SHORT_LINES] = short_lines
    row[NUM_UNENDED_LINES] = unended_lines
    row[NUM_NEMO_BULLET_LINES] = nemo_bullets
    row[NUM_NEMO_ELLIPSIS_LINES] = nemo_ellipses
    row[LONGEST_LINE_CHARS] = longest_line
    row[NUM_COMMENT_LINES] = comment_lines
    row[COMMENT_LINE_CHARS] = comment_chars
    row[NUM_BLANK_LINE_BREAKS] = blank_line_breaks
    return stamp
