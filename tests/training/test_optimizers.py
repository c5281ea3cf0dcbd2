import pytest

from training.optimizers import (
    HIGHEST_LEARNING_RATE,
    default_learning_rate,
    default_warmup_steps,
    learning_rate_factor,
)


def factors(total_steps: int, **options: object) -> list[float]:
    values = {"warmup_steps": 10, "decay": "wsd", "decay_fraction": 0.2, **options}
    return [learning_rate_factor(step, total_steps=total_steps, **values) for step in range(total_steps)]


def test_wsd_rises_stays_and_falls_linearly() -> None:
    rates = factors(100)
    assert rates[:3] == pytest.approx([1 / 11, 2 / 11, 3 / 11])
    assert set(rates[10:81]) == {1.0}
    assert rates[80:] == pytest.approx([(20 - n) / 20 for n in range(20)])


def test_cosine_falls_from_the_end_of_warmup_to_almost_nothing() -> None:
    rates = factors(100, decay="cosine")
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert all(later < earlier for earlier, later in zip(rates[10:], rates[11:], strict=False))
    assert 0 < rates[-1] < 0.001


@pytest.mark.parametrize("total_steps", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("decay", ["wsd", "cosine"])
def test_every_step_of_a_run_of_any_length_has_a_positive_rate(total_steps: int, decay: str) -> None:
    rates = factors(total_steps, warmup_steps=0, decay=decay)
    assert all(0 < rate <= 1 for rate in rates)


def test_a_step_outside_the_run_is_refused() -> None:
    with pytest.raises(ValueError, match="step 100 is outside the run of 100 steps"):
        learning_rate_factor(100, total_steps=100, warmup_steps=1, decay="wsd", decay_fraction=0.2)


def test_the_learning_rate_rule_gives_the_published_values() -> None:
    # Half of Porian et al. 2024, as OLMo uses it: 20M -> 4.1e-3, 108M -> 2.35e-3, 1.3B -> 1.0e-3.
    assert default_learning_rate(20_000_000) == pytest.approx(4.1e-3, rel=0.01)
    assert default_learning_rate(108_000_000) == pytest.approx(2.35e-3)
    assert default_learning_rate(1_300_000_000) == pytest.approx(1.03e-3, rel=0.01)


def test_the_learning_rate_rule_is_not_extrapolated_to_tiny_models() -> None:
    assert default_learning_rate(1_000) == HIGHEST_LEARNING_RATE


def test_warmup_is_one_token_per_parameter_but_at_most_a_tenth_of_the_run() -> None:
    assert default_warmup_steps(1_000_000, 10_000, 100_000) == 100
    assert default_warmup_steps(1_000_000, 4_096, 147) == 14
    assert default_warmup_steps(1_000_000, 4_096, 3) == 1


def test_weight_decay_leaves_embeddings_and_norms_alone() -> None:
    from training.models import ModelConfig, build_model
    from training.optimizers import build_optimizer

    shape = ModelConfig(family="llama", layers=1, width=16, heads=2, tie_embeddings=False)
    model = build_model(shape, vocab_size=64, context_length=8, seed=0)
    optimizer = build_optimizer(model, learning_rate=0.1, betas=(0.9, 0.95), weight_decay=0.1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, free = ({names[id(p)] for p in group["params"]} for group in optimizer.param_groups)
    assert free == {n for n in names.values() if "norm" in n or "embed_tokens" in n}
    assert "lm_head.weight" in decayed and len(decayed) == 8
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
