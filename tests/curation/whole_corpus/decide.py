"""The decision about a corpus as one table in one process: what the parts must add up to."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline import heldout
from datasets_pipeline.acquire import SourceSnapshot
from datasets_pipeline.analyse import unpack_signatures
from datasets_pipeline.classification_order import UNKNOWN, class_ranks
from datasets_pipeline.dedup import near
from datasets_pipeline.dedup.bands import band_shape
from datasets_pipeline.dedup.clusters import DUPLICATE_AFTER_EDIT, connected_components
from datasets_pipeline.dedup.edges import ScoredPairs, score_buckets
from datasets_pipeline.edits import Span
from datasets_pipeline.parallel import Pool
from datasets_pipeline.plans import PLAN
from ingot.config import NearDedup, Recipe
from ingot.schemas import SPAN
from ingot.storage import Store
from tests.curation.whole_corpus.decision_rows import decision_table
from tests.curation.whole_corpus.edited import edited_ids, join_equal_texts
from tests.curation.whole_corpus.history import PairVerifier, Place, band_buckets
from tests.curation.whole_corpus.judge import document_features, judge
from tests.curation.whole_corpus.outcomes import Outcome, combine, eligible_documents, merged_edits, own_verdicts
from tests.curation.whole_corpus.snapshot import distinct_documents, open_occurrences, snapshot_digest
from tests.curation.whole_corpus.statistics import accounting, statistics


@dataclass(frozen=True)
class Whole:
    """What is decided about a snapshot."""

    snapshot_digest: str
    decisions: pa.Table
    plan: pa.Table
    accounting: dict[str, int]
    statistics: dict[str, Any]


def decide(
    store: Store, recipe: Recipe, snapshots: Sequence[SourceSnapshot], pool: Pool, *, salt: bytes
) -> Whole:
    """Decide about every open document with all tables in memory."""
    occurrences = open_occurrences(store, recipe.sources, snapshots)
    ranks = class_ranks(recipe.classifications)
    documents = distinct_documents(occurrences, ranks)
    features = document_features(store, documents)
    judgements = judge(store, recipe.rules, documents, features)
    edits = merged_edits(judgements, len(documents))
    ids_after = edited_ids(store, documents, edits, pool)
    own = own_verdicts(features, ids_after)
    eligible = eligible_documents(len(documents), judgements, own)
    signatures = unpack_signatures(features["signature"])
    places = [Place(u, r) for u, r in zip(documents["unit"].to_pylist(), documents["row"].to_pylist(), strict=True)]
    verify = PairVerifier(store, documents["doc_id"].to_pylist(), places, pool)
    edges, candidates = _near_edges(recipe, documents, signatures, eligible, verify)
    edges = join_equal_texts(edges, ids_after, eligible)
    # Rows ascend by doc_id, so a row is its own position in that order.
    cluster = np.where(eligible, connected_components(len(documents), edges.left, edges.right), -1)
    splits = heldout.assign_splits(
        documents["doc_id"], signatures, eligible, cluster,
        salt=salt, share=recipe.heldout.share, verify=verify, known=edges,
    )  # fmt: skip
    training = eligible & (splits.split == heldout.TRAIN)
    duplicates = _near_duplicates(recipe, documents, features, edges, training, ids_after, verify, candidates)
    threshold = recipe.dedup.near.threshold if recipe.dedup.near else 1.0
    outcome = combine(documents, judgements, own, duplicates, splits, threshold)
    return Whole(
        snapshot_digest=snapshot_digest(occurrences),
        decisions=decision_table(documents, features, judgements, own, duplicates, splits, outcome, threshold),
        plan=_plan(documents, features, outcome, edits),
        accounting=accounting(occurrences, documents, outcome),
        statistics=statistics(recipe, documents, features, judgements, outcome, edits, ranks),
    )


def _near_edges(
    recipe: Recipe,
    documents: pa.Table,
    signatures: np.ndarray,
    eligible: np.ndarray,
    verify: PairVerifier,
) -> tuple[ScoredPairs, int]:
    """(verified pairs of near-duplicates, number of pairs compared for them)."""
    if recipe.dedup.near is None:
        return ScoredPairs.empty(), 0
    threshold = recipe.dedup.near.threshold
    buckets = band_buckets(band_shape(threshold), documents["doc_id"].combine_chunks(), signatures, eligible)
    scored = score_buckets(buckets, num_documents=len(documents), threshold=threshold, verify=verify)
    return scored.at_least(threshold), len(scored)


def _near_duplicates(
    recipe: Recipe,
    documents: pa.Table,
    features: pa.Table,
    edges: ScoredPairs,
    training: np.ndarray,
    ids_after: Sequence[bytes | None],
    verify: PairVerifier,
    num_candidates: int,
) -> near.NearDuplicates:
    """Who is dropped among the documents of the training split, and in whose favour."""
    order = pa.table(
        {
            "source_rank": documents["source_rank"],
            "stated_date": documents["stated_date"],
            # A family is one within its source: two wikis may both have an "index".
            "family": pc.binary_join_element_wise(documents["source"], documents["family"], "\x1f"),
            "version": documents["version"],
            "language": features["language"],
            "quality": pa.nulls(len(documents), pa.float64()),
            "length": features["num_bytes"],
        }
    )
    inside = training[edges.left] & training[edges.right]
    found = near.resolve(
        documents["doc_id"],
        ScoredPairs(edges.left[inside], edges.right[inside], edges.jaccard[inside]),
        order,
        training,
        config=recipe.dedup.near or NearDedup(threshold=1.0),
        verify=verify,
        num_candidates=num_candidates,
    )
    lost = np.flatnonzero(found.reason)
    equal = [row for row in lost.tolist() if ids_after[row] == ids_after[found.representative[row]]]
    reason, jaccard = found.reason.copy(), found.jaccard.copy()
    reason[equal], jaccard[equal] = DUPLICATE_AFTER_EDIT, 1.0
    return replace(found, reason=reason, jaccard=jaccard)


def _plan(documents: pa.Table, features: pa.Table, outcome: Outcome, edits: list[list[Span]]) -> pa.Table:
    rows = [row for row, split in enumerate(outcome.split) if split is not None]
    taken = documents.take(pa.array(rows, pa.int64()))
    languages = features["language"].to_pylist()
    sizes = features["num_bytes"].to_pylist()
    table = pa.table(
        {
            "doc_id": taken["doc_id"],
            "split": pa.array([outcome.split[row] for row in rows], pa.string()),
            "source": taken["source"],
            "uri": taken["uri"],
            "start": taken["start"],
            "language": pa.array([languages[row] for row in rows], pa.string()),
            "licence": taken["licence"],
            "metadata": pa.array([_metadata(row) for row in taken.to_pylist()], pa.string()),
            "spans": pa.array([edits[row] for row in rows], pa.list_(SPAN)),
            "num_bytes": pa.array([sizes[row] for row in rows], pa.int64()),
            "unit": taken["unit"],
            "row": taken["row"],
        },
        schema=PLAN,
    )
    return table.sort_by([(name, "ascending") for name in ("source", "uri", "start", "doc_id")]).combine_chunks()


def _metadata(row: dict[str, Any]) -> str:
    kept = ("media_type", "stated_date", "family", "version", "licence_evidence", "source_class", "start", "end",
            "extractor", "extractor_version")  # fmt: skip
    values = {name: row[name] for name in kept if row[name] is not None}
    if row["classification"] != UNKNOWN:
        values["classification"] = row["classification"]
    stated = json.loads(row["metadata"])
    if stated:
        values["stated"] = stated
    return json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
