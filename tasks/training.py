"""Tokens, training stages and model registration as Prefect tasks."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from datasets_pipeline import tokens as token_files
from datasets_pipeline.card import card_html
from datasets_pipeline.token_counts import count_tokens
from datasets_pipeline.tokenizer_sources import made_on
from ingot import adopted, ledger, manifest, model_versions, registry, tracking, tracking_versions
from ingot.config import NamedConfig, Recipe, recipe_digest, resolved
from ingot.digests import digest_of, fingerprint
from ingot.lineage_picture import lineage_html, lineage_mermaid
from ingot.refs import CheckpointRef, CorpusRef, MixtureRef, TokensRef, own_tokens, parts_of
from ingot.registered import corpus_address, model_address, model_record
from ingot.revision import code_revision
from ingot.storage import Store
from ingot.tracking_records import RunRecord, as_json
from tasks import policies, stage_forecast
from tasks.corpus import corpora_of, find_published
from tasks.curation import corpus_input, flow_run_id
from tasks.gpus import held_gpus
from tasks.progress import progress
from tasks.registered_corpora import show_registered_corpus
from tasks.runtime import Runtime, current_pool, requested_by, runtime
from tasks.training_curve import training_curve
from training import reads
from training.batches import data_digest
from training.checkpoints import read_manifest
from training.job import StageOutput
from training.plan_actual import ACTUAL_FILE, PLAN_FILE
from training.preflight import PREFLIGHT_FILE
from training.stages.pretrain import WITHOUT_EFFECT

MAX_PARAMS = 20


@task(name="tokenize", cache_policy=NO_CACHE, **policies.DATA)
def tokenize(recipe: Recipe, corpus: CorpusRef, tokenizer: token_files.TokenizerRef | None = None) -> TokensRef:
    """Write the token files of a corpus version; without a tokenizer, one is trained or extended on it first."""
    store = runtime().store
    found = manifest.read(store, corpus.corpus, corpus.version)
    tokenizer = tokenizer or made_on(store, found, recipe.tokenizer)
    with progress("tokenize", "documents") as report:
        return token_files.tokenize(store, corpus.name, found, tokenizer, current_pool(), on_progress=report)


def with_seed(entry: NamedConfig, recipe: Recipe) -> NamedConfig:
    """The stage with the recipe's seed, unless it names one of its own."""
    config = entry.config
    if "seed" not in type(config).model_fields or "seed" in config.model_fields_set:
        return entry
    return entry.model_copy(update={"config": config.model_copy(update={"seed": recipe.seed})})


def stage_fingerprint(
    entry: NamedConfig, recipe: Recipe, data: TokensRef | MixtureRef, start: CheckpointRef | None
) -> str:
    """Identity of a training run: a second start with the same inputs finds it."""
    module = registry.load("stage", entry.name)
    return fingerprint(
        f"train.{entry.name}",
        str(module.VERSION),
        values={"seed": recipe.seed, **module.identity_values(entry.config)},
        inputs={**_data_inputs(data), "start": start.manifest_sha256 if start else ""},
        versions=registry.own_versions("stage", entry.name),
    )


def _data_inputs(data: TokensRef | MixtureRef) -> dict[str, str]:
    if isinstance(data, MixtureRef):
        return {"mixture": data_digest(data), "tokenizer": data.tokenizer_digest}
    return {
        "corpus": data.corpus_root_digest,
        "tokenizer": data.tokenizer_digest,
        "tokens": digest_of([shard.bin_sha256 for shard in data.shards]),
    }


@task(name="train", cache_policy=NO_CACHE, **policies.TRAINING)
def train_stage(
    entry: NamedConfig, recipe: Recipe, corpus: CorpusRef, data: TokensRef | MixtureRef, start: CheckpointRef | None
) -> CheckpointRef:
    """Run one training stage in a process group of its own; resume what an earlier start left."""
    here = runtime()
    module = registry.load("stage", entry.name)
    entry = with_seed(entry, recipe)
    digest = stage_fingerprint(entry, recipe, data, start)
    record = run_record(here, entry, recipe, corpus, data, digest)
    planned = stage_forecast.forecast(here, entry, data, start)
    if planned is not None:
        record = record.model_copy(update={"artifacts": {**record.artifacts, PLAN_FILE: as_json(planned)}})
    here.store.put_if_absent(f"runs/{digest}.json", record.model_dump(mode="json"))
    output = stage_output(here, recipe, digest)
    finished: CheckpointRef | None = module.find_finished(entry.config, data, output)
    # A kill between the last checkpoint and the end of the run leaves a finished stage that MLflow calls failed.
    if finished is not None and tracking.has_finished(here.tracking_uri, digest):
        return finished  # MLflow keeps the run as it ended
    with (
        held_gpus(entry, here.settings, flow_run_id()) as devices,
        progress(f"train-{entry.name}", "tokens", resumes=True) as report,
        training_curve(record.name, int(entry.config.tokens)) as curve,
        tracking.open_run(
            here.tracking_uri,
            experiment=record.experiment,
            run_key=digest,
            name=record.name,
            params=record.params,
            tags={**record.tags, "prefect.flow_run_id": flow_run_id()},
            datasets=record.datasets,
        ) as run,
    ):
        run.log_json("recipe.json", public_recipe(recipe))
        kept = here.store.read_record(f"runs/{digest}.json").get("artifacts", {})  # the first attempt's
        if PLAN_FILE in kept:
            run.log_json(PLAN_FILE, json.loads(kept[PLAN_FILE]))
        for name, page in data_cards(here, corpus, data).items():
            run.log_html(name, page)

        def follow(lines: Sequence[dict[str, Any]]) -> None:
            run.log_metric_lines(lines)
            curve.add(lines)
            last = next((line for line in reversed(lines) if "tokens" in line), None)
            if last is not None:
                report(entry.name, int(last["tokens"]), int(entry.config.tokens))

        output = replace(on_devices(output, here, devices), on_progress=follow)
        checkpoint: CheckpointRef = module.run(entry.config, start, data, output)
        if (output.run_dir / PREFLIGHT_FILE).is_file():
            run.log_json(PREFLIGHT_FILE, json.loads((output.run_dir / PREFLIGHT_FILE).read_text()))
        came = stage_forecast.outcome(here.store, digest, checkpoint.key, record.name)
        if came is not None:
            run.log_json(ACTUAL_FILE, came.values)
            run.log_html("plan_against_actual.html", came.html)
            stage_forecast.show(came, record.name)
        run.log_html("lineage.html", lineage_html(corpora_of(here.store, data), data, checkpoint, recipe.model_name))
    return checkpoint


def stage_output(here: Runtime, recipe: Recipe, digest: str) -> StageOutput:
    """Where a stage writes and with what it may work on this machine."""
    return StageOutput(
        store_root=here.store.root,
        fingerprint=digest,
        run_dir=run_folder(here, digest),
        recipe_digest=recipe_digest(recipe),
        num_ranks=here.settings.ranks,
        threads=here.settings.train_threads,
        scratch_root=here.settings.scratch,
    )


def on_devices(output: StageOutput, here: Runtime, devices: tuple[str, ...] | None) -> StageOutput:
    """The same with one rank for each GPU that the stage holds; None leaves it as it is."""
    if devices is None:
        return output
    # Threads that were not set by hand were shared out among another number of ranks.
    threads = output.threads if here.settings.environ.get("INGOT_TRAIN_THREADS") else None
    return replace(output, devices=devices, num_ranks=len(devices), threads=threads)


def data_cards(here: Runtime, corpus: CorpusRef, data: TokensRef | MixtureRef) -> dict[str, str]:
    """By file name the data cards of what is trained on, with token counts; `data_card.html` is the own corpus's."""
    pages = {}
    for ref, tokens in zip(corpora_of(here.store, data), parts_of(data), strict=True):
        name = "data_card.html" if ref.name == corpus.name else f"data_card.{ref.name}.html"
        found = manifest.read(here.store, ref.corpus, ref.version)
        pages[name] = card_html(found, ref, count_tokens(here.store, tokens))
    return pages


def run_folder(here: Runtime, digest: str) -> Path:
    """Where a training run keeps its metrics, heartbeat and logs on this machine."""
    return here.settings.home / "runs" / digest


def run_record(
    here: Runtime, entry: NamedConfig, recipe: Recipe, corpus: CorpusRef, data: TokensRef | MixtureRef, digest: str
) -> RunRecord:
    """What MLflow shows of a training run; kept in the store so that MLflow can be filled again."""
    values = resolved(entry.config)
    for name in WITHOUT_EFFECT:  # may change between two attempts at one run, which a param must not
        values.pop(name, None)
    params: dict[str, Any] = {
        "stage": entry.name,
        "corpus": data.corpus,
        "vocab_size": data.vocab_size,
        "seed": recipe.seed,
    }
    for name, value in values.items():
        if isinstance(value, dict):
            params |= {f"{name}.{key}": item for key, item in value.items() if not isinstance(item, dict)}
        elif isinstance(value, str | int | float | bool):
            params[name] = value
    code = code_revision()
    return RunRecord(
        run_key=digest,
        name=f"{recipe.model_name} {entry.name} on {data.corpus}",
        experiment="training",
        artifacts={"recipe.json": as_json(public_recipe(recipe))},
        start_time_ms=tracking.now_ms(),
        params=dict(list(params.items())[:MAX_PARAMS]),
        tags={
            "ingot.kind": "training",
            "ingot.corpus": corpus.name,
            "ingot.root_digest": corpus.root_digest,
            "ingot.recipe_digest": recipe_digest(recipe),
            "ingot.code": code["commit"] or code["version"],
            "ingot.model": recipe.model_name,
        },
        datasets=tuple(corpus_input(ref, entry.name) for ref in corpora_of(here.store, data)),
    )


@task(name="register", cache_policy=NO_CACHE, **policies.DATA)
def register(
    recipe: Recipe,
    corpus: CorpusRef,
    data: TokensRef | MixtureRef,
    checkpoint: CheckpointRef,
    start: str | None = None,
) -> model_versions.ModelVersion:
    """Give the checkpoint the next version number of its model, in the ledger.

    data is what the last stage read; start names what the first one began with, None for fresh weights.
    """
    here = runtime()
    tokens = own_tokens(data, corpus)
    base = adopted.base_of(here.store, checkpoint.key, ledger.read(here.store))
    corpora = corpora_read(here.store, corpus, checkpoint)
    version = model_versions.register(
        here.store,
        recipe.model_name,
        checkpoint_fingerprint=checkpoint.fingerprint,
        checkpoint_key=checkpoint.key,
        checkpoint_digest=checkpoint.manifest_sha256,
        evidence={
            "corpus_identity": corpus.identity_digest,
            "corpus_root_digest": corpus.root_digest,
            "tokenizer": tokens.tokenizer_digest,
            "recipe": recipe_digest(recipe),
            "corpora": digest_of([row["root_digest"] for row in corpora]),
        },
        details={
            "corpus": corpus.name,
            "run": checkpoint.fingerprint,
            "recipe_digest": recipe_digest(recipe),
            "recipe": public_recipe(recipe),
            "code": code_revision(),
            "num_tokens": tokens.num_tokens,
            "tokens_key": token_files.tokens_manifest_key(tokens),
            **_parts_in_order(data),
            **({"start": start} if start else {}),
            **({"adopted_base": base.checkpoint_key} if base else {}),
            "corpora": corpora,
            "tokens": count_tokens(here.store, tokens),
            "tokens_seen": checkpoint.tokens_seen,
            "num_parameters": checkpoint.num_parameters,
            "approval": recipe.approval,
            "requested_by": requested_by(),
            **passed_by(here.store, checkpoint),
            **stage_forecast.for_card(here.store, checkpoint),
        },
        actor=here.actor,
    )
    return version


def _parts_in_order(data: TokensRef | MixtureRef) -> dict[str, Any]:
    """The corpora and token files of a mixture in order, of which the checkpoint's data digest is made."""
    if not isinstance(data, MixtureRef):
        return {}
    return {"mixture": [{"corpus": p.corpus, "tokens_key": token_files.tokens_manifest_key(p)} for p in data.parts]}


def corpora_read(store: Store, corpus: CorpusRef, checkpoint: CheckpointRef) -> list[dict[str, Any]]:
    """A row for every corpus version that led to a checkpoint, the recipe's own first: `ModelVersion.corpora`."""
    stages, lists = reads.history_of(store, checkpoint.key), reads.TokenLists(store)
    digests = {part.corpus: part.data_digest for stage in stages for part in stage.corpora}
    rows = []
    for name, read in reads.corpora_read(stages).items():
        found, tokens = find_published(store, name), lists.find(name, digests[name])
        # A run that is found again may have read the same version under another number.
        ref = corpus if found.root_digest == corpus.root_digest else found
        rows.append(
            {
                "corpus": ref.name,
                "root_digest": ref.root_digest,
                "identity_digest": ref.identity_digest,
                "num_tokens": tokens.num_tokens,
                "tokens": count_tokens(store, tokens),
                "tokens_read": int(read["tokens_read"]),
                "epochs": round(read["epochs"], 4),
            }
        )
    return sorted(rows, key=lambda row: row["corpus"] != corpus.name)


def passed_by(store: Store, checkpoint: CheckpointRef) -> dict[str, Any]:
    """For the ledger: [update, steps of data] of each time the run went back and passed data by; often nothing."""
    skipped = read_manifest(store, checkpoint.key).sampler.get("skipped")
    return {"skipped_data": skipped} if skipped else {}


@task(name="show model", cache_policy=NO_CACHE, **policies.VIEW)
def show_model(
    corpus: CorpusRef,
    data: TokensRef | MixtureRef,
    checkpoint: CheckpointRef,
    version: model_versions.ModelVersion,
) -> None:
    """Show the version in MLflow's registry and its lineage in Prefect."""
    here = runtime()
    lineage = lineage_mermaid(corpora_of(here.store, data), data, checkpoint, version)
    model_page = here.mlflow_link(version.subject, model_address(version.name, version.version))
    corpus_page = here.mlflow_link(corpus.name, corpus_address(corpus.corpus, corpus.version))
    create_markdown_artifact(
        f"{lineage}\n\nIn MLflow: {model_page}, {corpus_page}\n", key="lineage", description=version.subject
    )
    tracking_versions.register_model_version(here.tracking_uri, model_record(here.store, version))
    show_registered_corpus(here.store, here.tracking_uri, corpus)  # it names the models that were trained on it


def public_recipe(recipe: Recipe) -> dict[str, Any]:
    """The resolved recipe without places."""
    values: dict[str, Any] = json.loads(json.dumps(resolved(recipe)))
    for source in values["sources"]:
        source.pop("uri", None)
    return values
