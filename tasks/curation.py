"""The data steps as Prefect tasks: read a source, analyse, decide, publish, show."""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from datasets_pipeline.acquire import SourceSnapshot, units_of
from datasets_pipeline.analyse import analyse as analyse_units
from datasets_pipeline.card import card_html, card_markdown, waterfall_rows
from datasets_pipeline.curate import acquire_source, run_provenance, source_counts
from datasets_pipeline.decide import DecisionsRef
from datasets_pipeline.decide import decide as decide_documents
from datasets_pipeline.publish import publish_corpus
from ingot import manifest, retraining, store_identity, tracking
from ingot.config import NamedConfig, Recipe
from ingot.recipe_files import find_recipe
from ingot.refs import CorpusRef
from ingot.registered import corpus_address
from ingot.tracking_records import DatasetInput
from tasks import policies
from tasks.progress import progress
from tasks.registered_corpora import show_registered_corpus
from tasks.runtime import current_pool, now, runtime


@task(name="acquire", cache_policy=NO_CACHE, **policies.DATA)
def acquire(entry: NamedConfig) -> SourceSnapshot:
    """Read what is new or changed in one source."""
    here = runtime()
    with progress(f"acquire-{entry.config.name}", "files") as report:
        return acquire_source(here.store, entry, here.settings, current_pool(), now=now(), on_progress=report)


@task(name="analyse", cache_policy=NO_CACHE, **policies.DATA)
def analyse(recipe: Recipe, snapshots: Sequence[SourceSnapshot]) -> dict[str, int]:
    """Compute features, signatures and spans of what has none yet."""
    store = runtime().store
    with progress("analyse", "documents") as report:
        return analyse_units(store, units_of(store, snapshots), recipe.rules, current_pool(), on_progress=report)


@task(name="decide", cache_policy=NO_CACHE, **policies.DATA)
def decide(recipe: Recipe, snapshots: Sequence[SourceSnapshot]) -> DecisionsRef:
    """Decide about every document: keep, hold out or drop, and why."""
    store = runtime().store
    with progress("decide", "pairs") as report:
        return decide_documents(store, recipe, snapshots, current_pool(), salt=_salt(), on_progress=report)


def retrain_request(recipe: Recipe, place: str, overrides: Mapping[str, str] | None) -> dict[str, Any]:
    """What a version published under this recipe says about retrains, and where the recipe lies."""
    return retraining.asked_by(recipe, str(find_recipe(place)), overrides)


@task(name="publish", cache_policy=NO_CACHE, **policies.DATA)
def publish(
    recipe: Recipe, snapshots: Sequence[SourceSnapshot], decisions: DecisionsRef, asks: Mapping[str, Any]
) -> CorpusRef:
    """Write the shards and publish the version, or name the one that is the same. asks: see `retrain_request`."""
    here = runtime()
    sources = source_counts(list(snapshots))
    provenance = {**run_provenance(now()), "sources": sources, "prefect": flow_run_id(), **asks}
    with progress("publish", "documents") as report:
        corpus = publish_corpus(
            here.store,
            recipe,
            decisions,
            current_pool(),
            salt=_salt(),
            actor=here.actor,
            provenance=provenance,
            on_progress=report,
        )
    if not corpus.reused:
        _tell(corpus, asks)
    return corpus


def _tell(corpus: CorpusRef, asks: Mapping[str, Any]) -> None:
    """Emit the event of a new version; one that gets lost is made up for by the supervisor's look."""
    emit_event(
        event=retraining.PUBLISHED_EVENT,
        resource={
            "prefect.resource.id": f"ingot.corpus.{corpus.corpus}",
            "prefect.resource.name": corpus.name,
            # Triggers match on labels of the resource, not on the payload.
            "ingot.retrain": "asked" if asks else "not asked",
        },
        payload={
            "corpus": corpus.corpus,
            "version": corpus.version,
            "root_digest": corpus.root_digest,
            "recipe": str(asks.get("retrain", {}).get("recipe", "")),
        },
    )


@task(name="show corpus", cache_policy=NO_CACHE, **policies.VIEW)
def show_corpus(corpus: CorpusRef, snapshots: Sequence[SourceSnapshot]) -> None:
    """Show the data card in Prefect and MLflow."""
    here = runtime()
    found = manifest.read(here.store, corpus.corpus, corpus.version)
    page = here.mlflow_link(corpus.name, corpus_address(corpus.corpus, corpus.version))
    create_markdown_artifact(
        f"{card_markdown(found, corpus)}\n\nIn MLflow: {page}\n", key="data-card", description=corpus.name
    )
    create_table_artifact(
        waterfall_rows(found), key="waterfall", description=f"What happened to the documents of {corpus.name}"
    )
    with tracking.open_run(
        here.tracking_uri,
        experiment="corpora",
        run_key=corpus.identity_digest,
        name=corpus.name,
        tags=corpus_tags(corpus),
        datasets=[corpus_input(corpus, "published")],
    ) as run:
        run.log_html("card.html", card_html(found, corpus))
        run.log_json("accounting.json", found.identity.accounting)
    show_registered_corpus(here.store, here.tracking_uri, corpus)


def corpus_tags(corpus: CorpusRef) -> dict[str, str]:
    """What a corpus version is found by in MLflow."""
    return {
        "ingot.kind": "corpus",
        "ingot.corpus": corpus.name,
        "ingot.root_digest": corpus.root_digest,
        "ingot.content_digest": corpus.content_digest,
        "ingot.manifest": corpus.manifest_key,
    }


def corpus_input(corpus: CorpusRef, context: str) -> DatasetInput:
    """The corpus version as an MLflow dataset."""
    return DatasetInput(
        name=corpus.name,
        digest=corpus.root_digest,
        source=f"ingot://{corpus.manifest_key}",
        context=context,
        profile={"documents": corpus.num_documents, "heldout": corpus.num_heldout, "bytes": corpus.num_bytes},
    )


def flow_run_id() -> str:
    """The id of the Prefect flow run this is part of; empty outside one."""
    from prefect.runtime import flow_run

    return str(flow_run.get_id() or "")


def _salt() -> bytes:
    return bytes.fromhex(store_identity.initialise(runtime().store))
