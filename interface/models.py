"""`ingot promote`: a person moves the champion; the ledger first, the alias after it."""

import os
from argparse import Namespace

from ingot import model_versions, promotion
from ingot.errors import IngotError, RecipeError
from ingot.ledger import Actor
from interface.context import open_settings, open_store
from interface.output import Printer


def promote(options: Namespace, printer: Printer) -> int:
    """`ingot promote`."""
    if options.override and not options.reason:
        raise RecipeError("--override needs --reason TEXT; the ledger keeps why the gate was overruled")
    settings = open_settings()
    store = open_store(settings)
    version = model_versions.resolve(store, options.model)
    done = promotion.promote(
        store, version, actor=Actor.current(settings.environ), reason=options.reason, override=options.override
    )
    was = f", was {done.model}/{done.previous}" if done.previous else ""
    printer.line(f"champion of {done.model} is version {done.version} (verdict {done.verdict}{was})")
    printer.line(f"ledger record {done.entry.sequence} by {done.entry.actor.id}, {done.entry.sha256[:16]}")
    followed = _move_alias(done.model, done.version, printer)
    printer.result(
        {"model": done.model, "champion": done.version, "previous": done.previous, "verdict": done.verdict,
         "ledger": done.entry.sequence, "mlflow": followed}
    )  # fmt: skip
    return 0


def _move_alias(model: str, version: int, printer: Printer) -> bool:
    """Point MLflow's alias where the ledger points; a dead MLflow is no reason to fail."""
    from deployments import local_stack

    settings = open_settings()
    state = local_stack.status(settings)
    if not state.mlflow_url:
        printer.line("MLflow is down; its alias follows with `ingot rebuild`")
        return False
    os.environ.update(local_stack.environment(state))
    from ingot import tracking_versions

    try:
        tracking_versions.set_alias(str(state.mlflow_url), model, "champion", version)
    except IngotError as error:
        printer.line(f"MLflow's alias did not follow ({error}); `ingot rebuild` repairs it")
        return False
    return True
