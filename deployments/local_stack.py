"""The local stack: both servers, the workers of the data and gpu pools, and a supervisor, on loopback.

    up(settings)      start what is not running and wait until it answers
    status(settings)  what runs now, with addresses and troubles
    down(settings)    stop everything and prove that nothing is left

The supervisor (deployments/supervisor.py) calls `up` again when something dies.

Everything here imports neither Prefect nor MLflow.
"""

import os
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

from deployments import credentials, databases, ports, prefect_api, processes, reconcile, services
from deployments.credentials import Credential
from deployments.prefect_api import Server
from deployments.processes import ProcessIdentity
from deployments.services import MLFLOW, PREFECT, SERVERS, SUPERVISOR
from deployments.stack_state import (
    ServiceState,
    StackState,
    only_one,
    read_ports,
    read_state,
    state_path,
    write_ports,
    write_state,
)
from ingot.errors import ServiceError
from ingot.settings import Settings

START_SECONDS = 300.0
"""Longest wait for health; a first start takes 34 s on two idle cores, more on busy ones."""
_TRIES_FOR_A_PORT = 4
_FLOW_GRACE_SECONDS = 20.0  # time for a training stage to write its checkpoint
_SERVER_GRACE_SECONDS = 8.0
_SLOW_SECONDS = 30.0  # a server that lives and does not answer may be busy for so long


def status(settings: Settings) -> StackState:
    """What runs now. Never raises for a stack that is down, half up or killed."""
    recorded = read_state(settings)
    if recorded is None:
        return StackState(home=str(settings.home))
    order = {name: place for place, name in enumerate(services.all_services(settings))}
    found = sorted(recorded.services, key=lambda s: order.get(s.name, len(order)))
    current = tuple(s.model_copy(update={"healthy": _is_healthy(s)}) for s in found)
    return recorded.model_copy(update={"services": current, "troubles": _troubles(settings, current)})


def _troubles(settings: Settings, current: tuple[ServiceState, ...]) -> tuple[str, ...]:
    """What the logs of our own services complain about, each line under its service's name."""
    return tuple(
        f"{s.name}: {line}"
        for s in current
        if s.identity is not None
        for line in services.find_trouble(s.name, services.log_path(settings, s.name))
    )


def up(settings: Settings, *, start_seconds: float = START_SECONDS) -> StackState:
    """Start what is not running and return once everything answers; does nothing when all runs.

    Raises ServiceError with the last lines of the log when a service ends early, does not answer in
    time or reports a broken inner service; what this call started is stopped again. Raises BusyError
    when another `up` or `down` does not finish in that time.
    """
    with only_one(settings, start_seconds):
        before = _settled_status(settings)
        wanted = services.all_services(settings)
        if before.running and {s.name for s in before.services} == set(wanted):
            return before.model_copy(update={"already_running": True})
        kept = {s.name: s for s in before.services if s.healthy and s.name in wanted}
        gone = [s.name for s in before.services if s.name not in wanted]
        for name in (*gone, *reversed(wanted)):
            if name not in kept:
                _stop_service(settings, name, before)
        start = _Start(settings, before, kept, time.monotonic() + start_seconds)
        try:
            start.run()
        except BaseException:
            for name in reversed(list(start.launched)):
                _stop_service(settings, name, read_state(settings) or before)
            write_state(settings, StackState(home=str(settings.home), services=tuple(kept.values())))
            raise
        return status(settings)


def _settled_status(settings: Settings) -> StackState:
    """What runs now; a server that lives and does not answer gets some time to, since it may only be busy."""
    end = time.monotonic() + _SLOW_SECONDS
    while True:
        found = status(settings)
        slow = [s for s in found.services if s.url and processes.is_alive(s.identity) and not s.healthy]
        if not slow or time.monotonic() > end:
            return found
        time.sleep(1.0)


def down(settings: Settings) -> int:
    """Stop the stack and everything it started; returns the number of processes stopped.

    The workers and the runs go first and have 20 s to leave a checkpoint. Raises ServiceError when a
    process survives even SIGKILL. Safe to call when nothing runs.
    """
    # First of all, and before the lock it may hold: it would start again what is stopped here.
    watching = processes.find_processes(settings.home, SUPERVISOR)
    processes.stop_processes(watching, grace_seconds=_SERVER_GRACE_SECONDS)
    with only_one(settings, START_SECONDS):
        leaders = _leaders(read_state(settings))
        stopped = len(watching)
        workers = [p for n in services.workers(settings) for p in processes.find_processes(settings.home, n)]
        if len(workers) > len(services.workers(settings)):
            # Flow runs go on: they report their end to servers that must still live. A worker alone
            # would wait for them (it takes TERM as "finish first"), so each gets its TERM from us.
            stopped += len(workers)
            processes.stop_processes(workers, grace_seconds=_FLOW_GRACE_SECONDS)
        rest = processes.find_processes(settings.home, leaders=leaders)
        stopped += len(rest)
        processes.stop_processes(rest, grace_seconds=_SERVER_GRACE_SECONDS)
        # A process may have started another while it was being stopped.
        processes.stop_processes(processes.find_processes(settings.home, leaders=leaders), grace_seconds=0)
        left = processes.find_processes(settings.home, leaders=leaders)
        if left:
            pids = ", ".join(str(process.pid) for process in left)
            raise ServiceError(f"processes {pids} of the stack outlived SIGKILL; look at them with ps")
        state_path(settings).unlink(missing_ok=True)
        return stopped


def environment(state: StackState) -> dict[str, str]:
    """Variables for a process that talks to this stack, to be set before it imports Prefect or MLflow.

    Raises ServiceError when the servers are not running.
    """
    if not state.prefect_api_url or not state.mlflow_url:
        raise ServiceError(f"the stack of {state.home} is not running; start it with `ingot up`")
    home = Path(state.home)
    return {
        **services.client_environment(home, os.environ, state.prefect_api_url, state.mlflow_url),
        **_let_in(state.services, _own_credential(state, home), os.environ),
    }


def _let_in(
    states: Iterable[ServiceState], credential: Credential | None, environ: Mapping[str, str]
) -> dict[str, str]:
    """What lets a client into both servers; a server elsewhere is never told our secret."""
    ours = {state.name for state in states if state.identity is not None}
    given = credentials.of_others(environ, prefect=PREFECT not in ours, mlflow=MLFLOW not in ours)
    if credential is not None and PREFECT in ours:
        given |= credentials.for_prefect(credential)
    if credential is not None and MLFLOW in ours:
        given |= credentials.for_mlflow(credential)
    return given


def prefect_server(settings: Settings, state: StackState | None = None) -> Server:
    """The Prefect API of this stack, with what lets us in; ServiceError when it is not running."""
    known = state or read_state(settings)
    if known is None or not known.prefect_api_url:
        raise ServiceError(f"the stack of {settings.home} is not running; start it with `ingot up`")
    return Server(known.prefect_api_url, _credential_of(known, settings.home, settings.environ))


def _credential_of(state: StackState, home: Path, environ: Mapping[str, str]) -> Credential | None:
    """Ours for a Prefect server of ours; for one elsewhere, what the environment names."""
    return _own_credential(state, home) if state.service(PREFECT).identity else credentials.from_environment(environ)


def _own_credential(state: StackState, home: Path) -> Credential | None:
    """The secret of this home; None when no server of it is ours."""
    return credentials.read(home) if any(state.service(name).identity for name in SERVERS) else None


def stack_processes(settings: Settings) -> list[psutil.Process]:
    """Every living process of this stack, flow runs included."""
    return processes.find_processes(settings.home, leaders=_leaders(read_state(settings)))


class _Start:
    """One start of what is missing: both servers side by side, the workers and the supervisor once they answer."""

    def __init__(
        self, settings: Settings, before: StackState, kept: dict[str, ServiceState], end: float
    ) -> None:
        self.settings = settings
        self.before = before
        self.states = dict(kept)
        self.end = end
        self.begun = time.monotonic()
        self.launched: dict[str, subprocess.Popen[bytes]] = {}
        self.launched_at: dict[str, datetime] = {}
        self.taken: dict[str, list[int]] = {PREFECT: [], MLFLOW: []}
        self.credential = credentials.ensure(settings.home)

    def run(self) -> None:
        for name in SERVERS:
            if name not in self.states:
                self._launch_server(name)
        waiting = set(self.launched)
        servers_pending = True
        while waiting or servers_pending:
            for name in sorted(waiting):
                if self._is_ready(name):
                    waiting.discard(name)
            # Both servers: one that loses its port to another program gets a new one, which the workers are told.
            if servers_pending and not waiting & set(SERVERS):
                due = [name for name in services.workers(self.settings) if name not in self.states]
                if due:
                    self._launch_workers(due)
                waiting |= set(due)
                servers_pending = False
            if time.monotonic() > self.end:
                raise self._failure(min(waiting), "did not answer in time")
            time.sleep(0.1)
        if SUPERVISOR not in self.states:
            self._launch(SUPERVISOR, None, None)
        self._refuse_troubles()

    def _launch_server(self, name: str) -> None:
        outside = self.settings.environ.get(f"INGOT_{name.upper()}_URI")
        if outside:
            self.states[name] = ServiceState(name=name, url=outside.rstrip("/"))
            if not _is_healthy(self.states[name]):
                raise ServiceError(f"{name} at {outside} does not answer; check INGOT_{name.upper()}_URI")
            return
        databases.check(self.settings, name)
        remembered = read_ports(self.settings)
        avoid = {*self.taken[name], *(s.port for s in self.states.values() if s.port)}
        wanted = [remembered.get(name, 0), services.PREFERRED_PORTS[name]]
        port = ports.choose_port([p for p in wanted if p], avoid)
        self.taken[name].append(port)
        write_ports(self.settings, {**remembered, name: port})
        url = services.api_url(port) if name == PREFECT else services.mlflow_url(port)
        if url != self.before.service(name).url:
            self._stop_kept_workers()
        self._launch(name, url, port)

    def _stop_kept_workers(self) -> None:
        """A worker learns both addresses when it starts; with an old one it would wait for runs forever.

        Before the new address is written down: a kill between would leave nothing to see that it moved.
        """
        for name in services.workers(self.settings):
            if self.states.pop(name, None) is not None:
                _stop_service(self.settings, name, self.before)

    def _launch_workers(self, names: list[str]) -> None:
        server = self._server()
        # Before anything can take a run: of the nights that were missed one is left, and no slot is lost.
        reconcile.reconcile(self.settings, server)
        for pool in dict.fromkeys(map(services.pool_of, names)):
            prefect_api.ensure_pool(server, pool)
        for name in names:
            self._launch(name, None, None)

    def _server(self) -> Server:
        ours = self.states[PREFECT].identity is not None
        return Server(self._url(PREFECT), self.credential if ours else credentials.from_environment(os.environ))

    def _launch(self, name: str, url: str | None, port: int | None) -> None:
        urls = {s.name: s.url for s in self.states.values() if s.url}
        let_in = _let_in(self.states.values(), self.credential, self.settings.environ)
        service = services.define(name, self.settings, urls, port, self.credential, let_in)
        self.launched_at[name] = datetime.now(UTC)
        child = processes.start_process(
            service.command,
            service.environment,
            log=service.log,
            cwd=service.cwd,
            home=self.settings.home,
            service=name,
        )
        self.launched[name] = child
        self.states[name] = ServiceState(
            name=name, identity=processes.identify(child.pid), url=url, port=port, log=str(service.log)
        )
        # Written after each start: a kill right here must not hide the process from the next call.
        write_state(
            self.settings,
            StackState(
                home=str(self.settings.home),
                services=tuple(self.states.values()),
                started_at=datetime.now(UTC).isoformat(timespec="seconds"),
                seconds=round(time.monotonic() - self.begun, 1),
            ),
        )

    def _is_ready(self, name: str) -> bool:
        child = self.launched[name]
        if child.poll() is not None:
            port_taken = services.lost_its_port(services.log_path(self.settings, name))
            if port_taken and name in self.taken and len(self.taken[name]) < _TRIES_FOR_A_PORT:
                self._launch_server(name)
                return False
            raise self._failure(name, f"ended with status {child.returncode}")
        if name not in SERVERS:
            heard = prefect_api.worker_heartbeat(
                self._server(), services.pool_of(name), services.worker_name(name)
            )
            # The row of an earlier worker of this name may still look alive.
            return heard is not None and heard >= self.launched_at[name]
        return _is_healthy(self.states[name])

    def _started_here(self, name: str) -> bool:
        return name in self.launched

    def _url(self, name: str) -> str:
        url = self.states[name].url
        assert url is not None, f"{name} has no address"
        return url

    def _refuse_troubles(self) -> None:
        for name in SERVERS:
            troubles = services.find_trouble(name, services.log_path(self.settings, name))
            if troubles and self._started_here(name):
                raise self._failure(name, f"reports: {troubles[0]}")
        state = read_state(self.settings)
        assert state is not None
        seconds = round(time.monotonic() - self.begun, 1)
        write_state(self.settings, state.model_copy(update={"seconds": seconds}))

    def _failure(self, name: str, what: str) -> ServiceError:
        log = services.log_path(self.settings, name)
        return ServiceError(f"{name} {what}; its log is {log}, which ends:\n{processes.tail(log)}")


def _is_healthy(state: ServiceState) -> bool:
    if state.identity is not None and not processes.is_alive(state.identity):
        return False
    if state.url is None:
        return state.identity is not None
    if state.identity is not None:
        # Only a socket of our own process counts: on a shared machine another one may answer on this port.
        family = [psutil.Process(state.identity.pid)]
        with suppress(psutil.Error):
            family += family[0].children(recursive=True)
        if (ports.LOOPBACK, state.port) not in ports.listening_sockets(family):
            return False
    return prefect_api.answers(f"{state.url}/health")


def _stop_service(settings: Settings, name: str, state: StackState) -> int:
    if name not in (*SERVERS, SUPERVISOR):
        # The worker alone: the runs it started live on without it and report their end themselves.
        worker = [p for p in processes.find_processes(settings.home, name) if services.is_worker(p)]
        processes.stop_processes(worker, grace_seconds=0)  # TERM would make it wait for its runs
        return len(worker)
    identity = state.service(name).identity
    leaders = [identity.pid] if identity is not None and _leads_our_session(identity) else []
    found = processes.find_processes(settings.home, name, leaders)
    processes.stop_processes(found, grace_seconds=_SERVER_GRACE_SECONDS)
    # A process may have started another while it was being stopped.
    processes.stop_processes(processes.find_processes(settings.home, name, leaders), grace_seconds=0.5)
    return len(found)


def _leads_our_session(identity: ProcessIdentity) -> bool:
    """False when the pid now belongs to a stranger; a dead leader's number stays with its session."""
    living = processes.identify(identity.pid)
    return living is None or living == identity


def _leaders(state: StackState | None) -> list[int]:
    found = [s.identity for s in state.services if s.identity] if state else []
    return [identity.pid for identity in found if _leads_our_session(identity)]
