"""What the routers of a mixture of experts add to the loss, and how they share tokens out.

# N tokens of a micro batch, L layers with a router, E experts, K experts of a token

balance   E * sum over experts of f * P, averaged over layers: f is the share of a micro batch's N * K choices that an
          expert got, P its mean probability (Fedus et al. 2022, arXiv:2101.03961, equations 4 to 6; divided by K and
          averaged over layers as OLMoE does, Muennighoff et al. 2024, arXiv:2409.02060). 1 when all get equally much.
z-loss    the squared log-normaliser of the router, averaged over tokens and layers (Zoph et al. 2022,
          arXiv:2202.08906).

Balance is taken over each micro batch of a rank, not over the step: its shares are known only after a forward pass, and
a step has several. So `micro_batch_rows` changes it a little, and two ranks give what one gives where both have the
same micro batches. The step's loss that is logged and compared is the cross-entropy alone; transformers' own auxiliary
loss is never asked for.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F


class RouterLosses:
    """Listens to the routers of a model while gradients are computed."""

    def __init__(self, routers: list[torch.nn.Module], *, balance: float, z_loss: float) -> None:
        self._balance, self._z_loss = balance, z_loss
        self._num_experts = int(routers[0].num_experts)  # type: ignore[arg-type]
        self._shape = len(routers), self._num_experts
        self._heard: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._told = torch.zeros(self.num_numbers)
        for router in routers:
            router.register_forward_hook(self._hear)

    @property
    def num_numbers(self) -> int:
        """Numbers of a step that are told: a load for each expert of each layer, and the two losses."""
        return self._shape[0] * self._num_experts + 2

    def write_into(self, numbers: torch.Tensor) -> None:
        """Where a step's numbers are added up, which whoever owns it sets to zero and sums over ranks."""
        self._told = numbers

    def _hear(self, router: torch.nn.Module, inputs: Any, outputs: tuple[torch.Tensor, ...]) -> None:
        if torch.is_grad_enabled():
            self._heard.append((outputs[0], outputs[2]))

    def loss(self, num_tokens: int) -> torch.Tensor:
        """What is added to the loss of the micro batch that just went forward, of a step of num_tokens in all."""
        heard, self._heard = self._heard, []
        balance, z_loss = torch.zeros((2,), device=self._told.device)
        loads = self._told[:-2].view(self._shape)
        with torch.autocast(self._told.device.type, enabled=False):
            for layer, (logits_NE, chosen_NK) in enumerate(heard):
                logits_NE = logits_NE.float()
                load_E = F.one_hot(chosen_NK.flatten(), self._num_experts).sum(0).float()
                loads[layer] += load_E
                share_E, probability_E = load_E / chosen_NK.numel(), logits_NE.softmax(-1).mean(0)
                balance = balance + self._num_experts * (share_E * probability_E).sum()
                z_loss = z_loss + logits_NE.logsumexp(-1).square().mean()
        # The weight of a micro batch is its share of the step's tokens.
        share = len(heard[0][0]) / num_tokens / len(heard)
        balance, z_loss = balance * share, z_loss * share
        self._told[-2] += balance.detach()
        self._told[-1] += z_loss.detach()
        return self._balance * balance + self._z_loss * z_loss

    def told(self) -> dict[str, float]:
        """Of the last step, all ranks: both losses without their weights, and loads as multiples of an even share.

        expert_load_3 is that of expert 3, the mean over layers; least and most are over all experts of all layers;
        entropy is 1 when all get equally much, 0 when one gets everything, the mean over layers.
        """
        loads_LE = self._told[:-2].view(self._shape).double().cpu()
        share_LE = loads_LE / loads_LE.sum(1, keepdim=True)
        even_LE = share_LE * self._num_experts
        entropy = -(share_LE * share_LE.clamp(min=1e-30).log()).sum(1).mean() / math.log(self._num_experts)
        balance, z_loss = self._told[-2:].tolist()
        return {
            "balance_loss": round(balance, 5),
            "router_z_loss": round(z_loss, 5),
            "expert_load_least": round(even_LE.min().item(), 4),
            "expert_load_most": round(even_LE.max().item(), 4),
            "expert_load_entropy": round(entropy.item(), 5),
            **{f"expert_load_{number}": round(load, 4) for number, load in enumerate(even_LE.mean(0).tolist())},
        }


def watch_routers(model: torch.nn.Module, *, balance: float, z_loss: float) -> RouterLosses | None:
    """Listen to a model's routers; None for a dense model."""
    # Every family's router has these, and nothing else has.
    routers = [module for module in model.modules() if hasattr(module, "num_experts") and hasattr(module, "top_k")]
    return RouterLosses(routers, balance=balance, z_loss=z_loss) if routers else None
