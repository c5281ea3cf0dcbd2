"""Compiled word segmentation: what a word is, for every word-based feature.

The published filters count the words of a spaCy tokenizer for English. This segmentation follows the
same rules over character classes, in linear time and without a dictionary:

1. A chunk is a maximal run of characters that are not Unicode whitespace.
2. From its start, one at a time, split off: opening and closing brackets, quotes, `, : ; ! ? … < > _ # * &
   § % = — –`, currency signs, pictographs (category So), `+` unless a digit follows, a run of two or more
   full stops. Backslash, `-`, `/`, `|`, `@`, `~`, `^` stay.
3. From its end, likewise: the same brackets, quotes and signs, pictographs, `— –`, `'s`, a run of full stops, one full
   stop after a digit, a letter that is not upper case, `% ² - + |`, a bracket or quote, or after two upper-case
   letters; after a digit also `+`, currency signs and common units (`10GB` is two words).
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

Imported only by feature_kernels.py, which is imported on first use.
"""

import numpy as np
from numba import njit

from datasets_pipeline.features import characters as ch
from datasets_pipeline.features.line_kernels import class_of, decode, mix
from datasets_pipeline.features.pointers import pointer_to

SPACE, LETTER, SYMBOL, UPPERCASE = ch.SPACE, ch.LETTER, ch.SYMBOL, ch.UPPERCASE
PLAIN, SINGLE, MARK, ASCII_DIGIT = ch.PLAIN, ch.SINGLE, ch.MARK, ch.ASCII_DIGIT
OPENS, CLOSES, ICON, QUOTE, CURRENCY, HYPHEN = ch.OPENS, ch.CLOSES, ch.ICON, ch.QUOTE, ch.CURRENCY, ch.HYPHEN
BEFORE_STOP, LOWER_SIDE, UPPER_SIDE, URL_HOST = ch.BEFORE_STOP, ch.LOWER_SIDE, ch.UPPER_SIDE, ch.URL_HOST

# Polynomial hash of a string of code points, modulo 2**64: the base is odd, so it has an inverse and any
# substring of the concatenated words is compared by one subtraction and one multiplication.
BASE = 0xA24BAED4963EE407
_BASE = np.uint64(BASE)
_BASE_INVERSE = np.uint64(pow(BASE, -1, 1 << 64))
_LENGTH_STEP = np.uint64(0x9FB21C651E98DF25)

#: Characters of the window whose hash is kept for every word start; see ngram_kernels.mark_repeats.
WINDOW_CHARS = 16
MAX_STOP_WORD_CHARS = 12
STOP_SLOTS = 256
MAX_ABBREVIATION_CHARS = 16

# positions in the counters of one document
WORDS, NON_SYMBOL, NON_SYMBOL_CHARS, ALPHA, STOPS, STOP_MASK, STOP_MASK_ANY_CASE = range(7)
NUM_COUNTERS = 7

DONE, CHUNK_TOO_LONG, TOO_MANY_WORDS = 0, 1, 2

_UNITS = tuple(
    sorted(
        int.from_bytes(unit.encode(), "little")
        for unit in (
            "km m dm cm mm ha nm yd in ft kg g mg t lb oz kmh mph hPa Pa mb MB kb KB gb GB tb TB T G M K"
        ).split()
    )
)
UNITS = np.array(_UNITS, dtype=np.int64)


@njit(nogil=True)
def word_hash(codes, start, end):
    """64-bit identity of one word, from its code points alone."""
    value, power = np.uint64(0), np.uint64(1)
    for at in range(start, end):
        value += np.uint64(codes[at] + 1) * power
        power *= _BASE
    return mix(value + np.uint64(end - start) * _LENGTH_STEP)


@njit(nogil=True)
def _stop_word_bit(identity, stop_keys, stop_bits):
    slot = np.int64(identity >> np.uint64(56))
    while stop_bits[slot] >= 0:
        if stop_keys[slot] == identity:
            return np.int64(stop_bits[slot])
        slot = (slot + 1) & (STOP_SLOTS - 1)
    return np.int64(-1)


@njit(nogil=True)
def _put(bounds, num_words, start, end):
    """Note codes[start:end] as the chunk's next word; returns their new number."""
    bounds[2 * num_words] = start
    bounds[2 * num_words + 1] = end
    return num_words + 1


@njit(nogil=True)
def _put_piece(kinds, start, end, has_single, bounds, num_words):
    """Note a piece, letter by letter where its script is written without spaces (rule 8)."""
    if not has_single:
        return _put(bounds, num_words, start, end)
    word_start, in_single = start, False
    for at in range(start, end):
        is_single = (kinds[at] & SINGLE) != 0
        continues = not is_single and (not in_single or (kinds[at] & MARK) != 0)
        if not continues:
            if at > word_start:
                num_words = _put(bounds, num_words, word_start, at)
            word_start, in_single = at, is_single
    return _put(bounds, num_words, word_start, end) if end > word_start else num_words


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
    for at in range(start, end, 2):
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
    while at < end and (
        kinds[at] & (LETTER | ASCII_DIGIT) or codes[at] in (0x2B, 0x2D, 0x2E, 0x5F)
    ):
        at += 1
    if at - start >= 2 and at + 3 < end and codes[at] == 0x3A and codes[at + 1] == 0x2F and codes[at + 2] == 0x2F:
        if _host_and_path(codes, kinds, at + 3, end):
            return True
    elif _host_and_path(codes, kinds, start, end):
        return True
    for k in range(start + 1, end - 1):
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
def _split_middle(codes, kinds, start, end, has_single, bounds, num_words):
    """Rules 4 to 8 for what is left between prefixes and suffixes."""
    if _is_abbreviation(codes, start, end) or _is_web_address(codes, kinds, start, end):
        return _put_piece(kinds, start, end, has_single, bounds, num_words)
    stem_end = end - _contraction_length(codes, kinds, start, end)
    piece, at = start, start + 1  # a separator at the very start separates nothing
    while at < stem_end:
        separator = _infix_length(codes, kinds, at, stem_end)
        if separator == 0:
            at += 1
            continue
        if at > piece:
            num_words = _put_piece(kinds, piece, at, has_single, bounds, num_words)
        num_words = _put(bounds, num_words, at, at + separator)
        at += separator
        piece = at
    if stem_end > piece:
        num_words = _put_piece(kinds, piece, stem_end, has_single, bounds, num_words)
    return _put(bounds, num_words, stem_end, end) if end > stem_end else num_words


@njit(nogil=True)
def _split_chunk(codes, kinds, length, has_single, suffix_ends, bounds):
    """Apply rules 2 to 8 to one chunk; writes (start, end) of its words to bounds, returns their number."""
    start, end, num_suffixes, num_words = 0, length, 0, 0
    while start < end and not _is_abbreviation(codes, start, end):
        prefix = _prefix_length(codes, kinds, start, end)
        if prefix:
            num_words = _put(bounds, num_words, start, start + prefix)
            start += prefix
            if start == end or _is_abbreviation(codes, start, end):
                break
        suffix = _suffix_length(codes, kinds, start, end)
        if suffix:
            suffix_ends[num_suffixes] = end
            num_suffixes += 1
            end -= suffix
        if not prefix and not suffix:
            break
    if start < end:
        num_words = _split_middle(codes, kinds, start, end, has_single, bounds, num_words)
    for k in range(num_suffixes - 1, -1, -1):
        num_words = _put(bounds, num_words, end, suffix_ends[k])
        end = suffix_ends[k]
    return num_words


@njit(nogil=True)
def _read_chunk(data, start, end, classes, codes, kinds, capacity):
    """Decode up to the next whitespace: (where to go on, characters, union and intersection of classes).

    -1 characters when there are more than `capacity`.
    """
    at, length = start, 0
    union, common = np.int64(0), np.int64(PLAIN)
    while at < end:
        code, width = np.int64(data[at]), 1
        if code >= 0x80:
            code, width = decode(data, at, end)
        kind = class_of(code, classes)
        at += width
        if kind & SPACE:
            break
        if length == capacity:
            return at, -1, union, common
        codes[length] = code
        kinds[length] = kind
        union |= kind
        common &= kind
        length += 1
    return at, length, union, common


@njit(nogil=True)
def split_words(data, start, end, classes, words, chunk, counters, stop_keys, stop_bits, lower):
    """Split one document into `words` and count it in `counters`; returns DONE or which scratch is too small.

    words: (prefix hashes, inverse powers of the base, character ends, identities, windows); the first three
    have an entry for the start of each word and one for the end of the last; a window is the hash of the
    WINDOW_CHARS characters from a word's start on, words joined by nothing, or 0 near the end. chunk: (code points, classes, suffix
    ends, bounds) for the longest chunk. After CHUNK_TOO_LONG or TOO_MANY_WORDS: call again with longer ones.
    """
    capacity, chunk_capacity = words[3].shape[0], chunk[0].shape[0]
    prefix, inverse = pointer_to(words[0]), pointer_to(words[1])
    char_ends, identities, windows = pointer_to(words[2]), pointer_to(words[3]), pointer_to(words[4])
    codes, kinds = pointer_to(chunk[0]), pointer_to(chunk[1])
    suffix_ends, bounds = pointer_to(chunk[2]), pointer_to(chunk[3])
    text, class_table = pointer_to(data), pointer_to(classes)
    stop_identities, stop_numbers = pointer_to(stop_keys), pointer_to(stop_bits)
    value, power, unit = np.uint64(0), np.uint64(1), np.uint64(1)
    chars, num_words, num_windows = np.int64(0), 0, 0
    prefix[0], inverse[0], char_ends[0] = value, unit, chars
    non_symbol = non_symbol_chars = alpha = stops = 0
    stop_mask = stop_mask_any_case = np.int64(0)
    at = start
    while at < end:
        at, length, union, common = _read_chunk(text, at, end, class_table, codes, kinds, chunk_capacity)
        if length < 0:
            return CHUNK_TOO_LONG
        if length == 0:
            continue
        if num_words + length >= capacity:
            return TOO_MANY_WORDS
        if common and not union & (ASCII_DIGIT | SINGLE):
            found = _put(bounds, 0, 0, length)
        else:
            found = _split_chunk(codes, kinds, length, (union & SINGLE) != 0, suffix_ends, bounds)
        for word in range(found):
            first, last = bounds[2 * word], bounds[2 * word + 1]
            union, common = np.int64(0), np.int64(SYMBOL)
            word_value, word_unit = value, unit
            for k in range(first, last):
                value += np.uint64(codes[k] + 1) * power
                power *= _BASE
                unit *= _BASE_INVERSE
                union |= kinds[k]
                common &= kinds[k]
                if chars + (k + 1 - first) == char_ends[num_windows] + WINDOW_CHARS:
                    windows[num_windows] = (value - prefix[num_windows]) * inverse[num_windows]
                    num_windows += 1
            word_chars = last - first
            identity = mix((value - word_value) * word_unit + np.uint64(word_chars) * _LENGTH_STEP)
            identities[num_words] = identity
            num_words += 1
            chars += word_chars
            prefix[num_words], inverse[num_words], char_ends[num_words] = value, unit, chars
            if not common:
                non_symbol += 1
                non_symbol_chars += word_chars
            if union & LETTER:
                alpha += 1
                if word_chars <= MAX_STOP_WORD_CHARS:
                    bit = _stop_word_bit(identity, stop_identities, stop_numbers)
                    if bit >= 0:
                        stop_mask |= np.int64(1) << bit
                    elif union & UPPERCASE:
                        # The code points are not needed again: fold in place, then look once more.
                        for k in range(first, last):
                            if codes[k] < lower.shape[0]:
                                codes[k] = lower[codes[k]]
                        bit = _stop_word_bit(word_hash(codes, first, last), stop_identities, stop_numbers)
                    if bit >= 0:
                        stop_mask_any_case |= np.int64(1) << bit
                        stops += 1
    for word in range(num_windows, num_words):
        windows[word] = 0
    counters[WORDS] = num_words
    counters[NON_SYMBOL], counters[NON_SYMBOL_CHARS] = non_symbol, non_symbol_chars
    counters[ALPHA], counters[STOPS] = alpha, stops
    counters[STOP_MASK], counters[STOP_MASK_ANY_CASE] = stop_mask, stop_mask_any_case
    return DONE
