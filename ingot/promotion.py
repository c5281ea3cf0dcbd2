"""Moving the champion: a person's act, backed by the gate's verdict, written to the ledger first.

The MLflow alias follows the ledger; when MLflow is away, `ingot rebuild` repairs the view.
"""

from dataclasses import dataclass

from ingot import ledger, model_versions
from ingot.errors import BusyError, GateError
from ingot.ledger import Actor, Entry, LedgerMoved
from ingot.model_versions import ModelVersion
from ingot.storage import Store

PROMOTABLE = ("PASS", "FIRST")
_MAX_RACES = 20


@dataclass(frozen=True)
class Promotion:
    """A champion that was moved."""

    model: str
    version: int
    previous: int | None
    verdict: str
    entry: Entry


def latest_verdict(entries: list[Entry], version: ModelVersion) -> Entry | None:
    """The newest gate record of a version."""
    found = [entry for entry in entries if entry.verb == "gated" and entry.subject == version.subject]
    return found[-1] if found else None


def promote(
    store: Store, version: ModelVersion, *, actor: Actor, reason: str, override: bool = False
) -> Promotion:
    """Make a version the champion.

    Raises GateError when the actor is not a person, when the gate has not judged this version, or when
    it did not pass; override promotes all the same and leaves an `overridden` record.
    """
    if actor.kind != "person":
        raise GateError(f"{actor.kind} {actor.id} may not promote; a named person does, with `ingot promote`")
    for _ in range(_MAX_RACES):
        try:
            return _promote_once(store, version, actor=actor, reason=reason, override=override)
        except LedgerMoved:
            continue  # somebody wrote meanwhile: verdict and champion are looked at again
    raise BusyError(f"the ledger is busy; run `ingot promote {version.name}/{version.version}` again")


def _promote_once(store: Store, version: ModelVersion, *, actor: Actor, reason: str, override: bool) -> Promotion:
    entries = ledger.read(store)
    gated = latest_verdict(entries, version)
    if gated is None:
        raise GateError(f"{version.subject} was never evaluated; run `ingot evaluate` first, then promote it")
    verdict = str(gated.details["verdict"])
    previous = model_versions.champion_version(entries, version.name)
    if previous == version.version:
        standing = next(e for e in entries if e.sequence == model_versions.last_move(entries, version.name))
        return Promotion(version.name, version.version, standing.details.get("previous"), verdict, standing)
    objection = _objection(version, gated, verdict, previous)
    if objection and not override:
        raise GateError(f"{objection} or promote with --override and a --reason, which the ledger keeps")
    details = {
        "model": version.name,
        "version": version.version,
        "previous": previous,
        "verdict": verdict,
        "reason": reason,
    }
    evidence = {"gate_record": gated.sha256, "checkpoint": version.evidence["checkpoint"], **gated.evidence}
    # The champion may come and go: the same move again is another record.
    attempt = f"{gated.sha256}:{model_versions.last_move(entries, version.name)}"
    written = len(entries)
    if objection:
        overruled = ledger.append(
            store, actor=actor, verb="overridden", subject=version.subject,
            subject_digest=version.evidence["checkpoint"], evidence=evidence, attempt=attempt,
            details={**details, "objection": objection}, after=written,
        )  # fmt: skip
        written = max(written, overruled.sequence)
    entry = ledger.append(
        store, actor=actor, verb="promoted", subject=version.subject,
        subject_digest=version.evidence["checkpoint"], evidence=evidence, attempt=attempt, details=details,
        after=written,
    )  # fmt: skip
    return Promotion(version.name, version.version, previous, verdict, entry)


def _objection(version: ModelVersion, gated: Entry, verdict: str, champion: int | None) -> str:
    """Why the gate's record does not carry this promotion; empty when it does."""
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
