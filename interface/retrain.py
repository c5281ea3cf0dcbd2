"""`ingot retrain`: what the form of the control room does, here: a plan, then training, evaluation and the gate."""

from argparse import Namespace
from typing import Any

from ingot.ledger import Actor
from interface.output import Printer
from interface.runs import open_order, perform, print_verdict, print_version


def retrain(options: Namespace, printer: Printer) -> int:
    """`ingot retrain`; exit code 3 when the gate says FAIL."""
    order = open_order(options, trains=True)

    def show(done: Any) -> int:
        print_plan(done.plan, printer)
        plan = done.plan.model_dump(mode="json")
        if done.verdict is None:
            printer.result({"plan": plan, "dry_run": True})
            return 0
        reused = next(step.reused for step in done.plan.steps if step.name == "register")
        print_version(done.version, printer, reused=reused)
        return print_verdict(done.verdict, printer, plan=plan)

    return perform(
        order, options, printer, "retrain_model", show,
        corpus=options.corpus or "",
        overrides=[f"{path}={value}" for path, value in order.changes.items()],
        requested_by=options.requested_by or Actor.current().id,
        dry_run=options.dry_run,
    )  # fmt: skip


def print_plan(plan: Any, printer: Printer) -> None:
    """The plan as a table, what changed, and what the gate will compare."""
    from tasks.plan_page import plan_rows, time_words

    printer.heading(f"Plan: {plan.model} on {plan.corpus}")
    printer.table(plan_rows(plan), ["step", "", "why", "about"])
    printer.line(f"time: {time_words(plan)}")
    printer.line(f"gate: {plan.gate}")
    printer.line(f"approval: by {plan.approver}")
    if plan.newest is not None:
        printer.line(f"changed since {plan.newest}: {'; '.join(plan.changes) or 'nothing'}")
    printer.line()
