"""RTF, DOC and PPT go through LibreOffice; where it is not installed they are quarantined with that remedy."""

import shutil

import pytest

from datasets_pipeline.extract import ExtractOptions, extract, legacy_office
from datasets_pipeline.sources.base import ExtractionError
from tests.extract.office_files import ole
from tests.extract.real_documents import unpack

OPTIONS = ExtractOptions()
RTF = rb"{\rtf1\ansi{\info{\author A. Person}{\title On Roofs}}{\b Slate} lasts.\par Tiles break.\par}"
needs_converter = pytest.mark.skipif(
    not (shutil.which("soffice") or shutil.which("libreoffice")),
    reason="needs LibreOffice (soffice), which is not installed",
)


def test_without_the_converter_a_file_is_quarantined_with_the_remedy(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    legacy_office._version.cache_clear()
    try:
        assert legacy_office.programs() == {"soffice": "absent"}
        with pytest.raises(ExtractionError) as raised:
            extract(RTF, "a.rtf", None, OPTIONS)
    finally:
        legacy_office._version.cache_clear()
    assert raised.value.reason == "converter_missing"
    assert "a.rtf" in raised.value.message and "install" in raised.value.message


def test_a_protected_document_is_encrypted_whether_or_not_there_is_a_converter() -> None:
    information = bytes(11) + b"\x01"
    user = bytes(12) + b"\xdf\xc4\xd1\xf3"
    for data, name in (
        (ole({"WordDocument": information.ljust(4096, b"\x00")}), "a.doc"),
        (ole({"PowerPoint Document": bytes(4096), "Current User": user.ljust(4096, b"\x00")}), "a.ppt"),
    ):
        with pytest.raises(ExtractionError) as raised:
            extract(data, name, None, OPTIONS)
        assert raised.value.reason == "encrypted"


@needs_converter
def test_rtf_is_read_and_its_author_is_not() -> None:
    (document,) = extract(RTF, "a.rtf", None, OPTIONS).documents
    assert document.text == "Slate lasts.\n\nTiles break."
    assert (document.media_type, document.extractor, document.end) == ("application/rtf", "legacy_office", len(RTF))
    assert document.metadata == {"title": "On Roofs"} and "Person" not in repr(document)
    assert legacy_office.programs()["soffice"].startswith("LibreOffice ")


@needs_converter
def test_real_legacy_files_are_read(tmp_path) -> None:
    root = unpack("format-corpus", tmp_path, suffixes=("lorem-ipsum.doc", "testWordPerfect_50.doc", "ecdl paris.ppt"))
    texts = {}
    for path in sorted(root.rglob("*.*")):
        (document,) = extract(path.read_bytes(), path.name, None, OPTIONS).documents
        texts[path.name] = document.text
    assert len(texts["lorem-ipsum.doc"].split()) > 500
    assert "Distributed National Electronic Resource" in texts["ecdl paris.ppt"]
    assert "- sub-committee of funding councils" in texts["ecdl paris.ppt"]
    assert len(texts) == 3


@needs_converter
def test_what_the_converter_cannot_read_is_an_error_of_the_file() -> None:
    with pytest.raises(ExtractionError) as raised:
        extract(ole({"WordDocument": bytes(range(1, 256)) * 40}), "a.doc", None, OPTIONS)
    assert raised.value.reason in ("parser_error", "encrypted", "empty")
