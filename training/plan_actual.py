"""A stage's prediction beside what came true: both as plain values, and the table of the two; arithmetic.

The prediction is made when the run is first started and kept with its record; what came true is read from the metrics
stored with the final checkpoint. Hours are those of training: pauses between two starts and checkpoints are no part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from training.history import end_loss
from training.stage_costs import Prices, money
from training.stage_plans import StagePlan, number

PLAN_FILE = "plan.json"
ACTUAL_FILE = "plan_against_actual.json"


def plan_values(stage: StagePlan, prices: Prices) -> dict[str, Any]:
    """The plan as JSON; the prices too, so that what came true is priced alike."""
    return {**asdict(stage), "prices": asdict(prices)}


def actual_values(lines: Sequence[Mapping[str, Any]], prices: Prices) -> dict[str, float | None]:
    """Loss, speed, hours, memory, kWh and cost from a run's metric lines; None for what no line says."""
    steps = [line for line in lines if line.get("tokens_per_second")]
    seconds = tokens_before = 0.0
    for line in steps:
        seconds += max(0.0, line["tokens"] - tokens_before) / line["tokens_per_second"]
        tokens_before = line["tokens"]
    hours = seconds / 3600 if steps else None
    name = next((name for name in ("energy_wh", "energy_estimated_wh") if any(name in line for line in steps)), None)
    kwh = sum(float(line.get(name, 0.0)) for line in steps) / 1000 if name else None
    return {
        "loss": end_loss(lines),
        "tokens_per_second": median(float(line["tokens_per_second"]) for line in steps) if steps else None,
        "hours": hours,
        "memory_bytes": max((int(line["peak_memory_bytes"]) for line in steps), default=None),
        "kwh": kwh,
        "cost": money(hours, kwh, prices),
    }


def against_actual(plan: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """By quantity: planned, actual, ratio of the two, and what the plan rested on; the loss with its band."""
    actual = actual_values(lines, Prices(**plan["prices"]))
    cost, loss = plan.get("cost") or {}, plan.get("loss") or {}
    basis = {
        "tokens_per_second": cost.get("speed_basis"), "hours": cost.get("speed_basis"), "kwh": cost.get("power_basis"),
        "memory_bytes": cost.get("memory_basis"), "cost": "hours and kWh times their prices", "loss": loss.get("basis"),
    }  # fmt: skip
    found: dict[str, dict[str, Any]] = {}
    for name, came in actual.items():
        planned = loss.get("middle") if name == "loss" else cost.get(name)
        ratio = came / planned if planned and came is not None else None
        found[name] = {"planned": planned, "actual": came, "ratio": ratio, "basis": basis[name] or "not planned"}
    if loss:
        found["loss"] |= {"low": loss["low"], "high": loss["high"], "verdict": _verdict(actual["loss"], loss)}
    return found


def _verdict(came: float | None, loss: Mapping[str, Any]) -> str:
    if came is None:
        return "not known"
    if loss["low"] <= came <= loss["high"]:
        return "within the band"
    return "below the band" if came < loss["low"] else "above the band"


_WORDS = {
    "loss": ("loss at the end, nats a token", 1.0), "tokens_per_second": ("tokens/s", 1.0),
    "hours": ("hours of training", 1.0), "memory_bytes": ("memory of a rank at its peak, MB", 1e6),
    "kwh": ("energy, kWh", 1.0), "cost": ("cost", 1.0),
}  # fmt: skip


def actual_rows(found: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """For people: what, planned, actual, actual over planned, by."""

    def said(value: float | None, unit: float = 1.0) -> str:
        return "not known" if value is None else number(value / unit)

    rows = []
    for name, row in found.items():
        what, unit = _WORDS[name]
        planned = said(row["planned"], unit)
        if "low" in row:
            planned += f" ({said(row['low'])} to {said(row['high'])}; {row['verdict']})"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        rows.append([what, planned, said(row["actual"], unit), ratio, str(row["basis"])])
    return rows
