"""What a plan knows of the machine, and what a stage needs of it before anything was measured: speed, memory, disk.

No torch: GPUs are asked through nvidia-smi, a CPU's rate is that of a few numpy products (a tenth of a second).
A probe (`training/probe.py`) or an earlier run replaces these estimates.
"""

import subprocess
import time
from dataclasses import dataclass

import numpy as np

from ingot.errors import RecipeError
from training.checkpoints import KEPT_CHECKPOINTS
from training.energy import WATTS_OF_A_BUSY_THREAD
from training.environment import cpu_name, physical_cores
from training.models import VOCAB_MULTIPLE, non_embedding_parameters, num_parameters, round_up
from training.stages.pretrain import Config, plan
from training.throughput import accelerator

GPU_SHARE = 0.35
"""Of the maker's peak that a loop is taken to reach: published loops reach 0.4 to 0.5 with large models, small ones
less. A choice on the careful side."""
CPU_SHARE = 0.35
"""Of what matrix products reach: small models spend the rest on everything else."""
BYTES_OF_TRAINING = 16
"""A weight, its gradient and AdamW's two moments, in float32; Muon keeps one moment less for matrices."""
BYTES_IN_A_CHECKPOINT = 12
"""A weight and two moments, in float32."""
ACTIVATION_BYTES = 68
"""Kept for the backward pass for each token, layer and feature: 34 at 16 bits without the attention matrix
(Korthikanti et al. 2022, arXiv:2205.05198, equation 2), twice that in float32."""
CPU_PROCESS_BYTES = 600e6
"""Of a rank before it holds a model: Python, torch and transformers."""


GPU_GIGABYTES = {
    "B200": 180, "H200 NVL": 141, "H200": 141, "H100 PCIe": 80, "H100 NVL": 94, "H100": 80, "A100-PCIE": 40,
    "A100": 40, "L40S": 48, "L4": 24, "A10G": 24, "V100": 16,
}  # fmt: skip
"""Memory in NVIDIA's data sheets of what `throughput.ACCELERATORS` names; of two sizes, the smaller."""


@dataclass(frozen=True)
class Machine:
    """What trains, and how much of it there is."""

    name: str
    """Of the GPU, or of the processor."""
    num_gpus: int
    gpu_memory_bytes: int | None
    """Of one GPU; None without one."""
    cores: int
    """Physical ones that this process may use."""
    memory_bytes: int
    """Available to processes now."""
    free_bytes: int | None
    """On the disk of the store; None for a remote one."""

    @property
    def kind(self) -> str:
        """In words."""
        if not self.num_gpus:
            return f"{self.cores} core{'s' * (self.cores > 1)} of {self.name.split(' / ')[0]}"
        memory = f", {self.gpu_memory_bytes / 1e9:,.0f} GB each" if self.gpu_memory_bytes else ""
        return f"{self.num_gpus} x {self.name}{memory}"

    @property
    def room_bytes(self) -> int:
        """Memory for one rank's model: the GPU's, else what is available."""
        return self.gpu_memory_bytes if self.num_gpus and self.gpu_memory_bytes else self.memory_bytes


def look(*, num_gpus: int, memory_bytes: int, free_bytes: int | None) -> Machine:
    """This machine; num_gpus are those that training may use."""
    cores = physical_cores()
    if not num_gpus:
        return Machine(cpu_name(), 0, None, cores, memory_bytes, free_bytes)
    name, memory = _first_gpu()
    return Machine(name, num_gpus, memory, cores, memory_bytes, free_bytes)


def machine_of(gpu: str, *, num_gpus: int) -> Machine:
    """A machine that is not this one, by its GPU; nothing is known of its disk. RecipeError for an unknown name."""
    known = accelerator(f"NVIDIA {gpu}")
    if known is None:
        raise RecipeError(f"--gpu {gpu!r} is unknown; known: {', '.join(GPU_GIGABYTES)}")
    memory = GPU_GIGABYTES[known.name] * 10**9
    return Machine(f"NVIDIA {known.name}", num_gpus, memory, 1, memory, None)


def _first_gpu() -> tuple[str, int | None]:
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
        name, memory = answer.stdout.splitlines()[0].rsplit(",", 1)
        return name.strip(), int(memory) << 20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return "GPU that nvidia-smi does not name", None


def estimated_flops(machine: Machine, num_ranks: int) -> float | None:
    """FLOP/s of training on all ranks, before anything was measured; None for a GPU of which nothing is known."""
    if machine.num_gpus:
        known = accelerator(machine.name)
        return known.peak_flops * GPU_SHARE * num_ranks if known else None
    return measured_cpu_flops() * CPU_SHARE


def measured_cpu_flops(*, size: int = 512, rounds: int = 8) -> float:
    """The best rate of a few float32 products with numpy's own threads."""
    matrix = np.full((size, size), 0.5, dtype=np.float32)
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def estimated_memory(config: Config, vocab_size: int, *, on_gpu: bool, ranks: int = 1) -> int:
    """Bytes at the peak of one rank: weights and what belongs to them, activations and logits of a micro batch.

    With sharding: full each of the ranks has its part, and gathers blocks one by one.
    """
    model = config.model
    tokens = min(config.micro_batch_rows, config.batch_tokens // config.sequence_length) * config.sequence_length
    activations = tokens * model.layers * model.width * ACTIVATION_BYTES / (2 if on_gpu else 1)
    at_once = min(tokens, config.loss_chunk_tokens or tokens)
    # Logits, their softmax and their gradient, in float32.
    logits = at_once * round_up(vocab_size, VOCAB_MULTIPLE) * 4 * 3
    parameters = num_parameters(model, vocab_size)
    held: float = parameters * BYTES_OF_TRAINING
    if config.sharding == "full" and ranks > 1:
        blocks = non_embedding_parameters(model)
        # Embeddings and head stay gathered, and one block comes while another computes; with their gradients.
        held = held / ranks + (parameters - blocks + 2 * blocks / model.layers) * 8
    if not on_gpu:
        # A checkpoint written beside training is copied to main memory first: of a GPU's rank that is another memory.
        copied = parameters * BYTES_IN_A_CHECKPOINT if config.async_checkpoints else 0
        held += copied + CPU_PROCESS_BYTES
    return round(held + activations + logits)


def checkpoint_bytes(config: Config, vocab_size: int) -> int:
    """The most that a run's checkpoints take in the store at once: those kept, the milestone, and the one written."""
    steps = plan(config, vocab_size)
    written = -(-steps.total_steps // config.checkpoint_every_steps)
    most = KEPT_CHECKPOINTS + 1 + (steps.milestone_step is not None)
    return min(most, written + (steps.milestone_step is not None)) * (
        num_parameters(config.model, vocab_size) * BYTES_IN_A_CHECKPOINT
    )


def power_watts(machine: Machine, num_ranks: int) -> float | None:
    """As `training/energy.py` estimates: a GPU's design power, 3.5 W a busy core; None for unknown GPUs."""
    if machine.num_gpus:
        known = accelerator(machine.name)
        return known.watts * num_ranks if known else None
    return WATTS_OF_A_BUSY_THREAD * machine.cores
