"""Stop a run: a checkpoint, then no process of it on this machine, and the state Cancelled with who asked.

The process of a run gets one TERM. Its flow ends as Cancelled by itself (tasks/heartbeat.py), its training stage
after a checkpoint; Dask workers and ranks die with the process above them. What is left after that is killed.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

from deployments import prefect_api, processes
from deployments.prefect_api import ENDED, Server
from deployments.run_control import subflow_runs, top_run
from ingot import heartbeats
from ingot.errors import BusyError, DataError
from ingot.heartbeats import RUN_MARK, RUN_VARIABLE, Process
from ingot.settings import Settings

CHECKPOINT_SECONDS = 130.0
"""How long a training group may take to write one; its launcher kills it after 120 s."""
_KILL_AFTER_SECONDS = 8.0  # of the ten that a run without a training stage has
_AGENT = "training.agent"


@dataclass(frozen=True)
class Cancelled:
    """How a run was stopped."""

    run: dict[str, Any]
    """The run afterwards."""
    seconds: float
    stopped: int
    """Processes of this machine that ended."""
    killed: int
    """Those of them that had to be killed."""


def cancel(settings: Settings, server: Server, run: dict[str, Any], person: str) -> Cancelled:
    """Stop a run and return when no process of it is left on this machine; its state is Cancelled, with who asked.

    A training stage writes a checkpoint first. A run of another machine is asked to stop through Prefect and still
    Cancelling on return. Raises DataError for a run that has ended, BusyError when a process outlives SIGKILL.
    """
    begun = time.monotonic()
    why = f"cancelled by {person}"
    top = top_run(server, run)
    if top["id"] != run["id"]:
        raise DataError(f"run {run['id'][:8]} is a part of {top['id'][:8]} ({top['name']}); cancel that one")
    if run["state_type"] in ENDED and run["state_type"] != "CANCELLED":
        raise DataError(f"run {run['id'][:8]} has ended already: {run['state_name']}")
    process = process_of(settings, run)
    if process is not None and process.host != processes.host():
        _propose(server, run["id"], "CANCELLING", why)
        return Cancelled(server.get(f"/flow_runs/{run['id']}"), time.monotonic() - begun, 0, 0)
    # Not Cancelling: its worker would answer that with a second TERM, and later with words of its own.
    heartbeats.ask_to_end(settings.home, run["id"], why)
    if run["state_type"] not in ("RUNNING", "CANCELLING", *ENDED):
        # What does not work yet needs no farewell, and would be called crashed when it is stopped while it imports.
        _propose(server, run["id"], "CANCELLED", why)
    group = _group(run["id"], process)
    survivors = _stop(run["id"], process, group) if group else []
    if survivors:
        _end_everything(server, run["id"], why)  # before the kill: its worker would call it crashed
        _kill(survivors)
    left = [p.pid for p in _group(run["id"], process)]
    if left:
        raise BusyError(f"processes {', '.join(map(str, left))} of the run outlived SIGKILL; look at them with ps")
    _end_everything(server, run["id"], why)
    heartbeats.remove(settings.home, run["id"])
    run = server.get(f"/flow_runs/{run['id']}")
    return Cancelled(run, time.monotonic() - begun, len(group), len(survivors))


def group_of(settings: Settings, run: Mapping[str, Any]) -> list[psutil.Process]:
    """Every living process of a run on this machine: who executes it, and its workers and ranks."""
    return _group(run["id"], process_of(settings, run))


def _group(run_id: str, process: Process | None) -> list[psutil.Process]:
    found: dict[int, psutil.Process] = {}
    if process is not None and process.host == processes.host() and not process.is_gone:
        try:
            leader = psutil.Process(process.pid)
            found |= {p.pid: p for p in (leader, *leader.children(recursive=True))}
        except psutil.Error:
            pass
    for candidate in psutil.process_iter(["status"]):
        try:
            if candidate.info["status"] == psutil.STATUS_ZOMBIE or candidate.uids().real != _own_user():
                continue
            environment = candidate.environ()
        except psutil.Error:
            continue
        if run_id in (environment.get(RUN_MARK), environment.get(RUN_VARIABLE)):
            found[candidate.pid] = candidate
    return [p for p in found.values() if _runs(p)]


def _stop(run_id: str, process: Process | None, group: list[psutil.Process]) -> list[psutil.Process]:
    """TERM to the process of the run, and time for a checkpoint; returns what is left."""
    for leader in [p for p in group if process is not None and p.pid == process.pid] or _leaders(run_id, group):
        with suppress(psutil.Error):  # it ended by itself
            leader.terminate()
    begun = time.monotonic()
    end = begun + _KILL_AFTER_SECONDS
    while any(map(_runs, group)):
        now = time.monotonic()
        if any(map(_is_agent, group)) and now < begun + CHECKPOINT_SECONDS:
            end = now + _KILL_AFTER_SECONDS  # the ranks are at their checkpoint: the ten seconds count from its end
        if now > end:
            break
        time.sleep(0.1)
    return [p for p in {p.pid: p for p in (*group, *_group(run_id, process))}.values() if _runs(p)]


def _kill(survivors: list[psutil.Process]) -> None:
    for survivor in survivors:
        with suppress(psutil.Error):
            survivor.kill()
    psutil.wait_procs(survivors, timeout=2.0)


def _leaders(run_id: str, group: list[psutil.Process]) -> list[psutil.Process]:
    """Of a group whose leader nobody named: those that execute the run itself."""
    return [p for p in group if _variable(p, RUN_VARIABLE) == run_id] or group


def _variable(process: psutil.Process, name: str) -> str | None:
    try:
        return process.environ().get(name)
    except psutil.Error:
        return None


def _is_agent(process: psutil.Process) -> bool:
    try:
        return _runs(process) and _AGENT in process.cmdline()
    except psutil.Error:
        return False


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _own_user() -> int:
    return psutil.Process().uids().real


def _end_everything(server: Server, run_id: str, why: str) -> None:
    """Subflows first: a parent that has ended must not have children that run."""
    for run in (*reversed(subflow_runs(server, run_id)), server.get(f"/flow_runs/{run_id}")):
        # One that was stopped while it started has been called crashed, by its worker or by Prefect within it.
        is_miscalled = run["state_type"] == "CRASHED" or (run["id"] == run_id and run["state_type"] == "FAILED")
        if run["state_type"] not in ENDED or is_miscalled:
            prefect_api.end_run(server, run["id"], "CANCELLED", why)


def _propose(server: Server, run_id: str, state: str, why: str) -> None:
    """Ask for a state as its rules allow it: a run that has ended meanwhile stays as it is."""
    told = {"type": state, "name": state.capitalize(), "message": why}
    server.post(f"/flow_runs/{run_id}/set_state", {"state": told})


def process_of(settings: Settings, run: Mapping[str, Any]) -> Process | None:
    """The process that executes a run, by its sign of life, its tag or its worker; None when nobody said."""
    beat = heartbeats.read(settings.home, run["id"])
    if beat is not None:
        return Process(beat.host, beat.pid, beat.start_time)
    tagged = prefect_api.tagged_process(run["tags"])
    if tagged is not None:
        return tagged
    host, _, pid = (run["infrastructure_pid"] or "").rpartition(":")
    # Here the pid may belong to another program by now: the run's processes are known by their environment.
    return Process(host, int(pid), 0.0) if pid.isdecimal() and host != processes.host() else None
