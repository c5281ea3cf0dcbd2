"""What the control room is up to, in the words of a person: next runs, and what waits and why."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deployments import prefect_api, run_view
from deployments.prefect_api import Server
from ingot import heartbeats
from ingot.settings import Settings


@dataclass(frozen=True)
class NextRun:
    """The next scheduled run of a deployment."""

    deployment: str
    time: datetime


@dataclass(frozen=True)
class Waiting:
    """A run that does not go on by itself, or not yet."""

    id: str
    run: str
    deployment: str
    since: datetime
    why: str


def next_runs(server: Server) -> list[NextRun]:
    """The next run of every deployment that has one, the soonest first."""
    scheduled = {"state": {"type": {"any_": ["SCHEDULED"]}, "name": {"any_": ["Scheduled"]}}}
    names = deployments(server)
    first: dict[str, datetime] = {}
    for run in prefect_api.flow_runs(server, flow_runs=scheduled):
        if run["deployment_id"] in names and run["expected_start_time"]:
            time = datetime.fromisoformat(run["expected_start_time"])
            name = names[run["deployment_id"]]["name"]
            first[name] = min(time, first.get(name, time))
    return [NextRun(name, time) for name, time in sorted(first.items(), key=lambda item: item[1])]


def waiting(settings: Settings, server: Server) -> list[Waiting]:
    """Every run that waits, and for what; the longest first."""
    state = {"any_": ["SCHEDULED", "PAUSED", "RUNNING"]}
    names = deployments(server)
    beats = {beat.flow_run_id: beat for beat in heartbeats.read_all(settings.home)}
    found = []
    for run in prefect_api.flow_runs(server, flow_runs={"state": {"type": state}}):
        deployment = names.get(run["deployment_id"], {"name": ""})
        beat = beats.get(run["id"])
        if run["state_name"] == "Scheduled":
            continue  # its time has not come: it is among the next runs
        if run["state_type"] == "RUNNING":
            why = beat.waiting if beat is not None else ""
        else:
            why = run_view.why_it_waits(server, run)
        if why:
            since = datetime.fromisoformat(run["state"]["timestamp"])
            found.append(Waiting(run["id"], run["name"], deployment["name"], since, why))
    return sorted(found, key=lambda item: item.since)


def deployments(server: Server) -> dict[str, dict[str, Any]]:
    """Every deployment by id, with `name` as people know it (`<flow>/<deployment>`)."""
    flows = {flow["id"]: flow["name"] for flow in server.post("/flows/filter", {"limit": 200})}
    return {
        found["id"]: {**found, "name": f"{flows.get(found['flow_id'], '?')}/{found['name']}"}
        for found in server.post("/deployments/filter", {"limit": 200})
    }
