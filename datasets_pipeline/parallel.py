"""Map a function over work units on Dask workers: the only module that imports Dask.

Workers are processes of their own with one thread each (worker_processes.py); they talk TLS with certificates
made for this pool. Only unit descriptions and small results cross the scheduler; text never does. What our
packages log in a worker is said again here, in the task that called `map` (ingot/line_logs.py).

When a worker dies, the units it held are run again alone on a fresh worker and halved until the one
item that kills is alone; that item comes back as `Killed`. With `workers=0` everything runs in this
process, which is how most tests and a debugger see the same code.
"""

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Protocol

from datasets_pipeline.worker_processes import WorkerProcesses
from datasets_pipeline.worker_units import Done, module_names, run_in_worker, run_unit
from ingot.disk_space import told_when_full
from ingot.errors import DataError, StorageError

logger = logging.getLogger(__name__)

_WINDOW_PER_WORKER = 3
_NO_MORE: Any = object()
_START_SECONDS = 120.0
_POLL_SECONDS = 0.02
_FETCH_SECONDS = 10.0
# How long after a worker's death the scheduler may take to say so.
_REPORT_SECONDS = 15.0
# Workers that died with nothing in hand; more of them in one map means that workers cannot live here.
_MAX_IDLE_DEATHS = 8
_REGULAR, _ISOLATED = "worker", "isolated"


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
        units: Iterable[Any],
        *,
        split: Callable[[Any], Sequence[Any]] | None = None,
    ) -> Iterator[Done | Killed]:
        """Yield each unit as it finishes, in no promised order.

        units may be made as they are asked for: a few for each worker are held at a time.
        function is importable and takes one unit. split halves a unit; a unit it cannot halve
        (a list of one) that kills its worker is yielded as Killed. Exceptions of function rise here.
        """
        ...

    def renew(self) -> None:
        """Fresh workers for old ones, which keep the models and machine code of what they did; between two maps."""
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
    with told_when_full(scratch, "a pool of workers"):
        pool = DaskPool(workers, scheduler, scratch, numba_cache, memory_bytes)
    try:
        with told_when_full(scratch, "a pool of workers"):
            pool.start()
        yield pool
    finally:
        pool.close()


def finish_all(
    pool: Pool, function: Callable[[Any], Any], units: Iterable[Any], doing: str
) -> Iterator[tuple[Any, Any]]:
    """(unit, result) as units finish; DataError saying what was being done when one kills its worker."""
    for done in pool.map(function, units):
        if isinstance(done, Killed):
            raise DataError(f"{doing} killed its worker; give workers more memory, then run again")
        yield done.unit, done.result


class InProcessPool:
    """Runs units one after the other in this process."""

    num_workers = 1

    def map(
        self,
        function: Callable[[Any], Any],
        units: Iterable[Any],
        *,
        split: Callable[[Any], Sequence[Any]] | None = None,
    ) -> Iterator[Done | Killed]:
        """As `Pool.map`; a unit that kills the process kills the caller."""
        for unit in units:
            yield run_unit(function, unit)

    def renew(self) -> None:
        """Nothing: this process goes on."""

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
        self._workers = WorkerProcesses(self._folder, memory_bytes, numba_cache)
        self._isolated: str | None = None
        self._cluster: Any = None
        self._client: Any = None
        self._scheduler = scheduler
        self._deaths = 0
        self.num_workers = workers

    def start(self) -> None:
        """Start scheduler and workers, or connect to the scheduler that was named; StorageError when they fail to."""
        import dask
        from distributed import Client, LocalCluster
        from distributed.security import Security

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
        security = Security.temporary()
        self._workers.keep_certificates(
            {"ca-file": security.tls_ca_file, "cert": security.tls_worker_cert, "key": security.tls_worker_key}
        )
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
        self._start_workers()
        # Deaths are reported by us, with the unit; Dask's own words for them are errors without a cure.
        for name in ("distributed.scheduler", "distributed.core", "distributed.worker"):
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def _start_workers(self) -> None:
        names = [self._workers.start(self._cluster.scheduler_address, _REGULAR) for _ in range(self.num_workers)]
        deadline = time.monotonic() + _START_SECONDS
        # By name: workers that were ended may be known for a moment.
        while not self._known_workers().issuperset(names):
            if time.monotonic() > deadline:
                raise StorageError(
                    f"{self.num_workers} workers did not start within {_START_SECONDS:.0f} s; set INGOT_WORKERS lower, "
                    "or to 0 to run in one process"
                )
            time.sleep(_POLL_SECONDS)

    def _known_workers(self) -> set[str]:
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return {worker["name"] for worker in workers}

    def map(
        self,
        function: Callable[[Any], Any],
        units: Iterable[Any],
        *,
        split: Callable[[Any], Sequence[Any]] | None = None,
    ) -> Iterator[Done | Killed]:
        """As `Pool.map`, with a bounded window of submitted units; passes on what the workers log."""
        try:
            yield from self._map(function, units, split)
        finally:
            self._workers.pass_on_lines(at_once=True)

    def _map(
        self,
        function: Callable[[Any], Any],
        units: Iterable[Any],
        split: Callable[[Any], Sequence[Any]] | None,
    ) -> Iterator[Done | Killed]:
        waiting = iter(units)
        is_more = True
        suspects: deque[Any] = deque()
        running: dict[Any, Any] = {}
        window = _WINDOW_PER_WORKER * self.num_workers
        self._deaths = 0
        self._replace_dead()
        while is_more or running:
            while is_more and len(running) < window:
                unit = next(waiting, _NO_MORE)
                if unit is _NO_MORE:
                    is_more = False
                    break
                running[self._client.submit(run_in_worker, function, unit, pure=False, retries=0)] = unit
            self._workers.pass_on_lines()
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
        future = self._client.submit(
            *(run_in_worker, function, unit),
            pure=False,
            retries=0,
            workers=[self._isolated],
            allow_other_workers=False,
        )
        deadline: float | None = None
        while (end := _end_of(future)) is None:
            if not self._workers.is_alive(self._isolated):
                # A worker that died before the unit reached it, or after it was done, is not reported to us.
                deadline = deadline or time.monotonic() + _REPORT_SECONDS
                if time.monotonic() > deadline:
                    end = (None, _WorkerDied())
                    break
            self._workers.pass_on_lines()
            time.sleep(_POLL_SECONDS)
        future.release()
        return end

    def renew(self) -> None:
        """As `Pool.renew`, in a few seconds; workers of an existing scheduler are not ours to end."""
        if self._cluster is None:
            return
        self._workers.stop_all()
        self._workers.pass_on_lines(at_once=True)
        self._isolated = None
        self._start_workers()

    def modules(self) -> dict[str, list[str]]:
        """Modules of each worker process."""
        return {str(k): v for k, v in self._client.run(module_names).items()}

    def worker_pids(self) -> list[int]:
        """Process ids of the workers this pool started."""
        return self._workers.pids()

    def close(self) -> None:
        """Stop workers and scheduler; nothing is left behind."""
        import shutil

        self._workers.stop_all()
        if self._client is not None:
            self._client.close(timeout=5)
        if self._cluster is not None:
            self._cluster.close(timeout=5)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _replace_dead(self) -> None:
        """Start a new worker for each regular one that has died."""
        for name, how in self._workers.take_dead():
            self._deaths += 1
            logger.warning("[%s] died (%s); a new worker takes its place", name.replace("-", " "), how)
            if name == self._isolated:
                self._isolated = None
            else:
                self._workers.start(self._cluster.scheduler_address, _REGULAR)

    def _ensure_isolated(self) -> None:
        if self._isolated is not None and self._workers.is_alive(self._isolated):
            return
        self._isolated = self._workers.start(self._cluster.scheduler_address, _ISOLATED)
        deadline = time.monotonic() + _START_SECONDS
        while self._isolated not in self._known_workers():
            if time.monotonic() > deadline:
                raise StorageError(f"worker {self._isolated} did not start within {_START_SECONDS:.0f} s; try again")
            time.sleep(0.05)

    def _stop_isolated(self) -> None:
        if self._isolated is not None:
            self._workers.stop(self._isolated)
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
