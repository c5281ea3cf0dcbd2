"""Extraction by media type, on small inputs whose words are known."""

import pickle

import pytest

from datasets_pipeline.extract import ExtractOptions, extract, extraction_version
from datasets_pipeline.extract.media_types import media_type_of
from datasets_pipeline.sources.base import ExtractedDocument, ExtractionError

OPTIONS = ExtractOptions()


def one(data: bytes | str, uri: str, options: ExtractOptions = OPTIONS) -> ExtractedDocument:
    result = extract(data.encode() if isinstance(data, str) else data, uri, None, options)
    assert len(result.documents) == 1 and not result.rejects
    return result.documents[0]


def reason(data: bytes | str, uri: str, options: ExtractOptions = OPTIONS) -> str:
    with pytest.raises(ExtractionError) as refused:
        extract(data.encode() if isinstance(data, str) else data, uri, None, options)
    return refused.value.reason


@pytest.mark.parametrize(
    ("uri", "data", "media_type"),
    [
        ("a/B.MD", b"# x", "text/markdown"),
        ("a.html", b"<p>", "text/html"),
        ("x.dist-info/METADATA", b"Name: x", "text/x-python-metadata"),
        ("README", b"words", "text/plain"),
        ("page", b"\xef\xbb\xbf<!-- c -->\n<!DOCTYPE html>", "text/html"),
        ("notes.txt", b"%PDF-1.4 ...", "application/pdf"),
        ("notes.pdf", b"just some text that somebody named wrongly", "text/plain"),
        ("notes.pdf", b"<html><body>x", "text/html"),
        ("notes.pdf", b" %PDF-1.4 ...", "application/pdf"),
        ("notes.md", b" %PDF-1.4 begins a PDF", "text/markdown"),
        ("blob", bytes(range(256)), "application/octet-stream"),
        ("sheet.xlsx", b"PK\x03\x04....", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("mail.eml", b"From: a\n\nb", "message/rfc822"),
        (".hidden", b"words", "text/plain"),
    ],
)
def test_the_media_type_comes_from_the_name_unless_the_bytes_contradict_it(uri, data, media_type):
    assert media_type_of(uri, data) == media_type


def test_front_matter_is_taken_off_and_states_title_date_licence_and_language():
    page = (
        "---\ntitle: Getting started\ndate: 2024-03-01T10:00:00Z\nlicense: CC BY 4.0\nlang: pt_BR\n---\n"
        "\nFirst words.\n"
    )
    document = one(page, "a.md")
    assert document.text == "# Getting started\n\nFirst words.\n"
    assert (document.stated_date, document.licence, document.language) == ("2024-03-01", "CC-BY-4.0", "pt")
    assert document.licence_evidence == "front matter" and document.metadata["title"] == "Getting started"
    assert (document.start, document.end) == (0, len(page))


def test_a_stated_fact_can_always_be_written_as_utf8():
    assert one('---\ntitle: "a\\uD800b"\n---\nwords', "a.md").metadata["title"] == "a\ufffdb"
    assert one("<title>a\x00b</title><p>words and more words of the page", "a.html").metadata["title"] == "a\ufffdb"


def test_a_page_with_its_own_heading_gets_no_second_one():
    assert one("---\ntitle: A\n---\n# B\n\ntext", "a.md").text == "# B\n\ntext"
    assert one("+++\ntitle = 'A'\n+++\nB\n===\n\ntext", "a.md").text == "B\n===\n\ntext"


@pytest.mark.parametrize(
    "header",
    [
        "title: a: b: [",
        "- a list",
        "!!python/object/apply:os.system ['true']",
        "a: " + "[" * 1000,
        "\n".join(["a: &a [x]", *(f"b{i}: &b{i} [*a,*a]" for i in range(5)), "title: *nowhere"]),
    ],
)
def test_front_matter_that_does_not_parse_stays_in_the_text(header):
    page = f"---\n{header}\n---\nThe body of the page."
    assert one(page, "a.md").text == page


def test_an_open_fence_of_front_matter_is_a_rule_in_the_text():
    assert one("---\nwords without an end", "a.md").text == "---\nwords without an end"


def test_html_becomes_markdown_with_headings_lists_code_and_rows():
    page = """<html lang="de-AT"><head><title>T</title><meta name="date" content="2023-05-06"></head><body>
    <nav>Home | Help</nav><h1>One</h1><p>Text with <b>bold</b> &lt;tag&gt;.</p>
    <ul><li>a<ul><li>b</li></ul></li></ul><ol><li>x</li><li>y</li></ol>
    <pre>if a &lt; b:\n    go()</pre><table><tr><td>1</td><td>2</td></tr></table>
    <script>var hidden = 1</script></body></html>"""
    document = one(page, "a.html")
    assert document.text == (
        "# One\n\nText with bold <tag>.\n\n- a\n  - b\n\n1. x\n2. y\n\n```\nif a < b:\n    go()\n```\n\n1 | 2"
    )
    assert (document.language, document.stated_date, document.metadata["title"]) == ("de", "2023-05-06", "T")
    assert "Home" in one(page, "a.html", ExtractOptions(html="all")).text


@pytest.mark.parametrize(
    "opening", ["script id=t type='text/x-handlebars-template'", 'SCRIPT TYPE="text/html"', "template"]
)
def test_a_page_inside_a_template_element_keeps_its_words(opening):
    page = f"<body><{opening}><h2>Inside</h2><p>words of the page</p></{opening.split()[0]}><p>after</p></body>"
    assert one(page, "a.html").text == "## Inside\n\nwords of the page\n\nafter"


def test_a_page_that_is_one_aside_is_still_read():
    assert "all the words" in one(f"<aside>{'all the words ' * 80}</aside>", "a.html").text


def test_deep_nesting_keeps_the_words_and_deep_lists_do_not_explode():
    assert one("<div>" * 200_000 + "words at the bottom", "deep.html").text == "words at the bottom"
    listed = one("<ul><li>x" * 5000, "lists.html").text
    assert listed.count("x") == 5000 and len(listed) < 250_000


def test_nothing_out_of_a_large_page_is_an_error_and_not_an_empty_page():
    assert reason("<body><style>" + "visible words that no parser shows " * 200, "a.html") == "parser_returned_nothing"
    assert reason("<!-- licence " + "x" * 5000 + " -->\n<!--#include virtual='b.html' -->", "a.html") == "empty"
    assert reason("<script>" + "var a;" * 2000 + "</script>", "a.html") == "empty"


def test_python_is_read_as_source_with_its_licence():
    document = one("# SPDX-License-Identifier: apache-2.0 OR mit\nx = 1\n", "a.py")
    assert document.media_type == "text/x-python" and document.text.endswith("x = 1\n")
    assert (document.licence, document.licence_evidence) == ("Apache-2.0 OR MIT", "SPDX-License-Identifier")


def test_docstrings_come_under_their_qualified_names_in_file_order():
    source = '"""Module."""\nclass A:\n    """Class."""\n    def b(self):\n        """Method.\n\n        More."""\n' + (
        "if True:\n    def c():\n        '''Function.'''\ndef d(): pass\n"
    )
    document = one(source, "pkg/mod/__init__.py", ExtractOptions(python="docstrings"))
    assert document.text == (
        "pkg.mod\n\nModule.\n\n\npkg.mod.A\n\nClass.\n\n\npkg.mod.A.b\n\nMethod.\n\nMore.\n\n\npkg.mod.c\n\nFunction."
    )
    assert document.media_type == "text/x-rst"


def test_a_module_without_docstrings_gives_no_document_and_no_reject():
    result = extract(b"x = 1\n", "a.py", None, ExtractOptions(python="docstrings"))
    assert result.documents == [] and result.rejects == []


@pytest.mark.parametrize(
    "source", ["def broken(:\n", "(" * 100_000, "-" * 100_000 + "1", "1" + "+1" * 100_000, "a" + ".b" * 100_000]
)
def test_python_that_does_not_parse_is_a_parser_error(source):
    assert reason(source, "a.py", ExtractOptions(python="docstrings")) == "parser_error"


def test_package_metadata_becomes_a_title_a_summary_and_the_description():
    text = (
        "Metadata-Version: 2.1\nName: Tiny\nVersion: 1.2\nSummary: A tiny package.\nLicense: BSD\n"
        "Classifier: License :: OSI Approved :: MIT License\nDescription-Content-Type: text/markdown; charset=UTF-8\n"
        "\n# Readme\n\nWords.\n"
    )
    document = one(text, "tiny-1.2.dist-info/METADATA")
    assert document.text == "# Tiny 1.2\n\nA tiny package.\n\n# Readme\n\nWords."
    assert (document.family, document.version, document.media_type) == ("Tiny", "1.2", "text/markdown")
    assert (document.licence, document.licence_evidence) == ("MIT", "METADATA classifiers")


def test_a_description_in_a_header_loses_its_indent():
    text = "Name: a\nVersion: 1\nDescription: First line\n        second line\n        \n        third\n"
    assert one(text, "a.egg-info/PKG-INFO").text == "# a 1\n\nFirst line\nsecond line\n\nthird"


@pytest.mark.parametrize(
    ("data", "uri", "expected"),
    [
        (b"", "a.md", "empty"),
        (b" \n\t\n", "a.txt", "empty"),
        (b"---\ntitle: only\n---\n", "a.md", "empty"),
        (b"%PDF-1.4", "a.pdf", "parser_error"),
        (b"\x89PNG\r\n\x1a\n", "a.md", "parser_error"),
        (b"\x7fELF\x02", "a.md", "unsupported_media_type"),
        (bytes(range(256)) * 4, "a.md", "not_text"),
        (b"no headers at all", "METADATA", "parser_error"),
    ],
)
def test_a_file_without_text_has_a_reason(data, uri, expected):
    assert reason(data, uri) == expected


def test_what_a_parser_raises_is_named_by_type_only_and_carries_no_text(monkeypatch):
    from datasets_pipeline.extract import text

    def broken(*_: object) -> None:
        raise RuntimeError("the secret words of the document")

    monkeypatch.setattr(text, "extract", broken)
    with pytest.raises(ExtractionError) as refused:
        extract(b"the secret words", "a.txt", None, OPTIONS)
    error = refused.value
    assert error.reason == "parser_error" and "RuntimeError" in str(error) and "secret" not in str(error)
    assert error.__cause__ is None and error.__context__ is None
    copied = pickle.loads(pickle.dumps(error))
    assert (copied.reason, str(copied)) == (error.reason, str(error))


def test_no_repr_shows_text():
    assert "secret" not in repr(one("# secret words", "a.md"))


def test_the_extraction_version_names_libraries_and_options_that_shape_the_text():
    versions = extraction_version(OPTIONS)
    assert {"extract.html", "selectolax", "text", "unicode"} <= set(versions)
    assert versions != extraction_version(ExtractOptions(html="all"))
    assert "python" in extraction_version(ExtractOptions(python="docstrings"))
    assert all(isinstance(value, str) for value in versions.values())


def test_a_wrong_option_is_refused():
    with pytest.raises(ValueError, match="not a text encoding"):
        ExtractOptions(encoding="base64")
