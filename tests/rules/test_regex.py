"""`rule: regex`: what it drops, edits and refuses."""

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from datasets_pipeline.edits import apply_spans
from datasets_pipeline.rules import regex
from ingot.config import parse_recipe
from ingot.errors import RecipeError
from tests.curation.pages import page
from tests.curation.road import small_road
from tests.rules.verdict_rows import rows

TEXTS = ["Ticket INC1234567 für Ähren.", "INC1234567INC7654321", "Nothing here", "DRAFT: INC12"]


def run(texts: list[str], **options: Any) -> tuple[list[str | None], list[str], list[int]]:
    """(reasons, texts after the edits, number of matches)"""
    config = regex.Config.model_validate(options)
    found = regex.find_spans(config, pa.table({"text": pa.array(texts, pa.large_string())}), b"")
    verdicts = rows(regex.judge(config, found, found))
    after = [apply_spans(text, spans) for text, spans in zip(texts, found["spans"].to_pylist(), strict=True)]
    return [row[0] for row in verdicts], after, found["num_matches"].to_pylist()


def test_matches_are_deleted_or_replaced() -> None:
    ticket = {"ticket": "INC[0-9]{7}"}
    reasons, after, num = run(TEXTS, patterns=ticket, action="replace", replacement="<TICKET>")
    assert reasons == [None] * 4
    assert after == ["Ticket <TICKET> für Ähren.", "<TICKET><TICKET>", *TEXTS[2:]]
    assert num == [1, 2, 0, 0]
    _, after, _ = run(TEXTS, patterns={**ticket, "letters": "[äÄ]h"}, action="delete")
    assert after == ["Ticket  für ren.", "", *TEXTS[2:]]


def test_of_overlapping_matches_the_first_stays_then_the_longer_one() -> None:
    patterns = {"a": "bcd", "b": "abc", "c": "abcd"}
    _, after, num = run(["xabcdx abc"], patterns=patterns, action="replace", replacement="-")
    assert (after, num) == (["x-x -"], [2])


def test_documents_are_dropped_or_kept_by_a_match() -> None:
    patterns = {"draft": "(?i)draft", "ticket": "INC[0-9]{7}"}
    reasons, after, _ = run([*TEXTS, "draft INC1234567"], patterns=patterns, action="drop")
    assert reasons == ["regex_ticket", "regex_ticket", None, "regex_draft", "regex_draft"]
    assert after[:4] == TEXTS
    reasons, _, _ = run(TEXTS, patterns=patterns, action="keep_only")
    assert reasons == [None, None, "regex_no_match", None]


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (r"n\C", "single byte"),
        ("a(?=b)", "looks ahead or behind"), ("(?<!a)b", "looks ahead or behind"), (r"(a)\1", "refers back"),
        ("(?P<q>a)(?P=q)", "refers back"), ("a{2,1}", "is not one that RE2 reads"), ("[a", "missing ]"),
        ("a*", "matches the empty text"), ("x" * 10_001, "has 10,001 characters"), (r"\p{Nonsense}", "RE2 reads"),
    ],
)  # fmt: skip
def test_a_pattern_that_cannot_run_in_linear_time_is_refused_with_the_reason(pattern: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        regex.Config(patterns={"p": pattern}, action="drop")


def test_escaped_signs_are_no_look_around() -> None:
    for pattern in (r"\(\?=", r"a\\b", r"\(?=x"):
        assert regex.refusal(pattern) is None


@pytest.mark.parametrize(
    "options",
    [
        {"patterns": {}, "action": "drop"}, {"patterns": {"A b": "x"}, "action": "drop"},
        {"patterns": {"a": "x"}, "action": "replace"}, {"patterns": {"a": "x"}, "action": "drop", "replacement": "y"},
        {"patterns": {"a": "x"}},
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        regex.Config.model_validate(options)


def test_a_recipe_says_which_pattern_is_wrong(tmp_path: Path) -> None:
    values = {
        "corpus": "x",
        "sources": [{"source": "folder", "name": "a", "uri": str(tmp_path)}],
        "rules": [{"rule": "regex", "patterns": {"p": "a(?!b)"}, "action": "drop"}],
    }
    with pytest.raises(RecipeError, match=r"rules\.0 \(rule regex\)\.patterns: pattern p looks ahead"):
        parse_recipe(values)


def test_patterns_that_ruin_backtracking_engines_take_linear_time() -> None:
    texts = ["a" * 200_000, "a" * 200_000 + "b"]
    start = time.process_time()
    run(texts, patterns={"p": "(a+)+c", "q": "(a|aa)+d"}, action="delete")
    assert time.process_time() - start < 10


def test_spans_of_a_pattern_edit_what_is_published(tmp_path: Path) -> None:
    road = small_road(tmp_path, {"notes": {"a.md": f"{page(1)}\nSee INC1234567 here.\n"}})
    rule = {"rule": "regex", "patterns": {"ticket": "INC[0-9]{7}"}, "action": "replace", "replacement": "<TICKET>"}
    road.values["rules"] = [rule]
    night = road.run()
    (row,) = road.shard_rows(night)
    assert row["text"].endswith("See <TICKET> here.")
    assert night.manifest.identity.statistics["edits"] == {"documents": 1, "spans": {"ticket": 1}}
