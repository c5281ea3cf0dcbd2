"""What lies on a page: stretches of text with their places, from a PDF's text layer or from text recognition.

Places are points (1/72 inch) from the top left corner of the page as it is read: x grows to the right, y downwards.
VERSION stands for the page_* modules together: the order of reading, the margins, the paragraphs.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

VERSION = "1"

_CELL_GAP = 1.3
"""Font sizes of white space from which two stretches on one line are two cells; justified text stays below."""
_WORD_GAP = 0.15


@dataclass(slots=True)
class Segment:
    """Text that stands on one line without a wide gap in it.

    size: of the font. order: its place in the file, which is often, but not always, the order of reading.
    block: the region that the text recognition put it in; None where the layout is still to be found.
    """

    text: str
    left: float
    top: float
    right: float
    bottom: float
    size: float
    bold: bool = False
    monospaced: bool = False
    order: int = 0
    block: int | None = None

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


@dataclass(slots=True)
class Row:
    """Everything that stands at one height in a region: one cell, or several with wide gaps between them."""

    cells: list[Segment]

    @property
    def left(self) -> float:
        return min(cell.left for cell in self.cells)

    @property
    def right(self) -> float:
        return max(cell.right for cell in self.cells)

    @property
    def top(self) -> float:
        return min(cell.top for cell in self.cells)

    @property
    def bottom(self) -> float:
        return max(cell.bottom for cell in self.cells)

    @property
    def size(self) -> float:
        """Font size of most of its characters."""
        return max(self.cells, key=lambda cell: len(cell.text)).size

    @property
    def bold(self) -> bool:
        return all(cell.bold for cell in self.cells)

    @property
    def monospaced(self) -> bool:
        return all(cell.monospaced for cell in self.cells)

    @property
    def text(self) -> str:
        return " ".join(cell.text for cell in self.cells)


@dataclass(slots=True)
class Page:
    """The segments of one page. asides: text that runs in another direction (a stamp along the edge)."""

    width: float
    height: float
    segments: list[Segment] = field(default_factory=list)
    asides: list[Segment] = field(default_factory=list)


def rows_of(segments: Iterable[Segment]) -> list[Row]:
    """The segments of one region as rows from top to bottom, the cells in reading direction."""
    rows: list[list[Segment]] = []
    largest: list[Segment] = []  # of each row: what tells its height
    for segment in sorted(segments, key=lambda s: (s.middle, s.left)):
        # The row before the last may be the right one: a superscript starts a row of its own.
        near = range(len(rows) - 1, max(len(rows) - 4, -1), -1)
        home = next((index for index in near if _same_height(largest[index], segment)), None)
        if home is None:
            rows.append([segment])
            largest.append(segment)
        else:
            rows[home].append(segment)
            largest[home] = max(largest[home], segment, key=lambda s: s.size)
    return [Row(_cells(row)) for row in sorted(rows, key=_height)]


def is_right_to_left(text: str) -> bool:
    """True when most letters are of a script that runs from right to left."""
    directions = [unicodedata.bidirectional(character) for character in text if character.isalpha()]
    return 2 * sum(direction in ("R", "AL") for direction in directions) > len(directions)


def median_size(segments: Iterable[Segment]) -> float:
    """The usual font size, 10 where there is nothing."""
    sizes = [segment.size for segment in segments]
    return median(sizes) if sizes else 10.0


def _height(row: list[Segment]) -> float:
    return max(row, key=lambda s: s.size * len(s.text)).middle


def _same_height(one: Segment, other: Segment) -> bool:
    return abs(one.middle - other.middle) < 0.45 * max(one.size, other.size)


def _cells(row: list[Segment]) -> list[Segment]:
    """Neighbours joined where no wide gap is between them."""
    backwards = is_right_to_left("".join(segment.text for segment in row))
    row = sorted(row, key=lambda s: (-s.right, s.order) if backwards else (s.left, s.order))
    cells = [row[0]]
    for segment in row[1:]:
        last = cells[-1]
        gap = last.left - segment.right if backwards else segment.left - last.right
        size = max(last.size, segment.size)
        # Columns of a program are set with spaces, and belong together.
        wide = 6.0 if last.monospaced and segment.monospaced else _CELL_GAP
        if gap > wide * size:
            cells.append(segment)
            continue
        space = " " if gap > _WORD_GAP * size and not last.text.endswith(" ") else ""
        longer = last if len(last.text) >= len(segment.text) else segment
        cells[-1] = Segment(
            last.text + space + segment.text,
            min(last.left, segment.left), min(last.top, segment.top),
            max(last.right, segment.right), max(last.bottom, segment.bottom),
            longer.size, last.bold and segment.bold, last.monospaced and segment.monospaced, last.order,
        )  # fmt: skip
    return cells
