"""Moving the champion: a person's act, backed by the gate's verdict, written to the ledger first.

The MLflow alias follows the ledger; when MLflow is away, `ingot rebuild` repairs the view.
"""

from dataclasses import dataclass

from ingot import ledger, model_versions
from ingot.errors import GateError
from ingot.ledger import Actor, Entry
from ingot.model_versions import ModelVersion
from ingot.storage import Store

PROMOTABLE = ("PASS", "FIRST")


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
    entries = ledger.read(store)
    gated = latest_verdict(entries, version)
    if gated is None:
        raise GateError(f"{version.subject} was never evaluated; run `ingot evaluate` first, then promote it")
    verdict = str(gated.details["verdict"])
    if verdict not in PROMOTABLE and not override:
        raise GateError(
            f"{version.subject} has verdict {verdict}: {gated.details['reason']} "
            "Improve it, or promote with --override and a --reason, which the ledger keeps"
        )
    previous = model_versions.champion_version(entries, version.name)
    attempt = f"{gated.sha256}:{previous}"
    details = {
        "model": version.name,
        "version": version.version,
        "previous": previous,
        "verdict": verdict,
        "reason": reason,
    }
    evidence = {"gate_record": gated.sha256, "checkpoint": version.evidence["checkpoint"], **gated.evidence}
    if verdict not in PROMOTABLE:
        ledger.append(
            store, actor=actor, verb="overridden", subject=version.subject,
            subject_digest=version.evidence["checkpoint"], evidence=evidence, attempt=attempt, details=details,
        )  # fmt: skip
    entry = ledger.append(
        store, actor=actor, verb="promoted", subject=version.subject,
        subject_digest=version.evidence["checkpoint"], evidence=evidence, attempt=attempt, details=details,
    )  # fmt: skip
    return Promotion(version.name, version.version, previous, verdict, entry)
