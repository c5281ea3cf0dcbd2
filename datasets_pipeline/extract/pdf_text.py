"""The text layer of one PDF page: the characters of pdfium, joined into segments with their places.

pdfium gives characters in the order of the file, spaces and line ends that it inferred among them, and turns right-
to-left text into reading order. About 3 microseconds a character, nearly all of it in the calls themselves.
"""

import ctypes
import math
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from datasets_pipeline.extract.page_lines import Page, Segment, is_right_to_left

_LINE_ENDS = frozenset((0x0A, 0x0D))
_SPACES = frozenset((0x09, 0x20, 0xA0, 0x3000, *range(0x2000, 0x200B)))
_HYPHENS = frozenset((0x02, 0xAD, 0xFFFE))  # pdfium writes U+0002 or U+FFFE for a hyphen at a line end
_GAP = 1.3  # font sizes of white space that end a segment
_DIAGONAL = 4
_FIXED_PITCH, _BOLD_WEIGHT = 1, 600


_Box = tuple[float, float, float, float]


@dataclass(slots=True)
class PageText:
    """A page with its counts: characters that are seen, and those among them that mean nothing."""

    page: Page
    num_characters: int
    num_odd: int
    """Replaced, private, unassigned or control characters, and glyphs without a Unicode value."""


@dataclass(slots=True)
class _Style:
    size: float
    turn: int
    """Quarters of a circle, counter-clockwise, that the text is turned by; _DIAGONAL for anything between."""
    bold: bool
    monospaced: bool


def read_page(page: Any, text_page: Any) -> PageText:
    """The segments of a page, from a pypdfium2 page and its text page.

    The direction most of the text runs in is horizontal in what comes out. Text outside of the visible box is left
    out, and so is diagonal text that is a small part of the page: a watermark.
    """
    reader = _Reader(text_page)
    box = page.get_bbox()
    counts: Counter[int] = Counter()
    for segment, turn in reader.read(box):
        counts[turn] += len(segment.text)
    main = max(range(4), key=lambda turn: (counts[turn], -turn))
    width, height = box[2] - box[0], box[3] - box[1]
    result = Page(*((width, height) if main % 2 == 0 else (height, width)))
    keep_diagonal = counts[_DIAGONAL] * 10 >= counts.total()
    seen: dict[str, list[Segment]] = {}
    for segment, turn in reader.found:
        if turn == _DIAGONAL and not keep_diagonal:
            continue
        turned = _turned(segment, 0 if turn == _DIAGONAL else turn, box)
        if _is_overprint(turned, seen.setdefault(turned.text, [])):
            continue
        (result.segments if turn == main else result.asides).append(turned)
    return PageText(result, reader.num_characters, reader.num_odd)


class _Reader:
    """One walk over the characters of a page."""

    def __init__(self, text_page: Any) -> None:
        import pypdfium2.raw as pdfium

        self._pdfium = pdfium
        self._text_page = text_page.raw
        self._num = max(pdfium.FPDFText_CountChars(self._text_page), 0)
        self._styles: dict[int, _Style] = {}
        self.found: list[tuple[Segment, int]] = []
        self.num_characters = self.num_odd = 0
        self._open: list[str] = []
        self._box: _Box = (0.0, 0.0, 0.0, 0.0)  # left, bottom, right, top of the open segment, along its direction
        self._style = _Style(0.0, 0, False, False)
        self._styled: dict[int, tuple[int, _Style]] = {}  # characters of the open segment by style
        self._last = self._box
        self._last_style = self._style
        self._address = self._ligature = 0

    def read(self, visible: _Box) -> list[tuple[Segment, int]]:
        pdfium, text_page, rectangle = self._pdfium, self._text_page, self._pdfium.FS_RECTF()
        address_of = ctypes.c_void_p.from_buffer
        left, bottom, right, top = visible[0] - 2, visible[1] - 2, visible[2] + 2, visible[3] + 2
        space, high = False, 0
        for index in range(self._num):
            code = pdfium.FPDFText_GetUnicode(text_page, index)
            if code in _LINE_ENDS:
                self._close()
                space = False
                continue
            if code in _SPACES:
                space = True
                continue
            if 0xD800 <= code < 0xDC00:
                high = code
                continue
            if 0xDC00 <= code < 0xE000:
                code = 0x10000 + ((high - 0xD800) << 10) + (code - 0xDC00) if high else 0xFFFD
            high = 0
            address = address_of(pdfium.FPDFText_GetTextObject(text_page, index)).value or 0
            style = self._styles.get(address)
            if style is None:
                style = self._styles[address] = self._style_at(index)
            pdfium.FPDFText_GetLooseCharBox(text_page, index, rectangle)
            middle_x, middle_y = (rectangle.left + rectangle.right) / 2, (rectangle.bottom + rectangle.top) / 2
            if not (left <= middle_x <= right and bottom <= middle_y <= top):
                continue
            box = (rectangle.left, rectangle.bottom, rectangle.right, rectangle.top)
            self._add(code, index, style, box, address, space)
            space = False
        self._close()
        return self.found

    def _add(self, code: int, index: int, style: _Style, box: _Box, address: int, space: bool) -> None:
        text, is_odd = _meaning(code)
        self.num_characters += 1
        if is_odd or self._pdfium.FPDFText_HasUnicodeMapError(self._text_page, index) == 1:
            self.num_odd += 1
        if not text:
            return
        along = _along(box, style.turn)
        if (
            self._open
            and text == self._open[-1]
            and address != self._address
            and _covers(self._last, along, style.size)
        ):
            return  # bold text that is printed twice
        if self._open and not self._goes_on(along, style, text):
            self._close()
        if not self._open:
            self._box, self._style = along, style
            self._styled.clear()
        elif space or self._is_apart(along, style, text):
            self._open.append(" ")
        if self._open and along == self._last and address == self._address and is_right_to_left(text):
            self._open.insert(self._ligature, text)  # pdfium turned the letters of a ligature round
        else:
            self._ligature = len(self._open)
            self._open.append(text)
        self._styled[id(style)] = (self._styled.get(id(style), (0, style))[0] + 1, style)
        self._last, self._last_style, self._address = along, style, address
        self._box = (
            min(self._box[0], along[0]), min(self._box[1], along[1]),
            max(self._box[2], along[2]), max(self._box[3], along[3]),
        )  # fmt: skip

    def _goes_on(self, along: _Box, style: _Style, text: str) -> bool:
        """Whether a character stands on the line of the open segment, without a wide gap."""
        if style.turn != self._style.turn:
            return False
        size = max(style.size, self._last_style.size)
        if abs(along[1] + along[3] - self._last[1] - self._last[3]) > 0.9 * size:  # twice the middles' distance
            return False
        wide = 6.0 if style.monospaced and self._last_style.monospaced else _GAP
        ahead, behind = along[0] - self._box[2], self._box[0] - along[2]
        if ahead > wide * size or behind > wide * size:
            return False
        return along[0] >= self._last[0] - 0.5 * size or is_right_to_left(text) or not text.isalpha()

    def _is_apart(self, along: _Box, style: _Style, text: str) -> bool:
        """A blank that pdfium did not see: words set one by one, or a change of font."""
        gap = max(along[0] - self._last[2], self._last[0] - along[2])
        limit = 0.3 if style is self._last_style else 0.15
        return gap > limit * max(style.size, self._last_style.size) and text < "\u2e80"

    def _close(self) -> None:
        if self._open:
            text = "".join(self._open)
            left, bottom, right, top = self._box
            # The mark of a list item, or a first capital, may be in another font than the text after it.
            most = max(self._styled.values(), key=lambda counted: (counted[0], counted[1].size))[1]
            segment = Segment(
                text, left, top, right, bottom, round(most.size, 1), most.bold, most.monospaced, len(self.found)
            )
            self.found.append((segment, self._style.turn))
            self._open = []

    def _style_at(self, index: int) -> _Style:
        pdfium, text_page = self._pdfium, self._text_page
        matrix = pdfium.FS_MATRIX()
        pdfium.FPDFText_GetMatrix(text_page, index, matrix)
        size = abs(pdfium.FPDFText_GetFontSize(text_page, index)) * math.hypot(matrix.c, matrix.d)
        if not 0.5 < size < 2000:  # a font without a size, or one that is no text
            size = 10.0
        quarters = math.degrees(math.atan2(matrix.b, matrix.a)) / 90
        turn = round(quarters) % 4 if abs(quarters - round(quarters)) < 0.12 else _DIAGONAL
        name, flags = ctypes.create_string_buffer(128), ctypes.c_int()
        pdfium.FPDFText_GetFontInfo(text_page, index, name, 128, flags)
        font = name.value.lower()
        bold = any(word in font for word in (b"bold", b"black", b"heavy", b"cmbx", b"semibold"))
        bold = bold or pdfium.FPDFText_GetFontWeight(text_page, index) >= _BOLD_WEIGHT
        fixed = any(word in font for word in (b"courier", b"mono", b"consolas", b"menlo", b"cmtt", b"typewriter"))
        return _Style(size, turn, bold, fixed or bool(flags.value & _FIXED_PITCH))


@lru_cache(maxsize=1 << 16)
def _meaning(code: int) -> tuple[str, bool]:
    """(text, whether it means nothing) of a character."""
    text = _text_of(code)
    return text, not text or _is_odd(code)


def _text_of(code: int) -> str:
    """The character as text: hyphens at line ends by one mark, ligatures and Arabic forms opened; '' for none."""
    if code in _HYPHENS:
        return "\N{SOFT HYPHEN}" if code == 0xAD else "\N{HYPHEN}"
    if code < 0x20 or 0x7F <= code < 0xA0 or code > 0x10FFFF or 0xFE00 <= code < 0xFE10 or 0x200B <= code < 0x2010:
        return ""
    if 0xF020 <= code < 0xF100:  # symbol fonts; the bullets among them are told apart later
        return chr(code)
    if 0xFB00 <= code < 0xFE00 or 0xFE70 <= code < 0xFEFF:
        return unicodedata.normalize("NFKC", chr(code))
    return chr(code)


def _is_odd(code: int) -> bool:
    if code in (0xF0B7, 0xF0A7, 0xF0D8, 0xF076, 0xF0FC):  # bullets of Symbol and Wingdings
        return False
    return code == 0xFFFD or unicodedata.category(chr(min(code, 0x10FFFF))) in ("Co", "Cn", "Cs")


def _along(box: _Box, turn: int) -> _Box:
    """(left, bottom, right, top) in the direction of the text: x as it reads, y upwards."""
    left, bottom, right, top = box
    if turn == 1:
        return bottom, -right, top, -left
    if turn == 2:
        return -right, -top, -left, -bottom
    if turn == 3:
        return -top, left, -bottom, right
    return box


def _turned(segment: Segment, turn: int, visible: _Box) -> Segment:
    """From the direction of the text to places from the top left corner of the page as it is read."""
    left, _, _, top = _along(visible, turn)
    segment.left, segment.right = segment.left - left, segment.right - left
    segment.top, segment.bottom = top - segment.top, top - segment.bottom
    return segment


def _covers(last: _Box, along: _Box, size: float) -> bool:
    return all(abs(a - b) < 0.12 * size for a, b in zip(last, along, strict=True))


def _is_overprint(segment: Segment, same: list[Segment]) -> bool:
    """The same words a hair's breadth beside themselves: a shadow, or bold by printing twice."""
    for other in same[-20:]:
        if abs(other.left - segment.left) < 0.15 * segment.size and abs(other.top - segment.top) < 0.15 * segment.size:
            return True
    same.append(segment)
    return False
