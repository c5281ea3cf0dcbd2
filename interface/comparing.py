"""Two runs or model versions side by side: what went in differently, and what came out.

A model version or training run is read from the store alone; only a flow run needs Prefect.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from deployments import run_control, run_view
from deployments.prefect_api import Server
from ingot import ledger, model_versions, promotion
from ingot.errors import NotFoundError
from ingot.model_versions import ModelVersion
from ingot.recipe_files import flat
from ingot.settings import Settings
from ingot.storage import Store
from ingot.tracking_records import RunRecord, read_lines

_SHORTEST_FINGERPRINT = 4
Row = list[Any]


@dataclass(frozen=True)
class Side:
    """One of the two."""

    name: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Dotted name -> value: recipe, overrides, corpus, code."""
    results: Mapping[str, Any] = field(default_factory=dict)
    """What it gave: verdict, bits per byte, loss, tokens per second, ..."""


def describe(store: Store, text: str, stack: Callable[[], tuple[Settings, Server]]) -> Side:
    """The side that `mini/3`, `mini@champion`, a training run's fingerprint or a flow run's id names.

    Raises NotFoundError when it is none of them.
    """
    if "/" in text or "@" in text:
        return _of_version(store, model_versions.resolve(store, text))
    version = _version_of_fingerprint(store, text)
    if version is not None:
        return _of_version(store, version)
    record = _record_of_fingerprint(store, text)
    if record is not None:
        return _of_record(store, record)
    return _of_flow_run(store, text, stack)


def compare(first: Side, second: Side) -> tuple[list[Row], list[Row]]:
    """(what differs of the inputs, all results), each as rows of name, first, second; None where one has none."""
    differences = [
        [name, first.inputs.get(name), second.inputs.get(name)]
        for name in _names(first.inputs, second.inputs)
        if first.inputs.get(name) != second.inputs.get(name)
    ]
    results = [
        [name, first.results.get(name), second.results.get(name)] for name in _names(first.results, second.results)
    ]
    return differences, results


def _names(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys([*first, *second]))


def _of_version(store: Store, version: ModelVersion) -> Side:
    details = version.details
    entries = ledger.read(store)
    gated = promotion.latest_verdict(entries, version)
    results: dict[str, Any] = {}
    if gated is not None:
        results = {"verdict": gated.details["verdict"], "bits per byte": gated.details["bits_per_byte"]}
    results["parameters"] = details.get("num_parameters")
    results["tokens seen"] = details.get("tokens_seen")
    results |= training_results(_metric_lines(store, version.checkpoint_key))
    inputs = {
        "corpus": version.corpora_words,
        "corpus digest": version.evidence.get("corpus_root_digest", "")[:16],
        "code": _code(details.get("code") or {}),
        **{f"recipe.{name}": value for name, value in flat(details.get("recipe") or {}).items()},
    }
    return Side(f"{version.name}/{version.version}", inputs, results)


def _of_record(store: Store, record: RunRecord) -> Side:
    """A training run that no model version came from: it did not end, or another stage followed."""
    recipe = json.loads(record.artifacts.get("recipe.json", "{}"))
    inputs = {
        "corpus": record.tags.get("ingot.corpus"),
        "corpus digest": record.tags.get("ingot.root_digest", "")[:16],
        "code": record.tags.get("ingot.code"),
        **{f"recipe.{name}": value for name, value in flat(recipe).items()},
    }
    keys = [key for key in store.list(f"checkpoints/{record.run_key}/") if key.endswith("/metrics.jsonl")]
    newest = max(keys, key=lambda key: int(key.split("/")[2].split(".")[0]), default=None)
    lines = _metric_lines(store, newest.removesuffix("/metrics.jsonl")) if newest else []
    return Side(f"run {record.run_key[:8]}", inputs, training_results(lines))


def _of_flow_run(store: Store, text: str, stack: Callable[[], tuple[Settings, Server]]) -> Side:
    settings, server = stack()
    view = run_view.view_run(settings, server, found := run_control.find_run(server, text), "")
    inputs: dict[str, Any] = {"flow": view.flow, **flat(found["parameters"] or {}, "parameters")}
    results: dict[str, Any] = {"state": view.state, "duration in s": view.seconds}
    model = view.about.rpartition(", ")[2]
    if "/" in model:
        try:
            made = _of_version(store, model_versions.resolve(store, model))
            inputs |= {"model": model, **made.inputs}
            results |= made.results
        except NotFoundError:
            pass  # of another store
    elif view.about:
        inputs["about"] = view.about
    return Side(f"{view.name} ({view.id[:8]})", inputs, results)


def training_results(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """What the curves of a training run end with: loss, speed, and the time between first and last line."""
    found: dict[str, Any] = {}
    for key, name in (("loss", "loss"), ("val_loss", "validation loss"), ("tokens_per_second", "tokens/s")):
        value = next((line[key] for line in reversed(lines) if isinstance(line.get(key), int | float)), None)
        if value is not None:
            found[name] = round(float(value), 4)
    times = [float(line["time"]) for line in lines if isinstance(line.get("time"), int | float)]
    if len(times) > 1:
        found["training in s"] = round(times[-1] - times[0], 1)
    return found


def _metric_lines(store: Store, checkpoint_key: str) -> list[dict[str, Any]]:
    key = f"{checkpoint_key}/metrics.jsonl"
    if not store.exists(key):
        return []
    with store.scratch() as folder:
        path = folder / "metrics.jsonl"
        path.write_bytes(store.read_bytes(key))
        return read_lines(path)


def _version_of_fingerprint(store: Store, text: str) -> ModelVersion | None:
    entries = ledger.read(store)
    versions = [v for name in model_versions.names(entries) for v in model_versions.versions_of(store, name, entries)]
    fits = [v for v in versions if len(text) >= _SHORTEST_FINGERPRINT and v.checkpoint_fingerprint.startswith(text)]
    return fits[-1] if fits else None


def _record_of_fingerprint(store: Store, text: str) -> RunRecord | None:
    if len(text) < _SHORTEST_FINGERPRINT:
        return None
    key = next((key for key in store.list("runs/") if key.removeprefix("runs/").startswith(text)), None)
    return RunRecord.model_validate(store.read_record(key)) if key is not None else None


def _code(code: Mapping[str, Any]) -> str:
    return str(code.get("commit") or code.get("version") or "")
