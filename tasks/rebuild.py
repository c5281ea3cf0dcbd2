"""Fill MLflow again from manifests, run records, evaluations and the ledger (CONTRACTS 14)."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from datasets_pipeline import tokens as token_files
from datasets_pipeline.card import card_html as corpus_card
from datasets_pipeline.parallel import InProcessPool
from datasets_pipeline.tokenizer_sources import made_on
from evaluation.gate import Verdict
from evaluation.report import card_html as evaluation_card
from ingot import ledger, manifest, model_versions, tracking_rebuild
from ingot.config import TokenizerConfig
from ingot.errors import IngotError
from ingot.lineage_picture import lineage_html
from ingot.model_versions import ModelVersion
from ingot.refs import CheckpointRef, MixtureRef, TokensRef
from ingot.registered import model_record
from ingot.tracking_records import RunRecord, VersionRecord, as_json
from tasks import stage_forecast
from tasks.corpus import corpora_of, find_published
from tasks.curation import corpus_input, corpus_tags
from tasks.evaluation import metric_line
from tasks.registered_corpora import corpus_record
from tasks.runtime import Runtime, runtime
from tasks.training import data_cards, run_folder
from training import checkpoints
from training.plan_actual import ACTUAL_FILE
from training.preflight import PREFLIGHT_FILE

METRICS_FILE = "metrics.jsonl"


def rebuild_views() -> dict[str, int]:
    """Restore runs, curves, inputs, cards, versions and aliases; safe to repeat."""
    here = runtime()
    runs, versions = tracking_rebuild.restore(
        here.tracking_uri,
        [*corpus_runs(here), *training_runs(here), *evaluation_runs(here)],
        version_records(here),
    )
    return {"runs": runs, "versions": versions}


def corpus_runs(here: Runtime) -> Iterator[RunRecord]:
    """One run for each published corpus version."""
    for corpus in manifest.corpora(here.store):
        for number in manifest.versions_of(here.store, corpus):
            found = manifest.read(here.store, corpus, number)
            ref = manifest.ref_of(found, number)
            time = milliseconds(found.provenance.get("time"))
            yield RunRecord(
                run_key=ref.identity_digest,
                name=ref.name,
                experiment="corpora",
                tags=corpus_tags(ref),
                datasets=(corpus_input(ref, "published"),),
                artifacts={
                    "card.html": corpus_card(found, ref),
                    "accounting.json": as_json(found.identity.accounting),
                },
                status="FINISHED",
                start_time_ms=time,
                end_time_ms=time,
            )


def training_runs(here: Runtime) -> Iterator[RunRecord]:
    """One run for each training run that was ever started; FINISHED when its final checkpoint is there."""
    registered = {v.checkpoint_fingerprint: v for v in all_versions(here)}
    for key in here.store.list("runs/"):
        record = RunRecord.model_validate(here.store.read_record(key))
        version = registered.get(record.run_key)
        finished = version is not None or is_finished(here, record.run_key)
        pages = {**(training_pages(here, version) if version else {}), **(checks_of(here, record) if finished else {})}
        yield record.model_copy(
            update={
                "artifacts": {**record.artifacts, **pages},
                "metrics_path": metrics_path(here, record.run_key, version),
                "status": "FINISHED" if finished else "FAILED",
                "end_time_ms": milliseconds(version.registered.time) if version else None,
            }
        )


def is_finished(here: Runtime, run_key: str) -> bool:
    """Whether a training run wrote its final checkpoint; its model may not be registered, or a later stage's is."""
    steps = checkpoints.list_steps(here.store, run_key)
    if not steps:
        return False
    return checkpoints.read_manifest(here.store, checkpoints.key_of(run_key, steps[0])).milestone == "final"


def training_pages(here: Runtime, version: ModelVersion) -> dict[str, str]:
    """Lineage and data card of a training run that led to a model version."""
    corpus, data = find_published(here.store, version.details["corpus"]), data_of(here, version)
    checkpoint = CheckpointRef(
        fingerprint=version.checkpoint_fingerprint,
        step=int(version.checkpoint_key.rsplit("/", 1)[1]),
        key=version.checkpoint_key,
        manifest_sha256=version.evidence["checkpoint"],
        tokens_seen=version.details["tokens_seen"],
        num_parameters=version.details["num_parameters"],
    )
    came = stage_forecast.outcome(here.store, checkpoint.fingerprint, checkpoint.key, version.subject)
    return {
        **({ACTUAL_FILE: as_json(came.values), "plan_against_actual.html": came.html} if came else {}),
        "lineage.html": lineage_html(corpora_of(here.store, data), data, checkpoint, version.name),
        **data_cards(here, corpus, data),
    }


def checks_of(here: Runtime, record: RunRecord) -> dict[str, str]:
    """What a run's pre-flight found, where this machine still has it."""
    path = run_folder(here, record.run_key) / PREFLIGHT_FILE
    return {PREFLIGHT_FILE: as_json(json.loads(path.read_text()))} if path.is_file() else {}


def data_of(here: Runtime, version: ModelVersion) -> TokensRef | MixtureRef:
    """What the last stage of a version read; token files that the store has lost are made again."""
    store, details = here.store, version.details
    own = find_published(store, details["corpus"])
    tokenizer = token_files.find_tokenizer(store, version.evidence["tokenizer"]) or made_on(
        store,
        manifest.read(store, own.corpus, own.version),
        TokenizerConfig.model_validate(details["recipe"]["tokenizer"]),
    )
    sets = []
    for name in [part["corpus"] for part in details.get("mixture", ())] or [own.name]:
        ref = find_published(store, name)
        found = manifest.read(store, ref.corpus, ref.version)
        sets.append(token_files.tokenize(store, ref.name, found, tokenizer, InProcessPool()))
    return MixtureRef(parts=tuple(sets)) if len(sets) > 1 else sets[0]


def metrics_path(here: Runtime, run_key: str, version: ModelVersion | None) -> Path | None:
    """The run's metric lines: those stored with its last checkpoint, else what this machine still has."""
    if version is not None and here.store.exists(f"{version.checkpoint_key}/{METRICS_FILE}"):
        return here.store.local_path(f"{version.checkpoint_key}/{METRICS_FILE}")
    local = run_folder(here, run_key) / METRICS_FILE
    return local if local.is_file() else None


def evaluation_runs(here: Runtime) -> Iterator[RunRecord]:
    """One run for each evaluation that a gate used."""
    by_subject = {version.subject: version for version in all_versions(here)}
    for entry in ledger.read(here.store):
        if entry.verb != "gated":
            continue
        version = by_subject[entry.subject]
        result = here.store.read_record(f"evaluations/{entry.evidence['evaluation']}.json")
        stored = here.store.read_record(f"evaluations/{entry.evidence['verdict']}.json")
        verdict = Verdict.model_validate({name: stored[name] for name in Verdict.model_fields if name in stored})
        corpus, number = manifest.find(here.store, version.details["corpus"])
        ref = manifest.ref_of(manifest.read(here.store, corpus, number), number)
        time = milliseconds(entry.time)
        yield RunRecord(
            run_key=entry.evidence["evaluation"],
            name=f"{version.name}/{version.version} {result['suite']} on {ref.name}",
            experiment="evaluation",
            params={"model": version.name, "version": version.version, "suite": result["suite"], "corpus": ref.name},
            tags={
                "ingot.kind": "evaluation",
                "ingot.model": version.name,
                "ingot.corpus": ref.name,
                "ingot.root_digest": ref.root_digest,
                "ingot.verdict": verdict.verdict,
                "ingot.checkpoint": version.evidence["checkpoint"],
            },
            datasets=(corpus_input(ref, "eval"),),
            artifacts={
                "card.html": evaluation_card(result, verdict, title=f"Evaluation of {version.name}/{version.version}")
            },
            metric_lines=(metric_line(result, version),),
            status="FINISHED",
            start_time_ms=time,
            end_time_ms=time,
        )


def version_records(here: Runtime) -> Iterator[VersionRecord]:
    """Every published corpus version and every registered model version, with its card and aliases."""
    entries = ledger.read(here.store)
    for corpus in manifest.corpora(here.store):
        for number in manifest.versions_of(here.store, corpus):
            yield corpus_record(here.store, corpus, number, entries)
    for version in all_versions(here):
        yield model_record(here.store, version, entries)


def all_versions(here: Runtime) -> list[ModelVersion]:
    """Registered versions of all models."""
    entries = ledger.read(here.store)
    return [v for name in model_versions.names(entries) for v in model_versions.versions_of(here.store, name, entries)]


def milliseconds(time: str | None) -> int | None:
    """An ISO 8601 time as epoch milliseconds."""
    if not time:
        return None
    try:
        return round(datetime.fromisoformat(time).timestamp() * 1000)
    except ValueError as error:
        raise IngotError(f"time {time!r} of a record is not ISO 8601; the store is damaged") from error
