# mypy: allow-untyped-defs
"""The compiled pass over a batch: every count of every document, straight from Arrow's buffers.

`count_features` releases the GIL and reuses one scratch for all documents of a batch. Memory does not
grow with the documents: what is beyond a stretch of words or lines (columns.py) is counted stretch by
stretch, so a batch takes at most about 50 MB beside its text, and time is linear in it. Results depend on
each document alone.

Compiling takes about half a minute once; the machine code is kept in NUMBA_CACHE_DIR.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from datasets_pipeline.features.byte_kernels import hash_bytes
from datasets_pipeline.features.character_kernels import NUM_NEWLINES, count_characters_of
from datasets_pipeline.features.columns import (
    COUNT_COLUMNS,
    MAX_PIECE_CHARS,
    NGRAM_SIZES,
    STRETCH_LINES,
    STRETCH_WORDS,
)
from datasets_pipeline.features.line_kernels import count_lines
from datasets_pipeline.features.ngram_kernels import count_ngrams
from datasets_pipeline.features.pointers import count_ones, pointer_to
from datasets_pipeline.features.run_kernels import LAST_PHRASE
from datasets_pipeline.features.sample_kernels import prose_samples as sample_prose
from datasets_pipeline.features.stop_words import KEYWORDS
from datasets_pipeline.features.word_kernels import (
    KEYWORD,
    LOWER_SCRATCH_BYTES,
    MAX_STOP_WORD_CHARS,
    NO_BIT,
    NUM_NOTES,
    RUN_START,
    STOP_MASK,
    STOP_MASK_ANY_CASE,
    STOP_SLOTS,
    split_words,
)

_AT = {column.name: index for index, column in enumerate(COUNT_COLUMNS)}
NUM_COLUMNS = len(COUNT_COLUMNS)
NUM_DISTINCT, NUM_DISTINCT_ANY_CASE = _AT["num_distinct_stop_words"], _AT["num_distinct_stop_words_any_case"]
FIRST_TOP, FIRST_DUPLICATE = _AT[f"top_{NGRAM_SIZES[0]}_gram_chars"], _AT[f"duplicate_{NGRAM_SIZES[0]}_gram_chars"]


@njit(nogil=True)
def _identity(word):
    return hash_bytes(pointer_to(word), 0, word.shape[0], word.shape[0])


def stop_word_tables(lists: list[tuple[str, ...]]) -> tuple[np.ndarray, np.ndarray]:
    """Hash tables of stop words and key words, one row a language: (identity of the word, its value).

    A value is -1 for a free slot, else the bit of the stop word or NO_BIT, with KEYWORD added for a key word.
    """
    keys = np.zeros((len(lists), STOP_SLOTS), dtype=np.uint64)
    values = np.full((len(lists), STOP_SLOTS), -1, dtype=np.int8)
    for row, words in enumerate(lists):
        assert len(words) <= 62, "a 64-bit mask counts distinct stop words"
        listed = {word: bit for bit, word in enumerate(words)} | {
            word: (words.index(word) if word in words else NO_BIT) + KEYWORD for word in KEYWORDS
        }
        for word, value in listed.items():
            assert len(word) <= MAX_STOP_WORD_CHARS, "longer words are not looked up"
            identity = int(_identity(np.frombuffer(word.encode(), np.uint8)))
            slot = identity >> 56
            while values[row, slot] >= 0:
                slot = (slot + 1) % STOP_SLOTS
            keys[row, slot] = identity
            values[row, slot] = value
    return keys, values


def _slots(entries: int) -> int:
    """A power of two, so that a hash table of so many slots is at most half full."""
    return 1 << (2 * entries - 1).bit_length()


def _scratch() -> tuple[Any, ...]:
    """Working memory of one call, for the largest stretch: the system hands out pages when they are touched."""
    num_words = STRETCH_WORDS + MAX_PIECE_CHARS
    words = (
        np.empty(num_words, np.uint64),  # identities
        np.empty(num_words + 1, np.int64),  # character ends
        np.empty(num_words, np.int32),  # names: the first place of the n-gram that begins here, or -1
        np.empty(num_words, np.uint64),  # keys
        np.empty(num_words, np.int32),  # counts
        np.zeros(num_words, np.uint64),  # visits
        np.empty(num_words, np.int32),  # candidates
    )
    piece = (
        np.empty(MAX_PIECE_CHARS, np.int32),  # code points
        np.empty(MAX_PIECE_CHARS, np.int32),  # classes
        np.empty(MAX_PIECE_CHARS + 1, np.int64),  # byte places
        np.empty(MAX_PIECE_CHARS, np.int32),  # suffix ends
        np.empty(2 * MAX_PIECE_CHARS, np.int32),  # bounds
        np.empty(LOWER_SCRATCH_BYTES, np.uint8),  # a word in lower case
    )
    num_lines = _slots(STRETCH_LINES + 2)
    lines = (np.empty(num_lines, np.uint64), np.empty(num_lines, np.uint64))
    stamps = (np.zeros(num_lines, np.uint32), np.zeros(num_lines, np.uint32))
    return words, piece, np.zeros(_slots(num_words), np.uint64), lines, stamps


@njit(nogil=True)
def _table_mask(entries):
    """Slots minus one of a power-of-two table at most half full."""
    size = 64
    while size < 2 * entries:
        size *= 2
    return size - 1


def _compile(source_digest: int) -> tuple[Any, Any]:
    """The two entry points, cached under a key that holds the digest of every kernel source.

    numba's cache looks at the file of the cached function only; without the digest a change in
    word_kernels.py would go on running the old machine code.
    """

    @njit(nogil=True, cache=True)
    def count_features(data, offsets, languages, classes, lower, stop_keys, stop_values, scratch, out):
        _ = source_digest
        words, piece, slots, line_sets, stamps = scratch
        text, class_table, limit = pointer_to(data), pointer_to(classes), data.shape[0]
        histogram = np.empty((4, 256), np.uint32)
        notes = np.empty(NUM_NOTES, np.int64)
        note_places = pointer_to(notes)
        # Bounded by the batch: one generation a document and stretch, ten for its n-grams.
        line_stamp, ngram_stamp = np.uint32(0), np.uint64(0)
        line_places = (pointer_to(line_sets[0]), pointer_to(line_sets[1]))
        stamp_places = (pointer_to(stamps[0]), pointer_to(stamps[1]))
        for document in range(offsets.shape[0] - 1):
            start, end = offsets[document], offsets[document + 1]
            if start == end:
                continue
            row = pointer_to(out[document])
            has_breaks = count_characters_of(text, start, end, class_table, histogram, row)
            # A document has at most newlines + 1 lines, and never more paragraphs than lines.
            mask = _table_mask(min(row[NUM_NEWLINES] + 2, STRETCH_LINES + 2))
            line_stamp = count_lines(
                text, start, end, limit, class_table, has_breaks, row,
                line_places[0], line_places[1], stamp_places, line_stamp + np.uint32(1), mask,
            )  # fmt: skip
            notes[:] = 0
            notes[LAST_PHRASE] = notes[RUN_START] = -1
            language = languages[document]
            at = start
            while at < end:
                at, num_words = split_words(
                    text, limit, start, at, end, class_table, words, piece, row, note_places,
                    stop_keys[language], stop_values[language], lower,
                )  # fmt: skip
                ngram_stamp = count_ngrams(
                    words, num_words, slots, _table_mask(num_words), ngram_stamp, row, FIRST_TOP, FIRST_DUPLICATE
                )
            row[NUM_DISTINCT] = count_ones(np.uint64(notes[STOP_MASK]))
            row[NUM_DISTINCT_ANY_CASE] = count_ones(np.uint64(notes[STOP_MASK_ANY_CASE]))

    @njit(nogil=True, cache=True)
    def prose_samples(data, offsets, chosen, classes, limit):
        _ = source_digest
        return sample_prose(data, offsets, chosen, classes, limit)

    return count_features, prose_samples


def _source_digest() -> int:
    """First 60 bits of the digest of the kernel sources and of what they read at compile time."""
    folder = Path(__file__).parent
    names = ("characters.py", "columns.py", "pointers.py", "stop_words.py")
    sources = [*sorted(folder.glob("*_kernels.py")), *(folder / name for name in names)]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources))
    return int.from_bytes(digest.digest()[:8], "big") >> 4


_count_features, prose_samples = _compile(_source_digest())


def count_features(
    data: np.ndarray,
    offsets: np.ndarray,
    languages: np.ndarray,
    classes: np.ndarray,
    lower: np.ndarray,
    stop_keys: np.ndarray,
    stop_values: np.ndarray,
) -> np.ndarray:
    """int64 [num_documents, NUM_COLUMNS] of the documents data[offsets[i]:offsets[i + 1]].

    languages: the row of each document's language in the tables of `stop_word_tables`.
    """
    out = np.zeros((len(offsets) - 1, NUM_COLUMNS), np.int64)
    _count_features(data, offsets, languages, classes, lower, stop_keys, stop_values, _scratch(), out)
    return out
