"""`ingot plan`: what a curation will do and cost, from a sample, and what its stages will train.

Exit code 3 when it will not fit, 2 when a large model's batch or learning rate is far off the published rules.
"""

import sys
from argparse import Namespace
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ingot import manifest
from ingot.errors import RecipeError, WillNotFitError
from interface.context import open_settings, open_store
from interface.output import Printer, progress_bars
from interface.plan_preflight import print_preflight, run_preflight
from interface.plan_training import as_values, check_options, plan_training, print_training
from interface.runs import open_order

if TYPE_CHECKING:
    from datasets_pipeline.insight.plan import Plan


def plan(options: Namespace, printer: Printer) -> int:
    """`ingot plan`."""
    from datasets_pipeline.insight.plan import plan as planned
    from datasets_pipeline.parallel import open_pool
    from tasks.starts import given_tokenizer

    order = open_order(options, reads=True)
    settings = open_settings()
    store = open_store(settings)
    start = check_options(order.recipe, store, settings, options)
    known = manifest.versions_of(store, order.recipe.corpus)
    last = manifest.read(store, order.recipe.corpus, known[-1]) if known else None
    pool = open_pool(
        settings.workers, scheduler=settings.scheduler, scratch=settings.scratch, numba_cache=settings.home / "numba"
    )
    with progress_bars(quiet=printer.as_json) as report, pool as workers:
        found = planned(
            store, order.recipe, settings, workers, now=datetime.now(UTC), share=options.share,
            at_least=options.files, last=last, tokenizer=given_tokenizer(store, order.recipe, start),
            on_progress=report,
        )  # fmt: skip
    _print(found, order.recipe.corpus, bool(known), printer)
    training, recipe = plan_training(order.recipe, start, found, store, settings, options)
    print_training(training, printer)
    checked = run_preflight(recipe, store, settings) if options.preflight else None
    if checked is not None:
        print_preflight(checked, printer)
    stages = [asdict(stage) for stage in training.stages]
    printer.result({"curation": asdict(found), "training": stages, **as_values(training), "preflight": checked})
    will_not_fit = found.refusals + [text for stage in training.stages if stage.cost for text in stage.cost.refusals]
    for refusal in will_not_fit:
        print(f"{WillNotFitError.code}: {refusal}", file=sys.stderr)
    refused = [refusal for stage in training.stages for refusal in stage.refusals]
    for refusal in refused:
        print(f"{RecipeError.code}: {refusal}", file=sys.stderr)
    if will_not_fit:
        return WillNotFitError.exit_code
    return RecipeError.exit_code if refused else 0


def _print(found: "Plan", corpus: str, has_versions: bool, printer: Printer) -> None:
    share = found.files_read / max(1, found.files)
    printer.line(
        f"read {found.files_read:,} of {found.files:,} files ({share:.1%}), "
        f"{found.bytes_read:,} of {found.bytes:,} bytes"
    )
    printer.heading("Documents" if found.is_whole else "Documents, predicted")
    rows: list[list[object]] = [["documents", found.documents]]
    rows += [[name, num] for name, num in found.drops.items()]
    rows += [
        ["near-duplicates", found.duplicates if found.duplicates is not None else "not known before a first run"],
        ["much like held-out ones", found.excluded if found.excluded is not None else "not known before a first run"],
        ["held out", found.heldout],
        ["kept" if found.duplicates is not None else "kept, at most", found.kept],
    ]
    printer.table([[name, f"{num:,}" if isinstance(num, int) else num] for name, num in rows])
    if found.quarantined:
        told = ", ".join(f"{reason} {num:,}" for reason, num in found.quarantined.items())
        printer.line(f"  files that cannot be read: {told}")
    printer.heading("By source")
    printer.table([[name, *row.values()] for name, row in found.sources.items()],
                  ["source", "files", "read now", "documents", "let through"])  # fmt: skip
    printer.heading("Output and cost")
    seconds = ", ".join(f"{stage} {value:,.0f}" for stage, value in found.seconds.items())
    free = "" if found.free_bytes is None else f", {found.free_bytes / 1e9:,.1f} GB are free"
    printer.table(
        [
            ["bytes of text kept", f"{found.kept_bytes:,}"],
            ["tokens", f"{found.tokens:,}"],
            ["store", f"{found.store_bytes / 1e9:,.2f} GB{free}"],
            ["time", f"{sum(found.seconds.values()):,.0f} s ({seconds}), on a machine as busy as now"],
            ["processor time", f"{sum(found.cpu_seconds.values()):,.0f} s"],
            ["memory", f"{found.peak_bytes / 1e9:,.2f} GB, {found.available_bytes / 1e9:,.1f} GB are available"],
        ]
    )
    if has_versions:
        printer.line(f"  of files that {corpus}'s last run has read already, time and store are needed no more")
