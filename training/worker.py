"""A rank: `python -m training.worker JOB.json`, alone or under torchrun.

Reads the job, sets threads and signals, runs the stage's loop, and leaves an outcome or a failure
beside the job. TERM and INT mean: finish the step, checkpoint, exit 0.
"""

import faulthandler
import importlib
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from ingot.errors import BusyError, IngotError
from ingot.line_logs import write_lines_to
from training.agent import AGENT_PID_VARIABLE
from training.job import FAILURE_FILE, OUTCOME_FILE, RANKS_LOCK, Failure, Job, write_json
from training.processes import die_with_parent, try_lock

logger = logging.getLogger(__name__)


def main(job_path: Path) -> int:
    """Run this rank; the exit status is 0 when it finished or stopped as asked."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    if AGENT_PID_VARIABLE in os.environ:
        die_with_parent(int(os.environ[AGENT_PID_VARIABLE]))
    job = Job.model_validate_json(job_path.read_text())
    rank = int(os.environ.get("RANK", "0"))
    log_to_file(job.run_dir / f"rank{rank}.log")
    write_lines_to(job.run_dir / f"rank{rank}.jsonl")
    return run_rank(job, stop, rank=rank, num_ranks=int(os.environ.get("WORLD_SIZE", "1")))


def run_rank(job: Job, stop: threading.Event, *, rank: int, num_ranks: int) -> int:
    """Run the stage's loop as one rank and write what became of it."""
    # Held until this process ends, however it ends: the next start waits for it.
    lock = try_lock(job.run_dir / RANKS_LOCK, shared=True, timeout_seconds=30)
    try:
        if lock is None:
            raise BusyError(f"{job.run_dir} is in use by another run; wait for it or stop it")
        loop = importlib.import_module(f"training.loops.{job.stage}")
        outcome = loop.train(job, stop, rank=rank, num_ranks=num_ranks)
    except Exception as error:
        # Whole tracebacks stay in the rank's log; only messages we wrote ourselves travel on.
        logger.exception("rank %d stopped", rank)
        if isinstance(error, IngotError):
            failure = Failure(attempt=job.attempt, rank=rank, kind=type(error).__name__, message=str(error))
            write_json(job.run_dir / FAILURE_FILE, failure)
        return 1
    if rank == 0:
        write_json(job.run_dir / OUTCOME_FILE, outcome)
    return 0


def log_to_file(path: Path) -> None:
    """Send this process's output and log lines to a file that only its owner reads."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    # The launcher asks for all stacks before it kills a group that does not move.
    faulthandler.register(signal.SIGUSR1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
