"""Models that came from outside, as the ledger tells them: name, licence, origin, and what is ours of their heirs.

`ingot adopt model` writes one record a name (`tasks/adoption.py`); the newest record of a name holds, so that a licence
or an origin can be corrected. What such a model was trained on is not known here, and every answer says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ingot import ledger
from ingot.errors import NotFoundError
from ingot.ledger import Entry
from ingot.model_versions import ModelVersion
from ingot.storage import Store

PREFIX = "adopted/"
BEFORE = "data before this point: not known to us"
FLOPS_RULE = "6 for each parameter and token (Kaplan et al. 2020, arXiv:2001.08361)"


@dataclass(frozen=True)
class Adopted:
    """One adopted model."""

    name: str
    licence: str
    origin: str
    tokens: int | None
    """Tokens its makers say it was trained on; None when that was not given."""
    architecture: str
    num_parameters: int
    checkpoint_key: str
    checkpoint_digest: str
    tokenizer_digest: str
    entry: Entry

    @property
    def subject(self) -> str:
        """How recipes and the ledger name it."""
        return PREFIX + self.name

    @property
    def facts(self) -> dict[str, Any]:
        """For answers and cards."""
        return {
            "name": self.subject,
            "licence": self.licence,
            "origin": self.origin,
            "architecture": self.architecture,
            "parameters": self.num_parameters,
            "tokens": self.tokens,
            "checkpoint": self.checkpoint_key,
            "checkpoint_digest": self.checkpoint_digest,
            "tokenizer": self.tokenizer_digest,
            "ledger": self.entry.sequence,
            "before": BEFORE,
        }


def all_of(entries: Sequence[Entry]) -> dict[str, Adopted]:
    """Adopted models by name, each as its newest record has it."""
    found: dict[str, Adopted] = {}
    for entry in entries:
        if entry.verb == "adopted":
            details = entry.details
            found[details["name"]] = Adopted(
                name=details["name"],
                licence=details["licence"],
                origin=details["origin"],
                tokens=details.get("tokens"),
                architecture=details["architecture"],
                num_parameters=details["num_parameters"],
                checkpoint_key=details["checkpoint_key"],
                checkpoint_digest=entry.evidence["checkpoint"],
                tokenizer_digest=entry.evidence["tokenizer"],
                entry=entry,
            )
    return found


def find(store: Store, name: str, entries: Sequence[Entry] | None = None) -> Adopted:
    """The model adopted under a name, with or without `adopted/` before it; NotFoundError with what there is."""
    known = all_of(ledger.read(store) if entries is None else entries)
    found = known.get(name.removeprefix(PREFIX))
    if found is None:
        told = ", ".join(PREFIX + other for other in sorted(known)) or "none yet"
        raise NotFoundError(
            f"{PREFIX}{name.removeprefix(PREFIX)} does not exist in {store.root}; adopted: {told}. `ingot adopt model "
            "PATH --name NAME --licence SPDX --origin TEXT` brings one in"
        )
    return found


def with_key(checkpoint_key: str, entries: Sequence[Entry]) -> Adopted | None:
    """The adopted model that a checkpoint is; None for a checkpoint made here."""
    return next((model for model in all_of(entries).values() if model.checkpoint_key == checkpoint_key), None)


def base_of(store: Store, checkpoint_key: str, entries: Sequence[Entry]) -> Adopted | None:
    """The adopted model that a checkpoint, or what it started from, began with; None where all was made here."""
    key: str | None = checkpoint_key
    while key is not None:
        if (found := with_key(key, entries)) is not None:
            return found
        key = store.read_json(f"{key}/manifest.json").get("start")
    return None


def base_of_version(version: ModelVersion, entries: Sequence[Entry]) -> Adopted | None:
    """The same for a model version, from the ledger alone."""
    return with_key(str(version.details.get("adopted_base", "")), entries)


def origin_of(version: ModelVersion, entries: Sequence[Entry]) -> dict[str, Any] | None:
    """What answers and cards tell of the adopted model behind a version, and what is ours; None where there is none."""
    base = base_of_version(version, entries)
    return None if base is None else {**base.facts, "ours": shares(base, version)}


def shares(base: Adopted, version: ModelVersion) -> dict[str, Any]:
    """How much of a version is ours: tokens read and FLOPs spent here, parameters added here.

    The base's tokens and FLOPs, and so the shares, are None when nobody said how many tokens it was trained on.
    """
    parameters = int(version.details.get("num_parameters") or base.num_parameters)
    tokens = sum(int(row["tokens_read"] or 0) for row in version.corpora)
    flops = 6 * parameters * tokens
    base_flops = None if base.tokens is None else 6 * base.num_parameters * base.tokens
    added = max(0, parameters - base.num_parameters)
    return {
        "tokens": tokens,
        "tokens_share": None if base.tokens is None else tokens / max(1, tokens + base.tokens),
        "flops": flops,
        "base_flops": base_flops,
        "flops_share": None if base_flops is None else flops / max(1, flops + base_flops),
        "flops_rule": FLOPS_RULE,
        "parameters_added": added,
        "parameters_share": added / parameters,
    }


def lines(origin: dict[str, Any]) -> list[tuple[str, str]]:
    """(what, in words) for people: text, pages and cards say the same."""
    ours = origin["ours"]
    given = "" if origin["tokens"] is None else f"; its makers say {origin['tokens']:,} tokens"
    unknown = "share not known: --tokens was not given when it was adopted"
    of_tokens = unknown if ours["tokens_share"] is None else f"{ours['tokens_share']:.2%} of all"
    of_flops = unknown if ours["flops_share"] is None else f"{ours['flops_share']:.2%} of all"
    return [
        ("begun from", f"{origin['name']}, from outside: {origin['origin']}, licence {origin['licence']}"),
        ("before it", f"{origin['before']}{given}"),
        ("ours, tokens", f"{ours['tokens']:,} read here, {of_tokens}"),
        ("ours, FLOPs", f"{ours['flops']:.3g} spent here, {of_flops}; {ours['flops_rule']}"),
        (
            "ours, parameters",
            f"{ours['parameters_added']:,} added here, {ours['parameters_share']:.2%} of all; the others began with "
            "the values of the base and were all trained on",
        ),
    ]
