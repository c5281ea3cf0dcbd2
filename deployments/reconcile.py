"""Bring what Prefect believes back to what is true: dead runs ended, missed runs run once, lost slots freed.

Prefect holds the schedule, never the truth. A process that was killed cannot report its end, and the server
does not look; we know our processes by heartbeat, tag and environment. Called on every start, before the
workers, and by the supervisor. Asks the API only, so it costs milliseconds and imports nothing heavy.
"""

import json
import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil

from deployments import prefect_api, processes
from deployments.prefect_api import ENDED, UNFINISHED, Server
from deployments.services import DATA_POOL, GPU_POOL
from ingot import heartbeats
from ingot.errors import IngotError, ServiceError
from ingot.settings import Settings

logger = logging.getLogger(__name__)

_PENDING_SECONDS = 600.0  # a claimed run whose process never came: its worker died between the two
_MISSED_SECONDS = 60.0
_NESTING = 5  # flows below flows
REASON = "the process that ran it was killed"


@dataclass(frozen=True)
class Reconciled:
    """What had to be put right."""

    ended: tuple[str, ...] = ()
    """Ids of runs that nobody executed any more."""
    missed: int = 0
    """Scheduled runs that were skipped because a later one makes up for them."""
    slots: int = 0
    """Concurrency slots that nobody held any more."""


def reconcile(settings: Settings, server: Server) -> Reconciled:
    """Put right what a kill left behind; safe to repeat and beside other machines on the same server."""
    return Reconciled(
        ended=tuple(end_dead_runs(settings, server)),
        missed=skip_missed_runs(server),
        slots=free_lost_slots(settings, server),
    )


def end_dead_runs(settings: Settings, server: Server) -> list[str]:
    """End as Crashed (a run being cancelled: as Cancelled) what nobody can be executing; returns the ids.

    Runs of living processes and of other machines are left alone. Subflows end with their parent.
    """
    ended: list[str] = []
    # A subflow of a subflow is an orphan only once its parent is settled: again, while something is found.
    for _ in range(_NESTING):
        executing = _runs_of_processes(settings)
        dead = list(_dead_runs(settings, server, executing))
        # A run may have been started, or have ended, between the two looks: a second one decides.
        executing |= _runs_of_processes(settings)
        found = [run for run in dead if run["id"] not in executing and _is_unfinished(server, run["id"])]
        if not found:
            break
        for run in found:
            state = "CANCELLED" if run["state_type"] == "CANCELLING" else "CRASHED"
            try:
                prefect_api.end_run(server, run["id"], state, REASON)
            except ServiceError as error:
                # One run that cannot be ended must not keep the stack down; the next look tries again.
                logger.error("run %s is dead and cannot be ended: %s", run["id"], error)
                continue
            heartbeats.remove(settings.home, run["id"])
            ended.append(run["id"])
    for beat in heartbeats.read_all(settings.home):
        if not beat.is_alive:
            heartbeats.remove(settings.home, beat.flow_run_id)
    if ended:
        logger.warning("%d runs were ended: %s", len(ended), REASON)
    return ended


def _is_unfinished(server: Server, run_id: str) -> bool:
    return server.get(f"/flow_runs/{run_id}")["state_type"] in UNFINISHED


def _dead_runs(settings: Settings, server: Server, executing: frozenset[str]) -> Iterable[dict[str, Any]]:
    selection = {"state": {"type": {"any_": list(UNFINISHED)}}}
    unfinished = prefect_api.flow_runs(server, flow_runs=selection)
    orphans = _with_ended_parent(server, unfinished)
    beats = {beat.flow_run_id: beat for beat in heartbeats.read_all(settings.home)}
    alone = not any(run["work_pool_name"] for run in unfinished) or _is_only_machine(server)
    for run in unfinished:
        if run["id"] in orphans or _is_dead(run, beats.get(run["id"]), executing, alone):
            yield run


def _is_dead(run: dict[str, Any], beat: heartbeats.Heartbeat | None, executing: frozenset[str], alone: bool) -> bool:
    if run["id"] in executing:
        return False
    if beat is not None:
        return not beat.is_alive
    tagged = prefect_api.tagged_process(run["tags"])
    if tagged is not None:
        return tagged.is_gone
    if run["parent_task_run_id"]:
        return False  # its parent decides
    if not run["work_pool_name"] or not alone:
        return False  # another machine's worker may have it, and its supervisor looks after it
    if run["infrastructure_pid"]:
        return True  # it was started, and no process of this machine executes it
    since = datetime.fromisoformat(run["state"]["timestamp"])
    return datetime.now(UTC) - since > timedelta(seconds=_PENDING_SECONDS)


def _is_only_machine(server: Server) -> bool:
    """Whether every worker that was heard of lately is one of this machine."""
    lately = datetime.now(UTC) - timedelta(seconds=heartbeats.DEAD_AFTER_SECONDS)
    for pool in (DATA_POOL, GPU_POOL):
        try:
            workers = server.post(f"/work_pools/{pool}/workers/filter", {})
        except IngotError:
            continue  # no such pool yet
        for worker in workers:
            heard = worker["last_heartbeat_time"]
            strange = worker["name"].rpartition("@")[2] != processes.host()
            if strange and heard and datetime.fromisoformat(heard) > lately:
                return False
    return True


def _runs_of_processes(settings: Settings) -> frozenset[str]:
    """Ids of the runs that living processes of this stack execute, as their environment says."""
    found = set()
    for process in processes.find_processes(settings.home):
        try:
            found.add(process.environ().get(heartbeats.RUN_VARIABLE, ""))
        except psutil.Error:
            continue
    return frozenset(found - {""})


def _with_ended_parent(server: Server, runs: list[dict[str, Any]]) -> set[str]:
    """Ids of the subflow runs whose parent has ended; a subflow names the task that stands for it in its parent."""
    children = {run["parent_task_run_id"]: run["id"] for run in runs if run["parent_task_run_id"]}
    if not children:
        return set()
    tasks = server.post("/task_runs/filter", {"task_runs": {"id": {"any_": sorted(children)}}})
    parents = sorted({task["flow_run_id"] for task in tasks})
    ended = {"id": {"any_": parents}, "state": {"type": {"any_": list(ENDED)}}}
    gone = {run["id"] for run in prefect_api.flow_runs(server, flow_runs=ended)}
    return {children[task["id"]] for task in tasks if task["flow_run_id"] in gone}


def skip_missed_runs(server: Server, now: datetime | None = None) -> int:
    """Of the scheduled runs of a deployment whose time went by while nothing ran, keep the last; returns how many go.

    The server writes the next nights down in advance: after three days off there are three late nights, and one
    of them reads everything that came meanwhile.
    """
    before = (now or datetime.now(UTC)) - timedelta(seconds=_MISSED_SECONDS)
    late = {
        "state": {"type": {"any_": ["SCHEDULED"]}, "name": {"any_": ["Scheduled", "Late"]}},
        "expected_start_time": {"before_": before.isoformat()},
        "deployment_id": {"is_null_": False},
    }
    by_deployment = defaultdict(list)
    for run in prefect_api.flow_runs(server, flow_runs=late):
        if run["auto_scheduled"]:
            by_deployment[run["deployment_id"]].append(run)
    skipped = 0
    for runs in by_deployment.values():
        *earlier, last = sorted(runs, key=lambda run: str(run["expected_start_time"]))
        for run in earlier:
            reason = f"missed; the run of {last['expected_start_time'][:16]} UTC reads what it would have read"
            prefect_api.end_run(server, run["id"], "CANCELLED", reason)
            skipped += 1
    return skipped


def free_lost_slots(settings: Settings, server: Server) -> int:
    """Give back the slots whose run has ended or is unknown; returns how many.

    The leases of our own server lie as files in its folder, each with its holder. The server itself gives them
    back when they expire, five minutes after the kill.
    """
    holders: dict[str, str] = {}
    for path in (settings.home / "prefect" / "concurrency_leases").glob("*-*.json"):
        try:
            lease = json.loads(path.read_bytes())
            holder = lease["metadata"]["holder"]
            if holder["type"] == "flow_run":
                holders[str(lease["id"])] = str(holder["id"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # being written, or of a kind we did not ask for
    if not holders:
        return 0
    wanted = {"id": {"any_": sorted(set(holders.values()))}, "state": {"type": {"not_any_": list(ENDED)}}}
    living = {run["id"] for run in prefect_api.flow_runs(server, flow_runs=wanted)}
    lost = [lease for lease, run in holders.items() if run not in living]
    for lease in lost:
        server.post("/v2/concurrency_limits/decrement-with-lease", {"lease_id": lease})
    return len(lost)
