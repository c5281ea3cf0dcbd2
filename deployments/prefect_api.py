"""The few questions the stack asks the Prefect API, without importing Prefect (1.5 s and 70 MB).

Requests go straight to the address: a proxy named in the environment must not see loopback traffic,
and would not know the way back.
"""

import json
import os
import time
import urllib.error
import urllib.request
from datetime import datetime
from typing import Any

from deployments import processes
from ingot.errors import ServiceError

WORK_POOL = "ingot"
WORKER = "ingot-local"
_UNFINISHED = ["RUNNING", "PENDING", "CANCELLING"]
_ENDED = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]
_PROCESS_TAG = "process"
# The server's answer while its SQLite file is locked, seen on busy machines; Prefect's own client tries again too.
_TRY_AGAIN = (429, 503)
_PAUSES_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0)
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url: str, *, timeout_seconds: float = 5.0) -> bytes:
    """Body of a successful GET; raises OSError otherwise."""
    with _direct.open(url, timeout=timeout_seconds) as response:
        return bytes(response.read())


def answers(url: str, *, timeout_seconds: float = 2.0) -> bool:
    """True when the address answers a GET with success."""
    try:
        get(url, timeout_seconds=timeout_seconds)
    except (OSError, ValueError):
        return False
    return True


def post(api_url: str, path: str, body: dict[str, Any], *, timeout_seconds: float = 30.0) -> Any:
    """POST JSON to the Prefect API and return its JSON; raises ServiceError with the server's words."""
    request = urllib.request.Request(
        f"{api_url}{path}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    for pause in (*_PAUSES_SECONDS, None):
        try:
            with _direct.open(request, timeout=timeout_seconds) as response:
                content = response.read()
            return json.loads(content) if content else None
        except urllib.error.HTTPError as error:
            words = error.read().decode(errors="replace")[:300]
            if error.code in _TRY_AGAIN and pause is not None:
                time.sleep(pause)
                continue
            raise ServiceError(f"Prefect refused {path} with status {error.code}: {words}") from error
        except (OSError, ValueError) as error:
            raise ServiceError(
                f"Prefect at {api_url} does not answer {path} ({error}); see `ingot status` and logs/prefect.log"
            ) from error
    raise AssertionError("the last try returns or raises")


def worker_heartbeat(api_url: str) -> datetime | None:
    """When our worker was last heard of by the server; None before its first sign of life."""
    try:
        workers = post(api_url, f"/work_pools/{WORK_POOL}/workers/filter", {}, timeout_seconds=5.0)
    except ServiceError:
        return None  # 404 until the worker has made its pool
    seen = [w["last_heartbeat_time"] for w in workers if w["name"] == WORKER and w["last_heartbeat_time"]]
    return max(datetime.fromisoformat(moment) for moment in seen) if seen else None


def settle_dead_runs(api_url: str, reason: str) -> int:
    """End every unfinished run of our work pool, and its subflows, as Crashed; returns how many.

    To be called while no worker and none of its processes live: then nothing can be running, and a
    run left Running would hold its deployment's only slot until its lease ends.
    """
    unfinished = {"state": {"type": {"any_": _UNFINISHED}}}
    # Asking by the name of a pool that does not exist gives nothing: a first start is no special case.
    settled = _crash_all(api_url, {"work_pools": {"name": {"any_": [WORK_POOL]}}, "flow_runs": unfinished}, reason)
    return len(settled) + _settle_children(api_url, settled, reason)


def process_tag() -> str:
    """The tag of a run that this very process executes, without a worker that would report its end."""
    identity = processes.identify(os.getpid())
    assert identity is not None
    return f"{_PROCESS_TAG}:{os.uname().nodename}:{identity.pid}:{identity.start_time}"


def settle_dead_processes(api_url: str, reason: str) -> int:
    """End as Crashed every unfinished run that nobody can be executing any more; returns how many.

    That is a run whose `process_tag` names a process of this machine that is gone: a command that was killed
    cannot say so itself, and Prefect does not watch it. And a subflow whose parent has ended: a worker that sees
    its run die reports that run alone. Runs of living processes and of other machines are left alone.
    """
    settled = 0
    # Twice: a subflow of a subflow is an orphan only once its parent is settled.
    for _ in range(2):
        unfinished = _unfinished_outside_deployments(api_url)
        orphans = _with_ended_parent(api_url, unfinished)
        for run in unfinished:
            if run["id"] in orphans or any(map(_names_dead_process, run["tags"])):
                _crash(api_url, run["id"], reason)
                settled += 1
    return settled


def _unfinished_outside_deployments(api_url: str) -> list[dict[str, Any]]:
    selection = {"state": {"type": {"any_": _UNFINISHED}}, "deployment_id": {"is_null_": True}}
    found: list[dict[str, Any]] = []
    while runs := post(api_url, "/flow_runs/filter", {"flow_runs": selection, "limit": 100, "offset": len(found)}):
        found += runs
    return found


def _with_ended_parent(api_url: str, runs: list[dict[str, Any]]) -> set[str]:
    """Ids of the subflow runs whose parent has ended; a subflow names the task that stands for it in its parent."""
    children = {run["parent_task_run_id"]: run["id"] for run in runs if run["parent_task_run_id"]}
    if not children:
        return set()
    tasks = post(api_url, "/task_runs/filter", {"task_runs": {"id": {"any_": sorted(children)}}})
    parents = {task["flow_run_id"] for task in tasks}
    ended = {"id": {"any_": sorted(parents)}, "state": {"type": {"any_": _ENDED}}}
    gone = {run["id"] for run in post(api_url, "/flow_runs/filter", {"flow_runs": ended})}
    return {children[task["id"]] for task in tasks if task["flow_run_id"] in gone}


def _names_dead_process(tag: str) -> bool:
    kind, _, rest = tag.partition(":")
    host, _, process = rest.rpartition(":")[0].rpartition(":")
    if kind != _PROCESS_TAG or host != os.uname().nodename or not process.isdecimal():
        return False
    identity = processes.ProcessIdentity(pid=int(process), start_time=float(rest.rpartition(":")[2]))
    return not processes.is_alive(identity)


def _settle_children(api_url: str, parents: list[str], reason: str) -> int:
    """A subflow is in no pool and in no deployment, so it is found by its parent."""
    settled = 0
    while parents:
        children = {"state": {"type": {"any_": _UNFINISHED}}, "parent_flow_run_id": {"any_": parents}}
        parents = _crash_all(api_url, {"flow_runs": children}, reason)
        settled += len(parents)
    return settled


def _crash_all(api_url: str, selection: dict[str, Any], reason: str) -> list[str]:
    crashed: list[str] = []
    while runs := post(api_url, "/flow_runs/filter", {**selection, "limit": 100}):
        for run in runs:
            _crash(api_url, run["id"], reason)
            crashed.append(run["id"])
    return crashed


def _crash(api_url: str, run_id: str, reason: str) -> None:
    state = {"type": "CRASHED", "name": "Crashed", "message": reason}
    # force: the rules would let a run with retries left go back to waiting. The slot is freed anyway.
    post(api_url, f"/flow_runs/{run_id}/set_state", {"state": state, "force": True})
