"""The books of every run (CONTRACTS 2): nothing is lost between a file that was seen and a final decision."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.curation.pages import ADDRESS, Corpus, edited, page
from tests.curation.road import Night, Road, small_road

BASQUE = (
    "---\nlang: eu\n---\n# Portua\n\nPortuko zaindaria goizean goiz iristen da eta itsasontzi guztien izenak idazten "
    "ditu bere koadernoan. Gero biltegietara joaten da, ateak ondo itxita dauden begiratzera, eta langileekin hitz "
    "egiten du. Eguraldi txarra dagoenean bulegoan gelditzen da eta gutunak ordenatzen ditu lasai.\n"
)


def check_books(road: Road, night: Night) -> None:
    """Everything that must add up in any run."""
    for counts in night.files.values():
        assert counts["seen"] == counts["read"] + counts["unchanged"] + counts["quarantined"]
        assert counts["opened"] <= counts["seen"]
    for source, reasons in night.reasons.items():
        assert sum(reasons.values()) == night.files[source]["quarantined"]
    identity = night.manifest.identity
    books = identity.accounting
    dropped = {name.removeprefix("dropped."): num for name, num in books.items() if name.startswith("dropped.")}
    assert books["dropped"] == sum(dropped.values())
    assert books["documents"] == books["kept"] + books["heldout"] + books["dropped"]

    rows = road.decisions(night)
    finals = [row for row in rows if row["final"]]
    assert len(finals) == len({row["doc_id"] for row in rows}) == books["documents"]
    assert sum(row["num_occurrences"] for row in finals) == books["occurrences"]
    assert Counter(row["outcome"] for row in finals) == {
        name: books[name] for name in ("kept", "heldout", "dropped") if books[name]
    }
    assert Counter(row["reason"] for row in finals if row["outcome"] == "dropped") == dropped

    in_shards = {"train": "kept", "heldout": "heldout"}
    for split, outcome in in_shards.items():
        written = [row["doc_id"] for row in road.shard_rows(night, split)]
        assert len(written) == len(set(written))
        assert set(written) == {row["doc_id"] for row in finals if row["outcome"] == outcome}
    assert sum(num for _, _, num in identity.statistics["waterfall"]) == books["dropped"]
    for group in ("source", "language", "licence", "media_type"):
        table = identity.statistics[group].values()
        for column, total in (("documents", "documents"), ("kept", "kept"), ("heldout", "heldout")):
            assert sum(row[column] for row in table) == books[total]


def test_the_books_balance_on_every_night(corpus: Corpus, tmp_path: Path) -> None:
    road = Road(corpus, tmp_path / "road")
    source, other = (entry["name"] for entry in corpus.recipe["sources"][:2])
    first = road.run()
    kept = [row["uri"] for row in road.outcomes(first).values() if (row["outcome"], row["source"]) == ("kept", source)]
    pages = [corpus.path(source, uri) for uri in kept if not uri.startswith("odd/")]
    check_books(road, first)
    corpus.write(other, "copy.md", pages[0].read_bytes())
    corpus.write(other, "nearly.md", edited(pages[1].read_text(), 1))
    corpus.write(other, "broken.md", bytes(range(256)) * 9)
    pages[2].unlink()
    pages[3].write_text(edited(pages[3].read_text(), 2))
    night = road.run()
    check_books(road, night)
    assert night.files[other]["read"] == 2 and night.files[other]["quarantined"] >= 1
    assert night.files[source]["gone"] == 1 and night.files[source]["superseded"] == 1
    check_books(road, road.run())


def test_the_made_up_corpus_has_the_fates_it_was_made_for(road: Road) -> None:
    night = road.run()
    assert night.files["notes"]["quarantined"] == 2 and night.reasons["notes"] == {"empty": 1, "not_text": 1}
    fates = {name: (row["outcome"], row["rule"], row["reason"]) for name, row in road.outcomes(night).items()}
    assert fates["notes:stub.md"] == ("dropped", "length", "too_few_words")
    assert fates["notes:kurz/hafen.md"] == ("dropped", "language", "language_not_kept")
    assert fates["mirror:nearly-004.md"] == ("dropped", "dedup.near", "near_duplicate")
    assert "mirror:copy-of-003.md" not in fates
    assert night.manifest.identity.accounting["occurrences"] == night.manifest.identity.accounting["documents"] + 1


def test_every_verdict_names_rule_reason_score_and_threshold(corpus: Corpus, tmp_path: Path) -> None:
    road = Road(corpus, tmp_path / "road")
    rows = road.decisions(road.run())
    verdicts = [row for row in rows if not row["final"]]
    assert verdicts
    without_threshold = {"language_not_kept", "language_unknown"}
    rules = {rule["rule"] for rule in corpus.recipe["rules"]}
    for row in verdicts:
        assert row["rule"] and (row["rule"] in rules) == (row["config_digest"] is not None)
        if row["outcome"] == "edited":
            assert row["spans"] and row["reason"] is None
            continue
        assert row["outcome"] == "dropped" and row["reason"] and row["score"] is not None
        assert (row["threshold"] is None) == (row["reason"] in without_threshold)
        assert (row["other_doc_id"] is not None) == (row["rule"] in ("dedup.near", "heldout"))


def test_the_final_row_repeats_the_verdict_that_owns_the_drop(corpus: Corpus, tmp_path: Path) -> None:
    road = Road(corpus, tmp_path / "road")
    by_document: dict[bytes, list[dict[str, Any]]] = {}
    for row in road.decisions(road.run()):
        by_document.setdefault(row["doc_id"], []).append(row)
    for final, *verdicts in by_document.values():
        assert final["final"] and final["verdict_order"] == 0
        drops = [row for row in verdicts if row["outcome"] == "dropped"]
        assert (final["outcome"] == "dropped") == bool(drops)
        if drops:
            owner = drops[0]  # rows stand in recipe order
            for column in ("rule", "reason", "score", "threshold", "other_doc_id"):
                assert final[column] == owner[column]


def test_abstentions_are_counted_and_are_no_verdict(tmp_path: Path) -> None:
    rules = [{"rule": "gopher_quality"}, {"rule": "gopher_quality", "id": "loose", "min_stop_words": None}]
    pages = {"en.md": page(1), "eu.md": BASQUE, "other.md": page(2)}
    road = small_road(tmp_path, {"notes": pages}, rules=rules)
    night = road.run()
    counted = night.manifest.identity.statistics["rules"]
    assert counted["gopher_quality"] == {"judged": 2, "abstained": 1, "dropped": 0}
    assert road.outcomes(night)["notes:eu.md"]["outcome"] == "kept"
    check_books(road, night)


def test_rows_that_are_no_documents_are_counted_as_rejected(tmp_path: Path) -> None:
    road = small_road(tmp_path, {"notes": {"a.md": page(1)}})
    place = tmp_path / "documents" / "rows" / "rows.jsonl"
    place.parent.mkdir()
    lines = [json.dumps({"text": page(number)}) for number in (2, 3)]
    place.write_text("\n".join([lines[0], '{"text": 7}', "not json", '{"text": "  "}', lines[1]]) + "\n")
    sources = [*road.corpus.recipe["sources"], {"source": "jsonl", "name": "rows", "uri": str(place.parent)}]
    road.values["sources"] = sources
    night = road.run()
    check_books(road, night)
    assert night.files["rows"]["rejected_rows"] == 3 and night.files["rows"]["read"] == 1
    assert night.manifest.identity.accounting["documents"] == 3


def test_spans_are_bytes_of_the_stored_text_and_edit_it_there(tmp_path: Path) -> None:
    before = "# Übersicht – Größe ≥ 3\n\nDie Straße 東京 🚢 heißt «Kai»: "
    text = f"{before}{ADDRESS}, ☎ und {ADDRESS}; {page(5)}".strip()
    road = small_road(tmp_path, {"notes": {"a.md": text}}, rules=[{"rule": "pii"}])
    night = road.run()
    (found,) = [row for row in road.decisions(night) if row["outcome"] == "edited"]
    data = text.encode()
    assert [data[span["start"] : span["end"]].decode() for span in found["spans"]] == [ADDRESS, ADDRESS]
    assert found["spans"][0]["start"] == len(before.encode()) > len(before)
    (row,) = road.shard_rows(night)
    assert row["text"] == text.replace(ADDRESS, "<EMAIL>")
    assert night.manifest.identity.statistics["edits"] == {"documents": 1, "spans": {"email": 2}}


CUTTER = '''
import pyarrow as pa
from pydantic import BaseModel
from datasets_pipeline.rules.verdicts import first_failing
from ingot.schemas import SPAN
import numpy as np

VERSION, KIND = "1", "span"

class Config(BaseModel):
    start: str
    end: str
    replacement: str | None = None

def find_spans(config, documents, key):
    rows = []
    for value in documents["text"].to_pylist():
        data, spans, position = value.encode(), [], 0
        while (start := data.find(config.start.encode(), position)) >= 0:
            end = data.find(config.end.encode(), start + 1)
            position = len(data) if end < 0 else end + len(config.end.encode())
            spans.append({"start": start, "end": position, "kind": "cut", "replacement": config.replacement})
        rows.append(spans)
    return pa.table({"spans": pa.array(rows, pa.list_(SPAN))})

def judge(config, features, found):
    return first_failing([], np.ones(len(features), dtype=bool))
'''


@pytest.fixture
def cutter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A span rule of a workspace, which cuts from one mark to another; its name."""
    rules = tmp_path / "workspace" / "rules"
    rules.mkdir(parents=True)
    (rules / "cutter.py").write_text(CUTTER)
    monkeypatch.setenv("INGOT_WORKSPACE", str(rules.parent))
    return "cutter"


def test_overlapping_edits_become_their_union_and_deletion_wins(tmp_path: Path, cutter: str) -> None:
    text = f"{page(1)}\n\nKept [gelöscht: {ADDRESS}] kept. Mail {ADDRESS} is replaced.\n\n{page(2)}".strip()
    rules = [{"rule": "pii"}, {"rule": cutter, "start": "[gel", "end": "salt-quay", "replacement": None}]
    road = small_road(tmp_path, {"notes": {"a.md": text}}, rules=rules)
    night = road.run()
    (row,) = road.shard_rows(night)
    # The cut ends inside of the address, so the union ends where the address does.
    assert row["text"] == text.replace(f"[gelöscht: {ADDRESS}", "").replace(f"Mail {ADDRESS}", "Mail <EMAIL>")
    verdicts = {r["rule"]: r["spans"] for r in road.decisions(night) if r["outcome"] == "edited"}
    assert len(verdicts["pii"]) == 2 and len(verdicts[cutter]) == 1, "each rule's own spans are recorded"
    assert night.manifest.identity.versions[f"rule.{cutter}"].startswith("1+")


@pytest.mark.parametrize("replacement", [None, "", " "])
def test_a_document_that_edits_leave_empty_is_dropped_and_says_so(
    tmp_path: Path, cutter: str, replacement: str | None
) -> None:
    # Most of the bytes that stay are blanks.
    pages = {"gone.md": "[é" + "\n" * 500 + "é]", "half.md": "(cut) stays", "whole.md": page(1)}
    rules = [
        {"rule": cutter, "id": "opening", "start": "[", "end": "é", "replacement": replacement},
        {"rule": cutter, "id": "closing", "start": "é", "end": "]", "replacement": replacement},
        {"rule": cutter, "id": "both", "start": "(", "end": ")", "replacement": replacement},
    ]
    road = small_road(tmp_path, {"notes": pages}, rules=rules)
    night = road.run()
    check_books(road, night)
    outcomes = road.outcomes(night)
    gone = outcomes["notes:gone.md"]
    assert (gone["outcome"], gone["rule"], gone["reason"]) == ("dropped", "edits", "empty_after_edit")
    texts = {row["uri"]: row["text"] for row in road.shard_rows(night)}
    assert texts == {"half.md": "stays", "whole.md": page(1).strip()}
