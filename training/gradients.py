"""The gradients of a step, its loss and the wish to stop: zeroed, summed over ranks, measured and scaled as one."""

import torch
import torch.distributed as dist


class FlatGradients:
    """Gradients of all parameters in one flat buffer, beside the loss and the votes: one all-reduce, one norm."""

    def __init__(
        self, parameters: list[torch.nn.Parameter], device: torch.device, num_ranks: int, num_routed: int = 0
    ) -> None:
        """num_routed: numbers that the routers of a mixture of experts tell of a step, summed with the rest."""
        size = sum(parameter.numel() for parameter in parameters)
        self._num_ranks = num_ranks
        self._shared = torch.zeros(size + 2 + num_routed, device=device)
        self._gradients = self._shared[:size]
        self.step_loss = self._shared[size]
        self.stop_votes = self._shared[size + 1]
        self.routed = self._shared[size + 2 :]
        offset = 0
        for parameter in parameters:
            parameter.grad = self._gradients[offset : offset + parameter.numel()].view_as(parameter)
            offset += parameter.numel()

    def zero(self) -> None:
        """Begin a step."""
        self._shared.zero_()

    def reduce(self) -> torch.Tensor:
        """Sum gradients, loss and votes of all ranks; the norm of the gradient."""
        if self._num_ranks > 1:
            dist.all_reduce(self._shared)
        return self._gradients.norm()

    def scale(self, factor: torch.Tensor) -> None:
        """Multiply every gradient."""
        self._gradients.mul_(factor)
