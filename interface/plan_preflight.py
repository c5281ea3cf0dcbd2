"""`ingot plan --preflight`: the checks that a stage makes before step 0, now, on the newest version's token files."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ingot import errors, manifest
from ingot.config import Recipe, recipe_digest
from ingot.errors import NotFoundError, TrainingError
from ingot.settings import Settings
from ingot.storage import Store
from interface.output import Printer

LIMIT_SECONDS = 300.0


def run_preflight(recipe: Recipe, store: Store, settings: Settings) -> Mapping[str, Any] | None:
    """What the checks of the first stage found; None when the recipe trains nothing.

    In a process of its own, so that the model's memory is given back. Raises what failed; NotFoundError without token
    files, because there is nothing to look at.
    """
    from datasets_pipeline.tokenizer_sources import find_made
    from datasets_pipeline.tokens import find_tokens_by
    from tasks.mixtures import known_data
    from tasks.starts import begun, find_start, given_tokenizer
    from tasks.training import with_seed
    from training.job import Job, write_json

    if not recipe.train:
        return None
    known = manifest.versions_of(store, recipe.corpus)
    start = find_start(store, recipe)
    tokens = None
    if known:
        newest, name = manifest.read(store, recipe.corpus, known[-1]), f"{recipe.corpus}@{known[-1]}"
        tokenizer = given_tokenizer(store, recipe, start) or find_made(store, newest, recipe.tokenizer)
        tokens = find_tokens_by(store, name, newest, tokenizer) if tokenizer else None
    entry = with_seed(begun(recipe, start).train[0], recipe)
    data = known_data(store, entry, tokens) if tokens is not None else None
    if data is None:
        raise NotFoundError(
            f"--preflight: {recipe.corpus} has no version with token files of this recipe's tokenizer, and there is "
            "nothing to look at; `ingot train` makes them and does the same checks before step 0"
        )
    with store.scratch("preflight") as folder:
        job = Job(
            stage=entry.name, config=entry.config.model_dump(mode="json"), start=start.checkpoint if start else None,
            data=data, store_root=store.root, scratch_root=settings.scratch, fingerprint="0" * 64,
            recipe_digest=recipe_digest(recipe), run_dir=folder / "run", threads=settings.train_threads,
            attempt="preflight",
        )  # fmt: skip
        write_json(folder / "job.json", job)
        return _ask(folder / "job.json", settings, ranks=getattr(entry.config, "gpus", None) or settings.ranks)


def _ask(job: Path, settings: Settings, *, ranks: int) -> Mapping[str, Any]:
    threads = str(settings.train_threads)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "training.preflight", str(job), str(ranks)],
            cwd=Path(__file__).parents[1], env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise TrainingError(
            f"--preflight took more than {LIMIT_SECONDS:.0f} s and was ended; plan a smaller model, or leave it out"
        ) from None
    try:
        answer: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise TrainingError(
            f"--preflight ended with status {done.returncode} (out of memory?); the end of what it said: "
            f"{done.stderr[-500:]}"
        ) from None
    if "found" not in answer:
        raise getattr(errors, answer["kind"], TrainingError)(answer["message"])
    found: Mapping[str, Any] = answer["found"]
    return found


def print_preflight(found: Mapping[str, Any], printer: Printer) -> None:
    """One row a check."""
    printer.heading("Pre-flight, train.0")
    printer.table([[name, "passed", json.dumps(value)] for name, value in found.items()], ["", "", "found"])
