"""`ingot promote | approve | rollback`: a person moves the champion; the ledger first, the alias after it."""

import os
import shutil
import sys
from argparse import Namespace
from io import StringIO
from pathlib import Path

from ingot import approval, ledger, model_versions, promotion
from ingot import rollback as way_back
from ingot.errors import IngotError, RecipeError, RunCancelled
from ingot.evidence import collect, evidence_markdown
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
    """`ingot approve`: shows the evidence and asks, then signs; nothing is written when the signature does not hold."""
    settings = open_settings()
    signers = approval.allowed_signers_file(settings, options.allowed_signers)
    store = open_store(settings)
    version = model_versions.resolve(store, options.model)
    if not options.yes and (printer.as_json or not sys.stdin.isatty()):
        raise RecipeError("nobody can be asked here (no terminal, or --json); read the evidence, then give --yes")
    stood = promotion.check_promotable(ledger.read(store), version)
    if not printer.as_json:
        printer.line(_on_terminal(evidence_markdown(collect(store, version, stood.gated))))
    if not options.yes and not _agreed(f"approve {version.name}/{version.version}? [y/N] "):
        raise RunCancelled(f"{version.subject} was not approved; nothing was signed or written")
    done = approval.approve(
        store,
        version,
        reason=options.reason,
        key=Path(options.key).expanduser(),
        allowed_signers=signers,
        seen=stood.gated.sha256,
    )
    printer.line(f"signed by {done.entry.actor.id}, who stands in {signers}")
    _tell_promotion(done, printer)
    return 0


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _on_terminal(markdown: str) -> str:
    """Markdown laid out as text; what would steer the terminal (in the name of a source, say) is shown as `?`."""
    from rich.console import Console
    from rich.markdown import Markdown

    harmless = "".join(sign if sign.isprintable() or sign == "\n" else "?" for sign in markdown)
    out = StringIO()
    width = max(80, min(shutil.get_terminal_size((120, 24)).columns, 140))
    Console(file=out, width=width, force_terminal=False, color_system=None).print(Markdown(harmless, hyperlinks=False))
    return out.getvalue().rstrip()


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
