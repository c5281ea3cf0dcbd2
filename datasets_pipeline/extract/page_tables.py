"""Rows with cells into lines of a table: the cells of a row, separated by ` | `, each under its column."""

from collections.abc import Sequence

from datasets_pipeline.extract.page_hyphens import Joiner
from datasets_pipeline.extract.page_lines import Row, Segment, is_right_to_left


def column_rows(rows: Sequence[Row], joiner: Joiner) -> list[str]:
    """One line a row; a row without its first cell is the rest of wrapped cells of the row before."""
    columns = _columns(rows)
    backwards = is_right_to_left("".join(row.text for row in rows))
    if backwards:
        columns.reverse()
    table: list[list[str]] = []
    for row in rows:
        placed = _placed(row.cells, columns)
        if placed is None:
            table.append([cell.text for cell in row.cells])
            continue
        fewer = sum(map(bool, placed)) < len(columns)
        if table and not placed[0] and fewer and len(table[-1]) == len(columns) and _fills(table[-1], placed):
            table[-1] = [joiner.join(a, b) if a and b else a or b for a, b in zip(table[-1], placed, strict=True)]
        else:
            table.append(placed)
    return [" | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells).strip() for cells in table]


def _fills(above: list[str], placed: list[str]) -> bool:
    return all(a for a, b in zip(above, placed, strict=True) if b)


def _columns(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Horizontal extents that the cells fall into; cells that span several others count for none."""
    widest = max(len(row.cells) for row in rows)
    cells = [cell for row in rows if 2 * len(row.cells) > widest for cell in row.cells]
    columns: list[tuple[float, float]] = []
    for cell in sorted(cells, key=lambda c: (c.left, c.right)):
        if columns and cell.left < columns[-1][1] - 0.5:
            columns[-1] = (columns[-1][0], max(columns[-1][1], cell.right))
        else:
            columns.append((cell.left, cell.right))
    return columns


def _placed(cells: Sequence[Segment], columns: list[tuple[float, float]]) -> list[str] | None:
    """The cells' texts by column; None where a cell lies under several columns or two under one."""
    texts = [""] * len(columns)
    for cell in cells:
        under = [n for n, (left, right) in enumerate(columns) if cell.left < right and left < cell.right]
        if len(under) != 1 or texts[under[0]]:
            return None
        texts[under[0]] = cell.text
    return texts
