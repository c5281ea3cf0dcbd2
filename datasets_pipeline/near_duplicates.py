"""Near-duplicates of a whole corpus, by number of document: who resembles whom, and who yields.

The stars, components and choices are those of `dedup/`; here they get their keys, orders and similarities from
workers, and only the members of clusters are looked at by name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline import band_index
from datasets_pipeline.dedup import near
from datasets_pipeline.dedup.bands import band_shape
from datasets_pipeline.dedup.clusters import DUPLICATE_AFTER_EDIT, ORDER_SCHEMA
from datasets_pipeline.dedup.edges import PairScores, ScoredPairs, score_stars
from datasets_pipeline.dedup.ids import id_array, id_keys
from datasets_pipeline.edited import EditedIds
from datasets_pipeline.judged_parts import Judged, Judging, read_documents
from datasets_pipeline.pair_scores import PairVerifier
from datasets_pipeline.parallel import Pool, finish_all
from datasets_pipeline.snapshot import OpenUnit
from ingot.config import NearDedup, Recipe
from ingot.errors import NotFoundError
from ingot.storage import Store

_MAX_TRIES = 3


@dataclass(frozen=True)
class Yielding:
    """Documents that yield to another one, ascending: int64, int64, int8 into clusters.REASONS, float64."""

    document: np.ndarray
    other: np.ndarray
    code: np.ndarray
    jaccard: np.ndarray


@dataclass(frozen=True)
class OrderUnit:
    """Documents of a part of which it is asked what decides who is kept."""

    judging: Judging
    part: int
    doc_ids: np.ndarray | None
    """S16, ascending; None: all those whose page and version are known."""


def near_edges(
    store: Store,
    recipe: Recipe,
    judged: Judged,
    units: Sequence[OpenUnit],
    eligible: np.ndarray,
    verify: PairVerifier,
    pool: Pool,
) -> ScoredPairs:
    """Verified pairs of near-duplicates."""
    if recipe.dedup.near is None:
        return ScoredPairs.empty()
    threshold = recipe.dedup.near.threshold
    shape = band_shape(threshold)
    scores = PairScores(max(len(eligible), 1), verify)
    for attempt in range(_MAX_TRIES):
        try:
            keys = band_index.index_documents(store, shape, judged, units, pool)
            parts = band_index.buckets(store, shape, keys, judged, eligible, pool)
            score_stars(parts, scores, threshold=threshold)
            break
        except NotFoundError:
            # A run beside this one has merged segments that were listed here.
            if attempt == _MAX_TRIES - 1:
                raise
    return scores.pairs().at_least(threshold)


def yielding_documents(
    recipe: Recipe,
    judging: Judging,
    judged: Judged,
    edges: ScoredPairs,
    training: np.ndarray,
    edited: EditedIds,
    verify: PairVerifier,
    pool: Pool,
) -> Yielding:
    """Who is dropped among the documents of the training split, and in whose favour."""
    config = recipe.dedup.near or NearDedup(threshold=1.0)
    inside = training[edges.left] & training[edges.right]
    edges = ScoredPairs(edges.left[inside], edges.right[inside], edges.jaccard[inside])
    members = np.unique(np.r_[edges.left, edges.right])
    rows, order = _order_of(judging, judged, members, config.newest_version_only, pool)
    if len(rows) == 0:
        none = np.empty(0, np.int64)
        return Yielding(none, none, np.empty(0, np.int8), np.empty(0))
    found = near.resolve(
        id_array(judged.doc_id[rows]),
        ScoredPairs(np.searchsorted(rows, edges.left), np.searchsorted(rows, edges.right), edges.jaccard),
        order,
        training[rows],
        config=config,
        verify=lambda left, right: verify(rows[left], rows[right]),
    )
    lost = np.flatnonzero(found.reason)
    document, other = rows[lost], rows[found.representative[lost]]
    code, jaccard = found.reason[lost].copy(), found.jaccard[lost].copy()
    equal = edited.after_of(judged, document) == edited.after_of(judged, other)
    code[equal], jaccard[equal] = DUPLICATE_AFTER_EDIT, 1.0
    return Yielding(document, other, code, jaccard)


def _order_of(
    judging: Judging, judged: Judged, members: np.ndarray, versions_too: bool, pool: Pool
) -> tuple[np.ndarray, pa.Table]:
    """(documents, ascending; ORDER_SCHEMA of each): the members, and where versions matter all that have one."""
    part_of = np.searchsorted(judged.part_starts, members, side="right") - 1
    tasks = [
        OrderUnit(judging, part, None if versions_too else judged.doc_id[members[part_of == part]])
        for part in (range(judging.census.num_parts) if versions_too else np.unique(part_of).tolist())
    ]
    tables: dict[int, tuple[np.ndarray, pa.Table]] = {}
    for unit, (ids, table) in finish_all(pool, order_of_part, tasks, "looking at clusters"):
        tables[unit.part] = np.searchsorted(judged.doc_id, ids), table
    if not tables:
        return np.empty(0, np.int64), ORDER_SCHEMA.empty_table()
    parts: list[Any] = [tables[part] for part in sorted(tables)]
    rows = np.concatenate([numbers for numbers, _ in parts])
    table = pa.concat_tables([table for _, table in parts])
    if versions_too:
        missing = np.setdiff1d(members, rows)
        if len(missing):
            more_rows, more = _order_of(judging, judged, missing, False, pool)
            order = np.argsort(np.r_[rows, more_rows])
            rows = np.r_[rows, more_rows][order]
            table = pa.concat_tables([table, more]).take(pa.array(order))
    return rows, table.combine_chunks()


def order_of_part(unit: OrderUnit) -> tuple[np.ndarray, pa.Table]:
    """(doc_ids S16, ORDER_SCHEMA of these documents); runs in a worker."""
    documents, features = read_documents(unit.judging, unit.part, unit.doc_ids)
    if unit.doc_ids is None:
        known = pc.and_(pc.is_valid(documents["family"]), pc.is_valid(documents["version"]))
        documents, features = documents.filter(known), features.filter(known)
    columns = {
        "source_rank": documents["source_rank"],
        "stated_date": documents["stated_date"],
        # A family is one within its source: two wikis may both have an "index".
        "family": pc.binary_join_element_wise(documents["source"], documents["family"], "\x1f"),
        "version": documents["version"],
        "language": features["language"],
        "quality": pa.nulls(len(documents), pa.float64()),
        "length": features["num_bytes"],
    }
    return id_keys(documents["doc_id"]).copy(), pa.table(columns).cast(ORDER_SCHEMA)
