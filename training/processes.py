"""Small process tools: die with the parent, find children, hold a lock that dies with its holder."""

import ctypes
import fcntl
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.5


def die_with_parent(parent_pid: int) -> None:
    """Have this process killed when its parent is gone, however that died.

    Linux tells the kernel (prctl); elsewhere a thread looks at the parent's id twice a second.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_watch_parent, args=(parent_pid,), daemon=True).start()
    # The parent may have died before the kernel was told.
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def _watch_parent(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def child_pids(pid: int) -> list[int]:
    """Direct children of a process, from /proc."""
    children = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The second field may hold blanks and brackets; the parent follows the last bracket.
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            children.append(int(entry.parent.name))
    return sorted(children)


def try_lock(path: Path, *, shared: bool = False, timeout_seconds: float = 0.0) -> IO[str] | None:
    """Take an advisory lock that the kernel drops when this process ends; None when it stays taken."""
    file = open(path, "a")  # noqa: SIM115  (open for as long as the lock is held)
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() >= deadline:
                file.close()
                return None
            time.sleep(0.1)
