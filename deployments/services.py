"""What the local stack runs: the command, environment and sign of health of each service.

What all of it costs at rest, and how long it takes to start: `benchmarks/control_room.py`.
"""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from deployments import databases, mlflow_app, ports, processes
from deployments.credentials import Credential
from ingot.airgap import SWITCHES
from ingot.heartbeats import RUN_VARIABLE
from ingot.settings import Settings

PREFECT, MLFLOW, SUPERVISOR = "prefect", "mlflow", "supervisor"
SERVERS = (PREFECT, MLFLOW)
DATA_POOL, GPU_POOL = "data", "gpu"
PREFERRED_PORTS = {PREFECT: 4200, MLFLOW: 5000}
_WORKER_MARK = "PREFECT_WORKER_QUERY_SECONDS"
_PORT_TAKEN = re.compile(r"already in use", re.IGNORECASE)
_LINES_AFTER_PORT_TAKEN = 200
# Prefect may follow the line that matters with a traceback of its shutdown, some 40 lines long.
_OUR_LOGGERS = "flows,tasks,datasets_pipeline,training,evaluation,ingot,deployments"
# Signs in the server's log that one of its services died although the API still answers.
_DEAD_PART = re.compile(r"Service .+ (?:exited|failed)")
_TROUBLE = re.compile(rf"{_DEAD_PART.pattern}|Traceback \(most recent call last\)|\| (?:ERROR|CRITICAL) ")
_WORKER_TROUBLE = re.compile(r"\| (?:ERROR|CRITICAL) +\| prefect\.(?:worker|_internal)|" + _DEAD_PART.pattern)
_RECORD_START = re.compile(r"(?m)^(?=\d\d:\d\d:\d\d\.\d+ \||\d{4}[-/]\d\d[-/]\d\d |INFO: |WARNING: |ERROR: )")
_LOCKED = "database is locked"
_SCAN_BYTES = 1 << 20  # of the beginning and of the end


@dataclass(frozen=True)
class Service:
    """One process to start."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: Path
    log: Path
    port: int | None


def workers(settings: Settings) -> tuple[str, ...]:
    """Names of the workers of this machine: `data`, `data-2`, ..., `gpu`."""
    more = (f"{DATA_POOL}-{number}" for number in range(2, settings.data_workers + 1))
    return (DATA_POOL, *more, GPU_POOL)


def all_services(settings: Settings) -> tuple[str, ...]:
    """Every process of the stack by name, in the order of starting."""
    return (*SERVERS, *workers(settings), SUPERVISOR)


def pool_of(worker: str) -> str:
    """The work pool a worker takes runs from."""
    return worker.partition("-")[0]


def worker_name(worker: str) -> str:
    """How the server knows a worker: machines that share a server have a worker of each name."""
    return f"{worker}@{os.uname().nodename}"


def is_worker(process: psutil.Process) -> bool:
    """Whether a process of a worker's is the worker itself, not a run it started or what that started."""
    try:
        environment = process.environ()
    except psutil.Error:
        return False
    return _WORKER_MARK in environment and RUN_VARIABLE not in environment


def root_folder() -> Path:
    """The folder that holds the root packages, so that a worker in any folder can import flows."""
    return Path(__file__).resolve().parents[1]


def api_url(port: int) -> str:
    """Address of the Prefect API on this port."""
    return f"http://{ports.LOOPBACK}:{port}/api"


def mlflow_url(port: int) -> str:
    """Address of the MLflow server on this port."""
    return f"http://{ports.LOOPBACK}:{port}"


def log_path(settings: Settings, name: str) -> Path:
    """Where a service writes its log."""
    return settings.home / "logs" / f"{name}.log"


def client_environment(
    home: Path,
    environ: Mapping[str, str],
    prefect_api_url: str,
    mlflow_uri: str,
) -> dict[str, str]:
    """Variables a process needs to talk to these servers; to be set before it imports Prefect.

    `environ` is what it has now: hosts that ask no proxy are added to, not replaced.
    """
    return {
        **SWITCHES,
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": prefect_api_url,
        "PREFECT_LOGGING_EXTRA_LOGGERS": _OUR_LOGGERS,
        # The default serializer is pickle: code that runs on reading.
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_CLI_COLORS": "false",
        # Pauses of 2, 4, ... 64 s: a server that was killed is back within a minute, and the run goes on.
        "PREFECT_CLIENT_MAX_RETRIES": "6",
        "MLFLOW_TRACKING_URI": mlflow_uri,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        # The default, 7 tries with growing pauses, is 4 minutes: a dead server must not stall a run.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
        # MLflow prints two lines with addresses to stdout whenever a run ends, which would break --json.
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        **_without_proxy(environ),
    }


def define(
    name: str,
    settings: Settings,
    urls: Mapping[str, str],
    port: int | None,
    credential: Credential,
    let_in: Mapping[str, str],
) -> Service:
    """The service `name`, listening on `port` behind `credential`.

    Workers and supervisor need `urls` of both servers, and `let_in`, the variables that let a client in.
    """
    home = settings.home
    command: tuple[str, ...]
    if name == PREFECT:
        assert port is not None
        # What `prefect server start` does, with our policy on the pages.
        command = ("-m", "uvicorn", "--factory", "deployments.prefect_app:create_app", "--host", ports.LOOPBACK)
        command = (*command, "--port", str(port), "--timeout-keep-alive", "5")
        own = {
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_SERVER_API_AUTH_STRING": credential.pair,
            # The server's own services ask its API too.
            "PREFECT_API_AUTH_STRING": credential.pair,
            # The browser asks this address; without it the UI asks port 4200 whatever the port is.
            "PREFECT_SERVER_UI_API_URL": api_url(port),
            # Leases in memory would leave the slots of a killed server taken for ever.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": _origins(port),
            "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P30D",
            **databases.prefect_environment(settings),
            "PREFECT__SERVER_FINAL": "1",
            "PYTHONPATH": _python_path(settings.environ),
        }
        folder = home / "prefect"
    elif name == MLFLOW:
        assert port is not None
        folder = home / "mlflow"
        # The command line keeps a parent process beside the one server (210 MB, 3 s). Starting uvicorn on
        # MLflow's app directly would save both, but through private variables, and without the check of
        # artifact addresses that only this command line switches on.
        command = (
            *("-m", "mlflow", "server", "--host", ports.LOOPBACK, "--port", str(port), "--workers", "1"),
            *("--app-name", "ingot"),
            *("--artifacts-destination", str(folder / "artifacts")),
            *("--allowed-hosts", f"{ports.LOOPBACK}:{port},localhost:{port}"),
            *("--cors-allowed-origins", _origins(port)),
            *("--x-frame-options", "DENY"),
        )
        own = {
            mlflow_app.DOOR_VARIABLE: credential.pair,
            # On by default; its API has been a way to run code without a password (CVE-2026-0545).
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            "PYTHONPATH": _python_path(settings.environ),
            **databases.mlflow_environment(settings),
        }
    else:
        folder = home / "run"
        own = {
            **client_environment(home, settings.environ, urls[PREFECT], urls[MLFLOW]),
            **let_in,
            "INGOT_HOME": str(home),
            "PYTHONPATH": _python_path(settings.environ),
        }
        if name == SUPERVISOR:
            command = ("-m", "deployments.supervisor")
        else:
            command = ("-m", "prefect", "worker", "start", "--pool", pool_of(name), "--type", "process")
            command = (*command, "--name", worker_name(name), "--install-policy", "never")
            # A triggered run starts within two seconds instead of ten.
            own[_WORKER_MARK] = "2"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    environment = {**_inherited(settings.environ), **SWITCHES, **own, "PYTHONUNBUFFERED": "1"}
    return Service(name, (sys.executable, *command), environment, folder, log_path(settings, name), port)


def lost_its_port(log: Path) -> bool:
    """Whether a service says at the end of its log that another program has its port."""
    return _PORT_TAKEN.search(processes.tail(log, lines=_LINES_AFTER_PORT_TAKEN)) is not None


def find_trouble(name: str, log: Path) -> tuple[str, ...]:
    """Lines of a service's log that say something in it failed; empty when all is well.

    A worker's log also carries what its runs say: those report their failures themselves.
    """
    wanted = _TROUBLE if name in (*SERVERS, SUPERVISOR) else _WORKER_TROUBLE
    try:
        with open(log, "rb") as file:
            text = file.read(_SCAN_BYTES)
            size = file.seek(0, os.SEEK_END)
            if size > _SCAN_BYTES:
                file.seek(max(_SCAN_BYTES, size - _SCAN_BYTES))
                text += b"\n" + file.read()
    except OSError:
        return ()
    found = []
    for record in _RECORD_START.split(text.decode(errors="replace")):
        # SQLite refuses two writers at once; whoever was refused tries again, and the log tells both.
        if _LOCKED not in record:
            found += [line.strip()[:300] for line in record.splitlines() if wanted.search(line)]
    return tuple(dict.fromkeys(found))


def tells_of_a_dead_part(trouble: str) -> bool:
    """Whether a line found by `find_trouble` says that a part of the service has ended for good."""
    return _DEAD_PART.search(trouble) is not None


def _inherited(environ: Mapping[str, str]) -> dict[str, str]:
    # Another Prefect's or MLflow's settings in the caller's shell are not meant for our servers.
    return {k: v for k, v in environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "_MLFLOW_"))}


def _without_proxy(environ: Mapping[str, str]) -> dict[str, str]:
    """Loopback added to the hosts no proxy is asked for, in both spellings that libraries read."""
    known = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    hosts = [host for host in known.split(",") if host]
    value = ",".join(dict.fromkeys([*hosts, ports.LOOPBACK, "localhost"]))
    return {"NO_PROXY": value, "no_proxy": value}


def _origins(port: int) -> str:
    return f"http://{ports.LOOPBACK}:{port},http://localhost:{port}"


def _python_path(environ: Mapping[str, str]) -> str:
    known = [part for part in environ.get("PYTHONPATH", "").split(":") if part]
    return ":".join(dict.fromkeys([str(root_folder()), *known]))
