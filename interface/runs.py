"""`ingot curate | train | evaluate | build`: run a flow, here or on a worker, shown in the Prefect UI."""

import os
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingot import manifest, model_versions, run_tags
from ingot.config import Recipe
from ingot.errors import GateError, NotFoundError, RecipeError, RunCancelled
from ingot.ledger import Actor
from ingot.model_versions import ModelVersion
from ingot.recipe_files import find_recipe, load_recipe
from ingot.refs import CorpusRef, VerdictRef
from ingot.settings import Settings, expand_place
from interface.context import connect, open_settings, open_store, overrides
from interface.output import Printer, progress_bars


def curate(options: Namespace, printer: Printer) -> int:
    """`ingot curate`."""
    order = open_order(options, reads=True)

    def show(corpus: CorpusRef) -> int:
        print_corpus(corpus, printer)
        printer.result({"corpus": corpus.model_dump(mode="json")})
        return 0

    return perform(order, options, printer, "curate_corpus", show)


def train(options: Namespace, printer: Printer) -> int:
    """`ingot train`."""
    order = open_order(options, trains=True)
    before = _known(order)

    def show(version: ModelVersion) -> int:
        reused = version.version in before.models
        print_version(version, printer, reused=reused)
        printer.result(
            {"model": version.name, "version": version.version, "checkpoint": version.checkpoint_key, "reused": reused}
        )
        return 0

    return perform(order, options, printer, "train_model", show, corpus=options.corpus)


def evaluate(options: Namespace, printer: Printer) -> int:
    """`ingot evaluate`; exit code 3 when the gate says FAIL."""
    order = open_order(options)
    return perform(order, options, printer, "evaluate_model", lambda v: print_verdict(v, printer), model=options.model)


def build(options: Namespace, printer: Printer) -> int:
    """`ingot build`; exit code 3 when the gate says FAIL."""
    order = open_order(options, reads=True, trains=True)
    before = _known(order)

    def show(verdict: VerdictRef) -> int:
        store = open_store(open_settings())
        name, number = manifest.find(store, before.corpus)
        corpus = manifest.ref_of(manifest.read(store, name, number), number, reused=number in before.corpora)
        print_corpus(corpus, printer)
        version = model_versions.resolve(store, f"{verdict.model}/{verdict.version}")
        reused = version.version in before.models
        print_version(version, printer, reused=reused)
        model = {"name": version.name, "version": version.version, "reused": reused}
        return print_verdict(verdict, printer, corpus=corpus.model_dump(mode="json"), model=model)

    return perform(order, options, printer, "build_model", show)


@dataclass(frozen=True)
class Order:
    """What a command was asked to run: the recipe, the very file it was read from, the changes to it."""

    recipe: Recipe
    file: Path
    changes: dict[str, str]


def open_order(options: Namespace, *, reads: bool = False, trains: bool = False) -> Order:
    """The checked order of a command; what is wrong with it is told before any server is started.

    reads: the command reads the sources, so their places must be there. trains: it needs a stage to run.
    """
    _use_workspace(options.recipe)
    changes = overrides(options)
    file = find_recipe(options.recipe)
    recipe = load_recipe(file, changes)
    if trains and not recipe.train:
        raise RecipeError(f"recipe {file} has no 'train' section; add '- stage: pretrain' with a model and tokens")
    if reads:
        _check_places(recipe, open_settings())
    return Order(recipe, file, changes)


def _use_workspace(recipe: str) -> None:
    """A recipe given as a folder is a workspace: its own rules, sources and graders are found in it."""
    folder = Path(recipe).expanduser()
    if (folder / "recipe.yaml").is_file() and not os.environ.get("INGOT_WORKSPACE"):
        # In the environment, because worker processes and training ranks look names up too.
        os.environ["INGOT_WORKSPACE"] = str(folder.absolute())


def _check_places(recipe: Recipe, settings: Settings) -> None:
    """Refuse a source whose place is not set, not there or not allowed; a remote one shows when it is read."""
    from datasets_pipeline.curate import check_source_root
    from datasets_pipeline.sources.places import local_place

    for index, source in enumerate(recipe.sources):
        where = f"sources.{index} ({source.config.name})"
        try:
            root = local_place(expand_place(source.config.uri, settings.environ))
            if root is not None:
                check_source_root(str(root), settings.source_roots)
        except RecipeError as error:
            raise RecipeError(f"{where}: {error}") from None
        if root is not None and not root.exists():
            raise NotFoundError(f"{where}: {root} does not exist; check `uri`, or mount it")


@dataclass(frozen=True)
class _Known:
    """What the store held before a run: afterwards it shows what the run added."""

    corpus: str
    corpora: frozenset[int]
    models: frozenset[int]


def _known(order: Order) -> _Known:
    recipe = order.recipe
    store = open_store(open_settings())
    models = model_versions.versions_of(store, recipe.model_name)
    return _Known(
        recipe.corpus, frozenset(manifest.versions_of(store, recipe.corpus)), frozenset(v.version for v in models)
    )


def perform(
    order: Order, options: Namespace, printer: Printer, flow: str, show: Callable[[Any], int], **arguments: Any
) -> int:
    """Run the flow of a command here and `show` what it gave; returns the exit code.

    With `--detach` a worker runs it. A `--request-id` that was used before runs nothing: the first run is followed.
    """
    from interface import requests

    addresses = connect(open_settings(), printer)
    given = {"recipe": str(order.file.absolute()), "overrides": order.changes or None, **arguments}
    claimed = None
    if options.detach or options.request_id:
        asked = requests.ask(flow, given, detach=options.detach, request_id=options.request_id)
        if options.detach or not asked.is_new:
            return requests.tell(asked, printer, addresses, follow=not options.detach)
        claimed = asked.run["id"]
    with progress_bars(quiet=printer.as_json) as report:
        result = run_flow(flow, report, **given, **({"flow_run_id": claimed} if claimed else {}))
    printer.line(f"Prefect {addresses['prefect']}   MLflow {addresses['mlflow']}")
    return show(result)


def run_flow(
    name: str, report: Callable[[str, int, int], None], *, flow_run_id: str | None = None, **arguments: Any
) -> Any:
    """Call a flow in this process, with its progress told to `report`.

    flow_run_id: a run that was made for it already; None makes one. Raises RunCancelled when somebody cancelled it.
    """
    import importlib

    from prefect import tags
    from prefect.exceptions import CancelledRun

    from deployments.prefect_api import process_tag
    from tasks.progress import listen

    listen(report)
    flow = getattr(importlib.import_module(f"flows.{name}"), name)
    try:
        # Should this process be killed, the next `ingot up` knows by the tag that the run is dead.
        with tags(process_tag(), *run_tags.made_for(Actor.current().id)):
            return flow(**arguments) if flow_run_id is None else _execute(flow, flow_run_id, arguments)
    except CancelledRun as error:
        raise RunCancelled(f"{error}; run the same command again to continue") from None


def _execute(flow: Any, flow_run_id: str, arguments: dict[str, Any]) -> Any:
    from uuid import UUID

    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow

    with get_client(sync_client=True) as client:
        made = client.read_flow_run(UUID(flow_run_id))
    return run_flow(flow, flow_run=made, parameters=arguments, return_type="result")


def print_corpus(corpus: CorpusRef, printer: Printer) -> None:
    """What a curation gave: documents in, kept and dropped by reason."""
    from datasets_pipeline.card import waterfall
    from datasets_pipeline.flags import flags, sentence

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
        passed = sum(num for reason, num in files.items() if reason.startswith("skipped_"))
        more = f"; {files['rejected_rows']:,} parts of files refused" if files.get("rejected_rows") else ""
        more += f"; {passed:,} links and the like passed over" if passed else ""
        printer.line(
            f"  source {name}: {files['seen']:,} files = {files['read']:,} read + {files['unchanged']:,} unchanged "
            f"+ {files['quarantined']:,} quarantined{more}"
        )
    total = found.identity.accounting["documents"] or 1
    printer.table([[label, num, f"{num / total:.1%}"] for label, num in waterfall(found)])
    for flag in flags(found.identity.statistics):
        printer.line(f"look at this: {sentence(flag)}")
    printer.line(f"strictest classification: {manifest.classification_of(found.identity)}")


def print_version(version: ModelVersion, printer: Printer, *, reused: bool) -> None:
    """The model version a run registered, or the one that was there already."""
    if reused:
        printer.line(f"nothing to train: same as {version.name}/{version.version}")
    else:
        printer.line(f"registered {version.subject} as candidate, trained on {version.corpora_words}")


def print_verdict(verdict: VerdictRef, printer: Printer, **more: Any) -> int:
    """What the gate said, and the next command; `more` goes into the JSON answer."""
    printer.line(f"{verdict.model}/{verdict.version}: {verdict.verdict}. {verdict.reason}")
    if verdict.verdict in ("PASS", "FIRST"):
        printer.line(f"next: ingot promote {verdict.model}/{verdict.version} --reason '...'")
    printer.result({**more, "verdict": verdict.model_dump(mode="json")})
    return GateError.exit_code if verdict.verdict == "FAIL" else 0
