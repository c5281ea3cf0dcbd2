"""The supervisor: keeps the stack running, and looks every half minute at what needs somebody.

A service that died is started again, one that keeps dying only every five minutes; then runs, slots and missed
nights are put right (deployments/reconcile.py). News are told and due retrains are started here too, because
an event can be lost and a process that looks cannot. Takes 80 MB; imports neither Prefect nor MLflow.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import ParamSpec, TypeVar

from deployments import local_stack, notify, prefect_api, processes, reconcile, retraining, services
from deployments.prefect_api import Server
from deployments.stack_state import ServiceState
from ingot import heartbeats
from ingot.errors import IngotError
from ingot.settings import Settings

logger = logging.getLogger("ingot.supervisor")

P = ParamSpec("P")
R = TypeVar("R")
LOOK_SECONDS = 2.0
PASS_SECONDS = 30.0
_MANY_DEATHS = 5
_IN_SECONDS = 600.0
_PAUSE_SECONDS = 300.0
_REAP = "from ingot import tracking; import os; tracking.reap_dead_runs(os.environ['MLFLOW_TRACKING_URI'])"

Chore = Callable[[Settings, Server | None], object]
"""Something to do now and then; the server is None while Prefect does not answer."""


class Supervisor:
    """Watches one stack; `run` returns when it is told to stop."""

    def __init__(self, settings: Settings, chores: tuple[Chore, ...] = ()) -> None:
        self.settings = settings
        self.chores = chores
        self.stopped = False
        self._deaths: deque[float] = deque(maxlen=_MANY_DEATHS)
        self._reap_due = _soon_and_later()

    def run(self) -> None:
        """Look at the services often and at everything else now and then, until `stop`."""
        next_pass = time.monotonic() + LOOK_SECONDS
        while not self.stopped:
            self._guarded(self.revive)
            if time.monotonic() >= next_pass:
                self.put_right()
                next_pass = time.monotonic() + PASS_SECONDS
            time.sleep(LOOK_SECONDS)

    def stop(self, number: int, frame: FrameType | None) -> None:
        """For SIGTERM: leave after what is under way."""
        self.stopped = True

    def revive(self) -> bool:
        """Start again what died; True when something had."""
        state = local_stack.read_state(self.settings)
        if state is None:
            return False  # `down` is at work, or somebody deleted the note: not ours to start anything
        # Also what is not in the note at all: a start that failed took it out.
        dead = [name for name in services.all_services(self.settings) if _is_down(state.service(name))]
        if not dead:
            return False
        now = time.monotonic()
        if len(self._deaths) == _MANY_DEATHS and now - self._deaths[0] < _IN_SECONDS:
            if now - self._deaths[-1] < _PAUSE_SECONDS:
                return False
            logger.error("%s keeps dying: %d starts in ten minutes; trying again", ", ".join(dead), _MANY_DEATHS)
        self._deaths.append(now)
        logger.warning("%s died; starting it again", ", ".join(dead))
        local_stack.up(self.settings)
        logger.warning("%s runs again", ", ".join(dead))
        return True

    def put_right(self) -> None:
        """Reconcile, then every chore; one that fails is logged and does not stop the others."""
        try:
            server = local_stack.prefect_server(self.settings)
        except IngotError as error:
            logger.warning("%s", error)
            return
        if not prefect_api.answers(f"{server.url}/health"):
            for chore in self.chores:
                self._guarded(chore, self.settings, None)
            return
        found = self._guarded(reconcile.reconcile, self.settings, server)
        if found is not None and found.ended:
            self._reap_due = _soon_and_later()
        for chore in self.chores:
            self._guarded(chore, self.settings, server)
        if self._reap_due and time.monotonic() >= self._reap_due[0]:
            self._reap_due = self._reap_due[1:]
            self._guarded(_reap_dead_runs, self.settings)

    def _guarded(self, call: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R | None:
        try:
            return call(*arguments, **options)
        except Exception as error:
            # Of others' errors only the kind: their words may quote what they worked on.
            words = str(error) if isinstance(error, IngotError) else ""
            logger.error("%s %s", type(error).__name__, words)
            return None


def _is_down(service: ServiceState) -> bool:
    """Whether a service of ours does not run; a server elsewhere is not ours to start."""
    elsewhere = service.identity is None and service.url is not None
    return not elsewhere and not processes.is_alive(service.identity)


def _soon_and_later() -> tuple[float, ...]:
    """When MLflow's runs are looked at: a heartbeat may still be too young to be called dead at first."""
    now = time.monotonic()
    return (now, now + heartbeats.DEAD_AFTER_SECONDS + PASS_SECONDS)


def _reap_dead_runs(settings: Settings) -> None:
    """In a process of its own: MLflow's client would stay here with 150 MB."""
    # MLflow's address as it is now: the one this process began with may be another program's by now.
    environment = {**os.environ, **local_stack.environment(local_stack.status(settings))}
    subprocess.run(
        [sys.executable, "-c", _REAP], check=True, stdin=subprocess.DEVNULL, timeout=120, env=environment
    )


def chores() -> tuple[Chore, ...]:
    """What is done besides keeping the stack alive."""
    return (notify.pass_once, retraining.poll)


def main() -> None:
    """Watch the stack of this process's settings; started by `ingot up`."""
    logging.basicConfig(format="%(asctime)s | %(levelname)-7s | %(message)s", level=logging.INFO)
    supervisor = Supervisor(Settings.from_environment(), chores())
    signal.signal(signal.SIGTERM, supervisor.stop)
    signal.signal(signal.SIGINT, supervisor.stop)
    supervisor.run()


if __name__ == "__main__":
    main()
