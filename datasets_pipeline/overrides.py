"""Overrides applied to what the rules said: the last word, recorded as decisions of their own (CONTRACTS 4).

`keep` lifts the drops of rules and of near-duplicates. It lifts none of a rule that binds (`access`), brings back no
text that could not be read or that edits left empty, and moves nothing out of the held-out set or its neighbourhood.
Edits (personal data) stay. `drop` drops, and owns the drop whatever the rules say.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline.judge import Judgement
from datasets_pipeline.outcomes import Losses, Outcome, OwnVerdicts
from datasets_pipeline.rules.verdicts import Verdicts
from datasets_pipeline.sources.globs import is_included
from ingot import ledger, registry
from ingot.config import RuleEntry
from ingot.digests import digest_of
from ingot.manifest import Manifest, key_of
from ingot.overrides import RULE, Override
from ingot.schemas import DECISIONS
from ingot.storage import Store


@dataclass(frozen=True)
class Overridden:
    """Which override decides about which document."""

    overrides: Sequence[Override]
    by: np.ndarray
    """int64 [n]: index of the override that decides about a document; -1 for none."""
    refused: np.ndarray
    """bool [n]: its `keep` lifts nothing, because a binding rule drops the document or no text is left."""

    @classmethod
    def of(
        cls,
        overrides: Sequence[Override] | None,
        documents: pa.Table,
        judgements: Sequence[Judgement],
        own: OwnVerdicts,
    ) -> "Overridden":
        """Match overrides with documents; of several the first decides."""
        num = len(documents)
        by, refused = np.full(num, -1, np.int64), np.zeros(num, bool)
        for index, override in reversed(list(enumerate(overrides or ()))):
            by[matched(override, documents)] = index
        if overrides:
            refused[own.failed] = refused[own.empty] = True
            for judgement in judgements:
                if getattr(registry.load("rule", judgement.rule.rule), "BINDING", False):
                    refused |= pc.is_valid(judgement.verdicts.reason).to_numpy(zero_copy_only=False)
            refused &= _with_action(overrides, by, "keep")
        return cls(overrides or (), by, refused)

    @property
    def _kept(self) -> np.ndarray:
        return _with_action(self.overrides, self.by, "keep") & ~self.refused

    def applied_to(self, judgements: Sequence[Judgement]) -> list[Judgement]:
        """The judgements as they bind: without what a keep lifts, and with what a drop adds in front of all others."""
        if not self.overrides:
            return list(judgements)
        kept = self._kept
        lifted = [
            replace(j, verdicts=replace(j.verdicts, reason=pc.if_else(pa.array(kept), _NO_REASON, j.verdicts.reason)))
            for j in judgements
        ]
        dropped = _with_action(self.overrides, self.by, "drop")
        reasons = pa.array([override.reason for override in self.overrides], pa.string())
        none = pa.nulls(len(dropped), pa.float64())
        chosen = reasons.take(pa.array(self.by, mask=~dropped))
        verdicts = Verdicts(chosen, none, none, pa.array(np.zeros(len(dropped), bool)))
        entry = RuleEntry(rule=RULE, id=RULE, when=None, config=None)
        return [Judgement(entry, "", dropped, verdicts, None, 0), *lifted]

    def spared(self, duplicates: Losses) -> Losses:
        """The near-duplicates without those that are kept anyway."""
        if not self.overrides:
            return duplicates
        stays = ~self._kept[duplicates.row]
        return Losses(
            duplicates.row[stays],
            duplicates.code[stays],
            duplicates.jaccard[stays],
            duplicates.other.filter(pa.array(stays)),
        )

    def named_in(self, outcome: Outcome) -> Outcome:
        """The outcome with the override as owner of each document that it kept for training."""
        if not self.overrides:
            return outcome
        kept = pc.and_(pa.array(self._kept), pc.fill_null(pc.equal(outcome.split, "train"), False))
        reasons = pa.array([override.reason for override in self.overrides], pa.string())
        chosen = reasons.take(pa.array(self.by, mask=self.by < 0))
        return replace(
            outcome,
            rule=pc.if_else(kept, pa.scalar(RULE), outcome.rule),
            reason=pc.if_else(kept, chosen, outcome.reason),
        )

    def added_to(self, decisions: pa.Table, doc_ids: pa.ChunkedArray, num_rules: int) -> pa.Table:
        """The decision rows with one more for each document that an override names; sorted as before."""
        rows = np.flatnonzero(self.by >= 0)
        if not len(rows):
            return decisions
        named = [self.overrides[index] for index in self.by[rows]]
        given: dict[str, Any] = {
            "doc_id": doc_ids.take(pa.array(rows)).to_pylist(),
            # After every rule, every duplicate and every held-out neighbour: overrides have the last word.
            "verdict_order": [num_rules + 5] * len(rows),
            "final": [False] * len(rows),
            "outcome": [
                "dropped" if o.action == "drop" else "override_refused" if refused else "kept"
                for o, refused in zip(named, self.refused[rows], strict=True)
            ],
            "rule": [RULE] * len(rows),
            "reason": [o.reason for o in named],
            "config_digest": [o.digest for o in named],
        }
        num = len(rows)
        columns = [pa.array(given[f.name], f.type) if f.name in given else pa.nulls(num, f.type) for f in DECISIONS]
        table = pa.concat_tables([decisions, pa.table(columns, schema=DECISIONS)])
        order = [("doc_id", "ascending"), ("verdict_order", "ascending"), ("outcome", "ascending")]
        return table.sort_by(order).combine_chunks()

    def statistics(self) -> dict[str, Any]:
        """Documents that overrides name: kept, dropped, and keeps that were refused."""
        if not self.overrides:
            return {}
        dropped = _with_action(self.overrides, self.by, "drop")
        counts = {"kept": self._kept, "dropped": dropped, "refused": self.refused}
        return {"overrides": {name: int(rows.sum()) for name, rows in counts.items()}}


_NO_REASON = pa.scalar(None, pa.string())


def _with_action(overrides: Sequence[Override], by: np.ndarray, action: str) -> np.ndarray:
    # The last entry is for the index -1: no override.
    return np.array([*(o.action == action for o in overrides), False])[by]


def matched(override: Override, documents: pa.Table) -> np.ndarray:
    """bool [n]: documents (doc_id, source, uri of the primary place) that an override names."""
    if override.id is not None:
        wanted = pa.scalar(bytes.fromhex(override.id), documents["doc_id"].type)
        return pc.equal(documents["doc_id"], wanted).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
    pattern = [override.uri or ""]
    matched = np.array([is_included(uri, pattern, ()) for uri in documents["uri"].to_pylist()], bool)
    if override.source is not None:
        matched &= pc.equal(documents["source"], override.source).to_numpy(zero_copy_only=False)
    return matched


def record_overrides(store: Store, manifest: Manifest, version: int, actor: ledger.Actor) -> None:
    """Make sure the ledger says, once for each override, in which version of a corpus it was first in force."""
    corpus = manifest.identity.corpus
    for entry in manifest.identity.recipe.get("overrides") or ():
        ledger.append(
            store,
            actor=actor,
            verb="overridden",
            subject=f"{corpus}: {entry['action']} {entry.get('id') or entry['uri']}",
            subject_digest=digest_of(entry),
            evidence={"manifest": digest_of(store.read_json(key_of(corpus, version)))},
            attempt=f"{corpus}:{digest_of(entry)}",
            details={**entry, "since": f"{corpus}@{version}"},
        )
