"""Counted GPU slots of this machine: a stage takes n devices or none, and waits its turn, oldest first.

    $INGOT_HOME/run/gpus/<device>.lock     one file a device, locked by the process that uses it
    $INGOT_HOME/run/gpus/queue/<ticket>    one file a waiting process, locked by it

The kernel drops a lock when its process dies, however that happens, so no slot can be lost. Only the oldest
living ticket may take devices, and it takes all it asked for or none: two stages that each want two of three
cannot hold each other up, and a small request does not starve a large one. All processes of one INGOT_HOME share
the slots; other users of the machine are not seen.
"""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

from ingot import heartbeats
from ingot.errors import RecipeError
from ingot.settings import Settings

POLL_SECONDS = 0.5
_NVIDIA_SMI_SECONDS = 20.0


@dataclass(frozen=True)
class Slot:
    """One device and who has it; pid 0 when it is free."""

    device: str
    flow_run_id: str = ""
    what: str = ""
    pid: int = 0
    start_time: float = 0.0
    """Of the process, in seconds since boot: a pid may be given away again."""
    since: float = 0.0
    """Epoch seconds."""

    @property
    def is_free(self) -> bool:
        """Whether nobody has it."""
        return self.pid == 0


def devices(settings: Settings) -> tuple[str, ...]:
    """The devices that stages share here, as CUDA_VISIBLE_DEVICES names them.

    What CUDA_VISIBLE_DEVICES lists when it is set, else INGOT_GPUS numbers from 0, else what nvidia-smi lists.
    """
    visible = settings.environ.get("CUDA_VISIBLE_DEVICES")
    named = tuple(name.strip() for name in (visible or "").split(",") if name.strip())
    if named:
        return named[: settings.gpus]
    hidden = visible is not None
    number = settings.gpus if settings.gpus is not None else 0 if hidden else _num_listed()
    return tuple(str(index) for index in range(number))


def check(settings: Settings, num_gpus: int, where: str) -> None:
    """RecipeError when this machine can never give so many; where: the field that asks, for the message."""
    there = len(devices(settings))
    if num_gpus > there:
        raise RecipeError(
            f"{where} asks for {num_gpus} GPUs, and this machine has {there}; lower it or leave it out, run where "
            "there are more, or set INGOT_GPUS if they are not counted right"
        )


@contextlib.contextmanager
def hold(
    settings: Settings,
    num_gpus: int,
    *,
    flow_run_id: str,
    what: str,
    on_wait: Callable[[str], None],
) -> Iterator[tuple[str, ...]]:
    """Hold num_gpus devices while the block lasts; waits until they are free and it is this process's turn.

    on_wait is told what is waited for, whenever that changes. Raises RecipeError when there are not so many at all.
    """
    check(settings, num_gpus, "a stage")
    folder = folder_of(settings.home)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    holder = Slot("", flow_run_id, what, os.getpid(), heartbeats.start_time_of(os.getpid()) or 0.0)
    with _ticket(folder / "queue", holder) as ticket:
        told = ""
        while not (taken := _try_all(folder, devices(settings), num_gpus, holder, ticket)):
            text = _why(settings, num_gpus, ticket)
            if text != told:
                told = text
                on_wait(text)
            time.sleep(POLL_SECONDS)
    try:
        yield tuple(taken)
    finally:
        for file in taken.values():
            file.truncate(0)
            file.close()


def describe(settings: Settings) -> list[Slot]:
    """Every device of this machine and who has it; takes no lock, so asking disturbs nobody."""
    return [_read(folder_of(settings.home), device) for device in devices(settings)]


def folder_of(home: Path) -> Path:
    """Where the lock files lie."""
    return home / "run" / "gpus"


def _num_listed() -> int:
    if shutil.which("nvidia-smi") is None:
        return 0
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=_NVIDIA_SMI_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines()) if done.returncode == 0 else 0


@contextlib.contextmanager
def _ticket(folder: Path, holder: Slot) -> Iterator[Path]:
    """A place in the queue, by time; it is given back when the block ends or this process does."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = f"{time.time_ns():020d}-{os.getpid()}-{threading.get_ident()}"
    part = folder / f".{name}"
    with open(os.open(part, os.O_CREAT | os.O_RDWR, 0o600), "w") as file:
        # Locked before it can be seen: an unlocked ticket is one whose process has died.
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump(asdict(holder), file)
        file.flush()
        path = part.replace(folder / name)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)


def _try_all(folder: Path, names: Sequence[str], num_gpus: int, holder: Slot, ticket: Path) -> dict[str, IO[str]]:
    """The first num_gpus free devices, locked; empty when there are not so many or somebody waits longer."""
    if _ahead(ticket):
        return {}
    taken: dict[str, IO[str]] = {}
    for name in names:
        if len(taken) == num_gpus:
            break
        file = open(os.open(folder / f"{name}.lock", os.O_CREAT | os.O_RDWR, 0o600), "r+")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken[name] = file
        except BlockingIOError:
            file.close()
    if len(taken) < num_gpus:
        for held in taken.values():
            held.close()
        return {}
    for name, held in taken.items():
        held.truncate(0)
        json.dump(asdict(replace(holder, device=name, since=round(time.time(), 3))), held)
        held.flush()
    return taken


def _ahead(ticket: Path) -> list[Path]:
    """Tickets of living processes that are older than this one; those of the dead are taken away."""
    older = [path for path in sorted(ticket.parent.glob("[0-9]*")) if path.name < ticket.name]
    return [path for path in older if not _remove_if_dead(path)]


def _remove_if_dead(path: Path) -> bool:
    try:
        with open(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            return True
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False


def _why(settings: Settings, num_gpus: int, ticket: Path) -> str:
    """`2 GPUs: 0 and 1 are held by pretrain of run 1a2b3c4d since 12:01`."""
    held: dict[tuple[str, str, str], list[str]] = {}
    for slot in describe(settings):
        if not slot.is_free:
            since = time.strftime("%H:%M", time.localtime(slot.since))
            held.setdefault((slot.what, slot.flow_run_id, since), []).append(slot.device)
    parts = [
        f"{_listed(names)} {'are' if len(names) > 1 else 'is'} held by {what} of run {run[:8] or '?'} since {since}"
        for (what, run, since), names in held.items()
    ]
    ahead = len(_ahead(ticket))
    if ahead:
        parts.append(f"{ahead} {'stages wait' if ahead > 1 else 'stage waits'} longer")
    return f"{num_gpus} GPU{'s' if num_gpus > 1 else ''}: {', '.join(parts) or 'they are being freed'}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _read(folder: Path, device: str) -> Slot:
    try:
        values: dict[str, Any] = json.loads((folder / f"{device}.lock").read_text())
        slot = Slot(**values)
    except (OSError, ValueError, TypeError):
        return Slot(device)
    # What a killed process wrote stays until the next one takes the device; the lock itself is free.
    return slot if heartbeats.start_time_of(slot.pid) == slot.start_time else Slot(device)
