"""Real office files beside the conversions of another tool (docling), by their words."""

import html
import re
from collections import Counter
from pathlib import Path

import pytest

from datasets_pipeline.extract import ExtractOptions, extract
from datasets_pipeline.sources.base import ExtractionError
from tests.extract.real_documents import unpack

WORD = re.compile(r"[^\W_]+")
SUFFIXES = (".docx", ".pptx", ".xlsx", ".ods", ".odt", ".odp")
# Words of the reference that are not read, by decision: comments of reviewers, and `left`, `times`, `pi` of formulas
# whose signs stand here as Unicode. The other shares are below one for values of merged cells, which the reference
# repeats, numbers of automatic headings and lists, and addresses of links.
COMMENTED = {"powerpoint_comments.pptx", "xlsx_comments.xlsx"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docling")
    return unpack("docling-tests", folder, suffixes=(*SUFFIXES, *(f"{suffix}.md" for suffix in SUFFIXES)), limit=200)


def words(text: str) -> Counter[str]:
    return Counter(WORD.findall(text.lower()))


def text_of(path: Path) -> str:
    return "\n".join(d.text for d in extract(path.read_bytes(), path.name, None, ExtractOptions()).documents)


def test_office_files_keep_the_words_of_their_references(root: Path) -> None:
    shares: dict[str, tuple[float, float]] = {}
    for path in sorted(root.glob("tests/data/*/sources/*")):
        reference = path.parents[1] / "groundtruth" / f"{path.name}.md"
        if path.suffix not in SUFFIXES or not reference.is_file():
            continue
        stated = re.sub(
            r"!\[[^\]]*\]\([^)]*\)|\]\([^)]*\)|<!--.*?-->", " ", html.unescape(reference.read_text("utf-8"))
        )
        expected, found = words(stated), words(text_of(path))
        kinds = len(expected.keys() & found.keys()) / len(expected)
        shares[path.name] = ((expected & found).total() / expected.total(), kinds)
    assert len(shares) >= 35
    low = {name: share for name, share in shares.items() if share[1] < 0.8 and name not in COMMENTED}
    assert not low
    assert sum(share for share, _ in shares.values()) / len(shares) >= 0.9
    assert sum(kinds for _, kinds in shares.values()) / len(shares) >= 0.94


def test_every_office_file_of_the_examples_gives_text(tmp_path: Path) -> None:
    for source in ("unstructured-examples", "18f-handbook"):
        folder = unpack(source, tmp_path, suffixes=(*SUFFIXES, "_mult.doc"), limit=60)
        paths = [path for path in folder.rglob("*") if path.is_file()]
        assert len(paths) >= 3
        for path in paths:
            try:
                assert text_of(path), path.name
            except ExtractionError as error:
                pytest.fail(error.message)


def test_one_text_in_three_formats_gives_the_same_words(tmp_path: Path) -> None:
    folder = unpack("unstructured-examples", tmp_path, suffixes=("eng_spa_mult.docx", "eng_spa_mult.odt"))
    (docx,), (odt,) = folder.rglob("*.docx"), folder.rglob("*.odt")
    assert words(text_of(docx)) == words(text_of(odt))
    assert words(text_of(docx)).total() > 400
