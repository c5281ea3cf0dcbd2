"""Divided among ranks, a run trains what one rank trains, and its checkpoints know nothing of it."""

import re
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.training.conftest import BESIDE, FINGERPRINT, TINY, VOCAB_SIZE, GroupRunner, Place, RankRunner
from tests.training.planted import dull_steps
from tests.training.test_rollbacks import GOES_BACK, broken_start, with_poison
from training.checkpoints import key_of, read_manifest, verify_checkpoint
from training.models import ModelConfig
from training.optimizers import OptimizerName
from training.sharding import check_shares
from training.stages.pretrain import Config, identity_values, plan

SHARDED = BESIDE.model_copy(update={"sharding": "full", "micro_batch_rows": 2})
TOLERANCE = 1e-4
"""Of every logged loss and gradient norm against one rank: the sums are rounded in another order."""
OTHER = "2" * 64
UNEVEN = SHARDED.model_copy(
    update={"model": ModelConfig(family="llama", layers=2, width=34, heads=1, mlp_width=66, tie_embeddings=False)}
)
"""34 and 66 rows are not divided evenly by four ranks."""


def files(place: Place, step: int, fingerprint: str = FINGERPRINT) -> Path:
    return place.root / "checkpoints" / fingerprint / f"{step:08d}"


def same_within_rounding(lines: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    for line, other in zip(lines, expected, strict=True):
        assert (line["step"], line["tokens"]) == (other["step"], other["tokens"])
        assert line["loss"] == pytest.approx(other["loss"], rel=TOLERANCE)
        assert line.get("grad_norm", 0) == pytest.approx(other.get("grad_norm", 0), rel=TOLERANCE)


@pytest.mark.parametrize(("num_ranks", "config"), [(2, SHARDED), (4, UNEVEN)], ids=["even", "uneven"])
def test_several_ranks_give_the_curve_and_the_files_of_one(
    num_ranks: int, config: Config, place: Place, run_rank: RankRunner, run_ranks: GroupRunner
) -> None:
    assert run_rank(place.job(config, fingerprint=OTHER)) == 0
    alone = place.metrics()
    assert run_ranks(place.job(config), num_ranks) == [0] * num_ranks
    same_within_rounding(place.metrics(), alone)
    total = plan(config, VOCAB_SIZE).num_parameters
    kept = re.search(r"keeps ([\d,]+) of ([\d,]+) weights", (place.run_dir / "rank0.log").read_text())
    assert kept is not None and int(kept[2].replace(",", "")) == total
    assert 0 <= int(kept[1].replace(",", "")) / total - 1 / num_ranks < 0.02
    ours, one = files(place, 12), files(place, 12, OTHER)
    assert sorted(path.name for path in ours.iterdir()) == sorted(path.name for path in one.iterdir())
    for name in ("model.safetensors", "optimizer.safetensors"):
        tensors, expected = load_file(ours / name), load_file(one / name)
        assert tensors.keys() == expected.keys()
        for key, tensor in tensors.items():
            assert (tensor.shape, tensor.dtype) == (expected[key].shape, expected[key].dtype)
            assert torch.allclose(tensor, expected[key], rtol=0, atol=1e-3), key
    verify_checkpoint(place.store, key_of(FINGERPRINT, 12))
    model = AutoModelForCausalLM.from_pretrained(ours)
    weights = load_file(ours / "model.safetensors")
    assert torch.equal(model.model.embed_tokens.weight, weights["model.embed_tokens.weight"])


def test_killed_and_started_again_with_as_many_ranks_it_ends_with_the_same_weights(
    place: Place, run_ranks: GroupRunner
) -> None:
    assert run_ranks(place.job(SHARDED, fingerprint=OTHER), 2) == [0, 0]
    for victim, step in ((0, 5), (1, 11)):
        statuses = run_ranks(place.job(SHARDED), 2, crash_at=f"training.step.before@{step}", victim=victim)
        assert statuses[victim] == -9 and 0 not in statuses
    assert run_ranks(place.job(SHARDED), 2) == [0, 0]
    assert place.weights_sha256() == place.weights_sha256(12, OTHER)
    optimizers = [(files(place, 12, name) / "optimizer.safetensors").read_bytes() for name in (FINGERPRINT, OTHER)]
    assert optimizers[0] == optimizers[1]
    assert read_manifest(place.store, key_of(FINGERPRINT, 12)).exact


def test_in_bfloat16_two_ranks_learn_as_one_does(place: Place, run_rank: RankRunner, run_ranks: GroupRunner) -> None:
    config = SHARDED.model_copy(update={"precision": "bfloat16"})
    assert run_rank(place.job(config, fingerprint=OTHER)) == 0
    alone = place.metrics()
    assert run_ranks(place.job(config), 2) == [0, 0]
    for line, other in zip(place.metrics(), alone, strict=True):
        assert line["loss"] == pytest.approx(other["loss"], rel=0.01)
    weights = load_file(files(place, 12) / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_its_checkpoints_are_continued_by_any_number_of_ranks_within_rounding(
    clean: Place, place: Place, run_ranks: GroupRunner, run_rank: RankRunner
) -> None:
    stopped = SHARDED.model_copy(update={"async_checkpoints": False})
    assert run_rank(place.job(stopped), crash_at="training.step.before@4") == -9
    assert -9 in run_ranks(place.job(stopped), 2, crash_at="training.step.before@7")
    assert run_ranks(place.job(stopped.model_copy(update={"micro_batch_rows": 1})), 4) == [0] * 4
    log = (place.run_dir / "rank0.log").read_text()
    assert "ranks 1 -> 2" in log and "ranks 2 -> 4" in log
    same_within_rounding(place.metrics(), clean.metrics())


def test_a_step_that_is_not_finite_is_not_made_by_any_rank_and_all_go_back(
    place: Place, run_ranks: GroupRunner, run_rank: RankRunner, tmp_path: Path
) -> None:
    poisoned = with_poison(dull_steps(), 1, 5).write(place, "a")  # before the first checkpoint, and after it
    start = broken_start(poisoned, run_rank, tmp_path / "start")
    assert run_rank(poisoned.job(GOES_BACK, start=start, fingerprint=OTHER)) == 0
    alone = poisoned.metrics()
    assert run_ranks(poisoned.job(GOES_BACK.model_copy(update={"sharding": "full"}), start=start), 2) == [0, 0]
    skipped = [read_manifest(place.store, key_of(name, 12)).sampler["skipped"] for name in (OTHER, FINGERPRINT)]
    assert skipped[0] == skipped[1] and len(skipped[0]) == 2
    for line, other in zip(poisoned.metrics(), alone, strict=True):
        assert line.get("loss", 0) == pytest.approx(other.get("loss", 0), rel=TOLERANCE)


def test_what_sharding_cannot_do_is_refused_with_what_to_do() -> None:
    muon: OptimizerName = "muon"
    with pytest.raises(ValidationError, match="muon needs whole matrices.*write optimizer: adamw, or sharding: none"):
        Config.model_validate({**TINY.model_dump(), "sharding": "full", "optimizer": muon})


def test_steps_that_ranks_cannot_share_evenly_are_refused(place: Place, run_ranks: GroupRunner) -> None:
    check_shares(8, 4)
    assert set(run_ranks(place.job(SHARDED), 3)) == {1}
    message = place.failure().message
    assert "a step of 8 windows is not shared evenly by 3 ranks" in message and "train.sharding: none" in message


def test_sharding_is_part_of_the_identity_only_where_it_is_asked_for() -> None:
    assert identity_values(TINY) == identity_values(BESIDE) and "sharding" not in identity_values(TINY)
    assert identity_values(SHARDED)["sharding"] == "full"
