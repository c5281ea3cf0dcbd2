# mypy: allow-untyped-defs
"""Compiled walk over the words of one document: their hashes, lengths, kinds and stop words.

What a word is stands in chunk_kernels.py. Words are kept as four arrays that the n-gram kernels read, no
word as an object. Hashes are 64-bit polynomials of code points; two different words are taken for one with
probability 2**-64 a pair, unless somebody constructs them to.

Imported only by feature_kernels.py, which is imported on first use.
"""

import numpy as np
from numba import njit

from datasets_pipeline.features import characters as ch
from datasets_pipeline.features.chunk_kernels import put, split_chunk
from datasets_pipeline.features.line_kernels import class_of, decode, mix
from datasets_pipeline.features.pointers import pointer_to

SPACE, LETTER, SYMBOL, UPPERCASE = ch.SPACE, ch.LETTER, ch.SYMBOL, ch.UPPERCASE
PLAIN, SINGLE, ASCII_DIGIT = ch.PLAIN, ch.SINGLE, ch.ASCII_DIGIT

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

# positions in the counters of one document
WORDS, NON_SYMBOL, NON_SYMBOL_CHARS, ALPHA, STOPS, STOP_MASK, STOP_MASK_ANY_CASE = range(7)
NUM_COUNTERS = 7

DONE, CHUNK_TOO_LONG, TOO_MANY_WORDS = 0, 1, 2


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

    words: (prefix hashes, inverse powers of the base, character ends, identities, windows, scratch of the
    n-gram kernels); the first three have an entry for the start of each word and one for the end of the last;
    a window is the hash of the WINDOW_CHARS characters from a word's start on, words joined by nothing, or 0
    near the end. chunk: (code points, classes, suffix ends, bounds), for the longest chunk. After
    CHUNK_TOO_LONG or TOO_MANY_WORDS: call again with longer ones.
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
            found = put(bounds, 0, 0, length)
        else:
            found = split_chunk(codes, kinds, length, (union & SINGLE) != 0, suffix_ends, bounds)
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
                # The start of a word beyond the current one is not known yet.
                if num_windows <= num_words and chars + (k + 1 - first) == char_ends[num_windows] + WINDOW_CHARS:
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
