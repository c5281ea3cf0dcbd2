"""Markdown for MLflow's descriptions: hostile names stay text, tables keep a distance between their columns."""

from collections.abc import Callable, Sequence

DESCRIPTION_CHARACTERS = 5000
"""What MLflow's column for a description holds; PostgreSQL refuses a longer one."""
_ROWS = (10, 6, 3, 1)
_ENTITIES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "&#124;"))


def plain(text: str) -> str:
    """Text of a person or a source, on one line, that Markdown and HTML show as it is."""
    for sign in "\\`*_[]":
        text = text.replace(sign, f"\\{sign}")
    for sign, entity in _ENTITIES:
        text = text.replace(sign, entity)
    return " ".join(text.split())


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A table as lines, with the empty lines it needs; integers are written for people."""
    lines = ["", _row(header), "|---" * len(header) + "|"]
    # MLflow sets what follows a table close to it.
    return [*lines, *(_row([_cell(value) for value in row]) for row in rows), "", "&nbsp;"]


def _row(cells: Sequence[str]) -> str:
    # MLflow's tables have no padding.
    return f"| {' | '.join(cell if index == 0 else f'&emsp;{cell}' for index, cell in enumerate(cells))} |"


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return plain(str(value))


def fitting(write: Callable[[int], list[str]], more: str) -> str:
    """`write(rows)` as one text that MLflow takes: with fewer rows in its tables, and at last cut, saying `more`."""
    text = ""
    for rows in _ROWS:
        text = "\n".join(write(rows))
        if len(text) <= DESCRIPTION_CHARACTERS:
            return text
    note = f"\n\nCut here; {more}"
    return text[: DESCRIPTION_CHARACTERS - len(note)] + note
