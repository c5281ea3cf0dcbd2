"""Decide what happens to every document of a snapshot, and record why (CONTRACTS 4 to 6).

A pure function of the snapshot, the recipe, the store's salt and the versions of everything below:
rules judge all documents; what they let through is drawn for evaluation and deduplicated. The result
is stored under its fingerprint, so the same snapshot and recipe are decided once.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline import heldout
from datasets_pipeline.acquire import SourceSnapshot
from datasets_pipeline.analyse import unpack_signatures
from datasets_pipeline.classification_order import UNKNOWN, class_ranks
from datasets_pipeline.decision_rows import decision_table, write_decisions
from datasets_pipeline.dedup import near
from datasets_pipeline.dedup.bands import band_shape
from datasets_pipeline.dedup.clusters import DUPLICATE_AFTER_EDIT, connected_components
from datasets_pipeline.dedup.edges import ScoredPairs, score_buckets
from datasets_pipeline.edited import edited_ids, join_equal_texts
from datasets_pipeline.edits import Span
from datasets_pipeline.history import PairVerifier, Place, band_buckets
from datasets_pipeline.identity import DECIDE_VERSION, NO_TOMBSTONES, recipe_values, stage_versions
from datasets_pipeline.judge import document_features, judge
from datasets_pipeline.outcomes import Outcome, combine, eligible_documents, merged_edits, own_verdicts
from datasets_pipeline.overrides import Overridden
from datasets_pipeline.parallel import Pool
from datasets_pipeline.shards import PLAN
from datasets_pipeline.snapshot import distinct_documents, open_occurrences, snapshot_digest
from datasets_pipeline.statistics import accounting, statistics
from ingot.config import NearDedup, Recipe
from ingot.crashpoints import crashpoint
from ingot.digests import fingerprint
from ingot.errors import DataError
from ingot.manifest import DecisionsEntry
from ingot.parquet import read_table, write_table
from ingot.refs import ObjectRef, Ref
from ingot.schemas import SPAN
from ingot.storage import Store


class DecisionsRef(Ref):
    """What was decided about a snapshot: the plan of what to write, the decision record, the numbers."""

    fingerprint: str
    snapshot_digest: str
    plan: ObjectRef
    decisions: tuple[DecisionsEntry, ...]
    accounting: dict[str, int]
    statistics: dict[str, Any]
    pairs: dict[str, int]
    """Candidate pairs whose texts were compared now, and those taken from history."""


def decide(
    store: Store,
    recipe: Recipe,
    snapshots: Sequence[SourceSnapshot],
    pool: Pool,
    *,
    salt: bytes,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> DecisionsRef:
    """Decide about every open document, or name the decisions that are stored for this very input.

    Reads text only of pairs that were never compared before; on_progress is told of those pairs. Raises
    DataError when no source holds a single document.
    """
    occurrences = open_occurrences(store, recipe.sources, snapshots)
    if len(occurrences) == 0:
        raise DataError("the sources hold no document that could be read; see the quarantine and the sources' globs")
    snapshot = snapshot_digest(occurrences)
    digest = fingerprint(
        "decide",
        DECIDE_VERSION,
        values=recipe_values(recipe),
        inputs={"snapshot": snapshot, "tombstones": NO_TOMBSTONES},
        versions=stage_versions(recipe, salt),
    )
    key = f"plans/{digest}.json"
    if store.exists(key):
        stored = DecisionsRef.model_validate(store.read_record(key))
        if _is_whole(store, stored, set(occurrences["unit"].to_pylist())):
            return stored
        store.delete(key)
    ranks = class_ranks(recipe.classifications)
    documents = distinct_documents(occurrences, ranks)
    features = document_features(store, documents)
    judgements = judge(store, recipe.rules, documents, features)
    edits = merged_edits(judgements, len(documents))
    ids_after = edited_ids(store, documents, edits, pool)
    own = own_verdicts(features, ids_after)
    overridden = Overridden.of(recipe.overrides, documents, judgements, own)
    binding = overridden.applied_to(judgements)
    eligible = eligible_documents(len(documents), binding, own)
    signatures = unpack_signatures(features["signature"])
    places = [Place(u, r) for u, r in zip(documents["unit"].to_pylist(), documents["row"].to_pylist(), strict=True)]
    verify = PairVerifier(store, documents["doc_id"].to_pylist(), places, pool, on_progress)
    edges, candidates = _near_edges(store, recipe, documents, signatures, eligible, verify)
    edges = join_equal_texts(edges, ids_after, eligible)
    # Rows ascend by doc_id, so a row is its own position in that order.
    cluster = np.where(eligible, connected_components(len(documents), edges.left, edges.right), -1)
    splits = heldout.assign_splits(
        documents["doc_id"], signatures, eligible, cluster,
        salt=salt, share=recipe.heldout.share, verify=verify, known=edges,
    )  # fmt: skip
    # Who leaves for being near a held-out document must not be the one in whose favour another is dropped.
    training = eligible & (splits.split == heldout.TRAIN)
    duplicates = overridden.spared(
        _near_duplicates(recipe, documents, features, edges, training, ids_after, verify, candidates)
    )
    verify.save()
    threshold = recipe.dedup.near.threshold if recipe.dedup.near else 1.0
    outcome = overridden.named_in(combine(documents, binding, own, duplicates, splits, threshold))
    rows = decision_table(documents, features, judgements, own, duplicates, splits, outcome, threshold)
    rows = overridden.added_to(rows, documents["doc_id"], len(judgements))
    ref = DecisionsRef(
        fingerprint=digest,
        snapshot_digest=snapshot,
        plan=write_table(store, _plan(documents, features, outcome, edits), "plans"),
        decisions=tuple(write_decisions(store, rows)),
        accounting=accounting(occurrences, documents, outcome),
        statistics={
            **statistics(recipe, documents, features, judgements, outcome, edits, ranks),
            **overridden.statistics(),
        },
        pairs={"measured": verify.num_measured, "from_history": verify.num_reused},
    )
    crashpoint("decide.record.before", digest)
    # Documents that killed their worker are looked at again next run, so such a decision is not kept.
    if not pc.any(features["failed"]).as_py():
        store.put_if_absent(key, ref.model_dump(mode="json"))
    crashpoint("decide.record.after", digest)
    return ref


def _is_whole(store: Store, ref: DecisionsRef, units: set[str]) -> bool:
    """Whether all that stored decisions name is still there, the units of text too; else it is decided again."""
    objects = [(ref.plan.key, ref.plan.bytes), *((f"decisions/{d.sha256}.parquet", d.bytes) for d in ref.decisions)]
    # Renewed: from here on only this run knows that it will name them.
    if not all(store.reuse(key, size) for key, size in objects):
        return False
    return units.issuperset(read_table(store, ref.plan.key, columns=["unit"])["unit"].to_pylist())


def _near_edges(
    store: Store,
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
    buckets = band_buckets(store, band_shape(threshold), documents["doc_id"].combine_chunks(), signatures, eligible)
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
