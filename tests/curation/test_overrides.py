"""Overrides: a person's last word on single documents, what it cannot do, and where it is recorded."""

import logging
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingot import ledger, lineage
from ingot.config import parse_recipe
from ingot.errors import RecipeError
from ingot.overrides import Override
from ingot.recipe_files import load_recipe
from interface.answers import explain
from tests.curation.pages import edited, page
from tests.curation.road import Night, Road, small_road

STUB = "# A stub\n\nIt says little, although the harbour is wide and the boats that lie in it are old."
LENGTH = {"rule": "length", "min_words": 40}
WHO = {"reason": "asked by legal", "author": "anna"}


def road_of(folder: Path, documents: dict[str, dict[str, str]], *overrides: dict[str, Any], **sections: Any) -> Road:
    entries = [{**WHO, **override} for override in overrides]
    return small_road(folder, documents, **{"rules": [LENGTH], **sections}, overrides=entries or None)


def explained(road: Road, night: Night, place: str) -> str:
    doc_id = road.outcomes(night)[place]["doc_id"].hex()
    return explain(lineage.trace_document(road.store, doc_id).versions[-1])


def test_a_keep_lifts_the_drop_of_a_rule_and_says_so(tmp_path: Path) -> None:
    road = road_of(tmp_path, {"notes": {"stub.md": STUB, "a.md": page(1)}}, {"uri": "stub.*", "action": "keep"})
    night = road.run()
    row = road.outcomes(night)["notes:stub.md"]
    assert (row["outcome"], row["rule"], row["reason"]) == ("kept", "override", "asked by legal")
    verdicts = [
        (r["outcome"], r["rule"], r["reason"])
        for r in road.decisions(night)
        if r["doc_id"] == row["doc_id"] and not r["final"]
    ]
    assert verdicts == [("dropped", "length", "too_few_words"), ("kept", "override", "asked by legal")]
    assert len(road.shard_rows(night)) == 2
    assert night.manifest.identity.statistics["overrides"] == {"kept": 1, "dropped": 0, "refused": 0}
    text = explained(road, night, "notes:stub.md")
    assert text.startswith("kept by an override of anna (asked by legal) although length says too_few_words (19, thre")


def test_a_drop_owns_what_it_drops_and_stands_in_the_waterfall(tmp_path: Path) -> None:
    documents = {"notes": {"a.md": page(1), "legal/b.md": page(2), "legal/c.md": STUB}, "wiki": {"legal/d.md": page(3)}}
    road = road_of(tmp_path, documents, {"uri": "legal/**", "source": "notes", "action": "drop"})
    night = road.run()
    found = {name: (row["rule"], row["reason"]) for name, row in road.outcomes(night).items()}
    assert found == {
        "notes:a.md": (None, None), "notes:legal/b.md": ("override", "asked by legal"),
        "notes:legal/c.md": ("override", "asked by legal"), "wiki:legal/d.md": (None, None),
    }  # fmt: skip
    assert night.manifest.identity.statistics["waterfall"] == [["override", "asked by legal", 2]]
    assert night.manifest.identity.accounting["dropped"] == 2
    assert explained(road, night, "notes:legal/b.md") == "dropped by an override of anna (asked by legal)"


def test_the_first_override_that_matches_decides_and_an_id_names_one_document(tmp_path: Path) -> None:
    documents = {"notes": {"a.md": page(1), "b.md": page(2)}}
    road = road_of(tmp_path, documents)
    doc_id = road.outcomes(road.run())["notes:a.md"]["doc_id"].hex()
    road.values["overrides"] = [{**WHO, "id": doc_id, "action": "keep"}, {**WHO, "uri": "*.md", "action": "drop"}]
    found = {name: row["outcome"] for name, row in road.outcomes(road.run()).items()}
    assert found == {"notes:a.md": "kept", "notes:b.md": "dropped"}
    road.values["overrides"] = road.values["overrides"][::-1]
    road.values["expectations"] = {"min_documents": 0}
    assert {row["outcome"] for row in road.outcomes(road.run()).values()} == {"dropped"}


def test_a_keep_lifts_a_near_duplicate_and_nothing_of_the_held_out_neighbourhood(tmp_path: Path) -> None:
    original, copy = page(1, sentences=30), edited(page(1, sentences=30), 1)
    road = road_of(tmp_path, {"one": {"a.md": original}, "two": {"b.md": copy}}, {"uri": "b.md", "action": "keep"})
    found = {name: row["outcome"] for name, row in road.outcomes(road.run()).items()}
    assert found == {"one:a.md": "kept", "two:b.md": "kept"}
    road.values["heldout"] = {"share": 0.5}
    night = road.run()
    outcomes = [row["outcome"] for row in road.outcomes(night).values()]
    heldout = [row for row in road.outcomes(night).values() if row["rule"] == "heldout"]
    assert not heldout or "kept" not in outcomes


def test_a_keep_cannot_bring_back_what_access_forbids_or_what_edits_leave_empty(tmp_path: Path) -> None:
    rules = [
        {"rule": "access", "classification": ["public", "unknown"]},
        {"rule": "regex", "patterns": {"all": "(?s).+"}, "action": "delete", "when": {"source": "gone"}},
    ]
    documents = {"secret": {"a.md": page(1)}, "notes": {"b.md": page(2)}, "gone": {"c.md": page(3)}}
    road = road_of(tmp_path, documents, {"uri": "**", "action": "keep"}, rules=rules)
    entries = road.corpus.recipe["sources"]
    classes = {"secret": "secret", "notes": "public", "gone": "public"}
    road.values["sources"] = [{**entry, "classification": classes[entry["name"]]} for entry in entries]
    night = road.run()
    found = {name: (row["outcome"], row["reason"]) for name, row in road.outcomes(night).items()}
    assert found["secret:a.md"] == ("dropped", "classification_not_admitted")
    assert found["gone:c.md"] == ("dropped", "empty_after_edit")
    assert found["notes:b.md"] == ("kept", "asked by legal")
    assert night.manifest.identity.statistics["overrides"] == {"kept": 1, "dropped": 0, "refused": 2}
    refused = [row for row in road.decisions(night) if row["outcome"] == "override_refused"]
    assert {row["rule"] for row in refused} == {"override"} and len(refused) == 2


def test_edits_stay_in_what_is_kept_by_an_override(tmp_path: Path) -> None:
    rules = [LENGTH, {"rule": "pii"}]
    stub = {"stub.md": STUB + "\nMail jo.doe@harbour-office.org."}
    road = road_of(tmp_path, {"notes": stub}, {"uri": "stub.md", "action": "keep"}, rules=rules)
    (row,) = road.shard_rows(road.run())
    assert row["text"].endswith("Mail <EMAIL>.")


def test_an_override_is_part_of_the_identity_and_the_day_of_its_end_is_not(tmp_path: Path) -> None:
    road = road_of(tmp_path, {"notes": {"stub.md": STUB, "a.md": page(1)}})
    without = road.run().digests
    road.values["overrides"] = [{**WHO, "uri": "stub.md", "action": "keep", "until": "2030-01-01"}]
    first = road.run().digests
    road.values["overrides"][0]["until"] = "2031-01-01"
    assert road.run().digests == first != without
    road.values["overrides"][0]["author"] = "ben"
    assert road.run().digests[2] != first[2]
    road.values["overrides"] = None
    assert road.run().digests == without


def test_the_ledger_says_once_who_overrode_what_and_why(tmp_path: Path) -> None:
    road = road_of(tmp_path, {"notes": {"stub.md": STUB, "a.md": page(1)}}, {"uri": "stub.md", "action": "keep"})
    road.run()
    road.corpus.write("notes", "b.md", page(2))
    road.run()
    (entry,) = [entry for entry in ledger.read(road.store) if entry.verb == "overridden"]
    assert entry.subject == f"{road.recipe.corpus}: keep stub.md"
    assert entry.details == {
        "uri": "stub.md", "action": "keep", "reason": "asked by legal", "author": "anna",
        "since": f"{road.recipe.corpus}@1",
    }  # fmt: skip


def test_what_has_ended_is_left_out_with_a_message(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = tmp_path / "recipe.yaml"
    drop = {**WHO, "action": "drop"}
    entries = [{**drop, "uri": "a.md", "until": "2026-11-27"}, {**drop, "uri": "b.md"}]
    values = {"corpus": "x", "sources": [{"source": "folder", "name": "n", "uri": "."}], "overrides": entries}
    recipe.write_text(yaml.safe_dump(values))
    with caplog.at_level(logging.WARNING):
        assert [o.uri for o in load_recipe(recipe, today=date(2026, 11, 27)).overrides or []] == ["a.md", "b.md"]
        assert not caplog.records
        assert [o.uri for o in load_recipe(recipe, today=date(2026, 11, 28)).overrides or []] == ["b.md"]
    assert "override 0 (a.md, by anna) ended on 2026-11-27 and is ignored" in caplog.text


@pytest.mark.parametrize(
    "entry",
    [
        {**WHO, "action": "keep"}, {**WHO, "action": "keep", "id": "0" * 32, "uri": "a"},
        {**WHO, "action": "keep", "id": "0" * 32, "source": "n"}, {**WHO, "action": "keep", "uri": "/a"},
        {**WHO, "action": "lift", "uri": "a"}, {"action": "keep", "uri": "a", "author": "anna"},
        {"action": "keep", "uri": "a", "reason": "so"}, {**WHO, "action": "keep", "uri": "a", "until": "soon"},
        {**WHO, "action": "keep", "uri": "a", "source": "unheard of"},
        {"action": "keep", "uri": "a", "author": "anna", "reason": "one\nline"},
    ],
)  # fmt: skip
def test_an_override_that_names_nothing_or_nobody_is_refused(entry: dict[str, Any], tmp_path: Path) -> None:
    sources = [{"source": "folder", "name": "n", "uri": str(tmp_path)}]
    with pytest.raises(RecipeError, match=r"^overrides\.0"):
        parse_recipe({"corpus": "x", "sources": sources, "overrides": [entry]})


def test_no_rule_may_take_the_name(tmp_path: Path) -> None:
    sources = [{"source": "folder", "name": "n", "uri": str(tmp_path)}]
    with pytest.raises(RecipeError, match="is a name of Ingot's own decisions"):
        parse_recipe({"corpus": "x", "sources": sources, "rules": [{**LENGTH, "id": "override"}]})


def test_the_digest_leaves_the_day_out() -> None:
    one = Override(uri="a", action="keep", **WHO)
    assert one.digest == Override(uri="a", action="keep", until=date(2030, 1, 1), **WHO).digest
