"""docling as an engine for PDF: what is told where it or its models are missing, what its version covers, and real
conversions where it is installed: with the models of INGOT_DOCLING_MODELS, else with random weights."""

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from datasets_pipeline.extract import ExtractOptions, docling_engine, extract, extraction_version
from datasets_pipeline.sources.base import ExtractionError
from tests.extract.docling_models import write_docling_models
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


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of docling's models: the one that is set, else one with random weights."""
    for package in ("docling", "torchvision"):
        pytest.importorskip(package, reason=f"needs {package}, which is not installed")
    if place := os.environ.get("INGOT_DOCLING_MODELS"):
        return place
    folder = tmp_path_factory.mktemp("docling")
    write_docling_models(folder)
    return str(folder)


def test_a_pdf_is_read_by_docling(models: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGOT_DOCLING_MODELS", models)
    (document,) = extract(PAGE, "a.pdf", None, DOCLING).documents
    assert "Words of a page that docling reads." in document.text
    assert document.metadata["pdf_engine"] == "docling"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("DefaultCPUAllocator: can't allocate memory", "memory_limit"), ("cannot reshape", "parser_error")],
)
def test_a_lost_page_refuses_the_pdf(models: str, monkeypatch: pytest.MonkeyPatch, fault: str, reason: str) -> None:
    from docling.models.stages.layout.layout_object_detection_model import LayoutObjectDetectionModel

    def lose(self: object, run: object, pages: list[Any]) -> list[Any]:
        if any(page.page_no == 2 for page in pages):
            raise RuntimeError(fault)
        return read(self, run, pages)  # type: ignore[arg-type, return-value]

    read = LayoutObjectDetectionModel.predict_layout
    monkeypatch.setattr(LayoutObjectDetectionModel, "predict_layout", lose)
    monkeypatch.setenv("INGOT_DOCLING_MODELS", models)
    pages = write_pdf([[Text(72, 700, f"Words of page {number}.")] for number in range(1, 9)])
    with pytest.raises(ExtractionError) as refused:
        extract(pages, "a.pdf", None, DOCLING)
    assert refused.value.reason == reason


def test_a_folder_without_the_layout_model_says_what_fills_it(
    models: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("INGOT_DOCLING_MODELS", str(tmp_path))
    assert "docling-tools models download" in told()


def test_tables_are_read_only_where_their_model_lies(
    models: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The models of TableFormerV2, which docling does not use by default, are not enough."""
    shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    (tmp_path / "docling-project--TableFormerV2").mkdir()
    monkeypatch.setenv("INGOT_DOCLING_MODELS", str(tmp_path))
    assert extract(PAGE, "a.pdf", None, DOCLING).documents
    tables = tmp_path / "docling-project--docling-models/model_artifacts/tableformer/accurate"
    tables.mkdir(parents=True)
    (tables / "tm_config.json").write_text("not a configuration")
    docling_engine._converter.cache_clear()
    assert "docling cannot load the models" in told()
