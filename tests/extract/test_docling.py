"""docling as an engine for PDF: what is told where it or its models are missing, what its version covers, and a real
conversion where both are here (`pip install docling`, INGOT_DOCLING_MODELS)."""

import importlib.util
import os
from pathlib import Path

import pytest

from datasets_pipeline.extract import ExtractOptions, docling_engine, extract, extraction_version
from datasets_pipeline.sources.base import ExtractionError
from tests.extract.pdf_files import Text, write_pdf

DOCLING = ExtractOptions(pdf_engine="docling", ocr_languages=None)
PAGE = write_pdf([[Text(72, 700, "Words of a page that docling reads.")]])


def told() -> str:
    with pytest.raises(ExtractionError) as refused:
        extract(PAGE, "a.pdf", None, DOCLING)
    assert refused.value.reason == "converter_missing"
    return str(refused.value)


@pytest.mark.skipif(importlib.util.find_spec("docling") is not None, reason="docling is installed here")
def test_without_docling_the_file_says_what_to_install() -> None:
    assert "pip install docling" in told()
    assert extraction_version(DOCLING)["model.docling"] == "absent"


def test_without_models_the_file_names_the_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(docling_engine, "_library", lambda: "2.0")
    monkeypatch.setenv("INGOT_DOCLING_MODELS", str(tmp_path / "nowhere"))
    assert "INGOT_DOCLING_MODELS" in told()


def test_the_version_covers_the_models_and_not_their_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = []
    for place in ("one", "two"):
        (tmp_path / place / "layout").mkdir(parents=True)
        (tmp_path / place / "layout/model.safetensors").write_bytes(b"weights")
        monkeypatch.setenv("INGOT_DOCLING_MODELS", str(tmp_path / place))
        found.append(extraction_version(DOCLING)["model.docling.models"])
    (tmp_path / "two/layout/model.safetensors").write_bytes(b"others!")
    found.append(extraction_version(DOCLING)["model.docling.models"])
    assert found[0] == found[1] != found[2]
    assert not {name for name in extraction_version(ExtractOptions()) if "docling" in name} - {"extract.docling_engine"}


@pytest.mark.skipif(
    importlib.util.find_spec("docling") is None or not os.environ.get("INGOT_DOCLING_MODELS"),
    reason="needs docling and a local folder of its models (INGOT_DOCLING_MODELS)",
)
def test_a_pdf_is_read_by_docling() -> None:
    (document,) = extract(PAGE, "a.pdf", None, DOCLING).documents
    assert "Words of a page that docling reads." in document.text
    assert document.metadata["pdf_engine"] == "docling"
