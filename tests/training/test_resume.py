"""Killed anywhere and started again, a run ends with the same weights, bit for bit."""

import random
import re
from pathlib import Path

import pytest

from tests.training.conftest import BESIDE, FINGERPRINT, TINY, Place, RankRunner


def crash_points() -> list[str]:
    """Every named point of the training code, read from the source so that a new one cannot be forgotten."""
    root = Path(__file__).parents[2]
    sources = [*root.glob("training/**/*.py"), root / "ingot/storage.py"]
    return sorted({name for path in sources for name in re.findall(r'crashpoint\("([\w.]+)"', path.read_text())})


NOT_IN_A_CLEAN_RUN = {"checkpoint.damaged.before", "checkpoint.damaged.after"}


def test_a_clean_run_passes_every_crash_point(clean: Place) -> None:
    passed = (clean.root / "crash.log").read_text().split()
    assert set(passed) == set(crash_points()) - NOT_IN_A_CLEAN_RUN


def test_a_run_with_checkpoints_beside_it_passes_the_same_points_as_often(
    clean: Place, place: Place, run_rank: RankRunner
) -> None:
    assert run_rank(place.job(BESIDE), crash_log=str(place.root / "crash.log")) == 0
    assert sorted((place.root / "crash.log").read_text().split()) == sorted(
        (clean.root / "crash.log").read_text().split()
    )


FILES = ["config.json", "metrics.jsonl", "model.safetensors", "optimizer.safetensors", "state.json", "tokenizer.json"]


@pytest.mark.parametrize(
    "point",
    [f"{name}:{n}" for name in sorted(set(crash_points()) - NOT_IN_A_CLEAN_RUN) for n in (1, 2)]
    + [f"checkpoint.file.after@{name}:3" for name in FILES],
)
def test_a_run_killed_at_a_crash_point_ends_with_the_same_weights(
    point: str, clean: Place, place: Place, run_rank: RankRunner
) -> None:
    assert run_rank(place.job(BESIDE), crash_at=point) == -9
    assert run_rank(place.job(BESIDE)) == 0
    assert place.weights_sha256() == clean.weights_sha256()
    assert same_curve(place, clean)


def same_curve(place: Place, clean: Place) -> bool:
    kept = ("step", "loss", "learning_rate", "grad_norm", "tokens", "epoch")
    lines, expected = ([{k: line.get(k) for k in kept} for line in run.metrics()] for run in (place, clean))
    return lines == expected


def test_a_run_killed_at_every_single_step_ends_with_the_same_weights(
    clean: Place, place: Place, run_rank: RankRunner
) -> None:
    for step in range(12):
        assert run_rank(place.job(BESIDE), crash_at=f"training.step.before@{step}") == -9
    assert run_rank(place.job(BESIDE)) == 0
    assert place.weights_sha256() == clean.weights_sha256()


def test_runs_killed_at_random_moments_end_with_the_same_weights(
    clean: Place, place: Place, run_rank: RankRunner
) -> None:
    moments, killed = random.Random(0), 0
    for number in range(8):
        job = place.job(BESIDE, fingerprint=f"{number:064x}")
        killed += run_rank(job, kill_after=moments.uniform(0.02, 0.3)) == -9
        assert run_rank(job) == 0
        assert place.weights_sha256(fingerprint=job.fingerprint) == clean.weights_sha256()
        assert same_curve(place, clean)
    assert killed >= 2


def test_the_last_two_checkpoints_and_the_milestones_are_kept(clean: Place) -> None:
    kept = sorted(path.name for path in (clean.root / "checkpoints" / FINGERPRINT).iterdir() if any(path.iterdir()))
    assert kept == ["00000009", "00000012"]


def test_an_earlier_milestone_outlives_the_last_two(place: Place, run_rank: RankRunner) -> None:
    config = TINY.model_copy(update={"decay_fraction": 0.7, "checkpoint_every_steps": 2})
    assert run_rank(place.job(config)) == 0
    steps = sorted(
        int(key.split("/")[2]) for key in place.store.list(f"checkpoints/{FINGERPRINT}/") if "manifest" in key
    )
    assert steps == [3, 10, 12]


def test_a_run_resumed_with_other_threads_says_so_and_is_not_called_exact(place: Place, run_rank: RankRunner) -> None:
    from training.checkpoints import read_manifest

    assert run_rank(place.job(), crash_at="training.step.before@7") == -9
    assert read_manifest(place.store, f"checkpoints/{FINGERPRINT}/00000006").exact
    assert run_rank(place.job(threads=2)) == 0
    assert "continues, not bit-exact: threads 1 -> 2" in (place.run_dir / "rank0.log").read_text()
    assert not read_manifest(place.store, f"checkpoints/{FINGERPRINT}/00000012").exact


def test_a_second_start_of_a_finished_run_writes_nothing(place: Place, run_rank: RankRunner) -> None:
    assert run_rank(place.job()) == 0
    files = {key: place.store.read_bytes(key) for key in place.store.list(f"checkpoints/{FINGERPRINT}/")}
    assert run_rank(place.job()) == 0
    assert files == {key: place.store.read_bytes(key) for key in place.store.list(f"checkpoints/{FINGERPRINT}/")}
