"""The decision record of a corpus version: one final row per document plus one row per verdict.

Sorted by document and cut by content, so that versions share the parts that did not change.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline import heldout
from datasets_pipeline.judge import Judgement
from datasets_pipeline.outcomes import (
    ANALYSIS_RULE,
    EDITS_RULE,
    HELDOUT_RULE,
    NEAR_RULE,
    Losses,
    Outcome,
    OwnVerdicts,
    loss_reasons,
)
from ingot.manifest import DecisionsEntry
from ingot.parquet import write_table
from ingot.schemas import DECISIONS, SPAN
from ingot.storage import Store

_CUT_BITS = 13
_MAX_ROWS = 1 << 16


def decision_table(
    documents: pa.Table,
    features: pa.Table,
    judgements: Sequence[Judgement],
    own: OwnVerdicts,
    duplicates: Losses,
    excluded: Losses,
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
    for number, (name, reason, mine) in enumerate(
        ((ANALYSIS_RULE, "analysis_failed", own.failed), (EDITS_RULE, "empty_after_edit", own.empty))
    ):
        reasons = pa.repeat(pa.scalar(reason, pa.string()), len(mine))
        parts.append(_rows(ids.take(pa.array(mine)), after + number, "dropped", name, reason=reasons))
    parts.append(
        _rows(
            ids.take(pa.array(duplicates.row)), after + 2, "dropped", NEAR_RULE,
            reason=loss_reasons(duplicates),
            score=pa.array(duplicates.jaccard, pa.float64()),
            threshold=pa.repeat(pa.scalar(threshold, pa.float64()), len(duplicates.row)),
            other=duplicates.other,
        )
    )  # fmt: skip
    parts.append(
        _rows(
            ids.take(pa.array(excluded.row)), after + 3, "dropped", HELDOUT_RULE,
            reason=pa.repeat(pa.scalar(heldout.EXCLUDED_REASON, pa.string()), len(excluded.row)),
            score=pa.array(excluded.jaccard, pa.float64()),
            threshold=pa.repeat(pa.scalar(heldout.NEIGHBOUR_THRESHOLD, pa.float64()), len(excluded.row)),
            other=excluded.other,
        )
    )  # fmt: skip
    table = pa.concat_tables(parts)
    return table.sort_by(
        [("doc_id", "ascending"), ("verdict_order", "ascending"), ("outcome", "ascending")]
    ).combine_chunks()


def _final_rows(documents: pa.Table, features: pa.Table, outcome: Outcome) -> pa.Table:
    num = len(documents)
    said = pc.if_else(pc.equal(outcome.split, "train"), "kept", outcome.split)
    columns: dict[str, Any] = {
        "doc_id": documents["doc_id"],
        "verdict_order": pa.array(np.zeros(num, np.int32)),
        "final": pa.repeat(pa.scalar(True), num),
        "outcome": pc.fill_null(said, "dropped"),
        "rule": outcome.rule,
        "reason": outcome.reason,
        "score": outcome.score,
        "threshold": outcome.threshold,
        "other_doc_id": outcome.other,
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
        "final": pa.repeat(pa.scalar(False), num),
        "outcome": pa.repeat(pa.scalar(outcome, pa.string()), num),
        "rule": pa.repeat(pa.scalar(rule, pa.string()), num),
        "reason": reason,
        "score": score,
        "threshold": threshold,
        "other_doc_id": other,
        "spans": spans,
        "config_digest": pa.repeat(pa.scalar(config_digest, pa.string()), num),
    }
    columns = [
        given[field.name].cast(field.type) if given.get(field.name) is not None else pa.nulls(num, field.type)
        for field in DECISIONS
    ]
    return pa.table(columns, schema=DECISIONS)


def write_decisions(store: Store, decisions: pa.Table) -> list[DecisionsEntry]:
    """Cut after documents whose hash ends in zero bits, so that versions share what did not change."""
    ids = decisions["doc_id"].combine_chunks()
    last_rows = np.flatnonzero(np.r_[_differs(ids), True]) if len(ids) else np.empty(0, np.int64)
    last_ids = ids.take(pa.array(last_rows)).to_pylist()
    entries: list[DecisionsEntry] = []
    start = 0
    for row, doc_id in zip(last_rows.tolist(), last_ids, strict=True):
        if row + 1 == len(ids) or row + 1 - start >= _MAX_ROWS or cuts_after(doc_id):
            part = decisions.slice(start, row + 1 - start)
            written = write_table(store, part, "decisions")
            entries.append(
                DecisionsEntry(
                    sha256=written.sha256,
                    rows=written.rows,
                    bytes=written.bytes,
                    first_doc_id=ids[start].as_py().hex(),
                    last_doc_id=doc_id.hex(),
                )
            )
            start = row + 1
    return entries


def cuts_after(doc_id: bytes) -> bool:
    """Whether the record is cut behind a document wherever it stands: one in 8,192."""
    digest = hashlib.blake2b(doc_id, digest_size=8, person=b"ingot-decisions").digest()
    return int.from_bytes(digest, "little") & ((1 << _CUT_BITS) - 1) == 0


def _differs(ids: pa.Array) -> np.ndarray:
    """bool [n - 1]: whether each id differs from the next one."""
    data = np.frombuffer(ids.buffers()[1], np.uint64, count=2 * (ids.offset + len(ids)))[2 * ids.offset :]
    words = data.reshape(-1, 2)
    return (words[1:] != words[:-1]).any(axis=1)
