"""`rule: code_quality`: what it drops, by which published threshold, and where it abstains."""

from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from datasets_pipeline.rules import code_quality
from tests.features.feature_rows import features_of
from tests.rules.verdict_rows import rows

FUNCTION = """def total(numbers):
    # Adds up.
    result = 0
    for number in numbers:
        result += number
    return result
"""


def judged(text: str, media: str = "text/x-python", uri: str = "a.py", **options: Any) -> tuple[Any, ...]:
    """(reason, score, threshold, abstained)"""
    features = features_of([text], None, media).append_column("uri", pa.array([uri]))
    return rows(code_quality.judge(code_quality.Config.model_validate(options), features))[0]


def test_ordinary_code_is_kept() -> None:
    assert judged(FUNCTION)[0] is None
    assert judged(FUNCTION.replace("#", "//"), "text/x-go", "pkg/a.go")[0] is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = 1\n" * 3, "code_too_few_lines"),
        ("x = 1\n" * 20_001, "code_too_many_lines"),
        (("value = " + "other + " * 14 + "1\n") * 6, "code_mean_line_too_long"),
        (FUNCTION * 10 + "data = '" + "a" * 1001 + "'", "code_line_too_long"),
        ("[(((((((, ())), ((())), [[]], {}\n" * 9, "code_low_alphanumeric"),
        ("data = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]\n" * 9, "code_low_alphabetic"),
        ("# a line that says something\n" * 9, "code_all_comments"),
        ("<?xml version='1.0'?>\n" + "<element>some text in it</element>\n" * 9, "code_xml_header"),
    ],
)
def test_each_threshold_gives_its_reason(text: str, reason: str) -> None:
    assert judged(text)[0] == reason
    options = {name: None for name in code_quality.Thresholds.model_fields if name[:4] in ("min_", "max_")}
    assert judged(text, drop_xml_headers=False, **options)[0] is None


def test_xml_under_its_own_name_may_have_its_header() -> None:
    text = "<?xml version='1.0'?>\n" + "<element>some text in it</element>\n" * 9
    assert judged(text, "application/xml", "a.xml")[0] is None


@pytest.mark.parametrize(
    "uri",
    ["static/jquery.min.js", "api/v1/a_pb2.py", "x/y.pb.go", "package-lock.json", "web/node_modules/left/index.js",
     "pkg/zz_generated.deepcopy.go", "Cargo.lock", "src/a.generated.ts"],
)  # fmt: skip
def test_files_that_tools_write_are_known_by_their_names(uri: str) -> None:
    assert judged(FUNCTION, uri=uri)[0] == "code_generated_file"
    assert judged(FUNCTION, uri=uri, drop_generated=False)[0] is None


@pytest.mark.parametrize("uri", ["admin.js", "src/lock.py", "generated.md", "src/regenerated/a.py", "min.js"])
def test_other_files_are_not(uri: str) -> None:
    assert judged(FUNCTION, uri=uri)[0] is None


def test_configuration_is_short_and_made_of_words() -> None:
    entry = '"name of a setting": "what it says",\n'
    assert judged(entry * 9, "application/json", "a.json")[0] is None
    assert judged('{"a": 1}', "application/json", "a.json")[0] == "code_too_few_chars"
    assert judged(entry * 200, "application/json", "a.json")[:3] == ("code_too_many_chars", 200.0 * len(entry), 5000.0)
    assert judged('"k": 12345678901234567890,\n' * 9, "application/yaml", "a.yaml")[0] == "code_low_alphabetic"
    own = {"per_medium": {"application/json": {"max_chars": None}}}
    assert judged(entry * 200, "application/json", "a.json", **own)[0] is None


def test_prose_and_tables_are_abstained_from() -> None:
    for media in ("text/markdown", "text/html", "text/csv", "application/pdf", "text/x-rst"):
        assert judged("x", media) == (None, None, None, True)
    for media in ("text/x-rust", "text/javascript", "application/toml", "text/css"):
        assert judged("x", media)[3] is False


def test_a_medium_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="is no media type"):
        code_quality.Config.model_validate({"per_medium": {"python": {}}})
