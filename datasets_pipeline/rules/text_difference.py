"""The edits that turn one text into another, as spans: by lines, and by tokens inside changed lines.

`apply_spans(before, spans)` gives `after` exactly, but for outer blanks, which it strips. The spans are short, not the
shortest: a stretch too long to compare is replaced as a whole, so that time stays bounded.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher

from datasets_pipeline.rules.found_spans import Found

MAX_PAIRS = 1 << 20
"""Lines or tokens of one side times those of the other that are compared."""

MAX_EQUAL_PAIRS = 100_000
"""Pairs of equal lines or tokens up to which every one may start a match."""

_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")
_Change = tuple[int, int, str]
"""start and end in characters of the text before, and what stands there afterwards"""


def difference(before: str, after: str, kind: str) -> list[Found]:
    """Spans in UTF-8 bytes of `before`: sorted, not overlapping, none of them empty."""
    if before == after or not before:
        return []
    offsets = _byte_offsets(before)
    spans: list[Found] = []
    for start, end, text in _never_empty(before, _changes(before, after, 0, _lines)):
        spans.append((offsets[start], offsets[end], kind, text or None))
    return spans


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


def _changes(before: str, after: str, base: int, split: Callable[[str], list[str]]) -> list[_Change]:
    """Changes of a stretch that begins at character `base`; split is _lines or _tokens."""
    head = _common(before, after)
    tail = _common(before[head:][::-1], after[head:][::-1])
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    base += head
    if not old or not new:
        return [(base, base + len(old), new)] if old or new else []
    left, right = split(old), split(new)
    if len(left) * len(right) > MAX_PAIRS:
        return [(base, base + len(old), new)]
    found: list[_Change] = []
    starts = _starts(left)
    for tag, i1, i2, j1, j2 in _matcher(left, right).get_opcodes():
        if tag == "equal":
            continue
        was, becomes = "".join(left[i1:i2]), "".join(right[j1:j2])
        if split is _lines:
            found += _changes(was, becomes, base + starts[i1], _tokens)
        else:
            found.append((base + starts[i1], base + starts[i2], becomes))
    return found


def _matcher(left: list[str], right: list[str]) -> "SequenceMatcher[str]":
    """Where much is alike, parts that come often start no match: time would grow with the cube of their number."""
    counts = Counter(right)
    return SequenceMatcher(None, left, right, autojunk=sum(counts[part] for part in left) > MAX_EQUAL_PAIRS)


def _common(left: str, right: str) -> int:
    """Characters that both begin with."""
    most = min(len(left), len(right))
    if left[:most] == right[:most]:
        return most
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if left[:middle] == right[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _starts(parts: Sequence[str]) -> list[int]:
    starts = [0]
    for part in parts:
        starts.append(starts[-1] + len(part))
    return starts


def _never_empty(before: str, changes: Sequence[_Change]) -> list[_Change]:
    """Insertions take in a neighbouring character: a span covers something. Changes that touch become one."""
    joined: list[_Change] = []
    for start, end, text in changes:
        if start == end and start > 0:
            start, text = start - 1, before[start - 1] + text
        elif start == end:
            end, text = end + 1, text + before[end : end + 1]
        if joined and start < joined[-1][1]:
            # The character taken in was part of the change before.
            last_start, last_end, last_text = joined.pop()
            inserted = text[last_end - start :]
            start, end, text = last_start, max(last_end, end), last_text + inserted
        joined.append((start, end, text))
    return joined


def _byte_offsets(text: str) -> Sequence[int]:
    """Byte offset of each character and of the end."""
    if text.isascii():
        return range(len(text) + 1)
    offsets = [0]
    for character in text:
        offsets.append(offsets[-1] + len(character.encode()))
    return offsets
