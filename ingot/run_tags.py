"""What a flow run says of itself in Prefect by tags: who asked for it, and under which name of a request.

Prefect's open-source server knows no users, so the name of the one who asked travels with the run.
"""

from collections.abc import Iterable

_REQUESTED_BY = "requested-by:"
_REQUEST = "request:"


def made_for(person: str, request_id: str | None = None) -> list[str]:
    """Tags of a run that a person asked for, under the name of the request if it has one."""
    return [f"{_REQUESTED_BY}{person}", *([f"{_REQUEST}{request_id}"] if request_id else [])]


def requested_by(tags: Iterable[str]) -> str | None:
    """Who asked for a run; None when nobody said so."""
    return _value(tags, _REQUESTED_BY)


def request_id(tags: Iterable[str]) -> str | None:
    """The name of the request that a run answers; None when it had none."""
    return _value(tags, _REQUEST)


def _value(tags: Iterable[str], prefix: str) -> str | None:
    return next((tag.removeprefix(prefix) for tag in sorted(tags) if tag.startswith(prefix)), None)
