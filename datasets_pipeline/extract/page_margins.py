"""Running headers and footers: the same words, or counting numbers, at the same place of many pages.

Looks at the three outermost rows at the top and the bottom of a page. A heading, or the first words of a page, stand
at that place too; they differ from page to page, so they stay.
"""

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from datasets_pipeline.extract.page_lines import Page, Segment

_BAND = 0.16  # share of the height that is looked at, at both ends
_NUM_ROWS = 3
_TOLERANCE = 6.0  # points
_NUMBER = re.compile(r"\d{1,6}")
_ROMAN = re.compile(r"[ivxl]{1,6}|[IVXL]{1,6}")
_ROMAN_DIGITS = {"i": 1, "v": 5, "x": 10, "l": 50}


@dataclass(slots=True)
class _Place:
    """A segment near an edge. height: from its edge; pages of different size have their footer at one place."""

    page: int
    height: float
    segment: Segment


def without_margins(pages: Sequence[Page]) -> list[Page]:
    """The pages without running headers, footers and page numbers."""
    doomed: set[int] = set()
    if len(pages) > 1:
        for at_bottom in (False, True):
            places = [place for number, page in enumerate(pages) for place in _outer(page, number, at_bottom)]
            doomed |= _repeated(places, len(pages))
            doomed |= _counting(places, len(pages))
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
    """Segments whose words, numbers aside, stand at one place of at least three pages near each other."""
    by_text: dict[str, list[_Place]] = {}
    for place in places:
        text = _NUMBER.sub("#", " ".join(place.segment.text.split()))
        if sum(character.isalpha() for character in text) >= 2:
            by_text.setdefault(text, []).append(place)
    occupied = _Occupied(places)
    doomed: set[int] = set()
    for same in by_text.values():
        same.sort(key=lambda place: place.height)
        heights = [place.height for place in same]
        for place in same:
            first = bisect_left(heights, place.height - _TOLERANCE)
            last = bisect_right(heights, place.height + _TOLERANCE)
            pages = {other.page for other in same[first:last][:2000]}
            near = sum(other in pages for other in range(place.page - 4, place.page + 5))
            share = len(pages) / num_pages
            if near >= 3 and (share >= 0.5 or occupied.num_pages(place.height) >= 0.5 * num_pages):
                doomed.add(id(place.segment))
    return doomed


def _counting(places: list[_Place], num_pages: int) -> set[int]:
    """Segments with a number that grows by one from page to page, and hardly a word beside it."""
    offsets: Counter[tuple[int, int]] = Counter()
    numbered: list[tuple[_Place, set[tuple[int, int]]]] = []
    for place in places:
        words = [word for word in re.findall(r"[^\W\d_]+", place.segment.text) if not _ROMAN.fullmatch(word)]
        if len(words) > 4:
            continue
        level = round(place.height / (2 * _TOLERANCE))
        keys = {
            (number - place.page, near)
            for number in _numbers(place.segment.text)
            for near in (level - 1, level, level + 1)
        }
        numbered.append((place, keys))
        offsets.update({(number - place.page, level) for number in _numbers(place.segment.text)})
    enough = 2 if num_pages < 4 else 3
    return {
        id(place.segment) for place, keys in numbered if keys and max(offsets[key] for key in sorted(keys)) >= enough
    }


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
