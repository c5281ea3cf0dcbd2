"""Rules of size against their published table, and what a plan says of a stage."""

from typing import Any

import pytest

from ingot.config import Recipe
from training import sizing
from training.optimizers import default_learning_rate
from training.stage_plans import StagePlan, plan_stages

# N, then Porian lr, OLMo lr, Porian B, StepLaw lr, StepLaw B, DeepSeek lr, DeepSeek B at D = 20N.
TABLE = [
    (20e6, 8.3e-3, 4.1e-3, 106e3, 4.9e-3, 47e3, 2.6e-3, 84e3),
    (50e6, 6.1e-3, 3.0e-3, 196e3, 3.4e-3, 80e3, 2.0e-3, 152e3),
    (108e6, 4.7e-3, 2.4e-3, 328e3, 2.5e-3, 124e3, 1.7e-3, 252e3),
    (350e6, 3.2e-3, 1.6e-3, 718e3, 1.5e-3, 243e3, 1.3e-3, 543e3),
    (760e6, 2.5e-3, 1.2e-3, 1.2e6, 1.1e-3, 378e3, 1.0e-3, 902e3),
    (1.3e9, 2.1e-3, 1.0e-3, 1.7e6, 9.0e-4, 513e3, 9.0e-4, 1.3e6),
]
LARGE = {"family": "llama", "layers": 12, "width": 768}
SMALL = {"family": "llama", "layers": 2, "width": 64}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]:.0e}")
def test_the_rules_give_the_table_of_their_sources(row: tuple[float, ...]) -> None:
    size, tokens = int(row[0]), int(20 * row[0])
    said = (
        sizing.porian_learning_rate(size),
        default_learning_rate(size),
        sizing.porian_batch_tokens(size),
        sizing.step_law_learning_rate(size, tokens),
        sizing.step_law_batch_tokens(tokens),
        sizing.deepseek_learning_rate(size, tokens),
        sizing.deepseek_batch_tokens(size, tokens),
    )
    # The table has two digits: half of the last one is at most 5 %.
    assert said == pytest.approx(row[1:], rel=0.05)


def test_a_rate_that_the_table_gives_is_accepted_and_three_times_off_two_rules_is_not() -> None:
    size, tokens = 108_000_000, 2_160_000_000
    for factor, verdict in ((1.0, "accepted"), (2.9, "accepted"), (4.0, "refused"), (0.2, "refused")):
        check = sizing.check_learning_rate(2.4e-3 * factor, parameters=size, tokens=tokens)
        assert sizing.verdict(size, [check]) == verdict, factor
    check = sizing.check_learning_rate(2.4e-3 * 4, parameters=size, tokens=tokens)
    assert sizing.verdict(49_999_999, [check]) == "warned"


def test_a_value_between_two_rules_that_disagree_is_not_off() -> None:
    rules = (sizing.Rule(1.0, "low"), sizing.Rule(100.0, "high"), sizing.Rule(10.0, "between"))
    assert sizing.Check("batch_tokens", 10.0, rules).far_off == ()
    assert sizing.Check("batch_tokens", 31.0, rules).far_off == (rules[0], rules[2])
    assert sizing.Check("batch_tokens", 3.3, rules).far_off == (rules[1], rules[2])


def planned(corpus_tokens: int | None = None, **stage: Any) -> list[StagePlan]:
    recipe = Recipe.model_validate(
        {
            "corpus": "handbook",
            "sources": [{"name": "wiki", "source": "folder", "uri": "/data"}],
            "tokenizer": {"vocab_size": 4096},
            "train": [{"stage": "pretrain", **stage}],
        }
    )
    return plan_stages(recipe, corpus_tokens=corpus_tokens)


def value(stage: StagePlan, name: str) -> Any:
    return next(row.value for row in stage.values if row.name == name)


def test_a_large_model_with_a_batch_far_too_small_is_refused_with_one_that_is_accepted() -> None:
    (stage,) = planned(model=LARGE, tokens=2_000_000_000)
    assert [r.startswith("train.0.batch_tokens 4,096 is more than 3 times below") for r in stage.refusals] == [True]
    assert not stage.warnings
    remedy = int(stage.refusals[0].rpartition("about ")[2].replace(",", ""))
    (stage,) = planned(model=LARGE, tokens=2_000_000_000, batch_tokens=remedy)
    assert not stage.refusals and not stage.warnings
    assert value(stage, "steps") == -(-2_000_000_000 // remedy)


def test_a_small_model_with_a_rate_far_too_high_is_warned_and_not_refused() -> None:
    (stage,) = planned(model=SMALL, tokens=600_000, learning_rate=0.2)
    assert not stage.refusals
    assert any(w.startswith("train.0.learning_rate 0.2 is more than 3 times above") for w in stage.warnings)


def test_more_than_four_epochs_are_a_warning() -> None:
    (stage,) = planned(model=SMALL, tokens=600_000, corpus_tokens=200_000)
    assert value(stage, "epochs") == pytest.approx(3, rel=0.01)
    assert not any("reads the corpus" in warning for warning in stage.warnings)
    (stage,) = planned(model=SMALL, tokens=600_000, corpus_tokens=100_000)
    assert any("reads the corpus 6.0 times" in warning for warning in stage.warnings)
    (stage,) = planned(model=SMALL, tokens=600_000, corpus_tokens=100)
    assert any("reads the corpus 6,021.1 times" in warning for warning in stage.warnings), stage.warnings


def test_every_printed_value_says_what_it_rests_on_and_a_given_one_says_so() -> None:
    (stage,) = planned(model=SMALL, tokens=600_000, learning_rate=1e-3)
    assert all(row.rule for row in stage.values)
    rules = {row.name: row.rule for row in stage.values}
    assert rules["learning_rate"] == "the recipe" and "OLMo" in rules["warmup_steps"]


def test_a_stage_that_goes_on_from_other_weights_is_told_and_not_judged() -> None:
    (stage,) = planned(stage="continued_pretrain", start="mini/3", tokens=600_000, learning_rate=0.5)
    assert value(stage, "steps") == 147
    assert not (stage.checks or stage.warnings or stage.refusals)
