"""Register the deployments of prefect.yaml with the running server, and see that the nightly is scheduled.

`register_shipped` does both. Set `local_stack.environment` in the process first: Prefect makes its
folder where PREFECT_HOME says when it is imported. Importing it and the flows takes about 2 s.
"""

import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from hashlib import sha256
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deployments import retraining
from deployments.prefect_api import Server
from deployments.services import root_folder
from deployments.stack_state import read_recipe, write_recipe
from ingot.errors import RecipeError, ServiceError
from ingot.settings import Settings

DEPLOYMENTS_FILE = Path(__file__).with_name("prefect.yaml")
NIGHTLY = time_of_day(2, 0)
# A run that writes into its worker's pipe ends with the worker: rich leaves the program at the first broken pipe.
# What a run says goes to the server's log and to files of its own.
_APART = {"stream_output": False}
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


class Registered(_Part):
    """A deployment as the server knows it."""

    id: str
    full_name: str
    """`<flow>/<deployment>`, the name to run it by."""
    changed: bool
    """False when the server already had it in this very form."""


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


def register(deployments: tuple[Deployment, ...], server: Server) -> tuple[Registered, ...]:
    """Create or update these deployments; one that is already there in this form is left alone.

    So a schedule somebody paused in the control room stays paused until prefect.yaml changes. Raises
    RecipeError for an entrypoint that cannot be imported or parameters its flow does not take.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    told: dict[Any, Any] = {PREFECT_API_URL: server.url}
    if server.credential is not None:
        told[PREFECT_API_AUTH_STRING] = server.credential.pair
    with temporary_settings(told), get_client(sync_client=True) as client:
        return tuple(_register_one(client, deployment) for deployment in deployments)


def _register_one(client: Any, deployment: Deployment) -> Registered:
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.exceptions import ObjectNotFound
    from prefect.flows import load_flow_from_entrypoint
    from prefect.utilities.callables import parameter_schema

    # Prefect would load a broken module's flow from its source alone; a run would then fail at 02:00.
    try:
        flow: Any = load_flow_from_entrypoint(deployment.entrypoint, use_placeholder_flow=False)
        schema = form_schema(parameter_schema(flow.fn).model_dump_for_openapi())
    except Exception as error:
        raise RecipeError(
            f"deployment {deployment.name}: entrypoint {deployment.entrypoint} cannot be loaded "
            f"({type(error).__name__}: {error}); correct it in prefect.yaml"
        ) from error
    unknown = sorted(set(deployment.parameters) - set(schema["properties"]))
    if unknown:
        known = ", ".join(sorted(schema["properties"]))
        raise RecipeError(
            f"deployment {deployment.name} gives {unknown[0]!r}, "
            f"which {deployment.entrypoint} does not take; known: {known}"
        )
    full_name = f"{flow.name}/{deployment.name}"
    content = json.dumps([deployment.model_dump(mode="json"), schema, _APART], sort_keys=True)
    version = sha256(content.encode()).hexdigest()[:16]
    try:
        present = client.read_deployment_by_name(full_name)
        if present.version == version:
            return Registered(id=str(present.id), full_name=full_name, changed=False)
    except ObjectNotFound:
        pass
    limit = deployment.concurrency_limit
    created = client.create_deployment(
        flow_id=client.create_flow_from_name(flow.name),
        name=deployment.name,
        version=version,
        entrypoint=deployment.entrypoint,
        description=deployment.description,
        parameters=deployment.parameters,
        parameter_openapi_schema=schema,
        enforce_parameter_schema=True,
        schedules=[
            DeploymentScheduleCreate(
                schedule=CronSchedule(cron=s.cron, timezone=s.timezone), active=s.active, slug=s.slug
            )
            for s in deployment.schedules
        ],
        concurrency_limit=limit.limit if limit else None,
        concurrency_options=ConcurrencyOptions(
            collision_strategy=ConcurrencyLimitStrategy(limit.collision_strategy),
            grace_period_seconds=limit.grace_period_seconds,
        )
        if limit
        else None,
        work_pool_name=deployment.work_pool.name,
        # An absent list would make the worker change into the folder of whoever registered.
        pull_steps=deployment.pull,
        tags=list(deployment.tags),
        job_variables={**_APART, **deployment.job_variables},
    )
    return Registered(id=str(created), full_name=full_name, changed=True)


def form_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The parameters' schema as the control room's form needs it.

    A field whose type has no null and whose default is None may stay empty; with `default: null` in the schema the
    form would send that null, and the server would refuse it.
    """
    for field in schema["properties"].values():
        if "type" in field and field.get("default", "") is None:
            del field["default"]
    return schema


def next_daily(at: time_of_day, timezone: str, now: datetime) -> datetime:
    """The next moment, in UTC, when the clock of `timezone` shows `at`; strictly after `now`.

    Raises RecipeError for an unknown time zone.
    """
    try:
        zone = ZoneInfo(timezone)
    except (KeyError, ValueError, OSError) as error:
        raise RecipeError(f"time zone {timezone!r} is unknown; use a name such as Europe/Berlin") from error
    day = now.astimezone(zone).date()
    while True:
        moment = datetime.combine(day, at, zone).astimezone(UTC)
        if moment > now:
            return moment
        day += timedelta(days=1)


def ensure_scheduled(
    server: Server, deployment_id: str, timezone: str, *, at: time_of_day = NIGHTLY, wait_seconds: float = 90.0
) -> datetime:
    """Wait until a SCHEDULED run of the deployment exists for the next `at` o'clock; returns that moment.

    The server's scheduler looks at new deployments every 5 s and at all of them every 60 s. On the one
    day a year when the clock skips the hour, a run within the hour after counts. Raises ServiceError
    when there is none in time, for instance because the schedule is paused.
    """
    expected = next_daily(at, timezone, datetime.now(UTC))
    body = {
        "flow_runs": {
            "deployment_id": {"any_": [deployment_id]},
            "state": {"type": {"any_": ["SCHEDULED"]}},
            "expected_start_time": {
                "after_": expected.isoformat(),
                "before_": (expected + timedelta(hours=1)).isoformat(),
            },
        },
        "limit": 1,
    }
    end = time.monotonic() + wait_seconds
    while not (runs := server.post("/flow_runs/filter", body)):
        if time.monotonic() > end:
            raise ServiceError(
                f"no run is scheduled for {expected.isoformat()} after {wait_seconds:.0f} s; "
                "see in the control room whether the schedule is paused, and look at logs/prefect.log"
            )
        time.sleep(0.5)
    return datetime.fromisoformat(runs[0]["expected_start_time"])


def register_shipped(
    settings: Settings, server: Server, recipe: str | None = None
) -> tuple[tuple[Registered, ...], datetime | None]:
    """Register prefect.yaml and every schedule; returns what is registered and the moment of the nightly's next run.

    That moment is waited for, since it shows that the server's scheduler works; None when somebody has switched
    the nightly off. `recipe` as in `schedule_variables`; it is remembered. Raises what `register` and
    `ensure_scheduled` raise.
    """
    if recipe is not None:
        write_recipe(settings, _absolute(recipe))
    registered = register(read_deployments(schedule_variables(settings, recipe)), server)
    register_schedules(settings, server)
    retraining.ensure_automation(server)
    nightly = next(entry for entry in registered if entry.full_name.endswith("/nightly"))
    moment = ensure_scheduled(server, nightly.id, settings.timezone) if is_active(server, nightly.id) else None
    return registered, moment


def register_schedules(settings: Settings, server: Server) -> dict[str, Registered]:
    """Register every schedule that `ingot schedule` wrote and take away those that are gone; by corpus."""
    from deployments import schedules

    known = [
        schedules.deployment_of(settings, path, entry) for path, entry in schedules.known_schedules(settings)
    ]
    registered = register(tuple(known), server) if known else ()
    mine = {"tags": {"all_": [schedules.tag_of(settings)]}}
    there = server.post("/deployments/filter", {"deployments": mine, "limit": 200})
    gone = {found["id"] for found in there} - {entry.id for entry in registered}
    for deployment_id in sorted(gone) if schedules.all_readable(settings) else ():
        server.delete(f"/deployments/{deployment_id}")
    return {deployment.name: entry for deployment, entry in zip(known, registered, strict=True)}


def is_active(server: Server, deployment_id: str) -> bool:
    """Whether a deployment makes runs by itself: it is not paused, and one of its schedules is on."""
    found = server.get(f"/deployments/{deployment_id}")
    return not found["paused"] and any(schedule["active"] for schedule in found["schedules"])


def next_scheduled(server: Server, deployment_id: str, *, wait_seconds: float = 90.0) -> datetime:
    """The next scheduled run of a deployment, once the server has written it down; ServiceError if it does not."""
    body = {
        "flow_runs": {
            "deployment_id": {"any_": [deployment_id]},
            "state": {"type": {"any_": ["SCHEDULED"]}},
            "expected_start_time": {"after_": datetime.now(UTC).isoformat()},
        },
        "sort": "EXPECTED_START_TIME_ASC",
        "limit": 1,
    }
    end = time.monotonic() + wait_seconds
    while not (runs := server.post("/flow_runs/filter", body)):
        if time.monotonic() > end:
            raise ServiceError(
                f"no run is scheduled after {wait_seconds:.0f} s; see in the control room whether the schedule is "
                "paused, and look at logs/prefect.log"
            )
        time.sleep(0.5)
    return datetime.fromisoformat(runs[0]["expected_start_time"])


def check_cron(cron: str, timezone: str) -> None:
    """Refuse a cron line or a time zone that Prefect would not take; RecipeError with which and an example."""
    from prefect.client.schemas.schedules import CronSchedule

    try:
        CronSchedule(cron=cron)
    except ValidationError as error:
        raise RecipeError(
            f"cron {cron!r} is not one ({error.errors()[0]['msg']}); minute hour day month weekday, e.g. '0 2 * * *'"
        ) from error
    next_daily(NIGHTLY, timezone, datetime.now(UTC))


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
        "INGOT_RECIPE": _absolute(chosen) if chosen else str(root / "recipes" / "demo.yaml"),
        "INGOT_TIMEZONE": settings.timezone,
    }


def _absolute(recipe: str) -> str:
    """A path as the worker can use it, which stands in another folder; the name of a shipped recipe as it is."""
    path = Path(recipe).expanduser()
    return str(path.absolute()) if path.exists() else recipe
