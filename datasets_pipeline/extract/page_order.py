"""The order in which the regions of a page are read: columns one after the other, tables row by row.

A gutter is a vertical strip that no text crosses over some height, with at least three lines on both sides. Whether
it parts columns or the cells of a table is told from the order of the file (columns are written one after the other,
tables row by row) and from how much the lines look like prose. What crosses a gutter (a title, a figure's caption)
is read before or after the columns, as it stands. Cost: gutters x segments of a page.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass

from datasets_pipeline.extract.page_lines import Segment, is_right_to_left, median_size, rows_of

_MIN_LINES = 3
_MAX_GUTTERS = 40
_MAX_DEPTH = 12
_MAX_SEGMENTS = 5_000  # more are a map or a chart, or made to keep a parser busy
_MIN_GUTTER = 0.7  # font sizes
_PROSE_CHARACTERS = 25  # of a line, from which columns that are written row by row still count as columns
_CELL_CHARACTERS = 14  # of a line, up to which aligned lines count as cells however they are written


@dataclass(slots=True)
class _Cut:
    """Segments above, left of, right of and below a gutter."""

    above: list[Segment]
    left: list[Segment]
    right: list[Segment]
    below: list[Segment]


def regions(segments: list[Segment]) -> list[list[Segment]]:
    """The segments of a page as regions in reading order; inside a region rows are read from top to bottom."""
    if segments and segments[0].block is not None:
        by_block: dict[int, list[Segment]] = {}
        for segment in segments:
            by_block.setdefault(segment.block or 0, []).append(segment)
        return list(by_block.values())
    backwards = is_right_to_left("".join(segment.text for segment in segments))
    return [region for region in _regions(segments, backwards, 0) if region]


def _regions(segments: list[Segment], backwards: bool, depth: int) -> list[list[Segment]]:
    may_cut = depth < _MAX_DEPTH and 2 * _MIN_LINES <= len(segments) <= _MAX_SEGMENTS
    cut = _columns(segments) if may_cut else None
    if cut is None:
        return [segments]
    parts = [cut.above, cut.right, cut.left, cut.below] if backwards else [cut.above, cut.left, cut.right, cut.below]
    return [region for part in parts if part for region in _regions(part, backwards, depth + 1)]


def _columns(segments: list[Segment]) -> _Cut | None:
    """The cut at the gutter with the most lines beside it; None where no gutter parts columns."""
    size = median_size(segments)
    ordered = sorted(segments, key=lambda s: (s.middle, s.left))
    found: list[tuple[int, float, int, int]] = []
    for x in _gutters(segments, size):
        start = 0
        for end in range(len(ordered) + 1):
            if end == len(ordered) or ordered[end].left < x < ordered[end].right:
                strip = ordered[start:end]
                num_left = sum(segment.right <= x for segment in strip)
                if num_left >= _MIN_LINES and len(strip) - num_left >= _MIN_LINES:
                    found.append((-len(strip), x, start, end))
                start = end + 1
    for _, x, start, end in sorted(found)[:_MAX_GUTTERS]:
        left = [segment for segment in ordered[start:end] if segment.right <= x]
        right = [segment for segment in ordered[start:end] if segment.left >= x]
        if _are_columns(left, right, size):
            return _Cut(ordered[:start], left, right, ordered[end:])
    return None


def _gutters(segments: list[Segment], size: float) -> list[float]:
    """Places just beside the edges that at least three lines share."""
    edges: Counter[float] = Counter()
    for segment in segments:
        edges[round(segment.left / 2) * 2 - 0.4 * size] += 1
        edges[round(segment.right / 2) * 2 + 0.4 * size] += 1
    shared = [x for x, num in edges.most_common(_MAX_GUTTERS) if num >= _MIN_LINES]
    return sorted(shared)


def _are_columns(left: list[Segment], right: list[Segment], size: float) -> bool:
    if min(s.left for s in right) - max(s.right for s in left) < _MIN_GUTTER * size:
        return False
    rows_left, rows_right = rows_of(left), rows_of(right)
    fewer = min(len(rows_left), len(rows_right))
    if fewer < _MIN_LINES or not _side_by_side(left, right):
        return False
    heights = sorted(row.top for row in rows_right)
    num_aligned = sum(_has_near(heights, row.top, 0.25 * size) for row in rows_left)
    characters = min(_mean_characters(left, len(rows_left)), _mean_characters(right, len(rows_right)))
    in_file_order = sorted([(s.order, 0) for s in left] + [(s.order, 1) for s in right])
    crossings = sum(a[1] != b[1] for a, b in zip(in_file_order, in_file_order[1:], strict=False))
    if crossings <= max(3, 0.2 * fewer):
        return not (characters <= _CELL_CHARACTERS and num_aligned >= 0.8 * fewer)
    return characters >= _PROSE_CHARACTERS and num_aligned < 1.2 * fewer and fewer >= 2 * _MIN_LINES


def _has_near(ordered: list[float], value: float, distance: float) -> bool:
    index = bisect_left(ordered, value - distance)
    return index < len(ordered) and ordered[index] <= value + distance


def _side_by_side(left: list[Segment], right: list[Segment]) -> bool:
    """Whether the two lie beside each other, and not one above the other, for half of the lower one's height."""
    spans = [(min(s.top for s in side), max(s.bottom for s in side)) for side in (left, right)]
    overlap = min(end for _, end in spans) - max(start for start, _ in spans)
    return overlap >= 0.5 * min(end - start for start, end in spans)


def _mean_characters(side: list[Segment], num_rows: int) -> float:
    return sum(len(segment.text) for segment in side) / num_rows
