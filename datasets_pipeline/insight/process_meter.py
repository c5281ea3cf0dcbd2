"""What a piece of work costs: wall time, processor time and peak memory of this process and all below it.

Read from /proc, because workers and parsers are processes of their own that may outlive what is measured.
"""

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PERIOD = 0.1
_MOST = 0.05
"""Share of a core that looking may take: the kernel walks every page of every process for one sum of memory."""


@dataclass(frozen=True)
class Cost:
    """Seconds of wall and processor time, and the largest sum of memory seen."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


class Meter:
    """Measures between `with` and its end; `cost` is there afterwards."""

    cost: Cost

    def __enter__(self) -> "Meter":
        self._peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._began, self._cpu = time.perf_counter(), tree_cpu_seconds()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        seconds, cpu = time.perf_counter() - self._began, tree_cpu_seconds() - self._cpu
        self._ended.set()
        self._thread.join()
        self.cost = Cost(seconds, max(0.0, cpu), max(self._peak, tree_bytes()))

    def _watch(self) -> None:
        period = _PERIOD
        while not self._ended.wait(period):
            began = time.thread_time()
            self._peak = max(self._peak, tree_bytes())
            period = max(_PERIOD, (time.thread_time() - began) / _MOST)


def tree() -> list[int]:
    """Ids of this process and all its descendants that live."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and (fields := _stat(int(folder.name))) is not None:
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found, waiting = [], [os.getpid()]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def tree_cpu_seconds() -> float:
    """Processor time of the tree, those that ended and were waited for included."""
    ticks = 0
    for pid in tree():
        fields = _stat(pid)
        if fields is not None:
            ticks += sum(int(value) for value in fields[11:15])
    return ticks / _TICKS


def tree_bytes() -> int:
    """Memory of the tree, shared pages counted once (proportional set size)."""
    total = 0
    for pid in tree():
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:  # it ended, or belongs to another user's namespace
            continue
        total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
    return total


def available_bytes() -> int:
    """Memory that can still be had: of the machine, or of the control group that this process is in."""
    values = {
        line.split(":")[0]: int(line.split()[1]) << 10 for line in Path("/proc/meminfo").read_text().splitlines()
    }
    free = values["MemAvailable"]
    try:
        most = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except OSError:
        return free
    return free if most == "max" else min(free, max(0, int(most) - used))


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/<pid>/stat from the state on; None when it ended. The name before them may hold blanks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
