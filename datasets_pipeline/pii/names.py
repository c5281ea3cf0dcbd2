"""Names of persons, by a local model (name_model.py): runs of words that it labels so."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator

import numpy as np
import pyarrow as pa

from datasets_pipeline.pii.found import Found
from datasets_pipeline.pii.name_model import Word, label_words

KIND = "person"

_BETWEEN = re.compile(r"[ \t]*\n?[ \t]*|[ \t]?[-'\u2019.][ \t]?")
"""What may stand between two words of one name."""


def find_names(
    text: pa.LargeStringArray, uri: str, *, labels: Collection[str], min_score: float
) -> Iterator[tuple[int, list[Found]]]:
    """(row, its names) of every row that has any; their value is in small letters with single blanks."""
    for row, words in enumerate(label_words(text.to_pylist(), uri)):
        content = text[row].as_py()
        # A lone hyphen between names that were not sure enough is no name.
        names = [(a, b) for a, b in _names(content, words, labels, min_score) if any(map(str.isalpha, content[a:b]))]
        if names:
            offsets = byte_offsets(content)
            yield row, [Found(int(offsets[a]), int(offsets[b]), KIND, _value(content[a:b])) for a, b in names]


def _names(text: str, words: Iterable[Word], labels: Collection[str], min_score: float) -> Iterator[tuple[int, int]]:
    """[start, end) in characters."""
    start = end = -1
    for word in words:
        prefix, label = word.label.split("-", 1) if word.label[:2] in ("B-", "I-") else ("I", word.label)
        a, b = _without_blanks(text, word.start, word.end)
        if label not in labels or word.score < min_score or a == b:
            if start >= 0:
                yield start, end
            start = -1
        elif start >= 0 and prefix != "B" and _BETWEEN.fullmatch(text, end, a):
            end = b
        else:
            if start >= 0:
                yield start, end
            start, end = a, b
    if start >= 0:
        yield start, end


def _without_blanks(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _value(name: str) -> bytes:
    return " ".join(unicodedata.normalize("NFC", name).casefold().split()).encode()


def byte_offsets(text: str) -> np.ndarray:
    """int64 [len(text) + 1]: the UTF-8 byte at which each character starts, and where the last one ends."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    widths = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
    return np.concatenate([[0], np.cumsum(widths)])
