"""GPUs for a stage: what it asks for, taken before it starts, and seen while it waits."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ingot import gpu_slots, heartbeats
from ingot.config import NamedConfig, Recipe
from ingot.settings import Settings
from tasks.live_artifacts import LiveArtifact

logger = logging.getLogger(__name__)

KEY = "gpu-slots"


def check_gpus(recipe: Recipe, settings: Settings) -> None:
    """Refuse a recipe that asks for more GPUs than this machine has, before anything is spent on it."""
    for index, stage in enumerate(recipe.train):
        wanted = num_gpus(stage)
        if wanted is not None:
            gpu_slots.check(settings, wanted, f"train.{index}.gpus")


def num_gpus(stage: NamedConfig) -> int | None:
    """How many GPUs a stage asks for; None when it asks for none and takes what it finds."""
    wanted: int | None = getattr(stage.config, "gpus", None)
    return wanted


@contextmanager
def held_gpus(stage: NamedConfig, settings: Settings, flow_run_id: str) -> Iterator[tuple[str, ...] | None]:
    """The devices of a stage while the block lasts; None when it asks for none."""
    wanted = num_gpus(stage)
    if wanted is None:
        yield None
        return
    shown: LiveArtifact | None = None

    def say(text: str) -> None:
        nonlocal shown
        shown = shown or LiveArtifact(KEY, "markdown")
        logger.info("%s waits for %s", stage.name, text)
        heartbeats.say_waiting(settings.home, flow_run_id, text)
        shown.show(slots_markdown(settings, f"{stage.name} waits for {text}"), f"waits for {text}")

    with gpu_slots.hold(settings, wanted, flow_run_id=flow_run_id, what=stage.name, on_wait=say) as devices:
        names = " and ".join(devices)
        logger.info("%s has GPU%s %s", stage.name, "s" if wanted > 1 else "", names)
        if shown is not None:
            heartbeats.say_waiting(settings.home, flow_run_id, "")
            shown.show(slots_markdown(settings, f"{stage.name} has {names} and works"), f"has {names}")
        yield devices


def slots_markdown(settings: Settings, headline: str) -> str:
    """Every device and who has it, as a Prefect artifact."""
    rows = [
        f"| {slot.device} | {slot.what or 'free'} | {slot.flow_run_id[:8]} |" for slot in gpu_slots.describe(settings)
    ]
    return "\n".join(["# GPU slots", "", f"**{headline}**", "", "| GPU | held by | flow run |", "|---|---|---|", *rows])
