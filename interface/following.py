"""`ingot runs | run | cancel | compare`: what runs, how far it is, how to stop it, and what two of them differ in."""

import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from deployments import local_stack, run_control, run_stop, run_view
from deployments.prefect_api import Server
from deployments.run_view import RunView
from deployments.stack_state import StackState
from ingot.errors import RecipeError, ServiceError
from ingot.ledger import Actor
from ingot.settings import Settings
from interface.context import open_settings, open_store
from interface.output import Printer, progress_bars

POLL_SECONDS = 1.0


def runs(options: Namespace, printer: Printer) -> int:
    """`ingot runs`."""
    if options.limit < 1:
        raise RecipeError(f"--limit {options.limit} shows nothing; give a number above 0")
    if options.corpus is not None:
        return _runs_of_corpus(options, printer)
    _, state, server = _stack()
    found = run_view.list_runs(server, str(state.prefect_ui_url), limit=options.limit, state=options.state)
    rows = [
        [v.id[:8], v.flow, v.name, v.state, moment(v.started), duration(v.seconds), v.started_by, v.about]
        for v in found
    ]  # fmt: skip
    printer.table(rows, ["id", "flow", "name", "state", "started", "took", "by", "corpus, model"])
    if not rows:
        printer.line("no runs yet" if not options.state else f"no run is {options.state}")
    printer.result({"runs": [v.as_json() for v in found]})
    return 0


def _runs_of_corpus(options: Namespace, printer: Printer) -> int:
    """Answered from the store: it holds also what Prefect or MLflow have forgotten."""
    from interface.audit import runs_of_corpus

    found = runs_of_corpus(open_store(open_settings()), options.corpus)
    found.sort(key=lambda row: int(row["start_time_ms"] or 0), reverse=True)
    found = found[: options.limit]
    rows = [
        [r["run"][:8], r["experiment"], r["name"], r["corpus"], r["model"], _moment_of(r["start_time_ms"])]
        for r in found
    ]
    printer.table(rows, ["run", "kind", "name", "corpus", "model", "started"])
    if not rows:
        printer.line(f"no training or evaluation used {options.corpus}")
    printer.result({"corpus": options.corpus, "runs": found})
    return 0


def _moment_of(time_ms: int | None) -> str:
    return moment(datetime.fromtimestamp(time_ms / 1000, UTC).isoformat() if time_ms else None)


def run(options: Namespace, printer: Printer) -> int:
    """`ingot run ID`; with `--follow` the exit code is the run's."""
    settings, state, server = _stack()
    found = run_control.find_run(server, options.id)
    if options.follow:
        return follow_run(found["id"], printer)
    view = run_view.view_run(settings, server, found, str(state.prefect_ui_url))
    links = _mlflow_links(state, view)
    _print_view(view, printer)
    for name, url in links.items():
        printer.line(f"  MLflow   {name}: {url}")
    printer.result({**view.as_json(), "mlflow": links})
    return 0


def follow_run(run_id: str, printer: Printer) -> int:
    """Show what changes until a run has ended; its exit code. With --json one line per change."""
    settings, state, server = _stack()
    before: RunView | None = None
    with progress_bars(quiet=printer.as_json or not sys.stderr.isatty()) as bars:
        while True:
            found = server.get(f"/flow_runs/{run_id}")
            view = run_view.view_run(settings, server, found, str(state.prefect_ui_url))
            for change in changes(before, view):
                _tell(change, printer)
            if view.progress is not None:
                bars(view.progress.what, round(view.progress.percent * 10), 1000)
            if view.has_ended:
                break
            before = view
            time.sleep(POLL_SECONDS)
    return view.exit_code


def changes(before: RunView | None, now: RunView) -> Iterator[dict[str, Any]]:
    """What is new since the last look, as small events; everything at the first."""
    if before is None:
        yield {"event": "run", "id": now.id, "name": now.name, "flow": now.flow, "url": now.url, "by": now.started_by}
    known = {step.id: step.state for step in before.steps} if before else {}
    for step in now.steps:
        if known.get(step.id) != step.state:
            yield {
                "event": "step", "name": step.name, "kind": step.kind, "depth": step.depth, "state": step.state,
                "seconds": step.seconds, "error": step.error,
            }  # fmt: skip
    if now.waiting and (before is None or before.waiting != now.waiting):
        yield {"event": "waiting", "for": now.waiting}
    if now.progress is not None and (before is None or before.progress != now.progress):
        progress = now.progress
        yield {"event": "progress", "what": progress.what, "percent": progress.percent, "text": progress.text}
    if before is None or before.state != now.state:
        ended = {"exit_code": now.exit_code, "verdict": now.verdict, "about": now.about} if now.has_ended else {}
        yield {"event": "state", "state": now.state, "seconds": now.seconds, "error": now.error, **ended}


def _tell(change: dict[str, Any], printer: Printer) -> None:
    if printer.as_json:
        print(json.dumps(change, ensure_ascii=False, default=str), flush=True)
    elif (text := line_of(change)) is not None:
        printer.line(text)


def line_of(change: dict[str, Any]) -> str | None:
    """A change in words; None for progress, which the bars show."""
    kind = change["event"]
    if kind == "run":
        return f"{change['flow']}: {change['name']} ({change['id']}), started by {change['by']}\n{change['url']}"
    if kind == "step":
        took = f" in {duration(change['seconds'])}" if change["state"] not in ("Running", "Pending") else ""
        error = f": {change['error']}" if change["error"] else ""
        return f"{'  ' * (change['depth'] + 1)}{change['name']}: {change['state']}{took}{error}"
    if kind == "waiting":
        return f"waits for {change['for']}"
    if kind == "state":
        took = f" after {duration(change['seconds'])}" if "exit_code" in change and change["seconds"] else ""
        more = [text for text in (change.get("verdict"), change["error"]) if text]
        return f"{change['state']}{took}{': ' + '; '.join(more) if more else ''}"
    return None


def cancel(options: Namespace, printer: Printer) -> int:
    """`ingot cancel ID`."""
    settings, _, server = _stack()
    found = run_control.find_run(server, options.id)
    done = run_stop.cancel(settings, server, found, Actor.current().id)
    run_state = done.run["state_name"]
    if done.run["state_type"] == "CANCELLING":
        printer.line(f"{found['name']} runs on another machine, which was asked to stop it: `ingot run {options.id}`")
    else:
        printer.line(
            f"{found['name']}: {run_state} after {done.seconds:.1f} s; {done.stopped} processes ended, "
            f"{done.killed} of them by force"
        )
        printer.line("the same command again continues from what is finished, a training stage from its checkpoint")
    printer.result(
        {
            "run": {"id": found["id"], "name": found["name"], "state": run_state},
            "seconds": round(done.seconds, 1),
            "processes": done.stopped,
            "killed": done.killed,
        }
    )
    return 0


def compare(options: Namespace, printer: Printer) -> int:
    """`ingot compare A B`."""
    from interface import comparing

    store = open_store(open_settings())
    both = [comparing.describe(store, text, _stack_if_up) for text in (options.first, options.second)]
    differences, results = comparing.compare(*both)
    names = [side.name for side in both]
    printer.heading("What differs")
    printer.table(differences or [["nothing", "", ""]], ["", *names])
    printer.heading("What it gave")
    printer.table(results or [["nothing yet", "", ""]], ["", *names])
    printer.result(
        {
            "runs": names,
            "differs": {row[0]: row[1:] for row in differences},
            "results": {row[0]: row[1:] for row in results},
        }
    )
    return 0


def _print_view(view: RunView, printer: Printer) -> None:
    printer.line(f"{view.flow}: {view.name} ({view.id})")
    took = f" after {duration(view.seconds)}" if view.has_ended and view.seconds is not None else ""
    printer.line(f"  {view.state}{took}, started {moment(view.started)} by {view.started_by}")
    for label, text in (("about", view.about), ("verdict", view.verdict), ("error", view.error),
                        ("request", view.request_id or "")):  # fmt: skip
        if text:
            printer.line(f"  {label}: {text}")
    if view.waiting:
        printer.line(f"  waits for {view.waiting}")
    if view.steps:
        rows = [["  " * step.depth + step.name, step.state, duration(step.seconds)] for step in view.steps]
        printer.table(rows, ["step", "state", "took"])
    if view.progress is not None:
        printer.line(f"  {view.progress.percent:.0f} %  {view.progress.text}")
    printer.line(f"  Prefect  {view.url}")


def _mlflow_links(state: StackState, view: RunView) -> dict[str, str]:
    """Name and page of the MLflow runs that a flow run fed; empty when MLflow does not answer."""
    from ingot import tracking

    flow_run_ids = [view.id, *(step.id for step in view.steps if step.kind == "flow")]
    try:
        return tracking.pages_of_flow_runs(str(state.mlflow_url), flow_run_ids)
    except ServiceError:
        return {}


def _stack() -> tuple[Settings, StackState, Server]:
    """Settings, state and Prefect API of the stack, which must run."""
    settings = open_settings()
    state = local_stack.status(settings)
    os.environ.update(local_stack.environment(state))  # ServiceError with the remedy when it is down
    return settings, state, local_stack.prefect_server(settings, state)


def _stack_if_up() -> tuple[Settings, Server]:
    settings, _, server = _stack()
    return settings, server


def moment(time_text: str | None) -> str:
    """An ISO time as people read it, in the machine's time zone."""
    return f"{datetime.fromisoformat(time_text).astimezone():%Y-%m-%d %H:%M:%S}" if time_text else "-"


def duration(seconds: float | None) -> str:
    """`42 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
