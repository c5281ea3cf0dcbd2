"""The chunked loss is the plain one within rounding, and never holds the logits of a micro batch."""

import pytest

from tests.training.conftest import TINY, Place, RankRunner
from training.stages.pretrain import identity_values

N, D, V = 50, 16, 96


def problem(seed: int = 0):  # type: ignore[no-untyped-def]
    import torch

    numbers = torch.Generator().manual_seed(seed)
    hidden = torch.randn(N, D, generator=numbers, requires_grad=True)
    head = torch.randn(V, D, generator=numbers, requires_grad=True)
    return hidden, head, torch.randint(0, V, (N,), generator=numbers)


def plain_loss(hidden, head, targets, z_loss):  # type: ignore[no-untyped-def]
    import torch.nn.functional as F

    logits = (hidden @ head.T).float()
    cross_entropy = F.cross_entropy(logits, targets, reduction="sum", ignore_index=-100) / N
    counted = targets != -100
    penalty = (z_loss or 0.0) * logits.logsumexp(-1)[counted].square().sum() / N
    return cross_entropy + penalty, cross_entropy


@pytest.mark.parametrize("z_loss", [None, 0.01])
@pytest.mark.parametrize("masked", [0, 20, N])
@pytest.mark.parametrize("chunk_tokens", [1, 16, 64])
def test_loss_and_gradients_are_those_of_the_plain_loss(chunk_tokens: int, masked: int, z_loss: float | None) -> None:
    import torch

    from training.losses import chunked_loss

    hidden, head, targets = problem()
    targets[:masked] = -100
    expected, expected_entropy = plain_loss(hidden, head, targets, z_loss)
    expected_grads = torch.autograd.grad(3 * expected, (hidden, head))
    loss, entropy = chunked_loss(hidden, head, targets, chunk_tokens=chunk_tokens, z_loss=z_loss, num_tokens=N)
    torch.testing.assert_close((loss, entropy), (expected, expected_entropy))
    torch.testing.assert_close(torch.autograd.grad(3 * loss, (hidden, head)), expected_grads)


@pytest.mark.parametrize("tied", [True, False])
def test_a_models_gradients_are_the_same_with_a_tied_head_and_without(tied: bool) -> None:
    import torch

    from training.losses import chunked_loss
    from training.models import ModelConfig, build_model

    shape = ModelConfig(family="llama", layers=1, width=16, heads=2, tie_embeddings=tied)
    model = build_model(shape, vocab_size=64, context_length=8, seed=0)
    ids = torch.arange(18).reshape(2, 9)
    grads = []
    for chunked in (False, True):
        model.zero_grad()
        hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state.flatten(0, 1)
        targets = ids[:, 1:].flatten()
        if chunked:
            loss, _ = chunked_loss(hidden, model.lm_head.weight, targets, chunk_tokens=5, z_loss=1e-3, num_tokens=N)
        else:
            loss, _ = plain_loss(hidden, model.lm_head.weight, targets, 1e-3)
        loss.backward()
        grads.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    torch.testing.assert_close(grads[1], grads[0])


def test_logits_of_bfloat16_are_made_float32_before_the_loss() -> None:
    import torch

    from training.losses import chunked_loss

    hidden, head, targets = problem()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = chunked_loss(hidden, head, targets, chunk_tokens=16, z_loss=1e-3, num_tokens=N)
        expected, _ = plain_loss(hidden, head, targets, 1e-3)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected)
    grads = torch.autograd.grad(loss, (hidden, head))
    expected_grads = torch.autograd.grad(expected, (hidden, head))
    assert [grad.dtype for grad in grads] == [torch.float32, torch.float32]
    for grad, wanted in zip(grads, expected_grads, strict=True):
        assert (grad - wanted).norm() < 0.02 * wanted.norm()


def largest_tensor(chunk_tokens: int | None) -> int:
    """Numbers of the largest tensor that any operation of forward and backward gives."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    from training.losses import chunked_loss

    sizes = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = func(*args, **(kwargs or {}))
            sizes.extend(leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor))
            return result

    hidden, head, targets = problem()
    with Sizes():
        if chunk_tokens is None:
            loss, _ = plain_loss(hidden, head, targets, 1e-3)
        else:
            loss, _ = chunked_loss(hidden, head, targets, chunk_tokens=chunk_tokens, z_loss=1e-3, num_tokens=N)
        loss.backward()
    return max(sizes)


def test_the_logits_of_all_tokens_never_exist() -> None:
    assert largest_tensor(None) == N * V
    assert largest_tensor(8) == V * D  # the head's gradient; a chunk of logits is smaller
    assert largest_tensor(20) == 20 * V


def test_a_run_in_chunks_follows_the_run_without(clean: Place, place: Place, run_rank: RankRunner) -> None:
    config = TINY.model_copy(update={"loss_chunk_tokens": 40})
    assert run_rank(place.job(config)) == 0
    pairs = list(zip(place.metrics(), clean.metrics(), strict=True))
    assert [line["loss"] for line, _ in pairs] == pytest.approx([line["loss"] for _, line in pairs], abs=1e-4)
    assert "loss_chunk_tokens" not in identity_values(TINY) and identity_values(config)["loss_chunk_tokens"] == 40
