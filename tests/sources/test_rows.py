"""Rows of any source: templates, keys, groups, and who may use them."""

import json

import pytest
from pydantic import ValidationError

from datasets_pipeline.sources import jsonl
from datasets_pipeline.sources.base import ExtractionError, FileEntry
from datasets_pipeline.sources.record_values import key_place, key_text, order_key, template_fields
from ingot.errors import RecipeError


def read(*records, **options):
    data = b"\n".join(json.dumps(record).encode() for record in records)
    config = jsonl.Config(name="rows", uri="/none", **options)
    # As it comes back from a worker's message: defaults filled in.
    config = jsonl.Config.model_validate(config.model_dump(mode="json"))
    return jsonl.extract_file(config, FileEntry("t.jsonl", len(data)), data)


def texts(result):
    return [document.text for document in result.documents]


def test_a_template_writes_its_columns_and_nothing_for_what_is_missing():
    result = read(
        {"title": "Printer", "body": "It is on fire.", "n": 3},
        {"title": "Half", "body": None},
        {"body": "x"},
        {"title": " ", "body": ""},
        text_template="# {title}\n\n{body} {{{n}}}",
    )
    assert texts(result) == ["# Printer\n\nIt is on fire. {3}", "# Half\n\n {}", "# \n\nx {}"]
    assert [reject.reason for reject in result.rejects] == ["empty"]


@pytest.mark.parametrize("template", ["{a.b}", "{a[0]}", "{}", "{0}", "{a!r}", "{a:>9}", "{a", "no field", "{a:{b}}"])
def test_a_template_has_plain_fields_only(template):
    with pytest.raises(RecipeError, match="text_template"):
        template_fields(template)
    with pytest.raises((ValidationError, RecipeError)):
        jsonl.Config(name="rows", uri="/none", text_template=template)


def test_the_text_comes_from_a_column_or_from_a_template():
    for wrong in ({"text_column": "a", "text_template": "{a}"}, {"text_column": None}, {"order_by": "n"}):
        with pytest.raises((ValidationError, RecipeError)):
            jsonl.Config(name="rows", uri="/none", **wrong)


def test_a_recipe_without_the_new_options_keeps_its_extraction_version():
    version = jsonl.extraction_version(jsonl.Config(name="rows", uri="/none"))
    assert version == {
        "source.jsonl": "1", "option.max_line_bytes": str(16 << 20), "option.text_column": "text",
        "option.media_type": "text/plain", "option.max_file_bytes": str(256 << 20),
        "option.max_decompressed_bytes": str(1 << 30),
    }  # fmt: skip
    assert version == jsonl.extraction_version(jsonl.Config(name="rows", uri="/none", part_bytes=5000))


def test_a_key_gives_a_row_a_place_of_its_own():
    result = read({"text": "a", "id": 7}, {"text": "b", "id": "a/../b %"}, {"text": "c", "id": ".."}, key="id")
    assert [document.uri for document in result.documents] == ["t.jsonl/7", "t.jsonl/a%2F..%2Fb %25", "t.jsonl/%2E%2E"]
    assert [document.uri for document in read({"text": "a", "id": 7}).documents] == [None]


def test_a_key_repeated_with_another_text_is_told_and_an_exact_repeat_is_not():
    result = read({"text": "a", "id": 7}, {"text": "a ", "id": 7.0}, {"text": "b", "id": "7"}, {"text": "c"}, key="id")
    assert texts(result) == ["a", "a "]
    clash, none = result.rejects
    assert (clash.reason, clash.uri) == ("bad_row", "t.jsonl/7") and "stands at 0 already" in clash.detail
    assert (none.reason, none.detail) == ("bad_row", "no key in column id")


@pytest.mark.parametrize(
    ("value", "key"),
    [(7, "7"), (7.0, "7"), ("7", "7"), (" 7\n", "7"), (7.5, "7.5"), ("007", "007"), (True, None), (None, None),
     ("", None), ([], None), (float("nan"), None), (float("inf"), None), (b"7", None), ("x" * 201, None)],
)  # fmt: skip
def test_keys_are_one_text_whatever_their_type(value, key):
    assert key_text(value) == key


def test_different_keys_have_different_places():
    keys = ["a/b", "a%2Fb", "a", ".", "..", "%2E", "a!b", "a\\b", "a\x00b", "ä", "\ud800"]
    places = [key_place("t", key) for key in keys]
    assert len(set(places)) == len(keys) and all(place.count("/") == 1 for place in places)
    "".join(places).encode()


COMMENTS = [
    {"ticket": 2, "at": "2024-01-03", "text": "second of two", "title": "no", "lic": "MIT"},
    {"ticket": 1, "at": "2024-01-01", "text": "first of one"},
    {"ticket": 2, "at": "2024-01-01", "text": "first of two", "lic": "MIT", "day": "2030-01-01"},
    {"ticket": 1, "at": "2024-01-02", "text": " "},
    {"ticket": None, "at": "2024-01-01", "text": "of none"},
    {"ticket": 2, "at": None, "text": "undated", "lic": "GPL-3.0-only", "day": "2029-01-01"},
]


def test_a_ticket_and_its_comments_are_one_document_wherever_they_stand():
    result = read(
        *COMMENTS, group_by="ticket", order_by="at", licence_column="lic", retain_until_column="day",
        group_separator="\n--\n",
    )  # fmt: skip
    two, one = result.documents
    assert two.text == "first of two\n--\nsecond of two\n--\nundated" and one.text == "first of one"
    assert (two.uri, two.start, two.metadata) == ("t.jsonl/2", 0, {"rows": 3})
    assert two.licence == "GPL-3.0-only" and two.retain_until == "2029-01-01", "the strictest of its rows"
    assert sorted((r.reason, r.uri, r.detail) for r in result.rejects) == [
        ("bad_row", None, "no key in column ticket"), ("empty", "t.jsonl/1", ""),
    ]  # fmt: skip


def test_numbers_order_as_numbers_and_text_as_text():
    def order(*values):
        return [value for _, value in sorted(zip(order_key(list(values)), values, strict=True), key=lambda p: p[0])]

    assert order("10", "9", 2, "1.5") == ["1.5", 2, "9", "10"]
    assert order("b10", "b9", None, "a") == ["a", "b10", "b9", None]
    assert order(None, 1, "") == [1, None, ""]


def test_a_row_that_is_used_otherwise_than_its_group_is_left_out_and_told():
    result = read(
        {"t": 1, "text": "open", "class": "public"},
        {"t": 1, "text": "closed", "class": "secret"},
        {"t": 1, "text": "unsaid"},
        group_by="t",
        classification_column="class",
    )
    (document,) = result.documents
    # What states no class has that of the source, which may be a stricter one.
    assert document.text == "open" and document.classification == "public"
    assert [r.detail for r in result.rejects] == ["its classification differs from its group's first row"] * 2
    rows = ({"t": 1, "text": "free", "lic": "CC0-1.0"}, {"t": 1, "text": "as the source says"})
    (document,) = read(*rows, group_by="t", licence_column="lic").documents
    assert (document.text, document.licence) == ("free", "CC0-1.0")


def test_columns_say_who_may_use_a_row_and_how_long():
    options = {f"{fact}_column": fact[0] for fact in ("classification", "audience", "owner", "purpose", "retain_until")}
    row = {"c": "internal", "a": "staff", "o": "Ada", "p": "support", "r": "2031-05-06T00:00:00"}
    result = read({"text": "a", **row}, {"text": "b", "c": ""}, **options)
    first, second = result.documents
    stated = (first.classification, first.audience, first.owner, first.purpose, first.retain_until)
    assert stated == ("internal", "staff", "Ada", "support", "2031-05-06")
    assert (second.classification, second.retain_until) == (None, None)
    for wrong in ({"r": "06.05.2031"}, {"c": ["secret"]}, {"a": True}):
        result = read({"text": "a", **row}, {"text": "b", **row, **wrong}, **options)
        assert texts(result) == ["a"] and result.rejects[0].reason == "bad_row"


@pytest.mark.parametrize("option", ["key", "group_by", "classification_column", "retain_until_column"])
def test_a_column_that_no_row_has_is_told_where_a_typing_error_would_be_dangerous(option):
    with pytest.raises(ExtractionError, match="t.jsonl: no row has a column clas") as refused:
        read({"text": "a", "class": "secret"}, {"text": "b"}, **{option: "clas"})
    assert refused.value.reason == "schema_mismatch"
    with pytest.raises(ExtractionError, match="no row has a column titel"):
        read({"title": "a"}, text_template="{titel}")
