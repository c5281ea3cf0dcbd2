"""Weights, gradients and moments divided among ranks by PyTorch's FSDP2, block by block.

A rank keeps a part of every tensor (of its first dimension) and gathers a block's weights only while it computes that
block. Zhao et al. 2023 (PyTorch FSDP, arXiv:2304.11277), after ZeRO stage 3 (Rajbhandari et al. 2020,
arXiv:1910.02054). The optimizer works on the local parts alone. Checkpoints do not know of it: rank 0 receives one full
tensor after the other, and a rank reads its part of each from the file, so any number of ranks can go on.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import safe_open
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from ingot.errors import TrainingError

logger = logging.getLogger(__name__)

Memory = Callable[[str, torch.Tensor], torch.Tensor]
"""(name, a tensor) -> memory of the host for a copy of it."""


class _Whole(torch.nn.Module):
    """The model, with whatever is to be computed with it as its forward: FSDP2 gathers weights around a forward."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[..., Any], *inputs: Any) -> Any:
        return compute(*inputs)


class Sharded:
    """A model whose weights are divided among the ranks of the default group."""

    def __init__(self, model: Any, device: torch.device, *, bfloat16: bool) -> None:
        """bfloat16: gather and compute in bfloat16; parts and the sums of gradients stay float32."""
        self.rank, self.num_ranks = dist.get_rank(), dist.get_world_size()
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        how: dict[str, Any] = {
            "mesh": init_device_mesh(device.type, (self.num_ranks,)),
            "mp_policy": policy if bfloat16 else MixedPrecisionPolicy(),
        }
        self._model = model
        self._whole = _Whole(model)
        for module in (*model.model.layers, self._whole):
            fully_shard(module, **how)
            assert isinstance(module, FSDPModule)
            # A rank's loss is divided by the tokens of all ranks already, so gradients are summed, not averaged.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
        self._local = {
            id(whole): torch.nn.Parameter(_part(whole).detach()) for whole in model.parameters()
        }  # they share memory with the parts that FSDP2 gathers
        kept = sum(local.numel() for local in self._local.values())
        total = sum(whole.numel() for whole in model.parameters())
        logger.info("sharding: this rank keeps %s of %s weights", f"{kept:,}", f"{total:,}")

    def __call__(self, compute: Callable[..., Any], *inputs: Any) -> Any:
        """compute(*inputs) with the model's weights at hand."""
        return self._whole(compute, *inputs)

    def look(self, compute: Callable[..., Any], *inputs: Any) -> Any:
        """The same without gradients; no backward pass follows, after which the last weights would be let go."""
        with torch.no_grad():
            found = self._whole(compute, *inputs)
        assert isinstance(self._whole, FSDPModule)
        self._whole.reshard()
        return found

    def keep_parts(self, optimizer: torch.optim.Optimizer) -> None:
        """Have a fresh optimizer of the model's parameters work on this rank's parts of them."""
        for group in optimizer.param_groups:
            group["params"] = [self._local[id(whole)] for whole in group["params"]]

    def gradients(self, device: torch.device) -> "ShardedGradients":
        """The gradients of the parts."""
        return ShardedGradients([(whole, self._local[id(whole)]) for whole in self._model.parameters()], device)

    def load_weights(self, path: Path, key: str) -> None:
        """Read this rank's parts from a safetensors file; TrainingError when it is another model's."""
        known = {name for name, _ in self._model.named_parameters(remove_duplicate=False)}
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            missing = [name for name, _ in self._model.named_parameters() if name not in names]
            if missing or names - known:
                raise TrainingError(
                    f"{key} lacks {len(missing)} weights of train.model and has {len(names - known)} others; use the "
                    "shape it was made with"
                )
            for name, whole in self._model.named_parameters():
                if tuple(file.get_slice(name).get_shape()) != tuple(whole.shape):
                    raise TrainingError(
                        f"{key} has weights of another shape than train.model; use the shape it was made with"
                    )
                self._put(whole, file.get_slice(name))

    def put_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take this rank's parts of full weights."""
        for name, whole in self._model.named_parameters():
            self._put(whole, weights[name])

    def _put(self, whole: torch.nn.Parameter, full: Any) -> None:
        with torch.no_grad():
            self._local[id(whole)].copy_(self._slice(full, whole))

    def _slice(self, full: Any, whole: torch.nn.Parameter) -> torch.Tensor:
        rows = -(-whole.shape[0] // self.num_ranks)  # as torch.chunk, by which FSDP2 divides
        part: torch.Tensor = full[min(self.rank * rows, whole.shape[0]) : min((self.rank + 1) * rows, whole.shape[0])]
        assert part.shape == self._local[id(whole)].shape, "FSDP2 divides by the first dimension"
        return part

    def restore_optimizer(self, optimizer: torch.optim.Optimizer, path: Path) -> None:
        """Read this rank's parts of the moments from a checkpoint's optimizer.safetensors."""
        with safe_open(path, framework="pt") as file:
            for name, whole in self._model.named_parameters():
                local = self._local[id(whole)]
                moments = {
                    moment: self._slice(file.get_slice(f"{moment}/{name}"), whole).to(local.device)
                    for moment in ("exp_avg", "exp_avg_sq")
                }
                step = file.get_tensor(f"step/{name}").to(local.device)
                optimizer.state[local] = {"step": step, **moments}

    def gather_weights(self, memory: Memory | None) -> dict[str, torch.Tensor]:
        """Full weights by the names of a state dict, in `memory`; all ranks call it, None: this one keeps nothing."""
        wholes = dict(self._model.named_parameters(remove_duplicate=False))
        return _gather(
            ((name, wholes.get(name, value)) for name, value in self._model.state_dict().items()), memory
        )

    def gather_moments(self, optimizer: torch.optim.Optimizer, memory: Memory | None) -> dict[str, torch.Tensor]:
        """The same of the optimizer's state, `<moment>/<parameter name>`."""
        return _gather(self._moments(optimizer), memory)

    def _moments(self, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, torch.Tensor]]:
        for name, whole in self._model.named_parameters():
            for moment, value in sorted(optimizer.state[self._local[id(whole)]].items()):
                yield f"{moment}/{name}", value if moment == "step" else _as_part_of(whole, value)


class ShardedGradients:
    """Gradients of a rank's parts: FSDP2 has summed them; loss, votes and the norm's square are summed here."""

    def __init__(self, parameters: list[tuple[torch.nn.Parameter, torch.nn.Parameter]], device: torch.device) -> None:
        """parameters are (the divided parameter, this rank's part of it)."""
        self._parameters = parameters
        self._gradients: list[torch.Tensor] = []
        self._shared = torch.zeros(3, device=device)
        self.step_loss, self.stop_votes, self._square = self._shared

    def zero(self) -> None:
        """Begin a step."""
        self._shared.zero_()
        for whole, local in self._parameters:
            whole.grad = local.grad = None

    def reduce(self) -> torch.Tensor:
        """Sum loss and votes of all ranks; the norm of the whole gradient."""
        for whole, local in self._parameters:
            assert whole.grad is not None and local.data_ptr() == _part(whole).data_ptr()
            local.grad = _part(whole.grad)
        self._gradients = [local.grad for _, local in self._parameters if local.grad is not None]
        self._square.copy_(torch.stack(torch._foreach_norm(self._gradients)).square().sum())
        dist.all_reduce(self._shared)
        return self._square.sqrt()

    def scale(self, factor: torch.Tensor) -> None:
        """Multiply every gradient."""
        torch._foreach_mul_(self._gradients, factor)


def check_shares(rows_per_step: int, num_ranks: int) -> None:
    """Raise TrainingError when ranks would have different numbers of windows: each gathers for all in every one."""
    if rows_per_step % num_ranks:
        raise TrainingError(
            f"a step of {rows_per_step} windows is not shared evenly by {num_ranks} ranks, which sharding needs; "
            f"choose train.batch_tokens as a multiple of {num_ranks} windows, other ranks, or train.sharding: none"
        )


def _part(tensor: torch.Tensor) -> torch.Tensor:
    assert isinstance(tensor, DTensor), "FSDP2 divides every parameter"
    return tensor.to_local()


def _as_part_of(whole: torch.nn.Parameter, value: torch.Tensor) -> DTensor:
    assert isinstance(whole, DTensor)
    return DTensor.from_local(
        value, whole.device_mesh, whole.placements, run_check=False, shape=whole.shape, stride=whole.stride()
    )


def _gather(tensors: Iterable[tuple[str, torch.Tensor]], memory: Memory | None) -> dict[str, torch.Tensor]:
    """One full tensor at a time; one that has two names (tied weights) is gathered once."""
    held: dict[str, torch.Tensor] = {}
    names: dict[int, str] = {}
    with torch.no_grad():
        for name, tensor in tensors:
            first = names.get(id(tensor)) if isinstance(tensor, torch.nn.Parameter) else None
            if first is None:
                names[id(tensor)] = name
                full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
                if memory is not None:
                    held[name] = memory(name, full).copy_(full)
            elif memory is not None:
                held[name] = held[first]
    return held
