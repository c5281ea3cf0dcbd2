"""Experts of a mixture: how they are computed, and how their weights are named in files.

# N tokens, K experts of a token, S = N * K assignments, D width, E experts, F features of an expert

Tokens are sorted by expert and each expert multiplies its own, all in one grouped product. Beside what transformers
brings this one computes in the precision of autocast, which does not reach grouped products, and copies tokens without
adding up where several experts read one, so that its gradient has one order. torch is imported on use.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

IMPLEMENTATION = "ingot_grouped"


def use_grouped_experts(model: Any) -> None:
    """Have a Hugging Face mixture compute its experts with `grouped_experts`."""
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    ALL_EXPERTS_FUNCTIONS.register(IMPLEMENTATION, grouped_experts)
    model.set_experts_implementation(IMPLEMENTATION)


def grouped_experts(
    experts: Any, hidden_ND: "torch.Tensor", expert_NK: "torch.Tensor", weight_NK: "torch.Tensor"
) -> "torch.Tensor":
    """What the experts of each token give, weighted and summed, [N, D]."""
    import torch
    import torch.nn.functional as F

    device = hidden_ND.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden_ND.dtype
    num_tokens, num_chosen = expert_NK.shape
    expert_S, order_S = expert_NK.flatten().sort(stable=True)
    ends_E = torch.searchsorted(expert_S, torch.arange(experts.num_experts, device=hidden_ND.device), right=True).int()
    copies_SD = hidden_ND.to(dtype)[:, None].expand(-1, num_chosen, -1).reshape(-1, hidden_ND.shape[1])
    sorted_SD = copies_SD.index_select(0, order_S)
    gate_up_EDF = experts.gate_up_proj.to(dtype).transpose(1, 2)
    down_EFD = experts.down_proj.to(dtype).transpose(1, 2)
    features_SF = experts._apply_gate(F.grouped_mm(sorted_SD, gate_up_EDF, offs=ends_E))
    given_SD = F.grouped_mm(features_SF, down_EFD, offs=ends_E)
    # Back in the order of the tokens: a permutation, undone by its inverse.
    inverse_S = torch.empty_like(order_S)
    inverse_S[order_S] = torch.arange(len(order_S), device=order_S.device)
    given_NKD = given_SD.index_select(0, inverse_S).view(num_tokens, num_chosen, -1)
    return (given_NKD * weight_NK[:, :, None].to(dtype)).sum(1).to(hidden_ND.dtype)


_EXPERT = re.compile(r"(?P<layer>.*)\.(?:mlp|block_sparse_moe)\.experts\.(?P<number>\d+)\.(?P<part>\w+)\.weight")
_ROUTER = re.compile(r"(.*)\.block_sparse_moe\.gate\.weight")
_PARTS = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
"""Mixtral's names of what the other families call by the second."""


def stack_experts(tensors: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """Weights as a file names them, one expert after the other, as the model holds them, [E, 2 * F, D] and [E, D, F].

    Weights of dense models come back as they are.
    """
    import torch

    stacked: dict[str, torch.Tensor] = {}
    found: dict[str, dict[int, dict[str, torch.Tensor]]] = {}
    for name, tensor in tensors.items():
        expert, router = _EXPERT.fullmatch(name), _ROUTER.fullmatch(name)
        if expert:
            part = _PARTS.get(expert["part"], expert["part"])
            found.setdefault(expert["layer"], {}).setdefault(int(expert["number"]), {})[part] = tensor
        else:
            stacked[f"{router[1]}.mlp.gate.weight" if router else name] = tensor
    for layer, experts in found.items():
        in_order = [experts[number] for number in sorted(experts)]
        both = [torch.cat([parts["gate_proj"], parts["up_proj"]]) for parts in in_order]
        stacked[f"{layer}.mlp.experts.gate_up_proj"] = torch.stack(both)
        stacked[f"{layer}.mlp.experts.down_proj"] = torch.stack([parts["down_proj"] for parts in in_order])
    return stacked
