"""Compiled blocks and bfloat16 give the same curve within their rounding."""

import json
import shutil

import pytest

from tests.training.conftest import FINGERPRINT, TINY, Place, RankRunner
from training.stages.pretrain import identity_values

SHORT = TINY.model_copy(update={"tokens": 3 * 256, "micro_batch_rows": 8, "log_every_steps": 1})


def losses(place: Place) -> list[float]:
    return [line["loss"] for line in place.metrics()]


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs g++")
def test_compiled_blocks_give_the_same_loss_and_the_same_names_of_weights(place: Place, run_rank: RankRunner) -> None:
    from safetensors import safe_open

    names = []
    curves = []
    for number, compiled in enumerate((False, True)):
        job = place.job(SHORT.model_copy(update={"compile": compiled}), fingerprint=f"{number:064x}")
        assert run_rank(job) == 0
        curves.append(losses(place))
        path = place.root / f"checkpoints/{job.fingerprint}/00000003/model.safetensors"
        with safe_open(path, framework="pt") as weights:
            names.append(sorted(weights.keys()))
    assert "blocks are compiled" in (place.run_dir / "rank0.log").read_text()
    assert curves[1] == pytest.approx(curves[0], abs=1e-4)
    assert names[1] == names[0]


def test_bfloat16_changes_the_curve_by_its_rounding_and_weights_stay_float32(
    place: Place, run_rank: RankRunner
) -> None:
    assert run_rank(place.job(SHORT, fingerprint="1" * 64)) == 0
    exact = losses(place)
    assert run_rank(place.job(SHORT.model_copy(update={"precision": "bfloat16"}))) == 0
    assert losses(place) != exact and losses(place) == pytest.approx(exact, abs=0.05)
    config = json.loads(place.store.read_bytes(f"checkpoints/{FINGERPRINT}/00000003/config.json"))
    assert config["dtype"] == "float32"


def test_float32_is_what_a_cpu_does_by_itself(place: Place, run_rank: RankRunner) -> None:
    assert run_rank(place.job(SHORT, fingerprint="1" * 64)) == 0
    assert run_rank(place.job(SHORT.model_copy(update={"precision": "float32"}))) == 0
    assert place.weights_sha256(3) == place.weights_sha256(3, fingerprint="1" * 64)


def test_precision_and_compiling_are_part_of_the_identity_only_when_they_are_set() -> None:
    assert not {"precision", "compile"} & identity_values(TINY).keys()
    chosen = identity_values(TINY.model_copy(update={"precision": "float32", "compile": False}))
    assert (chosen["precision"], chosen["compile"]) == ("float32", False)
