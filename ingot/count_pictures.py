"""Pictures of counted documents: a histogram with its cuts, bars of shares, and two texts with what differs."""

import difflib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ingot.pictures import (
    COLOURS,
    DROPPED_COLOUR,
    KEPT_COLOUR,
    TOTAL_COLOUR,
    WIDTH,
    Markup,
    escape,
    frame_svg,
    label_width,
    number,
    text_svg,
)

_HELD_OUT_COLOUR, _OTHER_COLOUR = "#56b4e9", "#8c959f"
_MAX_SEGMENTS = 5
_MAX_COMPARED_WORDS = 2_000
_MAX_EQUAL_PAIRS = 250_000
_WORDS = re.compile(r"\s*\S+\s*|\s+")
_MAX_SHOWN_EQUAL = 600
"""Characters of an equal stretch that are shown on each side of a difference."""


@dataclass(frozen=True)
class Cut:
    """A threshold in a histogram; is_new: it is the one that is asked about."""

    label: str
    value: float
    is_new: bool = True


def histogram_svg(
    edges: Sequence[float],
    series: Mapping[str, Sequence[int]],
    *,
    title: str,
    x_label: str = "",
    cuts: Sequence[Cut] = (),
    height: int = 150,
) -> Markup:
    """Documents in bins of equal width on the page, one colour a series, the later ones before the earlier.

    edges: ascending, e of them; each series has e + 1 counts (below the first edge, between, from the last on).
    Raises ValueError when a series has another length.
    """
    for name, counts in series.items():
        if len(counts) != len(edges) + 1:
            raise ValueError(f"histogram_svg: {name} has {len(counts)} counts for {len(edges)} edges; pass one more")
    used = [index for index in range(len(edges) + 1) if any(counts[index] for counts in series.values())]
    if not used:
        return frame_svg(title, f"{title}: no documents", 68, [text_svg(12, 46, "no documents", soft=True)])
    first, last = _range_of(used, edges, cuts)
    left, top, width = 70.0, 40.0 + 14 * len(cuts), WIDTH - 100.0
    step = width / (last - first + 1)
    largest = max(max(counts[first : last + 1]) for counts in series.values())
    parts = []
    for value in sorted({0, largest // 2, largest}):
        y = top + height - height * value / largest
        parts.append(
            f'<line class="ingot-line" stroke-opacity=".35" x1="{left}" x2="{left + width}" y1="{y:.1f}" '
            f'y2="{y:.1f}"/>' + text_svg(left - 6, y + 4, number(value), anchor="end", soft=True)
        )
    colours = [_OTHER_COLOUR, TOTAL_COLOUR, *COLOURS[1:]] if len(series) > 1 else [TOTAL_COLOUR]
    for (name, counts), colour in zip(series.items(), colours, strict=False):
        for index in range(first, last + 1):
            if counts[index]:
                bar = max(1.0, height * counts[index] / largest)
                parts.append(
                    f'<rect x="{left + (index - first) * step + 1:.1f}" y="{top + height - bar:.1f}" '
                    f'width="{max(1.0, step - 2):.1f}" height="{bar:.1f}" fill="{colour}">'
                    f"<title>{escape(name)}: {number(counts[index])} {escape(_interval(edges, index))}</title></rect>"
                )
    every = max(1, math.ceil((last - first + 1) * 52 / width))
    for index in range(first, last):
        if (index - first) % every == 0:
            x = left + (index - first + 1) * step
            parts.append(text_svg(x, top + height + 15, f"{edges[index]:,.9g}", anchor="middle", soft=True))
    parts.append(text_svg(left + width / 2, top + height + 32, x_label, anchor="middle", soft=True))
    for row, cut in enumerate(cuts):
        x = left + (_position(cut.value, edges) - first) * step
        x = min(max(x, left), left + width)
        colour = DROPPED_COLOUR if cut.is_new else _OTHER_COLOUR
        y = 38 + 14 * row
        parts.append(
            f'<line stroke="{colour}" stroke-width="2" stroke-dasharray="{"none" if cut.is_new else "4 3"}" '
            f'x1="{x:.1f}" x2="{x:.1f}" y1="{y - 8}" y2="{top + height:.1f}"/>'
            + text_svg(
                x + (5 if x < left + width / 2 else -5), y, cut.label,
                anchor="start" if x < left + width / 2 else "end",
            )
        )  # fmt: skip
    y = top + height + 50
    parts += _legend(list(zip(series, colours, strict=False)), left, y) if len(series) > 1 else []
    return frame_svg(title, title, y + (14 if len(series) > 1 else -8), parts)


def _range_of(used: Sequence[int], edges: Sequence[float], cuts: Sequence[Cut]) -> tuple[int, int]:
    """First and last bin to show: those with documents, and those of the cuts."""
    places = [*used, *(min(int(_position(cut.value, edges)), len(edges)) for cut in cuts)]
    return min(places), max(places)


def _position(value: float, edges: Sequence[float]) -> float:
    """Where a value lies on an axis on which every bin is one long."""
    index = sum(edge <= value for edge in edges)
    if index in (0, len(edges)):
        return index + 0.5
    low, high = edges[index - 1], edges[index]
    return index + (value - low) / (high - low)


def _interval(edges: Sequence[float], index: int) -> str:
    if index == 0:
        return f"below {edges[0]:,.4g}"
    if index == len(edges):
        return f"from {edges[-1]:,.4g} on"
    return f"from {edges[index - 1]:,.4g} to {edges[index]:,.4g}"


def shares_svg(
    rows: Sequence[tuple[str, Sequence[tuple[str, int]]]],
    *,
    title: str,
    kept: str = "kept",
    held_out: str = "held out",
) -> Markup:
    """One bar of 100 % a row, cut by what became of its documents; the five largest parts have colours of their own.

    `kept` and `held_out` are the names of the parts that are not losses.
    """
    totals: dict[str, int] = {}
    for _, parts_of_row in rows:
        for name, count in parts_of_row:
            totals[name] = totals.get(name, 0) + count
    losses = sorted((name for name in totals if name not in (kept, held_out)), key=lambda n: (-totals[n], n))
    palette = [DROPPED_COLOUR, "#e69f00", "#cc79a7", "#0072b2", "#f0e442"]
    colours = {kept: KEPT_COLOUR, held_out: _HELD_OUT_COLOUR}
    colours |= dict(zip(losses[:_MAX_SEGMENTS], palette, strict=False))
    left = label_width([f"{label} (99,999)" for label, _ in rows])
    span = WIDTH - left - 30
    parts = []
    for index, (label, parts_of_row) in enumerate(rows):
        total = sum(count for _, count in parts_of_row)
        y, x = 36 + 24 * index, left
        parts.append(text_svg(12, y + 13, f"{label} ({number(total)})", room=left - 18))
        for name, count in sorted(parts_of_row, key=lambda part: _order(part[0], kept, held_out, losses)):
            length = span * count / total if total else 0.0
            if count:
                parts.append(
                    f'<rect x="{x:.1f}" y="{y}" width="{max(0.5, length):.1f}" height="18" '
                    f'fill="{colours.get(name, _OTHER_COLOUR)}">'
                    f"<title>{escape(label)}: {escape(name)} {number(count)} ({count / total:.1%})</title></rect>"
                )
            x += length
    named = [(name, colours[name]) for name in (kept, held_out, *losses[:_MAX_SEGMENTS]) if totals.get(name)]
    if len(losses) > _MAX_SEGMENTS:
        named.append(("other reasons", _OTHER_COLOUR))
    y = 36 + 24 * len(rows) + 16
    legend = _legend(named, 12, y)
    return frame_svg(title, title, y + 18 * _legend_rows(named, 12), parts + legend)


def _order(name: str, kept: str, held_out: str, losses: Sequence[str]) -> int:
    return 0 if name == kept else 1 if name == held_out else 2 + losses.index(name)


def _legend(named: Sequence[tuple[str, str]], left: float, y: float) -> list[str]:
    parts, x = [], left
    for name, colour in named:
        room = 7.0 * len(name) + 34
        if x + room > WIDTH - 12 and x > left:
            x, y = left, y + 18
        parts.append(
            f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="12" height="9" fill="{colour}"/>'
            + text_svg(x + 17, y, name, soft=True)
        )
        x += room
    return parts


def _legend_rows(named: Sequence[tuple[str, str]], left: float) -> int:
    rows, x = 1, left
    for name, _ in named:
        room = 7.0 * len(name) + 34
        if x + room > WIDTH - 12 and x > left:
            x, rows = left, rows + 1
        x += room
    return rows


def difference_html(before: str, after: str) -> Markup:
    """The second text, with what it lacks of the first struck through and what it has more marked.

    By lines, and inside lines that were replaced by words. Long equal stretches are shortened and say so.
    """
    first, second = before.splitlines(keepends=True), after.splitlines(keepends=True)
    parts: list[str] = []
    many = max(len(first), len(second)) > _MAX_COMPARED_WORDS
    blocks = _matcher(first, second, many=many).get_opcodes()
    for index, (kind, i1, i2, j1, j2) in enumerate(blocks):
        old, new = "".join(first[i1:i2]), "".join(second[j1:j2])
        if kind == "equal":
            parts.append(escape(_shortened(new, index == 0, index == len(blocks) - 1)))
        else:
            parts += _word_differences(old, new)
    return Markup(f"<pre>{''.join(parts)}</pre>")


def _matcher(first: list[str], second: list[str], *, many: bool = False) -> "difflib.SequenceMatcher[str]":
    """Where much is alike, or with `many`, what comes often is not matched: time would grow with the cube of it."""
    counts = Counter(second)
    pairs = sum(counts[part] for part in first)
    return difflib.SequenceMatcher(None, first, second, autojunk=many or pairs > _MAX_EQUAL_PAIRS)


def _word_differences(old: str, new: str) -> list[str]:
    first, second = _WORDS.findall(old), _WORDS.findall(new)
    # Comparing words takes time with the square of their number.
    if max(len(first), len(second)) > _MAX_COMPARED_WORDS:
        return _changed(old, new)
    parts: list[str] = []
    for kind, i1, i2, j1, j2 in _matcher(first, second).get_opcodes():
        if kind == "equal":
            parts.append(escape("".join(second[j1:j2])))
        else:
            parts += _changed("".join(first[i1:i2]), "".join(second[j1:j2]))
    return parts


def _changed(old: str, new: str) -> list[str]:
    lost = [f"<del>{escape(old)}</del>"] if old else []
    return [*lost, f"<ins>{escape(new)}</ins>"] if new else lost


def _shortened(text: str, is_first: bool, is_last: bool) -> str:
    head, tail = (0 if is_first else _MAX_SHOWN_EQUAL), (0 if is_last else _MAX_SHOWN_EQUAL)
    head, tail = (_MAX_SHOWN_EQUAL, _MAX_SHOWN_EQUAL) if is_first and is_last else (head, tail)
    hidden = len(text) - head - tail
    if hidden < 200:
        return text
    return f"{text[:head]} [… {hidden:,} equal characters …] {text[len(text) - tail:] if tail else ''}"
