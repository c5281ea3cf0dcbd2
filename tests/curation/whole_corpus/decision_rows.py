"""The decision record as one table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline import heldout
from datasets_pipeline.dedup import near
from datasets_pipeline.dedup.clusters import REASONS
from ingot.schemas import DECISIONS, DOC_ID, SPAN
from tests.curation.whole_corpus.judge import Judgement
from tests.curation.whole_corpus.outcomes import (
    ANALYSIS_RULE,
    EDITS_RULE,
    HELDOUT_RULE,
    NEAR_RULE,
    Outcome,
    OwnVerdicts,
)

_CUT_BITS = 13
_MAX_ROWS = 1 << 16


def decision_table(
    documents: pa.Table,
    features: pa.Table,
    judgements: Sequence[Judgement],
    own: OwnVerdicts,
    duplicates: near.NearDuplicates,
    splits: heldout.SplitAssignment,
    outcome: Outcome,
    threshold: float,
) -> pa.Table:
    """All rows of `DECISIONS`; threshold is the near-duplicate threshold of the recipe."""
    ids = documents["doc_id"].combine_chunks()
    parts = [_final_rows(documents, features, outcome)]
    for order, judgement in enumerate(judgements, start=1):
        rows = np.flatnonzero(pc.is_valid(judgement.verdicts.reason).to_numpy(zero_copy_only=False))
        take = pa.array(rows)
        parts.append(
            _rows(
                ids.take(take), order, "dropped", judgement.rule.id,
                reason=judgement.verdicts.reason.take(take), score=judgement.verdicts.score.take(take),
                threshold=judgement.verdicts.threshold.take(take), config_digest=judgement.config_digest,
            )
        )  # fmt: skip
        if judgement.spans is not None:
            found = judgement.spans.fill_null([])
            edited = pa.array(np.flatnonzero(pc.greater(pc.list_value_length(found), 0).to_numpy(zero_copy_only=False)))
            parts.append(
                _rows(
                    ids.take(edited), order, "edited", judgement.rule.id,
                    spans=found.take(edited), config_digest=judgement.config_digest,
                )
            )  # fmt: skip
    after = len(judgements) + 1
    for number, name in enumerate((ANALYSIS_RULE, EDITS_RULE)):
        mine = sorted(row for row, (rule, _) in own.items() if rule == name)
        reasons = pa.array([own[row][1] for row in mine], pa.string())
        parts.append(_rows(ids.take(pa.array(mine, pa.int64())), after + number, "dropped", name, reason=reasons))
    lost = np.flatnonzero(duplicates.reason)
    parts.append(
        _rows(
            ids.take(pa.array(lost)), after + 2, "dropped", NEAR_RULE,
            reason=pa.array([REASONS[code] for code in duplicates.reason[lost]], pa.string()),
            score=pa.array(duplicates.jaccard[lost], pa.float64()),
            threshold=pa.array([threshold] * len(lost), pa.float64()),
            other=ids.take(pa.array(duplicates.representative[lost])),
        )
    )  # fmt: skip
    excluded = np.flatnonzero(splits.split == heldout.EXCLUDED)
    parts.append(
        _rows(
            ids.take(pa.array(excluded)), after + 3, "dropped", HELDOUT_RULE,
            reason=pa.array([heldout.EXCLUDED_REASON] * len(excluded), pa.string()),
            score=pa.array(splits.jaccard[excluded], pa.float64()),
            threshold=pa.array([heldout.NEIGHBOUR_THRESHOLD] * len(excluded), pa.float64()),
            other=ids.take(pa.array(splits.near[excluded])),
        )
    )  # fmt: skip
    table = pa.concat_tables(parts)
    return table.sort_by(
        [("doc_id", "ascending"), ("verdict_order", "ascending"), ("outcome", "ascending")]
    ).combine_chunks()


def _final_rows(documents: pa.Table, features: pa.Table, outcome: Outcome) -> pa.Table:
    num = len(documents)
    names = {"train": "kept", "heldout": "heldout", None: "dropped"}
    columns: dict[str, Any] = {
        "doc_id": documents["doc_id"],
        "verdict_order": pa.array(np.zeros(num, np.int32)),
        "final": pa.array([True] * num, pa.bool_()),
        "outcome": pa.array([names[split] for split in outcome.split], pa.string()),
        "rule": pa.array(outcome.rule, pa.string()),
        "reason": pa.array(outcome.reason, pa.string()),
        "score": pa.array(outcome.score, pa.float64()),
        "threshold": pa.array(outcome.threshold, pa.float64()),
        "other_doc_id": pa.array(outcome.other, DOC_ID),
        "spans": pa.nulls(num, pa.list_(SPAN)),
        "config_digest": pa.nulls(num, pa.string()),
        "source": documents["source"],
        "uri": documents["uri"],
        "language": features["language"],
        "licence": documents["licence"],
        "media_type": documents["media_type"],
        "num_bytes": features["num_bytes"],
        "num_occurrences": documents["num_occurrences"],
    }
    return pa.table(columns).select(DECISIONS.names).cast(DECISIONS)


def _rows(
    ids: pa.Array,
    order: int,
    outcome: str,
    rule: str,
    *,
    reason: pa.Array | None = None,
    score: pa.Array | None = None,
    threshold: pa.Array | None = None,
    other: pa.Array | None = None,
    spans: pa.Array | None = None,
    config_digest: str | None = None,
) -> pa.Table:
    num = len(ids)
    given: dict[str, Any] = {
        "doc_id": ids,
        "verdict_order": pa.array(np.full(num, order, np.int32)),
        "final": pa.array([False] * num, pa.bool_()),
        "outcome": pa.array([outcome] * num, pa.string()),
        "rule": pa.array([rule] * num, pa.string()),
        "reason": reason,
        "score": score,
        "threshold": threshold,
        "other_doc_id": other,
        "spans": spans,
        "config_digest": pa.array([config_digest] * num, pa.string()),
    }
    columns = [
        given[field.name].cast(field.type) if given.get(field.name) is not None else pa.nulls(num, field.type)
        for field in DECISIONS
    ]
    return pa.table(columns, schema=DECISIONS)
