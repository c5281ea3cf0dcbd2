"""Optimizer and schedule: fused AdamW or Muon, and a learning rate that is a function of the step.

The schedule keeps no state, so a resumed run has the rate it would have had. torch is imported on use.
"""

import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

DecayShape = Literal["wsd", "cosine"]
OptimizerName = Literal["adamw", "muon"]

# The fit was made on models of 20M parameters and more; below, it is not extrapolated but held.
SMALLEST_FITTED_PARAMETERS = 20_000_000
HIGHEST_LEARNING_RATE = 0.0047 / 2 * (SMALLEST_FITTED_PARAMETERS / 108e6) ** (-1 / 3)
LOWEST_LEARNING_RATE = 1e-4


def default_learning_rate(non_embedding_parameters: int) -> float:
    """Peak learning rate of AdamW for a model of this size.

    Half of 0.0047 * (N / 108e6)^(-1/3): the fit of Porian et al. 2024 (arXiv:2406.19146) with OLMo's
    factor for warmup-stable-decay schedules, clipped to [1e-4, its value at 20M parameters = 4.1e-3].
    """
    if non_embedding_parameters <= 0:
        raise ValueError(
            f"learning rate rule: {non_embedding_parameters} parameters; the model has no blocks, check its layers"
        )
    fitted = 0.0047 / 2 * (non_embedding_parameters / 108e6) ** (-1 / 3)
    return min(max(fitted, LOWEST_LEARNING_RATE), HIGHEST_LEARNING_RATE)


def default_warmup_steps(num_parameters: int, batch_tokens: int, total_steps: int) -> int:
    """One token per parameter (OLMo's ladder), but at most a tenth of the run and at least one step."""
    return max(1, min(-(-num_parameters // batch_tokens), total_steps // 10))


def decay_start(total_steps: int, decay_fraction: float) -> int:
    """The first step whose rate falls, under a warmup-stable-decay schedule."""
    return total_steps - math.ceil(total_steps * decay_fraction)


def learning_rate_factor(
    step: int, *, total_steps: int, warmup_steps: int, decay: DecayShape, decay_fraction: float
) -> float:
    """Share of the peak learning rate used by the update number `step` (0-based), in (0, 1].

    A linear rise over warmup_steps, then `wsd`: constant and a linear fall over the last
    decay_fraction of the run; `cosine`: half a cosine to the end. The rate would reach zero one step
    after the last.
    """
    if not 0 <= step < total_steps:
        raise ValueError(f"learning rate: step {step} is outside the run of {total_steps} steps; check the checkpoint")
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    if decay == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps)))
    start = decay_start(total_steps, decay_fraction)
    if step < start:
        return 1.0
    return (total_steps - step) / (total_steps - start)


def build_optimizer(
    model: "torch.nn.Module",
    *,
    learning_rate: float,
    betas: tuple[float, float],
    weight_decay: float,
    name: OptimizerName = "adamw",
    bfloat16: bool = False,
) -> "torch.optim.Optimizer":
    """Fused AdamW, or Muon for the blocks' matrices and fused AdamW for the rest (`training/muon.py`).

    Weight decay acts on the matrices of the blocks and head, not on embeddings and norms. bfloat16: Muon's matrix
    products are computed in it; moments and weights stay float32.
    """
    import torch

    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    decayed: list[torch.nn.Parameter] = []
    free: list[torch.nn.Parameter] = []
    for parameter in model.parameters():
        plain = parameter.ndim < 2 or id(parameter) in embeddings
        (free if plain else decayed).append(parameter)
    if name == "muon":
        from training.muon import Muon, is_orthogonalised

        head = model.get_output_embeddings()  # type: ignore[operator]  # a Hugging Face model
        outside = embeddings | {id(parameter) for parameter in head.parameters()}
        chosen = {id(p) for named, p in model.named_parameters() if is_orthogonalised(named, p, outside)}
        matrices = [parameter for parameter in decayed if id(parameter) in chosen]
        others = [parameter for parameter in decayed if id(parameter) not in chosen]
        groups = [
            {"params": matrices, "weight_decay": weight_decay, "muon": True},
            {"params": others, "weight_decay": weight_decay},
            {"params": free, "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        precision = torch.bfloat16 if bfloat16 else torch.float32
        return Muon(groups, learning_rate=learning_rate, betas=betas, precision=precision)
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}],
        lr=learning_rate,
        betas=betas,
        eps=1e-8,
        fused=True,
    )


def optimizer_tensors(model: "torch.nn.Module", optimizer: "torch.optim.Optimizer") -> dict[str, "torch.Tensor"]:
    """The optimizer's own state tensors by name, `<moment>/<parameter name>`, as a safetensors file keeps them."""
    return {
        f"{moment}/{name}": value.detach()
        for name, parameter in model.named_parameters()
        for moment, value in sorted(optimizer.state[parameter].items())
    }


def restore_optimizer(
    model: "torch.nn.Module", optimizer: "torch.optim.Optimizer", tensors: dict[str, "torch.Tensor"]
) -> None:
    """Put back what `optimizer_tensors` took; raises KeyError when a moment of a parameter is missing."""
    orthogonal = {id(p) for group in optimizer.param_groups if group.get("muon") for p in group["params"]}
    for name, parameter in model.named_parameters():
        moments = ("momentum",) if id(parameter) in orthogonal else ("step", "exp_avg", "exp_avg_sq")
        optimizer.state[parameter] = {moment: tensors[f"{moment}/{name}"].to(parameter.device) for moment in moments}
