"""The pieces of Markdown that several extractors write: headings, fences, tables, quotes, list items."""

import re

VERSION = "1"

_BACKTICKS = re.compile(r"`{3,}")
_INFO = re.compile(r"[A-Za-z0-9+#._-]{1,40}")
MAX_HEADING_LEVEL = 6


def heading(text: str, level: int) -> str:
    """A heading line; levels beyond six become six."""
    return f"{'#' * min(max(level, 1), MAX_HEADING_LEVEL)} {one_line(text)}"


def fenced(code: str, language: str = "") -> str:
    """A code block with a fence longer than any run of backticks in it; an odd language is left out."""
    longest = max((len(run) for run in _BACKTICKS.findall(code)), default=2)
    fence = "`" * (longest + 1)
    code = code.strip("\n")
    return f"{fence}{language if _INFO.fullmatch(language) else ''}\n{code}\n{fence}"


def prefixed(text: str, first: str, rest: str) -> str:
    """Every line behind a prefix: the first line's, then the others'; blank lines get no trailing blanks."""
    lines = text.split("\n")
    return "\n".join((f"{first if i == 0 else rest}{line}").rstrip() for i, line in enumerate(lines))


def quoted(text: str) -> str:
    """A block quote."""
    return prefixed(text, "> ", "> ")


def listed(items: list[str], start: int | None = None) -> str:
    """A list of the items, each with its blocks indented; start is the first number, None for bullets.

    A list without a blank line in an item is tight.
    """
    lines = []
    for number, item in enumerate(items, start=0 if start is None else start):
        marker = "- " if start is None else f"{number}. "
        lines.append(prefixed(item.strip("\n"), marker, " " * len(marker)))
    return "\n".join(lines)


def table(rows: list[list[str]], num_header_rows: int = 0) -> str:
    """A Markdown table when its first row is a header; else rows of ` | ` separated cells, one a line."""
    cells = [[one_line(cell).replace("|", "\\|") for cell in row] for row in rows]
    if not cells or not num_header_rows:
        return "\n".join(" | ".join(row).strip() for row in cells if any(row))
    width = max(len(row) for row in cells)
    lines = ["| " + " | ".join(row + [""] * (width - len(row))) + " |" for row in cells]
    lines.insert(1, "|" + " --- |" * width)
    return "\n".join(lines)


def one_line(text: str) -> str:
    """White space as single blanks."""
    return " ".join(text.split())


def joined(blocks: list[str]) -> str:
    """Blocks with one blank line between; empty ones are left out."""
    return "\n\n".join(block.strip("\n") for block in blocks if block.strip())
