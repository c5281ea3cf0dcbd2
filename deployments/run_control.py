"""Ask for a run and find one: what the command line does with flow runs, through the Prefect API alone.

A request has a name (`--request-id`): the server keeps one run of each flow under it, whoever asks how often.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from uuid import UUID

from deployments import prefect_api
from deployments.prefect_api import Server
from ingot import run_tags
from ingot.errors import DataError, NotFoundError, RecipeError

DEPLOYMENTS = {
    "curate_corpus": "nightly",
    "train_model": "train",
    "evaluate_model": "evaluate",
    "build_model": "build",
    "retrain_model": "retrain",
}
"""Flow (its module) -> the deployment that runs it on a worker."""
FLOW_NAMES = {flow: flow.replace("_", " ") for flow in DEPLOYMENTS}
"""Flow (its module) -> its name in Prefect."""
_MAX_LOOKED_AT = 2000
_SHORTEST_PREFIX = 4
_ATTEMPT = "ingot.attempt"  # a label, by which the one of two equal requests that made the run knows itself


@dataclass(frozen=True)
class Asked:
    """A run that was asked for, and whether it was there already."""

    run: dict[str, Any]
    is_new: bool


def ask_worker(
    server: Server,
    flow: str,
    parameters: Mapping[str, Any],
    *,
    person: str,
    request_id: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Asked:
    """Make a run of the flow's deployment, for a worker to take; or find the one that this request made before.

    environment reaches the run's process. Raises NotFoundError when there is no deployment of the flow, RecipeError
    when the request was made before with other parameters.
    """
    deployment = _deployment_of(server, flow)
    attempt = secrets.token_hex(8)
    body: dict[str, Any] = {
        "parameters": {name: value for name, value in parameters.items() if value is not None},
        "tags": run_tags.made_for(person, request_id),
        "labels": {_ATTEMPT: attempt},
        "job_variables": {"env": dict(environment or {})},
        "idempotency_key": _key(request_id),
    }
    run = server.post(f"/deployments/{deployment['id']}/create_flow_run", body)
    return _asked(run, parameters, attempt, request_id)


def ask_here(
    server: Server, flow_name: str, parameters: Mapping[str, Any], *, person: str, request_id: str, tags: list[str]
) -> Asked:
    """Make a run for this very process to execute; or find the one that this request made before."""
    flow = server.post("/flows/", {"name": flow_name})
    attempt = secrets.token_hex(8)
    body = {
        "flow_id": flow["id"],
        "parameters": {name: value for name, value in parameters.items() if value is not None},
        "tags": [*run_tags.made_for(person, request_id), *tags],
        "labels": {_ATTEMPT: attempt},
        "idempotency_key": _key(request_id),
        "state": {"type": "PENDING"},
    }
    return _asked(server.post("/flow_runs/", body), parameters, attempt, request_id)


def _key(request_id: str | None) -> str | None:
    return f"request {request_id}" if request_id else None


def _asked(run: dict[str, Any], parameters: Mapping[str, Any], attempt: str, request_id: str | None) -> Asked:
    is_new = (run.get("labels") or {}).get(_ATTEMPT) == attempt
    differing = [name for name, value in parameters.items() if not is_new and run["parameters"].get(name) != value]
    if differing:
        name = differing[0]
        raise RecipeError(
            f"request {request_id!r} was made before with {name}={run['parameters'].get(name)!r}, "
            f"now {parameters[name]!r}; give this request another name"
        )
    return Asked(run, is_new)


def _deployment_of(server: Server, flow: str) -> dict[str, Any]:
    name = DEPLOYMENTS[flow]
    # By both names: a schedule's deployment is called as its corpus, which may be `train`.
    wanted = {"deployments": {"name": {"any_": [name]}}, "flows": {"name": {"any_": [FLOW_NAMES[flow]]}}}
    found = server.post("/deployments/filter", wanted)
    if not found:
        raise NotFoundError(f"no deployment {name!r} is registered; run `ingot up`")
    deployment: dict[str, Any] = found[0]
    return deployment


def find_run(server: Server, text: str) -> dict[str, Any]:
    """The flow run of an id, of the first characters of one, or of a name.

    Raises NotFoundError when there is none, DataError when it fits several.
    """
    wanted = text.strip().lower()
    try:
        run: dict[str, Any] = server.get(f"/flow_runs/{UUID(wanted)}")
        return run
    except ValueError:
        pass
    named = prefect_api.flow_runs(server, limit=2, flow_runs={"name": {"any_": [text.strip()]}})
    if len(named) == 1:
        return named[0]
    if len(wanted) < _SHORTEST_PREFIX:
        raise DataError(f"{text!r} is too short for an id; give at least {_SHORTEST_PREFIX} characters (`ingot runs`)")
    runs = prefect_api.flow_runs(server, limit=_MAX_LOOKED_AT, sort="EXPECTED_START_TIME_DESC")
    found = named or [run for run in runs if run["id"].startswith(wanted)]
    if not found:
        raise NotFoundError(f"no run has the id or name {text!r}; `ingot runs` lists them")
    if len(found) > 1:
        some = ", ".join(run["id"][:13] for run in found[:4])
        raise DataError(f"{text!r} fits {len(found)} runs ({some}); give more of the id")
    return found[0]


def run_url(ui_url: str, run_id: str) -> str:
    """A run's page in the control room."""
    return f"{ui_url.rstrip('/')}/runs/flow-run/{quote(run_id)}"


def top_run(server: Server, run: dict[str, Any]) -> dict[str, Any]:
    """The run that a subflow's run is a part of, however deep; itself for any other."""
    while run["parent_task_run_id"]:
        task = server.get(f"/task_runs/{run['parent_task_run_id']}")
        run = server.get(f"/flow_runs/{task['flow_run_id']}")
    return run


def subflow_runs(server: Server, run_id: str) -> list[dict[str, Any]]:
    """The runs below a flow run, in the order of starting, deeper ones too."""
    found: list[dict[str, Any]] = []
    parents = [run_id]
    while parents:
        below = prefect_api.flow_runs(
            server, flow_runs={"parent_flow_run_id": {"any_": parents}}, sort="EXPECTED_START_TIME_ASC"
        )
        found += below
        parents = [run["id"] for run in below]
    return found
