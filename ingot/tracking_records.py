"""Plain records of what MLflow shall show: a run, its inputs and a model version, under our own names.

No MLflow id appears in them, so MLflow can be deleted and filled again from the same records.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

RunStatus = Literal["RUNNING", "FINISHED", "FAILED"]
MAX_PARAMS = 20
_NOT_METRICS = frozenset({"step", "time"})


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetInput(_Record):
    """A corpus version, or another dataset, that a run read."""

    name: str
    """For instance `handbook@12`."""
    digest: str = Field(min_length=1)
    """Root digest, hexadecimal, in full."""
    source: str
    """Where it is, for instance `ingot://corpora/handbook/12`; at most 64 KiB."""
    context: str = Field(max_length=500)
    """What it was read for: pretrain, eval, ..."""
    profile: Mapping[str, int | float | str] = {}
    """Counts to show: documents, tokens, bytes, ..."""

    @property
    def short_digest(self) -> str:
        """The first 32 digits: MLflow takes at most 36 characters and a SHA-256 has 64."""
        return self.digest[:32]


class RunRecord(_Record):
    """Everything MLflow shows of a run, apart from metrics that are still to come."""

    run_key: str = Field(min_length=1)
    """Our own id of the run: the stage fingerprint."""
    name: str
    experiment: str
    params: Mapping[str, str | int | float | bool] = Field(default={}, max_length=MAX_PARAMS)
    """The chosen few; MLflow never lets one change, so nothing that differs between attempts."""
    tags: Mapping[str, str] = {}
    datasets: tuple[DatasetInput, ...] = ()
    artifacts: Mapping[str, str] = {}
    """Small texts by file name: `card.html`, `recipe.json`. No document text, no weights."""
    metrics_path: Path | None = None
    """The run's JSONL file, for a replay."""
    metric_lines: tuple[Mapping[str, Any], ...] = ()
    """Lines of a run that keeps no file."""
    status: RunStatus = "RUNNING"
    start_time_ms: int | None = None
    """Epoch milliseconds; None means now."""
    end_time_ms: int | None = None


class VersionRecord(_Record):
    """A version in MLflow's registry with our number: of a model, or of a corpus."""

    name: str
    version: int = Field(ge=1)
    """Our number, from the ledger; MLflow's own may differ."""
    source: str
    """`ingot://checkpoints/<digest>`; MLflow refuses file:// and plain paths."""
    run_key: str | None = None
    tags: Mapping[str, str] = {}
    aliases: tuple[str, ...] = ()
    kind: Literal["model", "corpus"] = "model"
    description: str = Field(default="", max_length=5000)
    """Markdown; MLflow's column holds 5,000 characters."""
    about: str = ""
    """Of all versions of this name."""


class Point(NamedTuple):
    """One value of one curve."""

    key: str
    value: float
    step: int
    time_ms: int


def points(lines: Iterable[Mapping[str, Any]]) -> Iterator[Point]:
    """The numbers of metric lines, with the time each line states; lines without step or time are skipped.

    `time` is in epoch seconds. A true infinity or NaN is kept: a curve should show where it broke.
    """
    for line in lines:
        step, time = line.get("step"), line.get("time")
        if not isinstance(step, int) or not isinstance(time, int | float):
            continue
        for key, value in line.items():
            if key in _NOT_METRICS or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            yield Point(key, float(value), step, round(time * 1000))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics file; a last line cut short by a crash is left out. Absent means none."""
    if not path.is_file():
        return []
    found = []
    for text in path.read_text().splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            found.append(line)
    return found


def as_json(value: Any) -> str:
    """A JSON file as people read it, equal for equal values."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)


def as_param(value: str | int | float | bool) -> str:
    """A parameter as MLflow stores it: text, equal for equal values on every attempt."""
    if isinstance(value, float) and math.isfinite(value) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return str(value)
