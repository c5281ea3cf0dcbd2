"""Four eyes: who asked for a model may not approve it, when its recipe said so (`approval: four_eyes`).

The mode and who asked stand in the version's `registered` record, so a recipe that is changed afterwards
changes nothing. People are told apart by their names alone: use one name for one person everywhere.
"""

import unicodedata

from ingot.errors import GateError
from ingot.ledger import Actor
from ingot.model_versions import ModelVersion


def required(version: ModelVersion) -> bool:
    """Whether the version was registered under a recipe with `approval: four_eyes`."""
    return version.details.get("approval") == "four_eyes"


def askers(version: ModelVersion) -> list[str]:
    """Who asked for the version: the name given with the request, and the person who ran it."""
    requested = version.details.get("requested_by")
    ran = version.registered.actor
    names = [str(requested or ""), ran.id if ran.kind == "person" else ""]
    return list(dict.fromkeys(name for name in names if name.strip()))


def check(version: ModelVersion, actor: Actor | None = None) -> None:
    """Raise GateError when the rule forbids that actor; without one, when it forbids everybody."""
    if not required(version):
        return
    asked = askers(version)
    if not asked:
        ran = version.registered.actor
        raise GateError(
            f"{version.subject} needs four eyes, but nobody is recorded as having asked for it (registered by "
            f"{ran.kind} {ran.id}); train it again with `ingot retrain --requested-by NAME`"
        )
    if actor is not None and any(is_same_person(actor.id, name) for name in asked):
        raise GateError(
            f"{version.subject} needs four eyes: {actor.id} asked for it ({', '.join(asked)}) and may not approve it; "
            "somebody else does"
        )


def is_same_person(one: str, other: str) -> bool:
    """Whether two names mean one person; `ada` and `ada@example.org` do."""
    first, second = _plain(one), _plain(other)
    if "@" in first and "@" in second:
        return first == second
    return first.partition("@")[0] == second.partition("@")[0]


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
