"""Start, recognise and stop the processes of the local stack, and leave none behind.

A process is ours when its environment says so (`_INGOT_STACK` holds the home folder; every
descendant inherits it) or when it belongs to a session that a service of ours leads. The pid alone
proves nothing: it may have been given to another program since.
"""

import os
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

# Not an INGOT_ name: settings refuse INGOT_ variables they do not know.
STACK_VARIABLE = "_INGOT_STACK"
SERVICE_VARIABLE = "_INGOT_STACK_SERVICE"
_TAIL_BYTES = 64 * 1024


class ProcessIdentity(BaseModel):
    """A process that cannot be confused with a later one of the same pid."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    start_time: float
    """Seconds since boot where /proc says so, else seconds since the epoch."""


def identify(pid: int) -> ProcessIdentity | None:
    """Identity of a running process; None when there is none or it is a zombie."""
    try:
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return None
        return ProcessIdentity(pid=pid, start_time=_start_time(pid))
    except (psutil.Error, OSError):
        return None


def _start_time(pid: int) -> float:
    # psutil's create_time moves when the wall clock is set; the kernel's tick count does not.
    if sys.platform == "linux":
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return psutil.Process(pid).create_time()


def host() -> str:
    """Name of this machine, as runs and heartbeats are marked with it."""
    return os.uname().nodename


def is_alive(identity: ProcessIdentity | None) -> bool:
    """True while exactly this process runs."""
    return identity is not None and identify(identity.pid) == identity


def start_process(
    command: Sequence[str], environment: Mapping[str, str], *, log: Path, cwd: Path, home: Path, service: str
) -> subprocess.Popen[bytes]:
    """Start a service in a session of its own; its output goes to `log`, the previous log to `log.1`.

    Files it makes are its user's alone (umask 077): both databases hold names and addresses.
    """
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if log.exists():
        log.replace(log.with_name(log.name + ".1"))
    marked = {**environment, STACK_VARIABLE: str(home), SERVICE_VARIABLE: service}
    with open(os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "ab") as output:
        return subprocess.Popen(
            list(command),
            env=marked,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
        )


def find_processes(home: Path, service: str | None = None, leaders: Collection[int] = ()) -> list[psutil.Process]:
    """Every living process of the stack of `home` (of one service, if named), this process excluded.

    `leaders` are pids of services known to be ours: members of their sessions count even when they
    have cleared their environment.
    """
    mine = os.getuid()
    found = []
    for process in psutil.process_iter(["pid", "uids", "status"]):
        info = process.info
        if process.pid == os.getpid() or info["status"] == psutil.STATUS_ZOMBIE:
            continue
        if info["uids"] is None or info["uids"].real != mine:
            continue
        try:
            environment = process.environ()
            session = os.getsid(process.pid)
        except (psutil.Error, OSError):
            continue
        marked = environment.get(STACK_VARIABLE) == str(home)
        if service is not None:
            marked = marked and environment.get(SERVICE_VARIABLE) == service
        if marked or session in leaders:
            found.append(process)
    return found


def stop_processes(processes: Collection[psutil.Process], *, grace_seconds: float) -> int:
    """TERM, wait up to `grace_seconds`, KILL what is left; returns how many had to be killed.

    psutil compares start times before each signal, so a recycled pid is never hit.
    """
    for process in processes:
        try:
            process.terminate()
        except psutil.Error:
            continue
    _, survivors = psutil.wait_procs(list(processes), timeout=grace_seconds)
    for process in survivors:
        try:
            process.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(survivors, timeout=5.0)
    return len(survivors)


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log, empty when there is none."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.rstrip().splitlines()[-lines:])


def memory_bytes(processes: Collection[psutil.Process]) -> int:
    """Proportional memory (PSS) of these processes together; resident where PSS is not known."""
    total = 0
    for process in processes:
        try:
            info = process.memory_full_info()
        except psutil.Error:
            continue
        total += getattr(info, "pss", info.rss)
    return total


def wait_until_gone(identity: ProcessIdentity, timeout_seconds: float) -> bool:
    """True when the process ended in time."""
    end = time.monotonic() + timeout_seconds
    while is_alive(identity):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
