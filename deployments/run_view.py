"""A flow run as people follow it: its steps, what it waits for, how far it is, what it made, and where to look.

A few questions to the Prefect API; everything here is a plain value, ready for JSON. Costs about 50 ms.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from deployments import prefect_api
from deployments.prefect_api import ENDED, Server
from deployments.run_control import run_url, subflow_runs
from ingot import heartbeats, run_tags
from ingot.errors import GateError, RunCancelled, ServiceError
from ingot.settings import Settings

_WAITS_FOR_START = ("SCHEDULED", "PENDING")
_FAILED_GATE = ": FAIL"
_TASK_KEY = re.compile(r"-(?:[0-9a-f]{3}|\d+)$")
_ERROR_CHARS = 500


@dataclass(frozen=True)
class Step:
    """A task or a subflow of a run."""

    id: str
    name: str
    kind: str
    """`task` or `flow`."""
    depth: int
    """0 for a step of the run itself, 1 for one of its subflow's, ..."""
    state: str
    seconds: float | None
    error: str = ""


@dataclass(frozen=True)
class Progress:
    """How far the step at work is, as its artifact says."""

    what: str
    percent: float
    text: str


@dataclass(frozen=True)
class RunView:
    """A flow run."""

    id: str
    name: str
    flow: str
    state: str
    state_type: str
    started: str | None
    """ISO time; None before the start."""
    seconds: float | None
    started_by: str
    request_id: str | None
    about: str
    """Corpus and model it works on or made, as far as known."""
    waiting: str
    error: str
    steps: tuple[Step, ...] = ()
    progress: Progress | None = None
    verdict: str = ""
    url: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self.state_type in ENDED

    @property
    def exit_code(self) -> int:
        """Of a command that followed it to its end: 0 completed, 3 gate failed, 130 cancelled, 1 failed or crashed."""
        if self.state_type == "COMPLETED":
            return GateError.exit_code if self.verdict.endswith(_FAILED_GATE) else 0
        return RunCancelled.exit_code if self.state_type == "CANCELLED" else 1

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "exit_code": self.exit_code if self.has_ended else None}


def list_runs(server: Server, ui_url: str, *, limit: int, state: str | None = None) -> list[RunView]:
    """The newest runs, subflows left out; the nights to come only when asked for by `scheduled`."""
    selection: dict[str, Any] = {"parent_task_run_id": {"is_null_": True}}
    if state:
        selection["state"] = _state_filter(state)
    else:
        selection["expected_start_time"] = {"before_": datetime.now(UTC).isoformat()}
    runs = prefect_api.flow_runs(server, limit=limit, flow_runs=selection, sort="EXPECTED_START_TIME_DESC")
    names = _flow_names(server)
    parents = [run["id"] for run in runs]
    below = prefect_api.flow_runs(server, flow_runs={"parent_flow_run_id": {"any_": parents}}) if parents else []
    top_of = {**{id_: id_ for id_ in parents}, **_parents(server, below)}
    made = _artifacts(server, list(top_of))
    views = []
    for run in runs:
        mine = [artifact for artifact in made if top_of.get(artifact["flow_run_id"]) == run["id"]]
        views.append(_view(run, names, mine, url=run_url(ui_url, run["id"])))
    return views


def _state_filter(state: str) -> dict[str, Any]:
    types = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING", *ENDED)
    if state.upper() in types:
        return {"type": {"any_": [state.upper()]}}
    return {"name": {"any_": [state, state.title(), "".join(word.title() for word in state.split())]}}


def view_run(settings: Settings, server: Server, run: dict[str, Any], ui_url: str) -> RunView:
    """One run with its steps."""
    names = _flow_names(server)
    below = subflow_runs(server, run["id"])
    family = {member["id"]: member for member in (run, *below)}
    made = _artifacts(server, list(family))
    view = _view(run, names, made, url=run_url(ui_url, run["id"]))
    beats = [beat for beat in heartbeats.read_all(settings.home) if beat.flow_run_id in family]
    said = next((beat.waiting for beat in beats if beat.waiting), "")
    steps = _steps(server, run, {member["parent_task_run_id"]: member for member in below}, names)
    if view.state_type == "CANCELLED":
        view = replace(view, error=_who_cancelled(server, run["id"]) or view.error)
    return replace(
        view,
        waiting=said or why_it_waits(server, run),
        error=view.error or (next((s.error for s in reversed(steps) if s.error), "") if view.has_ended else ""),
        steps=steps,
        progress=None if view.has_ended else _progress(made, {step.id for step in steps if step.state == "Running"}),
    )


def _view(
    run: Mapping[str, Any], names: Mapping[str, str], artifacts: Sequence[Mapping[str, Any]], *, url: str
) -> RunView:
    state = run["state_type"]
    message = str((run["state"] or {}).get("message") or "")
    return RunView(
        id=run["id"],
        name=run["name"],
        flow=names.get(run["flow_id"], "?"),
        state=run["state_name"],
        state_type=state,
        started=run["start_time"],
        seconds=seconds_of(run),
        started_by=started_by(run),
        request_id=run_tags.request_id(run["tags"]),
        about=about(run["parameters"], artifacts),
        waiting=what_it_waits_for(run),
        error=message[:_ERROR_CHARS] if state in ("FAILED", "CRASHED", "CANCELLED", "CANCELLING") else "",
        verdict=_last(artifacts, "evaluation"),
        url=url,
    )


def _who_cancelled(server: Server, run_id: str) -> str:
    """The first words about it: a worker that stopped the run overwrites them with its own."""
    for state in server.get(f"/flow_run_states/?flow_run_id={run_id}"):
        if state["type"] in ("CANCELLING", "CANCELLED") and state["message"]:
            return str(state["message"])
    return ""


def seconds_of(run: Mapping[str, Any], now: datetime | None = None) -> float | None:
    """How long a run or a task took, or takes until now; None before its start."""
    if not run["start_time"]:
        return None
    begun = datetime.fromisoformat(run["start_time"])
    end = datetime.fromisoformat(run["end_time"]) if run["end_time"] else (now or datetime.now(UTC))
    return round(max(0.0, (end - begun).total_seconds()), 1)


def started_by(run: Mapping[str, Any]) -> str:
    """Who or what started a run: a name, `schedule`, `event`, or `control room` when nobody said a name."""
    person = run_tags.requested_by(run["tags"]) or (run["parameters"] or {}).get("requested_by")
    if person:
        return str(person)
    if run["auto_scheduled"]:
        return "schedule"
    maker = run.get("created_by") or {}
    if str(maker.get("type", "")).upper() == "AUTOMATION":
        return "event"
    return "control room" if run["deployment_id"] else "command line"


def about(parameters: Mapping[str, Any], artifacts: Sequence[Mapping[str, Any]]) -> str:
    """What a run made (`handbook@12, mini/3`), else what it was asked to work on."""
    corpus = _last(artifacts, "data-card") or str(parameters.get("corpus") or "")
    model = _last(artifacts, "lineage").removeprefix("model ") or str(parameters.get("model") or "")
    found = [name for name in (corpus, model) if name]
    return ", ".join(found) or _corpus_of_recipe(str(parameters.get("recipe") or ""))


def _corpus_of_recipe(recipe: str) -> str:
    """The corpus a recipe file names; the file's own name when it cannot be read from here."""
    path = Path(recipe)
    try:
        return str(yaml.safe_load(path.read_bytes())["corpus"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return path.stem


def why_it_waits(server: Server, run: Mapping[str, Any]) -> str:
    """As `what_it_waits_for`, after asking the server who is ahead of it and how its pool is."""
    return what_it_waits_for(run, _busy_pool(server, run), _ahead(server, run))


def what_it_waits_for(run: Mapping[str, Any], pool: str = "", ahead: Sequence[Mapping[str, Any]] = ()) -> str:
    """What keeps a run from going on, in words; empty when nothing does.

    pool: why the workers of its pool take nothing; ahead: the runs that hold the slot it needs.
    """
    name = run["state_name"]
    if name == "AwaitingConcurrencySlot":
        holders = ", ".join(f"{other['id'][:8]} ({other['name']})" for other in ahead)
        return f"its turn: {holders or 'another run of it'} is under way; `ingot runs` shows how far"
    if run["state_type"] == "PAUSED":
        model = (run["parameters"] or {}).get("model")
        command = f", or `ingot approve {model} --reason ... --key ...`" if model else ""
        return f"a person's answer: open it in Prefect and press Resume{command}"
    if name == "AwaitingRetry":
        return "its next attempt, after a step failed for a reason that may pass"
    if run["state_type"] == "SCHEDULED":
        due = datetime.fromisoformat(run["next_scheduled_start_time"] or run["expected_start_time"])
        if due > datetime.now(UTC):
            return f"its time, {due:%Y-%m-%d %H:%M} UTC"
        return pool or f"a free worker of pool {run['work_pool_name']}; `ingot doctor` says whether one is up"
    return "its process to start" if run["state_type"] == "PENDING" else ""


def _busy_pool(server: Server, run: Mapping[str, Any]) -> str:
    if run["state_type"] != "SCHEDULED" or not run["work_pool_name"]:
        return ""
    try:
        status = server.get(f"/work_pools/{run['work_pool_name']}")["status"]
    except (ServiceError, LookupError):
        return ""
    if status == "NOT_READY":
        return f"a worker of pool {run['work_pool_name']}: none is alive, run `ingot up`"
    return "that pool " + run["work_pool_name"] + " is resumed" if status == "PAUSED" else ""


def _ahead(server: Server, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    if run["state_name"] != "AwaitingConcurrencySlot":
        return []
    under_way = {
        "deployment_id": {"any_": [run["deployment_id"]]},
        "state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}},
    }
    return prefect_api.flow_runs(server, limit=3, flow_runs=under_way)


def _steps(
    server: Server, run: Mapping[str, Any], subflows: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]
) -> tuple[Step, ...]:
    """Task runs of a run in the order of their start, each subflow followed by its own."""
    family = [run["id"], *(subflow["id"] for subflow in subflows.values())]
    tasks = _all_tasks(server, family)

    def below(flow_run_id: str, depth: int) -> Iterable[Step]:
        mine = [task for task in tasks if task["flow_run_id"] == flow_run_id]
        for task in sorted(mine, key=lambda t: str(t["start_time"] or t["expected_start_time"] or "")):
            subflow = subflows.get(task["id"])
            shown = subflow or task
            message = str((shown["state"] or {}).get("message") or "")
            yield Step(
                id=shown["id"],
                name=names.get(subflow["flow_id"], "?") if subflow else task_name(task["name"]),
                kind="flow" if subflow else "task",
                depth=depth,
                state=shown["state_name"],
                seconds=seconds_of(shown),
                error=message[:_ERROR_CHARS] if shown["state_type"] in ("FAILED", "CRASHED") else "",
            )
            if subflow:
                yield from below(subflow["id"], depth + 1)

    return tuple(below(run["id"], 0))


def task_name(name: str) -> str:
    """`acquire` of `acquire-4f1`: Prefect adds a key of its own."""
    return _TASK_KEY.sub("", name)


def _all_tasks(server: Server, flow_run_ids: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        page = server.post(
            "/task_runs/filter",
            {"flow_runs": {"id": {"any_": flow_run_ids}}, "limit": 200, "offset": len(found)},
        )
        found += page
        if len(page) < 200:
            return found


def _flow_names(server: Server) -> dict[str, str]:
    return {flow["id"]: flow["name"] for flow in server.post("/flows/filter", {"limit": 200})}


def _parents(server: Server, runs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Subflow run -> the run it is a part of."""
    if not runs:
        return {}
    by_task = {run["parent_task_run_id"]: run["id"] for run in runs}
    tasks: list[dict[str, Any]] = []
    ids = sorted(by_task)
    for start in range(0, len(ids), 200):
        tasks += server.post("/task_runs/filter", {"task_runs": {"id": {"any_": ids[start : start + 200]}}})
    return {by_task[task["id"]]: task["flow_run_id"] for task in tasks}


def _artifacts(server: Server, flow_run_ids: list[str]) -> list[dict[str, Any]]:
    """What these runs show, the oldest change first."""
    found: list[dict[str, Any]] = []
    for start in range(0, len(flow_run_ids), 100):
        some = flow_run_ids[start : start + 100]
        body = {"artifacts": {"flow_run_id": {"any_": some}}, "sort": "UPDATED_DESC", "limit": 200}
        found += server.post("/artifacts/filter", body)
    return sorted(found, key=lambda artifact: str(artifact["updated"]))


def _last(artifacts: Sequence[Mapping[str, Any]], key: str) -> str:
    """Description of the newest artifact of a key."""
    return next((str(a["description"] or "") for a in reversed(artifacts) if a["key"] == key), "")


def _progress(artifacts: Sequence[Mapping[str, Any]], at_work: set[str]) -> Progress | None:
    """Of a task at work: the last words of one that has ended would say nothing of the run."""
    last = next((a for a in reversed(artifacts) if a["type"] == "progress" and a["task_run_id"] in at_work), None)
    if last is None:
        return None
    return Progress(str(last["key"]), round(float(last["data"]), 1), str(last["description"] or ""))
