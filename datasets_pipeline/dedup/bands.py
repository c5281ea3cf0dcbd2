"""Bands of a signature: which documents are compared at all.

Locality-sensitive hashing (Indyk and Motwani 1998): a signature is cut into b bands of r rows; two
documents are candidates when all rows of some band agree, which for Jaccard similarity s happens with
probability 1 - (1 - s**r)**b. Keys are derived from stored signatures, never stored with a document, so
every threshold shares the same signatures.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from datasets_pipeline.dedup.ids import id_words
from datasets_pipeline.dedup.minhash import NUM_PERMUTATIONS, has_shingles
from ingot.errors import RecipeError
from ingot.schemas import HISTORY

#: Share of the pairs exactly at the threshold that become candidates; more similar pairs fare better.
CANDIDATE_RECALL = 0.985

_GRID = 1024  # points of the integral over similarities; exact to 1e-6, which never decides


@dataclass(frozen=True)
class BandShape:
    """`bands` bands of `rows` signature positions each; they use the first bands * rows positions."""

    bands: int
    rows: int

    def candidate_probability(self, jaccard: float) -> float:
        """The chance that a pair of this similarity shares at least one band."""
        return 1.0 - (1.0 - jaccard**self.rows) ** self.bands

    def false_candidate_rate(self, threshold: float) -> float:
        """Mean candidate probability of pairs spread evenly over similarities below the threshold."""
        middle = (np.arange(_GRID) + 0.5) * (threshold / _GRID)
        return float(np.mean(1.0 - (1.0 - middle**self.rows) ** self.bands))


#: Dense bands for the neighbours of held-out documents: candidate probability .993 at J = 0.5, at the
#: price of 3.6 % of the unrelated pairs at J = 0.1, which only held-out documents pay.
NEIGHBOUR_SHAPE = BandShape(bands=37, rows=3)


def band_shape(
    threshold: float, *, recall: float = CANDIDATE_RECALL, num_permutations: int = NUM_PERMUTATIONS
) -> BandShape:
    """The shape with the fewest false candidates among those that find `recall` of pairs at `threshold`.

    For each number of rows the fewest bands that reach the recall are taken, and of these shapes the one
    with the smallest `false_candidate_rate`. 0.8 gives 14 x 6, 0.9 gives 10 x 10, 0.7 gives 16 x 4.
    (datatrove's fixed 14 x 8 finds .92 of the pairs at 0.8 and .56 at 0.7.)
    Raises RecipeError when no shape reaches the recall.
    """
    best: tuple[float, BandShape] | None = None
    for rows in range(1, num_permutations + 1):
        for bands in range(1, num_permutations // rows + 1):
            shape = BandShape(bands, rows)
            if shape.candidate_probability(threshold) >= recall:
                rate = shape.false_candidate_rate(threshold)
                if best is None or rate < best[0]:
                    best = (rate, shape)
                break
    if best is None:
        raise RecipeError(
            f"dedup.near: no bands of {num_permutations} permutations find {recall} of the pairs at"
            f" threshold {threshold}; raise the threshold"
        )
    return best[1]


def band_keys(signature_rows: np.ndarray, shape: BandShape) -> np.ndarray:
    """uint64 [n, bands]: equal keys in a column mean equal rows in that band (up to 64-bit hashing)."""
    keys = np.empty((len(signature_rows), shape.bands), dtype=np.uint64)
    for band in range(shape.bands):
        keys[:, band] = band_key(signature_rows, shape, band)
    return keys


def band_key(signature_rows: np.ndarray, shape: BandShape, band: int) -> np.ndarray:
    """uint64 [n]: the keys of one band; they differ between bands and between numbers of rows."""
    key = np.full(len(signature_rows), (shape.rows << 8 | band) + 1, dtype=np.uint64)
    for column in range(band * shape.rows, (band + 1) * shape.rows):
        key = _mix(key ^ signature_rows[:, column].astype(np.uint64))
    return key


def history_segment(doc_ids: pa.Array | pa.ChunkedArray, signature_rows: np.ndarray, shape: BandShape) -> pa.Table:
    """The index of these documents for the store: HISTORY, sorted by (band, key, doc_id).

    Documents without shingles are left out. The rows are the same in whatever order documents come.
    """
    kept = has_shingles(signature_rows)
    words = id_words(doc_ids)[kept]
    keys = band_keys(signature_rows[kept], shape)
    num = len(words)
    band = np.repeat(np.arange(shape.bands, dtype=np.uint8), num)
    key = keys.T.reshape(-1)
    rows = np.tile(np.arange(num), shape.bands)
    order = np.lexsort((words[rows, 1], words[rows, 0], key, band))
    id_bytes = np.ascontiguousarray(words[rows[order]].astype(">u8"))
    ids = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(order), [None, pa.py_buffer(id_bytes)])
    return pa.table([pa.array(band[order]), pa.array(key[order]), ids], schema=HISTORY)


def _mix(x: np.ndarray) -> np.ndarray:
    """A bijection of 64-bit words in which each input bit reaches about half of the output bits."""
    x = x ^ (x >> np.uint64(33))
    x = x * np.uint64(0xFF51AFD7ED558CCD)
    x = x ^ (x >> np.uint64(33))
    x = x * np.uint64(0xC4CEB9FE1A85EC53)
    return x ^ (x >> np.uint64(33))
