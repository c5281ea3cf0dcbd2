"""Every grader: the gold answer scores 1, an empty and a wrong one 0."""

from evaluation.graders import exact_match


def test_exact_match_scores_gold_one_and_empty_or_wrong_zero() -> None:
    assert exact_match.grade("42", "42") == 1.0
    assert exact_match.grade("", "42") == 0.0
    assert exact_match.grade("43", "42") == 0.0


def test_exact_match_forgives_outer_blanks_line_ends_and_composition_only() -> None:
    assert exact_match.grade(" caf\u0065\u0301\r\nopen\n", "caf\u00e9\nopen") == 1.0
    assert exact_match.grade("Paris", "paris") == 0.0
    assert exact_match.grade("a b", "a  b") == 0.0


def test_exact_match_gives_nothing_for_silence_even_where_nothing_is_expected() -> None:
    assert exact_match.grade(" \n", "") == 0.0
