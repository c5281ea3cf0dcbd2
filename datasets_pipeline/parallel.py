"""Map a function over work units on Dask workers: the only module that imports Dask.

Workers are processes of their own with one thread each, started with a clean environment (no
PREFECT_*, no MLFLOW_*), so nothing of the orchestration is ever imported there; they talk TLS with
certificates made for this pool and die with the process that started them. Only unit descriptions
and small results cross the scheduler; text never does.

What our packages log in a worker is said again here, in the task that called `map` (ingot/line_logs.py). An
exception that is not ours rises here without its message, which may quote a document.

When a worker dies, the units it held are run again alone on a fresh worker and halved until the one
item that kills is alone; that item comes back as `Killed`. With `workers=0` everything runs in this
process, which is how most tests and a debugger see the same code.
"""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Protocol, TypeVar

from ingot.errors import IngotError, StorageError
from ingot.line_logs import LineTail, describe_error, write_lines_to

logger = logging.getLogger(__name__)

Unit = TypeVar("Unit")
Result = TypeVar("Result")

_WINDOW_PER_WORKER = 3
_START_SECONDS = 120.0
_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.02
_FETCH_SECONDS = 10.0
# How long after a worker's death the scheduler may take to say so.
_REPORT_SECONDS = 15.0
# How often the workers' lines are looked for while they work.
_LOG_SECONDS = 0.5
# A worker says what it has done after its first unit of a kind, and then so often.
_SUMMARY_SECONDS = 30.0
# Names the file of a worker's lines; how our code knows that it runs in a worker.
_LINES_VARIABLE = "PIPELINE_WORKER_LINES"
# Workers that died with nothing in hand; more of them in one map means that workers cannot live here.
_MAX_IDLE_DEATHS = 8


@dataclass(frozen=True)
class Done:
    """A finished unit: its result, and the worker process that did it."""

    unit: Any
    result: Any
    worker: str
    seconds: float


@dataclass(frozen=True)
class Killed:
    """A single item whose processing killed a fresh worker of its own."""

    unit: Any


class Pool(Protocol):
    """What runs units; `open_pool` gives one."""

    num_workers: int

    def map(
        self,
        function: Callable[[Any], Any],
        units: Sequence[Any],
        *,
        split: Callable[[Any], Sequence[Any]] | None = None,
    ) -> Iterator[Done | Killed]:
        """Yield each unit as it finishes, in no promised order.

        function is importable and takes one unit. split halves a unit; a unit it cannot halve
        (a list of one) that kills its worker is yielded as Killed. Exceptions of function rise here.
        """
        ...

    def modules(self) -> dict[str, list[str]]:
        """Names of the modules loaded in each worker."""
        ...


@contextmanager
def open_pool(
    workers: int,
    *,
    scheduler: str | None = None,
    scratch: Path,
    numba_cache: Path | None = None,
    memory_bytes: int = 2 << 30,
) -> Iterator[Pool]:
    """A pool of `workers` processes, or of an existing scheduler's, or this process when 0."""
    if scheduler is None and workers == 0:
        yield InProcessPool()
        return
    pool = DaskPool(workers, scheduler, scratch, numba_cache, memory_bytes)
    try:
        pool.start()
        yield pool
    finally:
        pool.close()


class InProcessPool:
    """Runs units one after the other in this process."""

    num_workers = 1

    def map(
        self,
        function: Callable[[Any], Any],
        units: Sequence[Any],
        *,
        split: Callable[[Any], Sequence[Any]] | None = None,
    ) -> Iterator[Done | Killed]:
        """As `Pool.map`; a unit that kills the process kills the caller."""
        for unit in units:
            yield _run(function, unit)

    def modules(self) -> dict[str, list[str]]:
        """Modules of this process."""
        return {str(os.getpid()): sorted(sys.modules)}


class DaskPool:
    """Runs units on Dask workers that this pool starts and watches, or on an existing scheduler."""

    def __init__(
        self,
        workers: int,
        scheduler: str | None,
        scratch: Path,
        numba_cache: Path | None,
        memory_bytes: int,
    ) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self._folder = Path(mkdtemp(prefix="dask-", dir=scratch))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._started = 0
        self._isolated: str | None = None
        self._memory_bytes = memory_bytes
        self._numba_cache = numba_cache
        self._cluster: Any = None
        self._client: Any = None
        self._scheduler = scheduler
        self._deaths = 0
        self._tail = LineTail()
        self._lines: dict[str, Path] = {}
        self._looked_at = 0.0
        self.num_workers = workers

    def start(self) -> None:
        """Start scheduler and workers, or connect to the scheduler that was named; StorageError when they fail to."""
        import dask
        from distributed import Client, LocalCluster

        # One death fails the unit at once: who is to blame is found out by us, alone and halved.
        dask.config.set(
            {
                "distributed.scheduler.allowed-failures": 0,
                "distributed.scheduler.worker-saturation": 1.0,
                "distributed.admin.tick.limit": "60s",
                "distributed.logging.distributed": "error",
                # The scheduler opens an HTTP port whatever is asked; without routes nothing answers there.
                "distributed.scheduler.http.routes": [],
            }
        )
        if self._scheduler is not None:
            self._client = Client(self._scheduler, set_as_default=False, timeout=_START_SECONDS)
            self.num_workers = max(1, len(self._client.scheduler_info()["workers"]))
            return
        security = self._make_security()
        self._cluster = LocalCluster(
            n_workers=0,
            processes=False,
            host="127.0.0.1",
            protocol="tls://",
            security=security,
            dashboard_address="127.0.0.1:0",
            # Else a page about every unit is served to whoever asks, where Bokeh is installed.
            scheduler_kwargs={"dashboard": False},
        )
        self._client = Client(self._cluster, security=security, set_as_default=False)
        for _ in range(self.num_workers):
            self._start_worker(isolated=False)
        try:
            self._client.wait_for_workers(self.num_workers, timeout=_START_SECONDS)
        except TimeoutError as error:
            raise StorageError(
                f"{self.num_workers} workers did not start within {_START_SECONDS:.0f} s; set INGOT_WORKERS lower, "
                "or to 0 to run in one process"
            ) from error
        # Deaths are reported by us, with the unit; Dask's own words for them are errors without a cure.
        for name in ("distributed.scheduler", "distributed.core", "distributed.worker"):
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def map(
        self,
        function: Callable[[Any], Any],
        units: Sequence[Any],
        *,
        split: Callable[[Any], Sequence[Any]] | None = None,
    ) -> Iterator[Done | Killed]:
        """As `Pool.map`, with a bounded window of submitted units; passes on what the workers log."""
        try:
            yield from self._map(function, units, split)
        finally:
            self._pass_on_lines(at_once=True)

    def _map(
        self,
        function: Callable[[Any], Any],
        units: Sequence[Any],
        split: Callable[[Any], Sequence[Any]] | None,
    ) -> Iterator[Done | Killed]:
        waiting = deque(units)
        suspects: deque[Any] = deque()
        running: dict[Any, Any] = {}
        window = _WINDOW_PER_WORKER * self.num_workers
        self._deaths = 0
        self._replace_dead()
        while waiting or running:
            while waiting and len(running) < window:
                unit = waiting.popleft()
                running[self._client.submit(_run_in_worker, function, unit, pure=False, retries=0)] = unit
            self._pass_on_lines()
            finished = [(future, end) for future in running if (end := _end_of(future)) is not None]
            if not finished:
                # Nobody reports a worker that dies with nothing in hand, and nothing runs without workers.
                self._replace_dead()
                if self._deaths - len(suspects) > _MAX_IDLE_DEATHS + self.num_workers:
                    raise StorageError(f"{self._deaths} workers died without work; give them more memory, run again")
                time.sleep(_POLL_SECONDS)
            for future, (result, error) in finished:
                unit = running.pop(future)
                future.release()
                if error is None:
                    yield result
                elif isinstance(error, _WorkerDied):
                    suspects.append(unit)
                else:
                    raise error
        yield from self._run_suspects(function, suspects, split)

    def _run_suspects(
        self,
        function: Callable[[Any], Any],
        suspects: deque[Any],
        split: Callable[[Any], Sequence[Any]] | None,
    ) -> Iterator[Done | Killed]:
        """Run units whose worker died, one at a time on a worker of their own, halving the guilty."""
        if self._cluster is None and suspects:
            raise StorageError(f"{len(suspects)} units lost their worker on the external scheduler; run again")
        while suspects:
            unit = suspects.popleft()
            self._ensure_isolated()
            result, error = self._run_isolated(function, unit)
            if error is None:
                yield result
            elif isinstance(error, _WorkerDied):
                self._replace_dead()
                parts = list(split(unit)) if split is not None else [unit]
                if len(parts) > 1:
                    suspects.extendleft(reversed(parts))
                else:
                    logger.warning("an item killed a worker of its own; it is quarantined")
                    yield Killed(unit)
            else:
                raise error
        self._stop_isolated()

    def _run_isolated(self, function: Callable[[Any], Any], unit: Any) -> "_End":
        assert self._isolated is not None
        process = self._processes[self._isolated]
        future = self._client.submit(
            *(_run_in_worker, function, unit),
            pure=False,
            retries=0,
            workers=[self._isolated],
            allow_other_workers=False,
        )
        deadline: float | None = None
        while (end := _end_of(future)) is None:
            if process.poll() is not None:
                # A worker that died before the unit reached it, or after it was done, is not reported to us.
                deadline = deadline or time.monotonic() + _REPORT_SECONDS
                if time.monotonic() > deadline:
                    end = (None, _WorkerDied())
                    break
            self._pass_on_lines()
            time.sleep(_POLL_SECONDS)
        future.release()
        return end

    def modules(self) -> dict[str, list[str]]:
        """Modules of each worker process."""
        return {str(k): v for k, v in self._client.run(_module_names).items()}

    def worker_pids(self) -> list[int]:
        """Process ids of the workers this pool started."""
        return [process.pid for process in self._processes.values() if process.poll() is None]

    def close(self) -> None:
        """Stop workers and scheduler; nothing is left behind."""
        import shutil

        for process in self._processes.values():
            process.terminate()
        deadline = time.monotonic() + 3
        for process in self._processes.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._client is not None:
            self._client.close(timeout=5)
        if self._cluster is not None:
            self._cluster.close(timeout=5)
        shutil.rmtree(self._folder, ignore_errors=True)

    # -- workers -------------------------------------------------------------------------------

    def _make_security(self) -> Any:
        from distributed.security import Security

        security = Security.temporary()
        os.chmod(self._folder, 0o700)
        self._tls = self._folder / "tls"
        self._tls.mkdir(mode=0o700)
        for name in ("ca_file", "worker_cert", "worker_key"):
            attribute = {
                "ca_file": security.tls_ca_file,
                "worker_cert": security.tls_worker_cert,
                "worker_key": security.tls_worker_key,
            }[name]
            path = self._tls / f"{name}.pem"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(attribute)
        return security

    def _start_worker(self, *, isolated: bool) -> str:
        name = f"{'isolated' if isolated else 'worker'}-{self._started}"
        self._started += 1
        command = [
            sys.executable, "-m", "distributed.cli.dask_worker", self._cluster.scheduler_address,
            "--name", name, "--nthreads", "1", "--no-nanny", "--no-dashboard",
            # Without an address the HTTP port, which --no-dashboard does not close, listens on all interfaces.
            "--dashboard-address", "127.0.0.1:0", "--host", "127.0.0.1",
            "--memory-limit", str(self._memory_bytes), "--death-timeout", "60",
            "--local-directory", str(self._folder),
            "--tls-ca-file", str(self._tls / "ca_file.pem"),
            "--tls-cert", str(self._tls / "worker_cert.pem"),
            "--tls-key", str(self._tls / "worker_key.pem"),
        ]  # fmt: skip
        lines = self._lines[name] = self._folder / f"{name}.jsonl"
        environment = {**self._worker_environment(), _LINES_VARIABLE: str(lines)}
        with open(self._folder / f"{name}.log", "wb") as log:
            self._processes[name] = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, preexec_fn=_die_with_parent
            )
        return name

    def _pass_on_lines(self, *, at_once: bool = False) -> None:
        """Say again, in the caller's task, what the workers said since the last look."""
        now = time.monotonic()
        if at_once or now - self._looked_at >= _LOG_SECONDS:
            self._looked_at = now
            self._tail.deliver((name.replace("-", " "), path) for name, path in self._lines.items())

    def _worker_environment(self) -> dict[str, str]:
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

    def _replace_dead(self) -> None:
        """Start a new worker for each regular one that has died."""
        for name, process in list(self._processes.items()):
            if process.poll() is None:
                continue
            del self._processes[name]
            self._deaths += 1
            self._pass_on_lines(at_once=True)  # its last words before the news of its death
            logger.warning("[%s] died (%s); a new worker takes its place", name.replace("-", " "), _death_of(process))
            if name == self._isolated:
                self._isolated = None
            else:
                self._start_worker(isolated=False)

    def _ensure_isolated(self) -> None:
        if self._isolated is not None and self._processes[self._isolated].poll() is None:
            return
        self._isolated = self._start_worker(isolated=True)
        deadline = time.monotonic() + _START_SECONDS
        while self._isolated not in {w["name"] for w in self._client.scheduler_info(n_workers=-1)["workers"].values()}:
            if time.monotonic() > deadline:
                raise StorageError(f"worker {self._isolated} did not start within {_START_SECONDS:.0f} s; try again")
            time.sleep(0.05)

    def _stop_isolated(self) -> None:
        if self._isolated is not None:
            process = self._processes.pop(self._isolated)
            process.terminate()
            process.wait()
            self._isolated = None


class _WorkerDied(Exception):
    """The worker process of a unit died while it ran."""


_End = tuple[Any, BaseException | None]
"""The result of a unit, or what was raised instead."""


def _end_of(future: Any) -> _End | None:
    """How a unit ended; None while it runs, or runs again because its result died with its worker."""
    from distributed import KilledWorker

    if future.status == "error":
        error = future.exception(timeout=_FETCH_SECONDS)
        return None, _WorkerDied() if isinstance(error, KilledWorker) else error
    if future.status == "cancelled":
        return None, StorageError("the Dask scheduler gave up a unit of work; run again")
    if future.status != "finished":
        return None
    try:
        return future.result(timeout=_FETCH_SECONDS), None
    except Exception:
        # A finished unit has raised nothing: what fails is fetching its result.
        return None


def _run(function: Callable[[Any], Any], unit: Any) -> Done:
    start = time.perf_counter()
    try:
        result = function(unit)
    except IngotError:
        raise
    except Exception as error:
        raise IngotError(
            f"{function.__name__} failed: {describe_error(error)}; its message is left out because it may quote a "
            "document. Please report it"
        ) from None
    return Done(unit, result, str(os.getpid()), time.perf_counter() - start)


class _Summary:
    """What this worker has done of one function since it last said so."""

    def __init__(self) -> None:
        self.num_units, self.seconds, self.told_at = 0, 0.0, float("-inf")


_summaries: dict[str, _Summary] = {}


def _run_in_worker(function: Callable[[Any], Any], unit: Any) -> Done:
    """`_run` in a Dask worker, which says what it does and where it failed."""
    path = os.environ.pop(_LINES_VARIABLE, None)
    if path is not None:
        write_lines_to(Path(path))
    try:
        done = _run(function, unit)
    except IngotError as error:
        logger.error("%s", error)
        raise
    summary = _summaries.setdefault(function.__name__, _Summary())
    summary.num_units += 1
    summary.seconds += done.seconds
    if time.monotonic() - summary.told_at >= _SUMMARY_SECONDS:
        units = "1 unit" if summary.num_units == 1 else f"{summary.num_units:,} units"
        logger.info("%s: %s in %.1f s", function.__name__, units, summary.seconds)
        summary.num_units, summary.seconds, summary.told_at = 0, 0.0, time.monotonic()
    return done


def _death_of(process: subprocess.Popen[bytes]) -> str:
    status = process.returncode
    return f"signal {-status}" if status < 0 else f"status {status}"


def _module_names() -> list[str]:
    return sorted(sys.modules)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
