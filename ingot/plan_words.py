"""What a run was planned to come to and what it came to, in one line for a card."""

from collections.abc import Mapping
from typing import Any


def plan_words(plan: Mapping[str, Mapping[str, Any]]) -> str:
    """Loss with its band, time and energy, of the values that a registered version keeps."""
    found = []
    loss, hours, kwh = (plan.get(name) or {} for name in ("loss", "hours", "kwh"))
    if loss.get("actual") is not None:
        planned = ""
        if loss.get("planned") is not None:  # nothing predicts the loss of weights that are not fresh
            planned = f" (planned {loss['planned']:.2f}, {loss['low']:.2f} to {loss['high']:.2f}: {loss['verdict']})"
        found.append(f"loss {loss['actual']:.2f} nats a token{planned}")
    for row, unit in ((hours, "hours"), (kwh, "kWh")):
        if row.get("actual") is not None:
            planned = f" (planned {row['planned']:.2g})" if row.get("planned") else ""
            found.append(f"{row['actual']:.2g} {unit}{planned}")
    return ", ".join(found)
