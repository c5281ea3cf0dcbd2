"""Flows to be followed and cancelled: one with a stubborn process beside it, one with Dask workers, one that trains."""

import subprocess
import sys
import time
from pathlib import Path

from prefect import flow, task

from tasks.heartbeat import watched

_STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


@flow(name="curate corpus", persist_result=False)
@watched
def curate_corpus(recipe: str, overrides: dict[str, str] | None = None) -> str:
    """Start a process that no TERM stops, in a session of its own, and wait for it."""
    stubborn = subprocess.Popen([sys.executable, "-c", _STUBBORN], start_new_session=True)
    Path(recipe).write_text(str(stubborn.pid))
    return in_parts(recipe)


@flow(name="parts", persist_result=False)
@watched
def in_parts(recipe: str) -> str:
    """A subflow with one task."""
    return wait_long(recipe)


@task(name="wait long", persist_result=False)
def wait_long(recipe: str) -> str:
    """Ten minutes."""
    time.sleep(600)
    return recipe


def slowly(unit: int) -> int:
    """One unit of work for a Dask worker."""
    time.sleep(600)
    return unit


@flow(name="spread", persist_result=False)
@watched
def spread(path: str) -> int:
    """Keep two Dask workers busy."""
    from datasets_pipeline.parallel import open_pool

    folder = Path(path)
    with open_pool(2, scratch=folder) as pool:
        (folder / "begun").touch()
        return sum(done.result for done in pool.map(slowly, list(range(8))))


@flow(name="train model", persist_result=False)
@watched
def train(root: str, tokens: str) -> int:
    """Train a tiny model in a process group of its own, for far too long."""
    from ingot.refs import TokensRef
    from tests.training.conftest import FINGERPRINT, TINY
    from training.job import StageOutput
    from training.stages.pretrain import run

    config = TINY.model_copy(update={"tokens": 40_000 * TINY.batch_tokens, "checkpoint_every_steps": 40_000})
    output = StageOutput(root, FINGERPRINT, Path(root) / "run", "c" * 64, threads=1)
    return run(config, None, TokensRef.model_validate_json(tokens), output).step
