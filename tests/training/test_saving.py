"""Checkpoints written beside training are those of a run that stops for them, and nothing is lost when one fails."""

import json
import threading
from pathlib import Path

import pytest
import torch

from tests.training.conftest import BESIDE, FINGERPRINT, TINY, Place, RankRunner
from tests.training.damages import MANIFEST, WEIGHTS, flip_a_bit
from training.checkpoints import CheckpointManifest, list_steps, retire_checkpoints
from training.saving import Saver, Snapshot
from training.stages.pretrain import identity_values

OFTEN = BESIDE.model_copy(update={"decay_fraction": 0.7, "checkpoint_every_steps": 2})
"""Checkpoints after every second step, and one kept after step 3, where the decay begins."""


def test_the_files_are_those_of_a_run_that_stops_for_its_checkpoints(
    clean: Place, place: Place, run_rank: RankRunner
) -> None:
    assert run_rank(place.job(BESIDE)) == 0
    for step in ("00000009", "00000012"):
        stopped, beside = (run.root / "checkpoints" / FINGERPRINT / step for run in (clean, place))
        names = sorted(path.name for path in stopped.iterdir())
        assert sorted(path.name for path in beside.iterdir()) == names
        for name in set(names) - {MANIFEST, "metrics.jsonl", "state.json"}:
            assert (beside / name).read_bytes() == (stopped / name).read_bytes(), name
        states = [json.loads((folder / "state.json").read_text()) for folder in (stopped, beside)]
        assert [state["config"].pop("async_checkpoints") for state in states] == [False, True]
        assert states[0] == states[1]


def test_where_checkpoints_are_written_is_no_part_of_what_is_trained() -> None:
    assert identity_values(BESIDE) == identity_values(TINY)


@pytest.fixture
def manifest(clean: Place) -> CheckpointManifest:
    path = clean.root / "checkpoints" / FINGERPRINT / "00000012" / MANIFEST
    return CheckpointManifest.model_validate_json(path.read_text())


def test_a_snapshot_is_of_its_moment_and_the_next_one_waits_for_it(manifest: CheckpointManifest) -> None:
    may_write, written = threading.Event(), []

    def write(snapshot: Snapshot) -> None:
        assert may_write.wait(30)
        written.append((snapshot.manifest.step, snapshot.weights["embedding"].tolist()))

    saver = Saver(write, torch.device("cpu"), beside=True)
    weight = torch.zeros(3)
    for step in (1, 2):
        if step == 2:
            weight.fill_(7)  # training goes on
            assert not written
            threading.Timer(0.2, may_write.set).start()
        held = saver.hold({"embedding": weight, "head": weight})
        assert held["embedding"].data_ptr() == held["head"].data_ptr() != weight.data_ptr()
        assert len(written) == step - 1
        saver.save(Snapshot(held, {}, {}, replace_step(manifest, step)))
    saver.wait()
    assert written == [(1, [0, 0, 0]), (2, [7, 7, 7])]


def replace_step(manifest: CheckpointManifest, step: int) -> CheckpointManifest:
    return manifest.model_copy(update={"step": step})


def test_an_error_of_the_thread_is_raised_once_where_training_looks(manifest: CheckpointManifest) -> None:
    def write(snapshot: Snapshot) -> None:
        raise OSError("the disk is gone")

    saver = Saver(write, torch.device("cpu"), beside=True)
    saver.save(Snapshot({}, {}, {}, manifest))
    with pytest.raises(OSError, match="the disk is gone"):
        saver.wait()
    saver.check()
    saver.save(Snapshot({}, {}, {}, manifest))
    saver.close()  # a run that ends with an error of its own keeps that one


def test_a_run_whose_checkpoint_cannot_be_written_stops_and_says_why(place: Place, run_rank: RankRunner) -> None:
    folder = place.root / "checkpoints" / FINGERPRINT
    folder.mkdir(parents=True)
    (folder / "00000006").write_text("a file where the folder of the second checkpoint would be")
    long = BESIDE.model_copy(update={"tokens": 400 * 256, "checkpoint_every_steps": 6})
    assert run_rank(place.job(long)) == 1
    log = (place.run_dir / "rank0.log").read_text()
    assert "00000006" in log and "checkpoint of step 6 written" not in log
    assert max((line["step"] for line in place.metrics()), default=0) < 13  # the next one waited, and was told
    (folder / "00000006").unlink()
    assert run_rank(place.job(BESIDE)) == 0


@pytest.fixture
def crowded(place: Place, run_rank: RankRunner) -> Place:
    """A run killed when it was about to remove step 8: checkpoints of steps 3 (a milestone), 8, 10 and 12."""
    assert run_rank(place.job(OFTEN), crash_at="checkpoint.retire.before@8") == -9
    assert list_steps(place.store, FINGERPRINT) == [12, 10, 8, 3]
    return place


def checkpoint(place: Place, step: int) -> Path:
    return place.root / "checkpoints" / FINGERPRINT / f"{step:08d}"


def test_the_newest_checkpoint_that_can_be_read_back_is_not_removed(crowded: Place) -> None:
    for step in (10, 12):
        flip_a_bit(checkpoint(crowded, step) / WEIGHTS)
    retire_checkpoints(crowded.store, FINGERPRINT, newest=12)
    assert list_steps(crowded.store, FINGERPRINT) == [12, 10, 8, 3]


def test_nothing_is_removed_while_no_checkpoint_can_be_read_back(crowded: Place) -> None:
    for step in (3, 8, 10, 12):
        flip_a_bit(checkpoint(crowded, step) / WEIGHTS)
    retire_checkpoints(crowded.store, FINGERPRINT, newest=12)
    assert list_steps(crowded.store, FINGERPRINT) == [12, 10, 8, 3]


def test_a_checkpoint_whose_manifest_is_damaged_is_kept_for_it_may_be_a_milestone(crowded: Place) -> None:
    flip_a_bit(checkpoint(crowded, 3) / MANIFEST)
    retire_checkpoints(crowded.store, FINGERPRINT, newest=12)
    assert list_steps(crowded.store, FINGERPRINT) == [12, 10, 3]
    assert (checkpoint(crowded, 3) / WEIGHTS).is_file()
