"""How fast earlier runs of the same shape trained, from the metrics stored with their checkpoints.

Walks the model versions of the ledger from the newest back, and each version's stages by the checkpoint they
began with; reads two small files a stage. No torch.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

from ingot.errors import IntegrityError, NotFoundError
from ingot.ledger import Entry
from ingot.refs import TokensRef
from ingot.storage import Store
from training.checkpoints import read_manifest
from training.job import METRICS_FILE
from training.loss_prediction import FinishedRun, effective_tokens

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
        if vocab_size not in _vocabularies(store, entry.details):
            continue
        for values, key in _stages(store, recipe.get("train") or [], str(entry.details["checkpoint_key"])):
            if all(values.get(name) == stage.get(name) for name in _SHAPE):
                found = run_of(store, key)
                if found is not None:
                    return found
    return None


def _vocabularies(store: Store, details: Mapping[str, Any]) -> set[int]:
    """Sizes of a version's vocabulary: what its recipe asked for, and what it got, from a start or a small corpus."""
    asked = ((details.get("recipe") or {}).get("tokenizer") or {}).get("vocab_size")
    found = {int(asked)} if asked else set()
    used = details.get("tokens_key") or next((part["tokens_key"] for part in details.get("mixture", ())), None)
    if used is not None:
        with suppress(IntegrityError, NotFoundError, LookupError):
            found.add(int(store.read_record(used)["vocab_size"]))
    return found


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


def finished_on(store: Store, entries: Sequence[Entry], corpus: str) -> list[FinishedRun]:
    """Registered runs on versions of this corpus, the newest first, each fingerprint once.

    Only those of dense models that began with fresh weights and read this corpus alone, in one stage: another loss
    says little here.
    """
    found: dict[str, FinishedRun] = {}
    for entry in [entry for entry in reversed(entries) if entry.verb == "registered"][:_MAX_VERSIONS]:
        details = entry.details
        same = str(details.get("corpus", "")).rpartition("@")[0] == corpus
        stages = (details.get("recipe") or {}).get("train") or []
        if not same or len(stages) != 1 or stages[0].get("stage") != "pretrain" or stages[0].get("data"):
            continue
        if (stages[0].get("model") or {}).get("experts"):
            continue
        run = _finished(store, details)
        if run is not None:
            found.setdefault(str(details["run"]), run)
    return list(found.values())


def _finished(store: Store, details: Mapping[str, Any]) -> FinishedRun | None:
    key = str(details["checkpoint_key"])
    try:
        lines = [json.loads(line) for line in store.read_bytes(f"{key}/{METRICS_FILE}").splitlines()]
        tokens = TokensRef.model_validate({"corpus": details["corpus"], **store.read_record(details["tokens_key"])})
        if read_manifest(store, key).start is not None:
            return None
    except (IntegrityError, NotFoundError, LookupError, ValueError):
        return None
    loss = end_loss(lines)
    if loss is None or not tokens.num_bytes:
        return None
    bits = loss * tokens.num_tokens / (math.log(2) * tokens.num_bytes)
    name = f"{details['model']}/{details['version']}"
    worth = round(effective_tokens(int(details["tokens_seen"]), tokens.num_tokens))
    return FinishedRun(name, int(details["num_parameters"]), worth, bits)


def end_loss(lines: Sequence[Mapping[str, Any]]) -> float | None:
    """The mean training loss over the last twentieth of a run's tokens; None where no line says one."""
    read = [(line["tokens"], line["loss"]) for line in lines if "loss" in line and line.get("tokens")]
    last = [loss for tokens, loss in read if tokens >= 0.95 * read[-1][0]]
    return sum(last) / len(last) if last else None


def _start_seconds(store: Store, fingerprint: str, first_step: float) -> float:
    try:
        began = store.read_record(f"runs/{fingerprint}.json")["start_time_ms"] / 1000
    except (NotFoundError, IntegrityError, LookupError):
        return 0.0
    return float(first_step - began) if 0 <= first_step - began <= _MAX_START_SECONDS else 0.0
