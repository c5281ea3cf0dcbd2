"""`ingot curate | train | evaluate | build`: run a flow here, shown in the Prefect UI while it runs."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ingot.config import load_recipe
from ingot.errors import GateError
from ingot.refs import CorpusRef, VerdictRef
from interface.context import connect, open_settings, open_store, overrides
from interface.output import Printer, progress_bars


def curate(options: Namespace, printer: Printer) -> int:
    """`ingot curate`."""
    corpus: CorpusRef = _run(options, printer, "curate_corpus")
    print_corpus(corpus, printer)
    printer.result({"corpus": corpus.model_dump(mode="json")})
    return 0


def train(options: Namespace, printer: Printer) -> int:
    """`ingot train`."""
    version = _run(options, printer, "train_model", corpus=options.corpus)
    printer.line(f"registered {version.subject} as candidate, trained on {version.details['corpus']}")
    printer.result({"model": version.name, "version": version.version, "checkpoint": version.checkpoint_key})
    return 0


def evaluate(options: Namespace, printer: Printer) -> int:
    """`ingot evaluate`; exit code 3 when the gate says FAIL."""
    return print_verdict(_run(options, printer, "evaluate_model", model=options.model), printer)


def build(options: Namespace, printer: Printer) -> int:
    """`ingot build`; exit code 3 when the gate says FAIL."""
    return print_verdict(_run(options, printer, "build_model"), printer)


def _run(options: Namespace, printer: Printer, flow: str, **arguments: Any) -> Any:
    changes = overrides(options)
    load_recipe(options.recipe, changes)  # a wrong key is told before any server is started
    path = str(Path(options.recipe).absolute()) if Path(options.recipe).exists() else options.recipe
    addresses = connect(open_settings(), printer)
    with progress_bars(quiet=printer.as_json) as report:
        result = run_flow(flow, report, recipe=path, overrides=changes or None, **arguments)
    printer.line(f"Prefect {addresses['prefect']}   MLflow {addresses['mlflow']}")
    return result


def run_flow(name: str, report: Callable[[str, int, int], None], **arguments: Any) -> Any:
    """Call a flow in this process, with its progress told to `report`."""
    import importlib

    from tasks.runtime import listen

    listen(report)
    return getattr(importlib.import_module(f"flows.{name}"), name)(**arguments)


def print_corpus(corpus: CorpusRef, printer: Printer) -> None:
    """What a curation gave: documents in, kept and dropped by reason."""
    from datasets_pipeline.card import waterfall
    from ingot import manifest

    store = open_store(open_settings())
    found = manifest.read(store, corpus.corpus, corpus.version)
    if corpus.reused:
        printer.line(f"nothing changed: same as {corpus.name}")
    else:
        printer.line(f"published {corpus.name}")
    sources = found.provenance.get("sources", {})
    for name, source in sources.items():
        files = source["files"]
        printer.line(
            f"  source {name}: {files['seen']:,} files = {files['read']:,} read + {files['unchanged']:,} unchanged "
            f"+ {files['quarantined']:,} quarantined"
        )
    total = found.identity.accounting["documents"] or 1
    printer.table([[label, num, f"{num / total:.1%}"] for label, num in waterfall(found)])


def print_verdict(verdict: VerdictRef, printer: Printer) -> int:
    """What the gate said, and the next command."""
    printer.line(f"{verdict.model}/{verdict.version}: {verdict.verdict}. {verdict.reason}")
    if verdict.verdict in ("PASS", "FIRST"):
        printer.line(f"next: ingot promote {verdict.model}/{verdict.version} --reason '...'")
    printer.result({"verdict": verdict.model_dump(mode="json")})
    return GateError.exit_code if verdict.verdict == "FAIL" else 0
