# mypy: allow-untyped-defs
"""numba kernels of decontamination: UTF-8 bytes in, the n-grams of evaluation items that stand in them out.

Imported on first use only, because numba costs a second to import. All kernels release the GIL, use integers alone
and treat each document for itself. Time is linear in the text: each token is hashed once, and a hit compares at most
as many tokens as an n-gram has.
"""

import numba
import numpy as np

from datasets_pipeline.decontamination.characters import (
    CLASS_SHIFT,
    CODE_MASK,
    DIGIT,
    GAP,
    MANY,
    MARK,
    MOST_CODES,
    SEPARATOR,
    SINGLE,
    WORD,
)
from datasets_pipeline.dedup.minhash_kernels import decode, mix64

_CLASS_SHIFT = np.uint32(CLASS_SHIFT)
_CODE_MASK = np.uint32(CODE_MASK)
_MANY = np.uint32(MANY)
_SEPARATOR = np.uint32(SEPARATOR)
_WORD_ENTRY_MASK = np.uint32(7 << CLASS_SHIFT | MANY)
_WORD_ENTRY = np.uint32(WORD << CLASS_SHIFT)
_ZERO_DIGIT = np.uint64(ord("0"))

_WORD_SEED = np.uint64(0x2B0EFCB2C7F1F1A1)
_WORD_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
# The base of the rolling hash: odd, so that no bit of an older token is lost.
_BASE = np.uint64(0xD6E8FEB86659FD93)
# Sets n-grams apart from short texts that are matched whole.
_SHORT = np.uint64(0x8EBC6AF09C88C6E3)
_S64 = np.uint64(64)

_jit = numba.njit(nogil=True, cache=True, fastmath=False)


@_jit
def next_token(data, i, end, table, many):
    """(start, end, hash, has letters) of the first token of data[i:end]; start = end where there is none."""
    width = 1
    entry = np.uint32(0)
    while i < end:
        width = 1
        code = np.int64(data[i])
        if code >= 0x80:
            code, width = decode(data, i, end)
        entry = table[code]
        kind = entry >> _CLASS_SHIFT
        if kind in (WORD, DIGIT, SINGLE):
            break
        i += width
    start = i
    word = _WORD_SEED
    letters = False
    in_number, had_separator, is_single = False, False, False
    while i < end:
        if i > start:
            if not is_single:
                # The common case in a tight loop: ASCII letters, one multiplication each.
                while i < end and data[i] < 0x80 and (table[data[i]] & _WORD_ENTRY_MASK) == _WORD_ENTRY:
                    word = (word ^ np.uint64(table[data[i]] & _CODE_MASK)) * _WORD_MULTIPLIER
                    letters = True
                    in_number = False
                    i += 1
                if i >= end:
                    break
            width = 1
            code = np.int64(data[i])
            if code >= 0x80:
                code, width = decode(data, i, end)
            entry = table[code]
        kind = entry >> _CLASS_SHIFT
        if is_single and kind != MARK:
            break
        if kind == DIGIT:
            if not in_number:
                word = (word ^ _ZERO_DIGIT) * _WORD_MULTIPLIER
                in_number, had_separator = True, False
        elif kind == GAP:
            if not in_number or had_separator or not entry & _SEPARATOR or i + width >= end:
                break
            after = np.int64(data[i + width])
            if after >= 0x80:
                after, _ = decode(data, i + width, end)
            if table[after] >> _CLASS_SHIFT != DIGIT:
                break
            had_separator = True
        else:
            if kind == SINGLE:
                if i > start:
                    break
                is_single = True
            if kind != MARK:
                letters = True
                in_number = False
            if entry & _MANY:
                row = entry & _CODE_MASK
                for j in range(MOST_CODES):
                    if many[row, j] != 0:
                        word = (word ^ np.uint64(many[row, j])) * _WORD_MULTIPLIER
            elif entry & _CODE_MASK:
                word = (word ^ np.uint64(entry & _CODE_MASK)) * _WORD_MULTIPLIER
        i += width
    return start, i, mix64(word), letters


@_jit
def codes_of(data, start, end, table, many, out):
    """Write the normalised code points of the token data[start:end] to out; returns how many there are."""
    num = 0
    in_number = False
    i = start
    while i < end:
        width = 1
        code = np.int64(data[i])
        if code >= 0x80:
            code, width = decode(data, i, end)
        i += width
        entry = table[code]
        kind = entry >> _CLASS_SHIFT
        if kind == DIGIT:
            if not in_number:
                if num < len(out):
                    out[num] = np.uint32(_ZERO_DIGIT)
                num += 1
            in_number = True
        elif kind != GAP:  # a gap inside a token is the separator of a number
            if kind != MARK:
                in_number = False
            if entry & _MANY:
                row = entry & _CODE_MASK
                for j in range(MOST_CODES):
                    if many[row, j] != 0:
                        if num < len(out):
                            out[num] = many[row, j]
                        num += 1
            elif entry & _CODE_MASK:
                if num < len(out):
                    out[num] = entry & _CODE_MASK
                num += 1
    return num


@_jit
def tokenize(data, start, end, table, many, codes, code_offsets, hashes, letters, num_tokens):
    """Append the tokens of data[start:end] to codes, code_offsets, hashes and letters; returns the new number."""
    i = start
    while True:
        first, last, word, has_letters = next_token(data, i, end, table, many)
        if first >= last:
            return num_tokens
        begin = code_offsets[num_tokens]
        num = codes_of(data, first, last, table, many, codes[begin:])
        code_offsets[num_tokens + 1] = begin + num
        hashes[num_tokens] = word
        letters[num_tokens] = has_letters
        num_tokens += 1
        i = last


@_jit
def roll(hashes, first, length):
    """The rolling hash of hashes[first : first + length]."""
    value = np.uint64(0)
    for j in range(first, first + length):
        value = value * _BASE + hashes[j]
    return value


@_jit
def key_of(hashes, first, length, n, shortest):
    """What an n-gram, or a short text by its last `shortest` tokens, is looked up by."""
    if length == n:
        return roll(hashes, first, n)
    return roll(hashes, first + length - shortest, shortest) ^ _SHORT


@_jit
def add_gram(first, length, n, shortest, hashes, codes, code_offsets, slots, gram_first, gram_length, num_grams):
    """(id, new number of grams) of the tokens first to first + length, which become a gram if they are none yet."""
    key = key_of(hashes, first, length, n, shortest)
    mask = np.uint64(len(slots) - 1)
    slot = mix64(key) & mask
    while slots[slot] >= 0:
        gram = slots[slot]
        if gram_length[gram] == length and equal_tokens(codes, code_offsets, gram_first[gram], first, length):
            return gram, num_grams
        slot = (slot + np.uint64(1)) & mask
    slots[slot] = num_grams
    gram_first[num_grams] = first
    gram_length[num_grams] = length
    return num_grams, num_grams + 1


@_jit
def equal_tokens(codes, code_offsets, left, right, length):
    """Whether two runs of index tokens have the same code points, token by token."""
    for j in range(length):
        a, b = code_offsets[left + j], code_offsets[right + j]
        size = code_offsets[left + j + 1] - a
        if code_offsets[right + j + 1] - b != size:
            return False
        for k in range(size):
            if codes[a + k] != codes[b + k]:
                return False
    return True


@_jit
def collect_grams(
    piece_first, piece_end, n, shortest, hashes, letters, codes, code_offsets,
    slots, gram_first, gram_length, num_grams, gram_at, gram_of_piece,
):  # fmt: skip
    """Fill gram_at [num_tokens] (gram that starts there) and gram_of_piece (short pieces); -1 = none.

    A gram of which fewer than half of the tokens have letters is none: once numbers are alike, rows of numbers stand
    everywhere. Returns the number of grams.
    """
    for piece in range(len(piece_first)):
        first, end = piece_first[piece], piece_end[piece]
        length = end - first
        gram_of_piece[piece] = -1
        if length < n:
            if length >= shortest and 2 * letters[first:end].sum() >= length:
                gram_of_piece[piece], num_grams = add_gram(
                    first, length, n, shortest, hashes, codes, code_offsets, slots, gram_first, gram_length, num_grams
                )
            continue
        with_letters = letters[first : first + n - 1].sum()
        for token in range(first, end - n + 1):
            with_letters += letters[token + n - 1]
            if gram_at[token] < 0 and 2 * with_letters >= n:
                gram_at[token], num_grams = add_gram(
                    token, n, n, shortest, hashes, codes, code_offsets, slots, gram_first, gram_length, num_grams
                )
            with_letters -= letters[token]
    return num_grams


@_jit
def count_items(piece_first, piece_end, piece_item, first_piece, last_piece, n, gram_at, gram_of_piece, last, counts):
    """counts [num_grams]: in how many items of the pieces first_piece to last_piece a gram stands.

    last [num_grams] is scratch: the item that a gram was seen in last.
    """
    for piece in range(first_piece, last_piece):
        item = piece_item[piece]
        if gram_of_piece[piece] >= 0:
            gram = gram_of_piece[piece]
            if last[gram] != item:
                last[gram] = item
                counts[gram] += 1
        for token in range(piece_first[piece], piece_end[piece] - n + 1):
            gram = gram_at[token]
            if gram >= 0 and last[gram] != item:
                last[gram] = item
                counts[gram] += 1


@_jit
def list_postings(
    piece_first, piece_end, first_piece, last_piece, n, gram_at, gram_of_piece, counts, most, last, totals, grams,
    pieces,
):  # fmt: skip
    """Write (gram, piece) once for each gram of a piece that stands in at most `most` items; returns how many.

    totals [num_pieces] counts them by piece; last is scratch, unequal to every piece.
    """
    num = 0
    for piece in range(first_piece, last_piece):
        gram = gram_of_piece[piece]
        if gram >= 0 and counts[gram] <= most:
            grams[num], pieces[num] = gram, piece
            totals[piece] += 1
            num += 1
        for token in range(piece_first[piece], piece_end[piece] - n + 1):
            gram = gram_at[token]
            if gram >= 0 and counts[gram] <= most and last[gram] != piece:
                last[gram] = piece
                grams[num], pieces[num] = gram, piece
                totals[piece] += 1
                num += 1
    return num


@_jit
def fill_table(gram_first, gram_length, n, shortest, hashes, keys, slots, bits, bits_shift):
    """Hash table by key (keys, slots: gram or -1) and a bitmap in front of it that fits the cache."""
    mask = np.uint64(len(slots) - 1)
    for gram in range(len(gram_first)):
        key = key_of(hashes, gram_first[gram], gram_length[gram], n, shortest)
        mixed = mix64(key)
        slot = mixed & mask
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = gram
        keys[slot] = key
        bit = mixed >> bits_shift
        bits[bit >> np.uint64(3)] |= np.uint8(1) << np.uint8(bit & np.uint64(7))


@_jit
def stands_here(
    gram, data, ring_starts, ring_ends, slot, n, table, many, gram_first, gram_length, codes, code_offsets, buffer
):  # fmt: skip
    """Whether the last tokens of the text are those of a gram, by their code points; slot is the last token's."""
    length = gram_length[gram]
    first = gram_first[gram]
    for j in range(length):
        place = slot - j
        if place < 0:
            place += n
        token = first + length - 1 - j
        begin, size = code_offsets[token], code_offsets[token + 1] - code_offsets[token]
        if codes_of(data, ring_starts[place], ring_ends[place], table, many, buffer) != size:
            return False
        for k in range(size):
            if buffer[k] != codes[begin + k]:
                return False
    return True


@_jit
def scan(
    data, start, end, table, many, n, shortest, keys, slots, bits, bits_shift, gram_first, gram_length, codes,
    code_offsets, wanted, seen, stamp, found, span_starts, span_ends, ring_hashes, ring_starts, ring_ends, buffer,
):  # fmt: skip
    """(distinct grams, hits, spans) of one document.

    found gets the distinct wanted grams as far as it has room, span_starts and span_ends the bytes that they cover,
    united where they touch. seen [num_grams] is scratch: it holds `stamp` for the grams that were found; empty, no gram
    is counted. span_starts and span_ends need room for a span a hit, or none at all.
    """
    last_power, short_power = np.uint64(1), np.uint64(1)
    for _ in range(n):
        last_power *= _BASE
    for _ in range(shortest):
        short_power *= _BASE
    mask = np.uint64(len(slots) - 1)
    has_short = shortest < n
    whole, short = np.uint64(0), np.uint64(0)
    num_found, num_hits, num_spans = 0, 0, 0
    count = 0
    slot = n - 1
    i = start
    while True:
        token_start, token_end, word, _ = next_token(data, i, end, table, many)
        if token_start >= token_end:
            break
        i = token_end
        slot += 1
        if slot == n:
            slot = 0
        whole = whole * _BASE + word
        if count >= n:
            whole -= ring_hashes[slot] * last_power
        if has_short:
            short = short * _BASE + word
            if count >= shortest:
                place = slot - shortest
                if place < 0:
                    place += n
                short -= ring_hashes[place] * short_power
        ring_hashes[slot] = word
        ring_starts[slot] = token_start
        ring_ends[slot] = token_end
        count += 1
        for kind in range(2):
            if kind == 0:
                if count < n:
                    continue
                key = whole
            else:
                if not has_short or count < shortest:
                    continue
                key = short ^ _SHORT
            mixed = mix64(key)
            bit = mixed >> bits_shift
            if not bits[bit >> np.uint64(3)] >> np.uint8(bit & np.uint64(7)) & np.uint8(1):
                continue
            probe = mixed & mask
            while slots[probe] >= 0:
                gram = slots[probe]
                if (
                    keys[probe] == key
                    and wanted[gram]
                    and gram_length[gram] <= count
                    and stands_here(
                        gram, data, ring_starts, ring_ends, slot, n, table, many, gram_first, gram_length, codes,
                        code_offsets, buffer,
                    )
                ):  # fmt: skip
                    num_hits += 1
                    if len(seen) and seen[gram] != stamp:
                        seen[gram] = stamp
                        if num_found < len(found):
                            found[num_found] = gram
                        num_found += 1
                    if len(span_starts):
                        place = slot - gram_length[gram] + 1
                        if place < 0:
                            place += n
                        begin = ring_starts[place]
                        while num_spans and begin <= span_ends[num_spans - 1]:
                            num_spans -= 1
                            begin = min(begin, span_starts[num_spans])
                        span_starts[num_spans] = begin
                        span_ends[num_spans] = token_end
                        num_spans += 1
                probe = (probe + np.uint64(1)) & mask
    return num_found, num_hits, num_spans


@_jit
def scan_documents(
    data, offsets, first_document, table, many, n, shortest, keys, slots, bits, bits_shift, gram_first, gram_length,
    codes, code_offsets, wanted, seen, found, found_offsets, hits, buffer,
):  # fmt: skip
    """Distinct wanted grams of the documents from first_document on, until found is full.

    found_offsets and hits are filled by document; returns the document to go on with. found must have room for all
    grams, so that one document always fits.
    """
    ring_hashes = np.empty(n, np.uint64)
    ring_starts = np.empty(n, np.int64)
    ring_ends = np.empty(n, np.int64)
    none = np.empty(0, np.int64)
    written = 0
    for document in range(first_document, len(offsets) - 1):
        num_found, num_hits, _ = scan(
            data, offsets[document], offsets[document + 1], table, many, n, shortest, keys, slots, bits, bits_shift,
            gram_first, gram_length, codes, code_offsets, wanted, seen, document, found[written:], none, none,
            ring_hashes, ring_starts, ring_ends, buffer,
        )  # fmt: skip
        if written + num_found > len(found):
            return document
        found_offsets[document] = written
        found_offsets[document + 1] = written + num_found
        hits[document] = num_hits
        written += num_found
    return len(offsets) - 1


@_jit
def scan_spans(
    data, start, end, table, many, n, shortest, keys, slots, bits, bits_shift, gram_first, gram_length, codes,
    code_offsets, wanted, span_starts, span_ends, buffer,
):  # fmt: skip
    """Number of spans of one document that wanted grams cover, written to span_starts and span_ends."""
    seen, found = np.empty(0, np.int64), np.empty(0, np.int32)
    _, _, num = scan(
        data, start, end, table, many, n, shortest, keys, slots, bits, bits_shift, gram_first, gram_length, codes,
        code_offsets, wanted, seen, -2, found, span_starts, span_ends, np.empty(n, np.uint64), np.empty(n, np.int64),
        np.empty(n, np.int64), buffer,
    )  # fmt: skip
    return num
