"""Small pictures and pages as plain strings: SVG and HTML without any dependency.

Data cards, evaluation cards and the lineage picture are made here; pictures of counted documents in
`ingot.count_pictures`, from the same parts. A page is one self-contained file:
it asks the network for nothing, runs no script (its content policy forbids both) and follows the
reader's light or dark preference. Every string of a caller is escaped; only `Markup`, which the
functions of the two modules return, passes through unchanged.
"""

import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SVG_NAMESPACE = "http://www.w3.org/2000/svg"
WIDTH = 760  # fits beside a sidebar on a 1280 px laptop screen, in Prefect, MLflow and a browser
WIDE = 1140  # a picture on a page of its own, as wide as `html_page(wide=True)`; scaled down on a small screen
CHARACTER_WIDTH = 6.6  # mean advance of a 12 px system font; texts are cut a little early, not late
MAX_POINTS = 600  # per curve; more cannot be told apart at this width

# Characters that XML 1.0 does not allow even as references would make a whole SVG unreadable;
# the bidirectional controls would let a label reorder the text beside it.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]")

_STYLE = (
    ".ingot-bg{fill:#fff}.ingot-text{fill:#24292f}.ingot-soft{fill:#656d76}.ingot-line{stroke:#8c959f}"
    ".ingot-box{fill:#f6f8fa;stroke:#8c959f}"
    "@media(prefers-color-scheme:dark){.ingot-bg{fill:#16181d}.ingot-text{fill:#e6e6e6}"
    ".ingot-soft{fill:#9aa4af}.ingot-line{stroke:#6b7480}.ingot-box{fill:#22262e;stroke:#6b7480}}"
)
_PAGE_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "background:#fff;color:#24292f}h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}"
    "table{border-collapse:collapse;font-size:.9rem;margin:.6rem 0 1.2rem}th,td{padding:.2rem .7rem;text-align:left;"
    "border-bottom:1px solid #8c959f66}td.long{overflow-wrap:anywhere}td.number{text-align:right;"
    "font-variant-numeric:tabular-nums;white-space:nowrap}caption{text-align:left;color:#656d76}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;border-left:3px solid #8c959f;padding-left:.8rem}"
    "svg{max-width:100%;height:auto}ins{background:#009e7344;text-decoration:none}del{background:#d55e0044}"
    "@media(prefers-color-scheme:dark){body{background:#16181d;color:#e6e6e6}caption{color:#9aa4af}}"
)
_WIDE_BODY = ' style="max-width:73rem"'
_LONG = ' class="long"'
# Okabe and Ito's palette without black and yellow: colour-blind readers tell them apart, on both grounds.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
KEPT_COLOUR, DROPPED_COLOUR, TOTAL_COLOUR = "#009e73", "#d55e00", "#0072b2"


class Markup(str):
    """A string that is already markup and safe to insert; only the modules of pictures should make one."""

    __slots__ = ()


@dataclass(frozen=True)
class Box:
    """One box of a lineage picture: `key` names it in edges, `lines` stand below its title."""

    key: str
    title: str
    lines: tuple[str, ...] = ()


def escape(value: object) -> Markup:
    """The text of a value, safe inside an element or a double-quoted attribute."""
    if isinstance(value, Markup):
        return value
    return Markup(html.escape(_FORBIDDEN.sub("\ufffd", str(value)), quote=True))


def number(value: float | int | None, digits: int = 3) -> str:
    """A number for people: thousands separated, floats with `digits` decimals, None as a dash."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.{digits}f}" if math.isfinite(value) else "not finite"


def waterfall_svg(rows: Sequence[tuple[str, int]], *, title: str, unit: str = "documents") -> Markup:
    """What came in (first row), what left and why (rows between), and what was kept (last row).

    Counts are not negative and add up: in = sum of those between + kept; a picture that does not
    add up raises ValueError, because it would hide documents.
    """
    if len(rows) < 2:
        raise ValueError(f"waterfall_svg: {len(rows)} rows given; it needs at least what came in and what was kept")
    counts = [count for _, count in rows]
    if min(counts) < 0 or counts[0] != sum(counts[1:]):
        raise ValueError(
            f"waterfall_svg: {counts[0]:,} came in, but {sum(counts[1:]):,} are accounted for; "
            "pass every drop reason and the kept count"
        )
    left = label_width([label for label, _ in rows])
    span = WIDTH - left - 130
    scale = span / counts[0] if counts[0] else 0.0
    parts, remaining = [], counts[0]
    for index, (label, count) in enumerate(rows):
        last = index == len(rows) - 1
        if index and not last:
            remaining -= count
        start = remaining if index and not last else 0
        colour = TOTAL_COLOUR if index == 0 else KEPT_COLOUR if last else DROPPED_COLOUR
        share = f"{number(count)} ({count / counts[0]:.1%})" if counts[0] else number(count)
        parts.append(_bar(index, label, left, start * scale, count * scale, colour, share))
    return _svg(title, f"{title}: {number(counts[-1])} of {number(counts[0])} {unit} kept", len(rows), parts)


def bars_svg(
    rows: Sequence[tuple[str, float]], *, title: str, unit: str = "", digits: int = 3, highlight: str | None = None
) -> Markup:
    """Horizontal bars from zero, in the order given; a value that is not finite gets no bar and says so.

    The bar labelled `highlight` has a colour of its own.
    """
    left = label_width([label for label, _ in rows])
    largest = max((abs(value) for _, value in rows if math.isfinite(value)), default=0.0)
    scale = (WIDTH - left - 130) / largest if largest else 0.0
    parts = []
    for index, (label, value) in enumerate(rows):
        length = abs(value) * scale if math.isfinite(value) else 0.0
        colour = KEPT_COLOUR if label == highlight else COLOURS[0] if value >= 0 else DROPPED_COLOUR
        parts.append(_bar(index, label, left, 0.0, length, colour, f"{number(value, digits)} {unit}".strip()))
    return _svg(title, title, max(1, len(rows)), parts)


def curve_svg(
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    title: str,
    x_label: str = "step",
    y_label: str = "",
    from_zero: bool = False,
) -> Markup:
    """Lines over a common grid, one per name, with a legend; points are (x, y) sorted by x.

    from_zero: the grid begins at zero, so that a small change does not look like a large one.

    A point that is not finite breaks its line. Above 600 points a line keeps the lowest and highest
    point of each slice, so that no spike is smoothed away.
    """
    left, top, width, height = 70, 46, WIDTH - 100, 220
    finite = [(x, y) for points in series.values() for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if not finite:
        return _svg(title, f"{title}: no points", 1, [text_svg(12, 46, "no points yet", soft=True)])
    x_low, x_high = _widened(min(x for x, _ in finite), max(x for x, _ in finite))
    y_low, y_high = _widened(0.0 if from_zero else min(y for _, y in finite), max(y for _, y in finite))

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (x - x_low) / (x_high - x_low) * width, top + (y_high - y) / (y_high - y_low) * height

    parts = []
    for value in _ticks(y_low, y_high):
        _, y = place(x_low, value)
        parts.append(
            f'<line class="ingot-line" stroke-opacity=".35" x1="{left}" x2="{left + width}" '
            f'y1="{y:.1f}" y2="{y:.1f}"/>' + text_svg(left - 6, y + 4, f"{value:,.6g}", anchor="end", soft=True)
        )
    for value in _ticks(x_low, x_high):
        x, _ = place(value, y_low)
        parts.append(text_svg(x, top + height + 16, f"{value:,.10g}", anchor="middle", soft=True))
    parts.append(text_svg(left + width / 2, top + height + 34, x_label, anchor="middle", soft=True))
    parts.append(text_svg(left, top - 6, y_label, soft=True))
    for index, (name, points) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        for run in _finite_runs(thinned(points)):
            path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in run)
            parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.8" points="{path}"/>')
        y = top + height + 54 + 18 * index
        parts.append(
            f'<rect x="{left}" y="{y - 9}" width="14" height="4" fill="{colour}"/>'
            + text_svg(left + 20, y - 3, name, room=width - 30)
        )
    return frame_svg(title, title, top + height + 54 + 18 * len(series), parts)


def lineage_svg(
    layers: Sequence[Sequence[Box]],
    edges: Sequence[tuple[str, str]],
    *,
    title: str,
    max_boxes: int = 12,
    width: int = WIDTH,
) -> Markup:
    """Boxes in columns from left to right (sources, corpus, tokens, model) and the arrows between them.

    Edges are (from key, to key); an unknown key raises ValueError. A column with more than `max_boxes`
    boxes shows the first ones and one box that says how many more there are and stands for them.
    """
    column = max(110.0, min(200.0, (width - 24) / max(1, len(layers)) - 36))
    shown: list[list[Box]] = []
    alias: dict[str, str] = {}
    for depth, layer in enumerate(layers):
        boxes = list(layer)
        if len(boxes) > max_boxes:
            rest = Box(f"\x00more{depth}", f"and {len(boxes) - max_boxes + 1:,} more")
            alias.update((box.key, rest.key) for box in boxes[max_boxes - 1 :])
            boxes = [*boxes[: max_boxes - 1], rest]
        alias.update((box.key, box.key) for box in boxes)
        shown.append(boxes)
    for edge in edges:
        for key in edge:
            if key not in alias:
                raise ValueError(f"lineage_svg: edge {edge!r} names {key!r}, which is no box; add it to a layer")
    heights = [[26 + 15 * len(box.lines) for box in boxes] for boxes in shown]
    total = max((sum(column_heights) + 14 * len(column_heights) for column_heights in heights), default=0)
    step = (width - 24 - column) / max(1, len(layers) - 1)
    places: dict[str, tuple[float, float, float]] = {}
    parts = []
    for depth, (boxes, column_heights) in enumerate(zip(shown, heights, strict=True)):
        x = 12 + depth * step
        y = 40 + (total - sum(column_heights) - 14 * len(boxes)) / 2
        for box, height in zip(boxes, column_heights, strict=True):
            places[box.key] = (x, y, height)
            parts.append(
                f'<rect class="ingot-box" x="{x:.1f}" y="{y:.1f}" width="{column:.1f}" height="{height}" '
                'rx="5"/>' + text_svg(x + 8, y + 17, box.title, room=column - 16, bold=True)
            )
            parts += [
                text_svg(x + 8, y + 32 + 15 * row, line, room=column - 16, soft=True)
                for row, line in enumerate(box.lines)
            ]
            y += height + 14
    arrows = []
    for start, end in dict.fromkeys((alias[start], alias[end]) for start, end in edges):
        (x1, y1, h1), (x2, y2, h2) = places[start], places[end]
        x1, y1, y2 = x1 + column, y1 + h1 / 2, y2 + h2 / 2
        bend = max(16.0, abs(x2 - x1) / 2)
        arrows.append(
            f'<path class="ingot-line" fill="none" stroke-width="1.3" d="M{x1:.1f},{y1:.1f} '
            f'C{x1 + bend:.1f},{y1:.1f} {x2 - bend:.1f},{y2:.1f} {x2 - 2:.1f},{y2:.1f}"/>'
            f'<path class="ingot-line" fill="none" stroke-width="1.3" '
            f'd="M{x2 - 7:.1f},{y2 - 4:.1f} L{x2 - 1:.1f},{y2:.1f} L{x2 - 7:.1f},{y2 + 4:.1f}"/>'
        )
    return frame_svg(title, title, 46 + total, arrows + parts, width)


def table_html(
    header: Sequence[str], rows: Sequence[Sequence[object]], *, caption: str = "", digits: int = 3
) -> Markup:
    """A table; int and float cells are formatted and set to the right, None is a dash, all else is text."""
    parts = ["<table>", f"<caption>{escape(caption)}</caption>" if caption else "", "<thead><tr>"]
    parts += [f"<th>{escape(name)}</th>" for name in header]
    parts.append("</tr></thead><tbody>")
    for row in rows:
        parts.append("<tr>")
        for cell in row:
            is_number = cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool))
            parts.append(
                f'<td class="number">{escape(number(cell, digits))}</td>'  # type: ignore[arg-type]
                if is_number
                else f"<td{_LONG if _is_long(cell) else ''}>{escape(cell)}</td>"
            )
        parts.append("</tr>")
    return Markup("".join([*parts, "</tbody></table>"]))


def _is_long(cell: object) -> bool:
    """Whether a cell holds a digest, an address or the like, which must break somewhere on a narrow screen."""
    return any(len(word) > 24 for word in str(cell).split())


def paragraph_html(text: str) -> Markup:
    """One paragraph of plain text."""
    return Markup(f"<p>{escape(text)}</p>")


def preformatted_html(text: str) -> Markup:
    """Text whose line breaks and blanks matter, such as generated text."""
    return Markup(f"<pre>{escape(text)}</pre>")


def html_page(title: str, sections: Sequence[tuple[str, str | Sequence[str]]], *, wide: bool = False) -> str:
    """A whole page: (heading, content) per section; plain strings in it become escaped paragraphs.

    wide: for pictures and tables with many columns, read in a window of its own.
    """
    body = []
    for heading, content in sections:
        body.append(f"<h2>{escape(heading)}</h2>")
        blocks = [content] if isinstance(content, str) else content
        body += [block if isinstance(block, Markup) else paragraph_html(block) for block in blocks]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; style-src '
        "'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_PAGE_STYLE}</style></head>"
        f"<body{_WIDE_BODY if wide else ''}><h1>{escape(title)}</h1>\n" + "\n".join(body) + "</body></html>\n"
    )


def _svg(title: str, description: str, num_rows: int, parts: Sequence[str]) -> Markup:
    return frame_svg(title, description, 44 + 24 * num_rows, parts)


def frame_svg(title: str, description: str, height: float, parts: Sequence[str], width: int = WIDTH) -> Markup:
    """The SVG document around a picture's parts; it paints its own ground, so that it also stands alone as a file."""
    return Markup(
        f'<svg xmlns="{SVG_NAMESPACE}" width="{width}" height="{height:.0f}" '
        f'viewBox="0 0 {width} {height:.0f}" '
        f'role="img" font-family="system-ui,sans-serif" font-size="12"><title>{escape(description)}</title>'
        f'<style>{_STYLE}</style><rect class="ingot-bg" width="{width}" height="{height:.0f}"/>'
        + text_svg(12, 20, title, room=width - 24, bold=True)
        + "".join(parts)
        + "</svg>"
    )


def text_svg(
    x: float,
    y: float,
    text: str,
    *,
    room: float | None = None,
    anchor: str = "start",
    soft: bool = False,
    bold: bool = False,
) -> str:
    """One line of text; longer than `room` pixels it is cut, and the whole shows on hovering."""
    longest = len(text) if room is None else max(1, int(room / (CHARACTER_WIDTH * (1.08 if bold else 1.0))))
    cut = text if len(text) <= longest else text[: longest - 1] + "…"
    hover = "" if cut == text else f"<title>{escape(text)}</title>"
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text class="{"ingot-soft" if soft else "ingot-text"}" x="{x:.1f}" y="{y:.1f}" '
        f'text-anchor="{anchor}"{weight}>{escape(cut)}{hover}</text>'
    )


def _bar(row: int, label: str, left: float, start: float, length: float, colour: str, value: str) -> str:
    y = 36 + 24 * row
    return (
        text_svg(12, y + 13, label, room=left - 18)
        + f'<rect x="{left + start:.1f}" y="{y}" width="{max(length, 1.0):.1f}" height="18" rx="2" '
        f'fill="{colour}"/>' + text_svg(left + start + length + 6, y + 13, value, soft=True)
    )


def label_width(labels: Sequence[str]) -> float:
    longest = max((len(label) for label in labels), default=0)
    return min(300.0, max(90.0, longest * CHARACTER_WIDTH + 26))


def _widened(low: float, high: float) -> tuple[float, float]:
    """A range that can be divided by, also for one point or a flat line."""
    return (low, high) if high > low else (low - max(0.5, abs(low) * 0.05), high + max(0.5, abs(high) * 0.05))


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers (1, 2 or 5 times a power of ten apart) within a range."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [index * step for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def thinned(points: Sequence[tuple[float, float]], max_points: int = MAX_POINTS) -> Sequence[tuple[float, float]]:
    """At most `max_points` of a curve: the lowest and the highest of each slice, so that no spike is lost."""
    if len(points) <= max_points:
        return points
    size = math.ceil(len(points) / (max_points // 2))
    kept: list[tuple[float, float]] = []
    for begin in range(0, len(points), size):
        slice_ = points[begin : begin + size]
        broken = [point for point in slice_ if not math.isfinite(point[1])]
        if broken:
            kept += [*broken[:1]]
            continue
        low, high = min(slice_, key=lambda point: point[1]), max(slice_, key=lambda point: point[1])
        kept += sorted({low, high})
    return kept


def _finite_runs(points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if math.isfinite(x) and math.isfinite(y):
            runs[-1].append((x, y))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
