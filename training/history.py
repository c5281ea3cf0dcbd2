"""How fast earlier runs of the same shape trained, from the metrics stored with their checkpoints.

Walks the model versions of the ledger from the newest back, and each version's stages by the checkpoint they
began with; reads two small files a stage. No torch.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

from ingot.errors import IntegrityError, NotFoundError
from ingot.ledger import Entry
from ingot.storage import Store
from training.checkpoints import read_manifest
from training.job import METRICS_FILE

_SHAPE = ("stage", "model", "sequence_length", "batch_tokens", "micro_batch_rows")
"""What a step's time depends on; rates, seeds and the number of steps are not in it."""
_MAX_VERSIONS = 50
_MAX_START_SECONDS = 600.0  # longer than this between a run's record and its first step lay something else


@dataclass(frozen=True)
class EarlierRun:
    """A finished run: what it took."""

    fingerprint: str
    tokens_per_second: float
    start_seconds: float
    """From the start of the run to its first step."""
    finished: datetime
    device: str


def newest_of_shape(
    store: Store, entries: Sequence[Entry], stage: Mapping[str, Any], vocab_size: int
) -> EarlierRun | None:
    """The newest registered run whose stage (resolved values, `stage` the name) has this shape; None without one."""
    registered = [entry for entry in reversed(entries) if entry.verb == "registered"][:_MAX_VERSIONS]
    for entry in registered:
        recipe = entry.details.get("recipe") or {}
        if (recipe.get("tokenizer") or {}).get("vocab_size") != vocab_size:
            continue
        for values, key in _stages(store, recipe.get("train") or [], str(entry.details["checkpoint_key"])):
            if all(values.get(name) == stage.get(name) for name in _SHAPE):
                found = run_of(store, key)
                if found is not None:
                    return found
    return None


def _stages(store: Store, stages: list[dict[str, Any]], key: str) -> Iterator[tuple[dict[str, Any], str]]:
    """(values, checkpoint key) of a version's stages, the last one first."""
    for values in reversed(stages):
        yield values, key
        try:
            start = read_manifest(store, key).start
        except (IntegrityError, NotFoundError):
            return
        if start is None:
            return
        key = start


def run_of(store: Store, key: str) -> EarlierRun | None:
    """What the run behind a checkpoint took; None where its metrics say nothing."""
    try:
        manifest = read_manifest(store, key)
        lines = [json.loads(line) for line in store.read_bytes(f"{key}/{METRICS_FILE}").splitlines()]
    except (IntegrityError, NotFoundError, ValueError):
        return None
    speeds = [line["tokens_per_second"] for line in lines if line.get("tokens_per_second")]
    if not speeds:
        return None
    return EarlierRun(
        fingerprint=manifest.fingerprint,
        tokens_per_second=median(speeds),
        start_seconds=_start_seconds(store, manifest.fingerprint, float(lines[0]["time"])),
        finished=datetime.fromtimestamp(lines[-1]["time"], UTC),
        device=str(manifest.environment.get("device", "")),
    )


def _start_seconds(store: Store, fingerprint: str, first_step: float) -> float:
    try:
        began = store.read_record(f"runs/{fingerprint}.json")["start_time_ms"] / 1000
    except (NotFoundError, IntegrityError, LookupError):
        return 0.0
    return float(first_step - began) if 0 <= first_step - began <= _MAX_START_SECONDS else 0.0
