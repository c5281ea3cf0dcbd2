"""Real documents for tests: the shared near-duplicate collection, read from its archive, never committed."""

import json
import tarfile
from functools import lru_cache
from pathlib import Path

import pytest

ARCHIVE = Path(__file__).parents[3] / "shared" / "data" / "near_duplicates" / "docs.tar.xz"


@lru_cache(maxsize=1)
def _every_seventh() -> tuple[tuple[str, str], ...]:
    with tarfile.open(ARCHIVE) as archive:
        lines = archive.extractfile("docs.jsonl")
        assert lines is not None
        rows = [json.loads(line) for number, line in enumerate(lines) if number % 7 == 0]
    return tuple((row["lang"], row["text"]) for row in rows)


def real_documents(*, language: str | None = None, limit: int | None = None) -> list[str]:
    """About 1,000 texts, of one language or of all; skips the test where the collection is absent."""
    return [text for _, text in labelled_documents(language=language, limit=limit)]


def labelled_documents(*, language: str | None = None, limit: int | None = None) -> list[tuple[str, str]]:
    """(language code, text) of the same documents."""
    if not ARCHIVE.is_file():
        pytest.skip("the shared data set near_duplicates/docs.tar.xz is absent")
    rows = [(code, text) for code, text in _every_seventh() if language in (None, code)]
    return rows[:limit]
