"""Evaluation items planted in real documents, and a slow search for them that knows nothing of hashes."""

import gzip
import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from datasets_pipeline.normalize import normalize_text

SHARED = Path(__file__).parents[3] / "shared" / "data"
TASKS = SHARED / "tasks"
_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")


def records(name: str) -> list[dict[str, Any]]:
    with gzip.open(TASKS / f"{name}.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


@lru_cache(maxsize=8)
def real_documents(archive: str, num: int, *, least: int = 2000) -> tuple[str, ...]:
    """The first Markdown pages of an archive that have so many characters."""
    found: list[str] = []
    with tarfile.open(SHARED / "raw_documents" / f"{archive}.tar.xz") as files:
        for member in files:
            if member.isfile() and member.name.endswith(".md"):
                file = files.extractfile(member)
                assert file is not None
                text = normalize_text(file.read().decode("utf-8", "replace"))
                if len(text) >= least:
                    found.append(text)
                if len(found) == num:
                    break
    assert len(found) == num
    return tuple(found)


def words(text: str) -> list[tuple[str, int, int]]:
    """(normalised word, start, end in characters), for ASCII text: lower case, numbers alike."""
    plain = _NUMBER.sub(lambda found: "0" * (found.end() - found.start()), text.lower())
    return [(re.sub("0+", "0", m.group()), m.start(), m.end()) for m in _WORD.finditer(plain)]


def grams_of(parts: Sequence[str], n: int, shortest: int) -> Iterator[tuple[str, ...]]:
    """The grams of an item by the definition: of each part, and of all parts in a row."""
    tokens = [[word for word, _, _ in words(part)] for part in parts]
    for piece in [*tokens, [word for part in tokens for word in part]] if len(tokens) > 1 else tokens:
        runs = [piece] if shortest <= len(piece) < n else [piece[i : i + n] for i in range(len(piece) - n + 1)]
        yield from (tuple(run) for run in runs if 2 * sum(word != "0" for word in run) >= len(run))


def slow_search(text: str, items: Sequence[Sequence[str]], n: int, shortest: int) -> tuple[set[int], list[list[int]]]:
    """(items hit, spans in characters) by comparing words; template n-grams are not left out."""
    found = words(text)
    by_gram: dict[tuple[str, ...], set[int]] = {}
    for number, parts in enumerate(items):
        for gram in grams_of(parts, n, shortest):
            by_gram.setdefault(gram, set()).add(number)
    hit: set[int] = set()
    covered: list[list[int]] = []
    lengths = sorted({len(gram) for gram in by_gram})
    for start in range(len(found)):
        for length in lengths:
            gram = tuple(word for word, _, _ in found[start : start + length])
            if len(gram) == length and gram in by_gram:
                hit |= by_gram[gram]
                covered.append([found[start][1], found[start + length - 1][2]])
    spans: list[list[int]] = []
    for start, end in sorted(covered):
        if spans and start <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], end)
        else:
            spans.append([start, end])
    return hit, spans
