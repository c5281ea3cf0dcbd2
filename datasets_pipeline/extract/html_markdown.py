"""From well-formed HTML, as a parser writes it, to plain Markdown: headings, lists, code, table rows, paragraphs.

Well-formed: every element is closed, attributes stand in double quotes, `<`, `>` and `&` of the text are escaped. Tags
that open or close no block are left out, white space means nothing outside of `pre`. The loop is `html_kernel`'s.
"""

import functools
import re
from collections.abc import Iterable

_LINES = (
    "address", "article", "aside", "body", "br", "caption", "center", "dd", "details", "dialog", "div", "dl", "dt",
    "fieldset", "figcaption", "figure", "footer", "form", "header", "hgroup", "html", "legend", "main", "nav", "option",
    "section", "summary", "tbody", "tfoot", "thead",
)  # fmt: skip
_PARAGRAPHS = ("blockquote", "hr", "p")
_KINDS = {
    "ul": "LIST", "ol": "NUMBERED", "li": "ITEM", "table": "TABLE", "tr": "ROW", "td": "CELL", "th": "CELL",
    "pre": "CODE", **{f"h{level}": "" for level in range(1, 7)}, "br": "",
}  # fmt: skip
_ATTRIBUTES = r'(?:[^>=]|=(?!")|="[^"]*")*'  # a quote that no `=` stands before is part of a name
_PICTURE = re.compile(rf'<img\b(?={_ATTRIBUTES}?\salt="([^"]*)"){_ATTRIBUTES}>')


# Elements in which a parser finds no markup.
_RAW = ("iframe", "noembed", "noframes", "script", "style")


def to_markdown(html: str, unseen: frozenset[str] = frozenset()) -> str:
    """Markdown text of well-formed HTML without the elements of some names; a picture is its alternative text."""
    if "<img" in html:
        html = _PICTURE.sub(r" \1 ", html)
    return markdown_of(html.encode("utf-8", "replace"), unseen)


def markdown_of(data: bytes, unseen: frozenset[str] = frozenset()) -> str:
    """The same of bytes in which no picture is."""
    import numpy as np

    from datasets_pipeline.extract.html_kernel import BYTES_A_TAG, write_markdown

    names, kinds, factor = _tags(unseen)
    # What the loop may write at the most: it does not look where the array ends.
    out = np.empty(3 * len(data) + BYTES_A_TAG * (data.count(b"<") + 1), np.uint8)
    size = write_markdown(np.frombuffer(data, np.uint8), names, kinds, factor, out)
    return out[:size].tobytes().decode("utf-8", "replace")


def short_name(name: str) -> str:
    """A tag that means the same to the loop, of at most six letters; empty where the tag means nothing to it."""
    return "div" if name in _LINES and name != "br" else "p" if name in _PARAGRAPHS else name if name in _KINDS else ""


@functools.cache
def _tags(unseen: frozenset[str]):  # type: ignore[no-untyped-def]
    """The table that the loop looks tags up in: numbers of names, what each does, and the factor that places them."""
    import numpy as np

    from datasets_pipeline.extract import html_kernel as kernel

    does = dict.fromkeys(_LINES, kernel.LINE) | dict.fromkeys(_PARAGRAPHS, kernel.PARAGRAPH)
    does |= {name: getattr(kernel, kind) for name, kind in _KINDS.items() if kind}
    does |= {f"h{level}": kernel.HEADING + level for level in range(1, 7)}
    does |= dict.fromkeys(unseen, kernel.UNSEEN) | dict.fromkeys(_RAW, kernel.RAW)
    numbers = {number_of(name): kind for name, kind in does.items()}
    factor = factor_for(numbers)
    names, kinds = np.zeros(4096, np.uint64), np.zeros(4096, np.uint8)
    for number, kind in numbers.items():
        names[place_of(number, factor)], kinds[place_of(number, factor)] = number, kind
    return names, kinds, np.uint64(factor)


def factor_for(numbers: Iterable[int]) -> int:
    """A factor by which no two of the numbers have the same place."""
    numbers = list(numbers)
    factor = 0x9E3779B97F4A7C15
    while len({place_of(number, factor) for number in numbers}) < len(numbers):
        factor += 0x632BE59BD9B4E020
    return factor & (1 << 64) - 1


def number_of(name: str) -> int:
    """A tag's first seven bytes, and its length in the eighth."""
    return int.from_bytes(name.encode()[:7].ljust(7, b"\0") + bytes([len(name)]), "little")


def place_of(number: int, factor: int) -> int:
    """The first 12 bits of the product modulo 2^64."""
    return (number * factor & (1 << 64) - 1) >> 52
