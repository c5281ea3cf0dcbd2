"""What the hardware gives a run: model FLOP/s against the peak, and memory.

MFU (Chowdhery et al. 2022, arXiv:2204.02311, appendix B) counts what forward and backward need, nothing that is
recomputed: 6 for each weight a token meets (of a mixture the experts it goes through), the input embedding left out
because it is looked up, and 12 * L * d * T / 2 for causal attention (L layers, d = heads * head size, T tokens). torch
is imported on use; a CPU's peak is measured at each start, by eight small matrix products.
"""

import resource
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.adopted_shape import AdoptedShape
from training.models import VOCAB_MULTIPLE, ModelConfig, active_non_embedding_parameters, round_up

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Accelerator:
    """What the maker states of a device."""

    name: str
    """Part of the name the driver gives."""
    peak_flops: float
    """Dense FLOP/s in bfloat16 (float16 where there is none), without sparsity."""
    watts: float
    """Thermal design power."""


ACCELERATORS = (
    Accelerator("B200", 2250e12, 1000),
    Accelerator("H200 NVL", 835e12, 600),
    Accelerator("H200", 989e12, 700),
    Accelerator("H100 PCIe", 756e12, 350),
    Accelerator("H100 NVL", 835e12, 400),
    Accelerator("H100", 989e12, 700),
    Accelerator("A100-PCIE", 312e12, 300),
    Accelerator("A100", 312e12, 400),
    Accelerator("L40S", 362e12, 350),
    Accelerator("L4", 121e12, 72),
    Accelerator("A10G", 70e12, 300),
    Accelerator("V100", 125e12, 300),
)
"""NVIDIA's data sheets of these products (nvidia.com/en-us/data-center); the first whose name fits holds."""


def accelerator(device_name: str) -> Accelerator | None:
    """What is known of a device; None for one that is not in the table."""
    words = device_name.split()
    for known in ACCELERATORS:
        wanted = known.name.split()
        # "NVIDIA L4" is an L4, "NVIDIA L40S" is none; "NVIDIA A100-SXM4-80GB" is an A100.
        if all(any(word == part or word.startswith(f"{part}-") for word in words) for part in wanted):
            return known
    return None


def flops_per_token(config: ModelConfig | AdoptedShape, vocab_size: int, sequence_length: int) -> float:
    """FLOP that training on one token needs, forward and backward, by the formula of this module."""
    head = round_up(vocab_size, VOCAB_MULTIPLE) * config.width
    attention = 12 * config.layers * config.width * sequence_length / 2
    return 6 * (active_non_embedding_parameters(config) + head) + attention


def peak_flops(device: "torch.device") -> float:
    """FLOP/s one rank could reach: from the table, else the best of a few large matrix products on this device."""
    import torch

    known = accelerator(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    return known.peak_flops if known else measured_flops(device)


def measured_flops(device: "torch.device", *, rounds: int = 8) -> float:
    """The best rate of `rounds` matrix products: float32 on a CPU with this process's threads, bfloat16 on a GPU."""
    import torch

    on_gpu = device.type == "cuda"
    size = 8192 if on_gpu else 512
    # No random numbers: the run's own must not move.
    matrix = torch.full((size, size), 0.5, device=device, dtype=torch.bfloat16 if on_gpu else torch.float32)
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        matrix @ matrix
        if on_gpu:
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def peak_memory_bytes(device: "torch.device") -> int:
    """The most this rank has held: on a GPU what torch allocated there, else the process's resident memory."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
