"""When recipes are curated: written beside the recipe, under its owner's version control, and registered.

`schedules.yaml` lies in the folder of the recipe; `$INGOT_HOME/run/schedules.json` remembers which folders have
one, so that every start registers them again. Overlapping runs of one schedule queue; of missed ones the last
runs (deployments/reconcile.py).
"""

import json
import logging
import os
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deployments import processes, stack_state
from deployments.definitions import ConcurrencyLimit, Deployment, Schedule, WorkPool
from deployments.scheduled_runs import check_cron
from deployments.services import DATA_POOL
from ingot.errors import NotFoundError, RecipeError
from ingot.settings import Settings

logger = logging.getLogger(__name__)

FILE_NAME = "schedules.yaml"
ENTRYPOINT = "flows.curate_corpus.curate_corpus"
_TAKEN = ("nightly",)  # the one deployment of deployments/prefect.yaml that curates
_HEAD = "# When the recipes of this folder are curated. Written by `ingot schedule`; `ingot up` registers it.\n"


class RecipeSchedule(BaseModel):
    """One recipe's schedule."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpus: str
    """Name of the recipe's corpus, and of the deployment."""
    recipe: str
    """File name, relative to the folder of this file."""
    cron: str
    """Minute, hour, day, month, weekday."""
    timezone: str = "UTC"


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schedules: tuple[RecipeSchedule, ...] = Field(default=())


def read_file(path: Path) -> tuple[RecipeSchedule, ...]:
    """The schedules of a file; none when it is absent. RecipeError for one that cannot be read."""
    try:
        return _File.model_validate(yaml.safe_load(path.read_text()) or {}).schedules
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeError, yaml.YAMLError, ValidationError) as error:
        raise RecipeError(
            f"{path} cannot be read as schedules: {error}; it holds a list `schedules` of corpus, recipe, cron, "
            "timezone"
        ) from error


def put(settings: Settings, recipe: Path, corpus: str, cron: str, timezone: str) -> Path:
    """Write a recipe's schedule, in place of an earlier one; returns the file. RecipeError for a wrong cron or zone."""
    check_cron(cron, timezone)
    path = recipe.parent / FILE_NAME
    if corpus in _TAKEN:
        raise RecipeError(f"corpus {corpus!r} cannot be scheduled: a deployment of Ingot's own is called so; rename it")
    elsewhere = [file for file, known in known_schedules(settings) if known.corpus == corpus and file != path]
    if elsewhere:
        raise RecipeError(f"corpus {corpus} is scheduled by {elsewhere[0]} already; remove it there first")
    entry = RecipeSchedule(corpus=corpus, recipe=recipe.name, cron=cron, timezone=timezone)
    others = [known for known in read_file(path) if known.corpus != corpus]
    _write(path, sorted([*others, entry], key=lambda known: known.corpus))
    _remember(settings, {*_known_files(settings), path})
    return path


def remove(settings: Settings, recipe: Path, corpus: str) -> Path:
    """Take a recipe's schedule out of its file; NotFoundError when it has none."""
    path = recipe.parent / FILE_NAME
    known = read_file(path)
    left = [entry for entry in known if entry.corpus != corpus]
    if len(left) == len(known):
        raise NotFoundError(f"{path} has no schedule of {corpus}; see `ingot schedule`")
    if left:
        _write(path, left)
    else:
        path.unlink()
        _remember(settings, _known_files(settings) - {path})
    return path


def known_schedules(settings: Settings) -> list[tuple[Path, RecipeSchedule]]:
    """(file, schedule) of every folder that has one, by corpus; a folder that is gone is passed over.

    So is what a person has written wrong, with an error in the log: it must not keep the others from running.
    """
    found: dict[str, tuple[Path, RecipeSchedule]] = {}
    for path in sorted(_known_files(settings)):
        try:
            entries = read_file(path)
        except RecipeError as error:
            logger.error("passed over: %s", " ".join(str(error).split()))
            continue
        for entry in entries:
            try:
                _check(entry, found)
            except RecipeError as error:
                logger.error("passed over: %s of %s: %s", entry.corpus, path, error)
            else:
                found[entry.corpus] = path, entry
    return [found[corpus] for corpus in sorted(found)]


def all_readable(settings: Settings) -> bool:
    """Whether every file could be read: only then what is not in them was taken out by somebody."""
    try:
        for path in _known_files(settings):
            read_file(path)
    except RecipeError:
        return False
    return True


def _check(entry: RecipeSchedule, others: Mapping[str, tuple[Path, RecipeSchedule]]) -> None:
    if entry.corpus in _TAKEN:
        raise RecipeError("a deployment of Ingot's own is called so; rename the corpus")
    if entry.corpus in others:
        raise RecipeError(f"{others[entry.corpus][0]} schedules it already; remove one of the two")
    check_cron(entry.cron, entry.timezone)


def tag_of(settings: Settings) -> str:
    """Marks the schedules of this home folder: several machines may share a server."""
    place = f"{processes.host()}:{settings.home}"
    return f"schedule:{sha256(place.encode()).hexdigest()[:12]}"


def deployment_of(settings: Settings, path: Path, entry: RecipeSchedule) -> Deployment:
    """The Prefect deployment of a schedule: the curation of its recipe, one run at a time."""
    recipe = path.parent / entry.recipe
    # A folder with a recipe.yaml is a workspace: its own rules and sources are found in it.
    environment = {"INGOT_WORKSPACE": str(path.parent)} if recipe.name == "recipe.yaml" else {}
    return Deployment(
        name=entry.corpus,
        entrypoint=ENTRYPOINT,
        description=f"Curates what is new or changed in {entry.corpus}; {path}.",
        parameters={"recipe": str(recipe)},
        schedules=(Schedule(slug="schedule", cron=entry.cron, timezone=entry.timezone),),
        concurrency_limit=ConcurrencyLimit(limit=1, collision_strategy="ENQUEUE"),
        work_pool=WorkPool(name=DATA_POOL),
        job_variables={"env": environment} if environment else {},
        tags=(tag_of(settings),),
    )


def _known_files(settings: Settings) -> set[Path]:
    try:
        return {Path(name) for name in json.loads(_index(settings).read_bytes())}
    except (OSError, ValueError):
        return set()


def _remember(settings: Settings, files: Iterable[Path]) -> None:
    stack_state.write_private(_index(settings), json.dumps(sorted(map(str, files))))


def _index(settings: Settings) -> Path:
    return settings.home / "run" / "schedules.json"


def _write(path: Path, entries: Iterable[RecipeSchedule]) -> None:
    values = {"schedules": [entry.model_dump() for entry in entries]}
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(_HEAD + yaml.safe_dump(values, sort_keys=False))
    part.replace(path)
