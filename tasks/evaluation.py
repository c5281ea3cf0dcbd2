"""Evaluation, the gate and promotion as Prefect tasks."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from evaluation.gate import Verdict, decide
from evaluation.generation import TransformersModel
from evaluation.report import card_html, report_html
from evaluation.suites.heldout import EvalDocument, without_text
from evaluation.verdicts import GateConfig
from ingot import ledger, manifest, model_versions, promotion, registry, tracking, tracking_versions
from ingot.config import Recipe
from ingot.digests import digest_of, fingerprint
from ingot.manifest import Manifest
from ingot.model_versions import ModelVersion
from ingot.parquet import read_table
from ingot.refs import CorpusRef, EvaluationRef, VerdictRef
from ingot.registered import model_address, model_record
from ingot.storage import Store
from tasks import policies
from tasks.curation import corpus_input, flow_run_id
from tasks.progress import progress
from tasks.runtime import runtime
from training.checkpoints import open_checkpoint


@task(name="evaluate", cache_policy=NO_CACHE, **policies.EVALUATION)
def evaluate(recipe: Recipe, corpus: CorpusRef, version: ModelVersion, suite: str) -> EvaluationRef:
    """Measure a model version with one suite on the documents held out of its corpus."""
    here = runtime()
    found = manifest.read(here.store, corpus.corpus, corpus.version)
    options = recipe.evaluate.options.get(suite, {})
    return measure(here.store, version, corpus, found, suite, options)


def measure(
    store: Store,
    version: ModelVersion,
    corpus: CorpusRef,
    found: Manifest,
    suite: str,
    options: dict[str, Any],
    *,
    only: frozenset[str] | None = None,
) -> EvaluationRef:
    """Run a suite, or name the stored evaluation of these very inputs.

    only: doc_ids (hex) to measure on; None takes everything held out.
    """
    module = registry.load("suite", suite)
    config = module.Config.model_validate(options)
    digest = evaluation_digest(version.evidence["checkpoint"], corpus, suite, options, only=only)
    key = f"evaluations/{digest}.json"
    if not store.exists(key):
        with local_checkpoint(store, version.checkpoint_key) as folder:
            documents = [d for d in heldout_documents(store, found) if only is None or d.doc_id in only]
            with progress(f"evaluate-{suite}", "documents") as report:
                result = module.run(
                    config,
                    TransformersModel(folder),
                    documents,
                    lambda: training_texts(store, found),
                    on_progress=lambda done, total: report(f"evaluate {suite}", done, total),
                )
        # What the model wrote may repeat a document: it stays in the restricted part of the store.
        store.put_bytes(f"reports/{digest}.html", report_html(result).encode(), overwrite=True)
        store.put_if_absent(key, without_text(result))
    result = store.read_record(key)
    return EvaluationRef(
        digest=digest,
        key=key,
        checkpoint_fingerprint=version.checkpoint_fingerprint,
        checkpoint_step=int(version.checkpoint_key.rsplit("/", 1)[1]),
        suite=suite,
        bits_per_byte=result["bits_per_byte"],
        num_documents=len(result["documents"]),
    )


def evaluation_digest(
    checkpoint: str, corpus: CorpusRef, suite: str, options: dict[str, Any], *, only: frozenset[str] | None = None
) -> str:
    """Identity of an evaluation: a checkpoint, by its digest, measured with a suite on what a corpus held out."""
    module = registry.load("suite", suite)
    config = module.Config.model_validate(options)
    return fingerprint(
        f"evaluate.{suite}",
        str(module.VERSION),
        values={**config.model_dump(mode="json"), "only": digest_of(sorted(only)) if only is not None else None},
        inputs={"checkpoint": checkpoint, "corpus": corpus.root_digest},
        versions=registry.own_versions("suite", suite),
    )


@contextmanager
def local_checkpoint(store: Store, key: str) -> Iterator[Path]:
    """A local folder with the Hugging Face files of a checkpoint, verified against its manifest."""
    with open_checkpoint(store, key) as (_, files), store.scratch() as folder:
        for name, path in files.items():
            if name.endswith((".json", ".safetensors")) and not name.startswith(("optimizer", "state")):
                (folder / name).symlink_to(path)
        yield folder


def heldout_documents(store: Store, found: Manifest) -> Iterator[EvalDocument]:
    """The documents held out of a corpus version, in manifest order."""
    for shard in found.identity.shards:
        if shard.split == "heldout":
            table = read_table(
                store, f"shards/{shard.sha256}.parquet", columns=["doc_id", "text", "source", "language"]
            )
            for row in table.to_pylist():
                yield EvalDocument(row["doc_id"].hex(), row["text"], row["source"], row["language"])


def training_texts(store: Store, found: Manifest) -> Iterator[tuple[str, str]]:
    """(doc_id, text) of the training split, in manifest order."""
    for shard in found.identity.shards:
        if shard.split == "train":
            table = read_table(store, f"shards/{shard.sha256}.parquet", columns=["doc_id", "text"])
            for doc_id, text in zip(table["doc_id"].to_pylist(), table["text"].to_pylist(), strict=True):
                yield doc_id.hex(), text


@task(name="gate", cache_policy=NO_CACHE, **policies.EVALUATION)
def judge_candidate(recipe: Recipe, corpus: CorpusRef, version: ModelVersion, evaluation: EvaluationRef) -> VerdictRef:
    """Compare the candidate with the champion on documents held out for both; write the verdict."""
    here = runtime()
    entries = ledger.read(here.store)
    number = model_versions.champion_version(entries, version.name)
    champion = next(
        (v for v in model_versions.versions_of(here.store, version.name, entries) if v.version == number), None
    )
    if champion is not None and champion.version == version.version:
        return _standing_verdict(entries, version)
    candidate_result = here.store.read_record(evaluation.key)
    champion_evaluation = _champion_evaluation(recipe, corpus, champion, evaluation) if champion else None
    champion_result: dict[str, Any] | None = None
    if champion is not None:
        # Nothing is held out for both: an empty result, which the gate calls inconclusive.
        same = {name: candidate_result[name] for name in ("suite", "version")}
        nothing = {**same, "bits_per_byte": 0.0, "documents": []}
        champion_result = here.store.read_record(champion_evaluation.key) if champion_evaluation else nothing
    asked = {row["doc_id"] for row in candidate_result["documents"]}
    verdict = decide(
        candidate_result,
        champion_result,
        config=GateConfig(**recipe.evaluate.gate.model_dump()),
        seen_by_candidate=seen_in_training(here.store, version, asked),
        seen_by_champion=seen_in_training(here.store, champion, asked) if champion else (),
    )
    record = {
        "kind": "verdict",
        "model": version.name,
        "version": version.version,
        "champion": champion.version if champion else None,
        "evaluation": evaluation.digest,
        "champion_evaluation": champion_evaluation.digest if champion_evaluation else None,
        **verdict.model_dump(mode="json"),
    }
    digest = digest_of(record)
    here.store.put_if_absent(f"evaluations/{digest}.json", record)
    ledger.append(
        here.store,
        actor=here.actor,
        verb="gated",
        subject=version.subject,
        subject_digest=version.evidence["checkpoint"],
        evidence={"verdict": digest, "evaluation": evaluation.digest},
        # The same verdict against a champion that left and came back is a new one.
        attempt=f"{digest}:{model_versions.last_move(entries, version.name)}",
        details={
            "model": version.name,
            "version": version.version,
            "verdict": verdict.verdict,
            "champion": champion.version if champion else None,
            "bits_per_byte": evaluation.bits_per_byte,
            "reason": verdict.reason,
        },
    )
    ref = VerdictRef(
        model=version.name, version=version.version, verdict=verdict.verdict, reason=verdict.reason,
        key=f"evaluations/{digest}.json",
    )  # fmt: skip
    return ref


def seen_in_training(store: Store, version: ModelVersion, doc_ids: Collection[str]) -> frozenset[str]:
    """Of documents held out of a model's own corpus, those that another corpus it read has in its training text."""
    seen: set[str] = set()
    for row in version.corpora:
        if row["root_digest"] != version.evidence.get("corpus_root_digest"):
            found = manifest.read(store, *manifest.find(store, row["corpus"]))
            for shard in (shard for shard in found.identity.shards if shard.split == "train"):
                column = read_table(store, f"shards/{shard.sha256}.parquet", columns=["doc_id"])["doc_id"]
                seen.update(doc_id.hex() for doc_id in column.to_pylist())
    return frozenset(seen.intersection(doc_ids))


def _standing_verdict(entries: list[ledger.Entry], version: ModelVersion) -> VerdictRef:
    """The verdict the champion was promoted with: it is not its own rival, and it is not without one."""
    gated = promotion.latest_verdict(entries, version)
    assert gated is not None, "a champion was judged before it was promoted"
    return VerdictRef(
        model=version.name,
        version=version.version,
        verdict=gated.details["verdict"],
        reason=gated.details["reason"],
        key=f"evaluations/{gated.evidence['verdict']}.json",
    )


def _champion_evaluation(
    recipe: Recipe, corpus: CorpusRef, champion: ModelVersion, evaluation: EvaluationRef
) -> EvaluationRef | None:
    """The champion, measured on the documents held out for both models; None when there is none."""
    store = runtime().store
    found = manifest.read(store, corpus.corpus, corpus.version)
    champion_corpus, number = manifest.find(store, champion.details["corpus"])
    theirs = {d.doc_id for d in heldout_documents(store, manifest.read(store, champion_corpus, number))}
    both = frozenset(d.doc_id for d in heldout_documents(store, found) if d.doc_id in theirs)
    if not both:
        return None
    options = champion_options(recipe, evaluation.suite)
    return measure(store, champion, corpus, found, evaluation.suite, options, only=both)


def champion_options(recipe: Recipe, suite: str) -> dict[str, Any]:
    """The recipe's options of a suite for a champion, of which only the numbers a document are wanted."""
    return {**recipe.evaluate.options.get(suite, {}), "num_samples": 0, "baselines": []}


@task(name="show evaluation", cache_policy=NO_CACHE, **policies.VIEW)
def show_evaluation(corpus: CorpusRef, version: ModelVersion, evaluation: EvaluationRef, verdict: VerdictRef) -> None:
    """Show card and verdict in Prefect and MLflow."""
    here = runtime()
    result = here.store.read_record(evaluation.key)
    stored = here.store.read_record(verdict.key)
    judged = Verdict.model_validate({name: stored[name] for name in Verdict.model_fields if name in stored})
    page = here.mlflow_link(version.subject, model_address(version.name, version.version))
    create_markdown_artifact(
        f"{evaluation_markdown(version, result, verdict)}\n\nIn MLflow: {page}\n",
        key="evaluation",
        # Read by `ingot run --follow`, whose exit code is the gate's.
        description=f"{version.subject}: {verdict.verdict}",
    )
    with tracking.open_run(
        here.tracking_uri,
        experiment="evaluation",
        run_key=evaluation.digest,
        name=f"{version.name}/{version.version} {evaluation.suite} on {corpus.name}",
        params={"model": version.name, "version": version.version, "suite": evaluation.suite, "corpus": corpus.name},
        tags={
            "ingot.kind": "evaluation",
            "ingot.model": version.name,
            "ingot.corpus": corpus.name,
            "ingot.root_digest": corpus.root_digest,
            "ingot.verdict": verdict.verdict,
            "ingot.checkpoint": version.evidence["checkpoint"],
            "prefect.flow_run_id": flow_run_id(),
        },
        datasets=[corpus_input(corpus, "eval")],
    ) as run:
        run.log_html("card.html", card_html(result, judged, title=f"Evaluation of {version.name}/{version.version}"))
        run.log_metric_lines([metric_line(result, version)])
    tracking_versions.register_model_version(here.tracking_uri, model_record(here.store, version))


def metric_line(result: dict[str, Any], version: ModelVersion) -> dict[str, Any]:
    """The numbers of an evaluation as one metrics line, at the time the version was registered."""
    line: dict[str, Any] = {
        "step": int(version.checkpoint_key.rsplit("/", 1)[1]),
        "time": datetime.fromisoformat(version.registered.time).timestamp(),
        "bits_per_byte": result["bits_per_byte"],
        "num_documents": len(result["documents"]),
    }
    return {**line, **{f"baseline_{name}": b["bits_per_byte"] for name, b in result["baselines"].items()}}


def evaluation_markdown(version: ModelVersion, result: dict[str, Any], verdict: VerdictRef) -> str:
    """Verdict and bits per byte beside the baselines, for a Prefect artifact."""
    lines = [
        f"# {version.name}/{version.version}: {verdict.verdict}",
        "",
        verdict.reason,
        "",
        "| what | bits per byte |",
        "|---|---:|",
        f"| **{version.name}/{version.version}** | **{result['bits_per_byte']:.3f}** |",
    ]
    lines += [f"| {name} | {b['bits_per_byte']:.3f} |" for name, b in sorted(result["baselines"].items())]
    return "\n".join(lines)
