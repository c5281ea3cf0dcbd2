"""New data starts a retrain: quickly by an event of Prefect, and certainly by looking.

`ensure_automation` makes the automation that runs the deployment `adapt` when a corpus version is published. An
event can be lost, so the supervisor calls `poll` every half minute: it lists the newest versions and the ledger's
head, and only when those moved, or when a model has become too old, it starts a short process that judges
(`ingot/retraining.py`) and starts what is due. Both ways start a corpus version's retrain under one key: once.
"""

import json
import logging
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from deployments import local_stack, services
from deployments.prefect_api import Server
from ingot import ledger, manifest, retraining
from ingot.errors import IngotError, IntegrityError, ServiceError
from ingot.settings import Settings
from ingot.storage import Store

logger = logging.getLogger(__name__)

AUTOMATION = "new data starts a retrain"
ADAPT = "adapt model/adapt"
_LOOK_SECONDS = 300.0
_RETRY = timedelta(minutes=5)
"""When a corpus that could not be judged is looked at again."""


def ensure_automation(server: Server) -> bool:
    """Make or mend the automation; True when it changed. One that somebody switched off stays off."""
    wanted = _automation(str(_deployment(server, ADAPT)["id"]))
    same_name = {"automations": {"name": {"any_": [AUTOMATION]}}}
    present = server.post("/automations/filter", same_name)
    if not present:
        server.post("/automations/", wanted)
        return True
    found, *more = present
    for one in more:
        server.delete(f"/automations/{one['id']}")
    if _is_same(found, wanted):
        return bool(more)
    server.put(f"/automations/{found['id']}", {**wanted, "enabled": found["enabled"]})
    return True


def _automation(deployment_id: str) -> dict[str, Any]:
    return {
        "name": AUTOMATION,
        "description": "Made by Ingot. Runs `adapt`, which decides; the supervisor looks too, so this may be off.",
        "enabled": True,
        "trigger": {
            "type": "event",
            "posture": "Reactive",
            "match": {"prefect.resource.id": "ingot.corpus.*", "ingot.retrain": "asked"},
            "expect": [retraining.PUBLISHED_EVENT],
            "threshold": 1,
            "within": 0,
        },
        "actions": [
            {
                "type": "run-deployment",
                "source": "selected",
                "deployment_id": deployment_id,
                "parameters": {"corpus": "{{ event.payload.corpus }}"},
            }
        ],
    }


def _is_same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    trigger = {key: found["trigger"].get(key) for key in ("type", "posture", "match", "expect", "threshold")}
    actions = [{key: action.get(key) for key in wanted["actions"][0]} for action in found["actions"]]
    return (
        trigger == {key: wanted["trigger"][key] for key in trigger}
        and actions == wanted["actions"]
        and found["description"] == wanted["description"]
    )


def _deployment(server: Server, name: str) -> dict[str, Any]:
    found: dict[str, Any] = server.get(f"/deployments/name/{quote(name)}")
    return found


@dataclass
class _Seen:
    """What a store held when it was last judged."""

    heads: dict[str, int]
    ledger_length: int
    asks: bool
    """Whether any newest version asks for retrains."""
    look_again: datetime | None


class Poll:
    """Looks for due retrains; remembers what it saw, so that nothing new costs a listing."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def __call__(self, settings: Settings, server: Server | None) -> int:
        """Start what is due and return how many; raises ServiceError when it could not judge, and then looks again.

        Without a server nothing could be started: nothing is looked at.
        """
        if server is None:
            return 0
        store = Store(settings.store, scratch_root=settings.scratch)
        seen = self._seen.get(store.root)
        heads = _heads(store)
        if seen is not None and seen.heads == heads and not self._moved(store, seen):
            return 0
        length = len(store.list("ledger/"))
        asks = seen.asks if seen is not None and seen.heads == heads else _any_asks(store, heads)
        answer = _judge_apart(settings) if asks else {"started": [], "failed": [], "look_again": None}
        for words in answer["failed"]:
            logger.error("%s", words)
        again = answer["look_again"]
        self._seen[store.root] = _Seen(heads, length, asks, datetime.fromisoformat(again) if again else None)
        return len(answer["started"])

    @staticmethod
    def _moved(store: Store, seen: _Seen) -> bool:
        if not seen.asks:
            return False
        if seen.look_again is not None and datetime.now(UTC) >= seen.look_again:
            return True
        return store.exists(ledger.key_of(seen.ledger_length + 1))


poll = Poll()


def _heads(store: Store) -> dict[str, int]:
    """The newest version of every corpus, from one listing."""
    heads: dict[str, int] = {}
    for key in store.list("corpora/"):
        _, corpus, name = key.split("/", 2)
        number = name.removesuffix(".json")
        if number.isdecimal():
            heads[corpus] = max(heads.get(corpus, 0), int(number))
    return heads


def _any_asks(store: Store, heads: dict[str, int]) -> bool:
    return any(_asks(store, corpus, number) for corpus, number in heads.items())


def _asks(store: Store, corpus: str, number: int) -> bool:
    try:
        return "retrain" in manifest.read(store, corpus, number).provenance
    except IntegrityError:
        return True  # the judging process tells which corpus cannot be read; the others are judged all the same


def _judge_apart(settings: Settings) -> dict[str, Any]:
    """Judge in a process of its own: reading shards would leave the supervisor with 100 MB."""
    done = subprocess.run(
        [sys.executable, "-m", "deployments.retraining"],
        env={**settings.environ, "INGOT_HOME": str(settings.home)}, cwd=services.root_folder(),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LOOK_SECONDS,
    )  # fmt: skip
    if done.returncode != 0:
        last = done.stderr.strip().rpartition("\n")[2]
        raise ServiceError(f"due retrains could not be judged ({last}); it is tried again in half a minute")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@dataclass(frozen=True)
class Answer:
    """What one look at every corpus gave."""

    started: tuple[str, ...]
    """Ids of the runs."""
    failed: tuple[str, ...]
    """One line for each corpus that could not be judged or started."""
    look_again: datetime | None
    """When time alone may make another one due; None when only new data can."""


def start_due(store: Store, server: Server, now: datetime) -> Answer:
    """Judge every corpus and start what is due; one that cannot be judged keeps no other from its retrain."""
    started, failed, moments = [], [], []
    for corpus in manifest.corpora(store):
        try:
            run, again = _start_one(store, server, corpus, now)
        except Exception as error:  # the words of an error that is not ours may hold text of documents
            words = str(error) if isinstance(error, IngotError) else type(error).__name__
            failed.append(f"whether {corpus} needs a retrain cannot be told: {words}; tried again in 5 minutes")
            moments.append(now + _RETRY)
            continue
        started += [run] if run is not None else []
        moments += [again] if again is not None else []
    return Answer(tuple(started), tuple(failed), min(moments, default=None))


def _start_one(store: Store, server: Server, corpus: str, now: datetime) -> tuple[str | None, datetime | None]:
    """(id of the run that was due and started, when to look again)."""
    judgement = retraining.judge(store, corpus, now)
    if judgement.due is None:
        return None, judgement.look_again
    due = judgement.due
    body = {
        "parameters": retraining.run_parameters(due, retraining.BY_POLL),
        "idempotency_key": retraining.idempotency_key(due),
    }
    run = server.post(f"/deployments/{_deployment(server, retraining.DEPLOYMENT)['id']}/create_flow_run", body)
    retraining.record_started(store, due, flow_run_id=str(run["id"]), asked_by=retraining.BY_POLL, now=now)
    logger.info("started a retrain of %s on %s: %s", due.model, due.corpus, due.reason)
    return str(run["id"]), judgement.look_again


def main() -> None:
    """Judge the store of this process's settings, start what is due and print the answer as JSON."""
    settings = Settings.from_environment()
    store = Store(settings.store, scratch_root=settings.scratch)
    answer = start_due(store, local_stack.prefect_server(settings), datetime.now(UTC))
    again = answer.look_again.isoformat() if answer.look_again else None
    print(json.dumps({"started": answer.started, "failed": answer.failed, "look_again": again}))


if __name__ == "__main__":
    main()
