"""Register the deployments of prefect.yaml with the running server, and see that the nightly is scheduled.

`register_shipped` does both. Set `local_stack.environment` in the process first: Prefect makes its
folder where PREFECT_HOME says when it is imported. Importing it and the flows takes about 2 s.
"""

import json
from datetime import datetime
from hashlib import sha256
from typing import Any

from pydantic import BaseModel, ConfigDict

from deployments import retraining, schedules
from deployments.definitions import Deployment, absolute_recipe, read_deployments, schedule_variables
from deployments.prefect_api import Server
from deployments.scheduled_runs import is_active, next_scheduled
from deployments.stack_state import write_recipe
from ingot.errors import RecipeError
from ingot.settings import Settings

# A run that writes into its worker's pipe ends with the worker: rich leaves the program at the first broken pipe.
# What a run says goes to the server's log and to files of its own.
_APART = {"stream_output": False}


class Registered(BaseModel):
    """A deployment as the server knows it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    full_name: str
    """`<flow>/<deployment>`, the name to run it by."""
    changed: bool
    """False when the server already had it in this very form."""


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


def register_shipped(
    settings: Settings, server: Server, recipe: str | None = None
) -> tuple[tuple[Registered, ...], datetime | None]:
    """Register prefect.yaml and every schedule; returns what is registered and the moment of the nightly's next run.

    That moment is waited for, since it shows that the server's scheduler works; None when somebody has switched
    the nightly off. `recipe` as in `schedule_variables`; it is remembered. Raises what `register` and
    `next_scheduled` raise.
    """
    if recipe is not None:
        write_recipe(settings, absolute_recipe(recipe))
    registered = register(read_deployments(schedule_variables(settings, recipe)), server)
    register_schedules(settings, server)
    retraining.ensure_automation(server)
    nightly = next(entry for entry in registered if entry.full_name.endswith("/nightly"))
    moment = next_scheduled(server, nightly.id) if is_active(server, nightly.id) else None
    return registered, moment


def register_schedules(settings: Settings, server: Server) -> dict[str, Registered]:
    """Register every schedule that `ingot schedule` wrote and take away those that are gone; by corpus."""
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
