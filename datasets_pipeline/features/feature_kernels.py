# mypy: allow-untyped-defs
"""The compiled pass over a batch: every count of every document, straight from Arrow's buffers.

`count_features` releases the GIL, allocates scratch for the longest document it meets and reuses it, so
memory is about 60 bytes a word of the longest document, whatever the batch. Results depend on each
document alone.

Compiling takes about twenty seconds once; the machine code is kept in NUMBA_CACHE_DIR.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from datasets_pipeline.features.columns import COUNT_COLUMNS, DUPLICATE_NGRAM_SIZES, TOP_NGRAM_SIZES
from datasets_pipeline.features.line_kernels import count_characters_and_lines, count_newlines
from datasets_pipeline.features.ngram_kernels import duplicate_ngram_chars, mark_repeats, top_ngram_chars
from datasets_pipeline.features.sample_kernels import prose_samples as sample_prose
from datasets_pipeline.features.word_kernels import (
    ALPHA,
    CHUNK_TOO_LONG,
    NON_SYMBOL,
    NON_SYMBOL_CHARS,
    NUM_COUNTERS,
    STOP_MASK,
    STOP_MASK_ANY_CASE,
    STOP_SLOTS,
    STOPS,
    TOO_MANY_WORDS,
    WORDS,
    split_words,
    word_hash,
)

_AT = {column.name: index for index, column in enumerate(COUNT_COLUMNS)}
NUM_COLUMNS = len(COUNT_COLUMNS)
NUM_WORDS, NUM_NON_SYMBOL_WORDS = _AT["num_words"], _AT["num_non_symbol_words"]
NON_SYMBOL_WORD_CHARS, NUM_ALPHA_WORDS = _AT["non_symbol_word_chars"], _AT["num_alpha_words"]
NUM_STOP_WORDS, NUM_DISTINCT = _AT["num_stop_words"], _AT["num_distinct_stop_words"]
NUM_DISTINCT_ANY_CASE = _AT["num_distinct_stop_words_any_case"]
FIRST_TOP, FIRST_DUPLICATE = _AT[f"top_{TOP_NGRAM_SIZES[0]}_gram_chars"], _AT["duplicate_5_gram_chars"]
FIRST_TOP_SIZE, NUM_TOP_SIZES = TOP_NGRAM_SIZES[0], len(TOP_NGRAM_SIZES)
FIRST_DUPLICATE_SIZE, NUM_DUPLICATE_SIZES = DUPLICATE_NGRAM_SIZES[0], len(DUPLICATE_NGRAM_SIZES)


def stop_word_tables(lists: list[tuple[str, ...]]) -> tuple[np.ndarray, np.ndarray]:
    """Hash tables of stop words, one row a language: (identity of the word, its bit or -1 for a free slot)."""
    keys = np.zeros((len(lists), STOP_SLOTS), dtype=np.uint64)
    bits = np.full((len(lists), STOP_SLOTS), -1, dtype=np.int8)
    for row, words in enumerate(lists):
        assert len(words) <= 63, "a 64-bit mask counts distinct stop words"
        for bit, word in enumerate(words):
            identity = int(word_hash(np.array([ord(c) for c in word], dtype=np.int64), 0, len(word)))
            slot = identity >> 56
            while bits[row, slot] >= 0:
                slot = (slot + 1) % STOP_SLOTS
            keys[row, slot] = identity
            bits[row, slot] = bit
    return keys, bits


@njit(nogil=True)
def _popcount(mask):
    count = 0
    while mask:
        mask &= mask - 1
        count += 1
    return count


@njit(nogil=True)
def _table_mask(entries):
    """Slots minus one of a power-of-two table at most half full."""
    size = 64
    while size < 2 * entries:
        size *= 2
    return size - 1


@njit(nogil=True)
def _word_scratch(size):
    return (
        np.empty(size + 1, np.uint64),
        np.empty(size + 1, np.uint64),
        np.empty(size + 1, np.int64),
        np.empty(size, np.uint64),
        np.empty(size, np.uint64),
        np.empty(size, np.uint8),
    )


@njit(nogil=True)
def _chunk_scratch(size):
    return (np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64), np.empty(2 * size, np.int64))


def _compile(source_digest: int) -> tuple[Any, Any]:
    """The two entry points, cached under a key that holds the digest of every kernel source.

    numba's cache looks at the file of the cached function only; without the digest a change in
    word_kernels.py would go on running the old machine code.
    """

    @njit(nogil=True, cache=True)
    def count_features(data, offsets, languages, classes, lower, stop_keys, stop_bits):
        _ = source_digest
        num_documents = offsets.shape[0] - 1
        out = np.zeros((num_documents, NUM_COLUMNS), np.int64)
        words, chunk = _word_scratch(4096), _chunk_scratch(256)
        counters = np.zeros(NUM_COUNTERS, np.int64)
        slots = 1024
        keys, keys_2 = np.empty(slots, np.uint64), np.empty(slots, np.uint64)
        stamps = np.zeros((2, slots), np.uint32)
        counts, firsts = np.empty(slots, np.int32), np.empty(slots, np.int32)
        stamp = np.uint32(0)
        for document in range(num_documents):
            start, end = offsets[document], offsets[document + 1]
            row = out[document]
            language = languages[document]
            while True:
                outcome = split_words(
                    data, start, end, classes, words, chunk, counters, stop_keys[language], stop_bits[language], lower
                )
                if outcome == CHUNK_TOO_LONG:
                    chunk = _chunk_scratch(4 * chunk[0].shape[0])
                elif outcome == TOO_MANY_WORDS:
                    words = _word_scratch(2 * words[3].shape[0])
                else:
                    break
            num_words = counters[WORDS]
            # A document has at most newlines + 1 lines, and never more paragraphs than lines.
            mask = _table_mask(count_newlines(data, start, end) + 2)
            word_mask = _table_mask(num_words)
            if max(mask, word_mask) >= slots or stamp > np.uint32(0xFFFFFF00):
                slots = max(slots, max(mask, word_mask) + 1)
                keys, keys_2 = np.empty(slots, np.uint64), np.empty(slots, np.uint64)
                stamps = np.zeros((2, slots), np.uint32)
                counts, firsts = np.empty(slots, np.int32), np.empty(slots, np.int32)
                stamp = np.uint32(0)
            stamp += np.uint32(1)
            count_characters_and_lines(data, start, end, classes, row, keys, keys_2, stamps, stamp, mask)
            row[NUM_WORDS] = num_words
            row[NUM_NON_SYMBOL_WORDS] = counters[NON_SYMBOL]
            row[NON_SYMBOL_WORD_CHARS] = counters[NON_SYMBOL_CHARS]
            row[NUM_ALPHA_WORDS] = counters[ALPHA]
            row[NUM_STOP_WORDS] = counters[STOPS]
            row[NUM_DISTINCT] = _popcount(counters[STOP_MASK])
            row[NUM_DISTINCT_ANY_CASE] = _popcount(counters[STOP_MASK_ANY_CASE])
            for k in range(NUM_TOP_SIZES):
                stamp += np.uint32(1)
                row[FIRST_TOP + k] = top_ngram_chars(
                    words, num_words, FIRST_TOP_SIZE + k, keys, stamps[0], counts, firsts, stamp, word_mask
                )
            stamp += np.uint32(1)
            mark_repeats(words, num_words, keys, stamps[0], firsts, stamp, word_mask)
            for k in range(NUM_DUPLICATE_SIZES):
                stamp += np.uint32(1)
                row[FIRST_DUPLICATE + k] = duplicate_ngram_chars(
                    words, num_words, FIRST_DUPLICATE_SIZE + k, keys, stamps[0], stamp, word_mask
                )
        return out

    @njit(nogil=True, cache=True)
    def prose_samples(data, offsets, chosen, classes, limit):
        _ = source_digest
        return sample_prose(data, offsets, chosen, classes, limit)

    return count_features, prose_samples


def _source_digest() -> int:
    """First 60 bits of the digest of the kernel sources and of what they read at compile time."""
    folder = Path(__file__).parent
    names = ("characters.py", "columns.py", "pointers.py")
    sources = [*sorted(folder.glob("*_kernels.py")), *(folder / name for name in names)]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources))
    return int.from_bytes(digest.digest()[:8], "big") >> 4


count_features, prose_samples = _compile(_source_digest())
