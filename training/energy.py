"""Energy of a run, in watt-hours: counted by the devices where they count, else estimated, under another name.

    energy_wh             what NVML counted of the run's GPUs, or RAPL of the processor packages (all that runs there)
    energy_estimated_wh   GPUs at their thermal design power all the time, or a CPU's busy seconds at 3.5 W

3.5 W is a fully used hardware thread of a cloud server (Cloud Carbon Footprint, coefficients for AWS,
cloudcarbonfootprint.org/docs/methodology). Neither holds fans, disks, memory or the losses of a power supply.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from training.throughput import accelerator

if TYPE_CHECKING:
    import torch

WATTS_OF_A_BUSY_THREAD = 3.5
POWERCAP = Path("/sys/class/powercap")
_JOULES = 3600.0  # in a watt-hour


class EnergyMeter:
    """What was used since the look before."""

    def __init__(self, name: str, joules: Callable[[], float]) -> None:
        self.name = name
        self._joules = joules
        self._before = joules()

    def used(self) -> dict[str, float]:
        """Watt-hours since the last call (or since the start) under the metric's name."""
        now = self._joules()
        hours, self._before = (now - self._before) / _JOULES, now
        return {self.name: round(hours, 6)}


def energy_meter(device: "torch.device", num_ranks: int, *, powercap: Path = POWERCAP) -> EnergyMeter | None:
    """The best meter for a run of so many ranks on this machine; None for a GPU of which nothing is known."""
    if device.type == "cuda":
        return _gpu_meter(num_ranks)
    packages = rapl_packages(powercap)
    if packages:
        return EnergyMeter("energy_wh", lambda: sum(package.joules() for package in packages))
    return EnergyMeter("energy_estimated_wh", lambda: time.process_time() * WATTS_OF_A_BUSY_THREAD * num_ranks)


class RaplPackage:
    """One processor package; its counter starts again at its range, every few minutes to hours."""

    def __init__(self, folder: Path) -> None:
        self._counter = folder / "energy_uj"
        self._range = int((folder / "max_energy_range_uj").read_text())
        self._last = int(self._counter.read_text())
        self._total = 0

    def joules(self) -> float:
        """Used since this object was made, if it was asked at least once in each round of the counter."""
        now = int(self._counter.read_text())
        self._total += (now - self._last) % self._range
        self._last = now
        return self._total / 1e6


def rapl_packages(powercap: Path) -> list[RaplPackage]:
    """The packages whose counters this process may read; often root alone may, and virtual machines have none."""
    found = []
    for folder in sorted(powercap.glob("intel-rapl:*")):
        try:
            if (folder / "name").read_text().startswith("package-"):
                found.append(RaplPackage(folder))
        except OSError:
            continue
    return found


def _gpu_meter(num_ranks: int) -> EnergyMeter | None:
    import torch

    names = [torch.cuda.get_device_name(index) for index in range(num_ranks)]
    counter = nvml_counter([str(torch.cuda.get_device_properties(index).uuid) for index in range(num_ranks)])
    if counter is not None:
        return EnergyMeter("energy_wh", counter)
    known = [accelerator(name) for name in names]
    watts = sum(one.watts for one in known if one is not None)
    if None in known:
        return None
    return EnergyMeter("energy_estimated_wh", lambda: time.monotonic() * watts)


def nvml_counter(uuids: list[str]) -> Callable[[], float] | None:
    """The driver's own count in joules; None without the package `nvidia-ml-py` or on GPUs before Volta."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}") for uuid in uuids]

        def joules() -> float:
            return sum(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) for handle in handles) / 1000

        joules()
    except pynvml.NVMLError:
        return None
    return joules
