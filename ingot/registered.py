"""Model and corpus versions as MLflow's registry shows them, made from the store and the ledger.

A corpus version is a version of the registered model `corpus-<name>`, so that it is found where models are
found. Both come with a card as their description; a tag `ingot.kind` tells them apart.
"""

from collections.abc import Sequence

from ingot import ledger, model_versions, tracking_versions
from ingot.ledger import Entry
from ingot.model_card import card, card_markdown, verdict_of
from ingot.model_versions import ModelVersion
from ingot.storage import Store
from ingot.tracking_records import VersionRecord

NEWEST = "newest"
"""Alias of the newest version of a corpus; MLflow keeps `latest` for itself."""


def corpus_model(corpus: str) -> str:
    """The name of a corpus in MLflow's registry."""
    return f"corpus-{corpus}"


def corpus_address(corpus: str, number: int) -> str:
    """The page of a corpus version, relative to any page of MLflow."""
    return f"#/models/{corpus_model(corpus)}/versions/{number}"


def model_address(model: str, number: int) -> str:
    """The page of a model version, relative to any page of MLflow."""
    return f"#/models/{model}/versions/{number}"


def model_record(store: Store, version: ModelVersion, entries: Sequence[Entry] | None = None) -> VersionRecord:
    """A model version with its tags, aliases and card, as the ledger tells them now."""
    entries = ledger.read(store) if entries is None else list(entries)
    verdict = verdict_of(store, list(entries), version)
    judged = (
        {"ingot.verdict": verdict["verdict"], "ingot.bits_per_byte": f"{verdict['bits_per_byte']:.4f}"}
        if verdict
        else {}
    )
    return VersionRecord(
        name=version.name,
        version=version.version,
        source=f"ingot://{version.checkpoint_key}",
        run_key=version.checkpoint_fingerprint,
        tags={
            "ingot.checkpoint": version.evidence["checkpoint"],
            "ingot.corpus": version.details["corpus"],
            "ingot.corpus_root_digest": version.evidence["corpus_root_digest"],
            "ingot.recipe_digest": version.details["recipe_digest"],
            "ingot.ledger": str(version.registered.sequence),
            **judged,
        },
        aliases=tuple(model_versions.aliases_of(store, version, entries)),
        description=card_markdown(card(store, version, entries), corpus_address),
        about="Trained models; each version's page is its card.",
    )


def show_again(store: Store, tracking_uri: str, model: str) -> None:
    """Write the pages of the versions that the last move of a champion concerns: the new one and the one before.

    Call it after every record that moves a champion. Raises ServiceError when MLflow does not answer.
    """
    entries = ledger.read(store)
    move = next((e for e in entries if e.sequence == model_versions.last_move(entries, model)), None)
    concerned = {move.details.get("version"), move.details.get("previous")} if move else set()
    for version in model_versions.versions_of(store, model, entries):
        if version.version in concerned:
            tracking_versions.register_model_version(tracking_uri, model_record(store, version, entries))
