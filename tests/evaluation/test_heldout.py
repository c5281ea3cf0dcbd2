"""The held-out suite on real text: with a scripted model, and with two tiny trained ones through the gate."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluation.gate import decide
from evaluation.generation import ScriptedModel, TransformersModel
from evaluation.report import card_html, report_html
from evaluation.suites.heldout import Config, EvalDocument, run, without_text
from ingot.digests import canonical_json
from ingot.errors import DataError
from tests.evaluation.conftest import make_model_folder

Split = tuple[list[EvalDocument], list[tuple[str, str]]]
PLANTED = "In this place a passage of forty-odd bytes was planted."


@pytest.fixture(scope="module")
def result(split: Split) -> dict[str, Any]:
    heldout, training = split
    training = [*training, ("f" * 32, f"Before. {PLANTED} After.")]
    config = Config(num_samples=2)
    prompt = " ".join(_second_prompt(config, heldout))
    model = ScriptedModel({"": "Nothing of the kind.", prompt: f" so {PLANTED} so"})
    return run(config, model, heldout, lambda: iter(training))


def _second_prompt(config: Config, heldout: list[EvalDocument]) -> list[str]:
    """The first words of the document the suite chooses for its second sample."""
    seen: list[str] = []

    class Recorder(ScriptedModel):
        def generate(self, prompts: Any, **options: Any) -> list[str]:
            seen.extend(prompts)
            return super().generate(prompts, **options)

    run(config.model_copy(update={"baselines": ()}), Recorder(), heldout, lambda: iter(()))
    return seen[1].split(" ")


def test_a_uniform_model_over_bytes_costs_eight_bits_per_byte(result: dict[str, Any]) -> None:
    assert result["bits_per_byte"] == pytest.approx(8.0, rel=1e-14)
    assert all(row["nats"] / row["bytes"] / math.log(2) == pytest.approx(8.0) for row in result["documents"])
    assert result["num_documents"] == 40 and result["num_bytes"] == sum(r["bytes"] for r in result["documents"])


def test_baselines_stand_in_the_same_report_with_a_number_for_each_document(result: dict[str, Any]) -> None:
    scores = {name: item["bits_per_byte"] for name, item in result["baselines"].items()}
    assert list(scores) == ["unigram", "ngram", "xz", "xz_together", "xz_trained"]
    assert 8 > scores["unigram"] > scores["xz"] > scores["xz_together"] > scores["xz_trained"] > scores["ngram"] > 2
    for name in ("unigram", "ngram", "xz", "xz_trained"):
        total = math.fsum(row["baseline_nats"][name] for row in result["documents"])
        assert total / math.log(2) / result["num_bytes"] == pytest.approx(scores[name])
    assert result["training_sample"]["num_bytes"] == result["training_sample"]["num_bytes_seen"] > 500_000


def test_groups_by_source_and_language_add_up(result: dict[str, Any]) -> None:
    assert set(result["by_source"]) == {"even", "odd"} and set(result["by_language"]) == {"en"}
    assert sum(item["num_bytes"] for item in result["by_source"].values()) == result["num_bytes"]


def test_a_planted_overlap_is_traced_to_its_document_and_text_stays_in_its_part(
    result: dict[str, Any],
) -> None:
    first, second = result["samples"]
    assert first["prompt_doc_id"] is None and first["overlap"] is None
    # " so " before the passage: the blank in front of it stands in the document too, as the one behind.
    assert second["overlap"] == {
        "doc_id": "f" * 32,
        "bytes": len(PLANTED) + 2,
        "completion_start": 3,
        "document_start": 7,
    }
    assert result["with_text"]["samples"][1]["overlap_text"] == f" {PLANTED} "
    public = without_text(result)
    assert PLANTED not in canonical_json(public).decode() and PLANTED in json.dumps(result)
    assert json.loads(canonical_json(public)) == json.loads(json.dumps(public))


def test_the_result_does_not_depend_on_the_order_of_documents_or_training_text(
    result: dict[str, Any], split: Split
) -> None:
    config = Config(num_samples=0, ngram_order=3)
    model = ScriptedModel(nats=lambda text: 2.0 * len(text))
    heldout, training = split[0], split[1][:60]
    one = run(config, model, heldout, lambda: iter(training))
    other = run(config, model, heldout[::-1], lambda: iter(training[::-1]))
    assert canonical_json(one) == canonical_json(other)


def test_limits_are_kept_and_counted(split: Split) -> None:
    heldout = [
        *split[0],
        EvalDocument("0" * 32, "é" * 100, "s", "fr"),
        EvalDocument("1" * 32, "", "s", "und"),
    ]
    config = Config(max_documents=5, max_document_bytes=33, baselines=(), num_samples=0)

    def never() -> Iterator[tuple[str, str]]:
        raise AssertionError("nobody needs the training text")

    result = run(config, ScriptedModel(), heldout, never)
    assert (result["num_documents"], result["num_not_chosen"], result["num_empty"]) == (5, 36, 1)
    assert result["num_truncated"] == 5
    assert [row["doc_id"] for row in result["documents"]] == sorted(d.doc_id for d in heldout if d.text)[:5]
    assert result["documents"][0]["bytes"] == 32  # 16 whole characters of two bytes, not 16 and a half
    assert result["baselines"] == {} and result["samples"] == []


def test_progress_is_told_until_all_documents_are_scored(split: Split) -> None:
    told: list[tuple[int, int]] = []
    config = Config(baselines=(), num_samples=0)
    run(config, ScriptedModel(), split[0], lambda: iter(()), on_progress=lambda *now: told.append(now))
    assert told == [(16, 40), (32, 40), (40, 40)]


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), -5.0])
def test_a_score_that_is_no_log_likelihood_leaves_no_overall_number_and_fails_the_gate(
    value: float, split: Split
) -> None:
    strange = split[0][3].text
    model = ScriptedModel(nats=lambda text: value if text == strange else 1.0)
    result = run(Config(baselines=(), num_samples=0), model, split[0], lambda: iter(()))
    assert result["bits_per_byte"] is None and result["num_unscored"] == 1
    canonical_json(result)
    assert decide(result, None).verdict == "FAIL"
    assert "No overall number" in card_html(result)


def test_nothing_to_score_and_repeated_documents_are_errors_without_text() -> None:
    config, model = Config(), ScriptedModel()
    with pytest.raises(DataError, match="no held-out text to score"):
        run(config, model, [EvalDocument("0" * 32, "", "s", "en")], lambda: iter(()))
    twice = [EvalDocument("0" * 32, "secret words", "s", "en")] * 2
    with pytest.raises(DataError, match="given twice") as caught:
        run(config, model, twice, lambda: iter(()))
    assert "secret" not in str(caught.value) and "secret" not in repr(twice[0])


def test_two_tiny_models_are_told_apart_by_the_gate_on_the_same_documents(tmp_path: Path, split: Split) -> None:
    config = Config(
        max_documents=35, max_document_bytes=160, num_samples=2, sample_tokens=8, baselines=("unigram", "ngram")
    )
    heldout, training = split
    flat = TransformersModel(make_model_folder(tmp_path / "flat", zero=("lm_head",)))
    wild = TransformersModel(make_model_folder(tmp_path / "wild", scale=8.0, seed=1))
    uniform, confident = (run(config, model, heldout, lambda: iter(training)) for model in (flat, wild))
    # 257 equally likely tokens, one a byte
    assert uniform["bits_per_byte"] == pytest.approx(math.log2(257), rel=1e-6)
    assert confident["bits_per_byte"] > uniform["bits_per_byte"]
    assert decide(uniform, confident).verdict == "PASS"
    verdict = decide(confident, uniform)
    assert verdict.verdict == "FAIL" and verdict.num_documents == 35
    assert all(item.beats == "no" for item in verdict.baselines)
    assert confident == run(config, wild, heldout, lambda: iter(training))
    page = report_html(confident, verdict)
    assert "Gate: FAIL" in page and "Sample 2, with text" in page


def test_the_card_holds_no_text_and_the_report_holds_it_escaped(split: Split) -> None:
    hostile = f"<script>alert(1)</script> & {PLANTED} http://example.org/x"
    config = Config(num_samples=1, ngram_order=2)
    training = [*split[1][:60], ("a" * 32, hostile)]
    result = run(config, ScriptedModel({"": hostile}), split[0], lambda: iter(training))
    verdict = decide(result, None)
    card, report = card_html(result, verdict), report_html(result, verdict)
    assert PLANTED not in card and "alert(1)" not in card
    assert PLANTED in report and "&lt;script&gt;alert(1)&lt;/script&gt;" in report
    assert card_html(without_text(result), verdict) == card  # the positive control above, this the absence
    for page in (card, report):
        assert "<script" not in page and "default-src 'none'" in page and "Gate: FIRST" in page
    assert "a" * 32 in card and "xz_trained" in card
