"""The four verdicts, what is left out of a comparison, and that the gate fails closed."""

import copy
import math
from typing import Any

import numpy as np
import pytest

from evaluation.gate import GateConfig, Verdict, decide
from evaluation.statistics import bits_per_byte
from ingot.errors import GateError

CONFIG = GateConfig(resamples=2000)


def evaluation(
    shift: float, *, start: int = 0, documents: int = 100, noise: float = 0.02, seed: int = 0
) -> dict[str, Any]:
    """A result of documents start .. start + documents, `shift` bits per byte above a common level."""
    rows = []
    for number in range(start, start + documents):
        common = np.random.default_rng(number)
        own = np.random.default_rng([seed, number])
        num_bytes = int(common.integers(500, 3000))
        bits = common.normal(2.0, 0.4) + shift + own.normal(0, noise)
        rows.append(
            {
                "doc_id": f"{number:032x}",
                "bytes": num_bytes,
                "nats": bits * num_bytes * math.log(2),
                "baseline_nats": {
                    name: value * num_bytes * math.log(2)
                    for name, value in [
                        ("unigram", 4.8),
                        ("ngram", bits + 0.001 * own.normal()),
                        ("oracle", 0.5),
                    ]
                },
            }
        )
    lengths = [row["bytes"] for row in rows]
    return {
        "suite": "heldout",
        "version": "1",
        "documents": rows,
        "bits_per_byte": bits_per_byte([row["nats"] for row in rows], lengths) if rows else None,
        "baselines": {
            **{name: {"bits_per_byte": 1.0, "per_document": True} for name in ("unigram", "ngram", "oracle")},
            "xz_together": {"bits_per_byte": 3.0, "per_document": False},
        },
    }


def test_a_better_candidate_passes_and_a_worse_one_fails() -> None:
    better, worse = evaluation(0.0, seed=1), evaluation(0.1, seed=2)
    passed = decide(better, worse, config=CONFIG)
    assert passed.verdict == "PASS" and "is better than the champion" in passed.reason
    assert passed.low is not None and passed.high is not None and passed.difference is not None
    assert passed.low < passed.difference < passed.high < 0
    failed = decide(worse, better, config=CONFIG)
    assert failed.verdict == "FAIL" and "is worse" in failed.reason
    assert failed.difference == pytest.approx(-passed.difference)
    assert Verdict.model_validate_json(failed.model_dump_json()) == failed


def test_a_candidate_within_the_margin_passes_and_says_that_it_is_not_better() -> None:
    same = evaluation(0.0)
    verdict = decide(same, same, config=CONFIG)
    assert verdict.verdict == "PASS" and "not worse than the champion beyond the margin" in verdict.reason
    assert decide(same, same, config=GateConfig(margin_bits_per_byte=0.0, resamples=200)).verdict == "PASS"
    strict = decide(same, same, config=GateConfig(margin_bits_per_byte=-0.01, resamples=200))
    assert strict.verdict == "FAIL" and "does not improve" in strict.reason


def test_documents_that_do_not_tell_are_inconclusive_and_say_how_many_would() -> None:
    candidate, champion = evaluation(0.0, noise=0.2, seed=1), evaluation(0.0, noise=0.2, seed=2)
    verdict = decide(candidate, champion, config=CONFIG)
    assert verdict.verdict == "INCONCLUSIVE"
    assert verdict.num_needed is not None and verdict.num_needed > 100
    assert f"about {verdict.num_needed:,} documents" in verdict.reason


def test_only_documents_held_out_for_both_are_compared_and_the_others_are_counted() -> None:
    candidate, champion = evaluation(0.0, seed=1), evaluation(0.1, start=40, documents=90, seed=2)
    champion["documents"][5]["bytes"] -= 1  # scored another part of this document
    champion["bits_per_byte"] = bits_per_byte(
        [row["nats"] for row in champion["documents"]], [row["bytes"] for row in champion["documents"]]
    )
    seen = {f"{number:032x}" for number in (50, 51, 99, 5)}
    verdict = decide(candidate, champion, config=CONFIG, seen_by_candidate=seen, seen_by_champion={f"{60:032x}"})
    assert (verdict.num_only_candidate, verdict.num_only_champion) == (40, 30)
    assert (verdict.num_seen_by_candidate, verdict.num_seen_by_champion, verdict.num_scored_differently) == (
        3,
        1,
        1,
    )
    assert verdict.num_documents == 60 - 3 - 1 - 1
    common = set(range(40, 100)) - {45, 50, 51, 60, 99}
    rows = [row for row in candidate["documents"] if int(row["doc_id"], 16) in common]
    expected = bits_per_byte([row["nats"] for row in rows], [row["bytes"] for row in rows])
    assert verdict.candidate_bits_per_byte == pytest.approx(expected)
    assert "xz_together" not in {item.baseline for item in verdict.baselines}


def test_too_few_common_documents_are_refused_however_clear_the_difference() -> None:
    verdict = decide(evaluation(0.0, documents=29), evaluation(1.0, documents=29, seed=2), config=CONFIG)
    assert verdict.verdict == "INCONCLUSIVE" and verdict.num_needed is not None and verdict.num_needed >= 30
    assert "Only 29 documents" in verdict.reason
    apart = decide(evaluation(0.0), evaluation(0.0, start=500), config=CONFIG)
    assert apart.verdict == "INCONCLUSIVE" and (apart.num_documents, apart.num_needed) == (0, 30)


def test_a_first_candidate_is_compared_with_each_stated_baseline() -> None:
    verdict = decide(evaluation(0.0), None, config=CONFIG)
    assert verdict.verdict == "FIRST"
    answers = {item.baseline: item.beats for item in verdict.baselines}
    assert answers == {"unigram": "yes", "ngram": "unclear", "oracle": "no", "xz_together": "yes"}
    assert "beats unigram (4.800)" in verdict.reason and "does not beat oracle (0.500)" in verdict.reason
    few = decide(evaluation(0.0, documents=8), None, config=CONFIG)
    assert few.verdict == "FIRST" and "read it as a hint" in few.reason
    none_left = decide(evaluation(0.0, documents=1), None, seen_by_candidate={f"{0:032x}"})
    assert none_left.verdict == "INCONCLUSIVE" and none_left.num_needed == 30


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "2.0", True])
def test_a_candidate_without_a_finite_measure_never_passes(value: Any) -> None:
    for champion in (None, evaluation(5.0, seed=2)):
        candidate = evaluation(0.0)
        candidate["documents"][7]["nats"] = value
        verdict = decide(candidate, champion, config=CONFIG)
        assert verdict.verdict == "FAIL" and "no finite score for 1 of 100" in verdict.reason
        overall = evaluation(0.0)
        overall["bits_per_byte"] = value
        assert decide(overall, champion, config=CONFIG).verdict == "FAIL"


def test_a_result_that_lacks_fields_or_does_not_add_up_is_an_error() -> None:
    good = evaluation(0.0)
    for name in ("suite", "version", "bits_per_byte", "documents"):
        broken = {key: value for key, value in good.items() if key != name}
        with pytest.raises(GateError, match=name):
            decide(broken, None, config=CONFIG)
        with pytest.raises(GateError, match="champion"):
            decide(good, broken, config=CONFIG)
    changes: list[tuple[str, Any]] = [
        ("doc_id", None),
        ("bytes", 0),
        ("bytes", 10.5),
        ("doc_id", f"{1:032x}"),
    ]
    for key, value in changes:
        broken = copy.deepcopy(good)
        broken["documents"][0][key] = value
        with pytest.raises(GateError, match="broken or repeated row"):
            decide(broken, None, config=CONFIG)
    flattered = copy.deepcopy(good)
    flattered["bits_per_byte"] = 1.0
    with pytest.raises(GateError, match="changed or mixed up"):
        decide(flattered, None, config=CONFIG)


def test_a_champion_that_cannot_be_compared_is_an_error_not_a_pass() -> None:
    candidate, champion = evaluation(0.0), evaluation(0.1)
    with pytest.raises(GateError, match="heldout 2"):
        decide(candidate, {**champion, "version": "2"}, config=CONFIG)
    champion["documents"][0]["nats"] = None
    with pytest.raises(GateError, match="champion's result has documents without a finite score"):
        decide(candidate, champion, config=CONFIG)


def test_a_baseline_without_its_numbers_is_an_error() -> None:
    candidate = evaluation(0.0)
    del candidate["documents"][3]["baseline_nats"]["unigram"]
    with pytest.raises(GateError, match="baseline 'unigram'"):
        decide(candidate, None, config=CONFIG)


def test_the_order_of_the_rows_does_not_change_the_verdict() -> None:
    candidate, champion = evaluation(0.0, seed=1), evaluation(0.01, seed=2)
    expected = decide(candidate, champion, config=CONFIG)
    candidate["documents"].reverse()
    assert decide(candidate, champion, config=CONFIG) == expected
