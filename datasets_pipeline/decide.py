"""Decide what happens to every document of a snapshot, and record why (CONTRACTS 4 to 6).

A pure function of the snapshot, the recipe, the store's salt and the versions of everything below:
rules judge all documents; what they let through is drawn for evaluation and deduplicated. The result
is stored under its fingerprint, so the same snapshot and recipe are decided once.

Workers hold a part of the documents, or a unit of their texts; this process holds at most 64 bytes a document (its id,
its place, and numbers that say what was found out about it) and some 500 for each pair of near-duplicates.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc

from datasets_pipeline import heldout
from datasets_pipeline.acquire import SourceSnapshot
from datasets_pipeline.census import take_census
from datasets_pipeline.classification_order import class_ranks
from datasets_pipeline.dedup.clusters import connected_components
from datasets_pipeline.dedup.edges import PairScores
from datasets_pipeline.dedup.ids import id_array
from datasets_pipeline.edited import edited_ids, join_equal_texts
from datasets_pipeline.exchange import workplace
from datasets_pipeline.finished_parts import FinishedPart, FinishUnit, PlanUnit, finish_part, write_plan
from datasets_pipeline.heldout_neighbours import NeighbourSearch
from datasets_pipeline.identity import DECIDE_VERSION, NO_TOMBSTONES, recipe_values, stage_versions
from datasets_pipeline.judged_parts import Judged, Judging, judge_all, judging
from datasets_pipeline.near_duplicates import Yielding, near_edges, yielding_documents
from datasets_pipeline.outcomes import Losses
from datasets_pipeline.pair_scores import PairVerifier
from datasets_pipeline.parallel import Pool, finish_all
from datasets_pipeline.snapshot import OpenUnit, open_units
from datasets_pipeline.statistics import sum_accounting, sum_statistics
from datasets_pipeline.worker_units import give_back_memory
from ingot.config import Recipe
from ingot.crashpoints import crashpoint
from ingot.digests import fingerprint
from ingot.errors import DataError
from ingot.manifest import DecisionsEntry
from ingot.parquet import read_table
from ingot.refs import ObjectRef, Ref
from ingot.storage import Store

MANY_DOCUMENTS = 500_000
"""From here on the seconds that fresh workers take are worth their memory: after analysing each keeps some 290 MB."""


class DecisionsRef(Ref):
    """What was decided about a snapshot: the plan of what to write, the decision record, the numbers."""

    fingerprint: str
    snapshot_digest: str
    plan: tuple[ObjectRef, ...]
    """Rows of the plan, one object after the other."""
    decisions: tuple[DecisionsEntry, ...]
    accounting: dict[str, int]
    statistics: dict[str, Any]
    pairs: dict[str, int]
    """Candidate pairs whose texts were compared now, those taken from history, bytes of text read for them."""


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
    units = open_units(store, recipe.sources, snapshots)
    with workplace(store, "decide") as place:
        census = take_census(place, units, pool)
        if census.num_occurrences == 0:
            raise DataError(
                "the sources hold no document that could be read; see the quarantine and the sources' globs"
            )
        digest = fingerprint(
            "decide",
            DECIDE_VERSION,
            values=recipe_values(recipe),
            inputs={"snapshot": census.snapshot_digest, "tombstones": NO_TOMBSTONES},
            versions=stage_versions(recipe, salt),
        )
        key = f"plans/{digest}.json"
        stored = _stored(store, key, {unit.unit for unit in units})
        if stored is not None:
            return stored
        if census.num_occurrences >= MANY_DOCUMENTS:
            pool.renew()
        work = judging(place, recipe, census, len(units), salt)
        judged = judge_all(work, units, pool)
        give_back_memory()  # here and below: else the largest array of every step stays with this process
        verify = PairVerifier(place, judged, units, pool, on_progress)
        empty, split, near, yielding = _relate(store, recipe, work, judged, units, verify, pool)
        verify.save()
        threshold = recipe.dedup.near.threshold if recipe.dedup.near else 1.0
        names = tuple(unit.unit for unit in units)
        tasks = list(_finish_units(work, judged, names, empty, split, near, yielding, threshold))
        parts: list[FinishedPart | None] = [None] * census.num_parts
        for unit, finished in finish_all(pool, finish_part, tasks, "recording decisions"):
            parts[unit.part] = finished
        plan: list[ObjectRef | None] = [None] * census.num_ranges
        ranges = [PlanUnit(work, number) for number in range(census.num_ranges)]
        for plan_unit, written in finish_all(pool, write_plan, ranges, "planning shards"):
            plan[plan_unit.number] = written
    whole = [part for part in parts if part is not None]
    ref = DecisionsRef(
        fingerprint=digest,
        snapshot_digest=census.snapshot_digest,
        plan=tuple(part for part in plan if part is not None),
        decisions=tuple(entry for part in whole for entry in part.decisions),
        accounting=sum_accounting([part.accounting for part in whole]),
        statistics=sum_statistics(recipe, [part.statistics for part in whole], class_ranks(recipe.classifications)),
        pairs={
            "measured": verify.num_measured,
            "from_history": verify.num_reused,
            "text_bytes_read": verify.text_bytes,
        },
    )
    crashpoint("decide.record.before", digest)
    # Documents that killed their worker are looked at again next run, so such a decision is not kept.
    if not judged.any_failed:
        store.put_if_absent(key, ref.model_dump(mode="json"))
    crashpoint("decide.record.after", digest)
    return ref


def _stored(store: Store, key: str, units: set[str]) -> DecisionsRef | None:
    """The decisions that are stored under a key; None, and nothing stays there, when they are not whole."""
    if not store.exists(key):
        return None
    try:
        stored = DecisionsRef.model_validate(store.read_record(key))
    except ValueError:  # written when a plan was one object
        stored = None
    if stored is not None and _is_whole(store, stored, units):
        return stored
    store.delete(key)
    return None


def _is_whole(store: Store, ref: DecisionsRef, units: set[str]) -> bool:
    """Whether all that stored decisions name is still there, the units of text too; else it is decided again."""
    objects = [(p.key, p.bytes) for p in ref.plan]
    objects += [(f"decisions/{d.sha256}.parquet", d.bytes) for d in ref.decisions]
    # Renewed: from here on only this run knows that it will name them.
    if not all(store.reuse(key, size) for key, size in objects):
        return False
    named = (pc.unique(read_table(store, p.key, columns=["unit"])["unit"]).to_pylist() for p in ref.plan)
    return all(units.issuperset(part) for part in named)


def _relate(
    store: Store,
    recipe: Recipe,
    work: Judging,
    judged: Judged,
    units: list[OpenUnit],
    verify: PairVerifier,
    pool: Pool,
) -> tuple[np.ndarray, np.ndarray, Yielding, Yielding]:
    """(documents that edits leave empty, split int8 [n], those near a held-out one, near-duplicates to drop)."""
    edited = edited_ids(work, judged, units, pool)
    empty = edited.document[edited.is_empty]
    eligible = judged.eligible.copy()
    eligible[empty] = False
    edges = near_edges(store, recipe, judged, units, eligible, verify, pool)
    edges = join_equal_texts(edges, edited, judged, eligible)
    if not (recipe.dedup.near and recipe.dedup.near.newest_version_only):
        edited = edited.among(edges.left, edges.right)  # nobody asks what the others became
    give_back_memory()
    cluster = connected_components(len(eligible), edges.left, edges.right)
    cluster[~eligible] = -1
    splits = heldout.split_documents(
        eligible,
        cluster,
        judged.drawn,
        judged.has_words,
        candidates=NeighbourSearch(work.place, judged, units, pool),
        scores=PairScores(max(len(eligible), 1), verify, edges),
    )
    del cluster
    give_back_memory()
    excluded = np.flatnonzero(splits.split == heldout.EXCLUDED)
    codes = np.zeros(len(excluded), np.int8)
    near = Yielding(excluded, splits.near[excluded].astype(np.int64), codes, splits.jaccard[excluded])
    split = splits.split
    del splits
    # Who leaves for being near a held-out document must not be the one in whose favour another is dropped.
    training = eligible & (split == heldout.TRAIN)
    yielding = yielding_documents(recipe, work, judged, edges, training, edited, verify, pool)
    return empty, split, near, yielding


def _finish_units(
    work: Judging,
    judged: Judged,
    units: tuple[str, ...],
    empty: np.ndarray,
    split: np.ndarray,
    near: Yielding,
    yielding: Yielding,
    threshold: float,
) -> Iterator[FinishUnit]:
    for part in range(work.census.num_parts):
        start, stop = judged.part_starts[part : part + 2].tolist()
        mine = empty[(empty >= start) & (empty < stop)] - start
        excluded, duplicates = (_losses(judged, found, start, stop) for found in (near, yielding))
        yield FinishUnit(work, part, units, mine, split[start:stop], excluded, duplicates, threshold)


def _losses(judged: Judged, found: Yielding, start: int, stop: int) -> Losses:
    """What of it falls on documents [start, stop), by position from start."""
    first, last = np.searchsorted(found.document, [start, stop])
    piece = slice(first, last)
    other = id_array(judged.doc_id[found.other[piece]])
    return Losses(found.document[piece] - start, found.code[piece], found.jaccard[piece], other)
