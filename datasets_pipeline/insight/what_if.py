"""What other rules would do to the documents of a published version; reads no text, writes nothing.

A rule whose configuration and code are those of the version is taken from its decisions; one that is new or
changed judges the stored features again. A span rule answers where its spans are stored already; else it is said to
need reading, and counted as it was. What is let in anew is looked up among the rest by its signature, so that an
obvious near-duplicate is not taken for a gain; the exact answer is that of `ingot curate`. Overrides are those of the
recipe; a near-duplicate that an override kept, and does not any more, is counted as staying.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline.analyse import (
    features_key,
    rule_inputs,
    rule_version,
    span_config_digest,
    spans_key,
    unpack_signatures,
)
from datasets_pipeline.classification_order import class_ranks
from datasets_pipeline.dedup.bands import band_keys, band_shape
from datasets_pipeline.dedup.minhash import estimate_jaccard_pairs, has_shingles
from datasets_pipeline.document_access import RULE_COLUMNS
from datasets_pipeline.identity import recipe_values
from datasets_pipeline.insight.check_pictures import CheckCounts, count_checks
from datasets_pipeline.insight.stored_features import StoredFeatures, columns_read
from datasets_pipeline.insight.version_tables import (
    IN_VERSION,
    as_numpy,
    counts_by,
    id_keys,
    is_one_of,
    read_decisions,
    rows_of,
)
from datasets_pipeline.insight.what_if_overrides import Named, compare_overrides
from datasets_pipeline.judge import judge
from datasets_pipeline.outcomes import ANALYSIS_RULE, EDITS_RULE, HELDOUT_RULE, NEAR_RULE
from datasets_pipeline.rules.verdicts import watched_checks
from ingot import registry
from ingot.config import Recipe, RuleEntry, parse_rule
from ingot.errors import RecipeError
from ingot.manifest import Manifest
from ingot.overrides import RULE as OVERRIDE
from ingot.parquet import read_table
from ingot.recipe_files import flat
from ingot.storage import Store
from ingot.store_identity import span_key

MAX_EXAMPLES = 10
_MAX_BUCKET = 50
"""Members of a bucket that a newcomer is compared with: a larger one is boilerplate, and one hit is enough."""

_LOW_BITS = np.uint64((1 << 20) - 1)


@dataclass(frozen=True)
class RuleChange:
    """One rule before and after."""

    rule: str
    change: str
    """unchanged, changed, added, removed, or needs reading (a span rule whose spans are not stored)."""
    options: dict[str, list[Any]]
    """option -> [before, after] of what differs; None where it is not set."""
    dropped_before: int
    dropped_after: int
    comes: int
    """Documents that come in because this rule, the last that dropped them, does not any more."""
    goes: int
    """Documents that go because this rule is the first to drop them."""


@dataclass(frozen=True)
class WhatIf:
    """The answer; ids and numbers only."""

    version: str
    rules: list[RuleChange]
    before: int
    """Documents in the version: kept or held out."""
    after: int
    """Estimated: before - goes + comes - comes_near + stand_ins."""
    goes: int
    comes: int
    comes_near: int
    """Of those that come, how many are near-duplicates of documents that stay, by their signatures."""
    stand_ins: int
    """Documents dropped in favour of one that goes, one of a cluster, which may take its place."""
    bytes_before: int
    bytes_goes: int
    bytes_comes: int
    groups: dict[str, dict[str, dict[str, int]]]
    """source and language -> name -> documents, before, goes, comes, after (before - goes + comes)."""
    examples: dict[str, list[dict[str, Any]]]
    """goes and comes: documents by place, a few for each rule."""
    notes: list[str]
    checks: dict[str, list[CheckCounts]] = field(repr=False)
    """Per judged rule its scores in bins, with the thresholds before and after."""

    @property
    def needs_reading(self) -> list[str]:
        """Span rules whose answer needs text."""
        return [rule.rule for rule in self.rules if rule.change == "needs reading"]


def what_if(store: Store, recipe: Recipe, name: str, manifest: Manifest) -> WhatIf:
    """What the recipe's rules would do to the documents of a version of its corpus."""
    identity = manifest.identity
    decided = read_decisions(store, identity.decisions)
    final = decided.final
    ids = id_keys(final["doc_id"])
    old = {str(values["id"]): values for values in identity.recipe.get("rules", [])}
    failed, own = _recorded(decided.verdicts, ids, list(old))
    judged = _Judged(store, recipe, name, manifest, final)
    before, changes, checks = dict(failed), {}, {}
    after: dict[str, np.ndarray] = {}
    told: dict[str, _Told] = {}
    new = {str(values["id"]): values for values in recipe_values(recipe)["rules"]}
    for entry in recipe.rules:
        change, options = _compare(old.get(entry.id), new[entry.id], entry, identity.versions)
        after[entry.id] = failed.get(entry.id, np.zeros(len(ids), bool))
        if change != "unchanged" and not judged.can_judge(entry):
            change = "needs reading"
        elif change != "unchanged":
            told[entry.id], checks[entry.id] = judged.verdicts(entry, old.get(entry.id))
            after[entry.id] = told[entry.id].failed
        changes[entry.id] = (change, options)
    for rule in old.keys() - after.keys():
        changes[rule] = ("removed", {})

    overrides = compare_overrides(recipe, manifest, final, decided.verdicts, ids, after, own)
    if overrides.has_any:
        changes[OVERRIDE] = ("unchanged" if overrides.are_same else "changed", {})
        before = {OVERRIDE: overrides.before.dropped, **before}
        after = {OVERRIDE: overrides.after.dropped, **after}
    lifted_before, lifted_after = _lifted(before, overrides.before), _lifted(after, overrides.after)
    was_in = is_one_of(final["outcome"], IN_VERSION)
    passed_before, passes = ~_any(lifted_before, own), ~_any(lifted_after, own)
    was_near = is_one_of(final["rule"], (NEAR_RULE,)) & ~was_in
    newly_kept = overrides.after.kept & ~overrides.before.kept
    goes, comes = was_in & ~passes, passes & (~passed_before | (newly_kept & was_near))
    going_to = _first_failing(lifted_after, goes)
    coming_from = _last_failing(lifted_before, comes)
    coming_from[comes & newly_kept & (was_near | _any(after, own))] = OVERRIDE
    sizes = as_numpy(final["num_bytes"])
    may_be_near = comes & ~overrides.after.kept
    near = _near_known(judged, may_be_near, passes & ~may_be_near, recipe) if may_be_near.any() else 0
    counts = {
        "documents": np.ones(len(ids), np.int64), "before": was_in, "goes": goes, "comes": comes,
        "after": (was_in & ~goes) | comes,
    }  # fmt: skip
    order = [*([OVERRIDE] if overrides.has_any else []), *(entry.id for entry in recipe.rules)]
    order += sorted(old.keys() - after.keys())
    stand_ins = _stand_ins(final, ids, goes, passes)
    return WhatIf(
        version=name,
        rules=[
            RuleChange(
                rule, *changes[rule], int(before[rule].sum()) if rule in before else 0,
                int(after[rule].sum()) if rule in after else 0,
                int((coming_from == rule).sum()), int((going_to == rule).sum()),
            )
            for rule in order
        ],
        before=int(was_in.sum()),
        after=int(was_in.sum() - goes.sum() + comes.sum()) - near + stand_ins,
        goes=int(goes.sum()),
        comes=int(comes.sum()),
        comes_near=near,
        stand_ins=stand_ins,
        bytes_before=int(sizes[was_in].sum()),
        bytes_goes=int(sizes[goes].sum()),
        bytes_comes=int(sizes[comes].sum()),
        groups={group: counts_by(final[group], **counts) for group in ("source", "language")},
        examples={
            "goes": _examples(final, goes, going_to, told),
            "comes": _examples(final, comes, coming_from, {}),
        },
        notes=_notes(recipe, manifest, name),
        checks=checks,
    )  # fmt: skip


@dataclass(frozen=True)
class _Told:
    """Verdicts of one rule over all documents."""

    failed: np.ndarray
    reason: pa.Array
    score: pa.Array
    threshold: pa.Array


class _Judged:
    """Judges a version's documents by rules it was not made with; reads features when the first rule asks."""

    def __init__(self, store: Store, recipe: Recipe, name: str, manifest: Manifest, final: pa.Table) -> None:
        self._store, self._recipe, self._final = store, recipe, final
        self._name, self._manifest = name, manifest
        self._features: StoredFeatures | None = None

    @property
    def features(self) -> StoredFeatures:
        if self._features is None:
            self._features = StoredFeatures(self._store, self._name, self._manifest, self._final)
        return self._features

    def can_judge(self, entry: RuleEntry) -> bool:
        """False for a span rule that has not looked at every unit yet."""
        if registry.load("rule", entry.rule).KIND != "span":
            return True
        digest = span_config_digest(entry, span_key(self._store))
        return all(self._store.exists(spans_key(digest, unit)) for unit in self.features.unit_names)

    def verdicts(self, entry: RuleEntry, before: Mapping[str, Any] | None) -> tuple[_Told, list[CheckCounts]]:
        """What the rule says of every document, and its scores in bins with the thresholds before and after."""
        table = self._table(entry)
        found = {}
        if registry.load("rule", entry.rule).KIND == "span":
            found[entry.id] = self.features.found(span_config_digest(entry, span_key(self._store)))
        with watched_checks() as seen:
            (judgement,) = judge([entry], table, found)
        earlier: list[Any] = []
        if before is not None and registry.load("rule", entry.rule).KIND != "span":
            try:
                with watched_checks() as earlier:
                    judge([parse_rule(before)], table, {})
            except RecipeError:
                earlier = []
        verdicts = judgement.verdicts
        told = _Told(as_numpy(pc.is_valid(verdicts.reason)), verdicts.reason, verdicts.score, verdicts.threshold)
        return told, count_checks(seen, earlier, table["language"], judgement.judged)

    def _table(self, entry: RuleEntry) -> pa.Table:
        ranks = dict(class_ranks(self._recipe.classifications))
        columns: set[str] | None = set()
        if registry.load("rule", entry.rule).KIND != "span":
            columns = columns_read(entry, self._example())
        try:
            return self.features.table(columns, self._recipe.sources, ranks)
        except (KeyError, pa.ArrowInvalid):
            return self.features.table(None, self._recipe.sources, ranks)

    def _example(self) -> pa.Table:
        """No rows with every column that a rule may ask for."""
        unit, _ = next(self.features.by_unit())
        table = read_table(self._store, features_key(unit)).slice(0, 0)
        for name in ("source", "uri", "metadata", "retain_until"):
            table = table.append_column(name, pa.array([], pa.string()))
        for name in set(RULE_COLUMNS) - {"retain_until"}:
            table = table.append_column(name, pa.array([], pa.list_(pa.string())))
        return table


def _recorded(
    verdicts: pa.Table, ids: np.ndarray, rules: Sequence[str]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """(documents that each rule drops, documents that no rule can save: overrides drop some) as bool [n]."""
    dropped = verdicts.filter(pc.equal(verdicts["outcome"], "dropped")).select(["doc_id", "rule"])
    failed = {}
    for rule in rules:
        failed[rule] = np.zeros(len(ids), bool)
        failed[rule][rows_of(ids, id_keys(dropped.filter(pc.equal(dropped["rule"], rule))["doc_id"]))] = True
    own = np.zeros(len(ids), bool)
    fixed = is_one_of(dropped["rule"], (ANALYSIS_RULE, EDITS_RULE))
    own[rows_of(ids, id_keys(dropped.filter(fixed)["doc_id"]))] = True
    return failed, own


def _compare(
    old: Mapping[str, Any] | None, new: Mapping[str, Any], entry: RuleEntry, versions: Mapping[str, str]
) -> tuple[str, dict[str, list[Any]]]:
    """(how the rule differs from the version's, [before, after] of each option that does); places are no options."""
    if old is None:
        return "added", {}
    before, after = flat(dict(old)), flat(dict(new))
    options = {
        key: [before.get(key), after.get(key)] for key in {**before, **after} if before.get(key) != after.get(key)
    }
    ours, name = rule_version(entry.rule), f"rule.{entry.id}"
    if versions.get(name) != ours:
        options["version of the rule"] = [versions.get(name), ours]
    read = {key.removeprefix(f"{name}."): value for key, value in versions.items() if key.startswith(f"{name}.")}
    inputs = rule_inputs(entry)
    for file in sorted({*read, *inputs}):
        if read.get(file) != inputs.get(file):
            options[f"content of {file}"] = [read.get(file), inputs.get(file)]
    return ("changed" if options else "unchanged"), options


def _lifted(failed: Mapping[str, np.ndarray], named: Named) -> dict[str, np.ndarray]:
    """What each rule drops, without the documents that an override keeps."""
    return {rule: rows & ~named.kept for rule, rows in failed.items()}


def _any(failed: Mapping[str, np.ndarray], own: np.ndarray) -> np.ndarray:
    found = own.copy()
    for rows in failed.values():
        found |= rows
    return found


def _first_failing(failed: Mapping[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Name of the first rule, in recipe order, that drops each of these documents; empty elsewhere."""
    names = np.full(len(rows), "", dtype=object)
    for rule, dropped in failed.items():
        names[rows & dropped & (names == "")] = rule
    return names


def _last_failing(failed: Mapping[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    return _first_failing(dict(reversed(list(failed.items()))), rows)


def _stand_ins(final: pa.Table, ids: np.ndarray, goes: np.ndarray, passes: np.ndarray) -> int:
    """Clusters whose representative goes while another member would be let through."""
    waiting = is_one_of(final["rule"], (NEAR_RULE, HELDOUT_RULE)) & passes & ~is_one_of(final["outcome"], IN_VERSION)
    others = rows_of(ids, id_keys(final["other_doc_id"].filter(pa.array(waiting))))
    others = others[others >= 0]
    return len(np.unique(others[goes[others]]))


def _near_known(judged: _Judged, comes: np.ndarray, stays: np.ndarray, recipe: Recipe) -> int:
    """How many newcomers resemble a document that stays, or an earlier newcomer, by their stored signatures."""
    if recipe.dedup.near is None:
        return 0
    shape, threshold = band_shape(recipe.dedup.near.threshold), recipe.dedup.near.threshold
    new_rows, new_signatures = [], []
    for members, column in judged.features.signatures():
        mine = comes[members]
        if mine.any():
            new_rows.append(members[mine])
            new_signatures.append(unpack_signatures(column.filter(pa.array(mine)).combine_chunks()))
    rows = np.concatenate(new_rows)
    order = np.argsort(rows)
    rows, signatures = rows[order], np.concatenate(new_signatures)[order]
    shingled = has_shingles(signatures)
    keys = band_keys(signatures, shape)
    is_near = np.zeros(len(rows), bool)
    sorted_bands = [np.argsort(keys[:, band], kind="stable") for band in range(shape.bands)]
    keys_by_band = [keys[by_key, band] for band, by_key in enumerate(sorted_bands)]
    seen = np.zeros((shape.bands, int(_LOW_BITS) + 1), bool)
    for band in range(shape.bands):
        seen[band][keys[:, band] & _LOW_BITS] = True
    for members, column in judged.features.signatures():
        candidates = stays[members] | comes[members]
        if not candidates.any():
            continue
        others = unpack_signatures(column.filter(pa.array(candidates)).combine_chunks())
        documents = members[candidates]
        other_keys = band_keys(others, shape)
        for band, by_key in enumerate(sorted_bands):
            # Most keys are nobody's: a table of bits spares them the search.
            maybe = np.flatnonzero(seen[band][other_keys[:, band] & _LOW_BITS])
            theirs = other_keys[maybe, band]
            first = np.searchsorted(keys_by_band[band], theirs, side="left")
            counts = np.minimum(np.searchsorted(keys_by_band[band], theirs, side="right") - first, _MAX_BUCKET)
            found = np.flatnonzero(counts)
            if not len(found):
                continue
            hits, first, counts = maybe[found], first[found], counts[found]
            right = np.repeat(hits, counts)
            offset = np.arange(len(right)) - np.repeat(np.cumsum(counts) - counts, counts)
            left = by_key[np.repeat(first, counts) + offset]
            # Among newcomers the earlier one stays.
            wanted = ~is_near[left] & shingled[left] & (stays[documents[right]] | (documents[right] < rows[left]))
            left, right = left[wanted], right[wanted]
            if len(left):
                both = np.concatenate([signatures, others])
                near = estimate_jaccard_pairs(both, left, right + len(signatures)) >= threshold
                is_near[left[near]] = True
    return int(is_near.sum())


def _examples(
    final: pa.Table, chosen: np.ndarray, rule: np.ndarray, told: Mapping[str, _Told]
) -> list[dict[str, Any]]:
    """A few documents of each rule, the first ones by id."""
    found: list[dict[str, Any]] = []
    for name in dict.fromkeys(rule[chosen].tolist()):
        for row in np.flatnonzero(chosen & (rule == name))[:MAX_EXAMPLES].tolist():
            line = final.slice(row, 1).to_pylist()[0]
            verdict = told.get(name)
            found.append(
                {
                    "doc_id": line["doc_id"].hex(), "source": line["source"], "uri": line["uri"],
                    "language": line["language"], "bytes": line["num_bytes"], "rule": name,
                    "reason": line["reason"] if verdict is None else verdict.reason[row].as_py(),
                    "score": line["score"] if verdict is None else verdict.score[row].as_py(),
                    "threshold": line["threshold"] if verdict is None else verdict.threshold[row].as_py(),
                }
            )  # fmt: skip
    return found


def _notes(recipe: Recipe, manifest: Manifest, name: str) -> list[str]:
    """What differs from the version beside the rules, and is not asked here."""
    ours, theirs = recipe_values(recipe), manifest.identity.recipe
    other = sorted(
        section
        for section in {*ours, *theirs} - {"rules", "overrides"}
        if ours.get(section) != theirs.get(section)
    )  # fmt: skip
    if not other:
        return []
    return [f"{', '.join(other)} differ from {name}'s: only rules are asked about here; `ingot plan` reads a sample"]

