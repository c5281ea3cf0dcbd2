import pytest
from pydantic import ValidationError

from ingot.errors import RecipeError
from training.models import (
    ModelConfig,
    active_parameters,
    build_model,
    identity_of_model,
    num_parameters,
)
from training.stages.pretrain import Config, identity_values, plan


@pytest.mark.parametrize(
    "shape",
    [
        {"layers": 2, "width": 32, "heads": 2},
        {"layers": 1, "width": 64, "heads": 4, "kv_heads": 2, "tie_embeddings": False},
        {"layers": 3, "width": 128},
    ],
)
def test_the_counted_parameters_are_those_of_the_model(shape: dict[str, object]) -> None:
    config = ModelConfig(family="llama", **shape)
    model = build_model(config, vocab_size=300, context_length=16, seed=0)
    assert sum(p.numel() for p in model.parameters()) == num_parameters(config, 300)
    assert model.config.vocab_size == 320  # padded to a multiple of 64
    assert model.config._attn_implementation == "sdpa"


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not() -> None:
    import torch

    config = ModelConfig(family="llama", layers=1, width=32, heads=2)
    first, same, other = (
        build_model(config, vocab_size=64, context_length=8, seed=seed).model.embed_tokens.weight for seed in (1, 1, 2)
    )
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert first.std().item() == pytest.approx(32**-0.5, rel=0.1)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValidationError, match="width 100 over 3 heads"):
        ModelConfig(family="llama", layers=1, width=100, heads=3)
    with pytest.raises(ValidationError, match="heads 4 is not a multiple of kv_heads 3"):
        ModelConfig(family="llama", layers=1, width=64, heads=4, kv_heads=3)


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen3", "mixtral", "olmoe", "qwen3_moe"])
@pytest.mark.parametrize("shape", [{"kv_heads": 2}, {"tie_embeddings": False, "init_std": 0.02}])
def test_every_family_is_counted_and_opens_anywhere_as_it_was_saved(family: str, shape: dict, tmp_path) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    from training.experts import stack_experts

    experts = {"experts": 5, "experts_per_token": 3} if family in ("mixtral", "olmoe", "qwen3_moe") else {}
    shape = {"tie_embeddings": family != "olmoe", **shape}
    config = ModelConfig(family=family, layers=2, width=64, heads=4, **shape, **experts)
    model = build_model(config, vocab_size=300, context_length=16, seed=0).eval()
    assert sum(p.numel() for p in model.parameters()) == num_parameters(config, 300)
    model.save_pretrained(tmp_path)
    elsewhere = AutoModelForCausalLM.from_pretrained(tmp_path, experts_implementation="eager" if experts else None)
    ids = torch.arange(32).view(2, 16)
    with torch.no_grad():
        ours, theirs = model(input_ids=ids).logits, elsewhere(input_ids=ids).logits
    assert torch.allclose(ours, theirs, atol=1e-5)
    tensors = load_file(tmp_path / "model.safetensors")
    if experts:
        published = "block_sparse_moe.experts.4.w2" if family == "mixtral" else "mlp.experts.4.down_proj"
        assert f"model.layers.1.{published}.weight" in tensors  # one by one, as vLLM reads them
    held = {name: tensor for name, tensor in model.state_dict().items() if name in stack_experts(tensors)}
    assert len(held) == len(stack_experts(tensors)) >= len(model.state_dict()) - 1  # a tied head is not saved
    assert all(torch.equal(tensor, held[name]) for name, tensor in stack_experts(tensors).items())


def test_a_token_meets_the_experts_it_is_sent_through_and_no_other() -> None:
    shape = {"experts": 8, "experts_per_token": 2, "expert_width": 96}
    mixture = ModelConfig(family="mixtral", layers=2, width=64, heads=2, **shape)
    idle = 2 * 6 * 3 * 64 * 96
    assert num_parameters(mixture, 300) - active_parameters(mixture, 300) == idle
    dense = ModelConfig(family="llama", layers=2, width=64, heads=2)
    assert active_parameters(dense, 300) == num_parameters(dense, 300)
    # OLMoE-1B-7B is published as 6.9 billion weights, 1.3 billion of them active.
    olmoe = ModelConfig(
        family="olmoe", layers=16, width=2048, heads=16, experts=64, experts_per_token=8, expert_width=1024,
        tie_embeddings=False,
    )  # fmt: skip
    assert num_parameters(olmoe, 50304) / 1e9 == pytest.approx(6.92, abs=0.01)
    assert active_parameters(olmoe, 50304) / 1e9 == pytest.approx(1.28, abs=0.01)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"family": "olmoe"}, "give `experts`, for example 8"),
        ({"family": "llama", "experts": 8}, "experts of family llama, which is dense; take it out"),
        ({"family": "mixtral", "experts": 4, "experts_per_token": 5}, "experts_per_token 5 of 4 experts"),
        ({"family": "mixtral", "experts": 4, "mlp_width": 64}, "its blocks are experts, set expert_width"),
    ],
)
def test_experts_that_cannot_be_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelConfig(layers=1, width=64, **values)


def test_a_dense_shape_is_known_by_what_it_was_before_there_were_experts() -> None:
    dense = ModelConfig(family="llama", layers=1, width=64)
    assert list(identity_of_model(dense.model_dump())) == [
        "family", "layers", "width", "heads", "kv_heads", "mlp_width", "tie_embeddings", "init_std"
    ]  # fmt: skip
    mixture = ModelConfig(family="mixtral", layers=1, width=64, experts=8)
    assert identity_of_model(mixture.model_dump())["experts"] == 8


def test_numbers_may_be_written_with_underscores() -> None:
    config = Config(model={"family": "llama", "layers": 4, "width": 128}, tokens="600_000")
    assert config.tokens == 600_000


def test_a_batch_that_is_not_whole_windows_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ValidationError, match="not a multiple of sequence_length 256; 1024 is the nearest"):
        Config(model={"family": "llama", "layers": 1, "width": 64}, tokens=1, batch_tokens=1000)


def test_the_plan_resolves_every_default() -> None:
    config = Config(model={"family": "llama", "layers": 4, "width": 128}, tokens=600_000)
    planned = plan(config, 4096)
    assert (planned.total_steps, planned.rows_per_step, planned.warmup_steps) == (147, 16, 14)
    assert planned.num_parameters == 1_377_408
    assert planned.learning_rate == pytest.approx(4.12e-3, rel=0.01)
    assert planned.is_milestone(117) == "before_decay" and planned.is_milestone(147) == "final"


def test_a_warmup_longer_than_the_run_is_refused() -> None:
    config = Config(model={"family": "llama", "layers": 1, "width": 64}, tokens=40_960, warmup_steps=10)
    with pytest.raises(RecipeError, match="warmup_steps 10 leaves nothing of 10 steps"):
        plan(config, 100)


def test_logging_and_checkpointing_do_not_change_a_runs_identity() -> None:
    shape = {"family": "llama", "layers": 1, "width": 64}
    one = Config(model=shape, tokens=1)
    two = Config(model=shape, tokens=1, log_every_steps=7, checkpoint_every_steps=9)
    assert identity_values(one) == identity_values(two)
    assert identity_values(one) != identity_values(Config(model=shape, tokens=1, seed=1))


def test_every_config_field_has_a_sentence() -> None:
    for model in (Config, ModelConfig):
        for name, field in model.model_fields.items():
            assert field.description and field.description.rstrip().endswith("."), name


def test_the_stage_module_imports_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, training.stages.pretrain; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
