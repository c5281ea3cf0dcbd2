# mypy: allow-untyped-defs
"""Compiled repetition counts over the words of one document, after Gopher's repetition rules.

Two readings stand side by side because datatrove has two. The most frequent n-gram joins its words by
a space and, among equals, takes the one that came first; its characters are its length times its count,
even when that count is one. Duplicate n-grams join their words by nothing, and after a hit the scan
jumps over the n words it counted. Both are kept, so that verdicts agree.

n-grams are compared by 64-bit hashes in open-addressing tables; a slot belongs to the current table when
its stamp does, so nothing is cleared. Cost: four table look-ups a word and a few more where text repeats.
"""

import numpy as np
from numba import njit

from datasets_pipeline.features.line_kernels import mix, stood_before
from datasets_pipeline.features.pointers import pointer_to
from datasets_pipeline.features.word_kernels import WINDOW_CHARS

# Odd 64-bit multipliers, one per position in the n-gram.
_POSITION = np.array([0x8CB92BA72F3D8DD7, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63], dtype=np.uint64)


@njit(nogil=True)
def top_ngram_chars(words, num_words, size, key_table, marks, count_table, first_table, stamp, mask):
    """Characters of the most frequent n-gram times its count; 0 where the text has fewer than n words."""
    char_ends, identities = pointer_to(words[2]), pointer_to(words[3])
    keys, stamps = pointer_to(key_table), pointer_to(marks)
    counts, firsts = pointer_to(count_table), pointer_to(first_table)
    best_count, best_first = np.int64(0), np.int64(0)
    for start in range(num_words - size + 1):
        key = np.uint64(0)
        for k in range(size):
            key += identities[start + k] * _POSITION[k]
        key = mix(key)
        slot = np.int64(key >> np.uint64(20)) & mask
        while stamps[slot] == stamp and keys[slot] != key:
            slot = (slot + 1) & mask
        if stamps[slot] != stamp:
            stamps[slot] = stamp
            keys[slot] = key
            counts[slot] = 1
            firsts[slot] = start
        else:
            counts[slot] += 1
        count = np.int64(counts[slot])
        if count >= best_count:
            first = np.int64(firsts[slot])
            if count > best_count or first < best_first:
                best_count, best_first = count, first
    if best_count == 0:
        return np.int64(0)
    return (char_ends[best_first + size] - char_ends[best_first] + size - 1) * best_count


@njit(nogil=True)
def mark_repeats(words, num_words, key_table, marks, first_table, stamp, mask):
    """Note for each word whether the WINDOW_CHARS characters from its start occur at another word's start.

    An n-gram of at least that many characters can only be a duplicate, or have one, where they do. On
    documentation that is a quarter of the places, so most of the six look-ups a word below are spared, with
    the same result. Near the end of the text, where the window is cut short, it counts as repeated.
    """
    windows, repeats = pointer_to(words[4]), pointer_to(words[5])
    keys, stamps, firsts = pointer_to(key_table), pointer_to(marks), pointer_to(first_table)
    for word in range(num_words):
        if windows[word] == 0:
            repeats[word] = 1
            continue
        key = mix(windows[word])
        slot = np.int64(key >> np.uint64(20)) & mask
        while stamps[slot] == stamp and keys[slot] != key:
            slot = (slot + 1) & mask
        if stamps[slot] == stamp:
            repeats[word] = 1
            repeats[firsts[slot]] = 1
        else:
            stamps[slot] = stamp
            keys[slot] = key
            firsts[slot] = word
            repeats[word] = 0


@njit(nogil=True)
def duplicate_ngram_chars(words, num_words, size, key_table, marks, stamp, mask):
    """Characters in n-grams that stood before, skipping n words after each hit; after mark_repeats."""
    prefix, inverse, char_ends = pointer_to(words[0]), pointer_to(words[1]), pointer_to(words[2])
    repeats = pointer_to(words[5])
    keys, stamps = pointer_to(key_table), pointer_to(marks)
    chars, start = np.int64(0), 0
    while start + size <= num_words:
        num_chars = char_ends[start + size] - char_ends[start]
        if repeats[start] == 0 and num_chars >= WINDOW_CHARS:
            start += 1
            continue
        # The value depends on the joined characters alone, not on where words end.
        key = mix((prefix[start + size] - prefix[start]) * inverse[start])
        if stood_before(key, keys, stamps, stamp, mask):
            chars += num_chars
            start += size
        else:
            start += 1
    return chars
