"""The last word on each part of the documents: its outcomes, its piece of the decision record, its rows of the plan.

Runs in workers, after it was found out across all parts who resembles whom. A part is read and judged a second time
rather than kept: that costs less than writing what was said of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline.census import places_of
from datasets_pipeline.decision_rows import decision_table, write_decisions
from datasets_pipeline.exchange import read_part, write_parts
from datasets_pipeline.judged_parts import JudgedPart, Judging, read_judged
from datasets_pipeline.outcomes import Losses, Outcome, combine
from datasets_pipeline.plans import PLAN, plan_metadata
from datasets_pipeline.statistics import accounting, statistics
from ingot.manifest import DecisionsEntry
from ingot.parquet import write_table
from ingot.refs import ObjectRef
from ingot.schemas import SPAN


@dataclass(frozen=True)
class FinishUnit:
    """A part, and what was found out about its documents, by position in it."""

    judging: Judging
    part: int
    units: tuple[str, ...] = field(repr=False)
    """Names of the units, by number."""
    empty: np.ndarray = field(repr=False)
    split: np.ndarray = field(repr=False)
    excluded: Losses = field(repr=False)
    duplicates: Losses = field(repr=False)
    threshold: float


@dataclass(frozen=True)
class FinishedPart:
    """What a part adds to the version."""

    decisions: tuple[DecisionsEntry, ...]
    accounting: dict[str, int]
    statistics: dict[str, Any]


@dataclass(frozen=True)
class PlanUnit:
    """A range of places whose rows of the plan are put in order."""

    judging: Judging
    number: int


def finish_part(unit: FinishUnit) -> FinishedPart:
    """Write a part's decisions and send its rows of the plan to their ranges; runs in a worker."""
    part = read_judged(unit.judging, unit.part)
    own = part.own(unit.empty)
    overridden = part.overridden(unit.judging.overrides, own)
    duplicates = overridden.spared(unit.duplicates)
    binding = overridden.applied_to(part.judgements)
    outcome = overridden.named_in(combine(binding, own, duplicates, unit.excluded, unit.split, unit.threshold))
    rows = decision_table(
        part.documents, part.features, part.judgements, own, duplicates, unit.excluded, outcome, unit.threshold
    )
    rows = overridden.added_to(rows, part.documents["doc_id"], len(part.judgements))
    numbers = statistics(part.documents, part.features, part.judgements, outcome, part.edits, unit.judging.ranks)
    plan = _plan_rows(part, outcome, unit.units)
    ranges = unit.judging.census.range_of(places_of(plan))
    write_parts(unit.judging.place, "plan", unit.part, plan, ranges, unit.judging.census.num_ranges)
    return FinishedPart(
        tuple(write_decisions(unit.judging.place.store, rows)),
        accounting(part.num_occurrences, part.documents, outcome),
        {**numbers, **overridden.statistics()},
    )


def write_plan(unit: PlanUnit) -> ObjectRef | None:
    """One object of the plan, in order; None for a range without rows; runs in a worker."""
    parts: Sequence[int] = range(unit.judging.census.num_parts)
    table = read_part(unit.judging.place, "plan", parts, unit.number)
    if len(table) == 0:
        return None
    order = [(name, "ascending") for name in ("source", "uri", "start", "doc_id")]
    return write_table(unit.judging.place.store, table.sort_by(order), "plans")


def _plan_rows(part: JudgedPart, outcome: Outcome, units: Sequence[str]) -> pa.Table:
    kept = np.flatnonzero(pc.is_valid(outcome.split).to_numpy(zero_copy_only=False))
    at = pa.array(kept)
    taken = part.documents.take(at)
    edits: list[Any] = [[] for _ in kept]
    is_edited = np.isin(part.edited, kept)
    of_row = np.searchsorted(kept, part.edited[is_edited])
    for position, number in zip(of_row.tolist(), np.flatnonzero(is_edited).tolist(), strict=True):
        edits[position] = part.edits[number]
    columns = {
        "doc_id": taken["doc_id"],
        "split": outcome.split.take(at),
        "source": taken["source"],
        "uri": taken["uri"],
        "start": taken["start"],
        "language": part.features["language"].take(at),
        "licence": taken["licence"],
        "metadata": pa.array(plan_metadata(taken), pa.string()),
        "spans": pa.array(edits, pa.list_(SPAN)),
        "num_bytes": part.features["num_bytes"].take(at).cast(pa.int64()),
        "unit": pa.array(units, pa.string()).take(taken["place"].combine_chunks()),
        "row": taken["row"],
    }
    return pa.table(columns, schema=PLAN)
