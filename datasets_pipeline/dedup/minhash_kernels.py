# mypy: allow-untyped-defs
"""numba kernels under minhash.py: UTF-8 bytes in, shingle hashes and MinHash minima out.

Imported on first use only, because numba costs a second to import. All kernels release the GIL, use
integer arithmetic alone, and treat each document for itself, so neither batch nor thread can matter.
Bytes that are not valid UTF-8 are read as gaps between words and never outside the document.
"""

import numba
import numpy as np

from datasets_pipeline.dedup.characters import (
    CLASS_SHIFT,
    CODE_MASK,
    FOLDS,
    MARK,
    NUM_CODE_POINTS,
    SINGLE,
    WORD,
)

SHINGLE_WORDS = 5
# Shingles are folded into the signature 1,024 at a time: 8 KB, which stays in the L1 cache.
CHUNK_SHINGLES = 1024
#: What a kernel must remember between two chunks of a document: the last five words and their count.
STATE_SIZE = SHINGLE_WORDS + 1

_CLASS_SHIFT = np.uint32(CLASS_SHIFT)
_CODE_MASK = np.uint32(CODE_MASK)
_FOLDS = np.uint32(FOLDS)
_CLASS_MASK = np.uint32(3)
_NUM_CODE_POINTS = NUM_CODE_POINTS
_WORD = np.uint32(WORD)
_MARK = np.uint32(MARK)
_SINGLE = np.uint32(SINGLE)

# Odd 64-bit multipliers with well-spread bits: the golden ratio, and those of splitmix64, wyhash, murmur3.
_WORD_SEED = np.uint64(0x2B0EFCB2C7F1F1A1)
_WORD_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_P0 = np.uint64(0xBF58476D1CE4E5B9)
_P1 = np.uint64(0x94D049BB133111EB)
_P2 = np.uint64(0xD6E8FEB86659FD93)
_P3 = np.uint64(0xA0761D6478BD642F)
_P4 = np.uint64(0xE7037ED1A0B428DB)
_SHORT = np.uint64(0x8EBC6AF09C88C6E3)
_MIX1 = np.uint64(0xFF51AFD7ED558CCD)
_MIX2 = np.uint64(0xC4CEB9FE1A85EC53)
_S33 = np.uint64(33)
_S32 = np.uint64(32)
_S15 = np.uint32(15)
_LOW32 = np.uint64(0xFFFFFFFF)
_EMPTY = np.uint32(0xFFFFFFFF)

_jit = numba.njit(nogil=True, cache=True, fastmath=False)


@_jit
def mix64(x):
    """Murmur3's 64-bit finalizer: every input bit reaches every output bit."""
    x ^= x >> _S33
    x *= _MIX1
    x ^= x >> _S33
    x *= _MIX2
    x ^= x >> _S33
    return x


@_jit
def decode(data, i, end):
    """(code point, width) of the UTF-8 sequence at i < end; damaged bytes are code point 0, width 1."""
    first = np.int64(data[i])
    if first < 0x80:
        return first, 1
    if 0xC2 <= first < 0xE0:
        code, width = first & 0x1F, 2
    elif 0xE0 <= first < 0xF0:
        code, width = first & 0x0F, 3
    elif 0xF0 <= first < 0xF5:
        code, width = first & 0x07, 4
    else:
        return np.int64(0), 1
    if i + width > end:
        return np.int64(0), 1
    for j in range(1, width):
        following = np.int64(data[i + j])
        if following & 0xC0 != 0x80:
            return np.int64(0), 1
        code = code << 6 | following & 0x3F
    if code >= _NUM_CODE_POINTS:
        return np.int64(0), 1
    return code, width


@_jit
def scan_shingles(data, start, end, table, folds, state, out):
    """Write shingle hashes of data[start:end] to out until it is full or the text ends.

    Returns (position to go on from, hashes written); the position is past `end` when the text is done.
    `state` is zero for a new document and carries the last words over to the next call.
    """
    w0, w1, w2, w3, w4, count = state[0], state[1], state[2], state[3], state[4], state[5]
    written = 0
    capacity = len(out)
    inside = np.uint32(0)  # 0 between words, else the class that opened the word
    word = _WORD_SEED
    i = start
    while i <= end:
        if inside == _WORD:
            # The common case in a tight loop: ASCII letters inside a word, one multiplication each.
            while i < end and data[i] < 0x80:
                entry = table[data[i]]
                if entry >> _CLASS_SHIFT != _WORD:
                    break
                word = (word ^ np.uint64(entry & _CODE_MASK)) * _WORD_MULTIPLIER
                i += 1
        width = 1
        entry = np.uint32(0)
        if i < end:
            code = np.int64(data[i])
            if code >= 0x80:
                code, width = decode(data, i, end)
            entry = table[code]
        kind = (entry >> _CLASS_SHIFT) & _CLASS_MASK
        if inside != 0 and kind != _MARK and (kind != inside or kind == _SINGLE):
            w0, w1, w2, w3, w4 = w1, w2, w3, w4, mix64(word)
            count += np.uint64(1)
            inside = np.uint32(0)
            word = _WORD_SEED
            if count >= np.uint64(SHINGLE_WORDS):
                out[written] = mix64(w0 * _P0 + w1 * _P1 + w2 * _P2 + w3 * _P3 + w4 * _P4)
                written += 1
                if written == capacity:
                    break  # before this character: the next call reads it again, between two words
        if kind != 0 and (kind != _MARK or inside != 0):
            if inside == 0:
                inside = kind
            if entry & _FOLDS:
                row = entry & _CODE_MASK
                for j in range(3):
                    if folds[row, j] != 0:
                        word = (word ^ np.uint64(folds[row, j])) * _WORD_MULTIPLIER
            else:
                word = (word ^ np.uint64(entry & _CODE_MASK)) * _WORD_MULTIPLIER
        i += width
    if i > end and count > 0 and count < np.uint64(SHINGLE_WORDS):
        out[written] = mix64(w0 * _P0 + w1 * _P1 + w2 * _P2 + w3 * _P3 + w4 * _P4 + count * _SHORT)
        written += 1
    state[0], state[1], state[2], state[3], state[4], state[5] = w0, w1, w2, w3, w4, count
    return i, written


@_jit
def fold_minima(low, high, num, xors, firsts, seconds, minima):
    """minima[k] = min(minima[k], f_k of the first `num` hashes), given as 32-bit halves low and high.

    f_k(h) = ((g ^ g >> 15) + high) * seconds[k] mod 2**32 with g = (low ^ xors[k]) * firsts[k]. Two
    multiplications with a shift between them: not linear in h, so permutations do not follow each other.
    """
    for k in range(len(minima)):
        x, a, b = xors[k], firsts[k], seconds[k]
        smallest = minima[k]
        for j in range(num):
            g = np.uint32(np.uint32(low[j] ^ x) * a)
            g = np.uint32(g ^ np.uint32(g >> _S15))
            smallest = min(smallest, np.uint32(np.uint32(g + high[j]) * b))
        minima[k] = smallest


@_jit
def sign_documents(data, offsets, table, folds, xors, firsts, seconds, signatures, counts):
    """Fill signatures uint32 [n, K] and counts int64 [n] (shingle positions, with repetitions)."""
    chunk = np.empty(CHUNK_SHINGLES, np.uint64)
    low = np.empty(CHUNK_SHINGLES, np.uint32)
    high = np.empty(CHUNK_SHINGLES, np.uint32)
    state = np.empty(STATE_SIZE, np.uint64)
    for document in range(len(offsets) - 1):
        position, end = offsets[document], offsets[document + 1]
        state[:] = 0
        signatures[document, :] = _EMPTY
        total = 0
        while position <= end:
            position, num = scan_shingles(data, position, end, table, folds, state, chunk)
            for j in range(num):
                low[j] = np.uint32(chunk[j] & _LOW32)
                high[j] = np.uint32(chunk[j] >> _S32)
            fold_minima(low, high, num, xors, firsts, seconds, signatures[document])
            total += num
        counts[document] = total


@_jit
def hash_documents(data, offsets, table, folds, hashes, hash_offsets):
    """Write every document's shingle hashes one after another; hash_offsets int64 [n + 1] is filled.

    `hashes` needs room for one hash per two bytes of text plus one per document: no word is shorter
    than one byte and its gap, and the characters that are words by themselves take three bytes.
    """
    state = np.empty(STATE_SIZE, np.uint64)
    written = 0
    hash_offsets[0] = 0
    for document in range(len(offsets) - 1):
        state[:] = 0
        start, end = offsets[document], offsets[document + 1]
        room = hashes[written : written + (end - start) // 2 + 2]
        _, num = scan_shingles(data, start, end, table, folds, state, room)
        written += num
        hash_offsets[document + 1] = written


@_jit
def intersection_sizes(hashes, starts, ends, left, right, out):
    """out[p] = number of common values of the sorted sets of documents left[p] and right[p]."""
    for p in range(len(left)):
        i, i_end = starts[left[p]], ends[left[p]]
        j, j_end = starts[right[p]], ends[right[p]]
        common = 0
        while i < i_end and j < j_end:
            a, b = hashes[i], hashes[j]
            if a == b:
                common += 1
            i += a <= b
            j += b <= a
        out[p] = common


@_jit
def count_equal(signatures, left, right, out):
    """out[p] = number of equal positions of the signatures of documents left[p] and right[p]."""
    for p in range(len(left)):
        a, b = signatures[left[p]], signatures[right[p]]
        equal = 0
        for k in range(signatures.shape[1]):
            equal += a[k] == b[k]
        out[p] = equal
