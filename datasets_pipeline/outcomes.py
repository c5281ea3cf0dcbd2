"""One outcome for every document: where it goes, or the verdict that owns its drop (CONTRACTS 4 to 6).

The first rule in recipe order owns a drop; what no rule drops is held out, excluded for being near a
held-out document, dropped as a near-duplicate, or kept, in this order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline import heldout
from datasets_pipeline.dedup.clusters import REASONS
from datasets_pipeline.edits import Span, merge_spans
from datasets_pipeline.judge import Judgement
from ingot.schemas import DOC_ID

ANALYSIS_RULE = "analysis"
EDITS_RULE = "edits"
NEAR_RULE = "dedup.near"
HELDOUT_RULE = "heldout"


@dataclass(frozen=True)
class OwnVerdicts:
    """Rows of documents that could not be analysed, and of others that edits leave empty; int64, ascending."""

    failed: np.ndarray
    empty: np.ndarray


@dataclass(frozen=True)
class Losses:
    """Documents that yield to another one; one row each, ascending.

    row int64; code int8 into clusters.REASONS (0 for those near a held-out document); jaccard float64, exact
    similarity with the other; other binary(16), its doc_id.
    """

    row: np.ndarray
    code: np.ndarray
    jaccard: np.ndarray
    other: pa.Array


@dataclass(frozen=True)
class Outcome:
    """Per document: the split it goes to, or the verdict that owns its drop; Arrow columns with nulls."""

    split: pa.Array
    rule: pa.Array
    reason: pa.Array
    score: pa.Array
    threshold: pa.Array
    other: pa.Array


def own_verdicts(features: pa.Table, empty: np.ndarray) -> OwnVerdicts:
    """empty: rows that edits leave without text."""
    failed = np.flatnonzero(features["failed"].to_numpy(zero_copy_only=False))
    return OwnVerdicts(failed, np.setdiff1d(empty, failed))


def edited_rows(judgements: Sequence[Judgement]) -> tuple[np.ndarray, list[list[Span]]]:
    """(rows that span rules edit, int64; the union of all rules' edits of each)."""
    with_spans = [j.spans for j in judgements if j.spans is not None]
    if not with_spans:
        return np.empty(0, np.int64), []
    touched = np.zeros(len(with_spans[0]), bool)
    for spans in with_spans:
        touched |= pc.fill_null(pc.greater(pc.list_value_length(spans), 0), False).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(touched)
    groups = [spans.take(pa.array(rows)).to_pylist() for spans in with_spans]
    return rows, [merge_spans([spans for spans in of_row if spans]) for of_row in zip(*groups, strict=True)]


def eligible_documents(num: int, judgements: Sequence[Judgement], own: OwnVerdicts) -> np.ndarray:
    """bool [num]: documents that no rule drops; only these are drawn and deduplicated."""
    eligible = np.ones(num, bool)
    for judgement in judgements:
        eligible &= pc.is_null(judgement.verdicts.reason).to_numpy(zero_copy_only=False)
    eligible[own.failed] = False
    eligible[own.empty] = False
    return eligible


def combine(
    judgements: Sequence[Judgement],
    own: OwnVerdicts,
    duplicates: Losses,
    excluded: Losses,
    split: np.ndarray,
    threshold: float,
) -> Outcome:
    """split int8 [n]: as heldout.SplitAssignment; threshold is the near-duplicate threshold of the recipe."""
    owners = _Owners(len(split))
    owners.take(own.failed, ANALYSIS_RULE, reason="analysis_failed")
    for judgement in judgements:
        verdicts = judgement.verdicts
        rows = np.flatnonzero(pc.is_valid(verdicts.reason).to_numpy(zero_copy_only=False))
        at = pa.array(rows)
        owners.take(
            rows, judgement.rule.id,
            reason=verdicts.reason.take(at), score=verdicts.score.take(at), threshold=verdicts.threshold.take(at),
        )  # fmt: skip
    owners.take(own.empty, EDITS_RULE, reason="empty_after_edit")
    owners.take(np.flatnonzero(split == heldout.HELDOUT), HELDOUT_RULE, split="heldout")
    owners.take(
        excluded.row, HELDOUT_RULE,
        reason=heldout.EXCLUDED_REASON, score=pa.array(excluded.jaccard), threshold=heldout.NEIGHBOUR_THRESHOLD,
        other=excluded.other,
    )  # fmt: skip
    owners.take(
        duplicates.row, NEAR_RULE,
        reason=loss_reasons(duplicates), score=pa.array(duplicates.jaccard), threshold=float(threshold),
        other=duplicates.other,
    )  # fmt: skip
    return owners.outcome()


def loss_reasons(losses: Losses) -> pa.Array:
    """The reason string of each loss."""
    return pa.array(REASONS, pa.string()).take(pa.array(losses.code))


_COLUMNS = pa.schema(
    [
        pa.field("split", pa.string()),
        pa.field("rule", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("other", DOC_ID),
    ]
)


class _Owners:
    """Who owns each document; the first to take a document keeps it."""

    def __init__(self, num: int) -> None:
        self._taker = np.full(num, -1, np.int64)
        self._taken = [_COLUMNS.empty_table()]
        self._num = 0

    def take(self, rows: np.ndarray, rule: str, **values: "pa.Array | str | float") -> None:
        """Columns of the outcome of these documents, constant or one value a row."""
        free = self._taker[rows] < 0
        self._taker[rows[free]] = self._num + np.arange(int(free.sum()))
        self._num += int(free.sum())
        mask = pa.array(free)
        columns = {
            field.name: _column({"rule": rule, **values}.get(field.name), len(rows), field.type).filter(mask)
            for field in _COLUMNS
        }
        self._taken.append(pa.table(columns, schema=_COLUMNS))

    def outcome(self) -> Outcome:
        """What nobody took is kept."""
        taken = pa.concat_tables(self._taken).combine_chunks()
        at = pa.array(self._taker, mask=self._taker < 0)
        columns = {name: taken[name].combine_chunks().take(at) for name in _COLUMNS.names}
        kept = pa.array(self._taker < 0)
        return Outcome(**{**columns, "split": pc.if_else(kept, pa.scalar("train"), columns["split"])})


def _column(value: "pa.Array | str | float | None", num: int, type_: pa.DataType) -> pa.Array:
    if isinstance(value, pa.Array | pa.ChunkedArray):
        array = value.combine_chunks() if isinstance(value, pa.ChunkedArray) else value
        return array.cast(type_)
    return pa.repeat(pa.scalar(value, type_), num)
