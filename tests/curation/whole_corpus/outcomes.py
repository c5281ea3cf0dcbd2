"""Outcomes as lists."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline import heldout
from datasets_pipeline.dedup import near
from datasets_pipeline.dedup.clusters import REASONS
from datasets_pipeline.edits import Span, merge_spans
from tests.curation.whole_corpus.judge import Judgement, spans_of

ANALYSIS_RULE = "analysis"
EDITS_RULE = "edits"
NEAR_RULE = "dedup.near"
HELDOUT_RULE = "heldout"

OwnVerdicts = dict[int, tuple[str, str]]
"""(rule, reason) by row, for documents that could not be analysed or that edits leave empty."""


@dataclass(frozen=True)
class Outcome:
    """Per document: the split it goes to, or the verdict that owns its drop."""

    split: list[str | None]
    rule: list[str | None]
    reason: list[str | None]
    score: list[float | None]
    threshold: list[float | None]
    other: list[bytes | None]


def own_verdicts(features: pa.Table, ids_after: Sequence[bytes | None]) -> OwnVerdicts:
    """(rule, reason) by row, for documents that could not be analysed or that edits leave empty."""
    failed = np.flatnonzero(features["failed"].to_numpy(zero_copy_only=False))
    verdicts = {int(row): (ANALYSIS_RULE, "analysis_failed") for row in failed}
    for row, after in enumerate(ids_after):
        if after is None:
            verdicts.setdefault(row, (EDITS_RULE, "empty_after_edit"))
    return verdicts


def merged_edits(judgements: Sequence[Judgement], num: int) -> list[list[Span]]:
    """The union of all span rules' edits of each document."""
    with_spans = [j for j in judgements if j.spans is not None]
    if not with_spans:
        return [[] for _ in range(num)]
    return [merge_spans(spans_of(with_spans, row)) for row in range(num)]


def eligible_documents(num: int, judgements: Sequence[Judgement], own: OwnVerdicts) -> np.ndarray:
    """bool [num]: documents that no rule drops; only these are drawn and deduplicated."""
    eligible = np.ones(num, bool)
    for judgement in judgements:
        eligible &= pc.is_null(judgement.verdicts.reason).to_numpy(zero_copy_only=False)
    eligible[list(own)] = False
    return eligible


def combine(
    documents: pa.Table,
    judgements: Sequence[Judgement],
    own: OwnVerdicts,
    duplicates: near.NearDuplicates,
    splits: heldout.SplitAssignment,
    threshold: float,
) -> Outcome:
    num = len(documents)
    ids = documents["doc_id"].to_pylist()
    none: list[None] = [None] * num
    outcome = Outcome(list(none), list(none), list(none), list(none), list(none), list(none))
    for row, (rule, reason) in own.items():
        if rule == ANALYSIS_RULE:
            outcome.rule[row], outcome.reason[row] = rule, reason
    for judgement in judgements:
        reasons = judgement.verdicts.reason
        for row in np.flatnonzero(pc.is_valid(reasons).to_numpy(zero_copy_only=False)).tolist():
            if outcome.rule[row] is None:
                outcome.rule[row] = judgement.rule.id
                outcome.reason[row] = reasons[row].as_py()
                outcome.score[row] = judgement.verdicts.score[row].as_py()
                outcome.threshold[row] = judgement.verdicts.threshold[row].as_py()
    for row in range(num):
        if outcome.rule[row] is not None:
            continue
        if row in own:
            outcome.rule[row], outcome.reason[row] = own[row]
        elif splits.split[row] == heldout.HELDOUT:
            outcome.split[row] = "heldout"
            outcome.rule[row] = HELDOUT_RULE
        elif splits.split[row] == heldout.EXCLUDED:
            outcome.rule[row], outcome.reason[row] = HELDOUT_RULE, heldout.EXCLUDED_REASON
            outcome.score[row], outcome.threshold[row] = float(splits.jaccard[row]), heldout.NEIGHBOUR_THRESHOLD
            outcome.other[row] = ids[splits.near[row]]
        elif duplicates.reason[row]:
            outcome.rule[row], outcome.reason[row] = NEAR_RULE, REASONS[duplicates.reason[row]]
            outcome.score[row], outcome.threshold[row] = float(duplicates.jaccard[row]), threshold
            outcome.other[row] = ids[duplicates.representative[row]]
        else:
            outcome.split[row] = "train"
    return outcome
