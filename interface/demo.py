"""`ingot demo`: the whole road on the documentation of the installed Python packages, then what it shows.

Checks first what could stop it after minutes; a second run reuses what did not change.
"""

import json
import time
from argparse import Namespace
from typing import Any

from evaluation.suites.heldout import BASELINE_NOTES
from ingot import lineage, manifest, model_versions
from ingot.errors import ServiceError
from ingot.manifest import Manifest
from ingot.parquet import read_table
from ingot.recipe_files import load_recipe
from ingot.refs import VerdictRef
from ingot.storage import Store
from interface.answers import explain, print_model
from interface.context import connect, open_settings, open_store
from interface.doctor import preflight
from interface.output import Printer, progress_bars
from interface.runs import print_corpus, run_flow

RECIPE = "demo"


def demo(options: Namespace, printer: Printer) -> int:
    """`ingot demo`."""
    started = time.monotonic()
    settings = open_settings()
    for name, ok, text in preflight(settings):
        printer.line(f"  {'ok  ' if ok else 'FAIL'}  {name}: {text}")
        if not ok:
            raise ServiceError(f"{name}: {text}")
    recipe = load_recipe(RECIPE)
    addresses = connect(settings, printer)
    store = open_store(settings)
    before = manifest.versions_of(store, recipe.corpus), len(model_versions.versions_of(store, recipe.model_name))
    printer.line(f"Prefect {addresses['prefect']}   MLflow {addresses['mlflow']}   (open them now and watch)")
    with progress_bars(quiet=printer.as_json) as report:
        verdict: VerdictRef = run_flow("build_model", report, recipe=RECIPE)
    version = model_versions.resolve(store, f"{recipe.model_name}/{verdict.version}")
    corpus, number = manifest.find(store, version.details["corpus"])
    found = manifest.read(store, corpus, number)
    reused = number in before[0], version.version <= before[1]
    result = show(store, found, number, version, verdict, printer, reused=reused)
    seconds = time.monotonic() - started
    printer.heading("Next")
    printer.line(f"  look     Prefect {addresses['prefect']}   MLflow {addresses['mlflow']}")
    printer.line(f"  promote  ingot promote {version.name}/{version.version} --reason 'first model'")
    printer.line("  yours    ingot init ./mine --source ~/notes && ingot build ./mine")
    printer.line("  stop     ingot down")
    printer.line(f"\n{seconds:.0f} s")
    printer.result({**result, **addresses, "seconds": round(seconds, 1)})
    return 0


def show(
    store: Store,
    found: Manifest,
    number: int,
    version: model_versions.ModelVersion,
    verdict: VerdictRef,
    printer: Printer,
    *,
    reused: tuple[bool, bool],
) -> dict[str, Any]:
    """Documents in and out, a twin, tokens, loss, bits per byte beside the baselines, one trace.

    reused says of the corpus version and of the model whether an earlier run had made them.
    """
    printer.heading("Documents: in, dropped by reason, kept")
    print_corpus(manifest.ref_of(found, number, reused=reused[0]), printer)
    twin = dropped_twin(store, found)
    if twin is not None:
        printer.heading("One dropped document, and the twin it lost to")
        printer.line(f"  {twin['uri']}  {twin['doc_id']}")
        printer.line(f"  {explain(twin)}")
    printer.heading("Model")
    loss = first_and_last_loss(store, version)
    details = version.details
    if reused[1]:
        printer.line(f"  {version.name}/{version.version} was trained and measured before; nothing was done again")
    seen, there = details["tokens_seen"], details["num_tokens"]
    printer.line(f"  {details['num_parameters']:,} parameters, {seen:,} tokens seen of {there:,}")
    printer.line(f"  loss {loss[0]:.3f} before, {loss[1]:.3f} after (nats per token, training text)")
    result = evaluation_of(store, verdict)
    print_bits(result, printer)
    printer.line(f"  gate: {verdict.verdict}. {verdict.reason}")
    printer.heading("Where it came from: ingot trace model " + f"{version.name}/{version.version}")
    trace = lineage.trace_model(store, f"{version.name}/{version.version}")
    print_model({**trace, "licences": trace["licences"][:8]}, printer)
    return {
        "corpus": details["corpus"],
        "accounting": found.identity.accounting,
        "twin": twin,
        "loss": {"before": loss[0], "after": loss[1]},
        "bits_per_byte": result["bits_per_byte"],
        "baselines": {name: b["bits_per_byte"] for name, b in result["baselines"].items()},
        "verdict": verdict.verdict,
        "model": f"{version.name}/{version.version}",
        "reused": {"corpus": reused[0], "model": reused[1]},
    }


def dropped_twin(store: Store, found: Manifest) -> dict[str, Any] | None:
    """A document that was dropped as a near-duplicate, with the one it lost to; None when there is none."""
    best: tuple[float, str] | None = None
    for entry in found.identity.decisions:
        table = read_table(store, f"decisions/{entry.sha256}.parquet", columns=["doc_id", "final", "reason", "score"])
        for row in table.to_pylist():
            if row["final"] and row["reason"] == "near_duplicate":
                # The closest pair: of a chain, loser and winner may resemble each other less than the threshold.
                best = max(best or (0.0, ""), (row["score"], row["doc_id"].hex()))
    if best is not None:
        return {"doc_id": best[1], **lineage.trace_document(store, best[1]).versions[-1]}
    return None


def first_and_last_loss(store: Store, version: model_versions.ModelVersion) -> tuple[float, float]:
    """Training loss of the first and the last logged step."""
    lines = store.read_bytes(f"{version.checkpoint_key}/metrics.jsonl").decode().splitlines()
    losses = [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]
    return losses[0], losses[-1]


def evaluation_of(store: Store, verdict: VerdictRef) -> dict[str, Any]:
    """The evaluation that the gate judged."""
    record = store.read_record(verdict.key)
    result: dict[str, Any] = store.read_record(f"evaluations/{record['evaluation']}.json")
    return result


def print_bits(result: dict[str, Any], printer: Printer) -> None:
    """Bits per byte of the model and of each baseline, with what the baseline is."""
    held_out = f"{result['num_documents']} held-out documents ({result['num_bytes']:,} bytes)"
    printer.line(f"  bits per byte on {held_out}, lower is better:")
    rows = [(b["bits_per_byte"], name, BASELINE_NOTES.get(name, "")) for name, b in result["baselines"].items()]
    rows.append((result["bits_per_byte"], "this model", "a minute of training on a CPU"))
    printer.table([[name, bits, note] for bits, name, note in sorted(rows, reverse=True)])
