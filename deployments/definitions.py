"""Deployments as files name them: prefect.yaml with its variables filled in, before any server knows them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deployments.services import root_folder
from deployments.stack_state import read_recipe
from ingot.errors import RecipeError
from ingot.settings import Settings

DEPLOYMENTS_FILE = Path(__file__).with_name("prefect.yaml")
_VARIABLE = re.compile(r"\{\{\s*\$(\w+)\s*\}\}")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Schedule(_Part):
    """One cron schedule of a deployment."""

    slug: str
    cron: str
    timezone: str = "UTC"
    active: bool = True


class ConcurrencyLimit(_Part):
    """How many runs of a deployment may be under way, and what happens to one more."""

    limit: int = Field(ge=1)
    collision_strategy: str = "ENQUEUE"
    grace_period_seconds: int = 600
    """How long a run may take from getting its slot to running: imports on a busy machine take minutes."""


class WorkPool(_Part):
    """The pool whose worker runs the deployment."""

    name: str


class Deployment(_Part):
    """One entry of prefect.yaml; `entrypoint` is `package.module.function`."""

    name: str
    entrypoint: str
    description: str
    parameters: dict[str, Any] = {}
    schedules: tuple[Schedule, ...] = ()
    concurrency_limit: ConcurrencyLimit | None = None
    work_pool: WorkPool
    pull: list[Any] = []
    tags: tuple[str, ...] = ()
    job_variables: dict[str, Any] = {}
    """What its runs get besides the worker's own, e.g. `{"env": {...}}`."""


def read_deployments(
    variables: Mapping[str, str], file: Path = DEPLOYMENTS_FILE, only: frozenset[str] | None = None
) -> tuple[Deployment, ...]:
    """The deployments of the file with `{{ $NAME }}` filled from `variables`.

    `only` limits to these deployment names. Raises RecipeError naming the file and the entry that is wrong.
    """
    try:
        entries = yaml.safe_load(file.read_text())["deployments"]
        wanted = [entry for entry in entries if only is None or entry["name"] in only]
        return tuple(Deployment.model_validate(_fill(entry, variables)) for entry in wanted)
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValidationError) as error:
        raise RecipeError(
            f"{file} cannot be read as deployments: {error}; compare it with the one that came with Ingot"
        ) from error


def _fill(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _fill(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, variables) for item in value]
    if not isinstance(value, str):
        return value

    def lookup(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in variables:
            raise RecipeError(f"prefect.yaml names {{{{ ${name} }}}}, which is not set; set {name}")
        return variables[name]

    return _VARIABLE.sub(lookup, value)


def schedule_variables(settings: Settings, recipe: str | None = None) -> dict[str, str]:
    """What `{{ $NAME }}` may name in prefect.yaml: the environment and the values given here.

    `recipe` is what the nightly curates and the control room builds; None means INGOT_RECIPE, else the one
    of last time (a restart must not change what is built at night), else recipes/demo.yaml.
    """
    root = root_folder()
    chosen = recipe or settings.environ.get("INGOT_RECIPE") or read_recipe(settings)
    return {
        **settings.environ,
        "INGOT_ROOT": str(root),
        "INGOT_RECIPE": absolute_recipe(chosen) if chosen else str(root / "recipes" / "demo.yaml"),
        "INGOT_TIMEZONE": settings.timezone,
    }


def absolute_recipe(recipe: str) -> str:
    """A path as the worker can use it, which stands in another folder; the name of a shipped recipe as it is."""
    path = Path(recipe).expanduser()
    return str(path.absolute()) if path.exists() else recipe
