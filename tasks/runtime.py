"""What every task of a run shares: settings, store, worker pool and actor."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

from datasets_pipeline.parallel import Pool, open_pool
from ingot import run_tags
from ingot.heartbeats import RUN_VARIABLE
from ingot.ledger import Actor
from ingot.line_logs import OUR_PACKAGES
from ingot.settings import Settings
from ingot.storage import Store

_pool: ContextVar[Pool | None] = ContextVar("ingot_pool", default=None)
_requested_by: ContextVar[str | None] = ContextVar("ingot_requested_by", default=None)


@dataclass(frozen=True)
class Runtime:
    """Places of this installation and who is at work."""

    settings: Settings
    store: Store
    actor: Actor

    @property
    def tracking_uri(self) -> str:
        """The MLflow server that shows this run."""
        return self.settings.environ.get("INGOT_MLFLOW_URI") or os.environ["MLFLOW_TRACKING_URI"]

    def mlflow_link(self, title: str, address: str) -> str:
        """A Markdown link to a page of MLflow (`#/models/...`), without what may stand before its host's name."""
        place = urlsplit(self.tracking_uri)
        base = urlunsplit(place._replace(netloc=place.netloc.rpartition("@")[2])).rstrip("/")
        return f"[{title}]({base}/{address})"


def runtime() -> Runtime:
    """The runtime of the current process, as its environment says."""
    settings, store = _places()
    return Runtime(settings, store, current_actor())


@lru_cache(maxsize=1)
def _places() -> tuple[Settings, Store]:
    settings = Settings.from_environment()
    for name in OUR_PACKAGES:
        # Else only warnings would reach a run's log: the root logger's level is Prefect's choice.
        if logging.getLogger(name).level == logging.NOTSET:
            logging.getLogger(name).setLevel(logging.INFO)
    return settings, Store(settings.store, scratch_root=settings.scratch)


@lru_cache(maxsize=1)
def current_actor() -> Actor:
    """The person of this process; of a run that a worker started, who asked for it, the schedule, or the service.

    Who pressed Run in the Prefect UI is not known: its open-source server has no users. A run asked for by
    `--detach` carries the name, as declared as everything that anybody can write into a tag.
    """
    run_id = os.environ.get(RUN_VARIABLE)
    if not run_id:
        return Actor.current()
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(run_id))
    person = run_tags.requested_by(run.tags)
    if person is not None:
        return Actor("person", person, "declared")
    deployment = f"prefect-deployment:{run.deployment_id}"
    return Actor("schedule" if run.auto_scheduled else "service", deployment, "declared")


@contextmanager
def on_request_of(name: str | None) -> Iterator[None]:
    """Record this person as having asked for what is made inside; None leaves it as it is."""
    token = _requested_by.set(name if name and name.strip() else _requested_by.get())
    try:
        yield
    finally:
        _requested_by.reset(token)


def requested_by() -> str | None:
    """Who asked for what is made now: the name given with the request, else the person of this process."""
    actor = current_actor()
    return _requested_by.get() or (actor.id if actor.kind == "person" else None)


@contextmanager
def worker_pool() -> Iterator[Pool]:
    """One pool of workers for all data tasks of a flow; a nested call uses the outer one."""
    outer = _pool.get()
    if outer is not None:
        yield outer
        return
    settings = runtime().settings
    with open_pool(
        settings.workers,
        scheduler=settings.scheduler,
        scratch=settings.scratch,
        numba_cache=settings.home / "numba",
    ) as pool:
        token = _pool.set(pool)
        try:
            yield pool
        finally:
            _pool.reset(token)


def current_pool() -> Pool:
    """The pool that the flow opened."""
    pool = _pool.get()
    assert pool is not None, "a data task runs inside `with worker_pool()`"
    return pool


def now() -> datetime:
    """The time, for provenance."""
    return datetime.now(UTC)
