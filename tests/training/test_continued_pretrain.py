"""A stage that starts from a checkpoint: what it takes over, what differs by default, and branches of a trunk."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import load_file

from ingot.errors import RecipeError
from ingot.refs import CheckpointRef, MixtureRef
from tests.training.conftest import TINY, Place, RankRunner, tokens_ref
from training import reads
from training.checkpoints import checkpoint_ref, read_manifest
from training.data_parts import DataPart
from training.optimizers import learning_rate_factor
from training.stages import continued_pretrain as stage
from training.stages import pretrain

TRUNK, BRANCH = "1" * 64, "2" * 64
DECAY_STEPS = 5
"""A trunk of 12 steps that falls over its last 5: the checkpoint before is that of step 7."""
WSD = TINY.model_copy(update={"decay_fraction": 0.4, "warmup_steps": 2})
STARTED = {"start": {"run": TRUNK[:8], "at": "before_decay"}, "schedule": "decay_only"}


def taken_over(values: dict, trunk: pretrain.Config, place: Place) -> stage.Config:
    planned = pretrain.plan(trunk, place.tokens.vocab_size)
    return stage.take_over(
        stage.Config.model_validate(values), trunk.model_dump(mode="json"), vocab_size=place.tokens.vocab_size,
        learning_rate=planned.learning_rate,
    )  # fmt: skip


def weights(place: Place, fingerprint: str, step: int, name: str = "model") -> dict[str, np.ndarray]:
    return load_file(place.root / f"checkpoints/{fingerprint}/{step:08d}/{name}.safetensors")


def trunk_of(place: Place, run_rank: RankRunner, config: pretrain.Config = WSD, **changes: object) -> CheckpointRef:
    assert run_rank(place.job(config, fingerprint=TRUNK, **changes)) == 0
    key = f"checkpoints/{TRUNK}/00000007"
    assert read_manifest(place.store, key).milestone == "before_decay"
    return checkpoint_ref(place.store, key)


def branch_job(place: Place, config: stage.Config, start: CheckpointRef, fingerprint: str = BRANCH, **changes: object):
    there = replace(place, run=f"branch-{fingerprint[:4]}")
    return there.job(config, stage="continued_pretrain", start=start, fingerprint=fingerprint, **changes)


def test_a_branch_as_long_as_the_trunks_decay_has_its_very_weights(place: Place, run_rank: RankRunner) -> None:
    start = trunk_of(place, run_rank)
    config = taken_over({**STARTED, "tokens": DECAY_STEPS * 256}, WSD, place)
    assert run_rank(branch_job(place, config, start)) == 0
    assert place.weights_sha256(12, TRUNK) == place.weights_sha256(DECAY_STEPS, BRANCH)
    for name, moments in weights(place, TRUNK, 12, "optimizer").items():
        assert np.array_equal(moments, weights(place, BRANCH, DECAY_STEPS, "optimizer")[name]), name
    log = (place.root / "branch-2222/rank0.log").read_text()
    assert f"begins with the weights and the optimizer of {start.key}" in log
    stages = reads.history_of(place.store, f"checkpoints/{BRANCH}/{DECAY_STEPS:08d}")
    read = [(part.first_row, part.end_row) for item in stages for part in item.corpora]
    assert read == [(0, 56), (56, 96)]


def test_a_killed_branch_ends_with_the_same_weights(place: Place, run_rank: RankRunner) -> None:
    start = trunk_of(place, run_rank)
    config = taken_over({**STARTED, "tokens": DECAY_STEPS * 256, "checkpoint_every_steps": 2}, WSD, place)
    job = branch_job(place, config, start)
    assert run_rank(job, crash_at="training.step.before@1") == -9  # before its first checkpoint
    assert run_rank(job, crash_at="training.step.before@3") == -9
    assert run_rank(job) == 0
    assert place.weights_sha256(12, TRUNK) == place.weights_sha256(DECAY_STEPS, BRANCH)


def test_without_the_trunks_moments_the_weights_would_differ(place: Place, run_rank: RankRunner) -> None:
    # The control of the test above: the same data and rate with a fresh optimizer are another run.
    start = trunk_of(place, run_rank)
    config = taken_over({**STARTED, "tokens": DECAY_STEPS * 256}, WSD, place)
    fresh = config.model_copy(update={"schedule": None})
    assert run_rank(branch_job(place, fresh, start)) == 0
    assert place.weights_sha256(12, TRUNK) != place.weights_sha256(DECAY_STEPS, BRANCH)


def test_a_branch_of_a_mixture_reads_on_in_its_order(place: Place, run_rank: RankRunner) -> None:
    old = tokens_ref(place.tokens.shards[:1], vocab_size=place.tokens.vocab_size)
    data = MixtureRef(parts=(place.tokens, old.model_copy(update={"corpus": "old@3"})))
    parts = [{"corpus": "this", "weight": 0.7}, {"corpus": "old@3", "weight": 0.3}]
    trunk = pretrain.Config.model_validate({**WSD.model_dump(), "data": parts})
    start = trunk_of(place, run_rank, trunk, data=data)
    config = taken_over({**STARTED, "data": parts, "tokens": DECAY_STEPS * 256}, trunk, place)
    assert run_rank(branch_job(place, config, start, data=data)) == 0
    assert place.weights_sha256(12, TRUNK) == place.weights_sha256(DECAY_STEPS, BRANCH)


def test_a_branch_on_other_data_begins_that_datas_order_with_the_trunks_moments(
    place: Place, run_rank: RankRunner
) -> None:
    start = trunk_of(place, run_rank)
    new = tokens_ref(place.tokens.shards[1:], vocab_size=place.tokens.vocab_size)
    new = new.model_copy(update={"corpus": "new@1", "corpus_root_digest": "5" * 64})
    config = taken_over({**STARTED, "tokens": DECAY_STEPS * 256}, WSD, place)
    assert run_rank(branch_job(place, config, start, data=new)) == 0
    made = read_manifest(place.store, f"checkpoints/{BRANCH}/{DECAY_STEPS:08d}")
    assert made.sampler["kind"] == "feistel-windows/1" and made.start == start.key
    steps = weights(place, BRANCH, DECAY_STEPS, "optimizer")
    assert {float(value) for name, value in steps.items() if name.startswith("step/")} == {12.0}


def test_the_rate_of_a_branch_is_that_of_the_trunks_decay() -> None:
    trunk = [
        learning_rate_factor(step, total_steps=12, warmup_steps=2, decay="wsd", decay_fraction=0.4)
        for step in range(7, 12)
    ]
    branch = [
        learning_rate_factor(step, total_steps=5, warmup_steps=0, decay="wsd", decay_fraction=1.0) for step in range(5)
    ]
    assert trunk == branch


def test_a_branch_takes_over_everything_but_what_the_recipe_states(place: Place) -> None:
    trunk = pretrain.Config.model_validate({**WSD.model_dump(), "beta2": 0.9, "seed": 5, "z_loss": 1e-4})
    config = taken_over({**STARTED, "tokens": 1280, "log_every_steps": 1}, trunk, place)
    assert (config.beta2, config.seed, config.z_loss, config.sequence_length) == (0.9, 5, 1e-4, 32)
    assert (config.tokens, config.log_every_steps, config.checkpoint_every_steps) == (1280, 1, 50)
    assert (config.learning_rate, config.warmup_steps, config.decay, config.decay_fraction) == (0.01, 0, "wsd", 1.0)


def test_a_branch_that_cuts_the_same_data_anew_is_refused(place: Place, run_rank: RankRunner) -> None:
    start = trunk_of(place, run_rank)
    config = taken_over({**STARTED, "tokens": 1280, "sequence_length": 64}, WSD, place)
    assert run_rank(branch_job(place, config, start)) == 1
    there = replace(place, run="branch-2222")
    assert there.failure().kind == "RecipeError" and "in windows of 32, anew; leave it out" in there.failure().message


def test_continued_training_warms_up_to_a_quarter_of_the_rate_and_takes_the_shape_over(place: Place) -> None:
    trunk = WSD.model_copy(update={"learning_rate": None})
    values = {"start": "mini/3", "tokens": 240 * 256, "sequence_length": 32, "batch_tokens": 256}
    config = taken_over(values, trunk, place)
    fresh = pretrain.plan(trunk, place.tokens.vocab_size).learning_rate
    assert config.learning_rate == fresh / 4 and config.warmup_steps == 4 and config.model == trunk.model
    assert pretrain.plan(config, place.tokens.vocab_size).total_steps == 240
    stated = taken_over({**values, "learning_rate": 1e-3, "warmup_steps": 0}, trunk, place)
    assert (stated.learning_rate, stated.warmup_steps) == (1e-3, 0)
    with pytest.raises(RecipeError, match="another shape than the start's; take `model` out"):
        wider = {**trunk.model.model_dump(), "width": 64}
        taken_over({**values, "model": wider}, trunk, place)


def test_a_continued_run_starts_from_the_weights_alone_and_replays_old_text(
    place: Place, run_rank: RankRunner
) -> None:
    start = trunk_of(place, run_rank)
    old = tokens_ref(place.tokens.shards[:1], vocab_size=place.tokens.vocab_size)
    data = MixtureRef(parts=(place.tokens, old.model_copy(update={"corpus": "old@3"})))
    values = {"start": "mini/3", "tokens": 4 * 256, "sequence_length": 32, "batch_tokens": 256, "micro_batch_rows": 3,
              "replay": {"corpus": "old@3", "share": 0.25}, "log_every_steps": 1}  # fmt: skip
    config = taken_over(values, WSD, place)
    assert run_rank(branch_job(place, config, start, data=data)) == 0
    lines = replace(place, run="branch-2222").metrics()
    assert lines[1]["loss"] < place.metrics()[0]["loss"] - 0.3  # not from fresh weights
    made = read_manifest(place.store, f"checkpoints/{BRANCH}/00000004")
    assert [(part["corpus"], part["weight"]) for part in made.sampler["parts"]] == [("play@1", 3), ("old@3", 1)]
    steps = weights(place, BRANCH, 4, "optimizer")
    assert {float(value) for name, value in steps.items() if name.startswith("step/")} == {4.0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"start": {}}, "start names nothing; give one of model, run, checkpoint"),
        ({"start": {"model": "mini", "run": "0" * 8}}, "start names model and run"),
        ({"start": {"checkpoint": f"checkpoints/{'0' * 64}/00000007", "at": "before_decay"}}, "is one place already"),
        ({"start": "mini", "schedule": "decay_only"}, "decay_only needs a start before a decay"),
        ({**STARTED, "learning_rate": 0.1}, "decay_only takes learning_rate over from the run"),
        ({"replay": {"corpus": "old"}, "data": [{"corpus": "this"}]}, "replay and data both say what is read"),
        ({"replay": {"corpus": "this"}}, "data names this twice"),
        ({"replay": {"corpus": "old", "share": 1.0}}, "less than 1"),
    ],
)
def test_a_stage_that_cannot_be_meant_is_refused(values: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        stage.Config.model_validate({"tokens": 1000, **values})


def test_replay_is_short_for_a_mixture_and_neither_names_nor_starts_are_in_the_identity(place: Place) -> None:
    def made(**values: object) -> stage.Config:
        given = {"start": "mini/3", "tokens": 1280, "sequence_length": 32, "batch_tokens": 256, **values}
        return taken_over(given, WSD, place)

    replayed = made(replay={"corpus": "old@3", "share": 0.07, "max_epochs": 2})
    parts = [DataPart(corpus="this", weight=0.93), DataPart(corpus="old@3", weight=0.07, max_epochs=2)]
    written = made(data=[part.model_dump() for part in parts], start="mini/4")
    assert list(replayed.parts) == parts
    assert stage.identity_values(replayed) == stage.identity_values(written)
    assert stage.identity_values(replayed) != stage.identity_values(made())
