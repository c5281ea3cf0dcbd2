"""`ingot promote | approve | rollback`: a person moves the champion; the ledger first, the alias after it."""

import os
from argparse import Namespace
from pathlib import Path

from ingot import approval, model_versions, promotion
from ingot import rollback as way_back
from ingot.errors import IngotError, RecipeError
from ingot.ledger import Actor, Entry
from ingot.promotion import Promotion
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
    _tell_promotion(done, printer)
    return 0


def approve(options: Namespace, printer: Printer) -> int:
    """`ingot approve`: the signature is made first, so nothing is written when it does not hold."""
    settings = open_settings()
    signers = approval.allowed_signers_file(settings, options.allowed_signers)
    store = open_store(settings)
    version = model_versions.resolve(store, options.model)
    done = approval.approve(
        store, version, reason=options.reason, key=Path(options.key).expanduser(), allowed_signers=signers
    )
    printer.line(f"signed by {done.entry.actor.id}, who stands in {signers}")
    _tell_promotion(done, printer)
    return 0


def rollback(options: Namespace, printer: Printer) -> int:
    """`ingot rollback`."""
    settings = open_settings()
    done = way_back.rollback(
        open_store(settings), options.model, actor=Actor.current(settings.environ), reason=options.reason, to=options.to
    )
    printer.line(f"champion of {done.model} is version {done.version} again, was {done.model}/{done.previous}")
    _tell_record(done.entry, printer)
    followed = _move_alias(done.model, done.version, printer)
    printer.result(
        {"model": done.model, "champion": done.version, "previous": done.previous, "ledger": done.entry.sequence,
         "mlflow": followed}
    )  # fmt: skip
    return 0


def _tell_promotion(done: Promotion, printer: Printer) -> None:
    was = f", was {done.model}/{done.previous}" if done.previous else ""
    printer.line(f"champion of {done.model} is version {done.version} (verdict {done.verdict}{was})")
    _tell_record(done.entry, printer)
    followed = _move_alias(done.model, done.version, printer)
    actor = done.entry.actor
    printer.result(
        {"model": done.model, "champion": done.version, "previous": done.previous, "verdict": done.verdict,
         "ledger": done.entry.sequence, "by": actor.id, "established_by": actor.established_by, "mlflow": followed}
    )  # fmt: skip


def _tell_record(entry: Entry, printer: Printer) -> None:
    printer.line(f"ledger record {entry.sequence} by {entry.actor.id}, {entry.sha256[:16]}")


def _move_alias(model: str, version: int, printer: Printer) -> bool:
    """Point MLflow's alias where the ledger points; a dead MLflow is no reason to fail."""
    from deployments import local_stack

    settings = open_settings()
    state = local_stack.status(settings)
    if not state.mlflow_url:
        printer.line("MLflow is down; its alias follows with `ingot rebuild`")
        return False
    os.environ.update(local_stack.environment(state))
    from ingot import registered, tracking_versions

    try:
        tracking_versions.set_alias(str(state.mlflow_url), model, "champion", version)
        registered.show_again(open_store(settings), str(state.mlflow_url), model)
    except IngotError as error:
        printer.line(f"MLflow's alias did not follow ({error}); `ingot rebuild` repairs it")
        return False
    return True
