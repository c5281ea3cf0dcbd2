"""Which rows are headings, and of which level: by font size, by weight, by the numbers of sections."""

import re
from collections import Counter
from collections.abc import Sequence

from datasets_pipeline.extract.page_lines import Row, Segment
from datasets_pipeline.extract.page_marks import BULLET, NUMBERED, SECTION

_RATIO = 1.12  # of the body's size
_NUMBERED_RATIO = 1.05
_MAX_CHARACTERS, _MAX_ROWS = 200, 4
_MAX_GAP = 1.9  # font sizes between the rows of one heading
_LEVELS = 6
_TEXT_SHARE = 0.25  # of the characters, from which a larger size is text, not headings


class Typography:
    """The body's font size, and which sizes are headings of which level."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        characters: Counter[float] = Counter()
        for segment in segments:
            characters[_rounded(segment.size)] += len(segment.text)
        total = characters.total()
        self.body = max(characters, key=lambda size: (characters[size], size)) if characters else 10.0
        larger = sorted((size for size in characters if self.is_larger(size)), reverse=True)
        self._levels: dict[float, int] = {}
        last, level = 0.0, 0
        for size in larger:
            if characters[size] > _TEXT_SHARE * total:
                continue
            if not last or size < 0.94 * last:
                last, level = size, level + 1
            self._levels[size] = min(level, _LEVELS)
        bold = sum(len(s.text) for s in segments if s.bold)
        self.body_is_bold = 2 * bold > total
        fixed = sum(len(s.text) for s in segments if s.monospaced)
        self.body_is_monospaced = 2 * fixed > total
        self.bold_level = min(level + 1, _LEVELS)

    def is_larger(self, size: float) -> bool:
        return size >= _RATIO * self.body

    def level_of(self, size: float) -> int:
        """The level of a heading in this font size, 0 for none."""
        return self._levels.get(_rounded(size), 0)


def levels_of(rows: Sequence[Row], typography: Typography) -> list[int]:
    """Level of each row as a heading, 0 for none. What runs over many lines is large text, not a heading."""
    levels = [_heading_level(rows, index, typography) for index in range(len(rows))]
    start = 0
    for end in range(1, len(rows) + 1):
        if end < len(rows) and levels[end] == levels[start] and is_same_heading(rows[end - 1], rows[end]):
            continue
        if end - start > _MAX_ROWS or sum(len(row.text) for row in rows[start:end]) > _MAX_CHARACTERS:
            levels[start:end] = [0] * (end - start)
        start = end
    return levels


def _heading_level(rows: Sequence[Row], index: int, typography: Typography) -> int:
    row = rows[index]
    text = row.text
    letters = sum(character.isalpha() for character in text)
    if len(text) > _MAX_CHARACTERS or letters < 3 or 2 * letters < len(text.replace(" ", "")) or BULLET.match(text):
        return 0
    level = typography.level_of(row.size)
    if level:
        return level
    if row.size >= _NUMBERED_RATIO * typography.body and len(text) <= 100 and SECTION.match(text):
        return typography.bold_level
    # Bold on a line of its own, at the body's size: the lowest level.
    following = rows[index + 1] if index + 1 < len(rows) else None
    if (
        row.bold
        and not typography.body_is_bold
        and len(row.cells) == 1
        and len(text) <= 100
        and row.size >= 0.95 * typography.body
        and not re.search(r"[.,;:!?]$", text)
        and (text[0].isupper() or text[0].isdigit())
        and following is not None
        and not following.bold
        and following.bottom > row.bottom
        and len(following.cells) == 1
    ):
        return typography.bold_level
    return 0


def is_same_heading(above: Row, row: Row) -> bool:
    """Whether a row looks like, and stands close below, the row above."""
    step = row.bottom - above.bottom
    same = abs(row.size - above.size) < 0.06 * row.size and row.bold == above.bold
    return same and 0 < step <= _MAX_GAP * max(above.size, 1.0) and not NUMBERED.match(row.text)


def _rounded(size: float) -> float:
    return round(size * 2) / 2
