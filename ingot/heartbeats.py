"""Signs of life of flow runs on this machine: who executes which run, and what it waits for.

Prefect does not notice a flow whose process was killed. So each process that executes a flow keeps one small
file, `$INGOT_HOME/run/flows/<flow run id>.json`, and takes it away when the run ends; whoever reconciles reads
them. A file names a process by pid and start time, so a pid that was given away again is not mistaken for it.
"""

import json
import os
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

BEAT_SECONDS = 5.0
"""How often a living run renews its file."""
DEAD_AFTER_SECONDS = 180.0
"""A run whose process cannot be looked up (another machine's) is dead after so long without a sign."""
RUN_MARK = "_INGOT_RUN"
"""Variable in the environment of everything that a run starts: its workers and ranks are found by it."""
RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"
"""Variable that a worker sets in the process of a run."""
_ASKED = "cancel"
_changing = threading.Lock()  # a renewal must not lose what the run waits for


@dataclass(frozen=True)
class Heartbeat:
    """One flow run that a process of this machine executes, or executed when it was killed."""

    flow_run_id: str
    flow: str
    host: str
    pid: int
    start_time: float
    """Seconds since boot, as the kernel counts; 0 where it cannot be read."""
    time: float
    """Epoch seconds of the last sign."""
    waiting: str = ""
    """What the run waits for, in words; empty while it works."""

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs; of another machine's process only the age of the sign is known."""
        if self.host != os.uname().nodename:
            return time.time() - self.time < DEAD_AFTER_SECONDS
        return start_time_of(self.pid) == self.start_time


@dataclass(frozen=True)
class Process:
    """A process that cannot be confused with a later one of the same pid, on whatever machine; `str` of it is a tag."""

    host: str
    pid: int
    start_time: float

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}:{self.start_time}"

    @classmethod
    def current(cls) -> "Process":
        """The calling process."""
        pid = os.getpid()
        return cls(os.uname().nodename, pid, start_time_of(pid) or 0.0)

    @classmethod
    def parse(cls, text: str) -> "Process | None":
        """What `str` wrote; None for anything else."""
        rest, _, start_time = text.rpartition(":")
        host, _, pid = rest.rpartition(":")
        try:
            return cls(host, int(pid), float(start_time)) if host else None
        except ValueError:
            return None

    @property
    def is_gone(self) -> bool:
        """Whether it certainly ended: it was of this machine, and runs no more."""
        if self.host != os.uname().nodename or not self.start_time:
            return False
        return start_time_of(self.pid) != self.start_time


def of_this_process(flow_run_id: str, flow: str, waiting: str = "") -> Heartbeat:
    """A sign of life of the calling process."""
    here = Process.current()
    return Heartbeat(flow_run_id, flow, here.host, here.pid, here.start_time, time.time(), waiting)


def start_time_of(pid: int) -> float | None:
    """When a process started, in seconds since boot; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    # The third field of the line is the state; the 22nd is the start in clock ticks.
    return None if fields[0] in "ZX" else int(fields[19]) / os.sysconf("SC_CLK_TCK")


def write(home: Path, beat: Heartbeat) -> None:
    """Renew a run's file, whole or not at all."""
    folder = folder_of(home)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{beat.flow_run_id}.json"
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
        json.dump(asdict(beat), file)
    part.replace(path)


def say_waiting(home: Path, flow_run_id: str, waiting: str) -> None:
    """Note what a run waits for (empty: it works again); nothing when it has no file."""
    with _changing:
        beat = read(home, flow_run_id)
        if beat is not None:
            write(home, replace(beat, waiting=waiting, time=time.time()))


def renew(home: Path, beat: Heartbeat) -> None:
    """Give the sign again, with the time of now and with what the run waits for by its own word."""
    with _changing:
        known = read(home, beat.flow_run_id)
        write(home, replace(beat, waiting=known.waiting if known else beat.waiting, time=time.time()))


def remove(home: Path, flow_run_id: str) -> None:
    """The run has ended."""
    for suffix in ("json", _ASKED):
        (folder_of(home) / f"{flow_run_id}.{suffix}").unlink(missing_ok=True)


def ask_to_end(home: Path, flow_run_id: str, why: str) -> None:
    """Leave word for a run's process, before it gets its TERM, that it is cancelled and by whom."""
    folder_of(home).mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder_of(home) / f"{flow_run_id}.{_ASKED}"
    with open(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
        file.write(why)


def asked_to_end(home: Path, flow_run_id: str) -> str | None:
    """Why a run is to end as cancelled; None when nobody asked here."""
    try:
        return (folder_of(home) / f"{flow_run_id}.{_ASKED}").read_text() or None
    except OSError:
        return None


def read(home: Path, flow_run_id: str) -> Heartbeat | None:
    """A run's last sign; None when there is none that can be read."""
    return _parse(folder_of(home) / f"{flow_run_id}.json")


def read_all(home: Path) -> list[Heartbeat]:
    """Every sign there is, by run id."""
    paths = sorted(folder_of(home).glob("*.json"))
    return [beat for beat in map(_parse, paths) if beat is not None]


def folder_of(home: Path) -> Path:
    """Where the files lie."""
    return home / "run" / "flows"


def _parse(path: Path) -> Heartbeat | None:
    try:
        return Heartbeat(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None  # gone, or of another version
