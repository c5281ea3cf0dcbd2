"""The training benchmarks compare like with like, and their judgements can fail."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.training_gpu import ALLOWED_LOSS, check
from benchmarks.training_loop import summary
from benchmarks.training_peers import PEERS, Clock
from benchmarks.training_runs import Seen, make_place, ratio
from tests.training.conftest import TINY, VOCAB_SIZE, Place, RankRunner
from training.stages.pretrain import plan

ROOT = Path(__file__).parents[2]


@pytest.fixture
def random_place(tmp_path: Path) -> Place:
    return make_place(tmp_path, vocab_size=VOCAB_SIZE, num_tokens=5_000)


def loss_of(name: str, place: Place) -> float:
    config = TINY.model_copy(update={"micro_batch_rows": 4})
    planned = plan(config, VOCAB_SIZE)
    device = torch.device("cpu")
    clock = Clock(4, planned.total_steps, device)
    loss = PEERS[name](place.job(config), config, planned, device, clock)
    assert clock.tokens_per_second(config.batch_tokens) > 0
    return loss


def test_the_bare_loop_computes_what_ours_computes(random_place: Place, run_rank: RankRunner) -> None:
    assert run_rank(random_place.job()) == 0
    assert loss_of("bare", random_place) == pytest.approx(random_place.metrics()[-1]["loss"], rel=1e-5)


@pytest.mark.parametrize("name", ["trainer", "sft"])
def test_the_peers_train_on_the_same_job(name: str, random_place: Place) -> None:
    assert loss_of(name, random_place) == pytest.approx(math.log(VOCAB_SIZE), rel=0.1)  # the ids are random


def test_a_ratio_is_the_mean_of_its_pairs_with_a_90_percent_interval() -> None:
    found = ratio([1.0, 1.1, 0.9, 1.0], [1.0, 1.0, 1.0, 1.0])
    # Mean of the logarithms -0.002513, deviation 0.0820, and Student's t of 3 degrees of freedom is 2.353.
    assert (found.middle, found.low, found.high) == pytest.approx((0.99749, 0.9057, 1.0986), rel=1e-3)


def seen(*, ours: float, bare: float, alone: float, growth: int = 0, loss: float = 1.0) -> list[str]:
    runs = {
        name: [Seen(speed * wobble, value, 1, []) for wobble in (1, 1.001, 0.999)]
        for name, speed, value in (("ours", ours, loss), ("bare", bare, 1.0), ("ours alone", alone, 1.0))
    }
    missed: list[str] = summary(runs, [(50, 500), (100, 1000), (500, 1000 + growth)])["missed"]
    return missed


def test_a_slow_loop_a_dear_checkpoint_and_a_leak_are_told() -> None:
    assert seen(ours=98, bare=100, alone=99) == []
    assert ["below 0.97" in line for line in seen(ours=96, bare=100, alone=96)] == [True]
    assert ["tracking and checkpoints take 4" in line for line in seen(ours=98, bare=100, alone=102.5)] == [True]
    assert ["memory grew by 3.0%" in line for line in seen(ours=98, bare=100, alone=98, growth=30)] == [True]
    assert ["do not compute the same" in line for line in seen(ours=98, bare=100, alone=98, loss=1.1)] == [True]


def test_a_gpu_run_below_its_baseline_is_told(tmp_path: Path) -> None:
    def speeds(tokens_per_second: float) -> dict[str, dict[str, dict[str, float]]]:
        return {"124M": {"ours": {"tokens_per_second": tokens_per_second}}}

    path = tmp_path / "h200.json"
    assert "nothing to compare with" in check(speeds(1), path)[0]
    path.write_text(json.dumps({"shapes": speeds(1000)}))
    assert check(speeds(1000 * (1 - ALLOWED_LOSS) + 1), path) == []
    assert check(speeds(890), path) == ["124M: 890 tokens/s, 11.0% below the baseline of 1,000"]
    assert "has no baseline" in check({"1.3B": speeds(1)["124M"]}, path)[0]


def test_the_gpu_benchmark_runs_on_a_cpu_with_a_tiny_shape(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.training_gpu", "--device", "cpu", "--shapes", "tiny", "--rounds", "1"]
    command += ["--write", "--baselines", str(tmp_path)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    kept = json.loads((tmp_path / "cpu.json").read_text())["shapes"]["tiny"]
    assert kept.keys() == {"ours", "bare", "trainer"}
    assert all(0 < found["mfu"] < 1 and found["tokens_per_second"] > 0 for found in kept.values())
    assert all(f"| tiny | {kind} |" in ended.stdout for kind in kept)
