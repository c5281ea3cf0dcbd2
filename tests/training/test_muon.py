"""Muon is what torch and its author say, matrix by matrix, and a run with it resumes bit for bit."""

import pytest

from tests.training.conftest import FINGERPRINT, TINY, Place, RankRunner
from training.stages.pretrain import identity_values

MUON = TINY.model_copy(update={"optimizer": "muon"})
BETAS = (0.9, 0.95)


def matrix(*shape: int, seed: int):  # type: ignore[no-untyped-def]
    import torch

    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(24, 24), (16, 40), (40, 16)])
def test_three_steps_on_a_matrix_are_those_of_torch(shape: tuple[int, int]) -> None:
    import torch

    from training.muon import Muon

    ours, theirs = (torch.nn.Parameter(matrix(*shape, seed=1)) for _ in range(2))
    options = {"weight_decay": 0.1, "momentum": 0.95, "adjust_lr_fn": "match_rms_adamw"}
    expected = torch.optim.Muon([theirs], lr=0.02, **options)
    group = {"params": [ours], "weight_decay": 0.1, "muon": True}
    optimizer = Muon([group], learning_rate=0.02, betas=BETAS, precision=torch.bfloat16)  # theirs is in bfloat16
    for step in range(3):
        ours.grad, theirs.grad = (matrix(*shape, seed=10 + step) for _ in range(2))
        optimizer.step()
        expected.step()
        assert torch.equal(optimizer.state[ours]["momentum"], expected.state[theirs]["momentum_buffer"])
    moved = (theirs - matrix(*shape, seed=1)).norm()
    assert (ours - theirs).norm() < 0.01 * moved


def test_experts_are_updated_as_if_each_were_alone() -> None:
    import torch

    from training.muon import Muon

    experts = torch.nn.Parameter(matrix(3, 16, 24, seed=2))
    alone = [torch.nn.Parameter(part.clone()) for part in experts.detach()]
    experts.grad = matrix(3, 16, 24, seed=3)
    experts.grad[1] *= 1000  # one expert's gradient must not decide how the others are scaled
    for part, gradient in zip(alone, experts.grad, strict=True):
        part.grad = gradient.clone()
    for parameters in ([experts], alone):
        Muon([{"params": parameters, "muon": True}], learning_rate=0.02, betas=BETAS).step()
    torch.testing.assert_close(experts, torch.stack(list(alone)))


def test_an_update_has_singular_values_near_one_and_the_size_of_adamws() -> None:
    import torch

    from training.muon import Muon, orthogonalise

    gradient = matrix(64, 64, seed=4)
    values = torch.linalg.svdvals(orthogonalise(gradient[None])[0])
    assert values.median() == pytest.approx(0.95, abs=0.3) and values.max() < 1.3
    parameter = torch.nn.Parameter(torch.zeros(64, 256))
    parameter.grad = matrix(64, 256, seed=5)
    Muon([{"params": [parameter], "muon": True}], learning_rate=1.0, betas=BETAS).step()
    # AdamW's updates have a root mean square of 0.2 to 0.4 of the rate (arXiv:2502.16982, section 2.2).
    assert parameter.detach().square().mean().sqrt().item() == pytest.approx(0.2, abs=0.05)


def test_matrices_of_the_blocks_are_muons_and_the_rest_is_adamws() -> None:
    import torch

    from training.models import ModelConfig, build_model
    from training.muon import is_orthogonalised
    from training.optimizers import build_optimizer

    shape = ModelConfig(family="llama", layers=1, width=16, heads=2, tie_embeddings=False)
    model = build_model(shape, vocab_size=64, context_length=8, seed=0)
    optimizer = build_optimizer(model, learning_rate=0.1, betas=BETAS, weight_decay=0.1, name="muon")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = [{names[id(p)] for p in group["params"]} for group in optimizer.param_groups]
    assert groups[0] == {name for name in names.values() if "_proj" in name} and len(groups[0]) == 7
    assert groups[1] == {"lm_head.weight"}
    assert groups[2] == {name for name in names.values() if "norm" in name or "embed_tokens" in name}
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.1, 0.0]
    weight = torch.nn.Parameter(torch.zeros(4, 8))
    for gate in ("mlp.gate", "mlp.shared_expert_gate", "mlp.router"):
        assert not is_orthogonalised(f"model.layers.0.{gate}.weight", weight, set())
    assert is_orthogonalised("model.layers.0.mlp.gate_proj.weight", weight, set())
    experts = torch.nn.Parameter(torch.zeros(4, 8, 8))
    assert is_orthogonalised("model.layers.0.mlp.experts.gate_up_proj", experts, set())


def test_found_inf_leaves_weights_and_moments_as_they_were() -> None:
    import torch

    from training.muon import Muon

    parameters = [torch.nn.Parameter(matrix(8, 8, seed=seed)) for seed in (6, 7)]
    groups = [{"params": parameters[:1], "muon": True}, {"params": parameters[1:]}]
    optimizer = Muon(groups, learning_rate=0.1, betas=BETAS)
    optimizer.found_inf = torch.zeros(())
    for parameter in parameters:
        parameter.grad = matrix(8, 8, seed=8)
    optimizer.step()
    before = [p.detach().clone() for p in parameters], optimizer.state[parameters[0]]["momentum"].clone()
    for parameter in parameters:
        parameter.grad = torch.full((8, 8), float("nan"))
    optimizer.found_inf.fill_(1.0)
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(parameters, before[0], strict=True))
    assert torch.equal(optimizer.state[parameters[0]]["momentum"], before[1])
    assert optimizer.state[parameters[1]]["step"] == 1


def test_a_run_with_muon_killed_twice_ends_with_the_same_weights(place: Place, run_rank: RankRunner) -> None:
    whole = "1" * 64
    assert run_rank(place.job(MUON, fingerprint=whole)) == 0
    assert run_rank(place.job(MUON), crash_at="training.step.before@5") == -9
    assert run_rank(place.job(MUON), crash_at="training.step.before@8") == -9
    assert run_rank(place.job(MUON)) == 0
    assert place.weights_sha256() == place.weights_sha256(fingerprint=whole)
    assert (place.root / f"checkpoints/{FINGERPRINT}/00000012").is_dir()


def test_muon_learns_from_real_text(place: Place, run_rank: RankRunner) -> None:
    config = MUON.model_copy(update={"tokens": 60 * 256, "checkpoint_every_steps": 60})
    assert run_rank(place.job(config)) == 0
    losses = [line["loss"] for line in place.metrics()]
    assert losses[-1] < losses[0] - 1.5


def test_the_optimizer_is_part_of_the_identity_only_when_it_is_chosen() -> None:
    assert "optimizer" not in identity_values(TINY)
    assert identity_values(MUON)["optimizer"] == "muon"
