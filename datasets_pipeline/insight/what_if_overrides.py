"""Overrides in a what-if: which documents those of the version decided about, and which those of the recipe would.

What the version's decided is read from its decisions. Overrides that did not change name the same documents; others
are matched with ids and places again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline.insight.version_tables import id_keys, rows_of
from datasets_pipeline.overrides import matched
from ingot import registry
from ingot.config import Recipe, RuleEntry
from ingot.manifest import Manifest
from ingot.overrides import RULE, values_of


@dataclass(frozen=True)
class Named:
    """Documents that overrides name, as bool [n] over the documents of a version."""

    kept: np.ndarray
    """A keep is in force, and lifts what rules say."""
    dropped: np.ndarray


@dataclass(frozen=True)
class OverrideChange:
    """The overrides of a version and of a recipe."""

    before: Named
    after: Named
    are_same: bool
    has_any: bool


def compare_overrides(
    recipe: Recipe, manifest: Manifest, final: pa.Table, verdicts: pa.Table, ids: np.ndarray,
    failed: Mapping[str, np.ndarray], own: np.ndarray,
) -> OverrideChange:  # fmt: skip
    """What overrides do to the documents of a version, before and after.

    failed has for each rule of the recipe the documents that it would drop; own those that nothing can bring back.
    """
    theirs, ours = manifest.identity.recipe.get("overrides") or [], recipe.overrides or ()
    recorded = verdicts.filter(pc.equal(verdicts["rule"], RULE))
    named = {outcome: np.zeros(len(ids), bool) for outcome in ("kept", "dropped", "override_refused")}
    for outcome, rows in named.items():
        rows[rows_of(ids, id_keys(recorded.filter(pc.equal(recorded["outcome"], outcome))["doc_id"]))] = True
    before = Named(named["kept"], named["dropped"])
    are_same = theirs == values_of(ours)
    if are_same:
        keep, drop = named["kept"] | named["override_refused"], named["dropped"]
    else:
        by = np.full(len(ids), -1, np.int64)
        for index, override in reversed(list(enumerate(ours))):
            by[matched(override, final)] = index
        keep, drop = (np.array([*(o.action == a for o in ours), False])[by] for a in ("keep", "drop"))
    refused = own | _bound(recipe.rules, failed, len(ids))
    return OverrideChange(before, Named(keep & ~refused, drop), are_same, bool(theirs or ours))


def _bound(rules: Sequence[RuleEntry], failed: Mapping[str, np.ndarray], num: int) -> np.ndarray:
    """Documents that a rule drops whose drops no override lifts."""
    found = np.zeros(num, bool)
    for entry in rules:
        if getattr(registry.load("rule", entry.rule), "BINDING", False):
            found |= failed[entry.id]
    return found
