"""Muon: momentum, orthogonalised, for the matrices of the blocks; fused AdamW for everything else.

# N matrices of one shape, R rows, C columns, E experts

Keller Jordan 2024 (https://kellerjordan.github.io/posts/muon/): momentum, Nesterov, coefficients and five steps of
Newton-Schulz are his. The update is scaled by 0.2 * sqrt(max(R, C)), so that its size is AdamW's and AdamW's learning
rate and weight decay carry over (Liu et al. 2025, arXiv:2502.16982). Expert weights [E, R, C] are E matrices. Matrices
of one shape are orthogonalised together; beside the momentum a step needs memory for one such batch at a time.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.optim.adamw import adamw

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
STEPS = 5
SMALLEST_NORM = 1e-7

BATCH_NUMBERS = 2**26
"""Matrices of one shape are taken together up to so many numbers: 256 MB of float32 beside the model."""


class Muon(torch.optim.Optimizer):
    """Both rules behind one optimizer: a group with `muon: True` is orthogonalised, the others follow AdamW.

    `found_inf`, a number on the device, skips the update of all when it is not zero, without the host
    waiting for it: as the fused AdamW does. Moments then stay as they were.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        learning_rate: float,
        betas: tuple[float, float],
        precision: torch.dtype = torch.float32,
    ) -> None:
        """precision is that of the orthogonalisation; bfloat16 suffices (Keller Jordan's own) and is twice as fast."""
        super().__init__(groups, {"lr": learning_rate, "betas": betas, "eps": 1e-8, "weight_decay": 0.0, "muon": False})
        self.found_inf: torch.Tensor | None = None
        self.precision = precision

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        assert closure is None, "the loop computes its gradients itself"
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if group["muon"]:
                self._orthogonal_update(parameters, group)
            elif parameters:
                self._adamw_update(parameters, group)

    def _adamw_update(self, parameters: list[torch.Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                step = torch.zeros((), dtype=torch.float32, device=parameter.device)
                moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
                self.state[parameter] = {"step": step, **moments}
        states = [self.state[parameter] for parameter in parameters]
        adamw(
            parameters,
            [_gradient(parameter) for parameter in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            found_inf=self.found_inf,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def _orthogonal_update(self, parameters: list[torch.Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter] = {"momentum": torch.zeros_like(parameter)}
        for batch in _batches(parameters):
            gradients_NRC = _stacked([_gradient(parameter) for parameter in batch])
            before_NRC = _stacked([self.state[parameter]["momentum"] for parameter in batch])
            momentum_NRC = before_NRC.lerp(gradients_NRC, 1 - MOMENTUM)
            update_NRC = orthogonalise(gradients_NRC.lerp(momentum_NRC, MOMENTUM), precision=self.precision)
            update_NRC = update_NRC.to(momentum_NRC.dtype)
            decay: float | torch.Tensor = group["lr"] * group["weight_decay"]
            if self.found_inf is not None:
                # Chosen, not multiplied: zero times a number that is not finite is not zero.
                skip = self.found_inf > 0
                momentum_NRC = torch.where(skip, before_NRC, momentum_NRC)
                update_NRC = torch.where(skip, 0.0, update_NRC)
                decay = torch.where(skip, 0.0, decay)
            rate = group["lr"] * 0.2 * math.sqrt(max(update_NRC.shape[-2:]))
            taken = 0
            for parameter in batch:
                num = parameter.numel() // (parameter.shape[-2] * parameter.shape[-1])
                self.state[parameter]["momentum"].copy_(momentum_NRC[taken : taken + num].view_as(parameter))
                parameter.mul_(1 - decay)
                parameter.sub_(update_NRC[taken : taken + num].view_as(parameter), alpha=rate)
                taken += num


def orthogonalise(matrices_NRC: torch.Tensor, *, precision: torch.dtype = torch.float32) -> torch.Tensor:
    """For each matrix U S V^T about U V^T: singular values near one, by five steps of Newton-Schulz.

    Keller Jordan's quintic rises fastest at zero instead of converging: values end between 0.7 and 1.2.
    """
    a, b, c = COEFFICIENTS
    tall = matrices_NRC.shape[-2] > matrices_NRC.shape[-1]
    X = matrices_NRC.to(precision)
    X = X.mT if tall else X
    X = X / X.norm(dim=(-2, -1), keepdim=True).clamp(min=SMALLEST_NORM)
    for _ in range(STEPS):
        gram = X @ X.mT
        X = torch.baddbmm(X, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), X, beta=a)
    return X.mT if tall else X


def is_orthogonalised(name: str, parameter: torch.nn.Parameter, outside: set[int]) -> bool:
    """Whether Muon takes the parameter: a matrix of a block, or one of each expert; not a router's gate.

    outside are the ids of embeddings and head.
    """
    module = name.split(".")[-2] if "." in name else ""
    gate = module.endswith(("gate", "router"))
    return parameter.ndim in (2, 3) and id(parameter) not in outside and not gate


def _gradient(parameter: torch.Tensor) -> torch.Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _stacked(tensors: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.reshape(-1, *tensor.shape[-2:]) for tensor in tensors])


def _batches(parameters: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Parameters whose matrices have one shape, in order, at most BATCH_NUMBERS numbers or one parameter."""
    by_shape: dict[tuple[int, ...], list[torch.Tensor]] = {}
    for parameter in parameters:
        by_shape.setdefault(tuple(parameter.shape[-2:]), []).append(parameter)
    for same in by_shape.values():
        batch: list[torch.Tensor] = []
        for parameter in same:
            if batch and sum(p.numel() for p in batch) + parameter.numel() > BATCH_NUMBERS:
                yield batch
                batch = []
            batch.append(parameter)
        yield batch
