"""Real PDFs against two other readers: docling's reference conversions, and poppler's pdftotext where it is here.

Words are compared as multisets, lower case, from three letters on. The floors are what was measured, rounded down.
"""

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from datasets_pipeline.extract import extract
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.sources.base import ExtractionError
from tests.extract.real_documents import unpack

OPTIONS = ExtractOptions(ocr_languages=None)
WORD = re.compile(r"\w{3,}")
REFERENCE_RECALL = {
    "code_and_formula": 0.99, "multi_page": 0.99, "normal_4pages": 0.99, "table_mislabeled_as_picture": 0.99,
    "right_to_left_01": 0.97, "right_to_left_03": 0.97,
}  # fmt: skip


def read(path: Path) -> str:
    return "\n".join(document.text for document in extract(path.read_bytes(), path.name, None, OPTIONS).documents)


def recall(reference: str, text: str) -> float:
    expected, found = Counter(WORD.findall(reference.lower())), Counter(WORD.findall(text.lower()))
    return sum((expected & found).values()) / max(expected.total(), 1)


def test_pdfs_with_a_reference_conversion_give_its_words(tmp_path):
    root = unpack(
        "docling-tests",
        tmp_path,
        suffixes=tuple(f"/{name}{end}" for name in REFERENCE_RECALL for end in (".pdf", ".md")),
    )
    measured = {}
    for file in root.rglob("sources/*.pdf"):
        reference = root / "tests/data/pdf/groundtruth" / f"{file.stem}.md"
        measured[file.stem] = round(recall(reference.read_text("utf-8"), read(file)), 3)
    assert measured.keys() == REFERENCE_RECALL.keys()
    assert {name for name, floor in REFERENCE_RECALL.items() if measured[name] < floor} == set(), measured


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="needs pdftotext (apt install poppler-utils)")
def test_pdfs_of_all_kinds_give_the_words_that_poppler_finds(tmp_path):
    names = (
        "/EFT_Enrollment_Form.pdf", "/copy-protected.pdf", "/all-number-table.pdf", "/embedded-link.pdf",
        "/webCapture.pdf", "/text_document_01.odt.pdf", "/odf_presentation_01.odp.pdf", "/lorem-ipsum.pdf",
        "/Lorem Ipsum - Andrew Jackson.pdf",
    )  # fmt: skip
    measured = {}
    for source in ("18f-handbook", "docling-tests", "format-corpus", "unstructured-examples"):
        root = unpack(source, tmp_path, suffixes=names)
        for file in root.rglob("*.pdf"):
            done = subprocess.run(["pdftotext", str(file), "-"], capture_output=True, check=True)
            measured[str(file.relative_to(tmp_path))] = recall(done.stdout.decode("utf-8"), read(file))
    assert len(measured) >= 11
    assert {name: value for name, value in measured.items() if value < 0.98} == {}


def test_a_report_loses_its_running_headers_and_nothing_else(tmp_path):
    root = unpack("format-corpus", tmp_path, suffixes=("/test_fontArialNotEmbedded.pdf",))
    (file,) = root.rglob("*.pdf")
    text = read(file)
    assert "Author: Johan van der Knijff" not in text  # 53 times in the file
    assert "# Inventory of long-term preservation risks" in text
    assert text.count("20-10-2009") < 10  # in every footer, beside the page number
    assert "\n2.2.3 Cross-reference table ... 10\n" in text  # of the table of contents
    assert len(re.findall(r"^#+ \d", text, re.MULTILINE)) > 60


def test_arabic_and_persian_are_in_reading_order_with_whole_ligatures(tmp_path):
    root = unpack("docling-tests", tmp_path, suffixes=("/right_to_left_01.pdf",))
    (file,) = root.rglob("*.pdf")
    text = read(file)
    assert text.startswith("# تحسين الإنتاجية وحل المشكلات من خلال البرمجة بلغة R")
    assert "يمتلك كل من R و Python ميزات فريدة" in text


def test_broken_and_protected_pdfs_have_the_reason_they_deserve(tmp_path):
    root = unpack("format-corpus", tmp_path, suffixes=(".pdf",), limit=200)
    outcomes = {}
    for file in sorted(root.rglob("*.pdf")):
        try:
            outcomes[file.name] = (
                "read" if extract(file.read_bytes(), file.name, None, OPTIONS).documents else "nothing"
            )
        except ExtractionError as error:
            outcomes[file.name] = error.reason
    assert outcomes["encryption_openpassword.pdf"] == outcomes["simple-open-password.pdf"] == "encrypted"
    assert outcomes["encryption_nocopy.pdf"] == outcomes["corruptionOneByteMissing.pdf"] == "read"
    assert outcomes["T02-02_001_no-page-tree-node.pdf"] == outcomes["minimal_test.pdf"] == "parser_error"
    assert outcomes["T04_002_EOF-missing.pdf"] == outcomes["T03_001_no-cross-reference-table.pdf"] == "read"
    assert outcomes["T02-03_010_page-object-missing-contents.pdf"] == "empty"
    assert outcomes["veraPDFHiRes.pdf"] == "no_text_layer"
    counted = Counter(outcomes.values())
    assert set(counted) == {"read", "encrypted", "parser_error", "empty", "no_text_layer"}, counted
    assert counted["read"] > 70
