"""INGOT_NOTIFY: tells people what failed, was held back, waits for approval, or stopped coming; each thing once.

The supervisor calls `pass_once` every half minute. `$INGOT_HOME/run/notified.json` remembers what was delivered,
written after each success: a kill in between tells one thing twice, never not at all. What happened before the
first pass is no news. A piece of news that the target refuses while it takes others is given up after some tries;
while it refuses everything, which a wrong setting does too, nothing is given up.
"""

import logging
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ValidationError

from deployments import stack_state
from deployments.news import CorpusVersion, News, find_news
from deployments.notify_targets import RefusedError, Target, target_of
from ingot import ledger, manifest
from ingot.errors import IngotError, RecipeError, ServiceError
from ingot.settings import Settings
from ingot.storage import Store

__all__ = ["News", "Notifier", "find_news", "pass_once", "trouble"]

logger = logging.getLogger(__name__)

_MAX_A_PASS = 10  # the rest comes half a minute later: a bad night must not be a flood
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 30, 3600
_MAX_TRIES = 5
_RUN_DAYS = 7
"""How far back ended runs are asked for: a stack that was down longer tells no older failure."""
_told: set[str] = set()


class _Refused(BaseModel):
    first: datetime
    tries: int = 0


class _State(BaseModel):
    since: datetime
    delivered: dict[str, str] = {}
    """When each key was delivered, or given up."""
    refused: dict[str, _Refused] = {}
    last_taken: datetime | None = None
    """When the target took anything."""
    failures: int = 0
    retry_at: datetime | None = None


class Notifier:
    """Delivers news to one target and remembers them."""

    def __init__(self, settings: Settings, target: Target, now: datetime) -> None:
        self._path = settings.home / "run" / "notified.json"
        self._target = target
        self._now = now
        try:
            self._state = _State.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            self._state = _State(since=now)
            self._save()

    @property
    def since(self) -> datetime:
        """What happened earlier is no news."""
        return self._state.since

    @property
    def is_pausing(self) -> bool:
        """Whether the target failed a short while ago; the pause doubles up to an hour."""
        return self._state.retry_at is not None and self._now < self._state.retry_at

    def deliver(self, news: list[News]) -> int:
        """Send what was not sent yet; returns how many were. A failing target is asked again after a pause."""
        waiting = [item for item in news if item.key not in self._state.delivered]
        waiting.sort(key=self._tries)  # what was refused before comes last: it stands in nobody's way
        refused = []
        sent = 0
        for item in waiting[:_MAX_A_PASS]:
            try:
                self._target.send(item)
            except RefusedError as error:
                refused.append((item, error))
                continue
            except ServiceError as error:
                self._pause(error)
                return sent
            sent += 1
            self._state.delivered[item.key] = self._now.isoformat(timespec="seconds")
            self._state.refused.pop(item.key, None)
            self._state.failures, self._state.retry_at, self._state.last_taken = 0, None, self._now
            self._save()
        if refused:
            self._count(refused)
        return sent

    def _tries(self, item: News) -> int:
        known = self._state.refused.get(item.key)
        return known.tries if known else 0

    def _count(self, refused: list[tuple[News, RefusedError]]) -> None:
        """Give up what was refused often enough while others were taken; pause when nothing was."""
        doubt = None
        for item, error in refused:
            known = self._state.refused.setdefault(item.key, _Refused(first=self._now))
            known.tries += 1
            if self._state.last_taken is None or self._state.last_taken < known.first:
                doubt = error
            elif known.tries >= _MAX_TRIES:
                self._state.delivered[item.key] = self._now.isoformat(timespec="seconds")
                del self._state.refused[item.key]
                logger.error("not told, after %d tries: %s: %s", known.tries, item.sentence(), error)
        if doubt is not None:
            self._pause(doubt)
        else:
            self._save()

    def _pause(self, error: ServiceError) -> None:
        seconds = min(_PAUSE_SECONDS * 2**self._state.failures, _LONGEST_PAUSE_SECONDS)
        self._state.failures = min(self._state.failures + 1, 10)
        self._state.retry_at = self._now + timedelta(seconds=seconds)
        self._save()
        logger.warning("news were not delivered: %s; tried again in %d s", error, seconds)

    def _save(self) -> None:
        old = (self._now - timedelta(days=10 * _RUN_DAYS)).isoformat()
        # A failed run is found for _RUN_DAYS only; all other keys are found for ever.
        kept = {k: v for k, v in self._state.delivered.items() if not (k.startswith("run:") and v < old)}
        self._state.delivered = kept
        stack_state.write_private(self._path, self._state.model_dump_json(indent=1))


def pass_once(settings: Settings, server: Any | None, *, now: datetime | None = None) -> int:
    """Find news and deliver them; returns how many were. Never raises: what is wrong is logged, once.

    server is a `prefect_api.Server`, or None while Prefect does not answer: then failed runs wait.
    """
    moment = now or datetime.now(UTC)
    try:
        target = target_of(settings)
        if target is None:
            return 0
        notifier = Notifier(settings, target, moment)
        if notifier.is_pausing:
            return 0
        return notifier.deliver(_look(settings, server, moment, notifier.since))
    except IngotError as error:
        _tell_once(f"news cannot be told: {error}")
    except Exception as error:  # a fault here must not end the supervisor
        _tell_once(f"news cannot be told: {type(error).__name__}")
    return 0


def trouble(settings: Settings) -> tuple[bool, str]:
    """For `ingot doctor`: where news go, or what is wrong with the setting; nothing is sent."""
    try:
        target = target_of(settings)
        stale_days(settings)
    except RecipeError as error:
        return False, str(error)
    return True, f"news go to {target.host}" if target else "INGOT_NOTIFY is not set: nobody is told"


def stale_days(settings: Settings) -> int:
    """Days without a new corpus version after which that is news."""
    text = settings.environ.get("INGOT_NOTIFY_STALE_DAYS") or "7"
    if not text.isdecimal() or not 0 < int(text) < 100_000:
        raise RecipeError(f"setting INGOT_NOTIFY_STALE_DAYS is {text!r}; give a number of days, 1 or more")
    return int(text)


def _look(settings: Settings, server: Any | None, now: datetime, since: datetime) -> list[News]:
    store = Store(settings.store, scratch_root=settings.scratch)
    state = stack_state.read_state(settings)
    return find_news(
        entries=_entries(store, len(store.list("ledger/"))),
        newest=_newest(store),
        held=[version for key in store.list("held/") if (version := _held(store, key)) is not None],
        runs=_ended_runs(server, max(since, now - timedelta(days=_RUN_DAYS))),
        now=now,
        since=since,
        stale_days=stale_days(settings),
        prefect_url=state.prefect_ui_url if state else None,
        mlflow_url=state.mlflow_url if state else None,
    )


@lru_cache(maxsize=1)
def _entries(store: Store, count: int) -> list[ledger.Entry]:
    """Read again only when the ledger has grown: on S3 each record is a request."""
    return ledger.read(store)


def _newest(store: Store) -> list[CorpusVersion]:
    found = []
    for corpus in manifest.corpora(store):
        number = manifest.versions_of(store, corpus)[-1]
        time = _published_at(store, corpus, number)
        if time is not None:
            found.append(CorpusVersion(f"{corpus}@{number}", manifest.key_of(corpus, number), time))
    return found


@lru_cache(maxsize=256)
def _published_at(store: Store, corpus: str, number: int) -> datetime | None:
    return _moment(manifest.read(store, corpus, number).provenance.get("time"))


@lru_cache(maxsize=256)
def _held(store: Store, key: str) -> CorpusVersion | None:
    """A version under held/; None when it does not say when it was made."""
    record = store.read_record(key)
    time = _moment((record.get("provenance") or {}).get("time"))
    corpus = (record.get("identity") or {}).get("corpus", "")
    number = key.rsplit("/", 1)[1].removesuffix(".json")
    return CorpusVersion(f"{corpus}@{number}", key, time) if time is not None else None


def _moment(text: Any) -> datetime | None:
    """A time of a record; one without a zone is UTC."""
    if not text:
        return None
    time = datetime.fromisoformat(str(text))
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _ended_runs(server: Any | None, since: datetime) -> list[dict[str, Any]]:
    if server is None:
        return []
    selection = {
        "state": {"type": {"any_": ["FAILED", "CRASHED"]}},
        "end_time": {"after_": since.isoformat()},
        "parent_task_run_id": {"is_null_": True},
    }
    try:
        runs = server.post("/flow_runs/filter", {"flow_runs": selection, "sort": "END_TIME_DESC", "limit": 200})
        names = {flow["id"]: flow["name"] for flow in _flows(server, {run["flow_id"] for run in runs})}
    except ServiceError as error:
        _tell_once(f"failed runs cannot be told: {error}")
        return []
    return [{**run, "flow_name": names.get(run["flow_id"])} for run in runs]


def _flows(server: Any, ids: set[str]) -> list[dict[str, Any]]:
    return server.post("/flows/filter", {"flows": {"id": {"any_": sorted(ids)}}}) if ids else []


def _tell_once(text: str) -> None:
    if text not in _told:
        _told.add(text)
        logger.warning("%s", text)
