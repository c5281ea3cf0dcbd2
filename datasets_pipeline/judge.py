"""Let every rule of a recipe judge every document, from stored features and spans (CONTRACTS 4).

Reads no text: a changed threshold costs seconds. A rule that does not fit a document's language or
medium abstains; a document outside a rule's `when` is not judged by it. Both are counted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline.analyse import features_key, rule_inputs, rule_version, span_config_digest, spans_key
from datasets_pipeline.document_access import RULE_COLUMNS
from datasets_pipeline.edits import Span
from datasets_pipeline.rules.verdicts import Verdicts
from ingot import registry
from ingot.config import RuleEntry, Scope, resolved, without_places
from ingot.digests import digest_of
from ingot.parquet import read_table
from ingot.schemas import SPAN
from ingot.storage import Store
from ingot.store_identity import span_key


@dataclass(frozen=True)
class Judgement:
    """What one rule said about each document (rows as in the documents table)."""

    rule: RuleEntry
    config_digest: str
    judged: np.ndarray
    """bool [n]: inside the rule's scope, and not abstained."""
    verdicts: Verdicts
    spans: pa.Array | None
    """list<SPAN> [n] of a span rule; null where there is none."""
    num_abstained: int


def rule_config_digest(rule: RuleEntry) -> str:
    """Identity of a rule as configured, its scope included."""
    values = {**without_places(resolved(rule)), "version": rule_version(rule.rule)}
    inputs = rule_inputs(rule)
    return digest_of({**values, "inputs": inputs} if inputs else values)


def document_features(store: Store, documents: pa.Table) -> pa.Table:
    """The features of each document's primary row, with source, place, licence, access facts and notes, rows aligned.

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


def in_scope(scope: Scope | None, features: pa.Table) -> np.ndarray:
    """bool [n]: documents that a `when` names; all of them without one."""
    inside = np.ones(len(features), bool)
    if scope is None:
        return inside
    for wanted, column in ((scope.source, "source"), (scope.language, "language"), (scope.media, "media_type")):
        if wanted is not None:
            values = [wanted] if isinstance(wanted, str) else list(wanted)
            inside &= pc.is_in(features[column], value_set=pa.array(values)).to_numpy(zero_copy_only=False)
    return inside


def spans_of(judgements: Sequence[Judgement], row: int) -> list[list[Span]]:
    """The spans that each span rule found in one document."""
    found = [j.spans[row].as_py() for j in judgements if j.spans is not None]
    return [spans for spans in found if spans]
