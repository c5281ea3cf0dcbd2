"""Inputs far from ordinary pages: all of them come through, and the books say what became of them."""

from pathlib import Path

import pytest

from benchmarks import degenerate
from benchmarks.large_corpus import SENTENCES_OF

pytestmark = pytest.mark.skipif(
    not SENTENCES_OF.is_file(), reason="needs docs.tar.xz of the shared data (../shared/data/near_duplicates)"
)


def books(case: str, size: int, folder: Path) -> dict[str, int]:
    write, _ = degenerate.CASES[case]
    return degenerate.processor_seconds(write, size, folder)[1]


def test_a_page_in_many_places_is_one_document(tmp_path: Path) -> None:
    found = books("copies", 3000, tmp_path)
    assert (found["occurrences"], found["documents"], found["kept"] + found["heldout"]) == (3000, 1, 1)


def test_of_pages_that_differ_in_a_word_one_stays(tmp_path: Path) -> None:
    found = books("near_copies", 600, tmp_path)
    assert (found["documents"], found["kept"] + found["heldout"]) == (600, 1)
    assert found.get("dropped.near_duplicate", 0) + found.get("dropped.excluded_near_heldout", 0) == 599


def test_one_large_document_is_one_document(tmp_path: Path) -> None:
    found = books("one_document", 3, tmp_path)
    assert (found["occurrences"], found["documents"]) == (1, 1)


def test_records_without_text_are_no_documents(tmp_path: Path) -> None:
    found = books("empty", 2000, tmp_path)
    assert (found["occurrences"], found["documents"]) == (1, 1)


@pytest.mark.parametrize(("case", "letter_bytes"), [("ideographs", 3), ("emoji", 4)])
def test_texts_without_words_and_spaces_are_told_apart(case: str, letter_bytes: int, tmp_path: Path) -> None:
    found = books(case, 1, tmp_path)
    assert found["documents"] == 1_000_000 // (1000 * letter_bytes)
    assert "dropped.near_duplicate" not in found
