"""Real files of every type give text, and those that another tool cannot read give a reason.

The whole collection, with its numbers, is measured by benchmarks/raw_documents.py; here are the files that are odd.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from datasets_pipeline.jail.parent import Jail
from datasets_pipeline.sources.base import ExtractionError, FileEntry
from tests.extract.real_documents import unpack

_LIST = Path(__file__).with_name("expected_failures.tsv")
_NEED_CONVERTER = (".doc", ".rtf", ".ppt")
_DIFFERENCES = Path(__file__).with_name("known_differences.tsv")


@pytest.fixture(scope="module")
def jail() -> Iterator[Jail]:
    made = Jail()
    yield made
    made.close()


@pytest.mark.parametrize("source", ["docling-tests", "format-corpus", "mail-fixtures", "unstructured-examples"])
def test_what_another_tool_cannot_read_fails_with_its_reason_and_nothing_else_does(
    jail: Jail, tmp_path: Path, source: str
) -> None:
    root = unpack(source, tmp_path, suffixes=("",), every=3, limit=1000, max_bytes=1 << 18)
    lines = (line.split("\t") for line in _LIST.read_text().splitlines()[1:])
    expected = {path: reason.split("|") for path, reason, _ in lines}
    differences = (line.split("\t") for line in _DIFFERENCES.read_text().splitlines()[1:])
    # A difference in words alone is no failure on either side.
    differing = {path for path, kind, _ in differences if kind in ("unexpected", "read", "reason")}
    num_read = 0
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        uri = path.relative_to(tmp_path).as_posix()
        if uri in differing or (path.suffix in _NEED_CONVERTER and shutil.which("soffice") is None):
            continue
        # Without text recognition, as on most machines: its reading of small pictures is another matter.
        values = {"name": "real", "uri": "/nowhere", "ocr_languages": None}
        try:
            result = jail.extract("folder", values, FileEntry(uri, path.stat().st_size), path.read_bytes())
        except ExtractionError as error:
            assert uri in expected and error.reason in expected[uri], f"{error.reason}: {error}"
            continue
        assert result.documents or result.rejects, uri
        assert uri not in expected or not result.documents, f"{uri} was expected to give nothing: {expected[uri]}"
        num_read += bool(result.documents)
    assert num_read >= 15
