"""Regions of rows into blocks: paragraphs, headings, list items, tables, code.

What is judged: font sizes against the body's, the room left at a line's end (a line that had room for the next
word was ended on purpose), leading, indents, marks of lists. Nothing here depends on the words but list marks and
the punctuation at a line's end.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from datasets_pipeline.extract.page_hyphens import Joiner, is_cut
from datasets_pipeline.extract.page_lines import Row, Segment, is_right_to_left
from datasets_pipeline.extract.page_tables import column_rows

PARAGRAPH, HEADING, ITEM, TABLE, CODE, ASIDE = "paragraph", "heading", "item", "table", "code", "aside"

_BULLETS = "•◦▪▫■□●○‣⁃∙·►➢➤✓✔❖◆◊\uf0b7\uf0a7\uf0d8\uf076\uf0fc"
_BULLET = re.compile(rf"(?:[{_BULLETS}]|[-–—*](?=\s))\s*")
_NUMBERED = re.compile(
    r"(?:\(?\d{1,3}[.)]|\d{1,2}(?:\.\d{1,2}){1,4}\.?|\([a-z]{1,4}\)|[a-zA-Z][.)]|\[\d{1,3}\])(?=\s+\S)"
)
_SENTENCE_END = re.compile(r"[.!?:;。！？؟…][\"'”’)\]]*$")
_HEADING_RATIO = 1.12
_MAX_HEADING = 200  # characters
_LEVELS = 6


@dataclass(slots=True)
class Block:
    """A piece of the document. level: of a heading from 1, of a list item from 0. lines: of code and tables.

    is_open: a paragraph that may go on in the next region, because nothing ended it.
    """

    kind: str
    text: str = ""
    level: int = 0
    lines: list[str] = field(default_factory=list)
    is_open: bool = False
    is_first: bool = False
    """The first block of its region: what an open paragraph may go on with."""


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
            if characters[size] > 0.25 * total:
                continue  # a second text size, not a heading
            if not last or size < 0.94 * last:
                last, level = size, level + 1
            self._levels[size] = min(level, _LEVELS)
        bold = sum(len(s.text) for s in segments if s.bold)
        self.body_is_bold = 2 * bold > total
        fixed = sum(len(s.text) for s in segments if s.monospaced)
        self.body_is_monospaced = 2 * fixed > total
        self.bold_level = min(level + 1, _LEVELS)

    def is_larger(self, size: float) -> bool:
        return size >= _HEADING_RATIO * self.body

    def level_of(self, size: float) -> int:
        """The level of a heading in this font size, 0 for none."""
        return self._levels.get(_rounded(size), 0)


def blocks_of(rows: list[Row], typography: Typography, joiner: Joiner) -> list[Block]:
    """The blocks of one region, in order."""
    blocks: list[Block] = []
    position = 0
    region = _Region(rows)
    while position < len(rows):
        for take in (_code, _table, _heading):
            end, block = take(rows, position, typography, joiner)
            if block is not None:
                blocks.append(block)
                position = end
                break
        else:
            position, paragraph = _paragraph(rows, position, typography, joiner, region)
            blocks.append(paragraph)
    if blocks:
        blocks[0].is_first = True
    return blocks


class _Region:
    """Edges, leading and indents of a region."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.left = min((row.left for row in rows), default=0.0)
        self.right = max((row.right for row in rows), default=0.0)
        steps = [b.bottom - a.bottom for a, b in zip(rows, rows[1:], strict=False) if abs(a.size - b.size) < 0.6]
        close = [step for step, row in zip(steps, rows, strict=False) if 0.8 * row.size < step < 2.2 * row.size]
        self.leading = median(close) if close else None
        self.item_edges: list[float] = []


def _code(rows: list[Row], start: int, typography: Typography, joiner: Joiner) -> tuple[int, Block | None]:
    """At least two rows in a monospaced font, where the body is in another; indents by the width of a character."""
    end = start
    while end < len(rows) and rows[end].monospaced and (end == start or _gap(rows[end - 1], rows[end]) < 2.5):
        end += 1
    if typography.body_is_monospaced or end - start < 2:
        return start, None
    block = rows[start:end]
    left = min(row.left for row in block)
    widths = [(row.right - row.left) / len(row.text) for row in block if row.text]
    width = max(median(widths), 0.1)
    lines = [" " * min(round((row.left - left) / width), 80) + _spaced(row, width) for row in block]
    return end, Block(CODE, lines=lines)


def _spaced(row: Row, width: float) -> str:
    text, right = row.cells[0].text, row.cells[0].right
    for cell in row.cells[1:]:
        text += " " * max(1, min(round((cell.left - right) / width), 80)) + cell.text
        right = cell.right
    return text


def _table(rows: list[Row], start: int, typography: Typography, joiner: Joiner) -> tuple[int, Block | None]:
    """At least two rows with cells, and the lines of wrapped cells between them."""
    end, last = start, start
    while end < len(rows):
        if _num_cells(rows[end]) < 2:
            continues = end > start and _continues_a_cell(rows[last], rows[end])
            if not continues or _gap(rows[end - 1], rows[end]) > 1.6:
                break
        elif end > start and _gap(rows[end - 1], rows[end]) > 4:
            break
        else:
            last = end
        end += 1
    end = last + 1
    if sum(_num_cells(row) >= 2 for row in rows[start:end]) < 2 and _num_cells(rows[start]) < 3:
        return start, None
    return end, Block(TABLE, lines=column_rows(rows[start:end], joiner))


def _num_cells(row: Row) -> int:
    """Cells of a row; the mark of a list item before its text is none."""
    marked = len(row.cells) > 1 and (_is_mark(row.cells[0].text) or _is_mark(row.cells[-1].text))
    return len(row.cells) - (1 if marked else 0)


def _is_mark(text: str) -> bool:
    return (
        bool(_BULLET.fullmatch(text) or _BULLET.fullmatch(text + " ") or _NUMBERED.match(text + " x"))
        and len(text) <= 8
        and not text.isdigit()
    )


def _continues_a_cell(row: Row, rest: Row) -> bool:
    """Whether a row with fewer cells lies wholly under the cells of the row before, not under the first one."""
    under = [cell for cell in row.cells[1:] for part in rest.cells if part.left < cell.right and cell.left < part.right]
    return len(under) >= len(rest.cells) and rest.left > row.cells[0].right


def _gap(above: Row, below: Row) -> float:
    """Distance of two rows' bottoms in font sizes; a large number where the second is higher up."""
    step = below.bottom - above.bottom
    return step / max(above.size, 1.0) if step > 0 else 99.0


def _heading(rows: list[Row], start: int, typography: Typography, joiner: Joiner) -> tuple[int, Block | None]:
    level = _heading_level(rows, start, typography)
    if not level:
        return start, None
    end, text = start + 1, rows[start].text
    while end < len(rows) and len(text) < _MAX_HEADING:
        row = rows[end]
        same = abs(row.size - rows[start].size) < 0.06 * row.size and row.bold == rows[start].bold
        if not same or _heading_level(rows, end, typography) != level or _gap(rows[end - 1], row) > 1.9:
            break
        text = joiner.join(text, row.text)
        end += 1
    return end, Block(HEADING, " ".join(text.split()), level)


def _heading_level(rows: list[Row], index: int, typography: Typography) -> int:
    row = rows[index]
    text = row.text
    letters = sum(character.isalpha() for character in text)
    if len(text) > _MAX_HEADING or letters < 3 or 2 * letters < len(text.replace(" ", "")) or _BULLET.match(text):
        return 0
    level = typography.level_of(row.size)
    if level:
        return level
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


def _paragraph(
    rows: list[Row], start: int, typography: Typography, joiner: Joiner, region: _Region
) -> tuple[int, Block]:
    first = rows[start]
    text, kind, level = first.text, PARAGRAPH, 0
    bullet = _BULLET.match(text)
    numbered = _NUMBERED.match(text)
    if bullet and bullet.end() < len(text):
        text, kind = "- " + text[bullet.end() :].lstrip(), ITEM
    elif numbered:
        kind = ITEM
    if kind == ITEM:
        level = _item_level(first.left, region)
    end = start + 1
    ended = False
    while end < len(rows):
        if not _goes_on(rows, end, kind, typography, region, first):
            ended = True
            break
        broken = _was_ended(rows[end - 1], rows[end], region)
        text = f"{text}\n{rows[end].text}" if broken else joiner.join(text, rows[end].text)
        end += 1
    is_open = not ended and not _SENTENCE_END.search(text) and (kind in (PARAGRAPH, ITEM))
    return end, Block(kind, text, level, is_open=is_open)


def _item_level(left: float, region: _Region) -> int:
    """How deep a list item is indented, among the items of its region."""
    edges = region.item_edges
    while edges and left < edges[-1] - 4:
        edges.pop()
    if not edges or left > edges[-1] + 4:
        edges.append(left)
    return min(len(edges) - 1, 5)


def _goes_on(rows: list[Row], index: int, kind: str, typography: Typography, region: _Region, first: Row) -> bool:
    """Whether a row belongs to the paragraph of the row before."""
    row, last = rows[index], rows[index - 1]
    if abs(row.size - last.size) > 0.12 * last.size or _num_cells(row) > 1 or _num_cells(last) > 1:
        return False
    if row.monospaced != last.monospaced and not typography.body_is_monospaced and len(row.text) > 3:
        return False
    step = row.bottom - last.bottom
    leading = region.leading or 1.45 * last.size
    if not 0 < step <= 1.3 * max(leading, last.size):
        return False
    if (_BULLET.match(row.text) and not _is_separator(row, last)) or _heading_level(rows, index, typography):
        return False
    if is_cut(last.text):
        return True
    if _NUMBERED.match(row.text) and (kind == ITEM or _SENTENCE_END.search(last.text)):
        return False
    if kind == ITEM:
        return not (row.left < first.left - 4 and _SENTENCE_END.search(last.text))
    if _SENTENCE_END.search(last.text):
        if _room_after(last, region) > _first_word_width(row) + row.size:
            return False
        backwards = is_right_to_left(row.text)
        indent = last.right - row.right if backwards else row.left - last.left
        following = rows[index + 1] if index + 1 < len(rows) else None
        if 0.8 * row.size < indent < 6 * row.size and (
            following is None or backwards or following.left < row.left - 0.5 * row.size
        ):
            return False
    return True


def _is_separator(row: Row, last: Row) -> bool:
    """A dot that parts keywords, and happens to stand at the start of a line."""
    return row.text[0] in "·∙•" and row.text[0] in last.text[1:]


def _was_ended(last: Row, row: Row, region: _Region) -> bool:
    """Whether the line before was ended on purpose: the next word had fitted, with plenty of room."""
    if is_cut(last.text) or row.text[0].islower():
        return False
    return _room_after(last, region) > max(_first_word_width(row) + 2 * row.size, 0.3 * (region.right - region.left))


def _room_after(row: Row, region: _Region) -> float:
    if is_right_to_left(row.text):
        return row.left - region.left
    return region.right - row.right


def _first_word_width(row: Row) -> float:
    text = row.text
    return (row.right - row.left) * len(text.split(" ", 1)[0]) / max(len(text), 1)


def _rounded(size: float) -> float:
    return round(size * 2) / 2


def merged(blocks: Iterable[Block], joiner: Joiner) -> list[Block]:
    """Paragraphs that a column or page end cut, put together: open ones, with one that starts in lower case."""
    result: list[Block] = []
    last: Block | None = None
    for block in blocks:
        goes_on = last is not None and last.is_open and block.is_first and block.kind == PARAGRAPH
        if goes_on and last is not None and (is_cut(last.text) or block.text[0].islower()):
            last.text, last.is_open = joiner.join(last.text, block.text), block.is_open
            continue
        result.append(block)
        last = last if block.kind == ASIDE else block
    return result
