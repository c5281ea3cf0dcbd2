"""Damaged checkpoints are found before a step runs; a run falls back, and never begins anew silently."""

import json
import shutil

import pytest

from ingot.errors import IntegrityError, NotFoundError, TrainingError
from tests.training.conftest import TINY, Place, RankRunner
from tests.training.damages import DAMAGES, WEIGHTS, flip_a_bit
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


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_reported_and_the_one_before_is_used(
    damage: str, damaged_place: Place, clean: Place, run_rank: RankRunner
) -> None:
    place = damaged_place
    folder = place.root / "checkpoints" / ("e" * 64)
    DAMAGES[damage](folder / STEPS[1])
    with pytest.raises((IntegrityError, NotFoundError)):
        verify_checkpoint(place.store, f"checkpoints/{'e' * 64}/{STEPS[1]}")
    assert run_rank(place.job(fingerprint="e" * 64)) == 0
    log = (place.run_dir / "rank0.log").read_text()
    assert "continues at step 6 of 12" in log
    # Without a manifest there is no checkpoint: a kill while one is written leaves the same.
    if damage != "folder empty":
        assert "checkpoint of step 9 is damaged" in log and "falling back to the checkpoint of step 6" in log
        assert json.loads((folder / STEPS[1] / "damaged.json").read_text())["reason"]
    # The step was written again, and the run ended where an undamaged one ends.
    verify_checkpoint(place.store, f"checkpoints/{'e' * 64}/{STEPS[1]}")
    assert place.weights_sha256(fingerprint="e" * 64) == clean.weights_sha256()


@pytest.mark.parametrize("name", ["checkpoint.damaged.before", "checkpoint.damaged.after"])
def test_a_kill_while_a_damaged_checkpoint_is_moved_aside_changes_nothing(
    name: str, damaged_place: Place, clean: Place, run_rank: RankRunner
) -> None:
    place = damaged_place
    flip_a_bit(place.root / "checkpoints" / ("e" * 64) / STEPS[1] / WEIGHTS)
    assert run_rank(place.job(fingerprint="e" * 64), crash_at=name) == -9
    assert run_rank(place.job(fingerprint="e" * 64)) == 0
    assert place.weights_sha256(fingerprint="e" * 64) == clean.weights_sha256()


def test_a_run_whose_checkpoints_are_all_damaged_does_not_begin_anew(
    damaged_place: Place, run_rank: RankRunner
) -> None:
    place = damaged_place
    for step in STEPS:
        flip_a_bit(place.root / "checkpoints" / ("e" * 64) / step / WEIGHTS)
    for _ in range(2):  # and not on the second try either
        assert run_rank(place.job(fingerprint="e" * 64)) == 1
        failure = place.failure()
        assert failure.kind == "TrainingError"
        assert "none is valid" in failure.message and "delete checkpoints/" in failure.message
    assert place.metrics() == [] if (place.run_dir / "metrics.jsonl").exists() else True


def test_a_lost_checkpoint_after_a_moved_one_does_not_begin_anew(damaged_place: Place) -> None:
    place = damaged_place
    folder = place.root / "checkpoints" / ("e" * 64)
    flip_a_bit(folder / STEPS[1] / WEIGHTS)
    assert newest_valid(place.store, "e" * 64, expected={}) is not None
    shutil.rmtree(folder / STEPS[0])
    with pytest.raises(TrainingError, match="none is valid"):
        newest_valid(place.store, "e" * 64, expected={})


def test_a_checkpoint_of_other_data_is_not_continued(killed: Place) -> None:
    with pytest.raises(TrainingError, match="was made with data_digest"):
        newest_valid(killed.store, "e" * 64, expected={"data_digest": "0" * 64})


def test_a_run_without_any_checkpoint_simply_begins(place: Place) -> None:
    assert newest_valid(place.store, "d" * 64, expected={}) is None


def test_an_index_keeps_readers_from_taking_the_moments_for_weights(killed: Place) -> None:
    from safetensors.torch import load_file

    folder = killed.root / f"checkpoints/{'e' * 64}/{STEPS[1]}"
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    sizes = {name: tensor.nbytes for name, tensor in load_file(folder / "model.safetensors").items()}
    assert index == {
        "metadata": {"total_size": sum(sizes.values())},
        "weight_map": dict.fromkeys(sizes, "model.safetensors"),
    }


def test_the_manifest_says_what_the_checkpoint_was_made_from(killed: Place) -> None:
    manifest = read_manifest(killed.store, f"checkpoints/{'e' * 64}/{STEPS[1]}")
    assert [file.name for file in manifest.files] == [
        "config.json",
        "generation_config.json",
        "metrics.jsonl",
        "model.safetensors",
        "model.safetensors.index.json",
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


def test_a_token_shard_that_was_changed_under_a_run_is_refused_before_a_step(
    damaged_place: Place, run_rank: RankRunner
) -> None:
    place = damaged_place
    shared = (place.root / "tokens").resolve()
    (place.root / "tokens").unlink()
    shutil.copytree(shared, place.root / "tokens")
    flip_a_bit(next(iter(sorted((place.root / "tokens/play").glob("*.bin")))))
    assert run_rank(place.job(fingerprint="e" * 64)) == 1
    assert place.failure().kind == "IntegrityError" and "differs from what was recorded" in place.failure().message
