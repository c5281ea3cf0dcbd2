"""The predicted loss: the laws beside what others published, tokens of any tokenizer, and runs that outweigh a law."""

import math

import pytest

from training.loss_prediction import (
    COMPUTE_EXPONENT,
    FinishedRun,
    LossBand,
    chinchilla_bits,
    effective_tokens,
    kaplan_bits,
    predict_loss,
)

DEMO = {"parameters": 1_377_408, "blocks": 853_120, "tokens": 602_112, "vocab_size": 4096, "bytes_per_token": 3.2}


def band(**changes: object) -> LossBand:
    return predict_loss(**{**DEMO, **changes})  # type: ignore[arg-type]


def test_the_law_gives_the_loss_of_a_published_run_of_its_range() -> None:
    # Marin's AdamW baseline of 300M weights on 6.0B tokens: 1.069 bits a byte on C4's English.
    assert chinchilla_bits(300_000_000, 6.0e9 * 4.4) == pytest.approx(1.069, rel=0.05)


def test_the_smaller_law_is_its_own_table_at_the_ends() -> None:
    # With endless text, (Nc / N)^0.076; with an endless model, (Dc / D)^0.095 to 0.103 as the joint fit has it.
    assert kaplan_bits(10**6, 1e40) * math.log(2) * 4.3 == pytest.approx((6.4e13 / 1e6) ** 0.076, rel=1e-3)
    assert kaplan_bits(10**30, 4.3e8) * math.log(2) * 4.3 == pytest.approx((1.8e13 / 1e8) ** 0.103, rel=1e-3)


def test_a_mixture_of_experts_spans_dense_models_of_a_token_s_weights_and_of_all() -> None:
    size = {"parameters": 3_700_000_000, "blocks": 3_490_000_000, "tokens": 26_000_000_000, "vocab_size": 50_000}
    small = {"parameters": 1_280_000_000, "blocks": 1_075_000_000}
    found, all_weights, of_a_token = band(**size, active=tuple(small.values())), band(**size), band(**{**size, **small})
    assert (found.low, found.high) == pytest.approx((all_weights.low, of_a_token.high))
    assert all_weights.middle < found.middle < of_a_token.middle and "knows no experts" in found.why_so_wide
    assert band(**size, active=(size["parameters"], size["blocks"])) == all_weights


def test_within_the_range_one_law_speaks_and_the_band_is_the_text_s() -> None:
    found = band(parameters=124_000_000, blocks=85_000_000, tokens=2_500_000_000, vocab_size=32768, bytes_per_token=4.2)
    assert not found.is_extrapolation and found.basis.startswith("Besiroglu")
    assert (found.low, found.high) == pytest.approx((0.75 * found.middle, 1.25 * found.middle))


def test_far_below_the_range_it_says_so_and_is_wider_and_holds_what_the_demo_came_to() -> None:
    found = band()
    assert found.is_extrapolation and "extrapolation" in found.why_so_wide and "Kaplan" in found.basis
    assert found.high / found.low > 2
    assert found.low < 4.918 < found.high  # README.md: what `make demo` printed
    assert found.high <= math.log(4096) + 1e-9


def test_bits_per_byte_depend_on_the_bytes_read_and_not_on_the_tokenizer_that_cut_them() -> None:
    coarse = band(parameters=10**9, blocks=10**9, tokens=20 * 10**9, bytes_per_token=4.0, vocab_size=10**6)
    fine = band(parameters=10**9, blocks=10**9, tokens=40 * 10**9, bytes_per_token=2.0, vocab_size=10**6)
    assert coarse.bits_per_byte == pytest.approx(fine.bits_per_byte)
    assert coarse.middle == pytest.approx(2 * fine.middle)


def test_a_text_read_again_is_worth_less_than_a_new_one_and_at_most_sixteen_readings() -> None:
    assert effective_tokens(100, 100) == 100
    # Four readings are nearly as good as new, Muennighoff et al. 2023.
    assert 360 < effective_tokens(400, 100) < 400
    assert effective_tokens(10**9, 100) == pytest.approx(100 * 16.387756)
    assert band(unique_tokens=50_000).middle >= band(unique_tokens=None).middle


def test_an_earlier_run_outweighs_the_law_and_the_band_grows_with_the_distance_from_it() -> None:
    run = FinishedRun("mini/1", 1_377_408, 602_112, 2.2)
    same, further = band(runs=[run]), band(runs=[run], tokens=60_211_200)
    assert same.bits_per_byte[1] == pytest.approx(2.2) and "1 earlier run (mini/1)" in same.basis
    assert not same.is_extrapolation and further.is_extrapolation
    assert further.middle < same.middle
    assert further.high / further.low > same.high / same.low


def test_three_runs_of_a_power_law_give_its_exponent_back() -> None:
    floor = 1.8172 / (math.log(2) * 3.9)
    runs = [FinishedRun(f"mini/{n}", 10**6, 10**6 * 10**n, floor + 3.0 * (6e12 * 10**n) ** -0.05) for n in range(3)]
    found = band(runs=runs, parameters=10**6, tokens=10**9)
    assert found.bits_per_byte[1] == pytest.approx(floor + 3.0 * 6e15**-0.05, rel=1e-6)
    assert "their exponent -0.050" in found.basis
    assert "exponent of the law" in band(runs=runs[:2]).basis and 0.17 < COMPUTE_EXPONENT < 0.19
