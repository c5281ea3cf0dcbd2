"""The processes that Dask workers run in: started with a clean environment, watched, stopped, their lines read.

No PREFECT_* and no MLFLOW_* variable is passed on, so nothing of the orchestration is ever imported there. A worker
dies with the process that started it.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from datasets_pipeline.worker_units import LINES_VARIABLE
from ingot.line_logs import LineTail

_PR_SET_PDEATHSIG = 1
# How often the workers' lines are looked for while they work.
_LOG_SECONDS = 0.5
_STOP_SECONDS = 3.0


class WorkerProcesses:
    """The worker processes of one pool, by name."""

    def __init__(self, folder: Path, memory_bytes: int, numba_cache: Path | None) -> None:
        self._folder = folder
        self._memory_bytes = memory_bytes
        self._numba_cache = numba_cache
        self._tls: dict[str, Path] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._started = 0
        self._tail = LineTail()
        self._lines: dict[str, Path] = {}
        self._looked_at = 0.0

    def keep_certificates(self, texts: Mapping[str, str]) -> None:
        """Write what each `--tls-...` option of a worker names (`ca-file`, `cert`, `key`), for its owner alone."""
        folder = self._folder / "tls"
        folder.mkdir(mode=0o700)
        for name, text in texts.items():
            path = self._tls[name] = folder / f"{name}.pem"
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                file.write(text)

    def start(self, scheduler_address: str, kind: str) -> str:
        """Start a worker and return its name, `<kind>-<number>`; it connects to the scheduler by itself."""
        name = f"{kind}-{self._started}"
        self._started += 1
        command = [
            sys.executable, "-m", "distributed.cli.dask_worker", scheduler_address,
            "--name", name, "--nthreads", "1", "--no-nanny", "--no-dashboard",
            # Without an address the HTTP port, which --no-dashboard does not close, listens on all interfaces.
            "--dashboard-address", "127.0.0.1:0", "--host", "127.0.0.1",
            "--memory-limit", str(self._memory_bytes), "--death-timeout", "60",
            "--local-directory", str(self._folder),
            *(word for option, path in self._tls.items() for word in (f"--tls-{option}", str(path))),
        ]  # fmt: skip
        lines = self._lines[name] = self._folder / f"{name}.jsonl"
        environment = {**self._environment(), LINES_VARIABLE: str(lines)}
        with open(self._folder / f"{name}.log", "wb") as log:
            self._processes[name] = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, preexec_fn=_die_with_parent
            )
        return name

    def is_alive(self, name: str) -> bool:
        """Whether a worker runs."""
        return self._processes[name].poll() is None

    def pids(self) -> list[int]:
        """Process ids of the workers that run."""
        return [process.pid for process in self._processes.values() if process.poll() is None]

    def take_dead(self) -> Iterator[tuple[str, str]]:
        """(name, how it died) of each worker that has died since the last call; it is forgotten."""
        for name, process in list(self._processes.items()):
            if process.poll() is None:
                continue
            del self._processes[name]
            self.pass_on_lines(at_once=True)  # its last words before the news of its death
            status = process.returncode
            yield name, f"signal {-status}" if status < 0 else f"status {status}"

    def stop(self, name: str) -> None:
        """End one worker, and forget it."""
        process = self._processes.pop(name)
        process.terminate()
        process.wait()

    def stop_all(self) -> None:
        """End every worker, by force after three seconds, and forget them."""
        ending, self._processes = list(self._processes.values()), {}
        for process in ending:
            process.terminate()
        deadline = time.monotonic() + _STOP_SECONDS
        for process in ending:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def pass_on_lines(self, *, at_once: bool = False) -> None:
        """Say again, in the caller's task, what the workers said since the last look."""
        now = time.monotonic()
        if at_once or now - self._looked_at >= _LOG_SECONDS:
            self._looked_at = now
            self._tail.deliver((name.replace("-", " "), path) for name, path in self._lines.items())

    def _environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PREFECT_", "MLFLOW_", "INGOT_SECRET_"))
        }
        root = str(Path(__file__).resolve().parent.parent)
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, [root, kept.get("PYTHONPATH")]))
        # One thread a worker: libraries with pools of their own would share two cores among dozens.
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
            kept[name] = "1"
        kept["TOKENIZERS_PARALLELISM"] = "false"
        kept["DASK_DISTRIBUTED__LOGGING__DISTRIBUTED"] = "error"
        kept["DASK_DISTRIBUTED__WORKER__HTTP__ROUTES"] = "[]"
        if self._numba_cache is not None:
            kept["NUMBA_CACHE_DIR"] = str(self._numba_cache)
        return kept


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
