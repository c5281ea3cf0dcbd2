"""Extraction of real documentation, and of files broken on purpose."""

import re
from collections import Counter

import pytest

from datasets_pipeline.normalize import normalize_text
from datasets_pipeline.sources import folder
from datasets_pipeline.sources.base import REASONS, ExtractionError
from tests.extract.real_documents import unpack

WORDS = re.compile(r"[A-Za-z]{3,}")


def extract_all(config: folder.Config):
    """(documents by uri, reasons by uri) of a folder; nothing but ExtractionError may rise."""
    documents, reasons = {}, {}
    for entry in folder.list_files(config):
        try:
            result = folder.extract_file(config, entry, folder.read_file(config, entry).data)
        except ExtractionError as error:
            reasons[entry.uri] = error.reason
        else:
            documents[entry.uri] = result.documents
    return documents, reasons


def test_kafka_pages_inside_handlebars_templates_keep_their_words(tmp_path):
    root = unpack("kafka-site", tmp_path, suffixes=(".html",), every=12)
    documents, reasons = extract_all(folder.Config(name="kafka", uri=str(root)))
    assert set(reasons.values()) <= {"empty"}
    num_templates = 0
    for uri, (document,) in documents.items():
        page = (root / uri).read_text("utf-8", "replace")
        if "x-handlebars" not in page:
            continue
        num_templates += 1
        template = page[page.index("x-handlebars") :].partition(">")[2].partition("</script")[0]
        body = re.sub(r"(?s)<!--.*?-->|<[^<>]*>", " ", template)
        expected, found = Counter(WORDS.findall(body)), Counter(WORDS.findall(document.text))
        assert sum((expected & found).values()) >= 0.9 * expected.total(), uri
    assert num_templates >= 5
    # Pages without words of their own are include lines and comments, nothing else.
    for uri in reasons:
        page = (root / uri).read_text("utf-8", "replace")
        assert not re.sub(r"(?s)<!--.*?-->|<script.*?</script>|<[^<>]*>", "", page).strip(), uri


@pytest.mark.parametrize("source", ["helm-docs", "cncf-glossary", "eips", "etcd-docs"])
def test_markdown_documentation_is_read_whole(tmp_path, source):
    root = unpack(source, tmp_path, suffixes=(".md",), every=5, limit=60)
    documents, reasons = extract_all(folder.Config(name=source, uri=str(root)))
    assert len(documents) >= 45 and set(reasons.values()) <= {"empty"}
    for uri, (document,) in documents.items():
        raw = (root / uri).read_text("utf-8-sig")
        body = raw.split("---\n", 2)[-1] if raw.startswith("---\n") else raw
        assert normalize_text(body) in normalize_text(document.text), uri


def test_translations_of_one_page_share_a_family_and_state_their_language(tmp_path):
    root = unpack("cncf-glossary", tmp_path, suffixes=(".md",), every=7)
    pattern = r"^content/(?P<language>[^/]+)/(?P<family>.+)$"
    config = folder.Config(name="glossary", uri=str(root), path_pattern=pattern)
    documents, _ = extract_all(config)
    stated = [document for (document,) in documents.values()]
    assert stated and all(document.family for document in stated)
    assert {document.language for document in stated} >= {"de", "es"}


@pytest.mark.parametrize("source", ["format-corpus", "docling-tests", "unstructured-examples", "mail-fixtures"])
def test_office_files_mail_and_broken_files_are_rejects_with_a_reason_and_never_exceptions(tmp_path, source):
    root = unpack(source, tmp_path, suffixes=("",), limit=80, max_bytes=1 << 20)
    documents, reasons = extract_all(folder.Config(name=source, uri=str(root), ocr_languages=None))
    assert set(reasons.values()) <= set(REASONS)
    assert len(documents) + len(reasons) == sum(path.is_file() for path in root.rglob("*"))


def test_html_of_a_converter_keeps_headings(tmp_path):
    root = unpack("docling-tests", tmp_path, suffixes=("example_03.html",))
    documents, _ = extract_all(folder.Config(name="docling", uri=str(root)))
    ((document,),) = documents.values()
    assert document.text.startswith("# Example Document\n\n## Introduction")
    assert "- First item in unordered list\n  - Nested item 1" in document.text
