"""Every question about a document or a model has an answer, from the store alone."""

from pathlib import Path

import pytest

from ingot import ledger, lineage, model_versions
from ingot.digests import sha256_hex
from ingot.errors import NotFoundError
from ingot.parquet import read_table
from ingot.storage import Store
from tests.base.tiny_store import ACTOR, TEXTS, TinyStore, build, doc_id


def hex_id(uri: str) -> str:
    return doc_id(uri).hex()


def promote(store: Store, version: int, verb: str = "promoted") -> None:
    model = model_versions.resolve(store, f"mini/{version}")
    ledger.append(
        store, actor=ACTOR, verb=verb, subject=model.subject, subject_digest=model.evidence["checkpoint"],
        evidence={}, attempt=f"{verb} {version}", details={"model": "mini", "version": version},
    )  # fmt: skip


def test_a_kept_document_is_traced_to_its_place_its_shards_and_its_models(built_store: TinyStore) -> None:
    trace = lineage.trace_document(built_store.store, hex_id("guide/install.md"))
    (occurrence,) = trace.occurrences
    assert (occurrence["source"], occurrence["uri"], occurrence["state"]) == ("wiki", "guide/install.md", "open")
    assert (occurrence["licence"], occurrence["extractor"]) == ("internal", "markdown")
    assert [(v["version"], v["outcome"], v["split"]) for v in trace.versions] == [
        (1, "kept", "train"),
        (2, "kept", "train"),
    ]
    assert [(m["model"], m["version"], m["role"]) for m in trace.models] == [
        ("mini", 1, "trained on it"), ("mini", 2, "trained on it"),
    ]  # fmt: skip
    shard = trace.versions[0]["shard"]
    table = read_table(built_store.store, f"shards/{shard}.parquet")
    assert table["uri"][trace.versions[0]["row"]].as_py() == "guide/install.md"


def test_a_dropped_document_names_rule_reason_numbers_and_the_one_that_was_kept(built_store: TinyStore) -> None:
    trace = lineage.trace_document(built_store.store, hex_id("guide/install-copy.md"))
    version = trace.versions[0]
    assert (version["outcome"], version["rule"], version["reason"]) == ("dropped", "near_duplicate", "duplicate")
    assert (version["score"], version["threshold"]) == (0.875, 0.8)
    assert version["other_doc_id"] == hex_id("guide/install.md")
    assert version["other_uri"] == "guide/install.md"
    assert "shard" not in version
    assert trace.models == []


def test_a_held_out_document_measured_models_and_trained_none(built_store: TinyStore) -> None:
    trace = lineage.trace_document(built_store.store, hex_id("guide/safety.md"))
    assert {v["outcome"] for v in trace.versions} == {"heldout"}
    assert {v["split"] for v in trace.versions} == {"heldout"}
    assert {m["role"] for m in trace.models} == {"measured with it"}


def test_a_newer_document_is_in_the_newer_version_and_model_only(built_store: TinyStore) -> None:
    trace = lineage.trace_document(built_store.store, hex_id("guide/cleaning.md"))
    assert [v["version"] for v in trace.versions] == [2]
    assert [m["version"] for m in trace.models] == [2]


def test_a_trace_holds_no_text(built_store: TinyStore) -> None:
    for uri, text in TEXTS.items():
        assert text[:20] not in repr(lineage.trace_document(built_store.store, hex_id(uri)))


def test_an_unknown_id_is_not_found_and_named(built_store: TinyStore) -> None:
    with pytest.raises(NotFoundError, match="document ffffffffffffffffffffffffffffffff is not known"):
        lineage.trace_document(built_store.store, "f" * 32)


@pytest.mark.parametrize(
    "query", ["guide/install.md", "wiki:guide/install.md", "install.md", hex_id("guide/install.md").upper()]
)
def test_a_document_is_found_by_uri_by_its_end_and_by_id(built_store: TinyStore, query: str) -> None:
    ids, _ = lineage.find_documents(built_store.store, query)
    assert ids == [hex_id("guide/install.md")]


def test_a_document_is_found_by_the_file_it_was_read_from_or_a_copy_of_it(
    built_store: TinyStore, tmp_path: Path
) -> None:
    for file in (built_store.sources / "guide/safety.md", tmp_path / "renamed.txt"):
        file.write_text(TEXTS["guide/safety.md"])
        ids, files = lineage.find_documents(built_store.store, str(file))
        assert ids == [hex_id("guide/safety.md")]
        assert [row["uri"] for row in files] == ["guide/safety.md"]


def test_a_file_of_the_same_name_in_another_folder_is_not_the_document(
    built_store: TinyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "guide/safety.md"
    other.parent.mkdir()
    other.write_text("Quite another text.")
    monkeypatch.chdir(tmp_path)
    for query in (str(other), "guide/safety.md"):
        with pytest.raises(NotFoundError, match="this one is a file here, so write SOURCE:URI"):
            lineage.find_documents(built_store.store, query)
    assert lineage.find_documents(built_store.store, "wiki:guide/safety.md")[0] == [hex_id("guide/safety.md")]


def test_a_file_that_changed_since_it_was_read_is_still_known_by_its_place(tmp_path: Path) -> None:
    own = build(tmp_path / "store", tmp_path / "sources")
    file = own.sources / "guide/safety.md"
    file.write_text("Changed after the night.")
    (tmp_path / "link").symlink_to(own.sources)
    for query in (file, file.parent / "../guide/safety.md", tmp_path / "link/guide/safety.md"):
        ids, _ = lineage.find_documents(own.store, str(query))
        assert ids == [hex_id("guide/safety.md")]


def test_a_place_is_known_however_the_recipe_spells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/maria")
    for spelling in ("~/notes", "~/notes/", "/home/maria/notes", "/home/maria/notes/", "file:///home/maria/notes"):
        assert sha256_hex(spelling.encode()) in lineage._place_digests("/home/maria/notes")
    assert sha256_hex(b"/home/maria/note") not in lineage._place_digests("/home/maria/notes")


@pytest.mark.parametrize("query", ["nowhere.md", "nstall.md", "blog:guide/install.md", ""])
def test_what_no_source_lists_is_not_found_and_the_ways_to_ask_are_named(built_store: TinyStore, query: str) -> None:
    with pytest.raises(NotFoundError, match=r"give a document id \(32 hex digits\), a uri"):
        lineage.find_documents(built_store.store, query)


@pytest.mark.parametrize(("query", "version"), [("mini", 2), ("mini@candidate", 2), ("mini@latest", 2), ("mini/1", 1)])
def test_a_model_is_traced_by_name_alias_and_number(built_store: TinyStore, query: str, version: int) -> None:
    trace = lineage.trace_model(built_store.store, query)
    assert (trace["model"], trace["version"]) == ("mini", version)
    (corpus,) = trace["corpora"]
    assert corpus["corpus"] == f"handbook@{version}"
    assert corpus["documents"] == {1: 2, 2: 3}[version]
    assert [source["source"] for source in trace["sources"]] == ["wiki"]
    assert trace["sources"][0]["tokens"] == trace["licences"][0]["tokens"] == 10 * corpus["documents"]
    assert corpus["tokens"] == 10 * corpus["documents"]
    assert trace["licences"][0]["licence"] == "internal"
    assert trace["ledger"][0]["verb"] == "registered" and trace["ledger"][0]["by"] == "maria"
    assert trace["aliases"] == (["candidate"] if version == 2 else [])
    assert [entry["verb"] for entry in trace["ledger"]] == ["registered", "gated"][:version]


def test_a_champion_before_the_first_promotion_is_not_found_with_the_way_to_make_one(built_store: TinyStore) -> None:
    with pytest.raises(NotFoundError, match=r"mini has no champion yet; run `ingot promote mini/2`"):
        lineage.trace_model(built_store.store, "mini@champion")


def test_the_champion_is_the_last_one_promoted_or_rolled_back_to(tiny: TinyStore) -> None:
    for version, verb in ((1, "promoted"), (2, "promoted"), (1, "rolled_back")):
        promote(tiny.store, version, verb)
        trace = lineage.trace_model(tiny.store, "mini@champion")
        assert trace["version"] == version and "champion" in trace["aliases"]
    assert trace["ledger"][-1]["verb"] == "rolled_back"
    models = lineage.trace_document(tiny.store, hex_id("guide/install.md")).models
    assert [m["champion"] for m in models] == [True, False]


@pytest.mark.parametrize("query", ["mini/3", "mini/0", "mini/x", "mini@best", "mini/"])
def test_a_version_that_is_not_there_is_not_found_with_what_there_is(built_store: TinyStore, query: str) -> None:
    with pytest.raises(NotFoundError, match="mini has versions 1 to 2, candidate and champion"):
        lineage.trace_model(built_store.store, query)


def test_a_model_that_is_not_there_is_not_found_with_those_there_are(built_store: TinyStore, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="model 'maxi' does not exist in .*; known: mini"):
        lineage.trace_model(built_store.store, "maxi")
    with pytest.raises(NotFoundError, match="known: none yet; run `ingot build`"):
        lineage.trace_model(Store(str(tmp_path / "empty")), "maxi")


def test_the_same_checkpoint_keeps_its_number(tiny: TinyStore) -> None:
    known = model_versions.resolve(tiny.store, "mini/1")
    again = model_versions.register(
        tiny.store, "mini", checkpoint_fingerprint=known.checkpoint_fingerprint, checkpoint_key=known.checkpoint_key,
        checkpoint_digest=known.evidence["checkpoint"], evidence={}, details={}, actor=ACTOR,
    )  # fmt: skip
    assert again == known
    assert len(ledger.read(tiny.store)) == 5


def test_damage_of_one_version_hides_nothing_of_the_others(tmp_path: Path) -> None:
    tiny = build(tmp_path / "store", tmp_path / "sources")
    found = lineage.manifest.read(tiny.store, "handbook", 1)
    for entry in found.identity.decisions:
        (tiny.root / f"decisions/{entry.sha256}.parquet").unlink()
    trace = lineage.trace_document(tiny.store, hex_id("guide/cleaning.md"))
    kept = {entry.sha256 for entry in lineage.manifest.read(tiny.store, "handbook", 2).identity.decisions}
    gone = {entry.sha256 for entry in found.identity.decisions}
    assert trace.occurrences and set(trace.unreadable) <= {"handbook@1", "handbook@2"}
    assert ("handbook@2" in trace.unreadable) == bool(kept & gone)


def test_a_place_inside_a_file_is_found_as_answers_print_it(tmp_path: Path) -> None:
    from tests.curation.road import small_road

    road = small_road(tmp_path, {"tickets": {"all.jsonl": '{"id": 7, "text": "the seventh of all tickets"}\n'}})
    road.corpus.recipe["sources"][0] |= {"source": "jsonl", "key": "id"}
    (row,) = road.decisions(road.run())
    for query in ("all.jsonl/7", "tickets:all.jsonl/7", "tickets: all.jsonl/7"):
        assert lineage.find_documents(road.store, query)[0] == [row["doc_id"].hex()]
    with pytest.raises(NotFoundError):
        lineage.find_documents(road.store, "tickets:all.jsonl/8")
