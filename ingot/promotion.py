"""Moving the champion: a person's act, backed by the gate's verdict, written to the ledger first.

The MLflow alias follows the ledger; when MLflow is away, `ingot rebuild` repairs the view.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingot import four_eyes, ledger, model_versions
from ingot.digests import digest_of
from ingot.errors import BusyError, GateError
from ingot.ledger import Actor, Entry, LedgerMoved
from ingot.model_versions import ModelVersion
from ingot.storage import Store

PROMOTABLE = ("PASS", "FIRST")
MAX_RACES = 20
_ANSWERS = ("approved", "promoted", "overridden", "rolled_back")


@dataclass(frozen=True)
class Promotion:
    """A champion that was moved."""

    model: str
    version: int
    previous: int | None
    verdict: str
    entry: Entry


@dataclass(frozen=True)
class Approval:
    """What a person approved: the gate record they saw, and how they said so."""

    gate_record: str
    """SHA-256 of the `gated` record; a later evaluation needs a new approval."""
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Standing:
    """How a version stands before it is promoted."""

    gated: Entry
    previous: int | None
    """The champion now; None before the first promotion."""
    objection: str
    """Why the gate's record does not carry the promotion; empty when it does."""

    @property
    def verdict(self) -> str:
        """What the gate said."""
        return str(self.gated.details["verdict"])


def latest_verdict(entries: list[Entry], version: ModelVersion) -> Entry | None:
    """The newest gate record of a version."""
    found = [entry for entry in entries if entry.verb == "gated" and entry.subject == version.subject]
    return found[-1] if found else None


def standing(entries: list[Entry], version: ModelVersion) -> Standing:
    """The version's newest gate record and what speaks against it; GateError when there is none."""
    gated = latest_verdict(entries, version)
    if gated is None:
        raise GateError(f"{version.subject} was never evaluated; run `ingot evaluate` first, then promote it")
    previous = model_versions.champion_version(entries, version.name)
    return Standing(gated, previous, _objection(version, gated, previous))


def approvals_wanted(entries: Sequence[Entry]) -> list[Entry]:
    """Gate records that wait for a person, the longest first: of each model's newest version, passed, not moved since.

    From the ledger alone. A version that was judged again waits with its last record; one that was judged against
    another champion than today's waits for a new evaluation, not for a person.
    """
    newest = {entry.details["model"]: entry.subject for entry in entries if entry.verb == "registered"}
    last: dict[str, Entry] = {}
    for entry in entries:
        if entry.verb in _ANSWERS:
            last.pop(entry.subject, None)
        if entry.verb == "gated" and newest.get(entry.details["model"]) == entry.subject:
            last.pop(entry.subject, None)
            last[entry.subject] = entry
    champions = {name: model_versions.champion_version(entries, name) for name in newest}
    return [
        entry
        for entry in last.values()
        if entry.details["verdict"] in PROMOTABLE
        and entry.details.get("champion") == champions[entry.details["model"]]
    ]


def check_promotable(entries: list[Entry], version: ModelVersion) -> Standing:
    """How the version stands, when some person may promote it now; GateError saying why nobody may."""
    found = standing(entries, version)
    four_eyes.check(version)
    if found.previous == version.version:
        raise GateError(f"{version.subject} is the champion already; there is nothing to approve")
    if found.objection:
        raise GateError(_refusal(found.objection))
    return found


def promote(
    store: Store,
    version: ModelVersion,
    *,
    actor: Actor,
    reason: str,
    override: bool = False,
    approval: Approval | None = None,
) -> Promotion:
    """Make a version the champion; with an approval, an `approved` record of it comes first.

    Raises GateError when the actor is not a person or asked for a model that needs four eyes, when the
    gate has not judged this version, has judged it again since the approval, or when it did not pass;
    override promotes against a verdict and leaves an `overridden` record.
    """
    if actor.kind != "person":
        raise GateError(f"{actor.kind} {actor.id} may not promote; a named person does, with `ingot promote`")
    for _ in range(MAX_RACES):
        try:
            return _promote_once(store, version, actor=actor, reason=reason, override=override, approval=approval)
        except LedgerMoved:
            continue  # somebody wrote meanwhile: verdict and champion are looked at again
    raise BusyError(f"the ledger is busy; promote {version.name}/{version.version} again")


def _promote_once(
    store: Store, version: ModelVersion, *, actor: Actor, reason: str, override: bool, approval: Approval | None
) -> Promotion:
    entries = ledger.read(store)
    found = standing(entries, version)
    if found.previous == version.version:
        entry = next(e for e in entries if e.sequence == model_versions.last_move(entries, version.name))
        return Promotion(version.name, version.version, entry.details.get("previous"), found.verdict, entry)
    four_eyes.check(version, actor)
    if approval is not None and approval.gate_record != found.gated.sha256:
        raise GateError(f"{version.subject} was evaluated again since; look at the new verdict, then approve it")
    if found.objection and not override:
        raise GateError(_refusal(found.objection))
    details = {
        "model": version.name,
        "version": version.version,
        "previous": found.previous,
        "verdict": found.verdict,
        "reason": reason,
    }
    # The champion may come and go: the same move again is another record.
    attempt = f"{found.gated.sha256}:{model_versions.last_move(entries, version.name)}"
    steps: list[tuple[str, str, dict[str, Any]]] = []
    if approval is not None:
        given = {**details, **approval.details}
        steps.append(("approved", f"{attempt}:{digest_of([actor.id, given])}", given))
    if found.objection:
        steps.append(("overridden", attempt, {**details, "objection": found.objection}))
    steps.append(("promoted", attempt, details))
    written = len(entries)
    for verb, name, body in steps:
        entry = ledger.append(
            store, actor=actor, verb=verb, subject=version.subject, subject_digest=version.evidence["checkpoint"],
            evidence={
                "gate_record": found.gated.sha256, "checkpoint": version.evidence["checkpoint"],
                **found.gated.evidence,
            },
            attempt=name, details=body, after=written,
        )  # fmt: skip
        written = max(written, entry.sequence)
    return Promotion(version.name, version.version, found.previous, found.verdict, entry)


def _refusal(objection: str) -> str:
    return f"{objection} or promote with --override and a --reason, which the ledger keeps"


def _objection(version: ModelVersion, gated: Entry, champion: int | None) -> str:
    """Why the gate's record does not carry this promotion; empty when it does."""
    verdict = gated.details["verdict"]
    if verdict not in PROMOTABLE:
        return f"{version.subject} has verdict {verdict}: {gated.details['reason']} Improve it,"
    judged = gated.details.get("champion")
    if judged != champion:
        against = f"version {judged}" if judged else "no champion"
        return (
            f"{version.subject} was judged against {against}, the champion is now version {champion}; "
            f"run `ingot evaluate --model {version.name}/{version.version}` again,"
        )
    return ""
