"""Clusters of near-duplicates of a version: who was dropped in whose favour, and how alike they are. Ids and numbers.

The similarity is the exact one that was measured, with the representative; clusters chain, so it may lie below the
recipe's threshold. Exact copies are one document and no cluster.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline.insight.version_tables import as_numpy, id_keys, read_decisions, rows_of
from datasets_pipeline.outcomes import NEAR_RULE
from ingot.errors import NotFoundError
from ingot.manifest import Identity
from ingot.storage import Store


@dataclass(frozen=True)
class Member:
    """One document of a cluster."""

    doc_id: str
    source: str
    uri: str
    language: str
    bytes: int
    jaccard: float | None
    """With the representative; None for itself."""
    reason: str | None
    """Why it is not kept; None for the representative."""


@dataclass(frozen=True)
class Cluster:
    """One kept document and those that were dropped in its favour."""

    representative: Member
    size: int
    min_jaccard: float
    mean_jaccard: float
    reasons: dict[str, int]
    sources: dict[str, int]
    """Members by source, the representative included."""


@dataclass(frozen=True)
class Clusters:
    """The clusters of a version, or those of one source."""

    num_clusters: int
    num_dropped: int
    sizes: dict[int, int]
    """Size -> clusters of that size."""
    largest: list[Cluster]


def list_clusters(store: Store, identity: Identity, *, most: int, source: str | None = None) -> Clusters:
    """All clusters counted, the `most` largest described; with source only those with a member in it."""
    table = read_decisions(store, identity.decisions, verdicts=False).final
    lost = _lost(table)
    representative = rows_of(id_keys(table["doc_id"]), id_keys(table["other_doc_id"].take(pa.array(lost))))
    lost, representative = lost[representative >= 0], representative[representative >= 0]
    order = np.lexsort((lost, representative))
    lost, representative = lost[order], representative[order]
    leaders, first, counts = np.unique(representative, return_index=True, return_counts=True)
    if source is not None:
        inside = as_numpy(pc.equal(table["source"], source))
        wanted = inside[leaders] | np.logical_or.reduceat(inside[lost], first) if len(first) else inside[leaders]
        leaders, first, counts = leaders[wanted], first[wanted], counts[wanted]
    sizes, clusters = np.unique(counts + 1, return_counts=True)
    chosen = np.lexsort((leaders, -counts))[:most]
    return Clusters(
        num_clusters=len(leaders),
        num_dropped=int(counts.sum()),
        sizes={int(size): int(num) for size, num in zip(sizes, clusters, strict=True)},
        largest=[_cluster(table, int(leaders[i]), lost[first[i] : first[i] + counts[i]]) for i in chosen],
    )


def cluster_of(store: Store, identity: Identity, doc_id: str) -> list[Member]:
    """The cluster that a document is in, its representative first, the rest from the most alike to the least.

    NotFoundError when the document is not in the version or in no cluster.
    """
    table = read_decisions(store, identity.decisions, verdicts=False).final
    try:
        wanted = bytes.fromhex(doc_id)
    except ValueError:
        wanted = b""
    row = pc.index(table["doc_id"], pa.scalar(wanted, table["doc_id"].type)).as_py() if len(wanted) == 16 else -1
    if row < 0:
        raise NotFoundError(f"document {doc_id} is not in this version; give an id of 32 hex digits (`ingot clusters`)")
    other = table["other_doc_id"][row].as_py() if table["rule"][row].as_py() == NEAR_RULE else None
    leader = pc.index(table["doc_id"], pa.scalar(other, table["doc_id"].type)).as_py() if other else row
    members = _lost(table)
    leader_id = pa.scalar(table["doc_id"][leader].as_py(), table["doc_id"].type)
    members = members[as_numpy(pc.equal(table["other_doc_id"].take(pa.array(members)), leader_id))]
    if not len(members):
        raise NotFoundError(f"document {doc_id} is in no cluster: nothing was dropped in its favour; see `ingot why`")
    found = [_member(table, int(i)) for i in members]
    return [_member(table, leader), *sorted(found, key=lambda m: (-(m.jaccard or 0.0), m.doc_id))]


def _lost(table: pa.Table) -> np.ndarray:
    """Rows of documents dropped in favour of another one."""
    is_lost = pc.and_(pc.equal(table["rule"], NEAR_RULE), pc.is_valid(table["other_doc_id"]))
    return np.flatnonzero(as_numpy(pc.fill_null(is_lost, False)))


def _member(table: pa.Table, row: int) -> Member:
    line: dict[str, Any] = table.slice(row, 1).to_pylist()[0]
    is_lost = line["rule"] == NEAR_RULE
    return Member(
        line["doc_id"].hex(), line["source"], line["uri"], line["language"], line["num_bytes"],
        line["score"] if is_lost else None, line["reason"] if is_lost else None,
    )  # fmt: skip


def _cluster(table: pa.Table, leader: int, members: np.ndarray) -> Cluster:
    part = table.take(pa.array(members))
    representative = _member(table, leader)
    sources = [representative.source, *part["source"].to_pylist()]
    reasons = part["reason"].to_pylist()
    return Cluster(
        representative,
        size=len(members) + 1,
        min_jaccard=round(pc.min(part["score"]).as_py(), 4),
        mean_jaccard=round(pc.mean(part["score"]).as_py(), 4),
        reasons={reason: reasons.count(reason) for reason in sorted(set(reasons))},
        sources={source: sources.count(source) for source in sorted(set(sources))},
    )
