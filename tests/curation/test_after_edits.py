"""What edits make equal is one text: none of it may stand on both sides of the split (CONTRACTS 6)."""

from pathlib import Path

from datasets_pipeline.curate import curate
from datasets_pipeline.parallel import InProcessPool
from ingot import manifest, store_identity
from ingot.config import parse_recipe
from ingot.ledger import Actor
from ingot.parquet import read_table
from ingot.settings import Settings
from ingot.storage import Store

PERSON = Actor("person", "tester", "declared")


def curated(tmp_path: Path, share: float) -> tuple[Store, manifest.Manifest]:
    pages = tmp_path / "pages"
    pages.mkdir()
    for number in range(40):
        (pages / f"{number:02}.txt").write_text(f"For questions write to person{number}@firm.com please, thanks")
    recipe = parse_recipe(
        {
            "corpus": "contacts",
            "sources": [{"source": "folder", "name": "pages", "uri": str(pages)}],
            "rules": [{"rule": "pii", "policy": "redact"}],
            "heldout": {"share": share},
        }
    )
    settings = Settings.from_environment({"INGOT_HOME": str(tmp_path / "home")})
    store = Store(settings.store, scratch_root=settings.scratch)
    store_identity.initialise(store, salt="00" * 16)
    ref = curate(store, recipe, settings, InProcessPool(), actor=PERSON)
    return store, manifest.read(store, ref.corpus, ref.version)


def texts(store: Store, found: manifest.Manifest, split: str) -> list[str]:
    return [
        text
        for shard in found.identity.shards
        if shard.split == split
        for text in read_table(store, f"shards/{shard.sha256}.parquet", columns=["text"])["text"].to_pylist()
    ]


def test_a_text_that_redaction_makes_equal_to_a_held_out_one_leaves_training(tmp_path):
    store, found = curated(tmp_path, share=0.3)
    assert len(texts(store, found, "heldout")) == 1
    assert texts(store, found, "train") == []
    assert found.identity.accounting["dropped.excluded_near_heldout"] == 39


def test_texts_that_redaction_makes_equal_are_kept_once_and_say_in_whose_favour(tmp_path):
    store, found = curated(tmp_path, share=0.0)
    assert texts(store, found, "train") == ["For questions write to <EMAIL> please, thanks"]
    assert found.identity.accounting["dropped.duplicate_after_edit"] == 39
    rows = [
        row
        for entry in found.identity.decisions
        for row in read_table(store, f"decisions/{entry.sha256}.parquet").to_pylist()
        if row["final"] and row["reason"] == "duplicate_after_edit"
    ]
    assert {row["score"] for row in rows} == {1.0}
    assert all(row["other_doc_id"] for row in rows)
