"""Exact beyond one rank and one epoch: killed, continued by others, or told why not."""

import os
import random
from pathlib import Path

import pytest

from tests.training.conftest import BESIDE, FINGERPRINT, TINY, GroupRunner, Place, RankRunner, make_tokens
from training.checkpoints import read_manifest

LOOPED = BESIDE.model_copy(update={"tokens": 30 * 256})
"""30 steps of 8 windows; on the short corpus the second epoch begins before step 20."""
OTHER = "2" * 64
TOLERANCE = 1e-4
"""Of every logged loss when a run is continued by another number of ranks: docs/checkpoints.md states it."""


@pytest.fixture(scope="session")
def short_play(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("short")
    return Place(root, make_tokens(root, num_bytes=8_000))


@pytest.fixture
def short_place(short_play: Place, tmp_path: Path) -> Place:
    for folder in ("tokens", "tokenizers"):
        os.symlink(short_play.root / folder, tmp_path / folder)
    return Place(tmp_path, short_play.tokens)


@pytest.mark.parametrize("num_ranks", [1, 2])
def test_a_run_killed_in_its_second_epoch_ends_with_the_same_weights(
    num_ranks: int, short_place: Place, run_ranks: GroupRunner
) -> None:
    place = short_place
    assert run_ranks(place.job(LOOPED, fingerprint=OTHER), num_ranks) == [0] * num_ranks
    assert {line["step"]: line.get("epoch") for line in place.metrics()}[20] > 1
    for number, step in enumerate(sorted(random.Random(2).sample(range(20, 30), 3))):
        victim = number % num_ranks
        statuses = run_ranks(place.job(LOOPED), num_ranks, crash_at=f"training.step.before@{step}", victim=victim)
        assert statuses[victim] == -9 and 0 not in statuses  # nobody goes on without the one that is gone
    assert run_ranks(place.job(LOOPED), num_ranks) == [0] * num_ranks
    assert "continues at step" in (place.run_dir / "rank0.log").read_text()
    assert place.weights_sha256(30) == place.weights_sha256(30, OTHER)
    assert read_manifest(place.store, f"checkpoints/{FINGERPRINT}/00000030").exact


def test_a_run_of_one_rank_continued_by_two_holds_the_tolerance_and_is_not_called_exact(
    clean: Place, place: Place, run_rank: RankRunner, run_ranks: GroupRunner
) -> None:
    assert run_rank(place.job(), crash_at="training.step.before@7") == -9
    assert run_ranks(place.job(), 2) == [0, 0]
    assert "continues, not bit-exact: ranks 1 -> 2" in (place.run_dir / "rank0.log").read_text()
    assert not read_manifest(place.store, f"checkpoints/{FINGERPRINT}/00000012").exact
    for one, two in zip(clean.metrics(), place.metrics(), strict=True):
        assert (two["step"], two["tokens"]) == (one["step"], one["tokens"])
        assert two["loss"] == pytest.approx(one["loss"], rel=TOLERANCE)
    assert clean.weights_sha256() != place.weights_sha256()


def test_another_batch_under_the_same_fingerprint_is_refused_with_both_orders(
    place: Place, run_rank: RankRunner
) -> None:
    assert run_rank(place.job(), crash_at="training.step.before@7") == -9
    bigger = TINY.model_copy(update={"batch_tokens": 512, "tokens": 12 * 512})
    assert run_rank(place.job(bigger)) == 1
    message = place.failure().message
    assert "was read in another order" in message and "the fingerprint must change" in message
    assert "'rows_per_step': 8" in message and "'rows_per_step': 16" in message


def test_two_ranks_asked_to_leave_agree_on_the_step_and_exit_with_0(
    place: Place, run_ranks: GroupRunner, run_rank: RankRunner
) -> None:
    long = BESIDE.model_copy(update={"tokens": 400 * 256, "checkpoint_every_steps": 100})
    assert run_ranks(place.job(long), 2, term_after=3) == [0, 0]
    stopped = place.outcome()
    assert stopped.status == "stopped" and 0 < stopped.checkpoint.step < 400
    assert read_manifest(place.store, stopped.checkpoint.key).exact
