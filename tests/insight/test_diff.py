"""The difference of two versions: every document that came or went, with the reason that the nights gave it."""

import json
from pathlib import Path

import pytest

from datasets_pipeline.insight.diff import (
    GONE,
    NEW,
    NEW_TEXT,
    NOW_HELD_OUT,
    SOURCE_LEFT,
    SUPERSEDED,
    WAS_HELD_OUT,
    Diff,
    diff,
)
from datasets_pipeline.insight.diff_page import diff_page
from ingot import manifest
from ingot.errors import HeldError, NotFoundError
from interface.cli import main
from tests.curation.pages import ADDRESS, edited, page
from tests.curation.road import Road, small_road


def between(road: Road, first: str, second: str, **options: int) -> Diff:
    return diff(
        road.store, manifest.read_named(road.store, first), manifest.read_named(road.store, second), **options
    )


def kept(road: Road, version: int) -> dict[bytes, dict[str, object]]:
    found = manifest.read(road.store, "harbour", version)
    rows = {}
    for part in found.identity.decisions:
        from ingot.parquet import read_table

        for row in read_table(road.store, f"decisions/{part.sha256}.parquet").to_pylist():
            if row["final"] and row["outcome"] == "kept":
                rows[row["doc_id"]] = row
    return rows


def test_each_document_is_counted_once_with_what_happened_to_it(tmp_path: Path) -> None:
    pages = {f"{n:03}.md": page(n) for n in range(40)}
    road = small_road(tmp_path, {"wiki": pages, "old": {"a.md": page(300), "b.md": page(301)}})
    road.values["rules"] = [{"rule": "length", "min_words": 20}, {"rule": "pii"}]
    road.run()
    wiki = road.corpus
    wiki.write("wiki", "000.md", page(500))  # another text at the same place
    wiki.path("wiki", "001.md").unlink()
    wiki.write("wiki", "new.md", page(501))
    wiki.write("wiki", "002.md", bytes(range(256)) * 9)  # cannot be read any more
    wiki.write("wiki", "copy.md", edited(page(3), 9, share=0.01) + " And so on, and on, and on.")  # 003 yields to it
    wiki.write("wiki", "004.md", page(4) + f"\n\nAsk {ADDRESS}.\n")
    sources = [entry for entry in road.corpus.recipe["sources"] if entry["name"] == "wiki"]
    road.values |= {"sources": sources, "rules": [{"rule": "length", "min_words": 25}, {"rule": "pii"}]}
    road.run()
    answer = between(road, "harbour@1", "harbour@2")
    was, now = kept(road, 1), kept(road, 2)
    assert sum(answer.came.values()) == len(now.keys() - was.keys())
    assert sum(answer.went.values()) == len(was.keys() - now.keys())
    assert answer.came == {NEW: 2, NEW_TEXT: 2}
    assert answer.went == {
        SOURCE_LEFT: 2, SUPERSEDED: 2, GONE: 1, "its file cannot be read: not_text": 1,
        "dropped by dedup.near: near_duplicate": 1,
    }  # fmt: skip
    assert answer.recipe["rules.length.min_words"] == [20, 25] and answer.recipe["sources.old"] == ["folder", None]
    assert answer.versions == {} or set(answer.versions) == {"extract"}
    assert answer.groups["source"]["old"] == {"before": 2, "came": 0, "went": 2, "after": 0}
    assert answer.documents["kept"] == [len(was), len(now)]
    examples = {(e["why"], e["uri"]): e for e in answer.examples}
    lost = examples["dropped by dedup.near: near_duplicate", "003.md"]
    (winner,) = [row["doc_id"] for row in now.values() if row["uri"] == "copy.md"]
    assert lost["other_doc_id"] == winner.hex()
    superseded = examples[SUPERSEDED, "000.md"]
    assert bytes.fromhex(superseded["other_doc_id"]) in now
    text = diff_page(answer)
    assert SUPERSEDED in text and "rules.length.min_words" in text and ADDRESS not in text


def test_a_changed_rule_lets_some_in_and_drops_others_by_name(road: Road) -> None:
    road.values["heldout"] = {"share": 0.0}
    road.run()
    rules = [{**rule, "keep": ["en", "de"]} if rule["rule"] == "language" else rule
             for rule in road.corpus.recipe["rules"] if rule["rule"] != "length"]  # fmt: skip
    road.values["rules"] = [*rules, {"rule": "length", "id": "short", "max_words": 220}]
    road.run()
    answer = between(road, "harbour@1", "harbour")
    was, now = kept(road, 1), kept(road, 2)
    assert answer.came["was dropped by language: language_not_kept"] == 1
    assert answer.went == {"dropped by short: too_many_words": len(was.keys() - now.keys())} and answer.went
    assert answer.recipe["order of the rules"][1][-1] == "short"
    assert answer.rules["language: language_not_kept"] == [1, 0]


def test_documents_that_are_held_out_now_are_not_lost(tmp_path: Path) -> None:
    road = small_road(tmp_path, {"wiki": {f"{n:03}.md": page(n) for n in range(60)}})
    road.run()
    road.values["heldout"] = {"share": 0.2}
    road.run()
    answer = between(road, "harbour@1", "harbour@2")
    assert set(answer.went) == {NOW_HELD_OUT} and answer.came == {}
    assert between(road, "harbour@2", "harbour@1").came == {WAS_HELD_OUT: answer.went[NOW_HELD_OUT]}


def test_changed_edits_are_counted_and_the_rest_is_shared(tmp_path: Path) -> None:
    pages = {f"{n:03}.md": page(n) for n in range(60)} | {"with.md": page(99) + f"\nAsk {ADDRESS} at 10.0.0.7.\n"}
    road = small_road(tmp_path, {"wiki": pages}, rules=[{"rule": "pii"}])
    road.run()
    road.values["rules"] = [{"rule": "pii", "reserved": True}]
    road.run()
    answer = between(road, "harbour@1", "harbour@2")
    assert (answer.came, answer.went) == ({}, {}) and answer.changed == {"edits": 1, "reason": 0}
    assert answer.shards["shared"] > 0 and answer.shards["only_second"] == answer.shards["only_first"] == 1
    assert between(road, "harbour@1", "harbour@1").is_same


def test_a_version_that_was_held_back_is_compared_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    road = small_road(tmp_path, {"wiki": {f"{n:03}.md": page(n, sentences=4) for n in range(120)}})
    road.run()
    for n in range(70):
        road.corpus.path("wiki", f"{n:03}.md").unlink()
    with pytest.raises(HeldError):
        road.run()
    answer = between(road, "harbour", "harbour@held/2")
    assert answer.went == {GONE: 70} and answer.second == "harbour@held/2"
    assert len(answer.examples) == 10
    with pytest.raises(NotFoundError, match="write harbour@held/2"):
        between(road, "harbour@1", "harbour@2")
    with pytest.raises(NotFoundError, match="held back: harbour@held/2"):
        between(road, "harbour@1", "harbour@held/7")
    monkeypatch.setenv("INGOT_STORE", road.store.root)
    monkeypatch.setenv("INGOT_HOME", str(tmp_path / "home"))
    place = tmp_path / "diff.html"
    assert main(["diff", "harbour@1", "harbour@held/2", "--html", str(place)]) == 0
    told = capsys.readouterr().out
    assert "0 documents came and 70 went" in told and GONE in told
    assert "<svg" in place.read_text()
    assert main(["diff", "harbour@1", "harbour@held/2", "--json", "--limit", "2"]) == 0
    assert len(json.loads(capsys.readouterr().out)["examples"]) == 2
