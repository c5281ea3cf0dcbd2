"""Running headers and footers: the same words, or counting numbers, at the same place of many pages.

Looks at the three outermost rows at the top and the bottom of a page. A heading, or the first words of a page, stand
at that place too; they differ from page to page, so they stay.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from datasets_pipeline.extract.page_lines import Page, Segment

_BAND = 0.16  # share of the height that is looked at, at both ends
_NUM_ROWS = 3
_TOLERANCE = 6.0  # points
_NUMBER = re.compile(r"\d{1,6}")
_WORD = re.compile(r"[^\W\d_]+")
_FEW_WORDS = 4
_Number = tuple[int, int, str]
"""(difference to the number of the page, height in steps, the words beside it)."""
_ROMAN = re.compile(r"[ivxl]{1,6}|[IVXL]{1,6}")
_ROMAN_DIGITS = {"i": 1, "v": 5, "x": 10, "l": 50}


@dataclass(slots=True)
class _Place:
    """A segment near an edge. height: from its edge; pages of different size have their footer at one place."""

    page: int
    height: float
    segment: Segment


def without_margins(pages: Sequence[Page]) -> list[Page]:
    """The pages without running headers, footers and page numbers.

    As they were when that were more than half of the text: then each page is a form with few words of its own.
    """
    doomed: set[int] = set()
    if len(pages) > 1:
        for at_bottom in (False, True):
            places = [place for number, page in enumerate(pages) for place in _outer(page, number, at_bottom)]
            doomed |= _repeated(places, len(pages))
            doomed |= _counting(places, len(pages))
    segments = [segment for page in pages for segment in page.segments]
    lost = sum(len(segment.text) for segment in segments if id(segment) in doomed)
    if 2 * lost > sum(len(segment.text) for segment in segments):
        return list(pages)
    return [
        Page(page.width, page.height, [s for s in page.segments if id(s) not in doomed], page.asides) for page in pages
    ]


def _outer(page: Page, number: int, at_bottom: bool) -> Iterator[_Place]:
    """What stands in the outermost rows of one end of a page."""
    placed = [
        _Place(number, page.height - s.bottom if at_bottom else s.top, s)
        for s in page.segments
        if (page.height - s.bottom if at_bottom else s.top) < _BAND * page.height
    ]
    placed.sort(key=lambda place: place.height)
    rows, last = 0, -1e9
    for place in placed:
        if place.height > last + 0.6 * max(place.segment.size, 4.0):
            rows, last = rows + 1, place.height
        if rows > _NUM_ROWS:
            return
        yield place


def _repeated(places: list[_Place], num_pages: int) -> set[int]:
    """Segments whose text stands at one place of at least three pages near each other."""
    by_text: dict[str, list[_Place]] = {}
    for place in places:
        text = " ".join(place.segment.text.split())
        if len(text) >= 3:
            by_text.setdefault(text, []).append(place)
    occupied = _Occupied(places)
    doomed: set[int] = set()
    for same in by_text.values():
        same.sort(key=lambda place: place.height)
        heights = [place.height for place in same]
        pages, span = set[int](), (0, 0)
        for place in same:
            around = bisect_left(heights, place.height - _TOLERANCE), bisect_right(heights, place.height + _TOLERANCE)
            if around != span:
                span, pages = around, {other.page for other in same[around[0] : around[1]]}
            near = sum(other in pages for other in range(place.page - 4, place.page + 5))
            share = len(pages) / num_pages
            if near >= 3 and (share >= 0.5 or occupied.num_pages(place.height) >= 0.5 * num_pages):
                doomed.add(id(place.segment))
    return doomed


def _counting(places: list[_Place], num_pages: int) -> set[int]:
    """Segments with a number that grows by one from page to page; where there are words beside it, the same ones."""
    numbered: list[tuple[_Place, list[_Number]]] = []
    pages: dict[_Number, set[int]] = {}
    for place in places:
        words = [word for word in _WORD.findall(place.segment.text) if not _ROMAN.fullmatch(word)]
        beside = _NUMBER.sub("#", place.segment.text) if len(words) > _FEW_WORDS else ""
        level = round(place.height / (2 * _TOLERANCE))
        keys = [(number - place.page, level, beside) for number in _numbers(place.segment.text)]
        numbered.append((place, keys))
        for key in keys:
            pages.setdefault(key, set()).add(place.page)
    enough = 2 if num_pages < 4 else 3
    return {id(place.segment) for place, keys in numbered if any(_num_near(pages, key) >= enough for key in keys)}


def _num_near(pages: dict[_Number, set[int]], key: _Number) -> int:
    """Pages on which a number stands at a height, or a little above or below."""
    offset, level, beside = key
    return len(set().union(*(pages.get((offset, near, beside), set()) for near in (level - 1, level, level + 1))))


class _Occupied:
    """On how many pages something stands at a height."""

    def __init__(self, places: list[_Place]) -> None:
        self._pages: dict[int, set[int]] = {}
        for place in places:
            self._pages.setdefault(round(place.height / _TOLERANCE), set()).add(place.page)

    def num_pages(self, height: float) -> int:
        level = round(height / _TOLERANCE)
        return len(set().union(*(self._pages.get(near, set()) for near in (level - 1, level, level + 1))))


def _numbers(text: str) -> set[int]:
    """The first and the last number of a text; a lone Roman numeral counts as one."""
    found = [int(number) for number in _NUMBER.findall(text)]
    bare = text.strip(" -–—.[]()|")
    if not found and _ROMAN.fullmatch(bare):
        values = [_ROMAN_DIGITS[character] for character in bare.lower()]
        following = [*values[1:], 0]
        return {sum(-value if value < after else value for value, after in zip(values, following, strict=True))}
    return {found[0], found[-1]} if found else set()
