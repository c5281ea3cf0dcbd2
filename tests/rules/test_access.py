"""`rule: access`: which documents may be used, by what is stated of every place where they stand."""

import pyarrow as pa
import pytest
from pydantic import ValidationError

from datasets_pipeline.classification_order import class_ranks, strictest_class
from datasets_pipeline.document_access import document_facts, plain_fact
from datasets_pipeline.rules import access
from datasets_pipeline.sources.access import FolderRule, first_match
from ingot.errors import RecipeError

UNKNOWN = ["unknown"]


def features(*rows: dict[str, object]) -> pa.Table:
    """One row a document: the lists of what its places state, and the day until which it may be kept."""
    columns = ("classifications", "audiences", "owners", "purposes")
    table = {name: pa.array([row.get(name, UNKNOWN) for row in rows], pa.list_(pa.string())) for name in columns}
    return pa.table({**table, "retain_until": pa.array([row.get("retain_until") for row in rows], pa.string())})


def reasons(table: pa.Table, **options: object) -> list[str | None]:
    verdicts = access.judge(access.Config.model_validate(options), table)
    assert not any(verdicts.abstained.to_pylist())
    return verdicts.reason.to_pylist()


def test_a_document_is_admitted_when_the_class_of_every_place_is() -> None:
    places = [["public"], ["internal", "public"], ["public", "secret"], ["public", "unknown"], UNKNOWN, ["made up"]]
    table = features(*({"classifications": names} for names in places))
    refused, unknown = "classification_not_admitted", "classification_unknown"
    assert reasons(table, classification=["public", "internal"]) == [None, None, refused, unknown, unknown, refused]
    assert reasons(table, classification=["Public "]) == [None, refused, refused, unknown, unknown, refused]
    # `unknown` lets in what states nothing; it never hides what another place states.
    assert reasons(table, classification=["public", "unknown"]) == [None, refused, refused, None, None, refused]
    assert reasons(features({"classifications": ["secret", "unknown"]}), classification=["unknown"]) == [refused]


@pytest.mark.parametrize(
    ("option", "column"), [("audience", "audiences"), ("purpose", "purposes"), ("owner", "owners")]
)
def test_a_place_that_names_several_needs_one_of_them_admitted(option: str, column: str) -> None:
    places = [["hr, staff"], ["hr"], ["hr", "staff"], UNKNOWN, ["staffing"]]
    table = features(*({column: names} for names in places))
    refused = f"{option}_not_admitted"
    assert reasons(table, **{option: ["staff"]}) == [None, refused, refused, f"{option}_unknown", refused]
    assert reasons(table, **{option: ["staff", "hr", "unknown"]}) == [None, None, None, None, refused]


def test_what_may_no_longer_be_kept_on_the_day_of_the_recipe_is_dropped() -> None:
    days = ["2026-11-26", "2026-11-27", "2030-01-01", None, "soon"]
    table = features(*({"retain_until": day} for day in days))
    assert reasons(table, as_of="2026-11-27") == ["retention_over", None, None, None, "retention_not_a_day"]
    assert reasons(table, owner=["unknown"]) == [None] * 5  # nobody asked


def test_the_first_question_that_fails_gives_the_reason() -> None:
    table = features({"classifications": ["secret"], "audiences": ["hr"], "retain_until": "2001-01-01"})
    asked = {"classification": ["public"], "audience": ["staff"], "as_of": "2026-01-01"}
    assert reasons(table, **asked) == ["classification_not_admitted"]
    assert reasons(table, **{**asked, "classification": ["secret"]}) == ["audience_not_admitted"]
    assert reasons(table, as_of="2026-01-01") == ["retention_over"]


@pytest.mark.parametrize(
    "options",
    [{}, {"classification": []}, {"classification": [" "]}, {"as_of": "soon"}, {"as_of": "27.11.2026"}, {"class": 1}],
)
def test_a_rule_that_asks_nothing_or_nonsense_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        access.Config.model_validate(options)


def test_the_strictest_class_is_the_last_of_the_order_and_a_word_outside_of_it_is_stricter() -> None:
    ranks = class_ranks(None)
    assert strictest_class(["public", "internal"], ranks) == "internal"
    assert strictest_class(["secret", "confidential", "unknown"], ranks) == "secret"
    assert strictest_class(["restricted", "confidential"], ranks) == "restricted"
    assert strictest_class(["secret", "for the board"], ranks) == "for the board"
    assert strictest_class(["unknown"], ranks) == strictest_class([], ranks) == "unknown"
    own = class_ranks(["green", "amber", "red"])
    assert strictest_class(["red", "amber", "unknown"], own) == "red"
    assert strictest_class(["red", "public"], own) == "public"  # the recipe's order does not name it


def test_of_several_places_the_strictest_class_and_the_earliest_day_hold() -> None:
    one, two = b"1" * 16, b"2" * 16
    places = [
        (one, "public", "hr, staff", "2030-01-01"),
        (two, None, None, None),
        (one, "confidential", None, "2027-05-05"),
        (two, "public", "staff", "next year"),
        (two, "public", "staff", "2026-01-01"),
    ]
    names = ("doc_id", "classification", "audience", "retain_until")
    table = pa.table({name: pa.array(values) for name, values in zip(names, zip(*places, strict=True), strict=True)})
    none = pa.nulls(len(table), pa.string())
    table = table.append_column("owner", none).append_column("purpose", none)
    columns = {name: found.to_pylist() for name, found in document_facts(table, [one, two], class_ranks(None)).items()}
    assert columns == {
        "classification": ["confidential", "public"],
        "classifications": [["confidential", "public"], ["public", "unknown"]],
        "audiences": [["hr, staff", "unknown"], ["staff", "unknown"]],
        "owners": [UNKNOWN, UNKNOWN],
        "purposes": [UNKNOWN, UNKNOWN],
        "retain_until": ["2027-05-05", "next year"],  # what is no day is looked into before anything is kept
    }


def test_facts_are_compared_in_one_spelling() -> None:
    assert plain_fact("classification", "  For the\tBOARD ") == "for the board"
    assert plain_fact("audience", "Staff; HR ,staff,") == "hr, staff"
    assert plain_fact("retain_until", "2027-1-2T00:00") == "2027-01-02"
    assert [plain_fact(name, " , ") for name in ("audience", "owner", "purpose")] == [None] * 3


def test_the_first_folder_rule_that_matches_holds_for_a_file_and_what_lies_in_it() -> None:
    rules = [FolderRule(path="hr/*.eml", classification="secret"), FolderRule(path="**", classification="public")]
    found = {uri: first_match(rules, uri) for uri in ("hr/a.eml", "hr/a.eml!/cv.pdf", "hr/a.eml!/b.zip!/c.txt", "a.md")}
    assert [rule.classification if rule else None for rule in found.values()] == [
        "secret",
        "secret",
        "secret",
        "public",
    ]
    assert first_match(rules[:1], "hr/deep/a.eml") is None
    assert first_match([FolderRule(path="hr!/*", owner="x")], "hr!/a.md") is not None  # a folder of that name


@pytest.mark.parametrize(
    "rule",
    [{"path": "../x"}, {"path": ""}, {}, {"path": "a", "retain_until": "2026-13-01"}, {"path": "a", "owner": " ,"}],
)
def test_a_folder_rule_that_cannot_hold_is_refused(rule: dict[str, str]) -> None:
    with pytest.raises((ValidationError, RecipeError)):
        FolderRule.model_validate(rule)
