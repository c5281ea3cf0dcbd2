"""How a jailed child is shut in: by bubblewrap, by namespaces of our own, or, if a setting says so, by limits alone."""

import functools
import json
import shutil
import subprocess
import sys
from dataclasses import asdict

from datasets_pipeline.jail.limits import Limits
from datasets_pipeline.jail.view import SCRATCH, SCRATCH_BYTES, View, view
from ingot.errors import RecipeError, ServiceError

BUBBLEWRAP, NAMESPACES, LIMITS_ONLY = "bubblewrap", "namespaces", "limits_only"
AUTO = "auto"
KINDS = (BUBBLEWRAP, NAMESPACES, LIMITS_ONLY)

MachineCode = tuple[str, str]
"""Folder of what numba compiled for parsers, and the name that numba looks for it under."""

_PROBE_SECONDS = 30
# Neither root nor the user who started it: who is inside has no name outside.
NOBODY = 65534


def choose(wanted: str = AUTO) -> str:
    """The kind of walls to use; `auto` takes the first that works, and never limits alone.

    Raises RecipeError for an unknown word, ServiceError when the wanted kind, or none, works here.
    """
    if wanted not in (AUTO, *KINDS):
        raise RecipeError(f"setting INGOT_JAIL is {wanted!r}; use auto, {', '.join(KINDS)}")
    if wanted == LIMITS_ONLY:
        return LIMITS_ONLY
    tried = (BUBBLEWRAP, NAMESPACES) if wanted == AUTO else (wanted,)
    faults = {kind: _fault(kind) for kind in tried}
    for kind, fault in faults.items():
        if not fault:
            return kind
    told = "; ".join(f"{kind}: {fault}" for kind, fault in faults.items())
    raise ServiceError(
        f"documents are parsed in a process without network and files, and this machine cannot make one ({told}). "
        "Install bubblewrap (apt-get install bubblewrap) or allow user namespaces; INGOT_JAIL=limits_only parses "
        "without walls, where a malicious document that takes over its parser reaches your files and network"
    )


@functools.cache
def _fault(kind: str) -> str:
    """Empty when a process can be started within such walls, else why not. Looked at once a process."""
    if kind == BUBBLEWRAP and shutil.which("bwrap") is None:
        return "bwrap is not installed"
    try:
        done = subprocess.run(
            _within(kind, view(), [sys.executable, "-S", "-c", "pass"]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={},
            timeout=_PROBE_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return type(error).__name__
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return "" if done.returncode == 0 else (lines[-1] if lines else f"status {done.returncode}")


def command(kind: str, limits: Limits, machine_code: MachineCode | None) -> tuple[list[str], dict[str, str]]:
    """(command, environment) of a child within walls of a kind."""
    seen = view(() if machine_code is None else (machine_code[0],))
    options = json.dumps(
        {"limits": asdict(limits), "count_processes": kind != LIMITS_ONLY, "machine_code": machine_code}
    )
    child = [sys.executable, "-m", "datasets_pipeline.jail.child", options]
    return _within(kind, seen, child), seen.environment


def _within(kind: str, seen: View, child: list[str]) -> list[str]:
    if kind == LIMITS_ONLY:
        return child
    if kind == NAMESPACES:
        return [sys.executable, "-m", "datasets_pipeline.jail.namespaces", json.dumps(asdict(seen)), *child]
    words = [
        "bwrap",
        "--unshare-all",
        "--unshare-user",
        "--uid",
        str(NOBODY),
        "--gid",
        str(NOBODY),
        "--cap-drop",
        "ALL",
    ]
    # Without a session of its own a child could put keystrokes into the terminal of the one who started it.
    words += ["--cap-drop", "ALL", "--die-with-parent", "--new-session", "--clearenv", "--hostname", "jail"]
    words += [word for name, value in seen.environment.items() for word in ("--setenv", name, value)]
    # The scratch folder first: a folder to be seen may lie below it.
    words += ["--proc", "/proc", "--dev", "/dev", "--size", str(SCRATCH_BYTES), "--tmpfs", SCRATCH]
    words += [word for folder in seen.folders for word in ("--ro-bind", folder, folder)]
    words += [word for path, target in seen.links for word in ("--symlink", target, path)]
    # All but the scratch folder: what is written there is memory of the machine without a limit.
    words += ["--remount-ro", "/dev", "--remount-ro", "/"]
    return [*words, "--chdir", SCRATCH, "--", *child]
