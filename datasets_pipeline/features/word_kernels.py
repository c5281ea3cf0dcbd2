# mypy: allow-untyped-defs
"""Compiled walk over the words of one document: their hashes, lengths, kinds and stop words.

What a word is stands in chunk_kernels.py. Words are kept as three arrays that the n-gram kernels read, no
word as an object. Most runs of characters between whitespace are plain: ASCII letters, perhaps with one mark
behind them. They are cut here from their bytes; all others are decoded and go through chunk_kernels.py,
with the same result.

Imported only by feature_kernels.py, which is imported on first use.
"""

import numpy as np
from numba import njit

from datasets_pipeline.features import characters as ch
from datasets_pipeline.features.byte_kernels import (
    class_of,
    hash_bytes,
    read_character,
    up_to_8_bytes,
)
from datasets_pipeline.features.chunk_kernels import put, split_chunk
from datasets_pipeline.features.columns import COUNT_COLUMNS, MAX_PIECE_CHARS, STRETCH_WORDS
from datasets_pipeline.features.pointers import pointer_to
from datasets_pipeline.features.run_kernels import (
    NUM_RUN_NOTES,
    count_inner_sentences,
    ends_sentence,
    is_ellipsis,
    look_closer,
    look_for_phrases,
)

_AT = {column.name: index for index, column in enumerate(COUNT_COLUMNS)}
NUM_RUNS, LONGEST_RUN_CHARS, NUM_ALPHA_RUNS = _AT["num_runs"], _AT["longest_run_chars"], _AT["num_alpha_runs"]
NUM_SYMBOL_RUNS, NUM_STOP_WORD_RUNS = _AT["num_symbol_runs"], _AT["num_stop_word_runs"]
NUM_SENTENCES = _AT["num_sentences"]
NUM_WORDS, NUM_NON_SYMBOL_WORDS = _AT["num_words"], _AT["num_non_symbol_words"]
NON_SYMBOL_WORD_CHARS, NUM_ALPHA_WORDS = _AT["non_symbol_word_chars"], _AT["num_alpha_words"]
NUM_STOP_WORDS, NUM_KEYWORDS = _AT["num_stop_words"], _AT["num_keywords"]

SPACE, LETTER, SYMBOL, UPPERCASE, TERMINAL = ch.SPACE, ch.LETTER, ch.SYMBOL, ch.UPPERCASE, ch.TERMINAL
PLAIN, SINGLE, ASCII_DIGIT, TRIGGER = ch.PLAIN, ch.SINGLE, ch.ASCII_DIGIT, ch.TRIGGER
CLOSES, BEFORE_STOP = ch.CLOSES, ch.BEFORE_STOP

MAX_STOP_WORD_CHARS = 12
LOWER_SCRATCH_BYTES = 8 * MAX_STOP_WORD_CHARS
LOWER_CASE_SIZE = ch.LOWER_CASE_SIZE
STOP_SLOTS = 256
#: A slot of the word table: free, or the bit of a stop word, with KEYWORD added where it is a key word too.
FREE, KEYWORD, NO_BIT = -1, 64, 63

# what is kept of a document from one stretch to the next, behind the notes of run_kernels.py
RUN_START, RUN_CHARS, RUN_UNION, STOP_MASK, STOP_MASK_ANY_CASE = range(NUM_RUN_NOTES, NUM_RUN_NOTES + 5)
NUM_NOTES = NUM_RUN_NOTES + 5

_LOWER_CASE = np.uint64(0x2020202020202020)
_FIVE_BYTES = np.uint64((1 << 40) - 1)
_TERMS, _LOREM, _IVACY, _OOKIE, _COOKI = (
    np.uint64(int.from_bytes(part, "little")) for part in (b"terms", b"lorem", b"ivacy", b"ookie", b"cooki")
)


@njit(nogil=True)
def _listed(identity, keys, values):
    """The value of a word in the table of stop words and key words; FREE if it is not there."""
    slot = np.int64(identity >> np.uint64(56))
    while values[slot] >= 0:
        if keys[slot] == identity:
            return np.int64(values[slot])
        slot = (slot + 1) & (STOP_SLOTS - 1)
    return np.int64(FREE)


@njit(nogil=True)
def _lower_case_identity(data, first, last, lower, scratch):
    """Identity of a short word in lower case, written to `scratch` as UTF-8."""
    size, at = 0, first
    while at < last:
        code, width = read_character(data, at, last)
        at += width
        if code < LOWER_CASE_SIZE:
            code = np.int64(lower[code])
        if code < 0x80:
            scratch[size] = code
            size += 1
        elif code < 0x800:
            scratch[size] = 0xC0 | code >> 6
            scratch[size + 1] = 0x80 | code & 0x3F
            size += 2
        else:
            for k in range(width):
                scratch[size + k] = data[at - width + k]
            if code < 0x10000:
                scratch[size] = 0xE0 | code >> 12
                scratch[size + 1] = 0x80 | (code >> 6) & 0x3F
                scratch[size + 2] = 0x80 | code & 0x3F
            size += width
    return hash_bytes(scratch, 0, size, LOWER_SCRATCH_BYTES)


@njit(nogil=True)
def _read_ascii(data, at, end, classes):
    """Read a piece of ASCII: (its end, classes it unites, has in common, of all but the last both, is all).

    is all: False where a character above U+007F ended it, and the piece must be decoded.
    """
    union, common = np.int64(0), np.int64(-1)
    union_before, common_before = np.int64(0), np.int64(-1)
    end = min(end, at + MAX_PIECE_CHARS)
    while at < end:
        byte = data[at]
        if byte >= 0x80:
            return at, union, common, union_before, common_before, False
        kind = np.int64(classes[byte])
        if kind & SPACE:
            break
        union_before, common_before = union, common
        union |= kind
        common &= kind
        at += 1
    return at, union, common, union_before, common_before, True


@njit(nogil=True)
def _decode_piece(data, at, end, classes, codes, kinds, places):
    """Decode a piece: (its end, characters, classes it unites, has in common).

    places: the byte at which each character begins, and one entry more for the end.
    """
    length = 0
    union, common = np.int64(0), np.int64(-1)
    while at < end and length < MAX_PIECE_CHARS:
        code, width = read_character(data, at, end)
        kind = class_of(code, classes)
        if kind & SPACE:
            break
        codes[length] = code
        kinds[length] = kind
        places[length] = at
        union |= kind
        common &= kind
        length += 1
        at += width
    places[length] = at
    return at, length, union, common


@njit(nogil=True)
def _may_be_phrase(data, first, last, limit):
    """Whether a run of at least five bytes may be part of a phrase of boilerplate, by its two ends alone."""
    head = (up_to_8_bytes(data, first, last, limit) | _LOWER_CASE) & _FIVE_BYTES
    tail = (up_to_8_bytes(data, last - 5, last, limit) | _LOWER_CASE) & _FIVE_BYTES
    is_tail = tail == _TERMS or tail == _LOREM or tail == _IVACY or tail == _OOKIE  # noqa: SIM109 (numbers of 64 bits)
    return is_tail or head == _COOKI


@njit(nogil=True)
def _finish_run(data, start, last, end, limit, classes, is_listed, row, notes):
    """Count the run of characters from the note RUN_START to `last`."""
    first, union = notes[RUN_START], notes[RUN_UNION]
    row[NUM_RUNS] += 1
    row[LONGEST_RUN_CHARS] = max(row[LONGEST_RUN_CHARS], notes[RUN_CHARS])
    row[NUM_STOP_WORD_RUNS] += is_listed
    if union & LETTER:
        row[NUM_ALPHA_RUNS] += 1
        if last - first >= 5 and _may_be_phrase(data, first, last, limit):
            look_for_phrases(data, start, first, last, end, row, notes)
    elif is_ellipsis(data, first, last):
        row[NUM_SYMBOL_RUNS] += 1
    if union & TRIGGER:
        look_closer(data, start, first, last, end, row, notes)
    if union & TERMINAL:
        if union & SINGLE:
            row[NUM_SENTENCES] += count_inner_sentences(data, first, last, classes)
        else:
            row[NUM_SENTENCES] += ends_sentence(data, first, last, classes)
    notes[RUN_START], notes[RUN_CHARS], notes[RUN_UNION] = -1, 0, 0


@njit(nogil=True)
def split_words(data, limit, start, at, end, classes, words, piece, row, notes, stop_keys, stop_values, lower_case):
    """Split data[at:end] of the document that begins at `start` into `words`: (where it stopped, words).

    It stops at the end of the document or when a stretch is full; then call again with what it returned.
    words: (identities, character ends, ...) of the n-gram kernels, with room for STRETCH_WORDS and a piece; a
    character end is an entry for the start of each word and one for the end of the last. piece: (code points,
    classes, byte places, suffix ends, bounds, lower-case scratch).
    """
    identities, char_ends = pointer_to(words[0]), pointer_to(words[1])
    codes, kinds, places = pointer_to(piece[0]), pointer_to(piece[1]), pointer_to(piece[2])
    suffix_ends, bounds, scratch = pointer_to(piece[3]), pointer_to(piece[4]), pointer_to(piece[5])
    lower = pointer_to(lower_case)
    keys, values = pointer_to(stop_keys), pointer_to(stop_values)
    chars, num_words = np.int64(0), 0
    non_symbol = non_symbol_chars = alpha = stops = keywords = np.int64(0)
    stop_mask, stop_mask_any_case = notes[STOP_MASK], notes[STOP_MASK_ANY_CASE]
    char_ends[0] = 0
    while at < end and num_words < STRETCH_WORDS:
        piece_start = at
        at, union, common, union_before, common_before, is_ascii = _read_ascii(data, at, end, classes)
        length = at - piece_start
        if is_ascii:
            if length == 0:
                at += 1
                continue
            last_kind = np.int64(classes[data[at - 1]])
            found, is_fast = 0, True
            if length == 1 or (common & PLAIN and (not union & ASCII_DIGIT or common & ASCII_DIGIT)):
                found = 1
            elif (
                length >= 3
                and common_before & PLAIN
                and not union_before & ASCII_DIGIT
                and (last_kind & CLOSES or (data[at - 1] == 0x2E and classes[data[at - 2]] & BEFORE_STOP))
            ):
                found = 2
            if found == 0:
                is_fast = False
                for k in range(length):
                    code = np.int64(data[piece_start + k])
                    codes[k] = code
                    kinds[k] = classes[code]
                    places[k] = piece_start + k
                places[length] = at
        else:
            at, length, union, common = _decode_piece(data, piece_start, end, classes, codes, kinds, places)
            if length == 0:
                _, width = read_character(data, at, end)
                at += width
                continue
            found, is_fast, last_kind = 0, False, np.int64(0)
        if found == 0:
            if common & PLAIN and not union & (ASCII_DIGIT | SINGLE):
                found = put(bounds, 0, 0, length)
            else:
                found = split_chunk(codes, kinds, length, union, suffix_ends, bounds)
        is_listed = False
        for word in range(found):
            if is_fast:
                first, last = piece_start, at
                word_union, is_symbol = union, length == 1 and union & SYMBOL != 0
                if found == 2:
                    if word == 0:
                        last -= 1
                        word_union, is_symbol = union_before, False
                    else:
                        first = at - 1
                        word_union, is_symbol = last_kind, last_kind & SYMBOL != 0
                word_chars = last - first
            else:
                word_union, word_common = np.int64(0), np.int64(-1)
                for k in range(bounds[2 * word], bounds[2 * word + 1]):
                    word_union |= kinds[k]
                    word_common &= kinds[k]
                is_symbol = word_common & SYMBOL != 0
                word_chars = np.int64(bounds[2 * word + 1] - bounds[2 * word])
                first, last = places[bounds[2 * word]], places[bounds[2 * word + 1]]
            identity = hash_bytes(data, first, last, limit)
            identities[num_words] = identity
            num_words += 1
            chars += word_chars
            char_ends[num_words] = chars
            if not is_symbol:
                non_symbol += 1
                non_symbol_chars += word_chars
            if word_union & LETTER:
                alpha += 1
                if word_chars <= MAX_STOP_WORD_CHARS:
                    value = _listed(identity, keys, values)
                    if value >= KEYWORD:
                        keywords += 1
                        value -= KEYWORD
                    bit = value if value != NO_BIT else FREE
                    if bit >= 0:
                        stop_mask |= np.int64(1) << bit
                        is_listed = found == 1
                    elif word_union & UPPERCASE:
                        value = _listed(_lower_case_identity(data, first, last, lower, scratch), keys, values)
                        if value >= KEYWORD:
                            value -= KEYWORD
                        bit = value if value != NO_BIT else FREE
                    if bit >= 0:
                        stop_mask_any_case |= np.int64(1) << bit
                        stops += 1
        if notes[RUN_START] < 0:
            notes[RUN_START] = piece_start
        else:
            is_listed = False
        notes[RUN_CHARS] += length
        notes[RUN_UNION] |= union
        if length == MAX_PIECE_CHARS and at < end:
            code, _ = read_character(data, at, end)
            if not class_of(code, classes) & SPACE:
                continue
        _finish_run(data, start, at, end, limit, classes, is_listed, row, notes)
    row[NUM_WORDS] += num_words
    row[NUM_NON_SYMBOL_WORDS] += non_symbol
    row[NON_SYMBOL_WORD_CHARS] += non_symbol_chars
    row[NUM_ALPHA_WORDS] += alpha
    row[NUM_STOP_WORDS] += stops
    row[NUM_KEYWORDS] += keywords
    notes[STOP_MASK], notes[STOP_MASK_ANY_CASE] = stop_mask, stop_mask_any_case
    return at, num_words
