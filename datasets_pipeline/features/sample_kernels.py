# mypy: allow-untyped-defs
"""Compiled sampling of prose for language detection: the text without what looks alike in all languages.

Left out: fenced code blocks, inline code, tags, web addresses, digits, punctuation and symbols. What
remains is words separated by single spaces, at most a given number of bytes of whole characters. A text
that is nearly all code is sampled again with its code. A text without a letter yields an empty sample.

Imported only by compute.py, on first use.
"""

import numpy as np
from numba import njit

from datasets_pipeline.features import characters as ch
from datasets_pipeline.features.byte_kernels import class_of, decode

PART_OF_WORD, LETTER = ch.LETTER | ch.MARK, ch.LETTER

MAX_TAG_BYTES = 300  # '<' with no '>' that near, on its line, is not a tag
MAX_CODE_BYTES = 200
MIN_LETTERS = 20  # below it the stripped sample says less than the unstripped one


@njit(nogil=True)
def _is_fence(data, at, end):
    """Whether the line that starts at `at` opens or closes a code block: ``` or ~~~ after up to 3 spaces."""
    k = at
    while k < end and k < at + 3 and data[k] == 32:
        k += 1
    return k + 2 < end and (data[k] == 96 or data[k] == 126) and data[k + 1] == data[k] and data[k + 2] == data[k]


@njit(nogil=True)
def _line_end(data, at, end):
    while at < end and data[at] != 10:
        at += 1
    return at


@njit(nogil=True)
def _closing(data, at, end, byte, limit):
    """Index of `byte` after `at`, on the same line and within `limit` bytes; -1 if there is none."""
    for k in range(at + 1, min(end, at + limit)):
        if data[k] == byte:
            return k
        if data[k] == 10:
            return -1
    return -1


@njit(nogil=True)
def _skipped(data, at, end):
    """Where reading goes on when code, a tag or an address starts at `at`; `at` itself when none does."""
    byte = data[at]
    if byte == 60:
        return _closing(data, at, end, 62, MAX_TAG_BYTES) + 1 or at
    if byte == 96:
        return _closing(data, at, end, 96, MAX_CODE_BYTES) + 1 or at
    if byte == 58 and at + 2 < end and data[at + 1] == 47 and data[at + 2] == 47:
        while at < end and data[at] > 32 and data[at] != 41 and data[at] != 62:
            at += 1
    return at


@njit(nogil=True)
def _sample(data, start, end, classes, out, first, limit, strip):
    """Write one document's sample to out[first:]; returns (end of what was written, letters)."""
    written, letters = first, 0
    at, in_fence, starts_line = start, False, True
    while at < end:
        if strip and starts_line and _is_fence(data, at, end):
            in_fence = not in_fence
            at = _line_end(data, at, end)
        elif in_fence:
            at = _line_end(data, at, end)
        if at >= end:
            break
        byte = np.int64(data[at])
        starts_line = byte == 10
        if strip:
            resume = _skipped(data, at, end)
            if resume > at:
                if byte == 58:  # the scheme of an address was written as a word
                    while written > first and out[written - 1] != 32:
                        written -= 1
                if written > first and out[written - 1] != 32:
                    out[written] = 32
                    written += 1
                at = resume
                continue
        code, width = byte, 1
        if byte >= 0x80:
            code, width = decode(data, at, end)
        if written - first + width > limit:
            break
        kind = class_of(code, classes)
        inside_word = written > first and out[written - 1] != 32
        if kind & PART_OF_WORD or (inside_word and (code == 0x27 or code == 0x2019)):
            for k in range(width):
                out[written + k] = data[at + k]
            written += width
            letters += (kind & LETTER) != 0
        elif inside_word:
            out[written] = 32
            written += 1
        at += width
    return written, letters


@njit(nogil=True)
def prose_samples(data, offsets, chosen, classes, limit):
    """Samples of the chosen documents: (bytes, offsets into them)."""
    out = np.empty(chosen.shape[0] * limit, np.uint8)
    bounds = np.zeros(chosen.shape[0] + 1, np.int64)
    written = 0
    for k in range(chosen.shape[0]):
        start, end = offsets[chosen[k]], offsets[chosen[k] + 1]
        first = written
        written, letters = _sample(data, start, end, classes, out, first, limit, True)
        if letters < MIN_LETTERS:
            written, letters = _sample(data, start, end, classes, out, first, limit, False)
        bounds[k + 1] = written if letters else first
        written = bounds[k + 1]
    return out[:written], bounds
