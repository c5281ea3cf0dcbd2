"""The loss of a micro batch without its logits: cross-entropy and z-loss, a chunk of tokens at a time.

# N tokens, D width, V vocabulary, C tokens of a chunk

The gradients of hidden states and head are computed in the forward pass, chunk by chunk, so that of logits and
their gradient only C * V numbers exist at a time, and nothing is computed twice. The idea is that of Liger Kernel
(Hsu et al. 2024, arXiv:2410.10989, section 3.2). Equal to the plain loss within rounding, not bit for bit: the head's
gradient is summed chunk by chunk.
"""

from typing import Any

import torch
import torch.nn.functional as F


def chunked_loss(
    hidden_ND: torch.Tensor,
    head_VD: torch.Tensor,
    targets_N: torch.Tensor,
    *,
    chunk_tokens: int,
    z_loss: float | None,
    num_tokens: int,
    ignore_id: int = -100,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss to differentiate (with z-loss) and the cross-entropy alone, both summed and divided by num_tokens.

    Logits are computed as the hidden states are (bfloat16 under autocast) and made float32. Targets of
    ignore_id count in neither. The loss must be differentiated once, with any factor.
    """
    if torch.is_autocast_enabled(hidden_ND.device.type):
        hidden_ND = hidden_ND.to(torch.get_autocast_dtype(hidden_ND.device.type))
    result: tuple[torch.Tensor, torch.Tensor] = _ChunkedLoss.apply(  # type: ignore[no-untyped-call]
        hidden_ND, head_VD, targets_N, chunk_tokens, z_loss, num_tokens, ignore_id
    )
    return result


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        head_VD: torch.Tensor,
        targets_N: torch.Tensor,
        chunk_tokens: int,
        z_loss: float | None,
        num_tokens: int,
        ignore_id: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        device_type = hidden_ND.device.type
        with torch.autocast(device_type, enabled=False):
            used_head_VD = head_VD.to(hidden_ND.dtype)
            hidden_grad_ND = torch.empty_like(hidden_ND)
            head_grad_VD = torch.zeros_like(head_VD)
            cross_entropy = torch.zeros((), device=hidden_ND.device)
            penalty = torch.zeros((), device=hidden_ND.device)
            for first in range(0, len(hidden_ND), chunk_tokens):
                chunk_CD = hidden_ND[first : first + chunk_tokens]
                targets_C = targets_N[first : first + chunk_tokens]
                logits_CV = (chunk_CD @ used_head_VD.T).float()
                counted_C = targets_C != ignore_id
                cross_entropy += F.cross_entropy(logits_CV, targets_C, reduction="sum", ignore_index=ignore_id)
                log_norm_C = logits_CV.logsumexp(-1)
                factor_C = counted_C.float()
                grad_CV = logits_CV.sub_(log_norm_C[:, None]).exp_()  # the softmax, in the logits' memory
                if z_loss is not None:
                    penalty += z_loss * (log_norm_C.square() * factor_C).sum()
                    factor_C = factor_C * (1 + 2 * z_loss * log_norm_C)
                grad_CV.mul_(factor_C[:, None])
                index_C1 = torch.where(counted_C, targets_C, 0)[:, None]
                grad_CV.scatter_add_(1, index_C1, -counted_C.float()[:, None])
                grad_CV = grad_CV.div_(num_tokens).to(hidden_ND.dtype)
                hidden_grad_ND[first : first + chunk_tokens] = grad_CV @ used_head_VD
                head_grad_VD += grad_CV.T @ chunk_CD
        ctx.save_for_backward(hidden_grad_ND, head_grad_VD)
        cross_entropy = cross_entropy / num_tokens
        loss = cross_entropy + penalty / num_tokens
        ctx.mark_non_differentiable(cross_entropy)
        return loss, cross_entropy

    @staticmethod
    def backward(ctx: Any, loss_grad: torch.Tensor, _: torch.Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        hidden_grad_ND, head_grad_VD = ctx.saved_tensors
        return hidden_grad_ND * loss_grad, head_grad_VD * loss_grad, None, None, None, None, None
