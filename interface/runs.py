"""`ingot curate | train | evaluate | build`: run a flow here, shown in the Prefect UI while it runs."""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingot import manifest, model_versions
from ingot.config import load_recipe
from ingot.errors import GateError
from ingot.model_versions import ModelVersion
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
    before = _known(options)
    version = _run(options, printer, "train_model", corpus=options.corpus)
    reused = version.version in before.models
    print_version(version, printer, reused=reused)
    printer.result(
        {"model": version.name, "version": version.version, "checkpoint": version.checkpoint_key, "reused": reused}
    )
    return 0


def evaluate(options: Namespace, printer: Printer) -> int:
    """`ingot evaluate`; exit code 3 when the gate says FAIL."""
    return print_verdict(_run(options, printer, "evaluate_model", model=options.model), printer)


def build(options: Namespace, printer: Printer) -> int:
    """`ingot build`; exit code 3 when the gate says FAIL."""
    before = _known(options)
    verdict: VerdictRef = _run(options, printer, "build_model")
    store = open_store(open_settings())
    name, number = manifest.find(store, before.corpus)
    corpus = manifest.ref_of(manifest.read(store, name, number), number, reused=number in before.corpora)
    print_corpus(corpus, printer)
    version = model_versions.resolve(store, f"{verdict.model}/{verdict.version}")
    reused = version.version in before.models
    print_version(version, printer, reused=reused)
    model = {"name": version.name, "version": version.version, "reused": reused}
    return print_verdict(verdict, printer, corpus=corpus.model_dump(mode="json"), model=model)


@dataclass(frozen=True)
class _Known:
    """What the store held before a run: afterwards it shows what the run added."""

    corpus: str
    corpora: frozenset[int]
    models: frozenset[int]


def _known(options: Namespace) -> _Known:
    recipe = load_recipe(options.recipe, overrides(options))
    store = open_store(open_settings())
    models = model_versions.versions_of(store, recipe.model_name)
    return _Known(
        recipe.corpus, frozenset(manifest.versions_of(store, recipe.corpus)), frozenset(v.version for v in models)
    )


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

    from prefect import tags

    from deployments.prefect_api import process_tag
    from tasks.runtime import listen

    listen(report)
    # Should this process be killed, the next `ingot up` knows by the tag that the run is dead.
    with tags(process_tag()):
        return getattr(importlib.import_module(f"flows.{name}"), name)(**arguments)


def print_corpus(corpus: CorpusRef, printer: Printer) -> None:
    """What a curation gave: documents in, kept and dropped by reason."""
    from datasets_pipeline.card import waterfall

    store = open_store(open_settings())
    found = manifest.read(store, corpus.corpus, corpus.version)
    if corpus.reused:
        printer.line(f"nothing changed: same as {corpus.name}")
    else:
        printer.line(f"published {corpus.name}")
    # The counts are of the run that published the version: they would say nothing true of this one.
    sources = {} if corpus.reused else found.provenance.get("sources", {})
    for name, source in sources.items():
        files = source["files"]
        printer.line(
            f"  source {name}: {files['seen']:,} files = {files['read']:,} read + {files['unchanged']:,} unchanged "
            f"+ {files['quarantined']:,} quarantined"
        )
    total = found.identity.accounting["documents"] or 1
    printer.table([[label, num, f"{num / total:.1%}"] for label, num in waterfall(found)])


def print_version(version: ModelVersion, printer: Printer, *, reused: bool) -> None:
    """The model version a run registered, or the one that was there already."""
    if reused:
        printer.line(f"nothing to train: same as {version.name}/{version.version}")
    else:
        printer.line(f"registered {version.subject} as candidate, trained on {version.details['corpus']}")


def print_verdict(verdict: VerdictRef, printer: Printer, **more: Any) -> int:
    """What the gate said, and the next command; `more` goes into the JSON answer."""
    printer.line(f"{verdict.model}/{verdict.version}: {verdict.verdict}. {verdict.reason}")
    if verdict.verdict in ("PASS", "FIRST"):
        printer.line(f"next: ingot promote {verdict.model}/{verdict.version} --reason '...'")
    printer.result({**more, "verdict": verdict.model_dump(mode="json")})
    return GateError.exit_code if verdict.verdict == "FAIL" else 0
