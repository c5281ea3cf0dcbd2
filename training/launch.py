"""Start a stage's process group, watch it, and make sure nothing of it outlives us.

    launcher (this process) -> agent (torchrun, own session) -> ranks (own sessions)

TERM or INT here, or `StageOutput.cancel`, is passed on: the ranks checkpoint and leave. When any process
above a rank dies the kernel kills it; when a rank dies torchrun stops the others; a group whose work
does not move is dumped and killed. Locks in the run's folder keep two groups of one run apart. Costs about
6 s a start (two imports of torch).
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from ingot import errors
from ingot.errors import BusyError, IngotError, TrainingError
from ingot.line_logs import LineTail
from ingot.refs import CheckpointRef, MixtureRef, TokensRef
from ingot.storage import Store
from training.checkpoints import open_checkpoint
from training.environment import physical_cores
from training.job import (
    FAILURE_FILE,
    HEARTBEAT_FILE,
    JOB_FILE,
    METRICS_FILE,
    OUTCOME_FILE,
    RANKS_LOCK,
    Failure,
    Job,
    Outcome,
    StageOutput,
    write_json,
)
from training.metrics import MetricsTail, MetricsWriter
from training.processes import child_pids, try_lock

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer", Outcome, Failure)

LAUNCH_LOCK = "launch.lock"
AGENT_LOG = "agent.log"
_POLL_SECONDS = 0.2
_LOG_LINES = 15
_HIDDEN_PREFIXES = ("PREFECT_", "MLFLOW_", "INGOT_SECRET_")


class TrainingInterrupted(TrainingError):
    """The stage was asked to stop and left a checkpoint; starting it again continues."""

    code = "INGOT-INTERRUPTED"
    exit_code = 75


def run_group(
    stage: str, config: dict[str, Any], start: CheckpointRef | None, data: TokensRef | MixtureRef, output: StageOutput
) -> CheckpointRef:
    """Run a stage's ranks to the end and return the final checkpoint.

    Raises TrainingInterrupted when stopped, BusyError when another process runs the same folder, the
    rank's own error when it named one, else TrainingError with the end of its log.
    """
    output.run_dir.mkdir(parents=True, exist_ok=True)
    job = Job(
        stage=stage,
        config=config,
        start=start,
        data=data,
        store_root=output.store_root,
        scratch_root=output.scratch_root,
        fingerprint=output.fingerprint,
        recipe_digest=output.recipe_digest,
        run_dir=output.run_dir.absolute(),
        threads=output.threads or max(1, physical_cores() // output.num_ranks),
        attempt=uuid.uuid4().hex,
        is_probe=output.is_probe,
    )
    with _exclusive(output.run_dir), _stop_signals() as stop:
        outcome = _run_attempt(job, output, stop)
    if outcome.status == "stopped":
        raise TrainingInterrupted(
            f"training stopped as asked after step {outcome.checkpoint.step}, its checkpoint is kept; "
            "run the same command again to continue"
        )
    return outcome.checkpoint


@contextlib.contextmanager
def _exclusive(run_dir: Path) -> Iterator[None]:
    """Hold the run's folder; ranks of a killed launcher are waited for, they die within moments."""
    with contextlib.ExitStack() as held:
        for name, seconds in ((LAUNCH_LOCK, 0.0), (RANKS_LOCK, 30.0)):
            lock = try_lock(run_dir / name, timeout_seconds=seconds)
            if lock is None:
                raise BusyError(f"{run_dir} is in use by another run of this stage; wait for it or stop it")
            if name == LAUNCH_LOCK:
                held.enter_context(lock)
            else:
                lock.close()  # from here on the ranks hold it
        yield


@contextlib.contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that TERM and INT set while the block lasts; only the main thread can receive them."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    earlier = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, earlier, strict=True):
            signal.signal(number, handler)


def _run_attempt(job: Job, output: StageOutput, stop: threading.Event) -> Outcome:
    job_path = job.run_dir / JOB_FILE
    write_json(job_path, job)
    _remove(job.run_dir, "rank*.log", "rank*.jsonl", ".rendezvous-*", ".group-*")
    with open(job.run_dir / AGENT_LOG, "wb") as log_file:
        agent = subprocess.Popen(
            _command(job, job_path, output.num_ranks),
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            env=_environment(job.threads, output.devices),
            start_new_session=True,
        )
    try:
        asked = _watch(agent, job, output, stop)
    finally:
        agent.kill()  # nothing to do after a normal end; the ranks die with it
        agent.wait()
        _remove(job.run_dir, ".rendezvous-*", ".group-*")
    outcome = _read(job.run_dir / OUTCOME_FILE, Outcome, job.attempt)
    if agent.returncode == 0 and outcome is not None:
        return outcome
    if asked:
        raise TrainingInterrupted(
            "training was stopped before its ranks could write a checkpoint; run the same command again to "
            "continue from the last one"
        )
    raise _failure(job, agent.returncode, output.num_ranks)


def _remove(folder: Path, *patterns: str) -> None:
    for pattern in patterns:
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def _command(job: Job, job_path: Path, num_ranks: int) -> list[str]:
    return [
        *(sys.executable, "-m", "training.agent", str(os.getpid())),
        *("--nnodes", "1", "--nproc-per-node", str(num_ranks), "--max-restarts", "0"),
        # A rendezvous through a file and no TCP store: torch's listens on every network interface.
        *("--rdzv-backend", "c10d", "--rdzv-conf", "store_type=file", "--rdzv-id", job.attempt),
        *("--rdzv-endpoint", str(job.run_dir / f".rendezvous-{job.attempt}"), "--local-addr", "127.0.0.1"),
        # TERM is answered by training.agent; torchrun needs one signal to handle.
        *("--signals-to-handle", "SIGQUIT"),
        *("-m", "training.worker", str(job_path)),
    ]


def _environment(threads: int, devices: tuple[str, ...] | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_HIDDEN_PREFIXES)}
    root = str(Path(__file__).parent.parent)
    earlier = kept.get("PYTHONPATH")
    # libgomp's threads spin while they wait, which on shared cores takes the time of the thread they wait
    # for: with other processes at work 400 tokens/s instead of 2,000. A short spin, unless told otherwise.
    spin = {} if "OMP_WAIT_POLICY" in kept else {"GOMP_SPINCOUNT": "10000"}
    visible = {"CUDA_VISIBLE_DEVICES": ",".join(devices)} if devices is not None else {}
    return {
        **spin,
        **kept,
        **visible,
        "PYTHONPATH": f"{root}{os.pathsep}{earlier}" if earlier else root,
        "PYTHONUNBUFFERED": "1",
        # Libraries that choose their own number of threads would make the sums depend on the load.
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OMP_DYNAMIC": "FALSE",
        "MKL_DYNAMIC": "FALSE",
        "TOKENIZERS_PARALLELISM": "false",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
    }


def _watch(agent: subprocess.Popen[bytes], job: Job, output: StageOutput, stop: threading.Event) -> bool:
    """Wait for the group, delivering metrics; True when it was asked to stop."""
    tail, lines = MetricsTail(job.run_dir, output.on_progress), LineTail()
    ranks = [(f"rank {rank}", job.run_dir / f"rank{rank}.jsonl") for rank in range(output.num_ranks)]
    last_beat, last_time, started = None, time.monotonic(), False
    kill_at: float | None = None
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            agent.wait(timeout=_POLL_SECONDS)
        beat = _read_heartbeat(job)
        started = started or beat is not None
        if started:  # before the first beat metrics.jsonl may still hold lines that will be cut
            tail.deliver()
        lines.deliver(ranks)
        if agent.returncode is not None:
            return kill_at is not None
        now = time.monotonic()
        if beat != last_beat:
            last_beat, last_time = beat, now
        if kill_at is None and (stop.is_set() or (output.cancel is not None and output.cancel.is_set())):
            logger.info("asked to stop: waiting up to %.0f s for the checkpoint", output.grace_seconds)
            agent.send_signal(signal.SIGTERM)
            kill_at = now + output.grace_seconds
        if kill_at is not None and now > kill_at:
            logger.warning("no checkpoint within %.0f s: killing the group", output.grace_seconds)
            return True
        if now - last_time > output.stall_timeout_seconds:
            _dump_stacks(agent.pid)
            raise TrainingError(
                f"training made no step for {output.stall_timeout_seconds:.0f} s and was killed; the stacks are in "
                f"{job.run_dir}/rank0.log. Run it again to continue from the last checkpoint"
            )


def _read_heartbeat(job: Job) -> dict[str, Any] | None:
    try:
        beat = json.loads((job.run_dir / HEARTBEAT_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return beat if beat.get("attempt") == job.attempt else None


def _dump_stacks(agent_pid: int) -> None:
    for pid in child_pids(agent_pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGUSR1)
    time.sleep(0.5)


def _read(path: Path, kind: type[Answer], attempt: str) -> Answer | None:
    try:
        answer = kind.model_validate_json(path.read_text())
    except FileNotFoundError:
        return None
    return answer if answer.attempt == attempt else None


def _failure(job: Job, status: int, num_ranks: int) -> IngotError:
    failure = _read(job.run_dir / FAILURE_FILE, Failure, job.attempt)
    if failure is not None:
        kind = getattr(errors, failure.kind, TrainingError)
        return kind(failure.message)
    logs = [job.run_dir / f"rank{rank}.log" for rank in range(num_ranks)]
    log = next((path for path in logs if path.is_file() and path.stat().st_size), job.run_dir / AGENT_LOG)
    with open(log, errors="replace") as lines:
        end = "".join(deque(lines, maxlen=_LOG_LINES)).strip()
    return TrainingError(
        f"the training group ended with status {status} and no error of its own (killed, or out of memory?). "
        f"Run it again to continue from the last checkpoint; the end of {log}:\n{end}"
    )


def deliver_metrics(output: StageOutput, key: str) -> None:
    """Hand the lines stored with a checkpoint to on_progress, and put them into the run's folder."""
    store = Store(output.store_root, scratch_root=output.scratch_root)
    output.run_dir.mkdir(parents=True, exist_ok=True)
    with open_checkpoint(store, key) as (_, files):
        MetricsWriter(output.run_dir).restart(files.get(METRICS_FILE))
    MetricsTail(output.run_dir, output.on_progress).deliver()
