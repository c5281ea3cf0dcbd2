"""The training curve in Prefect's UI while a stage trains: one Markdown artifact that is replaced in place.

The UI draws no SVG that stands in Markdown, but an image whose address holds the SVG itself, which is how the
pictures of the cards get there without a file server. Numbers only; every point is in MLflow.
"""

import math
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ingot.pictures import Markup, curve_svg, thinned
from tasks.live_artifacts import LiveArtifact
from tasks.policies import CURVE_SECONDS
from tasks.progress import duration
from training.job import HELDOUT_METRIC

KEY = "training-curve"
MAX_POINTS = 60
"""Points of each line: a picture of 4 KB, in which nothing of a curve's shape is lost at its width."""
_TABLE_ROWS = 12
_SPEED_LINES = 5  # the time left comes from the mean speed of so many lines


class TrainingCurve:
    """The lines of metrics.jsonl so far, as a page."""

    def __init__(self, title: str, total_tokens: int) -> None:
        self.title = title
        self.total_tokens = total_tokens
        self._lines: dict[int, Mapping[str, Any]] = {}
        self._looks: dict[int, Mapping[str, Any]] = {}

    def add(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Note new lines; a step that a resumed run repeats replaces the earlier one."""
        self._lines.update((int(line["step"]), line) for line in lines if "step" in line and "loss" in line)
        self._looks.update((int(line["step"]), line) for line in lines if any(map(_is_look, line)))

    @property
    def lines(self) -> list[Mapping[str, Any]]:
        """What is known, by step."""
        return [self._lines[step] for step in sorted(self._lines)]

    def markdown(self) -> str:
        """Numbers of now, loss, held-out bits per byte and speed as pictures, a few points as a table."""
        lines = self.lines
        parts = [f"# Training curve of {self.title}", self._now(lines)]
        loss = _points(lines, "loss")
        parts.append(_image("loss by step", curve_svg({"loss": loss}, title="Loss", y_label="nats per token")))
        if self._looks:
            parts.append(_heldout_picture([self._looks[step] for step in sorted(self._looks)]))
        speed = _points(lines, "tokens_per_second")
        if speed:
            picture = curve_svg({"tokens per second": speed}, title="Speed", from_zero=True)
            parts.append(_image("tokens per second by step", picture))
        parts.append(_table(lines))
        return "\n\n".join(parts) + "\n"

    def headline(self) -> str:
        """The newest loss, for the card on the run's page."""
        lines = self.lines
        return f"loss {_number(lines[-1]['loss'], '.4f')} at step {lines[-1]['step']:,}" if lines else "no step yet"

    def _now(self, lines: Sequence[Mapping[str, Any]]) -> str:
        if not lines:
            return "no step yet"
        last = lines[-1]
        tokens = int(last.get("tokens", 0))
        speeds = [float(line["tokens_per_second"]) for line in lines[-_SPEED_LINES:] if line.get("tokens_per_second")]
        facts = [f"**step {last['step']:,}**, loss **{_number(last['loss'], '.4f')}**"]
        facts.append(f"learning rate {_number(last.get('learning_rate', 0.0), '.3g')}")
        seen = self._looks[max(self._looks)] if self._looks else {}
        for name in filter(_is_look, seen):
            corpus = name.removeprefix(HELDOUT_METRIC).lstrip("_")
            of = f" of {corpus}" if corpus else ""
            facts.append(f"**{_number(seen[name], '.3f')}** bits per byte of held-out text{of}")
        facts.append(f"{tokens:,} of {self.total_tokens:,} tokens")
        if speeds:
            mean = sum(speeds) / len(speeds)
            facts.append(f"{mean:,.0f} tokens per second")
            left = max(0, self.total_tokens - tokens)
            facts.append(f"about {duration(left / mean)} left" if left and mean else "done")
        return ", ".join(facts)


@contextmanager
def training_curve(title: str, total_tokens: int) -> Iterator["ShownCurve"]:
    """A curve whose artifact is renewed by `show`, at most every five seconds, and at the end."""
    curve = ShownCurve(title, total_tokens)
    try:
        yield curve
    finally:
        curve.show(now=True)
        curve.artifact.flush()


class ShownCurve(TrainingCurve):
    """A curve with its artifact."""

    def __init__(self, title: str, total_tokens: int) -> None:
        super().__init__(title, total_tokens)
        self.artifact = LiveArtifact(KEY, "markdown")
        self._shown_at = float("-inf")
        self._num_shown = 0

    def add(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Note new lines and show them when the last picture is old enough."""
        super().add(lines)
        self.show()

    def show(self, *, now: bool = False) -> None:
        """Renew the artifact when there is something new."""
        time_is_up = now or time.monotonic() - self._shown_at >= CURVE_SECONDS
        num_known = len(self._lines) + len(self._looks)
        if time_is_up and num_known > self._num_shown:
            self._shown_at, self._num_shown = time.monotonic(), num_known
            self.artifact.show(self.markdown(), self.headline())


def _is_look(name: str) -> bool:
    return name.startswith(HELDOUT_METRIC)


def _heldout_picture(looks: Sequence[Mapping[str, Any]]) -> str:
    """Of a mixture a curve for each corpus."""
    names = sorted({name for line in looks for name in line if _is_look(name)})
    short = [name.removeprefix(HELDOUT_METRIC).lstrip("_") or "held out" for name in names]
    curves = {own: _points(looks, name) for own, name in zip(short, names, strict=True)}
    picture = curve_svg(curves, title="Held-out text", y_label="bits per byte")
    return _image("bits per byte of held-out text by step", picture)


def _points(lines: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    points = [(float(line["step"]), float(line[name])) for line in lines if line.get(name) is not None]
    if len(points) <= MAX_POINTS:
        return points
    # The ends always: where it began, and where it is now.
    return sorted({points[0], *thinned(points[1:-1], MAX_POINTS - 2), points[-1]})


def _table(lines: Sequence[Mapping[str, Any]]) -> str:
    every = max(1, math.ceil(len(lines) / _TABLE_ROWS))
    shown = list(lines[::-every])[::-1]  # the newest is always there
    rows = ["| step | loss | tokens per second | learning rate |", "|---:|---:|---:|---:|"]
    for line in shown:
        cells = (
            f"{line['step']:,}",
            _number(line["loss"], ".4f"),
            _number(line.get("tokens_per_second"), ",.0f"),
            _number(line.get("learning_rate"), ".3g"),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _number(value: Any, form: str) -> str:
    return "" if value is None else format(float(value), form)


def _image(name: str, svg: Markup) -> str:
    return f"![{name}](data:image/svg+xml;base64,{b64encode(svg.encode()).decode()})"
