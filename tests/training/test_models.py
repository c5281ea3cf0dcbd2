import pytest
from pydantic import ValidationError

from ingot.errors import RecipeError
from training.models import ModelConfig, build_model, num_parameters
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
