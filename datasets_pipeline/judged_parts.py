"""All documents judged by all rules, one part of the doc_ids at a time, in workers.

`spread` sends what is stored of each unit (facts of its occurrences, features, spans; no text, no signatures) to the
parts that its documents belong to. A part then holds every occurrence of its documents, so that the primary one, the
strictest licence and what each rule says are found there, by the same functions for any size of corpus.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from datasets_pipeline import heldout
from datasets_pipeline.analyse import features_key, span_config_digest, spans_key
from datasets_pipeline.census import Census
from datasets_pipeline.classification_order import class_ranks
from datasets_pipeline.dedup.ids import id_keys
from datasets_pipeline.document_access import RULE_COLUMNS
from datasets_pipeline.edits import Span
from datasets_pipeline.exchange import Workplace, read_part, write_parts
from datasets_pipeline.judge import Judgement, judge
from datasets_pipeline.outcomes import OwnVerdicts, edited_rows, eligible_documents, own_verdicts
from datasets_pipeline.overrides import Overridden
from datasets_pipeline.parallel import Pool, finish_all
from datasets_pipeline.snapshot import OpenUnit, distinct_documents, in_order, occurrences_of
from ingot import registry
from ingot.config import Recipe, RuleEntry, Scope
from ingot.overrides import Override
from ingot.parquet import column_names, read_table
from ingot.schemas import SPAN
from ingot.store_identity import span_key

_FEATURE, _SPANS = "feature.", "spans."
# A row of a unit as one number: the unit's number above, the row below.
_ROW_BITS = 40


@dataclass(frozen=True)
class Judging:
    """What workers need to judge: where rows are passed, the rules, the classes and the draw."""

    place: Workplace
    census: Census
    units: int
    """Number of units."""
    rules: tuple[tuple[str, str, str | None, str], ...]
    """(rule, id, scope as JSON, configuration as JSON) in recipe order."""
    overrides: tuple[Override, ...]
    classifications: tuple[str, ...] | None
    salt: bytes = field(repr=False)
    share: float

    @property
    def ranks(self) -> Mapping[str, int]:
        """Ranks of the classes."""
        return class_ranks(self.classifications)


@dataclass(frozen=True)
class SpreadUnit:
    """A unit whose rows go to their parts."""

    judging: Judging
    open: OpenUnit


@dataclass(frozen=True)
class PartUnit:
    """A part to judge."""

    judging: Judging
    part: int


@dataclass(frozen=True)
class JudgedPart:
    """The documents of a part, ascending by doc_id, with what the rules say of them."""

    num_occurrences: int
    documents: pa.Table
    features: pa.Table
    judgements: list[Judgement]
    edited: np.ndarray
    """int64: rows that span rules edit."""
    edits: list[list[Span]]

    def own(self, empty: np.ndarray) -> OwnVerdicts:
        """Verdicts of no rule; `empty` are the rows that edits leave without text."""
        return own_verdicts(self.features, empty)

    def overridden(self, overrides: Sequence[Override], own: OwnVerdicts) -> Overridden:
        """What people said of these documents."""
        return Overridden.of(overrides, self.documents, self.judgements, own)


@dataclass(frozen=True)
class Judged:
    """All documents by number, in ascending order of doc_id; 28 bytes each."""

    doc_id: np.ndarray
    """S16 [n]"""
    place: np.ndarray
    """int32 [n]: number of the unit with the primary occurrence."""
    row: np.ndarray
    """int32 [n]: its row there."""
    eligible: np.ndarray
    """bool [n]: no rule drops it; edits that leave nothing are not looked at yet."""
    has_words: np.ndarray
    drawn: np.ndarray
    """bool [n]: drawn for evaluation, if it is eligible."""
    any_failed: bool
    part_starts: np.ndarray
    """int64 [p + 1]: number of the first document of each part, and of all."""
    edited: tuple[np.ndarray, ...]
    """int32, by part: the places of its edited documents, each once."""
    num_edited: int
    """Documents that rules edit."""


def judging(place: Workplace, recipe: Recipe, census: Census, units: int, salt: bytes) -> Judging:
    """What workers need of a recipe."""
    rules = tuple(
        (rule.rule, rule.id, rule.when.model_dump_json() if rule.when else None, rule.config.model_dump_json())
        for rule in recipe.rules
    )
    classes = tuple(recipe.classifications) if recipe.classifications is not None else None
    overrides = tuple(recipe.overrides or ())
    return Judging(place, census, units, rules, overrides, classes, salt, recipe.heldout.share)


@lru_cache(maxsize=4)
def _entries(rules: tuple[tuple[str, str, str | None, str], ...]) -> tuple[RuleEntry, ...]:
    return tuple(
        RuleEntry(
            rule=name,
            id=id_,
            when=Scope.model_validate_json(when) if when else None,
            config=registry.load("rule", name).Config.model_validate_json(config),
        )
        for name, id_, when, config in rules
    )


def judge_all(judging: Judging, units: Sequence[OpenUnit], pool: Pool) -> Judged:
    """Spread what is known of all units, then judge all parts."""
    tasks = [SpreadUnit(judging, unit) for unit in units]
    for _ in finish_all(pool, spread, tasks, "gathering facts of documents"):
        pass
    parts: list[Any] = [None] * judging.census.num_parts
    tasks_of_parts = [PartUnit(judging, part) for part in range(judging.census.num_parts)]
    for unit, found in finish_all(pool, judge_part, tasks_of_parts, "judging documents"):
        parts[unit.part] = found
    starts = np.r_[0, np.cumsum([len(part["doc_id"]) for part in parts])]
    # One column of the parts goes as soon as it is whole: both together are twice the corpus.
    columns = {name: np.concatenate([part.pop(name) for part in parts]) for name in _COLUMNS}
    return Judged(
        **columns,
        any_failed=any(part["any_failed"] for part in parts),
        part_starts=starts,
        edited=tuple(part["edited"] for part in parts),
        num_edited=sum(part["num_edited"] for part in parts),
    )


_COLUMNS = ("doc_id", "place", "row", "eligible", "has_words", "drawn")


def spread(unit: SpreadUnit) -> None:
    """Send the rows of one unit to their parts; runs in a worker."""
    judging, store = unit.judging, unit.judging.place.store
    occurrences = occurrences_of(store, unit.open)
    ids = id_keys(occurrences["doc_id"])
    num_parts = judging.census.num_parts
    write_parts(
        judging.place, "occurrences", unit.open.number, occurrences, judging.census.part_of(ids), num_parts
    )
    # Only the first occurrence here can be the primary one: a page in a million places has its features once a unit.
    _, first = np.unique(ids, return_index=True)
    rows = occurrences["row"].to_numpy()[first]
    at = pa.array(rows)
    key = features_key(unit.open.unit)
    names = [name for name in column_names(store, key) if name not in ("doc_id", "signature")]
    features = read_table(store, key, columns=names).take(at)
    features = features.rename_columns([_FEATURE + name for name in names])
    features = features.append_column("at", pa.array((np.int64(unit.open.number) << _ROW_BITS) | rows))
    for digest in sorted(set(_span_digests(judging).values())):
        found = read_table(store, spans_key(digest, unit.open.unit)).drop_columns(["doc_id"]).take(at)
        for name in found.column_names:
            features = features.append_column(f"{_SPANS}{digest}.{name}", found[name])
    write_parts(
        judging.place, "features", unit.open.number, features, judging.census.part_of(ids[first]), num_parts
    )


def _span_digests(judging: Judging) -> dict[str, str]:
    """Digest of what each span rule finds, by the rule's id."""
    rules = [rule for rule in _entries(judging.rules) if registry.load("rule", rule.rule).KIND == "span"]
    if not rules:
        return {}
    key = span_key(judging.place.store)
    return {rule.id: span_config_digest(rule, key) for rule in rules}


def read_documents(judging: Judging, part: int, doc_ids: np.ndarray | None) -> tuple[pa.Table, pa.Table]:
    """(documents of a part, their features): all of them, or those of some doc_ids (S16, ascending)."""
    occurrences = read_part(judging.place, "occurrences", range(judging.units), part)
    if doc_ids is not None:
        ids = id_keys(occurrences["doc_id"])
        at = np.minimum(np.searchsorted(doc_ids, ids), len(doc_ids) - 1)
        occurrences = occurrences.filter(pa.array(doc_ids[at] == ids))
    occurrences = in_order(occurrences)
    documents = distinct_documents(occurrences, judging.ranks)
    return documents, _features_of(judging, documents, part)[0]


def read_judged(judging: Judging, part: int) -> JudgedPart:
    """The documents of a part with what the rules say; the same whenever it is asked."""
    occurrences = in_order(read_part(judging.place, "occurrences", range(judging.units), part))
    documents = distinct_documents(occurrences, judging.ranks)
    features, found = _features_of(judging, documents, part)
    judgements = judge(_entries(judging.rules), features, found)
    edited, edits = edited_rows(judgements)
    return JudgedPart(len(occurrences), documents, features, judgements, edited, edits)


def _features_of(judging: Judging, documents: pa.Table, part: int) -> tuple[pa.Table, dict[str, pa.Table]]:
    """(features of each document's primary row with its source, place, access facts and notes; what span rules found,
    by rule).

    metadata: JSON as in DOCUMENTS, for rules over facts that no text shows (how sure a text recognition was).
    """
    spread_features = read_part(judging.place, "features", range(judging.units), part)
    at = spread_features["at"].to_numpy()
    order = np.argsort(at)
    wanted = (documents["place"].to_numpy().astype(np.int64) << _ROW_BITS) | documents["row"].to_numpy()
    table = spread_features.take(pa.array(order[np.searchsorted(at, wanted, sorter=order)])).combine_chunks()
    names = [name for name in table.column_names if name.startswith(_FEATURE)]
    features = table.select(names).rename_columns([name.removeprefix(_FEATURE) for name in names])
    for name in ("doc_id", "source", "uri", "licence", "metadata", *RULE_COLUMNS):
        features = features.append_column(name, documents[name])
    return features, {id_: _found(table, digest) for id_, digest in _span_digests(judging).items()}


def _found(table: pa.Table, digest: str) -> pa.Table:
    prefix = f"{_SPANS}{digest}."
    names = [name for name in table.column_names if name.startswith(prefix)]
    found = table.select(names).rename_columns([name.removeprefix(prefix) for name in names])
    return found.set_column(found.column_names.index("spans"), "spans", found["spans"].cast(pa.list_(SPAN)))


def judge_part(unit: PartUnit) -> dict[str, Any]:
    """The columns of `Judged` for one part; writes the edits of its documents by unit; runs in a worker."""
    judging = unit.judging
    part = read_judged(judging, unit.part)
    documents, num = part.documents, len(part.documents)
    place = documents["place"].to_numpy()
    edited = place[part.edited]
    if len(edited):
        table = pa.table(
            {
                "part": pa.array(np.full(len(edited), unit.part, np.int32)),
                "position": pa.array(part.edited.astype(np.int32)),
                "row": documents["row"].take(pa.array(part.edited)),
                "spans": pa.array(part.edits, pa.list_(SPAN)),
            }
        )
        write_parts(judging.place, "edits", unit.part, table, edited, judging.units)
    failed = part.features["failed"].to_numpy(zero_copy_only=False)
    own = part.own(np.empty(0, np.int64))
    binding = part.overridden(judging.overrides, own).applied_to(part.judgements)
    return {
        "doc_id": id_keys(documents["doc_id"]).copy(),
        "place": place.astype(np.int32),
        "row": documents["row"].to_numpy().astype(np.int32),
        "eligible": eligible_documents(num, binding, own),
        "has_words": part.features["num_shingles"].to_numpy() > 0,
        "drawn": heldout.draw(documents["doc_id"], salt=judging.salt, share=judging.share),
        "any_failed": bool(failed.any()),
        "edited": np.unique(edited).astype(np.int32),
        "num_edited": len(edited),
    }
