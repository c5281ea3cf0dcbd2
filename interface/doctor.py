"""`ingot doctor`, and what must hold before a build is started: each check says what it found and a remedy."""

import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Sequence

from ingot import airgap
from ingot.errors import IngotError, ServiceError
from ingot.settings import Settings
from interface.context import open_settings, open_store
from interface.output import Printer

MIN_FREE_BYTES = 2 << 30

_Check = tuple[str, bool, str]
"""(what was looked at, whether it is well, what was found)."""


def doctor(options: Namespace, printer: Printer) -> int:
    """`ingot doctor [storage [URL]]`: what works and what does not, each with a remedy; exit 75 if something fails."""
    if options.what == "storage":
        from interface.doctor_storage import doctor_storage

        return doctor_storage(options, printer)
    settings = open_settings()
    checks = [_python(), _disk(settings), _memory(), _store(settings), _switches(), _jail(settings)]
    checks += [*_stack(settings), *_databases(settings), _notify(settings)]
    for name, ok, text in checks:
        printer.line(f"  {'ok  ' if ok else 'FAIL'}  {name}: {text}")
    printer.result({"checks": [{"name": name, "ok": ok, "text": text} for name, ok, text in checks]})
    return 0 if all(ok for _, ok, _ in checks) else ServiceError.exit_code


def preflight(settings: Settings) -> list[_Check]:
    """What must hold before minutes are spent: Python, disk, memory, ports, store."""
    return [_python(), _disk(settings), _memory(), _ports(settings), _store(settings), _jail(settings)]


def _ports(settings: Settings) -> _Check:
    from deployments import local_stack
    from deployments.ports import is_free

    if local_stack.status(settings).running:
        return "ports", True, "the local stack runs already"
    taken = [port for port in (4200, 5000) if not is_free(port)]
    text = f"{' and '.join(map(str, taken))} taken, others are chosen and shown" if taken else "4200 and 5000 are free"
    return "ports", True, text


def _python() -> _Check:
    ok = sys.version_info >= (3, 11)
    return "python", ok, f"{sys.version.split()[0]}" + ("" if ok else "; install Python 3.11 or newer")


def _disk(settings: Settings) -> _Check:
    folder = settings.home
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    ok = free >= MIN_FREE_BYTES
    text = f"{free / (1 << 30):.1f} GiB free at {folder}"
    return "disk", ok, text if ok else f"{text}; free some, or set INGOT_HOME to a larger disk"


def _memory() -> _Check:
    import psutil

    free = psutil.virtual_memory().available
    ok = free >= 3 << 30
    text = f"{free / (1 << 30):.1f} GiB available"
    return "memory", ok, text if ok else f"{text}; the demo needs 3 GiB, close something"


def _store(settings: Settings) -> _Check:
    try:
        store = open_store(settings)
        store.put_bytes("doctor/probe", b"ingot", overwrite=True)
        ok = store.read_bytes("doctor/probe") == b"ingot"
        store.delete("doctor/probe")
        return "store", ok, f"{store.root} can be written, read and deleted from"
    except IngotError as error:
        return "store", False, str(error)


def _switches() -> _Check:
    wrong = [name for name, value in airgap.SWITCHES.items() if os.environ.get(name) != value]
    text = f"{len(airgap.SWITCHES)} switches against calling home are set"
    return "offline", not wrong, text if not wrong else f"{', '.join(wrong)} were changed after start"


def _jail(settings: Settings) -> _Check:
    from datasets_pipeline.jail import walls

    try:
        kind = walls.choose(settings.jail)
    except IngotError as error:
        return "jail", False, str(error)
    if kind == walls.LIMITS_ONLY:
        return "jail", True, "limits_only, as INGOT_JAIL says: a document that takes over its parser reaches your files"
    return "jail", True, f"documents are parsed without network and files, by {kind}"


def _stack(settings: Settings) -> list[_Check]:
    from deployments import local_stack

    state = local_stack.status(settings)
    if not state.services:
        return [("stack", True, "down; `ingot up` starts it")]
    down = [s.name for s in state.services if not s.healthy]
    text = f"{', '.join(down)} down; `ingot up` starts what is missing" if down else "running"
    return [("stack", not down, text), _logs(settings, state.troubles)]


def _logs(settings: Settings, troubles: Sequence[str]) -> _Check:
    from deployments import services

    if not troubles:
        return "logs", True, "no errors"
    see = f"see the logs below {settings.home / 'logs'}"
    broken = [line for line in troubles if services.tells_of_a_dead_part(line)]
    if broken:
        return "logs", False, f"{broken[0]}; {see}, then `ingot down` and `ingot up`"
    # What a service has told and outlived is no reason to fail, nor to be silent.
    return "logs", True, f"errors told and outlived: {len(troubles)}, the first: {troubles[0]}; {see}"


def _databases(settings: Settings) -> list[_Check]:
    from deployments import databases

    own = [name for name in databases.SERVERS if not settings.environ.get(f"INGOT_{name.upper()}_URI")]
    return [(f"{name} database", *databases.trouble(settings, name)) for name in own]


def _notify(settings: Settings) -> _Check:
    from deployments import notify

    return "notify", *notify.trouble(settings)
