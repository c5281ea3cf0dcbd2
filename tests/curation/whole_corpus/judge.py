"""Every rule over a whole table of documents."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline.analyse import features_key, span_config_digest, spans_key
from datasets_pipeline.document_access import RULE_COLUMNS
from datasets_pipeline.edits import Span
from datasets_pipeline.judge import Judgement, in_scope, rule_config_digest
from datasets_pipeline.rules.verdicts import Verdicts
from ingot import registry
from ingot.config import RuleEntry
from ingot.parquet import read_table
from ingot.schemas import SPAN
from ingot.storage import Store
from ingot.store_identity import span_key


def document_features(store: Store, documents: pa.Table) -> pa.Table:
    """The features of each document's primary row, with its source, place, access facts and notes, rows aligned.

    metadata: JSON as in DOCUMENTS, for rules over facts that no text shows (how sure a text recognition was).
    """
    columns = _gather(store, documents, features_key)
    for name in ("source", "uri", "licence", "metadata", *RULE_COLUMNS):
        columns = columns.append_column(name, documents[name])
    return columns.combine_chunks()


def _gather(store: Store, documents: pa.Table, key_of_unit: Callable[[str], str]) -> pa.Table:
    """Rows of per-unit objects at the documents' places, in the documents' order."""
    units = documents["unit"].to_pylist()
    rows = documents["row"].to_numpy()
    by_unit: dict[str, list[int]] = {}
    for position, unit in enumerate(units):
        by_unit.setdefault(unit, []).append(position)
    tables, positions = [], []
    for unit, members in sorted(by_unit.items()):
        table = read_table(store, key_of_unit(unit))
        tables.append(table.take(pa.array(rows[members])))
        positions.extend(members)
    order = np.empty(len(positions), np.int64)
    order[positions] = np.arange(len(positions))
    return pa.concat_tables(tables).take(pa.array(order)).combine_chunks()


def judge(store: Store, rules: Sequence[RuleEntry], documents: pa.Table, features: pa.Table) -> list[Judgement]:
    """Every rule's judgement, in recipe order."""
    failed = features["failed"].to_numpy(zero_copy_only=False)
    return [_judge_one(store, rule, documents, features, failed) for rule in rules]


def _judge_one(store: Store, rule: RuleEntry, documents: pa.Table, features: pa.Table, failed: np.ndarray) -> Judgement:
    module = registry.load("rule", rule.rule)
    inside = in_scope(rule.when, features) & ~failed
    spans: pa.Array | None = None
    if module.KIND == "span":
        digest = span_config_digest(rule, span_key(store))
        found = _gather(store, documents, lambda unit: spans_key(digest, unit)).drop_columns(["doc_id"])
        none = pa.nulls(len(found), pa.list_(SPAN))
        spans = pc.if_else(pa.array(inside), found["spans"].combine_chunks(), none)
        found = found.set_column(found.column_names.index("spans"), "spans", spans)
        verdicts = module.judge(rule.config, features, found)
    else:
        verdicts = module.judge(rule.config, features)
    abstained = verdicts.abstained.to_numpy(zero_copy_only=False) & inside
    mask = pa.array(inside)
    scoped = Verdicts(
        reason=pc.if_else(mask, verdicts.reason, pa.scalar(None, pa.string())),
        score=verdicts.score,
        threshold=verdicts.threshold,
        abstained=pa.array(abstained),
    )
    return Judgement(rule, rule_config_digest(rule), inside & ~abstained, scoped, spans, int(abstained.sum()))


def spans_of(judgements: Sequence[Judgement], row: int) -> list[list[Span]]:
    """The spans that each span rule found in one document."""
    found = [j.spans[row].as_py() for j in judgements if j.spans is not None]
    return [spans for spans in found if spans]
