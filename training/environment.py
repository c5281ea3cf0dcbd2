"""The environment a run's bits depend on, recorded in every checkpoint and compared at resume (CONTRACTS 11)."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ingot.digests import digest_of

# Their code makes the weights: another version may sum in another order.
_LIBRARIES = ("torch", "transformers", "safetensors", "numpy")


def physical_cores() -> int:
    """Cores this process may use, hardware threads of one core counted once where the kernel tells."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    siblings = set()
    for cpu in allowed:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        siblings.add(path.read_text() if path.is_file() else str(cpu))
    return max(1, len(siblings))


def cpu_name() -> str:
    """The processor's name, family, model and stepping."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return platform.processor() or platform.machine()
    wanted = ("model name", "cpu family", "model", "stepping")
    fields: dict[str, str] = {}
    for line in path.read_text().split("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    return " / ".join(fields[name] for name in wanted if name in fields) or platform.machine()


def environment_record(*, threads: int, num_ranks: int, device: str) -> dict[str, Any]:
    """What must be equal for bit-identical weights. device is `cpu` or the accelerator's name."""
    import torch

    libraries = {name: version(name) for name in _LIBRARIES}
    return {
        "libraries": libraries,
        "lock_digest": digest_of(libraries),
        "python": platform.python_version(),
        "cpu": cpu_name(),
        "cpu_kernels": torch.backends.cpu.get_cpu_capability(),
        "threads": threads,
        "ranks": num_ranks,
        "device": device,
    }


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What changed between two records, as `threads 2 -> 4`; empty means a resume is bit-exact on a CPU."""
    names = sorted((before.keys() | now.keys()) - {"libraries", "python"})
    return [f"{name} {before.get(name)} -> {now.get(name)}" for name in names if before.get(name) != now.get(name)]
