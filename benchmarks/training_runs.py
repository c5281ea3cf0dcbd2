"""One timed run of our pre-training stage, or of a peer over the same job: what the training benchmarks share."""

import json
import math
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from ingot import tracking
from tests.training.conftest import Place, make_tokens, tokens_ref, write_shard
from training.job import Job, StageOutput
from training.launch import _environment
from training.stages.pretrain import Config, run

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Seen:
    """What one run came to."""

    tokens_per_second: float
    loss: float
    peak_memory_bytes: int
    lines: list[dict[str, Any]]
    """Of metrics.jsonl; none of a peer."""


def make_place(root: Path, *, vocab_size: int, num_tokens: int) -> Place:
    """A store with one shard of random ids: how fast a step is does not depend on them."""
    make_tokens(root, num_bytes=20_000)  # a tokenizer for the checkpoints
    ids = np.random.default_rng(0).integers(0, vocab_size, num_tokens)
    shard = write_shard(root, "a" * 64, [ids.tolist()])
    return Place(root, tokens_ref((shard,), vocab_size=vocab_size))


def ours(
    place: Place, config: Config, *, name: str, threads: int, warm_steps: int, tracking_uri: str | None = None
) -> Seen:
    """Our stage as a user runs it: launcher, process group, checkpoints, metrics; to MLflow when there is one.

    The speed is that between the lines of metrics.jsonl after warm_steps and at the end, by their times: whatever
    happens in between, checkpoints too, is in it.
    """
    fingerprint = name.encode().hex().ljust(64, "0")[:64]
    lines: list[dict[str, Any]] = []
    tracked = nullcontext() if tracking_uri is None else tracking.open_run(
        tracking_uri, experiment="training", run_key=fingerprint, name=name
    )  # fmt: skip
    with tracked as follower:

        def follow(new: Sequence[dict[str, Any]]) -> None:
            lines.extend(new)
            if follower is not None:
                follower.log_metric_lines(new)

        output = StageOutput(
            str(place.root), fingerprint, place.root / name, "c" * 64, threads=threads, on_progress=follow
        )
        run(config, None, place.tokens, output)
    by_step = {line["step"]: line for line in lines}
    first, last = by_step[warm_steps], lines[-1]
    seconds = last["time"] - first["time"]
    speed = (last["tokens"] - first["tokens"]) / seconds
    return Seen(speed, last["loss"], last["peak_memory_bytes"], lines)


def peer(place: Place, config: Config, *, name: str, threads: int, warm_steps: int) -> Seen:
    """A peer's loop over the same job, with the environment that our ranks get."""
    path = place.root / f"{name}.json"
    job: Job = place.job(config, threads=threads)
    path.write_text(job.model_dump_json())
    command = [sys.executable, "-m", "benchmarks.training_peers", name, str(path), str(warm_steps)]
    ended = subprocess.run(command, cwd=ROOT, env=_environment(threads), capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"{name} ended with status {ended.returncode}:\n{ended.stderr[-2000:]}")
    return Seen(**json.loads(ended.stdout.strip().splitlines()[-1]), lines=[])


@dataclass(frozen=True)
class Ratio:
    """How much faster one is than another, over interleaved pairs."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:.3f} ({self.low:.3f} to {self.high:.3f})"


def ratio(faster: Sequence[float], than: Sequence[float]) -> Ratio:
    """Geometric mean of the pairs' ratios and its 90 % interval, by Student's t over their logarithms."""
    logs = [math.log(a / b) for a, b in zip(faster, than, strict=True)]
    middle = statistics.fmean(logs)
    if len(logs) < 2:
        return Ratio(math.exp(middle), math.nan, math.nan)
    half = float(stats.t.ppf(0.95, len(logs) - 1)) * statistics.stdev(logs) / math.sqrt(len(logs))
    return Ratio(*(math.exp(value) for value in (middle, middle - half, middle + half)))
