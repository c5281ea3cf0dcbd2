"""Rows of cells as Markdown tables."""

from collections.abc import Sequence

VERSION = "1"


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose first row is the header; empty rows and columns are left out, white space is one space.

    A single column is paragraphs and no table; nothing in, empty text out.
    """
    cleaned = [[" ".join(cell.split()) for cell in row] for row in rows]
    width = max((len(row) for row in cleaned), default=0)
    used = [column for column in range(width) if any(column < len(row) and row[column] for row in cleaned)]
    lines = [[row[column] if column < len(row) else "" for column in used] for row in cleaned if any(row)]
    if len(used) < 2:
        return "\n\n".join(cell for line in lines for cell in line if cell)
    header, *body = ([_escaped(cell) for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(used), *body))


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
