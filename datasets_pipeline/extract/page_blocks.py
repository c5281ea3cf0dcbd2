"""Regions of rows into blocks: paragraphs, headings, list items, tables, code.

What is judged: font sizes against the body's, the room left at a line's end (a line that had room for the next
word was ended on purpose), leading, indents, marks of lists. Nothing here depends on the words but list marks and
the punctuation at a line's end.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from datasets_pipeline.extract.page_headings import Typography, is_same_heading, levels_of
from datasets_pipeline.extract.page_hyphens import Joiner, is_cut
from datasets_pipeline.extract.page_lines import Row, is_right_to_left
from datasets_pipeline.extract.page_marks import BULLET, LEADERS, NUMBERED, ends_a_sentence, is_mark
from datasets_pipeline.extract.page_tables import column_rows

PARAGRAPH, HEADING, ITEM, TABLE, CODE, ASIDE = "paragraph", "heading", "item", "table", "code", "aside"


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


def blocks_of(rows: Sequence[Row], typography: Typography, joiner: Joiner) -> list[Block]:
    """The blocks of one region, in order."""
    region = _Region(rows, typography, joiner)
    blocks: list[Block] = []
    position = 0
    while position < len(rows):
        for take in (_code, _table, _heading, _paragraph):
            end, block = take(region, position)
            if block is not None:
                blocks.append(block)
                position = end
                break
    if blocks:
        blocks[0].is_first = True
    return blocks


class _Region:
    """Rows that are read from top to bottom, with their edges, leading, indents, and which of them are headings."""

    def __init__(self, rows: Sequence[Row], typography: Typography, joiner: Joiner) -> None:
        self.rows = rows
        self.joiner = joiner
        self.code_is_code = not typography.body_is_monospaced
        self.left = min((row.left for row in rows), default=0.0)
        self.right = max((row.right for row in rows), default=0.0)
        steps = [(below.bottom - row.bottom, row.size) for row, below in zip(rows, rows[1:], strict=False)]
        close = [step for step, size in steps if 0.8 * size < step < 2.2 * size]
        self.leading = median(close) if close else None
        self.item_edges: list[float] = []
        self.levels = levels_of(rows, typography)


def _code(region: _Region, start: int) -> tuple[int, Block | None]:
    """At least two rows in a monospaced font, where the body is in another; indents by the width of a character."""
    rows = region.rows
    end = start
    while end < len(rows) and rows[end].monospaced and (end == start or _gap(rows[end - 1], rows[end]) < 2.5):
        end += 1
    if not region.code_is_code or end - start < 2:
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


def _table(region: _Region, start: int) -> tuple[int, Block | None]:
    """At least two rows with cells, and the lines of wrapped cells between them."""
    rows = region.rows
    end, last = start, start
    while end < len(rows):
        if _num_cells(rows[end]) < 2:
            continues = end > start and len(rows[end].cells) == 1 and _continues_a_cell(rows[last], rows[end])
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
    return end, Block(TABLE, lines=column_rows(rows[start:end], region.joiner))


def _num_cells(row: Row) -> int:
    """Cells of a row; the mark of a list item before its text is none, nor a page number after its dots."""
    if LEADERS.search(row.text):
        return 1
    marked = len(row.cells) > 1 and (is_mark(row.cells[0].text) or is_mark(row.cells[-1].text))
    return len(row.cells) - (1 if marked else 0)


def _continues_a_cell(row: Row, rest: Row) -> bool:
    """Whether a row with fewer cells lies wholly under the cells of the row before, not under the first one."""
    under = [cell for cell in row.cells[1:] for part in rest.cells if part.left < cell.right and cell.left < part.right]
    return len(under) >= len(rest.cells) and rest.left > row.cells[0].right


def _gap(above: Row, below: Row) -> float:
    """Distance of two rows' bottoms in font sizes; a large number where the second is higher up."""
    step = below.bottom - above.bottom
    return step / max(above.size, 1.0) if step > 0 else 99.0


def _heading(region: _Region, start: int) -> tuple[int, Block | None]:
    """A row that is one, and the following ones that go on with it."""
    rows = region.rows
    level = region.levels[start]
    if not level:
        return start, None
    end, text = start + 1, rows[start].text
    while end < len(rows) and region.levels[end] == level and is_same_heading(rows[end - 1], rows[end]):
        text = region.joiner.join(text, rows[end].text)
        end += 1
    return end, Block(HEADING, " ".join(text.split()), level)


def _paragraph(region: _Region, start: int) -> tuple[int, Block | None]:
    """A paragraph or list item from its first row to its last."""
    rows = region.rows
    first = rows[start]
    text, kind, level = first.text, PARAGRAPH, 0
    bullet = BULLET.match(text)
    numbered = NUMBERED.match(text)
    if bullet and bullet.end() < len(text):
        text, kind = "- " + text[bullet.end() :].lstrip(), ITEM
    elif numbered:
        kind = ITEM
    if kind == ITEM:
        level = _item_level(first.left, region)
    end = start + 1
    ended = False
    while end < len(rows):
        if not _goes_on(region, end, kind, first):
            ended = True
            break
        broken = _was_ended(rows[end - 1], rows[end], region)
        text = f"{text}\n{rows[end].text}" if broken else region.joiner.join(text, rows[end].text)
        end += 1
    is_open = not ended and not ends_a_sentence(text) and (kind in (PARAGRAPH, ITEM))
    return end, Block(kind, text, level, is_open=is_open)


def _item_level(left: float, region: _Region) -> int:
    """How deep a list item is indented, among the items of its region."""
    edges = region.item_edges
    while edges and left < edges[-1] - 4:
        edges.pop()
    if not edges or left > edges[-1] + 4:
        edges.append(left)
    return min(len(edges) - 1, 5)


def _goes_on(region: _Region, index: int, kind: str, first: Row) -> bool:
    """Whether a row belongs to the paragraph, or list item, of the row before."""
    rows = region.rows
    row, last = rows[index], rows[index - 1]
    if abs(row.size - last.size) > 0.12 * last.size or _num_cells(row) > 1 or _num_cells(last) > 1:
        return False
    if row.monospaced != last.monospaced and region.code_is_code and len(row.text) > 3:
        return False
    step = row.bottom - last.bottom
    leading = region.leading or 1.45 * last.size
    if not 0 < step <= 1.3 * max(leading, last.size):
        return False
    if (BULLET.match(row.text) and not _is_separator(row, last)) or region.levels[index]:
        return False
    if is_cut(last.text):
        return True
    if NUMBERED.match(row.text) and (kind == ITEM or ends_a_sentence(last.text)):
        return False
    if kind == ITEM:
        return not (row.left < first.left - 4 and ends_a_sentence(last.text))
    if ends_a_sentence(last.text):
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
    if LEADERS.search(last.text):
        return True
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
