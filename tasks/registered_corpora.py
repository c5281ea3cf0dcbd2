"""Corpus versions in MLflow's registry: made from manifests and the ledger, each with its data card."""

from collections.abc import Sequence

from datasets_pipeline.card import description
from ingot import ledger, manifest, model_versions, tracking_versions
from ingot.ledger import Entry
from ingot.refs import CorpusRef
from ingot.registered import NEWEST, corpus_model, model_address
from ingot.storage import Store
from ingot.tracking_records import VersionRecord


def show_registered_corpus(store: Store, tracking_uri: str, corpus: CorpusRef) -> None:
    """Write the page of a corpus version, and of any before it that MLflow lacks.

    In this order MLflow's own number of a version is ours, and a link by number finds it.
    """
    entries = ledger.read(store)
    present = tracking_versions.shown_versions(tracking_uri, corpus_model(corpus.corpus), "corpus")
    for number in manifest.versions_of(store, corpus.corpus):
        if number == corpus.version or (number < corpus.version and number not in present):
            record = corpus_record(store, corpus.corpus, number, entries)
            tracking_versions.register_model_version(tracking_uri, record)


def corpus_record(store: Store, corpus: str, number: int, entries: Sequence[Entry]) -> VersionRecord:
    """A corpus version as MLflow's registry shows it."""
    found = manifest.read(store, corpus, number)
    ref = manifest.ref_of(found, number)
    published = next((e for e in entries if e.verb == "published" and e.subject == ref.name), None)
    trained = [
        (version.name, version.version)
        for name in model_versions.names(entries)
        for version in model_versions.versions_of(store, name, entries)
        if found.identity_digest in {row["identity_digest"] for row in version.corpora}
    ]
    newest = manifest.versions_of(store, corpus)[-1]
    return VersionRecord(
        name=corpus_model(corpus),
        version=number,
        source=f"ingot://{ref.manifest_key}",
        run_key=ref.identity_digest,
        tags={
            "ingot.corpus": ref.name,
            "ingot.root_digest": ref.root_digest,
            "ingot.content_digest": ref.content_digest,
            "ingot.identity_digest": ref.identity_digest,
            **({"ingot.ledger": str(published.sequence)} if published else {}),
        },
        aliases=(NEWEST,) if number == newest else (),
        kind="corpus",
        description=description(
            found, ref, published, [(f"{name}/{n}", model_address(name, n)) for name, n in trained]
        ),
        about=f"Published versions of the corpus {corpus}; each version's page is its data card.",
    )
