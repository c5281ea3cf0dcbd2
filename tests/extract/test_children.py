"""A file inside a file has a place of its own; what is wrong with it costs nothing else."""

import pytest

from datasets_pipeline.extract import ExtractOptions
from datasets_pipeline.extract.children import child_uri, extract_child
from datasets_pipeline.sources.base import ExtractionError

OPTIONS = ExtractOptions()


@pytest.mark.parametrize(
    ("name", "uri"),
    [("a/b.txt", "x.zip!/a/b.txt"), ("./a//b.txt", "x.zip!/a/b.txt"), ("a\\b.txt", "x.zip!/a/b.txt"),
     ("odd!/name.txt", "x.zip!/odd!%2Fname.txt")],
)  # fmt: skip
def test_a_child_stands_below_its_parent(name: str, uri: str) -> None:
    assert child_uri("x.zip", name) == uri


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/../../b", "\\\\host\\a", "C\x00.txt", "", ".", ".."])
def test_a_name_that_leaves_the_parent_is_refused(name: str) -> None:
    with pytest.raises(ExtractionError) as raised:
        child_uri("x.zip", name)
    assert raised.value.reason == "unsafe_member"


def test_a_child_that_cannot_be_read_is_a_reject_with_its_own_uri() -> None:
    good = extract_child(b"Ten words of plain text in a file.", "x.zip", "a.txt", None, OPTIONS, 0, 1)
    assert [d.uri for d in good.documents] == ["x.zip!/a.txt"]
    bad = extract_child(b"", "x.zip", "b.txt", None, OPTIONS, 1, 2)
    assert [(r.uri, r.reason, r.start, r.end) for r in bad.rejects] == [("x.zip!/b.txt", "empty", 1, 2)]


def test_nesting_ends_at_the_third_file_inside_a_file() -> None:
    assert extract_child(b"some words", "a.zip!/b.zip!/c.zip", "d.txt", None, OPTIONS, 0, 1).documents
    (reject,) = extract_child(b"some words", "a.zip!/b.zip!/c.zip!/d.zip", "e.txt", None, OPTIONS, 0, 1).rejects
    assert reject.reason == "nested_too_deeply"
