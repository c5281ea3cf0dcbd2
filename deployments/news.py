"""What happened that somebody should hear of: found in ledger, manifests and ended flow runs; pure.

A reason and a link, no document text: of a failed run only the words of our own errors are passed on (they hold
none, CONTRACTS 13); of any other exception its class alone.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from ingot import errors
from ingot.ledger import Entry, LedgerMoved
from ingot.promotion import PROMOTABLE, approvals_wanted

Kind = Literal["failed", "held_back", "approval_wanted", "nothing_new"]
_REASON_CHARS = 300
_EXCEPTION = re.compile(r"(?:(?:Flow|Task) run encountered an exception:? )?([A-Za-z_][\w.]*): (.*)")
_CODED = re.compile(r"(INGOT-[A-Z-]+): ")
_STATUS = re.compile(r"exited with (?:non-zero )?status code:? (-?\d+)")
_OUR_ERRORS = {
    found.__name__: found.code
    for found in (LedgerMoved, *vars(errors).values())
    if isinstance(found, type) and issubclass(found, errors.IngotError)
}


@dataclass(frozen=True)
class News:
    """One thing to tell, once: `key` stays the same however often it is found."""

    key: str
    kind: Kind
    subject: str
    reason: str
    link: str
    time: datetime
    """When it happened."""

    def sentence(self) -> str:
        """All of it in one line."""
        return f"{self.kind.replace('_', ' ')}: {self.subject}: {self.reason} {self.link}"


@dataclass(frozen=True)
class CorpusVersion:
    """A version as its manifest tells: the newest of a corpus, or one that is held back."""

    name: str
    """`handbook@12`."""
    key: str
    time: datetime


def find_news(
    *,
    entries: Sequence[Entry],
    newest: Iterable[CorpusVersion],
    held: Iterable[CorpusVersion],
    runs: Iterable[Mapping[str, Any]],
    now: datetime,
    since: datetime,
    stale_days: int,
    prefect_url: str | None = None,
    mlflow_url: str | None = None,
) -> list[News]:
    """Everything that happened after `since`, oldest first.

    runs are ended flow runs as the Prefect API gives them, with `flow_name` added where it is known; of subflows
    the parent alone is told.
    """
    found = [*_of_ledger(entries, mlflow_url), *_failed(runs, prefect_url)]
    told = {item.subject for item in found if item.kind == "held_back"}
    found += [_held(version) for version in held if version.name not in told]
    found += [_stale(version, stale_days) for version in newest]
    return sorted((item for item in found if since <= item.time <= now), key=lambda item: (item.time, item.key))


def _of_ledger(entries: Sequence[Entry], mlflow_url: str | None) -> Iterable[News]:
    wanted = {entry.sequence for entry in approvals_wanted(entries)}
    for entry in entries:
        time = datetime.fromisoformat(entry.time)
        reason = one_line(str(entry.details.get("reason", "")))
        if entry.verb == "held_back":
            link = f"ingot://held/{entry.subject.replace('@', '/')}"
            yield News(f"ledger:{entry.sequence}", "held_back", entry.subject, reason or "held back", link, time)
        if entry.verb != "gated":
            continue
        link = f"{mlflow_url}/#/models/{entry.details['model']}" if mlflow_url else f"ingot://ledger/{entry.sequence}"
        verdict = str(entry.details["verdict"])
        told = f"verdict {verdict}. {reason}"
        if verdict not in PROMOTABLE:
            yield News(f"ledger:{entry.sequence}", "held_back", entry.subject, told, link, time)
        elif entry.sequence in wanted:
            yield News(f"ledger:{entry.sequence}", "approval_wanted", entry.subject, told, link, time)


def _failed(runs: Iterable[Mapping[str, Any]], prefect_url: str | None) -> Iterable[News]:
    for run in runs:
        ended = run.get("state_type") in ("FAILED", "CRASHED") and run.get("end_time")
        if not ended or run.get("parent_task_run_id"):
            continue
        subject = one_line(f"{run.get('flow_name') or 'run'} ({run['name']})")
        link = f"{prefect_url}/runs/flow-run/{run['id']}" if prefect_url else f"ingot://runs/{run['id']}"
        message = str((run.get("state") or {}).get("message") or "")
        reason = reason_of(run["state_type"], message)
        yield News(f"run:{run['id']}", "failed", subject, reason, link, _time(run["end_time"]))


def reason_of(state_type: str, message: str) -> str:
    """What may be told of a state's message: an error of ours with its code, else the class or exit status alone."""
    line = message.strip().splitlines()[0] if message.strip() else ""
    coded = _CODED.match(line)  # a run that ends by itself: a refused retrain or promotion
    if coded and coded.group(1) in _OUR_ERRORS.values():
        return one_line(line)
    exception = _EXCEPTION.match(line)
    name = exception.group(1).rpartition(".")[2] if exception else ""
    if exception and name in _OUR_ERRORS:
        return one_line(f"{_OUR_ERRORS[name]} {name}: {exception.group(2)}")
    if name and name.endswith(("Error", "Exception", "Interrupt", "Exit")):
        return name
    status = _STATUS.search(line)
    if status:
        return f"its process ended with status {status.group(1)}"
    return "its process was killed or lost" if state_type == "CRASHED" else "it failed; its page says why"


def _held(version: CorpusVersion) -> News:
    reason = "the version breaches its expectations and was not published"
    return News(f"held:{version.name}", "held_back", version.name, reason, _link(version), version.time)


def _stale(version: CorpusVersion, days: int) -> News:
    return News(
        key=f"stale:{version.name}",
        kind="nothing_new",
        subject=version.name,
        reason=f"no new version for {days} days",
        link=_link(version),
        time=version.time + timedelta(days=days),
    )


def _link(version: CorpusVersion) -> str:
    return f"ingot://{version.key.removesuffix('.json')}"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def one_line(text: str) -> str:
    """Without line breaks, and not too long for a chat or a subject line."""
    line = " ".join(text.split())
    return line if len(line) <= _REASON_CHARS else f"{line[: _REASON_CHARS - 3]}..."
