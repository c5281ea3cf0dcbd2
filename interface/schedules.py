"""`ingot schedule`: write when a recipe is curated, register it, and show what is scheduled."""

import os
from argparse import Namespace
from typing import Any

from ingot.errors import RecipeError
from ingot.settings import Settings
from interface.context import open_settings
from interface.output import Printer
from interface.runs import open_order


def schedule(options: Namespace, printer: Printer) -> int:
    """`ingot schedule [RECIPE --cron CRON [--timezone ZONE] | RECIPE --remove]`."""
    settings = open_settings()
    if options.recipe is None:
        if options.cron or options.remove:
            raise RecipeError("which recipe? write `ingot schedule RECIPE --cron '0 2 * * *'`")
        return _show(settings, printer)
    if options.remove:
        return _remove(settings, options, printer)
    if not options.cron:
        raise RecipeError("--cron is missing; write --cron '0 2 * * *' for every night at two, or --remove")
    options.set = []
    order = open_order(options, reads=True)  # a wrong recipe is told now, not at two in the morning
    from deployments import schedules

    zone = options.timezone or settings.timezone
    path = schedules.put(settings, order.file.absolute(), order.recipe.corpus, options.cron, zone)
    printer.line(f"wrote {path}: {order.recipe.corpus} at '{options.cron}', {zone}")
    moment = _register(settings, order.recipe.corpus, printer)
    answer = {"corpus": order.recipe.corpus, "cron": options.cron, "timezone": zone, "file": str(path), "next": moment}
    printer.result(answer)
    return 0


def _remove(settings: Settings, options: Namespace, printer: Printer) -> int:
    from deployments import schedules

    options.set = []
    order = open_order(options)  # its sources need not be there any more
    corpus = order.recipe.corpus
    path = schedules.remove(settings, order.file.absolute(), corpus)
    printer.line(f"{corpus} is no longer in {path}")
    from deployments import local_stack

    state: Any = local_stack.status(settings)
    if state.running:
        os.environ.update(local_stack.environment(state))
        from deployments import register

        register.register_schedules(settings, local_stack.prefect_server(settings, state))
    else:
        printer.line("the local stack is down; the next `ingot up` takes it away from Prefect")
    printer.result({"corpus": corpus, "file": str(path), "removed": True, "unregistered": state.running})
    return 0


def _show(settings: Settings, printer: Printer) -> int:
    from deployments import schedules

    found = schedules.known_schedules(settings)
    rows = [[entry.corpus, entry.cron, entry.timezone, str(path.parent / entry.recipe)] for path, entry in found]
    printer.table(rows or [["none; write `ingot schedule RECIPE --cron '0 2 * * *'`", "", "", ""]],
                  ["corpus", "cron", "time zone", "recipe"])  # fmt: skip
    told = [{**entry.model_dump(), "file": str(path)} for path, entry in found]
    printer.result({"schedules": told})
    return 0


def _register(settings: Settings, corpus: str, printer: Printer) -> str | None:
    """Register all schedules with the running server; the next run of `corpus`, None while the stack is down."""
    from deployments import local_stack

    state: Any = local_stack.status(settings)
    if not state.running:
        printer.line("the local stack is down; `ingot up` registers it")
        return None
    os.environ.update(local_stack.environment(state))
    from deployments import register, scheduled_runs

    server = local_stack.prefect_server(settings, state)
    registered = register.register_schedules(settings, server)[corpus]
    if not scheduled_runs.is_active(server, registered.id):
        printer.line("the schedule is switched off in Prefect; switch it on there")
        return None
    moment = scheduled_runs.next_scheduled(server, registered.id)
    printer.line(f"next run {moment.astimezone():%Y-%m-%d %H:%M %Z}")
    return moment.isoformat()
