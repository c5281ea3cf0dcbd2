"""Signs of life of the flow runs of this process, and their end as Cancelled when somebody cancels them.

    @flow(name="curate corpus", persist_result=False)
    @watched
    def curate_corpus(...): ...

Each run, subflows too, keeps its file (ingot/heartbeats.py) while its function runs; one thread renews them all.
Prefect's engine calls a flow that ends by SIGTERM crashed, and one whose training stopped as asked failed: of a run
that is being cancelled, `watched` makes Cancelled instead. Costs one small file every five seconds.
"""

import functools
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast
from uuid import UUID

from ingot import heartbeats
from ingot.heartbeats import BEAT_SECONDS, RUN_MARK, RUN_VARIABLE, Heartbeat
from ingot.settings import Settings

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


def watched(function: Callable[P, R]) -> Callable[P, R]:
    """A flow's function that gives signs of life, and ends as Cancelled when that is what was asked for."""

    @functools.wraps(function)
    def run(*arguments: P.args, **options: P.kwargs) -> R:
        from prefect.exceptions import TerminationSignal

        with _heart.beating():
            try:
                return function(*arguments, **options)
            except (TerminationSignal, Exception):
                why = _heart.cancelled_because()
                if why is None:
                    raise
                from prefect.states import Cancelled

                # A second TERM (ours and the worker's) must not break off the report of this one's end.
                with suppress(ValueError):
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                return cast(R, Cancelled(message=why))

    return run


class _Heart:
    """The runs of this process, the outermost first, and the thread that renews their files."""

    def __init__(self) -> None:
        self.home = Path()
        self.runs: list[Heartbeat] = []
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Give signs of the current flow run while the block lasts; nothing outside of a flow run."""
        from prefect.runtime import flow_run

        run_id = str(flow_run.get_id() or "")
        if not run_id:
            yield
            return
        beat = heartbeats.of_this_process(run_id, str(flow_run.get_flow_name()))
        self._start(beat)
        try:
            yield
        finally:
            self._end(beat)

    def cancelled_because(self) -> str | None:
        """Why the outermost run is being cancelled; None when it is not, or when Prefect does not answer."""
        if not self.runs:
            return None
        word = heartbeats.asked_to_end(self.home, self.runs[0].flow_run_id)
        if word is not None:
            return word
        state = _state_of(self.runs[0].flow_run_id)
        if state is None or not (state.is_cancelling() or state.is_cancelled()):
            return None
        return state.message or "cancelled in the control room"

    def _start(self, beat: Heartbeat) -> None:
        if not self.runs:
            self.home = Settings.from_environment().home
            os.environ[RUN_MARK] = beat.flow_run_id
        self.runs.append(beat)
        _guarded(lambda: heartbeats.write(self.home, beat))
        if self._thread is None:
            self._wake.clear()
            self._thread = threading.Thread(target=self._beat, name="flow-heartbeat", daemon=True)
            self._thread.start()

    def _end(self, beat: Heartbeat) -> None:
        self.runs.remove(beat)
        if not self.runs:
            os.environ.pop(RUN_MARK, None)
            self._wake.set()
            if self._thread is not None:
                self._thread.join(timeout=BEAT_SECONDS)
                self._thread = None
        _guarded(lambda: heartbeats.remove(self.home, beat.flow_run_id))

    def _beat(self) -> None:
        asked = False
        while not self._wake.wait(BEAT_SECONDS):
            for beat in tuple(self.runs):
                _guarded(functools.partial(heartbeats.renew, self.home, beat))
            # A worker stops the run it started; nobody else would tell a run of the command line.
            if not asked and RUN_VARIABLE not in os.environ and self.cancelled_because() is not None:
                asked = True
                os.kill(os.getpid(), signal.SIGTERM)


_heart = _Heart()


def _state_of(run_id: str) -> Any:
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(UUID(run_id)).state
    except Exception as error:
        logger.debug("Prefect does not say whether the run is cancelled: %s", type(error).__name__)
        return None


def _guarded(call: Callable[[], None]) -> None:
    """A full disk must not end the run whose sign of life it refuses."""
    try:
        call()
    except OSError as error:
        logger.warning("no sign of life could be written: %s", type(error).__name__)
