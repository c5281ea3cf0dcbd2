"""Five steps of a stage before it is paid for: the real loop in its own process group, on random tokens.

Nothing of the store is touched: tokens and checkpoint lie in a scratch folder that is removed. The group is killed
after its last step, so that a large model writes no checkpoint. About six seconds to start, then six steps.
"""

import contextlib
import json
import logging
import statistics
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ingot.digests import digest_of, sha256_file
from ingot.refs import TokenShard, TokensRef
from ingot.storage import Store
from training.adopted_shape import AdoptedShape
from training.job import RANKS_LOCK, StageOutput, write_json
from training.launch import TrainingInterrupted, run_group
from training.machine import Machine
from training.models import EOS_ID, num_parameters
from training.processes import try_lock
from training.stages import continued_pretrain, pretrain

STEPS = 5
_WARM_STEPS = 2
"""Not counted: first touches of memory, compiled blocks, caches."""
START_SECONDS = 8.0
"""Two imports of torch."""
BY_DEFAULT_SECONDS = 30.0
"""A probe that is expected to take less is made without being asked for."""
LIMIT_SECONDS = 120.0
"""A probe is given up then."""
MICRO_BATCHES = 4
"""Of a rank and step, where the stage's own batch would take too long; the update then weighs a little too much."""
_CHECKPOINT_UP_TO = 100_000_000
"""Weights up to which the probe writes a checkpoint too (1.2 GB), whose making may be the peak of memory."""
_KEEPS = 1_000
"""Steps that the probe's run claims to have, so that it does not end, and save, before it is killed."""
_MOST_TOKENS = 2_000_000


@dataclass(frozen=True)
class Probe:
    """What a few steps were measured at."""

    tokens_per_second: float
    peak_memory_bytes: int
    """Of rank 0, as the run's metrics say it."""
    watts: float | None
    """None where nothing is known of the device."""
    is_measured_power: bool
    """Counted by the devices; else estimated as the run's own metrics are."""
    batch_tokens: int
    """Of the probe's steps; fewer than the stage's where the whole step would have taken too long."""
    ranks: int


def probe_config(config: pretrain.Config, *, rows: int | None = None) -> pretrain.Config:
    """The stage as the probe runs it: its shape, batch and options, on tokens of the probe's own.

    rows are those of a step, where they have to be fewer than the stage's.
    """
    values = {name: getattr(config, name) for name in pretrain.Config.model_fields}
    batch = min(config.batch_tokens, (rows or config.batch_tokens) * config.sequence_length)
    small = num_parameters(config.model, 1) <= _CHECKPOINT_UP_TO
    # A shape that came from outside is one of `continued_pretrain` alone.
    kind: type[pretrain.Config] = pretrain.Config
    if isinstance(config.model, AdoptedShape):
        kind = continued_pretrain.Config
    return kind.model_validate(
        {
            **values,
            **{"data": None, "gpus": None, "roll_back": None, "warmup_steps": None, "batch_tokens": batch},
            **{"tokens": _KEEPS * batch, "log_every_steps": 1},
            # Of step 2: the last steps' peak includes it.
            "checkpoint_every_steps": 2 if small else _KEEPS,
        }
    )


def seconds_expected(config: pretrain.Config, flops_per_token: float, flops: float) -> float:
    """How long a probe will about take at so many FLOP/s."""
    return START_SECONDS + (STEPS + 1) * config.batch_tokens * flops_per_token / flops


def probe(
    config: pretrain.Config,
    vocab_size: int,
    scratch: Store,
    *,
    ranks: int,
    threads: int | None,
    devices: tuple[str, ...] | None = None,
    limit_seconds: float = LIMIT_SECONDS,
) -> Probe | None:
    """Run the steps in `scratch`, a store that is thrown away; None when they were not done in limit_seconds.

    Raises what the run raises, for instance TrainingError when the memory does not suffice.
    """
    stage = continued_pretrain.STAGE if isinstance(config, continued_pretrain.Config) else pretrain.STAGE
    tokens = _random_tokens(scratch, config, vocab_size)
    lines: list[Mapping[str, Any]] = []
    cancel = threading.Event()

    def follow(new: Sequence[dict[str, Any]]) -> None:
        lines.extend(new)
        if any(line.get("step") == STEPS for line in new):
            cancel.set()

    run_dir = Path(scratch.root) / "run"
    output = StageOutput(
        store_root=scratch.root, fingerprint="0" * 64, run_dir=run_dir, recipe_digest="0" * 64, num_ranks=ranks,
        threads=threads, devices=devices, on_progress=follow, cancel=cancel, grace_seconds=0.0,
        scratch_root=Path(scratch.root) / "scratch",
    )  # fmt: skip
    timer = threading.Timer(limit_seconds, cancel.set)
    timer.daemon = True
    timer.start()
    try:
        with _quietly():
            run_group(stage, config.model_dump(mode="json"), None, tokens, output)
    except TrainingInterrupted:
        if not cancel.is_set():
            raise  # a person's signal
    finally:
        timer.cancel()
        lock = try_lock(run_dir / RANKS_LOCK, timeout_seconds=10)  # the ranks have died when it can be had
        if lock is not None:
            lock.close()
    return read_probe(lines, batch_tokens=config.batch_tokens, ranks=ranks)


def read_probe(lines: Sequence[Mapping[str, Any]], *, batch_tokens: int, ranks: int) -> Probe | None:
    """What the lines of metrics.jsonl say; None when too few steps are among them."""
    steps = [line for line in lines if "tokens_per_second" in line and line["step"] > _WARM_STEPS]
    if len(steps) < STEPS - _WARM_STEPS:
        return None
    speed = statistics.median(float(line["tokens_per_second"]) for line in steps)
    seconds = sum(batch_tokens / float(line["tokens_per_second"]) for line in steps)
    name = next((name for name in ("energy_wh", "energy_estimated_wh") if name in steps[-1]), None)
    watts = sum(float(line[name]) for line in steps) * 3600 / seconds if name else None
    peak = max(int(line["peak_memory_bytes"]) for line in steps)
    return Probe(speed, peak, watts, name == "energy_wh", batch_tokens, ranks)


def remember(
    home: Path, found: Probe, config: pretrain.Config, vocab_size: int, machine: Machine, ranks: int
) -> None:
    """Keep a probe on this machine, for the prediction of the run that follows."""
    path = _place(home, config, vocab_size, machine, ranks)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(found))


def recall(home: Path, config: pretrain.Config, vocab_size: int, machine: Machine, ranks: int) -> Probe | None:
    """The newest probe of this very stage on this very machine; None without one."""
    try:
        return Probe(**json.loads(_place(home, config, vocab_size, machine, ranks).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _place(home: Path, config: pretrain.Config, vocab_size: int, machine: Machine, ranks: int) -> Path:
    values = config.model_dump(mode="json", exclude={"seed", "learning_rate"})
    key = digest_of({"stage": values, "vocab_size": vocab_size, "machine": machine.kind, "ranks": ranks})
    return home / "probes" / f"{key}.json"


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the launcher's word that it kills the group, which here is meant."""
    launcher = logging.getLogger("training.launch")
    before = launcher.level
    launcher.setLevel(logging.ERROR)
    try:
        yield
    finally:
        launcher.setLevel(before)


def _random_tokens(scratch: Store, config: pretrain.Config, vocab_size: int) -> TokensRef:
    """Ids as likely each, ends of documents among them; speed and memory do not depend on which they are."""
    count = min(_MOST_TOKENS, (STEPS + 1) * config.batch_tokens) + config.sequence_length + 1
    wide = vocab_size > 1 << 16
    ids = np.random.default_rng(0).integers(1, vocab_size, count)
    ids[::500] = EOS_ID
    ids[-1] = EOS_ID
    folder = Path(scratch.root) / "tokens"
    folder.mkdir(parents=True, exist_ok=True)
    ids.astype("<u4" if wide else "<u2").tofile(folder / "probe.bin")
    ends = np.concatenate([[0], np.flatnonzero(ids == EOS_ID) + 1])
    ends.astype("<u8").tofile(folder / "probe.idx")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        scratch.put_bytes(f"tokenizers/probe/{name}", b"{}", overwrite=True)
    shard = TokenShard(
        bin_key="tokens/probe.bin", bin_sha256=sha256_file(folder / "probe.bin"), idx_key="tokens/probe.idx",
        idx_sha256=sha256_file(folder / "probe.idx"), shard_sha256="0" * 64, num_tokens=count,
        num_documents=len(ends) - 1, dtype="uint32" if wide else "uint16",
    )  # fmt: skip
    return TokensRef(
        corpus="probe@1", corpus_root_digest="0" * 64, tokenizer_digest="0" * 64, tokenizer_key="tokenizers/probe",
        vocab_size=vocab_size, split="train", shards=(shard,), num_tokens=count, num_documents=len(ends) - 1,
        num_bytes=count,
    )  # fmt: skip
