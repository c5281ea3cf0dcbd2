"""Moving the champion back to an earlier one: a person's act, written to the ledger first.

The history is read like a pile: a promotion lays a version on top, a rollback takes off what lies above
the version it names. So a rollback after a rollback goes one champion further back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ingot import ledger, model_versions
from ingot.errors import BusyError, GateError, NotFoundError, RecipeError
from ingot.ledger import Actor, Entry, LedgerMoved
from ingot.promotion import MAX_RACES
from ingot.storage import Store


@dataclass(frozen=True)
class Rollback:
    """A champion that was moved back."""

    model: str
    version: int
    previous: int
    """The champion it was taken from."""
    entry: Entry


def rollback(store: Store, model: str, *, actor: Actor, reason: str, to: int | None = None) -> Rollback:
    """Make an earlier champion of the model the champion again.

    to: an earlier champion; None takes the one before the present one. Naming the present champion writes
    nothing and returns the record that made it so. Raises GateError when the actor is not a person or the
    version was never champion, NotFoundError when there is no earlier one, and BusyError when somebody
    else moved the champion meanwhile.
    """
    if actor.kind != "person":
        raise GateError(f"{actor.kind} {actor.id} may not roll back; a named person does, with `ingot rollback`")
    if not reason.strip():
        raise RecipeError("a rollback needs a reason, which the ledger keeps; give --reason TEXT")
    seen = None
    for _ in range(MAX_RACES):
        entries = ledger.read(store)
        moves = [e for e in entries if e.verb in ("promoted", "rolled_back") and e.details.get("model") == model]
        if not moves:
            _refuse_unknown(model, entries)
        if seen is not None and moves[-1] != seen:
            # Going back from a champion nobody meant would go back too far.
            raise BusyError(f"{moves[-1].actor.id} moved the champion of {model} meanwhile; look, then roll back again")
        seen = moves[-1]
        champion = int(seen.details["version"])
        target = _before(model, moves) if to is None else to
        if target == champion:
            return Rollback(model, champion, int(seen.details.get("previous") or champion), seen)
        made = next((e for e in reversed(moves) if int(e.details["version"]) == target and e.verb == "promoted"), None)
        if made is None:
            known = ", ".join(map(str, sorted({int(e.details["version"]) for e in moves})))
            raise GateError(f"{model}/{target} was never champion; one that was: {known}. Others need `ingot promote`")
        try:
            entry = ledger.append(
                store, actor=actor, verb="rolled_back", subject=made.subject, subject_digest=made.subject_digest,
                evidence={"promotion": made.sha256, "checkpoint": made.subject_digest}, attempt=seen.sha256,
                details={"model": model, "version": target, "previous": champion, "reason": reason},
                after=len(entries),
            )  # fmt: skip
        except LedgerMoved:
            continue
        return Rollback(model, target, champion, entry)
    raise BusyError(f"the ledger is busy; roll {model} back again")


def _before(model: str, moves: Sequence[Entry]) -> int:
    """The champion before the present one."""
    pile: list[int] = []
    for move in moves:
        version = int(move.details["version"])
        if move.verb == "rolled_back" and version in pile:
            del pile[len(pile) - pile[::-1].index(version) :]
        else:
            pile.append(version)
    if len(pile) < 2:
        raise NotFoundError(f"{model}/{pile[-1]} is the first champion of {model}; there is none before it")
    return pile[-2]


def _refuse_unknown(model: str, entries: Sequence[Entry]) -> None:
    known = model_versions.names(entries)
    if model not in known:
        raise NotFoundError(f"model {model!r} does not exist; known: {', '.join(known) or 'none yet'}")
    raise NotFoundError(f"model {model} has no champion yet; there is nothing to roll back")
