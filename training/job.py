"""What a process group is told: the stage, its inputs, where to write, and how it answers.

The launcher writes a `Job` as JSON into the run's local folder; rank 0 writes an `Outcome` or a
`Failure` back. No torch, no secrets (credentials of the store come from the environment).
"""

import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ingot.refs import CheckpointRef, MixtureRef, TokensRef

JOB_FILE = "job.json"
OUTCOME_FILE = "outcome.json"
FAILURE_FILE = "failure.json"
HEARTBEAT_FILE = "heartbeat.json"
METRICS_FILE = "metrics.jsonl"
HELDOUT_METRIC = "heldout_bits_per_byte"
"""Of a mixture followed by _ and the name of a corpus (`training/heldout.py`)."""
RANKS_LOCK = "ranks.lock"

OnProgress = Callable[[list[dict[str, Any]]], None]


@dataclass(frozen=True)
class StageOutput:
    """Where a training stage writes, and with what it may work. Nothing here changes the weights' meaning."""

    store_root: str
    fingerprint: str
    """The stage's fingerprint: the run's identity in the store."""
    run_dir: Path
    """Local folder for metrics.jsonl, heartbeat and logs; keep it between starts of one fingerprint."""
    recipe_digest: str
    num_ranks: int = 1
    """Processes that share each step; more than one changes the rounding of sums, not the data."""
    devices: tuple[str, ...] | None = None
    """Accelerators the ranks may see, one each, as CUDA_VISIBLE_DEVICES names them; None: what is there."""
    threads: int | None = None
    """CPU threads of a rank; None: physical cores / ranks. Recorded: exact resume needs the same number."""
    scratch_root: Path | None = None
    """Local folder for temporary files; None: the system's."""
    on_progress: OnProgress | None = None
    """Called in this process with new lines of metrics.jsonl, every line of the run at least once."""
    cancel: threading.Event | None = None
    """Set it to stop as TERM does: checkpoint and leave. For callers outside the main thread."""
    grace_seconds: float = 120.0
    """How long a stopping group may take to write its checkpoint before it is killed."""
    stall_timeout_seconds: float = 900.0
    """A group without a heartbeat for this long is dumped, killed and reported."""
    is_probe: bool = False
    """Steps that are only measured: nobody judges their learning rate."""


class Job(BaseModel):
    """One attempt at a stage, as the ranks read it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    config: dict[str, Any]
    start: CheckpointRef | None
    data: TokensRef | MixtureRef
    store_root: str
    scratch_root: Path | None
    fingerprint: str
    recipe_digest: str
    run_dir: Path
    threads: int
    attempt: str
    """Fresh for every start; heartbeat and outcome carry it, so that older files are not mistaken for new."""
    is_probe: bool = False


class Outcome(BaseModel):
    """How a process group ended when nothing went wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempt: str
    status: Literal["finished", "stopped"]
    checkpoint: CheckpointRef


class Failure(BaseModel):
    """The error a rank could name; anything else is in its log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempt: str
    rank: int
    kind: str
    message: str


def write_json(path: Path, value: BaseModel | dict[str, Any]) -> None:
    """Replace a small local file at once, so that a reader never sees half of it."""
    text = value.model_dump_json() if isinstance(value, BaseModel) else json.dumps(value)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text)
    os.replace(partial, path)
