"""Near-duplicates of a corpus: from signatures to who is kept and whom the others resemble.

A pure function of the set of eligible documents: neither their order nor earlier runs matter. Reads no
text itself; exact similarities come through a callback, which may answer from a cache of pairs and read
text for the rest only.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from datasets_pipeline.dedup.bands import band_keys, band_shape
from datasets_pipeline.dedup.clusters import (
    KEPT,
    REASONS,
    choose,
    connected_components,
    order_columns,
)
from datasets_pipeline.dedup.edges import PairScores, ScoredPairs, Verify, buckets_from_keys, score_buckets
from datasets_pipeline.dedup.ids import inverse, order_by_id
from datasets_pipeline.dedup.minhash import has_shingles
from ingot.config import NearDedup
from ingot.errors import DataError


@dataclass(frozen=True)
class NearDuplicates:
    """The outcome, one row per document in the caller's order; documents are named by their row.

    cluster         int64: the member with the smallest doc_id; -1 for a document that took no part
    representative  int64: the document kept in its place, itself when kept; -1 as above
    jaccard         float64: exact similarity with the representative; NaN unless dropped
    reason          int8: code into clusters.REASONS
    edges           verified pairs at or above the threshold; left has the smaller doc_id
    num_candidates  pairs that were verified to find the edges
    """

    cluster: np.ndarray
    representative: np.ndarray
    jaccard: np.ndarray
    reason: np.ndarray
    edges: ScoredPairs
    num_candidates: int

    def to_table(self, doc_ids: pa.Array | pa.ChunkedArray) -> pa.Table:
        """Columns doc_id, cluster_id, representative_id, jaccard, reason; null where -1, NaN or kept."""
        names = pa.array(REASONS, pa.string())
        return pa.table(
            {
                "doc_id": doc_ids,
                "cluster_id": doc_ids.take(_nullable(self.cluster)),
                "representative_id": doc_ids.take(_nullable(self.representative)),
                "jaccard": pa.array(self.jaccard, mask=np.isnan(self.jaccard)),
                "reason": names.take(pa.array(self.reason)),
            }
        )


def find_near_duplicates(
    doc_ids: pa.Array | pa.ChunkedArray,
    signatures: np.ndarray,
    order: pa.Table,
    eligible: np.ndarray,
    *,
    config: NearDedup,
    verify: Verify,
) -> NearDuplicates:
    """Decide which documents are dropped as near-duplicates, and in whose favour.

    doc_ids binary(16), signatures uint32 [n, 112], order (clusters.ORDER_SCHEMA) and eligible bool [n] are
    rows of the same n distinct documents. Documents that are not eligible influence nothing.
    verify(left, right) gets int64 rows of the caller, the smaller doc_id on the left, each pair once.
    Raises DataError when inputs do not fit together.
    """
    edges, num_candidates = find_edges(doc_ids, signatures, eligible, threshold=config.threshold, verify=verify)
    return resolve(doc_ids, edges, order, eligible, config=config, verify=verify, num_candidates=num_candidates)


def find_edges(
    doc_ids: pa.Array | pa.ChunkedArray,
    signatures: np.ndarray,
    eligible: np.ndarray,
    *,
    threshold: float,
    verify: Verify,
) -> tuple[ScoredPairs, int]:
    """(pairs of rows with Jaccard >= threshold, number of pairs verified to find them)."""
    _check_rows(doc_ids, signatures=signatures, eligible=eligible)
    by_id = order_by_id(doc_ids)
    rows = by_id[eligible[by_id]]  # eligible documents in ascending order of doc_id
    rows = rows[has_shingles(signatures[rows])]
    keys = band_keys(signatures[rows], band_shape(threshold))
    scored = score_buckets(
        buckets_from_keys(keys, np.arange(len(rows))),
        num_documents=max(len(rows), 1),
        threshold=threshold,
        verify=lambda left, right: verify(rows[left], rows[right]),
    )
    edges = scored.at_least(threshold)
    return ScoredPairs(rows[edges.left], rows[edges.right], edges.jaccard), len(scored)


def resolve(
    doc_ids: pa.Array | pa.ChunkedArray,
    edges: ScoredPairs,
    order: pa.Table,
    eligible: np.ndarray,
    *,
    config: NearDedup,
    verify: Verify,
    num_candidates: int = 0,
) -> NearDuplicates:
    """From verified edges (rows) to clusters, representatives and the similarity with them.

    The similarity of a dropped document with its representative is asked of `verify` where the edges do
    not hold it: clusters chain, so the two may never have met, and it may be below the threshold.
    """
    _check_rows(doc_ids, order=order, eligible=eligible)
    by_id = order_by_id(doc_ids)
    position = inverse(by_id)
    num = len(by_id)
    edges = edges.renumbered(position)
    columns = order_columns(order.take(pa.array(by_id)), prefer_newest=config.prefer_newest)
    cluster = connected_components(num, edges.left, edges.right)
    choice = choose(
        cluster,
        columns,
        eligible[by_id],
        keep_translations=config.keep_translations,
        newest_version_only=config.newest_version_only,
    )
    lost = np.flatnonzero(choice.reason != KEPT)
    scores = PairScores(max(num, 1), lambda left, right: verify(by_id[left], by_id[right]), edges)
    jaccard = np.full(num, np.nan)
    jaccard[lost] = scores.score(lost, choice.representative[lost])
    cluster[~eligible[by_id]] = -1
    return NearDuplicates(
        cluster=_to_rows(cluster, by_id)[position],
        representative=_to_rows(choice.representative, by_id)[position],
        jaccard=jaccard[position],
        reason=choice.reason[position],
        edges=ScoredPairs(by_id[edges.left], by_id[edges.right], edges.jaccard),
        num_candidates=num_candidates,
    )


def _to_rows(positions: np.ndarray, by_id: np.ndarray) -> np.ndarray:
    return np.where(positions >= 0, by_id[np.maximum(positions, 0)], -1) if len(by_id) else positions


def _nullable(rows: np.ndarray) -> pa.Array:
    return pa.array(rows, mask=rows < 0)


def _check_rows(doc_ids: pa.Array | pa.ChunkedArray, **columns: np.ndarray | pa.Table) -> None:
    for name, column in columns.items():
        if len(column) != len(doc_ids):
            raise DataError(
                f"dedup: {name} has {len(column)} rows for {len(doc_ids)} doc_ids; pass rows of the same documents"
            )
