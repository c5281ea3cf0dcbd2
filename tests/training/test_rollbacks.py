"""A run that diverges goes back, passes by the data that did it, and ends as if that data had never been there."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.training import passed_by
from tests.training.conftest import FINGERPRINT, TINY, VOCAB_SIZE, Place, RankRunner
from tests.training.planted import ROWS, SAMPLER, SEQUENCE, Steps, dull_steps
from training.batches import Sampler, documents_by_step
from training.checkpoints import checkpoint_ref, key_of, open_checkpoint, read_manifest, save_checkpoint
from training.skips import data_ranges, data_step
from training.spikes import RollBack, SkipSpikes
from training.stages.pretrain import Config, identity_values, run

POISON = VOCAB_SIZE - 1
START = "5" * 64
BROKEN_START = "6" * 64
UNTIED = TINY.model_copy(update={"model": TINY.model.model_copy(update={"tie_embeddings": False})})
GOES_BACK = UNTIED.model_copy(update={"roll_back": RollBack(times=2)})


def with_poison(steps: Steps, *poisoned: int) -> Steps:
    """The same, but these steps read a token whose embedding is infinite."""
    ids = steps.ids.copy()
    for step in poisoned:
        ids[step, 3, 7] = POISON
    return Steps(ids)


def without(steps: Steps, first: int, count: int) -> Steps:
    """The same order without these steps; the last ones fill up and are not read."""
    rest = np.delete(steps.ids, np.arange(first, first + count), axis=0)
    return Steps(np.concatenate([rest, steps.ids[:count]]))


def broken_start(place: Place, run_rank: RankRunner, folder: Path):  # type: ignore[no-untyped-def]
    """A checkpoint whose embedding of one token is infinite, so that the step that reads it is not finite."""
    from safetensors.torch import load_file, save_file

    short = UNTIED.model_copy(update={"tokens": 256})
    assert run_rank(place.job(short, fingerprint=START)) == 0
    folder.mkdir()
    with open_checkpoint(place.store, key_of(START, 1)) as (manifest, files):
        for name, path in files.items():
            (folder / name).write_bytes(path.read_bytes())
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][POISON] = float("inf")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    changes = {"fingerprint": BROKEN_START, "files": (), "digest": ""}
    return save_checkpoint(place.store, folder, manifest.model_copy(update=changes))


def steps_kept(place: Place) -> list[int]:
    return sorted(
        int(path.name) for path in (place.root / "checkpoints" / FINGERPRINT).iterdir() if any(path.iterdir())
    )


def test_weights_are_those_of_a_run_without_the_data_that_was_passed_by(
    place: Place, run_rank: RankRunner, tmp_path: Path
) -> None:
    poisoned = with_poison(dull_steps(), 5).write(place, "a")
    start = broken_start(poisoned, run_rank, tmp_path / "start")
    assert run_rank(poisoned.job(GOES_BACK, start=start)) == 0
    # The checkpoint before was that of step 3: the data of steps 3, 4 and 5 is passed by.
    clean = without(with_poison(dull_steps(), 5), 3, 3).write(place, "b")
    assert run_rank(clean.job(UNTIED, start=start, fingerprint="1" * 64)) == 0
    assert poisoned.weights_sha256() == clean.weights_sha256(fingerprint="1" * 64)

    manifest = read_manifest(place.store, key_of(FINGERPRINT, 12))
    assert manifest.sampler["skipped"] == [[3, 3]] and manifest.tokens_seen == 12 * 256
    assert [line for line in poisoned.metrics() if "rolled_back_to_step" in line] == [
        {"time": pytest.approx(0, abs=1e12), "step": 5, "rolled_back_to_step": 3, "rollbacks": 1}
    ]
    assert poisoned.metrics()[-1]["rollbacks"] == 1
    assert passed_by(place.store, checkpoint_ref(place.store, key_of(FINGERPRINT, 12))) == {"skipped_data": [[3, 3]]}
    assert passed_by(place.store, checkpoint_ref(place.store, key_of("1" * 64, 12))) == {}
    assert (
        "goes back to the last checkpoint: loss or gradient of step 5" in (poisoned.run_dir / "rank0.log").read_text()
    )


def test_two_ranks_go_back_together(place: Place, run_rank: RankRunner, tmp_path: Path) -> None:
    poisoned = with_poison(dull_steps(), 5).write(place, "a")
    start = broken_start(poisoned, run_rank, tmp_path / "start")
    ref = run(GOES_BACK, start, poisoned.tokens, poisoned.output(num_ranks=2))
    assert ref.step == 12 and read_manifest(place.store, ref.key).sampler["skipped"] == [[3, 3]]
    assert poisoned.metrics()[-1]["rollbacks"] == 1


def test_a_run_killed_after_it_went_back_ends_with_the_same_weights(
    place: Place, run_rank: RankRunner, tmp_path: Path
) -> None:
    poisoned = with_poison(dull_steps(), 5).write(place, "a")
    start = broken_start(poisoned, run_rank, tmp_path / "start")
    assert run_rank(poisoned.job(GOES_BACK, start=start, fingerprint="1" * 64)) == 0
    # The first passage of step 4 diverges in step 5, the second comes after going back; then one after a checkpoint.
    for crash_at in ("training.step.before@4:2", "training.step.before@8"):
        assert run_rank(poisoned.job(GOES_BACK, start=start), crash_at=crash_at) == -9
    assert run_rank(poisoned.job(GOES_BACK, start=start)) == 0
    assert poisoned.weights_sha256() == poisoned.weights_sha256(fingerprint="1" * 64)
    assert read_manifest(place.store, key_of(FINGERPRINT, 12)).sampler["skipped"] == [[3, 3]]


def test_a_run_without_a_checkpoint_yet_begins_again_past_the_data(
    place: Place, run_rank: RankRunner, tmp_path: Path
) -> None:
    poisoned = with_poison(dull_steps(), 1).write(place, "a")
    start = broken_start(poisoned, run_rank, tmp_path / "start")
    assert run_rank(poisoned.job(GOES_BACK, start=start)) == 0
    clean = without(with_poison(dull_steps(), 1), 0, 2).write(place, "b")
    assert run_rank(clean.job(UNTIED, start=start, fingerprint="1" * 64)) == 0
    assert poisoned.weights_sha256() == clean.weights_sha256(fingerprint="1" * 64)


def test_a_run_goes_back_as_often_as_it_may_and_then_stops_before_the_update(
    place: Place, run_rank: RankRunner, tmp_path: Path
) -> None:
    poisoned = with_poison(dull_steps(), 5, 7, 9).write(place, "a")
    start = broken_start(poisoned, run_rank, tmp_path / "start")
    assert run_rank(poisoned.job(GOES_BACK, start=start)) == 1
    failure = poisoned.failure()
    assert failure.kind == "TrainingError" and "went back 2 times before" in failure.message
    assert steps_kept(poisoned) == [3]
    with open_checkpoint(place.store, key_of(FINGERPRINT, 3)) as (_, files):
        from safetensors.torch import load_file

        weights = load_file(files["model.safetensors"])
        broken = {name for name, tensor in weights.items() if not tensor.isfinite().all()}
        assert broken == {"model.embed_tokens.weight"}  # the planted row, nothing that training wrote
        assert weights["model.embed_tokens.weight"][:POISON].isfinite().all()


def test_without_the_option_a_run_stops_as_it_did(place: Place, run_rank: RankRunner, tmp_path: Path) -> None:
    poisoned = with_poison(dull_steps(), 5).write(place, "a")
    start = broken_start(poisoned, run_rank, tmp_path / "start")
    assert run_rank(poisoned.job(UNTIED, start=start)) == 1
    assert "loss or gradient of step 5 is not finite" in poisoned.failure().message
    assert steps_kept(poisoned) == [3]


def test_a_spike_that_lasts_makes_a_run_go_back(place: Place, run_rank: RankRunner) -> None:
    noisy = dull_steps()
    ids = noisy.ids.copy()
    ids[16:21, :, 1:] = np.random.default_rng(2).integers(40, POISON, (5, ROWS, SEQUENCE - 1))
    place = Steps(ids).write(place, "a")
    config = TINY.model_copy(
        update={
            "tokens": 22 * 256,
            "skip_spikes": SkipSpikes(window=16, deviations=1.2),
            "roll_back": RollBack(times=1, spike_steps=3),
        }
    )
    assert run_rank(place.job(config)) == 0
    assert "a spike lasts: 3 updates in a row up to step" in (place.run_dir / "rank0.log").read_text()
    # Steps 16, 17 and 18 are the spike, the checkpoint before is that of step 18: after two updates skipped.
    (skip,) = read_manifest(place.store, key_of(FINGERPRINT, 22)).sampler["skipped"]
    assert skip == [18, 1]


def test_documents_that_no_update_read_are_not_counted(place: Place, run_rank: RankRunner, tmp_path: Path) -> None:
    poisoned = with_poison(dull_steps(), 5).write(place, "a")
    start = broken_start(poisoned, run_rank, tmp_path / "start")
    assert run_rank(poisoned.job(GOES_BACK, start=start)) == 0
    manifest = read_manifest(place.store, key_of(FINGERPRINT, 12))
    sampler = Sampler.from_record(manifest.sampler)
    expected = np.zeros(SAMPLER.num_windows, dtype=np.int64)
    for step in (0, 1, 2, *range(6, 15)):
        expected[SAMPLER.windows(step)] += 1
    assert (sampler.times_read(12) == expected).all()
    (reads,) = documents_by_step(place.store, poisoned.tokens, manifest.sampler, 12)
    assert reads.tokens.sum() == 12 * 256


def test_skips_add_up_and_tell_which_data_was_read() -> None:
    skips = ((3, 3), (3, 2), (8, 1))
    assert [data_step(update, skips) for update in range(10)] == [0, 1, 2, 8, 9, 10, 11, 12, 14, 15]
    assert list(data_ranges(9, skips)) == [(0, 3), (8, 13), (14, 15)]
    assert list(data_ranges(2, skips)) == [(0, 2)] and list(data_ranges(0, skips)) == []
    plain, skipping = Sampler(0, 50, 8, 4), Sampler(0, 50, 8, 4, skips)
    for num in range(30):
        read = [plain.windows(data_step(update, skips)) for update in range(num)]
        assert (skipping.times_read(num) == np.bincount(np.ravel(read).astype(int), minlength=50)).all()
    assert Sampler.from_record(json.loads(json.dumps(skipping.record()))) == skipping
    assert skipping.record()["kind"] == "feistel-windows/2" and "skipped" not in plain.record()


def test_going_back_is_part_of_the_identity_only_when_it_is_asked_for() -> None:
    assert "roll_back" not in identity_values(TINY)
    assert identity_values(GOES_BACK)["roll_back"] == {"times": 2, "spike_steps": 16}


def test_several_corpora_and_going_back_are_refused_together() -> None:
    parts = [{"corpus": "this", "weight": 0.5}, {"corpus": "old@1", "weight": 0.5}]
    with pytest.raises(ValueError, match="roll_back passes data by"):
        Config(**{**TINY.model_dump(), "roll_back": {}, "data": parts})


def test_windows_that_were_passed_by_are_read_by_no_update() -> None:
    plain = Sampler(seed=3, num_windows=40, sequence_length=8, rows_per_step=4)
    passed = replace(plain, skipped=((2, 3),))
    read = [window for step in range(5) for window in passed.windows(step)]
    assert read == [window for step in (0, 1, 5, 6, 7) for window in plain.windows(step)]
    positions = [list(passed.rank_positions(2, rank=rank, num_ranks=2)) for rank in range(2)]
    assert positions == [[20, 21], [22, 23]]
