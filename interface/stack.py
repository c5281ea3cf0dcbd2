"""`ingot up | down | secret | status | rebuild`: the local stack and its views."""

import os
from argparse import Namespace
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from ingot import gpu_slots, ledger, manifest, promotion
from ingot.errors import IngotError
from ingot.recipe_files import load_recipe
from ingot.settings import Settings
from ingot.storage import Store
from interface.context import connect, open_settings, open_store
from interface.output import Printer


def start_stack(settings: Settings, recipe: str | None = None, *, register_again: bool = False) -> Any:
    """Start what is down, end the runs of dead processes, register the deployments; returns the state.

    A stack that runs has its deployments already: they are registered for a new recipe or when asked.
    """
    from deployments import local_stack, reconcile

    state = local_stack.up(settings)
    os.environ.update(local_stack.environment(state))
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    server = local_stack.prefect_server(settings, state)
    reconcile.reconcile(settings, server)
    from ingot import tracking

    tracking.reap_dead_runs(str(state.mlflow_url))
    if recipe is not None or register_again or not state.already_running:
        from deployments import register

        register.register_shipped(settings, server, recipe)
    return state


def up(options: Namespace, printer: Printer) -> int:
    """`ingot up`."""
    settings = open_settings()
    if options.recipe is not None:
        load_recipe(options.recipe)  # a wrong one is told now, not at two in the morning
    state = start_stack(settings, options.recipe)
    printer.line("already running" if state.already_running else f"started in {state.seconds:.0f} s")
    _print_services(state, printer)
    printer.line("  the pages ask for user and password: `ingot secret`")
    printer.result(state.model_dump(mode="json"))
    return 0


def down(options: Namespace, printer: Printer) -> int:
    """`ingot down`."""
    from deployments import local_stack

    stopped = local_stack.down(open_settings())
    printer.line(f"stopped {stopped} processes" if stopped else "nothing was running")
    printer.result({"stopped": stopped})
    return 0


def secret(options: Namespace, printer: Printer) -> int:
    """`ingot secret`: what the two pages ask for."""
    from deployments import credentials

    settings = open_settings()
    found = credentials.read(settings.home)
    printer.table([["user", found.user], ["password", found.password]])
    printer.line(f"Prefect's page asks for both in one line: {found.pair}")
    printer.result({"user": found.user, "password": found.password})
    return 0


def status(options: Namespace, printer: Printer) -> int:
    """`ingot status`."""
    from datasets_pipeline.flags import sentence as flag_sentence
    from deployments import local_stack

    settings = open_settings()
    state = local_stack.status(settings)
    if not state.services:
        printer.line("the local stack is down; start it with `ingot up`")
    else:
        _print_services(state, printer)
    store = open_store(settings)
    versions = _newest_versions(store)
    printer.heading("Last good version of each corpus")
    rows = [[v["corpus"], v["documents"], v["time"], _age(v["age_seconds"])] for v in versions]
    printer.table(rows or [["none yet", "", "", ""]], ["corpus", "documents", "published", "age"])
    for version in versions:
        for flag in version["flags"]:
            printer.line(f"  look at this: in {version['corpus']} {flag_sentence(flag)}")
    held = _held_back(store)
    if held:
        printer.heading("Held back since")
        printer.table([[h["corpus"], h["time"], h["reason"]] for h in held], ["version", "at", "why"])
    approvals = _approvals(store)
    if approvals:
        printer.heading("Approval wanted")
        printer.table(
            [[a["model"], a["verdict"], _age(a["age_seconds"]), a["command"]] for a in approvals],
            ["model", "verdict", "for", "read the evidence and decide"],
        )
    slots = gpu_slots.describe(settings)
    if slots:
        printer.heading("GPU slots")
        printer.table([[s.device, "free" if s.is_free else f"{s.what} (run {s.flow_run_id[:8]})"] for s in slots])
    told = _told_by_prefect(settings, state, printer) if state.prefect_api_url else {}
    gpus = [asdict(slot) for slot in slots]
    found = {"corpora": versions, "held": held, "approvals": approvals, "gpus": gpus}
    printer.result({**state.model_dump(mode="json"), **found, **told})
    return 0


def _told_by_prefect(settings: Settings, state: Any, printer: Printer) -> dict[str, Any]:
    """Next runs and waiting runs, printed and as JSON; a server that does not answer is said, not raised."""
    from deployments import local_stack, overview

    try:
        server = local_stack.prefect_server(settings, state)
        coming, stuck = overview.next_runs(server), overview.waiting(settings, server)
    except IngotError as error:
        printer.line(f"Prefect does not say what is next: {error}")
        return {}
    now = datetime.now(UTC)
    printer.heading("Next runs")
    rows = [[run.deployment, f"{run.time.astimezone():%Y-%m-%d %H:%M %Z}", _age((run.time - now).total_seconds())]
            for run in coming]  # fmt: skip
    printer.table(rows or [["none", "", ""]], ["deployment", "at", "in"])
    if stuck:
        printer.heading("Waiting")
        printer.table(
            [[item.id[:8], item.run, item.deployment, _age((now - item.since).total_seconds()), item.why]
             for item in stuck],
            ["run", "name", "deployment", "for", "waits for"],
        )  # fmt: skip
    return {
        "next": [{"deployment": run.deployment, "time": run.time.isoformat()} for run in coming],
        "waiting": [{**asdict(item), "since": item.since.isoformat()} for item in stuck],
    }


def _held_back(store: Store) -> list[dict[str, Any]]:
    """Versions that breached their expectations after the last good one of their corpus."""
    found = []
    for key in store.list("held/"):
        record = store.read_record(key)
        corpus, number = record["identity"]["corpus"], int(key.rsplit("/", 1)[1].removesuffix(".json"))
        if number > max(manifest.versions_of(store, corpus), default=0):
            told = record["provenance"]
            reason = "; ".join(told.get("breaches", []))
            found.append({"corpus": f"{corpus}@held/{number}", "time": told["time"], "reason": reason})
    return found


def _newest_versions(store: Store) -> list[dict[str, Any]]:
    versions = []
    for corpus in manifest.corpora(store):
        number = manifest.versions_of(store, corpus)[-1]
        found = manifest.read(store, corpus, number)
        time = str(found.provenance.get("time", ""))
        age = (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds() if time else None
        versions.append(
            {
                "corpus": f"{corpus}@{number}",
                "documents": found.identity.accounting["kept"],
                "time": time,
                "age_seconds": round(age) if age is not None else None,
                "flags": found.provenance.get("flags", []),
            }
        )
    return versions


def _approvals(store: Store) -> list[dict[str, Any]]:
    """Candidates that passed their gate and wait for a person."""
    now = datetime.now(UTC)
    found = []
    for entry in promotion.approvals_wanted(ledger.read(store)):
        model = f"{entry.details['model']}/{entry.details['version']}"
        found.append(
            {
                "model": model,
                "verdict": entry.details["verdict"],
                "reason": entry.details.get("reason", ""),
                "time": entry.time,
                "age_seconds": round((now - datetime.fromisoformat(entry.time)).total_seconds()),
                "command": f"ingot approve {model} --reason ... --key ...",
            }
        )
    return found


def _age(seconds: float | None) -> str:
    """A span of time as people say it."""
    if seconds is None:
        return "-"
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} seconds"


def _print_services(state: Any, printer: Printer) -> None:
    rows = [[s.name, "healthy" if s.healthy else "down", s.url or "", s.log] for s in state.services]
    printer.table(rows, ["service", "state", "address", "log"])
    for trouble in state.troubles:
        printer.line(f"  trouble: {trouble}")


def rebuild(options: Namespace, printer: Printer) -> int:
    """`ingot rebuild`: fill MLflow (and the deployments of Prefect) again from what the store holds."""
    settings = open_settings()
    connect(settings, printer)
    from tasks.rebuild import rebuild_views

    counts = rebuild_views()
    start_stack(settings, register_again=True)
    printer.line(f"restored {counts['runs']} runs and {counts['versions']} model versions in MLflow")
    printer.result(counts)
    return 0
