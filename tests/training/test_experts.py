"""Mixtures of experts: how experts are computed, what routers add to the loss, and whole runs of them."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tests.training.conftest import TINY, Place, RankRunner
from training.adopted_shape import shape_of
from training.experts import IMPLEMENTATION, grouped_experts
from training.loops.pretrain import _accumulate
from training.models import ModelConfig, build_model
from training.muon import Muon
from training.optimizers import build_optimizer
from training.router import watch_routers
from training.runs import set_up_run
from training.stages.pretrain import Config

SHAPE = ModelConfig(
    family="olmoe", layers=2, width=32, heads=2, experts=4, experts_per_token=2, expert_width=24, tie_embeddings=False
)
MIXTURE = TINY.model_copy(update={"model": SHAPE})


def mixture(seed: int = 0, **changes: object):  # type: ignore[no-untyped-def]
    return build_model(SHAPE.model_copy(update=changes), vocab_size=64, context_length=16, seed=seed)


def one_by_one(experts, hidden, chosen, weights):  # type: ignore[no-untyped-def]
    """The definition: every token through each of its experts."""
    rows = []
    for token, row in enumerate(hidden):
        total = torch.zeros_like(row)
        for expert, weight in zip(chosen[token].tolist(), weights[token], strict=True):
            gate, up = (experts.gate_up_proj[expert] @ row).chunk(2)
            total = total + weight * (experts.down_proj[expert] @ (F.silu(gate) * up))
        rows.append(total)
    return torch.stack(rows)


@pytest.mark.parametrize("chosen", [[[0, 1], [1, 3], [3, 0]], [[2, 1], [2, 0], [2, 3]]])  # some experts get nothing
def test_grouped_experts_give_what_every_token_alone_would_get_and_its_gradients(chosen: list[list[int]]) -> None:
    experts = mixture().model.layers[0].mlp.experts
    torch.manual_seed(0)
    hidden = torch.randn(3, 32, requires_grad=True)
    weights = torch.rand(3, 2, requires_grad=True)
    inputs = [hidden, weights, experts.gate_up_proj, experts.down_proj]
    seen = torch.randn(3, 32)
    ours = grouped_experts(experts, hidden, torch.tensor(chosen), weights)
    theirs = one_by_one(experts, hidden, torch.tensor(chosen), weights)
    assert torch.allclose(ours, theirs, atol=1e-5)
    pairs = zip(torch.autograd.grad(ours, inputs, seen), torch.autograd.grad(theirs, inputs, seen), strict=True)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in pairs)


def test_experts_are_computed_in_the_precision_of_autocast() -> None:
    experts = mixture().model.layers[0].mlp.experts
    torch.manual_seed(0)
    hidden, chosen, weights = torch.randn(8, 32), torch.randint(0, 4, (8, 2)), torch.rand(8, 2)
    exact = grouped_experts(experts, hidden, chosen, weights)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = grouped_experts(experts, hidden, chosen, weights)
    difference = (exact - rounded).abs().max() / exact.abs().max()
    assert 1e-5 < difference < 2e-2, "bfloat16 keeps two to three digits"


def brute_force(model, ids, num_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[no-untyped-def]
    """Balance and z-loss of a batch by their formulas, from the logits transformers gives out."""
    balance = z_loss = torch.tensor(0.0)
    given = model(input_ids=ids, output_router_logits=True).router_logits
    for logits in given:
        probabilities = logits.softmax(-1)
        chosen = probabilities.topk(2, dim=-1).indices
        share = torch.tensor([(chosen == expert).sum().item() for expert in range(4)]) / chosen.numel()
        balance = balance + 4 * (share * probabilities.mean(0)).sum() / len(given)
        z_loss = z_loss + torch.log(logits.exp().sum(-1)).square().mean() / len(given)
    part = ids.numel() / num_tokens
    return balance * part, z_loss * part


def test_the_routers_losses_are_their_formulas_and_so_are_the_gradients() -> None:
    ids = torch.randint(0, 64, (3, 16), generator=torch.Generator().manual_seed(1))
    watched, plain = mixture(), mixture()
    losses = watch_routers(watched, balance=0.5, z_loss=0.25)
    assert losses is not None
    watched.model(input_ids=ids, use_cache=False)
    loss = losses.loss(num_tokens=96)  # the batch is half a step
    balance, z_loss = brute_force(plain, ids, 96)
    assert torch.allclose(loss, 0.5 * balance + 0.25 * z_loss, rtol=1e-5)
    loss.backward()
    (0.5 * balance + 0.25 * z_loss).backward()
    for layer in range(2):
        ours, theirs = (model.model.layers[layer].mlp.gate.weight.grad for model in (watched, plain))
        assert theirs.norm() > 1e-4 and torch.allclose(ours, theirs, atol=1e-6)
    told = losses.told()
    assert told["balance_loss"] == pytest.approx(balance.item(), abs=1e-5)
    assert told["router_z_loss"] == pytest.approx(z_loss.item(), abs=1e-5)
    assert sum(told[f"expert_load_{number}"] for number in range(4)) == pytest.approx(4, abs=1e-3)
    assert 0 <= told["expert_load_least"] <= 1 <= told["expert_load_most"] and 0 < told["expert_load_entropy"] <= 1


def test_a_model_asked_outside_of_training_is_not_listened_to() -> None:
    model = mixture()
    losses = watch_routers(model, balance=1.0, z_loss=0.0)
    assert losses is not None
    ids = torch.zeros((1, 16), dtype=torch.int64)
    with torch.no_grad():
        model.model(input_ids=ids)
    model.model(input_ids=ids)
    assert losses.loss(16).item() == pytest.approx(brute_force(mixture(), ids, 16)[0].item(), rel=1e-5)


def test_a_dense_model_has_no_routers() -> None:
    assert watch_routers(build_model(TINY.model, vocab_size=64, context_length=8, seed=0), balance=1, z_loss=1) is None


def test_balance_evens_the_loads_out(place: Place, run_rank: RankRunner) -> None:
    def entropy(weight: float) -> float:
        config = MIXTURE.model_copy(update={"balance_loss": weight, "router_z_loss": 0.0, "log_every_steps": 1})
        there = replace(place, run=f"run-{weight}")
        assert run_rank(there.job(config, fingerprint=f"{int(weight)}" * 64)) == 0
        return there.metrics()[-1]["expert_load_entropy"]

    assert entropy(9.0) > entropy(0.0)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_killed_run_of_a_mixture_ends_with_the_same_weights(
    place: Place, run_rank: RankRunner, optimizer: str
) -> None:
    config = MIXTURE.model_copy(update={"optimizer": optimizer})
    whole, cut = replace(place, run="whole"), replace(place, run="cut")
    assert run_rank(whole.job(config, fingerprint="1" * 64)) == 0
    assert run_rank(cut.job(config, fingerprint="2" * 64), crash_at="training.step.before@7") == -9
    assert run_rank(cut.job(config, fingerprint="2" * 64)) == 0
    assert whole.weights_sha256(fingerprint="1" * 64) == cut.weights_sha256(fingerprint="2" * 64)
    line = whole.metrics()[-1]
    assert {"balance_loss", "router_z_loss", "expert_load_3", "expert_load_least"} <= set(line)


def test_muon_turns_the_experts_and_leaves_the_router_to_adamw() -> None:
    model = mixture()
    optimizer = build_optimizer(model, learning_rate=1e-3, betas=(0.9, 0.95), weight_decay=0.1, name="muon")
    assert isinstance(optimizer, Muon)
    turned = {id(p) for group in optimizer.param_groups if group["muon"] for p in group["params"]}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in turned}
    assert "model.layers.0.mlp.experts.gate_up_proj" in names and "model.layers.1.mlp.experts.down_proj" in names
    assert not any("gate.weight" in name or "embed" in name for name in names)


def test_the_losses_of_routers_are_no_part_of_the_loss_that_is_told(place: Place) -> None:
    told = []
    for weight in (0.0, 5.0):
        config = MIXTURE.model_copy(update={"balance_loss": weight, "router_z_loss": weight})
        run = set_up_run(replace(place, run=f"told-{weight}").job(config), rank=0, num_ranks=1)
        step_loss = torch.zeros(())
        _accumulate(run, 0, step_loss)
        told.append(step_loss.item())
    assert told[0] == told[1]


def test_other_weights_of_the_routers_losses_are_another_run() -> None:
    from training.stages.pretrain import identity_values

    assert identity_values(MIXTURE) != identity_values(MIXTURE.model_copy(update={"balance_loss": 0.02}))
    assert isinstance(MIXTURE, Config)


def test_a_mixture_is_not_sharded() -> None:
    with pytest.raises(ValueError, match="choose a dense family"):
        Config.model_validate({**MIXTURE.model_dump(), "sharding": "full"})


def test_an_adopted_mixture_multiplies_its_experts_as_ours_do_and_is_listened_to() -> None:
    ours = mixture()
    shape = shape_of(ours.config.to_dict())
    adopted = build_model(shape, vocab_size=64, context_length=16, seed=0)
    assert adopted.config._experts_implementation == ours.config._experts_implementation == IMPLEMENTATION
    assert watch_routers(adopted, balance=1.0, z_loss=0.0) is not None


def test_experts_of_an_adopted_deepseek_rest_too() -> None:
    from transformers import CONFIG_MAPPING

    heads = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
    config = CONFIG_MAPPING["deepseek_v3"](
        vocab_size=64, hidden_size=32, intermediate_size=48, moe_intermediate_size=16, num_hidden_layers=3,
        first_k_dense_replace=1, num_attention_heads=2, num_key_value_heads=2, n_group=2, topk_group=1,
        n_routed_experts=8, n_shared_experts=1, num_experts_per_tok=2, **heads,
    )  # fmt: skip
    shape = shape_of(config.to_dict())
    # Of two layers with experts, six of eight rest, each of three matrices.
    assert shape.num_non_embedding_parameters - shape.num_active_parameters == 2 * 6 * 3 * 32 * 16
