"""Parsers with a program, a library of C or data files of their own work behind the walls too."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from datasets_pipeline.extract import html_direct
from datasets_pipeline.jail.parent import Jail
from datasets_pipeline.sources.base import FileEntry
from tests.extract.real_documents import unpack


@pytest.fixture(scope="module")
def jail() -> Iterator[Jail]:
    made = Jail(machine_code=html_direct.machine_code)
    yield made
    made.close()


def read(jail: Jail, name: str, data: bytes) -> str:
    values = {"name": "real", "uri": "/nowhere"}
    return "\n\n".join(d.text for d in jail.extract("folder", values, FileEntry(name, len(data)), data).documents)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    suffixes = ("/fake.doc", "eng_spa_mult.rtf", "/simple.docx", "/simple.odt", "fake-html.html", ".pdf")
    root = unpack("unstructured-examples", tmp_path_factory.mktemp("real"), suffixes=suffixes, max_bytes=1 << 19)
    return root / "example-docs"


@pytest.mark.parametrize("name", ["simple.docx", "simple.odt", "fake-html.html", "pdf/emphasis-text.pdf"])
def test_office_files_pages_and_pdfs_are_read(jail: Jail, examples: Path, name: str) -> None:
    assert len(read(jail, name, (examples / name).read_bytes()).split()) >= 5


@pytest.mark.parametrize("name", ["fake.doc", "language-docs/eng_spa_mult.rtf"])
def test_the_converter_for_old_formats_runs(jail: Jail, examples: Path, name: str) -> None:
    if shutil.which("soffice") is None:
        pytest.skip("LibreOffice is not installed")
    assert len(read(jail, name, (examples / name).read_bytes()).split()) >= 5


def test_text_recognition_runs(jail: Jail) -> None:
    if shutil.which("tesseract") is None:
        pytest.skip("tesseract is not installed")
    picture = Image.new("RGB", (1400, 300), "white")
    ImageDraw.Draw(picture).text((40, 80), "The furnace is cold on Monday", fill="black", font_size=80)
    data = io.BytesIO()
    picture.save(data, "PNG")
    assert "furnace is cold" in read(jail, "scan.png", data.getvalue())
