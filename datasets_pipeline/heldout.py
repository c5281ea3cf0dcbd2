"""What is held out for evaluation, and what must leave training because it is too much like it.

Drawn are the eligible documents whose keyed hash lies below the share, before dedup: the draw depends on
the store's salt and the doc_id alone, so all corpora of a store agree and new data cannot undo it. Of a
cluster's drawn members the one with the smallest doc_id is evaluated. Every other member of its cluster
and every document with Jaccard >= 0.5 to it is excluded from training.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from datasets_pipeline.dedup.bands import NEIGHBOUR_SHAPE, BandShape, band_key
from datasets_pipeline.dedup.edges import PairScores, ScoredPairs, Verify
from datasets_pipeline.dedup.ids import inverse, order_by_id
from datasets_pipeline.dedup.minhash import estimate_jaccard_pairs, has_shingles
from datasets_pipeline.dedup.numbers import numbers_where
from ingot.errors import DataError, RecipeError

HELDOUT_VERSION = "1"

#: Jaccard similarity from which a document is too close to a held-out one (CONTRACTS, section 6).
NEIGHBOUR_THRESHOLD = 0.5
# Candidates estimated below this are not verified: 3.2 standard errors below 0.5, so that 7 in 10,000
# pairs exactly at 0.5 are missed, while almost all unrelated candidates are spared a reading of text.
ESTIMATE_FLOOR = 0.35
# Candidate pairs are estimated in pieces of this many: 64 MB of indices.
MAX_PAIRS = 4_000_000

TRAIN, HELDOUT, EXCLUDED, NOT_ELIGIBLE = 0, 1, 2, -1
#: Split names by code.
SPLITS = ("train", "heldout", "excluded")
EXCLUDED_REASON = "excluded_near_heldout"


@dataclass(frozen=True)
class SplitAssignment:
    """One row per document in the caller's order; documents are named by their row.

    split    int8: code into SPLITS, NOT_ELIGIBLE for documents that took no part
    near     int32: the held-out document an excluded one is near; -1 otherwise
    jaccard  float64: exact similarity with it; NaN otherwise
    """

    split: np.ndarray
    near: np.ndarray
    jaccard: np.ndarray


def draw(doc_ids: pa.Array | pa.ChunkedArray, *, salt: bytes, share: float) -> np.ndarray:
    """bool [n]: documents whose BLAKE2b-64 keyed by the salt is below share * 2**64. About 1 µs each.

    A larger share draws a superset. Raises RecipeError when share is outside 0..1 or the salt is not
    1 to 64 bytes long.
    """
    if not 0.0 <= share <= 1.0:
        raise RecipeError(f"heldout: share is {share}; give a number from 0 (nothing held out) to 1")
    if not 1 <= len(salt) <= hashlib.blake2b.MAX_KEY_SIZE:
        raise RecipeError(f"heldout: the salt has {len(salt)} bytes; BLAKE2b takes a key of 1 to 64")
    bound = int(share * 2.0**64)
    keyed = hashlib.blake2b(key=salt, digest_size=8)
    drawn = np.empty(len(doc_ids), dtype=bool)
    for row, doc_id in enumerate(doc_ids.to_pylist()):
        hasher = keyed.copy()
        hasher.update(doc_id)
        drawn[row] = int.from_bytes(hasher.digest(), "big") < bound
    return drawn


def assign_splits(
    doc_ids: pa.Array | pa.ChunkedArray,
    signatures: np.ndarray,
    eligible: np.ndarray,
    cluster: np.ndarray,
    *,
    salt: bytes,
    share: float,
    verify: Verify,
    known: ScoredPairs | None = None,
) -> SplitAssignment:
    """Split all eligible documents into train, heldout and excluded.

    doc_ids binary(16), signatures uint32 [n, 112], eligible bool [n] and cluster int64 [n] (as in
    near.NearDuplicates) are rows of the same documents. verify(left, right) gets rows, each pair once;
    pairs of `known` (rows, such as NearDuplicates.edges) are not asked again. Raises DataError when
    lengths differ.
    """
    if not len(doc_ids) == len(signatures) == len(eligible) == len(cluster):
        raise DataError(
            f"heldout: {len(doc_ids)} doc_ids, {len(signatures)} signatures, {len(eligible)} eligible and"
            f" {len(cluster)} cluster rows; pass rows of the same documents"
        )
    by_id = order_by_id(doc_ids)
    position = inverse(by_id)
    num = len(by_id)
    scores = PairScores(
        max(num, 1),
        lambda left, right: verify(by_id[left], by_id[right]),
        known.renumbered(position) if known is not None else None,
    )
    minima = signatures[by_id]
    assigned = split_documents(
        eligible[by_id],
        np.unique(cluster[by_id], return_inverse=True)[1],
        draw(doc_ids, salt=salt, share=share)[by_id],
        has_shingles(minima),
        candidates=lambda anchors, documents: all_candidates(minima, anchors, documents, NEIGHBOUR_SHAPE),
        scores=scores,
    )
    near_rows = np.where(assigned.near >= 0, by_id[np.maximum(assigned.near, 0)], -1) if num else assigned.near
    return SplitAssignment(assigned.split[position], near_rows[position], assigned.jaccard[position])


Candidates = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""(anchors, documents) -> (document, anchor, estimated Jaccard) of pairs that may be neighbours; may repeat pairs."""


def split_documents(
    is_eligible: np.ndarray,
    groups: np.ndarray,
    is_drawn: np.ndarray,
    has_words: np.ndarray,
    *,
    candidates: Candidates,
    scores: PairScores,
) -> SplitAssignment:
    """`assign_splits` of documents in ascending order of doc_id, whose signatures `candidates` knows.

    is_eligible, is_drawn, has_words (there is a shingle) bool [n]. groups int [n]: the cluster of each document, a
    number below n; of no meaning where a document is not eligible.
    """
    num = len(is_eligible)
    drawn = np.flatnonzero(is_eligible & is_drawn)
    groups_evaluated, first = np.unique(groups[drawn], return_index=True)
    evaluated = drawn[first]  # documents ascend by doc_id, so the first of a cluster is the smallest

    # Looked up by number of the cluster, which is that of a document: no sorting of the whole corpus.
    evaluated_of = np.full(max(num, 1), -1, dtype=np.int32)
    evaluated_of[groups_evaluated] = evaluated
    near = np.where(is_eligible, evaluated_of[groups], np.int32(-1))
    del evaluated_of
    near[evaluated] = -1
    evaluated = np.sort(evaluated)
    split = np.where(is_eligible, np.int8(TRAIN), np.int8(NOT_ELIGIBLE))
    split[evaluated] = HELDOUT
    is_open = split == TRAIN
    is_open &= near < 0
    is_open &= has_words
    open_documents = numbers_where(is_open)
    del is_open
    pairs = candidates(evaluated[has_words[evaluated]], open_documents)
    del open_documents
    found, anchor = nearest_anchors(*pairs, scores)
    near[found] = anchor

    excluded = np.flatnonzero(near >= 0)
    split[excluded] = EXCLUDED
    jaccard = np.full(num, np.nan)
    near_excluded = near[excluded].astype(np.int64)
    jaccard[excluded] = scores.score(excluded, near_excluded)
    return SplitAssignment(split, near, jaccard)


def find_neighbours(
    signatures: np.ndarray,
    anchors: np.ndarray,
    documents: np.ndarray,
    scores: PairScores,
    *,
    threshold: float = NEIGHBOUR_THRESHOLD,
    shape: BandShape = NEIGHBOUR_SHAPE,
) -> tuple[np.ndarray, np.ndarray]:
    """(documents with an anchor at Jaccard >= threshold, that anchor), int64 each; see `nearest_anchors`."""
    return nearest_anchors(*all_candidates(signatures, anchors, documents, shape), scores, threshold=threshold)


def all_candidates(
    signatures: np.ndarray, anchors: np.ndarray, documents: np.ndarray, shape: BandShape
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(document, anchor, estimated Jaccard) of pairs that share a band and reach the estimate floor."""
    none = np.empty(0, dtype=np.int64)
    pairs = [(none, none, np.empty(0)), *_candidates(signatures, anchors, documents, shape)]
    document, anchor, estimate = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    return document, anchor, estimate


def nearest_anchors(
    document: np.ndarray,
    anchor: np.ndarray,
    estimate: np.ndarray,
    scores: PairScores,
    *,
    threshold: float = NEIGHBOUR_THRESHOLD,
) -> tuple[np.ndarray, np.ndarray]:
    """(documents with an anchor at Jaccard >= threshold, that anchor), int64 each, from candidate pairs.

    A document's candidates are verified by estimated similarity, then smallest anchor, and the first that
    passes is taken: 1, 2, 4, ... candidates of every open document at a time, so that most texts are
    read once although a document may have thousands of candidates.
    """
    order = np.lexsort((anchor, -estimate, document))
    document, anchor = document[order], anchor[order]
    distinct = np.ones(len(document), dtype=bool)  # a pair met in several bands is adjacent to itself
    distinct[1:] = (document[1:] != document[:-1]) | (anchor[1:] != anchor[:-1])
    document, anchor = document[distinct], anchor[distinct]
    if len(document) == 0:  # pairs shared a band, and every one was estimated below the floor
        return document, anchor
    found: list[np.ndarray] = []
    found_anchors: list[np.ndarray] = []
    batch = 1
    while len(document):
        starts = np.flatnonzero(np.r_[True, document[1:] != document[:-1]])
        place = np.arange(len(document)) - np.repeat(starts, np.diff(np.r_[starts, len(document)]))
        now = np.flatnonzero(place < batch)
        near = now[scores.score(document[now], anchor[now]) >= threshold]
        done, first = np.unique(document[near], return_index=True)
        found.append(done)
        found_anchors.append(anchor[near[first]])
        rest = (place >= batch) & ~np.isin(document, done)
        document, anchor = document[rest], anchor[rest]
        batch *= 2
    return np.concatenate(found), np.concatenate(found_anchors)


def _candidates(
    signatures: np.ndarray, anchors: np.ndarray, documents: np.ndarray, shape: BandShape
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(document, anchor, estimated Jaccard) of pairs that share a band and reach the estimate floor."""
    for band in range(shape.bands):
        anchor_keys = band_key(signatures[anchors], shape, band)
        order = np.argsort(anchor_keys, kind="stable")
        anchor_keys, sorted_anchors = anchor_keys[order], anchors[order]
        keys = band_key(signatures[documents], shape, band)
        low = np.searchsorted(anchor_keys, keys, side="left")
        matches = np.searchsorted(anchor_keys, keys, side="right") - low
        hit = np.flatnonzero(matches)
        ends = np.cumsum(matches[hit])
        start = 0
        while start < len(hit):
            before = int(ends[start - 1]) if start else 0
            stop = max(int(np.searchsorted(ends, before + MAX_PAIRS, side="right")), start + 1)
            piece = hit[start:stop]
            sizes = matches[piece]
            within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
            document = np.repeat(documents[piece], sizes)
            anchor = sorted_anchors[np.repeat(low[piece], sizes) + within]
            estimate = estimate_jaccard_pairs(signatures, document, anchor)
            close = estimate >= ESTIMATE_FLOOR
            yield document[close], anchor[close], estimate[close]
            start = stop
