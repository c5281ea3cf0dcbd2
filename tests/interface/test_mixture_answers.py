"""A model of a mixture names all its corpora, and a document of an old corpus the models that read it, how often."""

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ingot import evidence, ledger, lineage, manifest, model_versions, verify_pack
from ingot.digests import sha256_hex
from ingot.manifest import ref_of
from ingot.model_card import card, card_markdown
from ingot.model_versions import ModelVersion
from ingot.refs import MixtureRef, TokenShard, TokensRef
from ingot.storage import Store
from interface.answers import print_document, print_model, with_reads
from interface.audit_pack import audit_pack
from interface.output import Printer
from interface.trace_page import document_page, model_page
from tasks.evaluation import seen_in_training
from tasks.registered_corpora import corpus_record
from tasks.training import corpora_read
from tests.base.tiny_store import ACTOR, RECIPE, TinyStore, _shard, build, digest_of, doc_id
from training.batches import data_digest
from training.checkpoints import CheckpointManifest, save_checkpoint
from training.data_parts import DataPart
from training.mixtures import sampler_of

T = 4


def tokens_by(store: Store, number: int, own: TokensRef) -> TokensRef:
    """Token files of a version by the tokenizer of another: seven tokens a text."""
    found = manifest.read(store, "handbook", number)
    shards = []
    for shard in found.identity.shards:
        if shard.split == "train":
            base = f"tokens/{own.tokenizer_digest}/old-{shard.sha256}"
            ids = np.arange(7 * shard.rows, dtype="<u2").tobytes()
            offsets = np.arange(0, 7 * shard.rows + 1, 7, dtype="<u8").tobytes()
            store.put_bytes(f"{base}.bin", ids)
            store.put_bytes(f"{base}.idx", offsets)
            shards.append(
                TokenShard(
                    bin_key=f"{base}.bin", bin_sha256=sha256_hex(ids), idx_key=f"{base}.idx",
                    idx_sha256=sha256_hex(offsets), shard_sha256=shard.sha256, num_tokens=7 * shard.rows,
                    num_documents=shard.rows, dtype="uint16",
                )
            )  # fmt: skip
    counts = {name: sum(getattr(s, name) for s in shards) for name in ("num_tokens", "num_documents")}
    root = found.identity.root_digest
    made = own.model_copy(
        update={"corpus": f"handbook@{number}", "corpus_root_digest": root, "shards": tuple(shards), **counts}
    )
    store.put_if_absent(f"tokens/{own.tokenizer_digest}/{root}.train.json", made.model_dump(mode="json",
                                                                                           exclude={"corpus"}))
    return made


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyStore:
    """The tiny store with a third version of mini: three parts of handbook@2 and one of handbook@1."""
    folder = tmp_path_factory.mktemp("mixture")
    tiny = build(folder / "store", folder / "sources")
    store = tiny.store
    key = next(k for k in store.list("tokens/") if k.endswith(".json") and root_of(store, 2) in k)
    own = TokensRef.model_validate({"corpus": "handbook@2", **store.read_record(key)})
    old = tokens_by(store, 1, own)
    data = MixtureRef(parts=(own, old))
    parts = [DataPart(corpus="this", weight=3), DataPart(corpus="handbook@1")]
    sampler = sampler_of(data, parts, seed=1, sequence_length=T, rows_per_step=4, total_steps=8)
    made = CheckpointManifest(
        fingerprint="d" * 64, step=8, total_steps=8, tokens_seen=8 * 4 * T, num_parameters=1000, milestone="final",
        files=(), recipe_digest=digest_of(RECIPE), data_digest=data_digest(data),
        tokenizer_digest=own.tokenizer_digest, corpus=data.corpus, start=None, sampler=sampler.record(),
        environment={}, exact=True,
    )  # fmt: skip
    with store.scratch() as place:
        checkpoint = save_checkpoint(store, place, made)
    corpus = ref_of(manifest.read(store, "handbook", 2), 2)
    rows = [{"corpus": "handbook@2", "tokens_key": key},
            {"corpus": "handbook@1", "tokens_key": f"tokens/{own.tokenizer_digest}/{root_of(store, 1)}.train.json"}]
    run = {"run_key": "d" * 64, "name": "mini 3", "experiment": "training", "start_time_ms": 1, "datasets": []}
    assert store.put_if_absent(f"runs/{'d' * 64}.json", run)
    model_versions.register(
        store, "mini", checkpoint_fingerprint="d" * 64, checkpoint_key=checkpoint.key,
        checkpoint_digest=checkpoint.manifest_sha256,
        evidence={"corpus_identity": corpus.identity_digest, "corpus_root_digest": corpus.root_digest,
                  "tokenizer": own.tokenizer_digest, "recipe": digest_of(RECIPE)},
        details={"corpus": "handbook@2", "run": "d" * 64, "recipe_digest": digest_of(RECIPE), "recipe": RECIPE,
                 "code": {}, "num_tokens": own.num_tokens, "tokens_key": key, "mixture": rows,
                 "corpora": corpora_read(store, corpus, checkpoint), "tokens_seen": 128, "num_parameters": 1000},
        actor=ACTOR,
    )  # fmt: skip
    return tiny


def root_of(store: Store, number: int) -> str:
    return manifest.read(store, "handbook", number).identity.root_digest


def third(tiny: TinyStore) -> ModelVersion:
    return model_versions.resolve(tiny.store, "mini/3")


def test_a_model_names_all_its_corpora_with_tokens_and_epochs_of_each(
    tiny: TinyStore, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = lineage.trace_model(tiny.store, "mini/3")
    assert [(row["corpus"], row["tokens"], row["tokens_read"]) for row in answer["corpora"]] == [
        ("handbook@2", 30, 96), ("handbook@1", 14, 32),
    ]  # fmt: skip
    # Seven windows of four tokens in thirty, three in fourteen; 24 rows and 8.
    assert [row["epochs"] for row in answer["corpora"]] == [round(24 / 7, 4), round(8 / 3, 4)]
    print_model(answer, Printer(as_json=False))
    told = capsys.readouterr().out
    assert "trained on handbook@2: 3 documents, 30 tokens, 96 read (3.43 epochs)" in told
    assert "trained on handbook@1: 2 documents, 14 tokens, 32 read (2.67 epochs)" in told
    assert "handbook@1: wiki" in told


def test_a_document_of_the_old_corpus_names_the_model_and_how_often_it_was_read(
    tiny: TinyStore, capsys: pytest.CaptureFixture[str]
) -> None:
    found = with_reads(tiny.store, lineage.trace_document(tiny.store, doc_id("guide/install.md").hex()))
    model = next(m for m in found.models if m["version"] == 3)
    assert model["role"] == "trained on it" and model["corpora"] == ["handbook@2", "handbook@1"]
    assert set(model["read"]["corpora"]) == {"handbook@1", "handbook@2"}
    # Two or three epochs of three windows: of the old corpus's last document the five tokens inside the last one.
    assert 2 * 5 / 7 <= model["read"]["corpora"]["handbook@1"] <= 3 * 5 / 7
    assert 2 < model["read"]["corpora"]["handbook@2"] <= 4
    print_document(found, Printer(as_json=False))
    told = capsys.readouterr().out
    assert "model mini/3: trained on it, read " in told and "times from handbook@1" in told
    # A checkpoint older than sampler records tells nothing of how often, and everything else.
    assert "model mini/2: trained on it\n" in told


def test_a_document_of_the_new_corpus_alone_was_read_from_there_alone(tiny: TinyStore) -> None:
    found = with_reads(tiny.store, lineage.trace_document(tiny.store, doc_id("guide/cleaning.md").hex()))
    model = next(m for m in found.models if m["version"] == 3)
    assert model["corpora"] == ["handbook@2"] and list(model["read"]["corpora"]) == ["handbook@2"]


def test_the_pages_and_the_card_show_every_corpus(tiny: TinyStore) -> None:
    version, entries = third(tiny), ledger.read(tiny.store)
    made = card(tiny.store, version, entries)
    page = model_page(tiny.store, version, made, entries)
    assert "Why documents of handbook@1 were dropped" in page and "3.43" in page and "2.67" in page
    described = card_markdown(made)
    assert "Trained on **handbook@1**" in described and "32 read (2.67 epochs)" in described
    assert {row["name"]: row["tokens"] for row in made["licences"]} == version.tokens_of("licence") == {"internal": 44}
    found = with_reads(tiny.store, lineage.trace_document(tiny.store, doc_id("guide/install.md").hex()))
    assert "handbook@2, handbook@1" in document_page("install", [found], [])
    record = corpus_record(tiny.store, "handbook", 1, entries)
    assert "mini/3" in record.description and "mini/1" in record.description


def test_what_is_read_before_an_approval_names_all_corpora(tiny: TinyStore) -> None:
    changes = evidence._changes(
        evidence._corpus(tiny.store, third(tiny)), evidence._corpus(tiny.store, third(tiny)),
        model_versions.resolve(tiny.store, "mini/2"), third(tiny),
    )  # fmt: skip
    told = {change.what: (change.before, change.after) for change in changes}
    assert told["tokens read of handbook@1"] == (0, 32) and told["tokens read of handbook@2"] == (0, 96)
    assert third(tiny).corpora_words == "handbook@2 + handbook@1"


def test_what_a_replayed_corpus_trains_on_is_left_out_where_the_gate_compares(tmp_path: Path) -> None:
    store = build(tmp_path / "store", tmp_path / "sources").store
    # An older corpus that did not hold the safety page out, as another share of held-out documents would make it.
    shards = [_shard(store, "train", ["blog/first-week.md", "guide/safety.md"])]
    identity = manifest.read(store, "handbook", 1).identity
    old = identity.model_copy(update={"corpus": "old", "shards": shards, "root_digest": manifest.root_digest(shards)})
    assert manifest.publish(store, old, {}, 1)
    version = model_versions.resolve(store, "mini/2")
    held_out = {doc_id("guide/safety.md").hex()}
    assert seen_in_training(store, version, held_out) == frozenset()
    rows = [*version.corpora, {**version.corpora[0], "corpus": "old@1", "root_digest": old.root_digest}]
    mixed = replace(version, details={**version.details, "corpora": rows})
    assert seen_in_training(store, mixed, held_out) == held_out


def test_the_audit_pack_of_a_mixture_holds_together_and_a_changed_token_list_is_found(
    tiny: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, _ = audit_pack(tiny.store, third(tiny))
    place = tmp_path / "pack.zip"
    place.write_bytes(data)
    assert verify_pack.main([str(place)]) == 0, capsys.readouterr().out
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert {"tokens/handbook@1.json", "tokens/handbook@2.json", "corpora/handbook@1.json"} <= set(files)
    files["tokens/handbook@1.json"] = files["tokens/handbook@2.json"]
    packed = json.loads(files["pack.json"])
    packed["files"]["tokens/handbook@1.json"] = packed["files"]["tokens/handbook@2.json"]
    files["pack.json"] = json.dumps(packed).encode()
    with zipfile.ZipFile(place, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    assert verify_pack.main([str(place)]) == 1
    assert "tokens/handbook@1.json was changed: its seal does not hold" in capsys.readouterr().out
