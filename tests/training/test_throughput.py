"""What a run says of its speed, memory and energy."""

import sys
import types
from pathlib import Path

import pytest

from tests.training.conftest import Place
from training.energy import EnergyMeter, energy_meter, nvml_counter, rapl_packages
from training.models import ModelConfig
from training.throughput import accelerator, flops_per_token, measured_flops


def test_the_flops_of_a_token_are_those_that_torch_counts_in_matrix_products() -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from training.models import build_model

    shape = ModelConfig(family="llama", layers=2, width=64, heads=2, kv_heads=1, mlp_width=128)
    model = build_model(shape, vocab_size=320, context_length=64, seed=0)
    ids = torch.zeros(2, 64, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, use_cache=False).logits.sum().backward()
    products = sum(
        n for name, n in counter.get_flop_counts()["Global"].items() if str(name) in ("aten.mm", "aten.addmm")
    )
    attention = 12 * 2 * 64 * 64 / 2
    # The counter knows the products with weights; ours also counts the norms' few weights.
    assert flops_per_token(shape, 320, 64) - attention == pytest.approx(products / ids.numel(), rel=0.01)


def test_attention_counts_half_because_it_is_causal() -> None:
    shape = ModelConfig(family="llama", layers=3, width=64, heads=2)
    assert flops_per_token(shape, 320, 1024) - flops_per_token(shape, 320, 512) == 12 * 3 * 64 * 512 / 2


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100-PCIE-40GB", "A100-PCIE"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L4", "L4"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("NVIDIA GeForce GTX 1080", None),
    ],
)
def test_a_device_is_known_by_the_name_its_driver_gives(name: str, found: str | None) -> None:
    known = accelerator(name)
    assert (known.name if known else None) == found


def test_a_measured_peak_leaves_the_random_numbers_alone() -> None:
    import torch

    before = torch.get_rng_state()
    assert 1e8 < measured_flops(torch.device("cpu"), rounds=2) < 1e14
    assert torch.equal(before, torch.get_rng_state())


def test_a_run_says_how_well_it_used_its_cpu_and_what_it_took(clean: Place) -> None:
    lines = [line for line in clean.metrics() if "mfu" in line]
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10, 12]
    assert all(0 < line["mfu"] < 1.5 for line in lines)
    assert all(1e7 < line["peak_memory_bytes"] < 1e11 for line in lines)
    energy = [line.get("energy_wh", line.get("energy_estimated_wh")) for line in lines]
    # At most 16 s of this run's one thread at 1000 W, and not nothing.
    assert 0 < sum(energy) < 5


def package(powercap: Path, number: int, used: int, name: str = "package-0") -> Path:
    folder = powercap / f"intel-rapl:{number}"
    folder.mkdir(exist_ok=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text("1000000000\n")
    (folder / "energy_uj").write_text(f"{used}\n")
    return folder


def test_the_counters_of_all_packages_are_added_also_when_one_starts_again(tmp_path: Path) -> None:
    import torch

    package(tmp_path, 0, 900_000_000)
    package(tmp_path, 1, 0, "package-1")
    package(tmp_path, 2, 0, "psys")  # holds the packages again
    meter = energy_meter(torch.device("cpu"), 1, powercap=tmp_path)
    assert meter is not None and len(rapl_packages(tmp_path)) == 2
    package(tmp_path, 0, 260_000_000)
    package(tmp_path, 1, 360_000_000, "package-1")
    assert meter.used() == {"energy_wh": pytest.approx(720 / 3600)}
    assert meter.used() == {"energy_wh": 0.0}


def test_an_estimate_is_called_one(tmp_path: Path) -> None:
    import torch

    meter = energy_meter(torch.device("cpu"), 2, powercap=tmp_path)
    assert meter is not None and set(meter.used()) == {"energy_estimated_wh"}


def test_a_meter_tells_what_was_used_since_the_look_before() -> None:
    readings = iter([100.0, 3700.0, 7300.0])
    meter = EnergyMeter("energy_wh", lambda: next(readings))
    assert [meter.used(), meter.used()] == [{"energy_wh": 1.0}, {"energy_wh": 1.0}]


def test_gpus_are_asked_by_their_ids_and_counted_in_joules(monkeypatch: pytest.MonkeyPatch) -> None:
    # The driver's library is not on a machine without a GPU: its calls, with its unit of millijoules.
    driver = types.SimpleNamespace(
        NVMLError=OSError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID={"GPU-a": 1, "GPU-b": 2}.__getitem__,
        nvmlDeviceGetTotalEnergyConsumption={1: 5_000, 2: 7_000}.__getitem__,
    )
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    counter = nvml_counter(["a", "b"])
    assert counter is not None and counter() == 12.0
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as if it were not installed
    assert nvml_counter(["a", "b"]) is None
