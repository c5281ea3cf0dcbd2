"""The life of one run in MLflow: opened, fed, and ended with the status it deserves.

A server that is dead or slow never stops the work: what could not be sent stays queued, and a later
`replay` or `ingot rebuild` catches up.
"""

import atexit
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import FrameType, TracebackType
from typing import Any

from ingot import tracking
from ingot.tracking_records import Point, RunRecord, RunStatus, as_json, points

logger = logging.getLogger(__name__)

_PAUSE_SECONDS = 30.0
_BATCH_POINTS = 1000  # MLflow's limit for one request
_QUEUE_POINTS = 200_000  # about 50 MB; beyond it, the file is replayed instead


class _Link:
    """Calls that may fail: counted, reported once, and not repeated for a while after a failure."""

    def __init__(self, tracking_uri: str) -> None:
        self.tracking_uri = tracking_uri
        self.failures = 0
        self._client: Any = None
        self._silent_until = 0.0

    def attempt(self, call: Callable[[Any], None]) -> bool:
        """Make the call; False when the server did not do it, or is left in peace after a failure."""
        if time.monotonic() < self._silent_until:
            return False
        try:
            if self._client is None:
                self._client = tracking.connect(self.tracking_uri)
            call(self._client)
        except Exception as error:
            if not self.failures:
                logger.warning(
                    "MLflow at %s does not take the run (%s: %s); work goes on, the curves are sent later",
                    self.tracking_uri,
                    type(error).__name__,
                    str(error)[:200],
                )
            self.failures += 1
            self._silent_until = time.monotonic() + _PAUSE_SECONDS
            return False
        return True

    def retry_now(self) -> None:
        """End the pause after a failure: the caller has a reason to try at once."""
        self._silent_until = 0.0


class TrackedRun:
    """One run in MLflow, opened by `tracking.open_run` and used as a context.

    Leaving the block normally ends it FINISHED; an exception, SIGTERM or the end of the interpreter
    ends it FAILED; after a SIGKILL its heartbeat stops and `reap_dead_runs` does. No method raises
    because of MLflow.
    """

    def __init__(
        self, tracking_uri: str, record: RunRecord, *, heartbeat_seconds: float = tracking.HEARTBEAT_SECONDS
    ) -> None:
        self.record = record
        self._link = _Link(tracking_uri)
        self._run_id: str | None = None
        self._logged: dict[str, int] = {}
        self._finished_ms: int | None = None
        self._queue: list[Point] = []
        self._overflowed = False
        self._artifacts = dict(record.artifacts)
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._ended = False
        self._heartbeat_seconds = heartbeat_seconds
        self._thread: threading.Thread | None = None
        self._old_handler: Any = None

    @property
    def failures(self) -> int:
        """How many calls MLflow did not answer well; 0 means that it has everything so far."""
        return self._link.failures

    @property
    def is_complete(self) -> bool:
        """True when MLflow has every line and file handed over until now."""
        waiting = self._queue or self._artifacts or self._overflowed
        return self._run_id is not None and not waiting

    def start(self) -> "TrackedRun":
        """Find or create the run, begin its heartbeat and arrange for its end."""
        with self._lock:
            self._flush()
        self._thread = threading.Thread(target=self._beat, name="mlflow-heartbeat", daemon=True)
        self._thread.start()
        atexit.register(self._end_at_exit)
        in_main = threading.current_thread() is threading.main_thread()
        # Prefect has a handler that raises, which ends the block: only the default one is replaced.
        if in_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self._old_handler = signal.signal(signal.SIGTERM, self._on_sigterm)
        return self

    def log_metric_lines(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Send lines of metrics.jsonl with their own times; what MLflow has already is not sent again.

        A step that a resumed run repeats is known by (key, step) and skipped.
        """
        with self._lock:
            if self._overflowed:
                return
            self._queue.extend(points(lines))
            if len(self._queue) > _QUEUE_POINTS:
                # Sending what comes after a gap would make it permanent: a replay starts at the last step.
                self._overflowed = True
                self._queue.clear()
                return
            self._flush()

    def log_html(self, name: str, html: str) -> None:
        """Show a small page under this file name, for instance `card.html`. No document text in it."""
        self._add_artifact(name, html)

    def log_json(self, name: str, value: Any) -> None:
        """Show a small JSON file under this name."""
        self._add_artifact(name, as_json(value))

    def end(self, status: RunStatus, *, reason: str = "", end_time_ms: int | None = None) -> None:
        """Send what is queued and set the final status; later calls do nothing."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            self._stop.set()
            self._link.retry_now()
            self._flush()
            if status == "FINISHED" and end_time_ms is None:
                end_time_ms = self._finished_ms  # else a second start would make the run look hours long
            if self._run_id is not None:
                run_id = self._run_id
                self._link.attempt(lambda client: tracking.terminate(client, run_id, status, reason, end_time_ms))
        atexit.unregister(self._end_at_exit)
        if self._old_handler is not None and signal.getsignal(signal.SIGTERM) == self._on_sigterm:
            signal.signal(signal.SIGTERM, self._old_handler)
        if not self.is_complete:
            logger.warning(
                "MLflow missed part of run %s (%d failed calls); `ingot rebuild` sends it from the store",
                self.record.name,
                self.failures,
            )

    def __enter__(self) -> "TrackedRun":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.end("FINISHED")
        else:
            # The type alone: a message may quote a document.
            self.end("FAILED", reason=kind.__name__)

    def _add_artifact(self, name: str, text: str) -> None:
        with self._lock:
            self._artifacts[name] = text
            self._flush()

    def _flush(self) -> None:
        if self._run_id is None and not self._link.attempt(self._open):
            return
        while self._queue and self._link.attempt(self._send_points):
            pass
        while self._artifacts and self._link.attempt(self._send_artifact):
            pass

    def _open(self, client: Any) -> None:
        self._run_id, self._logged, self._finished_ms = tracking.open_remote(client, self.record)

    def _send_points(self, client: Any) -> None:
        batch = self._queue[:_BATCH_POINTS]
        self._logged = tracking.log_points(client, self._id, batch, self._logged)
        del self._queue[: len(batch)]

    def _send_artifact(self, client: Any) -> None:
        name, text = next(iter(self._artifacts.items()))
        client.log_text(self._id, text, name)
        del self._artifacts[name]

    def _send_heartbeat(self, client: Any) -> None:
        client.set_tag(self._id, tracking.HEARTBEAT_TAG, str(tracking.now_ms()))

    @property
    def _id(self) -> str:
        assert self._run_id is not None, "a run is opened before anything is sent"
        return self._run_id

    def _beat(self) -> None:
        while not self._stop.wait(self._heartbeat_seconds):
            with self._lock:
                if self._ended:
                    return
                self._flush()
                if self._run_id is not None:
                    self._link.attempt(self._send_heartbeat)

    def _end_at_exit(self) -> None:
        self.end("FAILED", reason="the process ended without ending its run")

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        self.end("FAILED", reason="SIGTERM")
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
