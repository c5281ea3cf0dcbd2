# mypy: allow-untyped-defs
"""Compiled word segmentation: what a word is, for every word-based feature.

The published filters count the words of a spaCy tokenizer for English. This segmentation follows the
same rules over character classes, in linear time and without a dictionary:

1. A chunk is a maximal run of characters that are not Unicode whitespace.
2. From its start, one at a time, split off: opening and closing brackets, quotes, `, : ; ! ? … < > _ # * &
   § % = — –`, currency signs, pictographs (category So), `+` unless a digit follows, a run of two or more
   full stops. Backslash, `-`, `/`, `|`, `@`, `~`, `^` stay.
3. From its end, likewise: the same brackets, quotes and `, : ; ! ? … < > _ # * &`, pictographs, `— –`, `'s`, a run of
   full stops; one full stop after a digit, a letter that is not upper case, `% ² - + |`, a bracket or a quote,
   or after two letters that are not lower case; after a digit also `+`, `%`, currency signs and units (`10GB`
   is two words).
4. `e.g.`, `U.S.`, `b.` (single letters, each with a full stop, up to 16 characters) stay whole.
5. A contraction is two words: `do|n't`, `we|'ll`, `they|'re`, `I|'m`, `she|'d`, `they|'ve`, also with `’`.
6. A web address (optional scheme, optional user, host with a top-level domain, optional port and path) is
   one word.
7. Inside, split at and keep: runs of full stops, `…`, pictographs; `+ - * ^` between digits; `.` between
   a letter that is not upper case (or a quote) and one that is not lower case; `,` and `: < > = /` before a
   letter and after a letter (the latter four also after a digit); `- – — ~` and `--`, `---` before a
   letter and after a letter or digit.
8. In scripts written without spaces (Han, kana, Thai, Lao, Khmer, Myanmar) every letter, with the marks that
   follow it, is a word. That keeps lengths and repetition meaningful where nothing segments; rules
   that need words abstain there.

Known differences from spaCy's English tokenizer: no dictionary of exceptions (it splits `id` into `i d`,
`cannot` into `can not`, keeps `Mr.` and `:-)`), contractions are split on any stem, units are the ASCII
ones. tests/features holds an independent implementation in Python that must agree word for word.

All functions work on pointers (pointers.py) to the code points and classes of one chunk, or of one piece of a chunk
longer than columns.MAX_PIECE_CHARS. Imported only by
word_kernels.py, on first use.
"""

import numpy as np
from numba import njit

from datasets_pipeline.features import characters as ch

LETTER, SINGLE, MARK, ASCII_DIGIT = ch.LETTER, ch.SINGLE, ch.MARK, ch.ASCII_DIGIT
OPENS, CLOSES, ICON, QUOTE, CURRENCY, HYPHEN = ch.OPENS, ch.CLOSES, ch.ICON, ch.QUOTE, ch.CURRENCY, ch.HYPHEN
INFIX, TRIGGER = ch.INFIX, ch.TRIGGER
BEFORE_STOP, LOWER_SIDE, UPPER_SIDE, URL_HOST = ch.BEFORE_STOP, ch.LOWER_SIDE, ch.UPPER_SIDE, ch.URL_HOST

MAX_ABBREVIATION_CHARS = 16
# Split off after a digit: the ASCII units that spaCy knows.
UNIT_NAMES = (
    "km", "m", "dm", "cm", "mm", "ha", "nm", "yd", "in", "ft", "kg", "g", "mg", "t", "lb", "oz", "kmh", "mph",
    "hPa", "Pa", "mb", "MB", "kb", "KB", "gb", "GB", "tb", "TB", "T", "G", "M", "K",
)  # fmt: skip
# Up to three letters packed into one number, the first in the lowest byte.
UNITS = np.array(sorted(int.from_bytes(name.encode(), "little") for name in UNIT_NAMES), dtype=np.int64)


@njit(nogil=True)
def put(bounds, num_words, start, end):
    """Note codes[start:end] as the chunk's next word; returns their new number."""
    bounds[2 * num_words] = start
    bounds[2 * num_words + 1] = end
    return num_words + 1


@njit(nogil=True)
def _put_piece(kinds, start, end, has_single, bounds, num_words):
    """Note a piece, letter by letter where its script is written without spaces (rule 8)."""
    if not has_single:
        return put(bounds, num_words, start, end)
    word_start, in_single = start, False
    for at in range(start, end):
        is_single = (kinds[at] & SINGLE) != 0
        continues = not is_single and (not in_single or (kinds[at] & MARK) != 0)
        if not continues:
            if at > word_start:
                num_words = put(bounds, num_words, word_start, at)
            word_start, in_single = at, is_single
    return put(bounds, num_words, word_start, end) if end > word_start else num_words


@njit(nogil=True)
def _run_of_stops(codes, start, end):
    at = start
    while at < end and codes[at] == 0x2E:
        at += 1
    return at - start


@njit(nogil=True)
def _prefix_length(codes, kinds, start, end):
    """Characters to split off at the start (rule 2)."""
    code = codes[start]
    if kinds[start] & OPENS:
        return 1
    if code == 0x2E:
        run = _run_of_stops(codes, start, end)
        return run if run >= 2 else 0
    if code == 0x2B:
        return 0 if start + 1 < end and kinds[start + 1] & ASCII_DIGIT else 1
    return 0


@njit(nogil=True)
def _suffix_length(codes, kinds, start, end):
    """Characters to split off at the end (rule 3)."""
    last = codes[end - 1]
    length = end - start
    before = codes[end - 2] if length >= 2 else -1
    before_kind = kinds[end - 2] if length >= 2 else np.int64(0)
    if (last == 0x73 or last == 0x53) and (before == 0x27 or before == 0x2019):
        return 2
    if kinds[end - 1] & CLOSES:
        return 1
    if last == 0x2E:
        run = 1
        while run < length and codes[end - 1 - run] == 0x2E:
            run += 1
        if run >= 2:
            return run
        if before_kind & BEFORE_STOP:
            return 1
        return 1 if length >= 3 and before_kind & UPPER_SIDE and kinds[end - 3] & UPPER_SIDE else 0
    if before_kind & ASCII_DIGIT and (last == 0x2B or last == 0x25 or kinds[end - 1] & CURRENCY):
        return 1
    packed, run = np.int64(0), 0
    while run < length and run < 4 and 0x41 <= codes[end - 1 - run] <= 0x7A:
        packed = (packed << 8) | codes[end - 1 - run]
        run += 1
    if 1 <= run <= 3 and run < length and kinds[end - 1 - run] & ASCII_DIGIT:
        for unit in UNITS:
            if unit == packed:
                return run
    return 0


@njit(nogil=True)
def _is_abbreviation(codes, start, end):
    """Single ASCII letters, each followed by a full stop (rule 4)."""
    length = end - start
    if length & 1 or length > MAX_ABBREVIATION_CHARS or codes[end - 1] != 0x2E:
        return False
    for at in range(start, end, 2):  # noqa: SIM110 (a compiled generator is slower)
        if not 0x61 <= (codes[at] | 0x20) <= 0x7A or codes[at + 1] != 0x2E:
            return False
    return True


@njit(nogil=True)
def _host_and_path(codes, kinds, start, end):
    """Whether codes[start:end] is `host.tld`, optionally with a port and a path."""
    at, label, dots, is_number = start, start, 0, True
    while at < end:
        if codes[at] == 0x2E:
            if at == label or at - label > 64:
                return False
            for edge in (codes[label], codes[at - 1]):
                if edge == 0x2D or edge == 0x5F:
                    return False
            dots += 1
            label = at + 1
        elif not kinds[at] & URL_HOST:
            break
        elif not kinds[at] & ASCII_DIGIT:
            is_number = False
        at += 1
    length = at - label
    if dots == 0 or length == 0:
        return False
    if not (is_number and dots == 3 and length <= 3):
        if not 2 <= length <= 63:
            return False
        for k in range(label, at):
            if not kinds[k] & LOWER_SIDE:
                return False
    if at < end and codes[at] == 0x3A:
        port = at + 1
        while port < end and kinds[port] & ASCII_DIGIT:
            port += 1
        if not 2 <= port - at - 1 <= 5:
            return False
        at = port
    return at == end or codes[at] == 0x2F or codes[at] == 0x3F or codes[at] == 0x23


@njit(nogil=True)
def _is_web_address(codes, kinds, start, end):
    """Rule 6; linear, because a host never holds an '@'."""
    at = start
    while at < end and (kinds[at] & (LETTER | ASCII_DIGIT) or codes[at] in (0x2B, 0x2D, 0x2E, 0x5F)):
        at += 1
    if at - start >= 2 and at + 3 < end and codes[at] == 0x3A and codes[at + 1] == 0x2F and codes[at + 2] == 0x2F:
        if _host_and_path(codes, kinds, at + 3, end):
            return True
    elif _host_and_path(codes, kinds, start, end):
        return True
    for k in range(start + 1, end - 1):  # noqa: SIM110
        if codes[k] == 0x40 and _host_and_path(codes, kinds, k + 1, end):
            return True
    return False


@njit(nogil=True)
def _infix_length(codes, kinds, at, end):
    """Characters of the separator at `at`, not the first of codes[:end] (rule 7); 0 where there is none."""
    code, kind = codes[at], kinds[at]
    if code == 0x2E:
        run = _run_of_stops(codes, at, end)
        if run >= 2:
            return run
    if code == 0x2026 or kind & ICON:
        return 1
    if at + 1 >= end:
        return 0
    before, after = kinds[at - 1], kinds[at + 1]
    if before & ASCII_DIGIT and (after & ASCII_DIGIT or codes[at + 1] == 0x2D) and code in (0x2B, 0x2D, 0x2A, 0x5E):
        return 1
    if code == 0x2E and before & (LOWER_SIDE | QUOTE) and after & (UPPER_SIDE | QUOTE):
        return 1
    if code == 0x2C and before & LETTER and after & LETTER:
        return 1
    if before & (LETTER | ASCII_DIGIT):
        if kind & HYPHEN:
            longest = 3 if code == 0x2D else (2 if code == 0x2014 else 1)
            run = 1
            while run < longest and at + run < end and codes[at + run] == code:
                run += 1
            if at + run < end and kinds[at + run] & LETTER:
                return run
        if after & LETTER and code in (0x3A, 0x3C, 0x3E, 0x3D, 0x2F):
            return 1
    return 0


@njit(nogil=True)
def _contraction_length(codes, kinds, start, end):
    """Characters of a clitic at the end (rule 5)."""
    length = end - start
    if length < 3:
        return 0
    last, second, third = codes[end - 1], codes[end - 2], codes[end - 3]
    if (second == 0x27 or second == 0x2019) and kinds[end - 3] & LETTER:
        if last == 0x74 and third == 0x6E and length >= 4 and kinds[end - 4] & LETTER:
            return 3  # n't
        return 2 if last == 0x64 or last == 0x6D else 0  # 'd 'm
    if (third == 0x27 or third == 0x2019) and length >= 4 and kinds[end - 4] & LETTER:
        is_clitic = (
            (second == 0x6C and last == 0x6C) or (second == 0x76 and last == 0x65) or (second == 0x72 and last == 0x65)
        )
        return 3 if is_clitic else 0  # 'll 've 're
    return 0


@njit(nogil=True)
def _split_middle(codes, kinds, start, end, union, bounds, num_words):
    """Rules 4 to 8 for what is left between prefixes and suffixes."""
    has_single = union & SINGLE != 0
    # Neither an abbreviation nor an address is without a full stop.
    if union & TRIGGER and (_is_abbreviation(codes, start, end) or _is_web_address(codes, kinds, start, end)):
        return _put_piece(kinds, start, end, has_single, bounds, num_words)
    stem_end = end - _contraction_length(codes, kinds, start, end)
    piece, at = start, start + 1  # a separator at the very start separates nothing
    while at < stem_end:
        if not kinds[at] & INFIX:
            at += 1
            continue
        separator = _infix_length(codes, kinds, at, stem_end)
        if separator == 0:
            at += 1
            continue
        if at > piece:
            num_words = _put_piece(kinds, piece, at, has_single, bounds, num_words)
        num_words = put(bounds, num_words, at, at + separator)
        at += separator
        piece = at
    if stem_end > piece:
        num_words = _put_piece(kinds, piece, stem_end, has_single, bounds, num_words)
    return put(bounds, num_words, stem_end, end) if end > stem_end else num_words


@njit(nogil=True)
def split_chunk(codes, kinds, length, union, suffix_ends, bounds):
    """Apply rules 2 to 8 to one chunk; writes (start, end) of its words to bounds, returns their number.

    union: all classes of the chunk's characters together.
    """
    start, end, num_suffixes, num_words = 0, length, 0, 0
    has_stop = union & TRIGGER != 0
    while start < end and not (has_stop and _is_abbreviation(codes, start, end)):
        prefix = _prefix_length(codes, kinds, start, end)
        if prefix:
            num_words = put(bounds, num_words, start, start + prefix)
            start += prefix
            if start == end or (has_stop and _is_abbreviation(codes, start, end)):
                break
        suffix = _suffix_length(codes, kinds, start, end)
        if suffix:
            suffix_ends[num_suffixes] = end
            num_suffixes += 1
            end -= suffix
        if not prefix and not suffix:
            break
    if start < end:
        num_words = _split_middle(codes, kinds, start, end, union, bounds, num_words)
    for k in range(num_suffixes - 1, -1, -1):
        num_words = put(bounds, num_words, end, suffix_ends[k])
        end = suffix_ends[k]
    return num_words
