"""Damaged checkpoints are found before a step runs; a run falls back, and never begins anew silently."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ingot.errors import IntegrityError, TrainingError
from tests.training.conftest import TINY, Place, RankRunner
from training.checkpoints import newest_valid, read_manifest, verify_checkpoint

STEPS = ("00000006", "00000009")


@pytest.fixture(scope="session")
def killed(play: Place, run_rank: RankRunner, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A run killed after step 10: checkpoints of steps 6 and 9."""
    place = Place(play.root, play.tokens, run="killed")
    job = place.job(fingerprint="e" * 64)
    assert run_rank(job, crash_at="training.step.before@10") == -9
    return place


@pytest.fixture
def damaged_place(killed: Place, place: Place) -> Place:
    """A copy of the killed run's store that may be damaged."""
    source = killed.root / "checkpoints" / ("e" * 64)
    shutil.copytree(source, place.root / "checkpoints" / ("e" * 64))
    return place


def flip_a_bit(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def truncate(folder: Path) -> None:
    path = folder / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def lose_a_file(folder: Path) -> None:
    (folder / "state.json").unlink()


def zero_a_block(folder: Path) -> None:
    path = folder / "optimizer.safetensors"
    data = bytearray(path.read_bytes())
    data[4096:8192] = bytes(4096)
    path.write_bytes(data)


def garble_the_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes()[:300])


def edit_the_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "tokens_seen": record["tokens_seen"] + 1}))


def swap_in_files_of_another_step(folder: Path) -> None:
    shutil.copyfile(folder.parent / STEPS[0] / "optimizer.safetensors", folder / "optimizer.safetensors")


DAMAGES = [
    flip_a_bit,
    truncate,
    lose_a_file,
    zero_a_block,
    garble_the_manifest,
    edit_the_manifest,
    swap_in_files_of_another_step,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_reported_and_the_one_before_is_used(
    damage: Callable[[Path], None], damaged_place: Place, clean: Place, run_rank: RankRunner
) -> None:
    place = damaged_place
    folder = place.root / "checkpoints" / ("e" * 64)
    damage(folder / STEPS[1])
    with pytest.raises(IntegrityError):
        verify_checkpoint(place.store, f"checkpoints/{'e' * 64}/{STEPS[1]}")
    assert run_rank(place.job(fingerprint="e" * 64)) == 0
    log = (place.run_dir / "rank0.log").read_text()
    assert "checkpoint of step 9 is damaged" in log and "falling back to the checkpoint of step 6" in log
    assert "continues at step 6 of 12" in log
    # The step was written again, and the run ended where an undamaged one ends.
    verify_checkpoint(place.store, f"checkpoints/{'e' * 64}/{STEPS[1]}")
    assert json.loads((folder / STEPS[1] / "damaged.json").read_text())["reason"]
    assert place.weights_sha256(fingerprint="e" * 64) == clean.weights_sha256()


@pytest.mark.parametrize("name", ["checkpoint.damaged.before", "checkpoint.damaged.after"])
def test_a_kill_while_a_damaged_checkpoint_is_moved_aside_changes_nothing(
    name: str, damaged_place: Place, clean: Place, run_rank: RankRunner
) -> None:
    place = damaged_place
    flip_a_bit(place.root / "checkpoints" / ("e" * 64) / STEPS[1])
    assert run_rank(place.job(fingerprint="e" * 64), crash_at=name) == -9
    assert run_rank(place.job(fingerprint="e" * 64)) == 0
    assert place.weights_sha256(fingerprint="e" * 64) == clean.weights_sha256()


def test_a_run_whose_checkpoints_are_all_damaged_does_not_begin_anew(
    damaged_place: Place, run_rank: RankRunner
) -> None:
    place = damaged_place
    for step in STEPS:
        flip_a_bit(place.root / "checkpoints" / ("e" * 64) / step)
    for _ in range(2):  # and not on the second try either
        assert run_rank(place.job(fingerprint="e" * 64)) == 1
        failure = place.failure()
        assert failure.kind == "TrainingError"
        assert "none is valid" in failure.message and "delete checkpoints/" in failure.message
    assert place.metrics() == [] if (place.run_dir / "metrics.jsonl").exists() else True


def test_a_lost_checkpoint_after_a_moved_one_does_not_begin_anew(damaged_place: Place) -> None:
    place = damaged_place
    folder = place.root / "checkpoints" / ("e" * 64)
    flip_a_bit(folder / STEPS[1])
    assert newest_valid(place.store, "e" * 64, expected={}) is not None
    shutil.rmtree(folder / STEPS[0])
    with pytest.raises(TrainingError, match="none is valid"):
        newest_valid(place.store, "e" * 64, expected={})


def test_a_checkpoint_of_other_data_is_not_continued(killed: Place) -> None:
    with pytest.raises(TrainingError, match="was made with data_digest"):
        newest_valid(killed.store, "e" * 64, expected={"data_digest": "0" * 64})


def test_a_run_without_any_checkpoint_simply_begins(place: Place) -> None:
    assert newest_valid(place.store, "d" * 64, expected={}) is None


def test_the_manifest_says_what_the_checkpoint_was_made_from(killed: Place) -> None:
    manifest = read_manifest(killed.store, f"checkpoints/{'e' * 64}/{STEPS[1]}")
    assert [file.name for file in manifest.files] == [
        "config.json",
        "generation_config.json",
        "metrics.jsonl",
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert manifest.corpus == "play@1" and manifest.tokenizer_digest == "b" * 64
    assert manifest.environment["threads"] == 1 and manifest.environment["device"] == "cpu"
    assert manifest.milestone == "before_decay" and manifest.tokens_seen == 9 * TINY.batch_tokens
    assert manifest.exact and manifest.sampler["rows_per_step"] == 8


def test_transformers_opens_a_checkpoint_as_a_model_of_its_own(killed: Place) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = killed.root / "checkpoints" / ("e" * 64) / STEPS[1]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("First Citizen:", return_tensors="pt").input_ids
    with torch.no_grad():
        assert model(ids).logits.shape == (1, ids.shape[1], 320)
        assert model.generate(ids, max_new_tokens=5, do_sample=False).shape[1] <= ids.shape[1] + 5
    assert tokenizer.decode(ids[0]) == "First Citizen:"
    assert tokenizer.eos_token_id == model.config.eos_token_id == 0


def test_no_file_of_a_checkpoint_is_a_pickle(killed: Place) -> None:
    for path in (killed.root / "checkpoints" / ("e" * 64) / STEPS[1]).iterdir():
        assert path.suffix in (".json", ".jsonl", ".safetensors"), path.name
