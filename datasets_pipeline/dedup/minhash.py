"""MinHash signatures of documents, and the exact Jaccard similarity they estimate.

A document is the set of its shingles: runs of five consecutive words, case-folded. A word is what `\\w+`
matches; in scripts without spaces (Chinese, Japanese, Thai, ...) each letter is a word. A document of
one to four words has one shingle, all of them; one without words has none and resembles nothing, not
even its like. The signature (Broder 1997) keeps the minimum of 112 hash functions over the shingles; the
share of equal positions of two signatures estimates their Jaccard similarity with a standard error of
sqrt(J (1 - J) / 112), at most 0.047.

Every value depends on one text alone. Cost: about 100 MB/s of text per core; kernels release the GIL.
"""

import unicodedata
from functools import lru_cache

import numpy as np
import pyarrow as pa

from datasets_pipeline.dedup.characters import character_tables
from ingot.errors import DataError

NUM_PERMUTATIONS = 112

# Unicode releases move characters between classes; a signature never meets one of another release.
SIGNATURE_VERSION = f"1-unicode{unicodedata.unidata_version}"
#: Version of the exact similarity; cached pairs of another version are not used.
VERIFIER_VERSION = f"1-unicode{unicodedata.unidata_version}"

#: A position of the signature of a document without shingles.
EMPTY_MINIMUM = np.uint32(0xFFFFFFFF)

# Texts are hashed for verification 16 MB at a time, so that scratch space stays below 100 MB.
_VERIFY_BYTES = 16 * 2**20
_SPLITMIX_SEED = 0x1960


def signatures(text: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """uint32 [num_documents, 112]: the MinHash signature of each text."""
    return signatures_and_counts(text)[0]


def signatures_and_counts(text: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """(signatures uint32 [n, 112], num_shingles int64 [n]); the counts include repeated shingles.

    Raises DataError when a text is null.
    """
    from datasets_pipeline.dedup import minhash_kernels

    table, folds = character_tables()
    xors, firsts, seconds = permutation_constants()
    result = np.empty((len(text), NUM_PERMUTATIONS), dtype=np.uint32)
    counts = np.empty(len(text), dtype=np.int64)
    row = 0
    for chunk in _chunks(text):
        data, offsets = _buffers(chunk)
        rows = slice(row, row + len(chunk))
        minhash_kernels.sign_documents(data, offsets, table, folds, xors, firsts, seconds, result[rows], counts[rows])
        row += len(chunk)
    return result, counts


def has_shingles(signature_rows: np.ndarray) -> np.ndarray:
    """bool [n]: False for documents without a single word, which are near-duplicates of nothing."""
    return (signature_rows != EMPTY_MINIMUM).any(axis=1)


def estimate_jaccard_pairs(signature_rows: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """float64 [num_pairs]: share of equal signature positions of documents left[i] and right[i]."""
    from datasets_pipeline.dedup import minhash_kernels

    equal = np.empty(len(left), dtype=np.int64)
    rows = np.ascontiguousarray(signature_rows, dtype=np.uint32)
    minhash_kernels.count_equal(rows, left.astype(np.int64), right.astype(np.int64), equal)
    return equal / signature_rows.shape[1]


def jaccard(text_a: str, text_b: str) -> float:
    """Exact Jaccard similarity of the shingle sets of two texts; 0 when neither has a shingle."""
    pair = pa.array([text_a, text_b], pa.large_string())
    return float(jaccard_pairs(pair, np.array([0]), np.array([1]))[0])


def jaccard_pairs(texts: pa.Array | pa.ChunkedArray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """float64 [num_pairs]: exact Jaccard similarity of texts[left[i]] and texts[right[i]].

    Shingles are compared by their 64-bit hash: with a million of them in each text, a chance of about
    one in ten million that a single one is taken for another. Only texts named by a pair are read, each
    once; they take twice their size in memory, six times in scripts without spaces. Raises DataError when
    one is null.
    """
    left = np.asarray(left, dtype=np.int64)
    right = np.asarray(right, dtype=np.int64)
    if len(left) == 0:
        return np.empty(0, dtype=np.float64)
    used, positions = np.unique(np.concatenate([left, right]), return_inverse=True)
    hashes, offsets = shingle_sets(texts.take(pa.array(used)))
    return jaccard_of_sets(hashes, offsets, positions[: len(left)], positions[len(left) :])


def jaccard_of_sets(hashes: np.ndarray, offsets: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """float64 [num_pairs]: similarity of the sets left[i] and right[i] of `shingle_sets`."""
    from datasets_pipeline.dedup import minhash_kernels

    left, right = left.astype(np.int64), right.astype(np.int64)
    common = np.empty(len(left), dtype=np.int64)
    minhash_kernels.intersection_sizes(hashes, offsets[:-1], offsets[1:], left, right, common)
    sizes = np.diff(offsets)
    union = sizes[left] + sizes[right] - common
    return np.where(union > 0, common / np.maximum(union, 1), 0.0)


@lru_cache(maxsize=1)
def permutation_constants() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(xors, firsts, seconds), uint32 [112] each: what makes hash function k differ from the others.

    Drawn from splitmix64; the multipliers are odd, so that no bit of a hash is lost.
    """
    draws = np.array(_splitmix64(_SPLITMIX_SEED, 3 * NUM_PERMUTATIONS), dtype=np.uint64)
    words = (draws >> np.uint64(32)).astype(np.uint32).reshape(3, NUM_PERMUTATIONS)
    return words[0].copy(), words[1] | np.uint32(1), words[2] | np.uint32(1)


def _splitmix64(seed: int, num: int) -> list[int]:
    """The first `num` outputs of the generator of Steele, Lea and Flood 2014."""
    mask = 2**64 - 1
    outputs = []
    for _ in range(num):
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        z = ((seed ^ seed >> 30) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & mask
        outputs.append(z ^ z >> 31)
    return outputs


def shingle_sets(texts: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted distinct shingle hashes of all texts in one uint64 array, and the offsets int64 [n + 1]."""
    from datasets_pipeline.dedup import minhash_kernels

    table, folds = character_tables()
    sets: list[np.ndarray] = []
    sizes: list[int] = []
    for chunk in _chunks(texts):
        data, offsets = _buffers(chunk)
        for first, last in _slices(offsets):
            part = offsets[first : last + 1]
            hashes = np.empty(int(part[-1] - part[0]) // 2 + 2 * len(part), dtype=np.uint64)
            hash_offsets = np.empty(len(part), dtype=np.int64)
            minhash_kernels.hash_documents(data, part, table, folds, hashes, hash_offsets)
            for start, end in zip(hash_offsets[:-1].tolist(), hash_offsets[1:].tolist(), strict=True):
                distinct = np.sort(hashes[start:end])
                keep = np.ones(len(distinct), dtype=bool)
                keep[1:] = distinct[1:] != distinct[:-1]
                sets.append(distinct[keep])
                sizes.append(len(sets[-1]))
    offsets = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return np.concatenate(sets), offsets


def _slices(offsets: np.ndarray) -> list[tuple[int, int]]:
    """Ranges of documents of at most _VERIFY_BYTES each, or of one document."""
    slices = []
    first = 0
    while first < len(offsets) - 1:
        last = int(np.searchsorted(offsets, offsets[first] + _VERIFY_BYTES, side="right")) - 1
        last = max(last, first + 1)
        slices.append((first, last))
        first = last
    return slices


def _chunks(text: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    chunks = text.chunks if isinstance(text, pa.ChunkedArray) else [text]
    return [chunk for chunk in chunks if len(chunk) > 0]


def _buffers(text: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(UTF-8 bytes uint8, offsets int64 [n + 1]) of a string array, without copying large_string."""
    if text.null_count:
        raise DataError(
            f"minhash: {text.null_count} of {len(text)} texts are null; a document always has a text,"
            " so select documents before computing signatures"
        )
    if text.type != pa.large_string():
        text = text.cast(pa.large_string())
    _, offset_buffer, data_buffer = text.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int64, count=len(text) + 1, offset=8 * text.offset)
    data = np.frombuffer(data_buffer or b"", dtype=np.uint8)
    return data, offsets
