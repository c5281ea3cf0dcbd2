"""The loop of html_markdown, compiled: bytes of well-formed HTML in, bytes of Markdown out. One pass, no recursion.

What is written waits until a word comes, so that nothing empty is: a break (line ends due), a marker (bullet, number or
heading signs) or the separator of a cell. Compiling takes some ten seconds once; the machine code is kept.
"""

import numba
import numpy as np

LINE, PARAGRAPH, LIST, NUMBERED, ITEM, TABLE, ROW, CELL, CODE, HEADING = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
UNSEEN, RAW = 20, 21
"""What a tag does; HEADING + level for h1 to h6. UNSEEN: nothing of the element is written; RAW: no markup is in it."""

_MAX_INDENTS = 20
"""An indented rendering of n nested lists is n * n characters, so 10 kB could become 100 MB."""
_MAX_NESTED = 256  # lists and tables whose numbers and rows are kept; deeper ones have bullets and no cells

_BR = np.uint64(ord("b") | ord("r") << 8 | 2 << 56)

BYTES_A_TAG = 2 * _MAX_INDENTS + 32
"""The most that is written because of one tag: an indent, a number and breaks."""


_PLAIN = np.ones(256, np.bool_)
"""Bytes that are no markup, no entity and no white space, nor the first of some."""
_PLAIN[[*range(33), 38, 60, 0xC2, 0xE1, 0xE2, 0xE3]] = False


@numba.njit(cache=True, nogil=True)
def write_markdown(html, names, kinds, factor, out):  # type: ignore[no-untyped-def]
    """Write the Markdown of html (uint8) to out (uint8); its length.

    out has at least 3 * len(html) bytes (a fence is longer than the longest in its code) and BYTES_A_TAG a tag.

    names: a table of 4096 numbers (uint64) of the tags that do something, seven bytes and the length, each at the place
    that the first 12 bits of its product with factor say; kinds: what each does.
    """
    n = len(html)
    o = 0
    unseen, num_unseen = np.uint64(0), 0  # the element that is passed over, and how many of its kind are open
    due = 0  # line ends before the next words
    is_fresh = True  # whether a tag stands between the last word and the next
    has_space = False  # whether white space does
    in_heading = False
    marker = np.empty(256, np.uint8)
    num_marker = 0
    num_lists = 0
    numbers = np.empty(_MAX_NESTED, np.int64)  # of open lists: the last number, -1 for bullets
    num_tables = 0
    in_row = False
    row_start, row_is_broken, has_separator = 0, False, False
    starts = np.empty(_MAX_NESTED, np.int64)  # of the rows that open tables interrupt: where they start, -1 for none
    i = 0
    while i < n:
        byte = html[i]
        if byte == 60:  # <
            after = _after_comment(html, i, n)
            if after > i:
                i = after
                continue
            key, is_closing, first, i = _tag(html, i, n)
            place = (key * factor) >> np.uint64(52)
            kind = kinds[place] if names[place] == key else 0
            if kind == 0 and unseen == 0:
                continue
            if kind == RAW:
                if not is_closing:
                    while i + 1 < n and not (
                        html[i] == 60 and html[i + 1] == 47 and _is_named(html, i + 2, n, html, first)
                    ):
                        i += 1
                continue
            if unseen != 0:
                if key == unseen:
                    num_unseen += -1 if is_closing else 1
                    if num_unseen == 0:
                        unseen = np.uint64(0)
                continue
            if kind == UNSEEN:
                if not is_closing:
                    unseen, num_unseen = key, 1
                continue
            is_fresh = True
            if kind == CODE:
                if is_closing:
                    continue
                # Up to the next </pre>, without its tags.
                end = i
                while end < n:
                    if html[end] == 60:
                        after = _after_comment(html, end, n)
                        if after > end:
                            end = after
                            continue
                        if (
                            end + 5 < n
                            and html[end + 1] == 47
                            and html[end + 2] == 112
                            and html[end + 3] == 114
                            and html[end + 4] == 101
                            and html[end + 5] == 62
                        ):
                            break
                    end += 1
                end = min(end, n)
                code = np.empty(end - i + 1, np.uint8)
                length = 0
                left_out, num_left_out = np.uint64(0), 0
                while i < end:
                    if html[i] == 60:
                        after = _after_comment(html, i, end)
                        if after > i:
                            i = after
                            continue
                        key, ends_block, first, i = _tag(html, i, end)
                        is_break = key == _BR
                        place = (key * factor) >> np.uint64(52)
                        inside = kinds[place] if names[place] == key else 0
                        if inside == RAW:
                            if not ends_block:
                                while i + 1 < end and not (
                                    html[i] == 60 and html[i + 1] == 47 and _is_named(html, i + 2, end, html, first)
                                ):
                                    i += 1
                            continue
                        if left_out != 0:
                            if key == left_out:
                                num_left_out += -1 if ends_block else 1
                                if num_left_out == 0:
                                    left_out = np.uint64(0)
                            continue
                        if inside == UNSEEN:
                            if not ends_block:
                                left_out, num_left_out = key, 1
                            continue
                        if is_break or (ends_block and inside in (LINE, PARAGRAPH)):
                            code[length] = 10
                            length += 1
                    elif left_out != 0:
                        i += 1
                    else:
                        code[length], i = _character(html, i, end)
                        length += 1
                start = 0
                while start < length and code[start] == 10:
                    start += 1
                while length > start and code[length - 1] == 10:
                    length -= 1
                is_blank, longest, run, at_line = True, 2, 0, True
                for k in range(start, length):
                    if code[k] > 32:
                        is_blank = False
                    if code[k] == 96 and (at_line or run > 0):
                        run += 1
                        longest = max(longest, run)
                    else:
                        run = 0
                    at_line = code[k] == 10
                if is_blank:
                    continue
                fence = longest + 1
                if not in_heading and not (in_row and has_separator):
                    due = max(due, 2)
                opens_line = due > 0 or o == 0
                if o > 0:
                    if in_row:
                        row_is_broken = row_is_broken or (opens_line and o > row_start)
                    o = _gap(out, o, due, in_row and has_separator)
                if opens_line:
                    for k in range(num_marker):
                        out[o + k] = marker[k]
                    o += num_marker
                has_separator, due, num_marker = False, 0, 0
                for k in range(fence):
                    out[o + k] = 96
                o += fence
                out[o] = 10
                o += 1
                for k in range(start, length):
                    out[o] = code[k]
                    o += 1
                out[o] = 10
                o += 1
                for k in range(fence):
                    out[o + k] = 96
                o += fence
                if not in_heading:
                    due = 2
                continue
            wanted = 0
            if kind == LINE:
                wanted = 1
            elif kind == PARAGRAPH:
                wanted = 1 if num_lists else 2
            elif kind == ITEM:
                wanted = 1
                num_marker = 0
                if not is_closing:
                    for _ in range(2 * min(max(num_lists - 1, 0), _MAX_INDENTS)):
                        marker[num_marker] = 32
                        num_marker += 1
                    if num_lists == 0 or num_lists > _MAX_NESTED or numbers[num_lists - 1] < 0:
                        marker[num_marker] = 45
                        num_marker += 1
                    else:
                        numbers[num_lists - 1] += 1
                        num_marker = _decimal(marker, num_marker, numbers[num_lists - 1])
                        marker[num_marker] = 46
                        num_marker += 1
                    marker[num_marker] = 32
                    num_marker += 1
            elif kind in (LIST, NUMBERED):
                if is_closing:
                    num_lists = max(num_lists - 1, 0)
                    wanted = 1 if num_lists else 2
                else:
                    wanted = 1 if num_lists else 2
                    if num_lists < _MAX_NESTED:
                        numbers[num_lists] = 0 if kind == NUMBERED else -1
                    num_lists += 1
            elif kind == TABLE:
                if is_closing:
                    if num_tables > 0:
                        num_tables -= 1
                        in_row = num_tables < _MAX_NESTED and starts[num_tables] >= 0
                        if in_row:
                            row_start, row_is_broken = starts[num_tables], True
                    has_separator = False
                else:
                    if num_tables < _MAX_NESTED:
                        starts[num_tables] = row_start if in_row else -1
                    num_tables += 1
                    in_row = has_separator = False
                wanted = 1 if num_lists else 2
            elif kind == ROW:
                if is_closing:
                    if in_row and not row_is_broken:
                        due = 1
                    in_row = has_separator = False
                else:
                    in_row = has_separator = False
                    if not in_heading:
                        due = max(due, 1)
                    in_row, row_start, row_is_broken = True, o, False
            elif kind == CELL:
                # Cells of a row stand in one line; after one that had several, a block begins a line of its own.
                if not is_closing and in_row and o > row_start:
                    if not row_is_broken:
                        due = 0
                    has_separator = has_separator or due == 0
            elif is_closing:
                in_heading, num_marker, wanted = False, 0, 2
            else:
                if not (in_row and has_separator):
                    due = max(due, 2)
                for _ in range(kind - HEADING):
                    if num_marker < 200:
                        marker[num_marker] = 35
                        num_marker += 1
                marker[num_marker] = 32
                num_marker = min(num_marker + 1, 201)
                in_heading = True
            if wanted > due and not in_heading and not (in_row and has_separator):
                due = wanted
            continue
        if unseen != 0:
            while i < n and html[i] != 60:
                i += 1
            continue
        width = _white_space(html, i, n)
        if width > 0:
            has_space = True
            i += width
            continue
        if is_fresh:
            opens_line = due > 0 or o == 0
            if o > 0:
                if in_row:
                    row_is_broken = row_is_broken or (opens_line and o > row_start)
                o = _gap(out, o, due, in_row and has_separator)
            if opens_line:
                if num_marker > 0:
                    for k in range(num_marker):
                        out[o + k] = marker[k]
                    o += num_marker
                else:
                    for _ in range(2 * min(num_lists, _MAX_INDENTS)):
                        out[o] = 32
                        o += 1
            is_fresh = has_separator = False
            due = num_marker = 0
        elif has_space:
            out[o] = 32
            o += 1
        has_space = False
        out[o], i = _character(html, i, n)
        o += 1
        # The words that follow, and the single spaces between them.
        while i < n:
            if _PLAIN[html[i]]:
                out[o] = html[i]
            elif (html[i] == 32 or html[i] == 10) and i + 1 < n and _PLAIN[html[i + 1]]:
                out[o] = 32
            else:
                break
            o += 1
            i += 1
    return o


@numba.njit(cache=True, nogil=True)
def _tag(html, i, n):  # type: ignore[no-untyped-def]
    """Of the tag at i: the number of its name, whether it closes, where its name begins, where the tag ends."""
    is_closing = i + 1 < n and html[i + 1] == 47
    first = i + 1 + is_closing
    j = first
    key = np.uint64(0)
    while j < n and html[j] > 32 and html[j] != 47 and html[j] != 62:  # white space, / or > ends a name
        if j - first < 7:
            key |= np.uint64(html[j]) << np.uint64(8 * (j - first))
        j += 1
    key |= np.uint64(min(j - first, 255)) << np.uint64(56)
    is_quoted = False
    while j < n and (is_quoted or html[j] != 62):
        if html[j] == 34 and (is_quoted or html[j - 1] == 61):  # others are part of an attribute's name
            is_quoted = not is_quoted
        j += 1
    return key, is_closing, first, min(j + 1, n)


@numba.njit(cache=True, nogil=True)
def _after_comment(html, i, n):  # type: ignore[no-untyped-def]
    """Where the comment at i ends, n at the most; i where there is none."""
    if not (i + 3 < n and html[i + 1] == 33 and html[i + 2] == 45 and html[i + 3] == 45):
        return i
    i += 6
    while i < n and not (html[i] == 62 and html[i - 1] == 45 and html[i - 2] == 45):
        i += 1
    return min(i + 1, n)


@numba.njit(cache=True, nogil=True)
def _is_named(html, i, n, other, j):  # type: ignore[no-untyped-def]
    """Whether the tag names at two places are the same."""
    while i < n and html[i] > 32 and html[i] != 47 and html[i] != 62:
        if html[i] != other[j]:
            return False
        i += 1
        j += 1
    return other[j] <= 32 or other[j] == 47 or other[j] == 62


@numba.njit(cache=True, nogil=True)
def _gap(out, o, due, has_separator):  # type: ignore[no-untyped-def]
    """Write what separates words from those before: line ends, the mark between cells, or a space."""
    if due > 0:
        for _ in range(due):
            out[o] = 10
            o += 1
    elif has_separator:
        out[o], out[o + 1], out[o + 2] = 32, 124, 32
        o += 3
    else:
        out[o] = 32
        o += 1
    return o


@numba.njit(cache=True, nogil=True)
def _decimal(out, o, number):  # type: ignore[no-untyped-def]
    """Write a positive number."""
    size = 1
    while number >= 10**size:
        size += 1
    for k in range(size):
        out[o + size - 1 - k] = 48 + number // 10**k % 10
    return o + size


@numba.njit(cache=True, nogil=True)
def _character(html, i, n):  # type: ignore[no-untyped-def]
    """The byte at i, or the one that an entity stands for, and where the next begins."""
    byte = html[i]
    if byte == 38 and i + 3 < n:  # &
        if html[i + 2] == 116 and html[i + 3] == 59:  # &lt; &gt;
            if html[i + 1] == 108:
                return np.uint8(60), i + 4
            if html[i + 1] == 103:
                return np.uint8(62), i + 4
        if i + 4 < n and html[i + 1] == 97 and html[i + 2] == 109 and html[i + 3] == 112 and html[i + 4] == 59:
            return np.uint8(38), i + 5  # &amp;
        if i + 5 < n and html[i + 5] == 59:
            if html[i + 1] == 113 and html[i + 2] == 117 and html[i + 3] == 111 and html[i + 4] == 116:
                return np.uint8(34), i + 6  # &quot;
            if html[i + 1] == 110 and html[i + 2] == 98 and html[i + 3] == 115 and html[i + 4] == 112:
                return np.uint8(32), i + 6  # &nbsp;, in code
    return byte, i + 1


@numba.njit(cache=True, nogil=True)
def _white_space(html, i, n):  # type: ignore[no-untyped-def]
    """Bytes of the white space at i; 0 where there is none. As str.split() understands it, and `&nbsp;`."""
    byte = html[i]
    if byte > 38 and byte < 0xC2:
        return 0
    if byte == 32 or (byte >= 9 and byte <= 13) or (byte >= 28 and byte <= 31):
        return 1
    if byte == 38:
        if (
            i + 5 < n
            and html[i + 1] == 110
            and html[i + 2] == 98
            and html[i + 3] == 115
            and html[i + 4] == 112
            and html[i + 5] == 59
        ):
            return 6
    elif byte == 0xC2:
        if i + 1 < n and (html[i + 1] == 0xA0 or html[i + 1] == 0x85):
            return 2
    elif byte == 0xE2:
        if i + 2 < n:
            if html[i + 1] == 0x80:
                last = html[i + 2]
                if last <= 0x8A or last == 0xA8 or last == 0xA9 or last == 0xAF:
                    return 3
            elif html[i + 1] == 0x81 and html[i + 2] == 0x9F:
                return 3
    elif byte == 0xE3:
        if i + 2 < n and html[i + 1] == 0x80 and html[i + 2] == 0x80:
            return 3
    elif byte == 0xE1 and i + 2 < n and html[i + 1] == 0x9A and html[i + 2] == 0x80:
        return 3
    return 0
