# mypy: allow-untyped-defs
"""Compiled reading of lines as C4 reads them: what is taken out of a text, and what is counted meanwhile.

A line is what `str.splitlines` gives, its words what `str.split` gives; citations are taken out before the last
character is looked at. Sentences are counted as spaCy's sentencizer does, which datatrove uses: a word that is nothing
but a sentence end closes a sentence, the next word that is not punctuation opens one. What a word is stands in
features/chunk_kernels.py.

One pass, linear in the text; results depend on each document alone. Imported on first use: numba takes 0.5 s to load.
"""

import hashlib
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from datasets_pipeline.features import byte_kernels, chunk_kernels
from datasets_pipeline.features import characters as ch
from datasets_pipeline.features.byte_kernels import class_of, decode
from datasets_pipeline.features.chunk_kernels import split_chunk
from datasets_pipeline.features.pointers import pointer_to
from datasets_pipeline.rules.c4_words import CLOSING_QUOTES, ENGLISH_LINE_ENDS

SPACE, LINE_BREAK, DIGIT, TERMINAL, LETTER = ch.SPACE, ch.LINE_BREAK, ch.DIGIT, ch.TERMINAL, ch.LETTER
ASCII_DIGIT = ch.ASCII_DIGIT
# Bits of this module's own, above those of characters.py, which has 32.
PUNCTUATION, ENDS_ENGLISH_LINE, ENDS_LINE = 1, 2, 4

COUNTS = (
    "num_kept_lines", "num_sentences", "num_citations", "num_too_long_word_lines", "num_no_terminal_punct_lines",
    "num_too_few_words_lines", "num_javascript_lines", "num_policy_lines", "has_lorem_ipsum", "has_curly_bracket",
)  # fmt: skip
KEPT, SENTENCES, CITATIONS, LONG_WORDS, NO_END, FEW_WORDS, SCRIPT, POLICY, LOREM, CURLY = range(len(COUNTS))
OPTIONS = (
    "max_word_length", "remove_citations", "filter_no_terminal_punct", "min_words_per_line", "filter_lorem_ipsum",
    "filter_javascript", "filter_curly_bracket", "filter_policy", "min_num_sentences", "english_line_ends",
)  # fmt: skip
(MAX_WORD, CITE, NEED_END, MIN_WORDS, NO_LOREM, NO_SCRIPT, NO_CURLY, NO_POLICY, MIN_SENTENCES,
 ENGLISH_ENDS) = range(len(OPTIONS))  # fmt: skip

KIND_LINE, KIND_CITATION, KIND_BREAK = 0, 1, 2
"""What a span takes out: lines and the blanks around them, a citation; or that it puts a newline in place."""

_LOREM = np.frombuffer(b"lorem ipsum", np.uint8)
_SCRIPT = np.frombuffer(b"javascript", np.uint8)
_EDIT = np.frombuffer(b"[edit]", np.uint8)
_NEEDED = np.frombuffer(b"[citation needed]", np.uint8)
MAX_ABBREVIATION_CHARS = 10
_BASE = 1_000_003


@lru_cache(maxsize=1)
def mark_table() -> np.ndarray:
    """Bits of every code point below TABLE_SIZE: PUNCTUATION (category P), ENDS_ENGLISH_LINE, ENDS_LINE."""
    table = np.fromiter(
        (unicodedata.category(chr(code))[0] == "P" for code in range(ch.TABLE_SIZE)), np.uint8, ch.TABLE_SIZE
    )
    for characters, bit in (
        (ENGLISH_LINE_ENDS, ENDS_ENGLISH_LINE | ENDS_LINE),
        (CLOSING_QUOTES + ch.TERMINAL_PUNCTUATION, ENDS_LINE),
    ):
        table[[ord(c) for c in characters]] |= bit
    table.setflags(write=False)
    return table


def abbreviation_key(word: str) -> int:
    """How the kernel knows an abbreviation: a number from its code points."""
    value = 0
    for character in word:
        value = (value * _BASE + ord(character)) % (1 << 64)
    return value


@njit(nogil=True)
def _stands_at(text, at, end, phrase, first, last):
    """Whether phrase[first:last], lower case, begins at `at`; A to Z count as a to z."""
    if at + (last - first) > end:
        return False
    for k in range(first, last):
        byte = text[at + k - first]
        if 0x41 <= byte <= 0x5A:
            byte |= 0x20
        if byte != phrase[k]:
            return False
    return True


@njit(nogil=True)
def _next_line(data, at, end, classes):
    """(first content byte, byte after the last one, where the next line begins, words, longest, holds a '[')."""
    first = last = at
    words, longest, chars = 0, 0, 0
    has_bracket = False
    while at < end:
        code, width = np.int64(data[at]), 1
        if code >= 0x80:
            code, width = decode(data, at, end)
        kind = class_of(code, classes)
        if kind & SPACE:
            longest = max(longest, chars)
            chars = 0
            if kind & LINE_BREAK:
                at += width
                if code == 13 and at < end and data[at] == 10:
                    at += 1
                return first, last, at, words, longest, has_bracket
            at += width
            continue
        if chars == 0:
            words += 1
            if words == 1:
                first = at
        chars += 1
        has_bracket |= code == 0x5B
        at += width
        last = at
    return first, last, at, words, max(longest, chars), has_bracket


@njit(nogil=True)
def _citation_end(data, at, end, classes):
    """Where a citation that begins at '[' ends: `[12]`, `[]`, `[edit]`, `[citation needed]`; -1 for none."""
    if _stands_at(data, at, end, _EDIT, 0, _EDIT.shape[0]) and data[at + 1] == 0x65 and _is_lower(data, at, 6):
        return at + 6
    if _stands_at(data, at, end, _NEEDED, 0, _NEEDED.shape[0]) and _is_lower(data, at, 17):
        return at + 17
    at += 1
    while at < end:
        code, width = np.int64(data[at]), 1
        if code >= 0x80:
            code, width = decode(data, at, end)
        if code == 0x5D:
            return at + 1
        if not class_of(code, classes) & DIGIT:
            return -1
        at += width
    return -1


@njit(nogil=True)
def _is_lower(data, at, length):
    for k in range(at, at + length):  # noqa: SIM110 (a compiled generator is slower)
        if 0x41 <= data[k] <= 0x5A:
            return False
    return True


@njit(nogil=True)
def _ends_as_wanted(text, first, last, marks, bit):
    """Whether the last character is an end of a line and the line does not end in '...'."""
    if first == last:
        return False
    at = last - 1
    while at > first and text[at] & 0xC0 == 0x80:
        at -= 1
    code = np.int64(text[at])
    if code >= 0x80:
        code, _ = decode(text, at, last)
    if code >= marks.shape[0] or not marks[code] & bit:
        return False
    return not (last - first >= 3 and text[last - 1] == 0x2E and text[last - 2] == 0x2E and text[last - 3] == 0x2E)


@njit(nogil=True)
def _find_phrases(text, first, last, starts, phrases, bounds, low, high):
    """(lorem ipsum, javascript, '{', one of the phrases low to high) in a line."""
    lorem = script = curly = policy = False
    for at in range(first, last):
        wanted = starts[text[at]]
        if wanted:
            if wanted & 1 and _stands_at(text, at, last, _LOREM, 0, _LOREM.shape[0]):
                lorem = True
            if wanted & 2 and _stands_at(text, at, last, _SCRIPT, 0, _SCRIPT.shape[0]):
                script = True
            curly |= (wanted & 4) != 0
            if wanted & 8 and not policy:
                for k in range(low, high):
                    if _stands_at(text, at, last, phrases, bounds[k], bounds[k + 1]):
                        policy = True
    return lorem, script, curly, policy


@njit(nogil=True)
def _is_abbreviation(codes, start, end, abbreviations, low, high):
    """Whether codes[start:end] with a full stop behind is listed."""
    if end - start > MAX_ABBREVIATION_CHARS:
        return False
    value = np.uint64(0)
    for k in range(start, end):
        value = value * np.uint64(_BASE) + np.uint64(codes[k])
    for k in range(low, high):  # noqa: SIM110
        if abbreviations[k] == value:
            return True
    return False


@njit(nogil=True)
def _count_sentences(text, first, last, classes, marks, codes, kinds, suffix_ends, bounds, abbreviations, low, high):
    """Sentences of a line; at least one. codes, kinds and the rest are scratch for the longest word."""
    sentences, is_closed = 1, False
    all_codes, all_kinds = pointer_to(codes), pointer_to(kinds)
    all_ends, all_bounds = pointer_to(suffix_ends), pointer_to(bounds)
    at = first
    while at < last:
        length = 0
        union, is_punctuation = np.int64(0), True
        while at < last:
            code, width = np.int64(text[at]), 1
            if code >= 0x80:
                code, width = decode(text, at, last)
            kind = class_of(code, classes)
            if kind & SPACE:
                break
            codes[length] = code
            kinds[length] = kind
            union |= kind
            is_punctuation &= code < marks.shape[0] and (marks[code] & PUNCTUATION) != 0
            length += 1
            at += width
        if length and not union & TERMINAL:
            if is_closed and not is_punctuation:
                sentences += 1
                is_closed = False
        elif length:
            found = split_chunk(all_codes, all_kinds, length, union, all_ends, all_bounds)
            # An abbreviation has nothing but signs before it.
            only_signs, looked_at = True, 0
            for word in range(found):
                start, end = bounds[2 * word], bounds[2 * word + 1]
                if end - start == 1 and kinds[start] & TERMINAL:
                    follows = codes[start] == 0x2E and word > 0 and bounds[2 * word - 1] == start
                    if follows:
                        while looked_at < bounds[2 * word - 2]:
                            only_signs &= kinds[looked_at] & (LETTER | ASCII_DIGIT) == 0
                            looked_at += 1
                    if not (follows and only_signs) or not _is_abbreviation(
                        codes, bounds[2 * word - 2], start, abbreviations, low, high
                    ):
                        is_closed = True
                elif is_closed:
                    for k in range(start, end):
                        if codes[k] >= marks.shape[0] or not marks[codes[k]] & PUNCTUATION:
                            sentences += 1
                            is_closed = False
                            break
        # One blank belongs to the word before it; any other run of white space is a word of its own.
        blanks = at
        while at < last:
            code, width = np.int64(text[at]), 1
            if code >= 0x80:
                code, width = decode(text, at, last)
            if not class_of(code, classes) & SPACE:
                break
            at += width
        if is_closed and at > blanks and (at - blanks > 1 or text[blanks] != 0x20):
            sentences += 1
            is_closed = False
    return sentences


@njit(nogil=True)
def _newline_in(data, start, end):
    for at in range(start, end):
        if data[at] == 10:
            return at
    return -1


def _compile(source_digest: int) -> Any:
    """The entry point, cached under a key that holds the digest of every kernel source it calls."""

    @njit(nogil=True, cache=True)
    def edit_lines(data, offsets, rows, options, classes, marks, starts, phrases, phrase_bounds, phrase_ranges,
                   abbreviations, abbreviation_ranges):  # fmt: skip
        """(counts [n, COUNTS], span numbers [n + 1], spans [k, 3]: start, end in bytes of the text, kind).

        rows: which row of options and ranges a document has by its language; -1: it is not read.
        """
        _ = source_digest
        num = offsets.shape[0] - 1
        counts = np.zeros((num, 10), np.int64)
        first_span = np.zeros(num + 1, np.int64)
        spans = np.empty((1024, 3), np.int64)
        num_spans = 0
        scratch = np.empty(4096, np.uint8)
        codes, kinds = np.empty(1024, np.int64), np.empty(1024, np.int64)
        suffix_ends, bounds = np.empty(1024, np.int64), np.empty(2048, np.int64)
        for document in range(num):
            first_span[document] = num_spans
            row = rows[document]
            if row < 0:
                continue
            option, count = options[row], counts[document]
            begin, end = offsets[document], offsets[document + 1]
            low, high = phrase_ranges[row, 0], phrase_ranges[row, 1]
            low_word, high_word = abbreviation_ranges[row, 0], abbreviation_ranges[row, 1]
            mark = ENDS_ENGLISH_LINE if option[ENGLISH_ENDS] else ENDS_LINE
            kept_end, at = begin, begin
            is_dropped = False
            while at < end:
                first, last, at, words, longest, has_bracket = _next_line(data, at, end, classes)
                if option[MAX_WORD] >= 0 and longest > option[MAX_WORD]:
                    count[LONG_WORDS] += 1
                    continue
                # Room for this line: what stands before it, and its citations.
                needed = num_spans + 4 + (last - first if has_bracket else 0)
                if needed > spans.shape[0]:
                    larger = np.empty((2 * needed, 3), np.int64)
                    larger[:num_spans] = spans[:num_spans]
                    spans = larger
                line_spans = num_spans + 2
                line, line_first, line_last = data, first, last
                if has_bracket and option[CITE]:
                    if last - first > scratch.shape[0]:
                        scratch = np.empty(2 * (last - first), np.uint8)
                    length, here = 0, first
                    while here < last:
                        citation = _citation_end(data, here, last, classes) if data[here] == 0x5B else -1
                        if citation < 0:
                            scratch[length] = data[here]
                            length += 1
                            here += 1
                            continue
                        spans[line_spans, 0], spans[line_spans, 1] = here, citation
                        spans[line_spans, 2] = KIND_CITATION
                        line_spans += 1
                        here = citation
                    if length < last - first:
                        line, line_first, line_last = scratch, 0, length
                if option[NEED_END] and not _ends_as_wanted(line, line_first, line_last, marks, mark):
                    count[NO_END] += 1
                    continue
                if words < option[MIN_WORDS]:
                    count[FEW_WORDS] += 1
                    continue
                lorem, script, curly, policy = _find_phrases(
                    line, line_first, line_last, starts, phrases, phrase_bounds, low, high
                )
                if lorem and option[NO_LOREM]:
                    count[LOREM] = 1
                    is_dropped = True
                    break
                if script and option[NO_SCRIPT]:
                    count[SCRIPT] += 1
                    continue
                if curly and option[NO_CURLY]:
                    count[CURLY] = 1
                    is_dropped = True
                    break
                if policy and option[NO_POLICY]:
                    count[POLICY] += 1
                    continue
                if longest > codes.shape[0]:
                    codes, kinds = np.empty(2 * longest, np.int64), np.empty(2 * longest, np.int64)
                    suffix_ends, bounds = np.empty(2 * longest, np.int64), np.empty(4 * longest, np.int64)
                count[SENTENCES] += _count_sentences(
                    line, line_first, line_last, classes, marks, codes, kinds, suffix_ends, bounds, abbreviations,
                    low_word, high_word,
                )  # fmt: skip
                # What stands between the kept lines goes, but for one newline.
                gap = num_spans
                # Before the first kept line there is nothing to keep apart from it.
                break_at = _newline_in(data, kept_end, first) if count[KEPT] else kept_end - 1
                if count[KEPT] and break_at < 0:
                    spans[gap, 0], spans[gap, 1], spans[gap, 2] = kept_end, first, KIND_BREAK
                    gap += 1
                else:
                    if break_at > kept_end:
                        spans[gap, 0], spans[gap, 1], spans[gap, 2] = kept_end, break_at, KIND_LINE
                        gap += 1
                    if first > break_at + 1:
                        spans[gap, 0], spans[gap, 1], spans[gap, 2] = break_at + 1, first, KIND_LINE
                        gap += 1
                found = line_spans - num_spans - 2
                for k in range(found):
                    for column in range(3):
                        spans[gap + k, column] = spans[num_spans + 2 + k, column]
                count[CITATIONS] += found
                num_spans = gap + found
                count[KEPT] += 1
                kept_end = last
            if not is_dropped and kept_end < end:
                if num_spans + 1 > spans.shape[0]:
                    larger = np.empty((2 * num_spans + 2, 3), np.int64)
                    larger[:num_spans] = spans[:num_spans]
                    spans = larger
                spans[num_spans, 0], spans[num_spans, 1], spans[num_spans, 2] = kept_end, end, KIND_LINE
                num_spans += 1
            if is_dropped or count[SENTENCES] < option[MIN_SENTENCES]:
                num_spans = first_span[document]  # who is dropped is not edited
            for k in range(first_span[document], num_spans):
                spans[k, 0] -= begin
                spans[k, 1] -= begin
        first_span[num] = num_spans
        return counts, first_span, spans[:num_spans].copy()

    return edit_lines


def _source_digest() -> int:
    """First 60 bits of the digest of the kernel sources and of what they read at compile time."""
    sources = [Path(__file__), *(Path(str(m.__file__)) for m in (ch, byte_kernels, chunk_kernels))]
    return int.from_bytes(hashlib.sha256(b"".join(path.read_bytes() for path in sources)).digest()[:8], "big") >> 4


edit_lines = _compile(_source_digest())
