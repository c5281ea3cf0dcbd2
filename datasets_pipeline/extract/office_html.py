"""The plain HTML that office documents are brought to first, as Markdown.

It has headings, paragraphs, lists, `pre`, `br` and tables. A table of short cells becomes a Markdown table; a
table that lays out a page (blocks in its cells, or one column) is read cell by cell.
"""

import re
from collections.abc import Iterator
from hashlib import sha256
from html import escape
from typing import Any

from datasets_pipeline.extract.html_markdown import to_markdown
from datasets_pipeline.extract.tables import markdown_table

VERSION = "2"

_KEPT = frozenset({"h1", "h2", "h3", "h4", "h5", "h6", "p", "ul", "ol", "li", "pre", "br"})
_BLOCKS_OF_A_PAGE = ("h1", "h2", "h3", "h4", "h5", "h6", "table", "pre")
_MAX_CELL_CHARACTERS = 1000
"""A longer cell holds a page, not a value."""
_MAX_SPAN = 100


def render(root: Any) -> str:
    """Markdown of an lxml element."""
    tables: list[str] = []
    mark = ""
    if root.find(".//table") is not None:
        from lxml import etree

        # Stands for a table in the running text; made of all of it, so that no text can contain it.
        mark = "table" + sha256(etree.tostring(root)).hexdigest()[:24] + "n"
    text = to_markdown("".join(_minimal(root, tables, mark)))
    return re.sub(mark + r"(\d+)e", lambda found: tables[int(found.group(1))], text) if tables else text


def _minimal(root: Any, tables: list[str], mark: str) -> Iterator[str]:
    """The reduced HTML that to_markdown reads; the Markdown of tables goes to `tables`. No recursion: depth is free."""
    from lxml import etree

    inside_table = inside_pre = 0
    for event, element in etree.iterwalk(root, events=("start", "end")):
        tag = element.tag
        if event == "start":
            if tag == "table" and not inside_table and (table := _table(element)):
                yield f"<p>{mark}{len(tables)}e</p>"
                tables.append(table)
                inside_table = 1
            elif inside_table:
                inside_table += tag == "table"
            else:
                inside_pre += tag == "pre"
                yield f"<{tag}>" if tag in _KEPT else "<p>" if tag in ("td", "th", "div") else ""
                yield _text(element.text, inside_pre)
        else:
            if inside_table:
                inside_table -= tag == "table"
            else:
                inside_pre -= tag == "pre"
                yield f"</{tag}>" if tag in _KEPT and tag != "br" else "</p>" if tag in ("td", "th", "div") else ""
            if not inside_table and element is not root:
                yield _text(element.tail, inside_pre)


def _text(text: str | None, inside_pre: int) -> str:
    return escape((text or "") if inside_pre else re.sub(r"\s+", " ", text or ""), quote=False)


def _table(table: Any) -> str:
    """The table as Markdown, empty when it lays out a page."""
    if any(table.find(f".//{tag}") is not None for tag in _BLOCKS_OF_A_PAGE):
        return ""
    rows = _grid(table)
    if max((len(row) for row in rows), default=0) < 2:
        return ""
    if any(len(cell) > _MAX_CELL_CHARACTERS for row in rows for cell in row):
        return ""
    return markdown_table(rows)


def _grid(table: Any) -> list[list[str]]:
    """Rows of cell texts; a cell over several columns or rows is followed by empty ones, so that columns agree."""
    rows: list[list[str]] = []
    covered: dict[int, int] = {}  # rows that a cell above still covers, by column
    for row in table.iter("tr"):
        texts: list[str] = []
        for cell in row:
            if cell.tag not in ("td", "th"):
                continue
            while covered.get(len(texts), 0):
                covered[len(texts)] -= 1
                texts.append("")
            first = len(texts)
            texts += [_cell_text(cell), *[""] * (_span(cell, "colspan") - 1)]
            covered |= dict.fromkeys(range(first, len(texts)), _span(cell, "rowspan") - 1)
        for column in [column for column in covered if column >= len(texts)]:
            covered[column] = max(covered[column] - 1, 0)
        rows.append(texts)
    return rows


def _span(cell: Any, name: str) -> int:
    value = cell.get(name, "1")
    return max(min(int(value), _MAX_SPAN), 1) if value.isascii() and value.isdigit() else 1


def _cell_text(cell: Any) -> str:
    """The words of a cell; what stands in different blocks is kept apart."""
    from lxml import etree

    parts: list[str] = []
    for event, element in etree.iterwalk(cell, events=("start", "end")):
        parts.append(" " if element.tag in _KEPT else "")
        parts.append((element.text if event == "start" else element.tail if element is not cell else "") or "")
    return " ".join("".join(parts).split())
