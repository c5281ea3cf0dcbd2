"""From well-formed HTML, as a parser writes it, to plain Markdown: headings, lists, code, table rows, paragraphs.

Well-formed: every element is closed, attributes stand in double quotes, `<`, `>` and `&` of the text are escaped. Tags
that open or close no block are left out, white space means nothing outside of `pre`. The loop is `html_kernel`'s.
"""

import functools
import re
from typing import Any

_LINES = (
    "address", "article", "aside", "body", "br", "caption", "center", "dd", "details", "dialog", "div", "dl", "dt",
    "fieldset", "figcaption", "figure", "footer", "form", "header", "hgroup", "html", "legend", "main", "nav", "option",
    "section", "summary", "tbody", "tfoot", "thead",
)  # fmt: skip
_PARAGRAPHS = ("blockquote", "hr", "p")
_ATTRIBUTES = r'(?:[^>=]|=(?!")|="[^"]*")*'  # a quote that no `=` stands before is part of a name
_PICTURE = re.compile(rf'<img\b(?={_ATTRIBUTES}?\salt="([^"]*)"){_ATTRIBUTES}>')


# Elements in which a parser finds no markup.
_RAW = ("iframe", "noembed", "noframes", "script", "style")


def to_markdown(html: str, unseen: frozenset[str] = frozenset()) -> str:
    """Markdown text of well-formed HTML without the elements of some names; a picture is its alternative text."""
    import numpy as np

    from datasets_pipeline.extract.html_kernel import BYTES_A_TAG, write_markdown

    if "<img" in html:
        html = _PICTURE.sub(r" \1 ", html)
    data = html.encode("utf-8", "replace")
    names, kinds, factor = _tags(unseen)
    # What the loop may write at the most: it does not look where the array ends.
    out = np.empty(3 * len(data) + BYTES_A_TAG * (data.count(b"<") + 1), np.uint8)
    size = write_markdown(np.frombuffer(data, np.uint8), names, kinds, factor, out)
    return out[:size].tobytes().decode("utf-8", "replace")


@functools.cache
def machine_code() -> tuple[str, str] | None:
    """(folder, name) of the compiled loop, compiled now where it is not yet: where it lies, and numba's name for it.

    For a process that may not write beside it; None where numba does not say, and such a process compiles for itself.
    """
    from datasets_pipeline.extract import html_kernel

    to_markdown("<p>words</p>")
    try:
        from numba.core.caching import _CacheLocator

        name = _CacheLocator.get_suitable_cache_subpath(html_kernel.__file__)
        compiled: Any = html_kernel.write_markdown
        return compiled._cache.cache_path, name
    except (ImportError, AttributeError):  # private to numba
        return None


@functools.cache
def _tags(unseen: frozenset[str]):  # type: ignore[no-untyped-def]
    """The table that the loop looks tags up in: numbers of names, what each does, and the factor that places them."""
    import numpy as np

    from datasets_pipeline.extract import html_kernel as kernel

    does = dict.fromkeys(_LINES, kernel.LINE) | dict.fromkeys(_PARAGRAPHS, kernel.PARAGRAPH)
    does |= {f"h{level}": kernel.HEADING + level for level in range(1, 7)}
    does |= {
        "ul": kernel.LIST, "ol": kernel.NUMBERED, "li": kernel.ITEM, "table": kernel.TABLE, "tr": kernel.ROW,
        "td": kernel.CELL, "th": kernel.CELL, "pre": kernel.CODE,
    }  # fmt: skip
    does |= dict.fromkeys(unseen, kernel.UNSEEN) | dict.fromkeys(_RAW, kernel.RAW)
    numbers = {_number(name): kind for name, kind in does.items()}
    factor = 0x9E3779B97F4A7C15
    while len({_place(number, factor) for number in numbers}) < len(numbers):
        factor += 0x632BE59BD9B4E020
    names, kinds = np.zeros(4096, np.uint64), np.zeros(4096, np.uint8)
    for number, kind in numbers.items():
        names[_place(number, factor)], kinds[_place(number, factor)] = number, kind
    return names, kinds, np.uint64(factor)


def _number(name: str) -> int:
    """A tag's first seven bytes, and its length in the eighth."""
    return int.from_bytes(name.encode()[:7].ljust(7, b"\0") + bytes([len(name)]), "little")


def _place(number: int, factor: int) -> int:
    return (number * factor & (1 << 64) - 1) >> 52
