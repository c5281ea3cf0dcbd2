"""Let every rule of a recipe judge every document, from stored features and spans (CONTRACTS 4).

Reads no text: a changed threshold costs seconds. A rule that does not fit a document's language or
medium abstains; a document outside a rule's `when` is not judged by it. Both are counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline.analyse import rule_inputs, rule_version
from datasets_pipeline.rules.verdicts import Verdicts
from ingot import registry
from ingot.config import RuleEntry, Scope, resolved, without_places
from ingot.digests import digest_of
from ingot.schemas import SPAN


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
    report: dict[str, Any] | None = None
    """What a rule tells beside verdicts of these documents; its module's `sum_reports` puts those of all together."""


def rule_config_digest(rule: RuleEntry) -> str:
    """Identity of a rule as configured, its scope included."""
    values = {**without_places(resolved(rule)), "version": rule_version(rule.rule)}
    inputs = rule_inputs(rule)
    return digest_of({**values, "inputs": inputs} if inputs else values)


def judge(rules: Sequence[RuleEntry], features: pa.Table, found: Mapping[str, pa.Table]) -> list[Judgement]:
    """Every rule's judgement, in recipe order.

    features: a row for each document, with its source, place, metadata and access facts. found: by id of a span
    rule, what it found in the same documents (`spans`, and numbers of its own).
    """
    failed = features["failed"].to_numpy(zero_copy_only=False)
    return [_judge_one(rule, features, failed, found) for rule in rules]


def _judge_one(rule: RuleEntry, features: pa.Table, failed: np.ndarray, found: Mapping[str, pa.Table]) -> Judgement:
    module = registry.load("rule", rule.rule)
    inside = in_scope(rule.when, features) & ~failed
    spans: pa.Array | None = None
    report: dict[str, Any] | None = None
    if module.KIND == "span":
        of_rule = found[rule.id]
        none = pa.nulls(len(of_rule), pa.list_(SPAN))
        spans = pc.if_else(pa.array(inside), of_rule["spans"].combine_chunks(), none)
        of_rule = of_rule.set_column(of_rule.column_names.index("spans"), "spans", spans)
        verdicts = module.judge(rule.config, features, of_rule)
        if hasattr(module, "report"):
            report = module.report(rule.config, features, of_rule, inside)
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
    judged = inside & ~abstained
    return Judgement(rule, rule_config_digest(rule), judged, scoped, spans, int(abstained.sum()), report)


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
