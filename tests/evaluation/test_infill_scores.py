"""Error rates by hand."""

import pytest

from evaluation.infill_scores import edit_distance, error_rate_interval, plain_letters, score_fillings
from ingot.errors import DataError


def test_texts_are_compared_without_accents_case_and_final_sigma() -> None:
    assert plain_letters("Θεοῖς  Καταχθονίοις\nΣΑΣ") == "θεοισ καταχθονιοισ σασ"
    assert plain_letters("Dīs · Mánibus") == "dis · manibus"


@pytest.mark.parametrize(
    ("first", "second", "edits"), [("kitten", "sitting", 3), ("", "abc", 3), ("ab", "ab", 0), ("ab", "ba", 2)]
)
def test_the_edit_distance_is_levenshteins(first: str, second: str, edits: int) -> None:
    assert edit_distance(first, second) == edit_distance(second, first) == edits


def test_rates_are_edits_over_characters_of_all_holes() -> None:
    scores = score_fillings([["ΣΑΣ", "x"], ["ab", "abcd"], []], ["σας", "abcd", "zz"])
    assert (scores.num_holes, scores.num_characters) == (3, 9)
    assert scores.character_error_rate == pytest.approx(4 / 9)
    assert scores.top_1 == pytest.approx(1 / 3) and scores.top_k == pytest.approx(2 / 3)


def test_fillings_without_answers_are_refused() -> None:
    with pytest.raises(DataError, match="2 holes were filled and 1 answers given"):
        score_fillings([["a"], ["b"]], ["a"])
    with pytest.raises(DataError, match="none of which may be empty"):
        score_fillings([["a"]], [""])


def test_the_interval_holds_the_rate_and_a_difference_is_paired() -> None:
    answers = ["ab"] * 60
    ours = [["ab"]] * 45 + [["ax"]] * 15
    theirs = [["ab"]] * 30 + [["xx"]] * 30
    low, high = error_rate_interval(ours, answers)
    assert low < 15 / 120 < high and high - low < 0.1
    low, high = error_rate_interval(ours, answers, than=theirs)
    assert 0.2 < low < (60 - 15) / 120 < high < 0.5
