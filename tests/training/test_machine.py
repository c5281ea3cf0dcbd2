"""What a stage takes on a machine: estimates, the prices, what will not fit, and the sizes that hours give."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from ingot.config import Recipe, parse_recipe
from ingot.errors import RecipeError
from training.fit_hours import Fit, fit_hours, train_section
from training.history import EarlierRun
from training.machine import (
    GPU_GIGABYTES,
    Machine,
    checkpoint_bytes,
    estimated_flops,
    estimated_memory,
    look,
    machine_of,
)
from training.models import ModelConfig, num_parameters
from training.probe import Probe, probe_config, read_probe
from training.stage_costs import Prices, StageCost, stage_cost
from training.stage_plans import plan_stages
from training.stages.pretrain import Config
from training.throughput import ACCELERATORS, flops_per_token

CPU = Machine("AMD EPYC / 25", 0, None, 2, 8 * 10**9, 50 * 10**9)
H200 = Machine("NVIDIA H200", 1, 141 << 30, 16, 100 * 10**9, 10**12)
SMALL = Config(model={"family": "llama", "layers": 4, "width": 128}, tokens=600_000)
PROBE = Probe(10_000.0, 700_000_000, 7.0, False, 4096, 1)


def cost(here: Machine = CPU, config: Config = SMALL, **changes: Any) -> StageCost:
    return stage_cost("train.0", config, 4096, here, **{"ranks": 1, "prices": Prices(), **changes})


def test_this_machine_has_a_name_cores_and_a_speed() -> None:
    here = look(num_gpus=0, memory_bytes=10**9, free_bytes=None)
    assert here.cores >= 1 and here.kind.startswith(f"{here.cores} core") and here.room_bytes == 10**9
    assert 1e8 < (estimated_flops(here, 1) or 0) < 1e14


def test_a_probe_counts_before_an_earlier_run_and_that_before_an_estimate() -> None:
    earlier = EarlierRun("a" * 64, 5_000.0, 6.0, datetime(2026, 11, 1, tzinfo=UTC), "cpu")
    probed = cost(probe=PROBE, earlier=earlier)
    assert probed.tokens_per_second == 10_000 and probed.memory_bytes == 700_000_000
    assert probed.hours == pytest.approx(602_112 / 10_000 / 3600) and "five steps" in probed.speed_basis
    assert probed.kwh == pytest.approx((probed.hours or 0) * 7 / 1000)
    assert probed.power_basis == "7.0 W during the probe, estimated"
    run = cost(earlier=earlier)
    assert run.tokens_per_second == 5_000 and run.speed_basis.startswith("run aaaaaaaaaaaa of 2026-11-01")
    assert cost(H200, earlier=earlier).speed_basis.startswith("estimated: ")  # it ran on a CPU
    estimated = cost()
    assert estimated.speed_basis.startswith("estimated: ")


def test_hours_and_kwh_cost_what_they_are_priced_at_and_nothing_without_a_price() -> None:
    assert cost(probe=PROBE).cost is None
    priced = cost(probe=PROBE, prices=Prices(per_hour=2.0, per_kwh=0.5))
    assert priced.hours is not None and priced.kwh is not None
    assert priced.cost == pytest.approx(2.0 * priced.hours + 0.5 * priced.kwh)
    unknown = replace(H200, name="NVIDIA of tomorrow")
    assert cost(unknown, prices=Prices(per_hour=2.0)).cost is None and cost(unknown).hours is None


def test_what_does_not_fit_memory_or_disk_is_refused_with_what_to_change() -> None:
    assert cost(probe=PROBE).refusals == ()
    (memory,) = cost(replace(CPU, memory_bytes=750_000_000), probe=PROBE).refusals
    assert memory.startswith("train.0 needs about 0.70 GB of memory, 90% of 0.8 GB") and "micro_batch_rows" in memory
    (disk,) = cost(replace(CPU, free_bytes=1_000_000), probe=PROBE).refusals
    assert "keeps checkpoints of" in disk and "INGOT_STORE" in disk
    # Ranks on one processor share its memory.
    assert cost(replace(CPU, memory_bytes=1_400_000_000), probe=PROBE, ranks=2).refusals


def test_a_machine_can_be_named_by_its_gpu_and_an_unknown_name_is_refused() -> None:
    assert set(GPU_GIGABYTES) == {known.name for known in ACCELERATORS}
    h100 = machine_of("H100", num_gpus=8)
    assert h100.kind == "8 x NVIDIA H100, 80 GB each" and h100.room_bytes == 80 * 10**9
    large = SMALL.model_copy(update={"model": ModelConfig(family="llama", layers=24, width=2048), "gpus": 8})
    found = cost(h100, large, ranks=8)
    assert found.refusals == () and found.kwh
    assert found.power_basis == "5,600.0 W estimated, the design power of the GPUs"
    assert cost(machine_of("V100", num_gpus=1), large).refusals
    with pytest.raises(RecipeError, match="--gpu 'TPU' is unknown; known: B200, "):
        machine_of("TPU", num_gpus=1)


def test_a_model_that_one_gpu_does_not_hold_fits_several_that_divide_it() -> None:
    large = SMALL.model_copy(update={"model": ModelConfig(family="llama", layers=32, width=4096), "gpus": 8})
    divided = large.model_copy(update={"sharding": "full"})
    (memory,) = cost(machine_of("H100", num_gpus=8), large, ranks=8).refusals
    assert memory.startswith("train.0 needs about") and "GB of memory" in memory
    assert cost(machine_of("H100", num_gpus=8), divided, ranks=8).refusals == ()
    alone, two, eight = (estimated_memory(divided, 4096, on_gpu=True, ranks=ranks) for ranks in (1, 2, 8))
    assert alone == estimated_memory(large, 4096, on_gpu=True, ranks=8) and alone > 1.8 * two > 5 * eight


def test_memory_grows_with_what_is_kept_of_a_micro_batch_and_shrinks_with_chunks() -> None:
    def memory(**changes: Any) -> int:
        return estimated_memory(SMALL.model_copy(update=changes), 50_000, on_gpu=True)

    assert memory(micro_batch_rows=8) > 1.5 * memory(micro_batch_rows=4)
    assert memory(loss_chunk_tokens=128) < memory() / 2


def test_checkpoints_on_disk_are_at_most_those_that_are_kept() -> None:
    one = num_parameters(SMALL.model, 4096) * 12
    assert checkpoint_bytes(SMALL, 4096) == 4 * one  # two, the one being written, and the one before the decay
    assert checkpoint_bytes(SMALL.model_copy(update={"checkpoint_every_steps": 10_000, "decay": "cosine"}), 4096) == one


def test_a_probe_reads_the_steps_after_the_first_two_and_is_none_when_they_are_missing() -> None:
    lines = [
        {"step": n, "tokens_per_second": 100.0 if n < 3 else 2048.0, "peak_memory_bytes": 5 * n, "energy_wh": 0.002}
        for n in range(1, 6)
    ]
    found = read_probe(lines, batch_tokens=1024, ranks=1)
    assert found == Probe(2048.0, 25, pytest.approx(0.006 * 3600 / 1.5), True, 1024, 1)
    assert read_probe(lines[:4], batch_tokens=1024, ranks=1) is None


def test_a_probe_keeps_the_shape_and_the_options_and_reads_data_of_its_own() -> None:
    config = SMALL.model_copy(update={"loss_chunk_tokens": 512, "warmup_steps": 100})
    probed = probe_config(config, rows=4)
    assert (probed.model, probed.loss_chunk_tokens, probed.batch_tokens) == (SMALL.model, 512, 1024)
    assert probe_config(config).batch_tokens == 4096 and probed.warmup_steps is None


def fit(hours: float, flops: float = 4e10, corpus_tokens: int = 10**10, here: Machine = CPU) -> Fit:
    return fit_hours(
        hours, flops=flops, vocab_size=4096, sequence_length=256, corpus_tokens=corpus_tokens, here=here
    )  # fmt: skip


def recipe(section: str) -> Recipe:
    values = yaml.safe_load(section)
    source = {"source": "folder", "name": "wiki", "uri": "/data"}
    return parse_recipe({"corpus": "handbook", "sources": [source], "tokenizer": {"vocab_size": 4096}, **values})


@pytest.mark.parametrize(("hours", "flops", "here"), [(1, 4e10, CPU), (8, 4e10, CPU), (24, 3.5e14, H200)])
def test_what_hours_give_is_a_section_that_the_plan_accepts(hours: float, flops: float, here: Machine) -> None:
    found = fit(hours, flops, here=here)
    (stage,) = plan_stages(recipe(train_section(found)), corpus_tokens=10**10)
    assert not stage.refusals and not stage.warnings
    config = found.config
    took = config.tokens * flops_per_token(config.model, 4096, 256) / flops / 3600
    assert 0.5 * hours < took <= 0.9 * hours
    assert config.tokens >= 20 * num_parameters(config.model, 4096)


def test_more_hours_give_a_larger_model_until_the_documents_or_the_memory_end() -> None:
    sizes = [fit(hours).config.model.layers for hours in (1, 8, 100)]
    assert sizes == sorted(set(sizes))
    few = fit(100, corpus_tokens=10_000_000)
    assert few.config.tokens <= 40_000_000 and few.bound_by.startswith("the documents: 4 readings")
    assert fit(0.3).bound_by.endswith("the smallest that is tried") and fit(0.3).config.model.layers == 2
    tight = fit(10_000, here=replace(CPU, memory_bytes=1_500_000_000))
    assert tight.bound_by == "memory: 1.5 GB"


def test_a_stage_keeps_the_gpus_that_were_asked_for() -> None:
    two = replace(H200, num_gpus=2)
    found = fit_hours(
        2, flops=7e14, vocab_size=4096, sequence_length=256, corpus_tokens=10**10, here=two, gpus=2
    )  # fmt: skip
    assert found.config.gpus == 2 and "gpus: 2" in train_section(found) and found.config.micro_batch_rows > 4


def test_too_few_hours_for_the_smallest_model_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"--max-hours 1e-05: not even 100 steps of the smallest model .*more hours"):
        fit(1e-5)
    with pytest.raises(RecipeError, match=r"4 readings of the documents give 4,000; give more documents"):
        fit(8, corpus_tokens=1000)
    with pytest.raises(RecipeError, match=r"does not fit 0\.1 GB of memory; take a machine with more"):
        fit(8, here=replace(CPU, memory_bytes=10**8))
