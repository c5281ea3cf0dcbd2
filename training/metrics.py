"""metrics.jsonl: the truth about a run's curves, one JSON object a line, written by rank 0.

MLflow is fed from it later (CONTRACTS 14). The lines up to a checkpoint are stored with it, so a resumed
run continues exactly there, also on another machine, and curves can be rebuilt from the store alone.
"""

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

from training.job import HEARTBEAT_FILE, METRICS_FILE, OnProgress, write_json

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 1.0


class MetricsWriter:
    """Appends lines to metrics.jsonl in a run's local folder."""

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / METRICS_FILE

    def restart(self, earlier: Path | None) -> None:
        """Begin with the lines of a checkpoint and none after them; with no lines when there is none."""
        partial = self.path.with_name(f".{METRICS_FILE}.{os.getpid()}")
        partial.write_bytes(earlier.read_bytes() if earlier else b"")
        os.replace(partial, self.path)

    def write(self, line: dict[str, Any]) -> None:
        """Append one line; it is whole or absent after a crash of this process."""
        with open(self.path, "a") as lines:
            lines.write(json.dumps({"time": round(time.time(), 3), **line}) + "\n")

    def so_far(self) -> bytes:
        """The lines written until now, for a checkpoint."""
        return self.path.read_bytes()


class Heartbeat:
    """Says from inside the work that it moves: step and time, at most once a second."""

    def __init__(self, run_dir: Path, attempt: str, total_steps: int) -> None:
        self._path = run_dir / HEARTBEAT_FILE
        self._fixed = {"attempt": attempt, "pid": os.getpid(), "total_steps": total_steps}
        self._last = 0.0

    def beat(self, step: int) -> None:
        """Record the number of finished steps."""
        now = time.monotonic()
        if now - self._last >= HEARTBEAT_SECONDS:
            self._last = now
            write_json(self._path, {**self._fixed, "step": step, "time": round(time.time(), 3)})


class MetricsTail:
    """Hands new lines of metrics.jsonl to a callback; lines it refuses are offered again.

    A callback that raises never stops training: the file keeps the lines.
    """

    def __init__(self, run_dir: Path, on_progress: OnProgress | None) -> None:
        self._path = run_dir / METRICS_FILE
        self._on_progress = on_progress
        self._offset = 0
        self._complained = False

    def deliver(self) -> None:
        """Deliver the whole lines that were not delivered yet."""
        if self._on_progress is None or not self._path.is_file():
            return
        with open(self._path, "rb") as lines:
            lines.seek(self._offset)
            data = lines.read()
        whole = data[: data.rfind(b"\n") + 1]
        if not whole:
            return
        try:
            self._on_progress([json.loads(line) for line in whole.splitlines()])
        except Exception as error:
            if not self._complained:
                logger.warning("progress is not delivered (%s); training goes on, metrics.jsonl keeps it", error)
            self._complained = True
            return
        self._offset += len(whole)
