"""A corpus cleaned against evaluation files: what leaves, what is cut, and what the version says of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from datasets_pipeline.card import card_html, card_markdown
from ingot.cleaned import cleaned_against, cleaned_rows
from ingot.digests import sha256_file
from tests.curation.pages import page
from tests.curation.road import Night, Road, small_road

ITEMS = [
    {"question": f"A ferry carries {k} crates on each of {name} trips; how many crates does it carry in one {unit}?",
     "answer": f"It carries {k} crates on each of the {name} trips it makes, so the sum of all {name} is asked for."}
    for k, name, unit in ((12, "nine", "week"), (7, "eleven", "month"), (30, "twenty", "year"))
]  # fmt: skip
CLEAN = page(1)


def road_of(folder: Path, **options: Any) -> Road:
    """Two sources: of the first item the question is in `wiki`, of the third both are in `blog` under other numbers."""
    evaluation = folder / "crates.jsonl"
    evaluation.write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    third = f"{ITEMS[2]['question']} {ITEMS[2]['answer']}".replace("30", "45").upper()
    documents = {
        "wiki": {"a.md": f"{page(2)}\n\nNote: {ITEMS[0]['question']}\n", "b.md": CLEAN},
        "blog": {"c.md": f"{page(3)}\n\n{third}\n", "d.md": ITEMS[1]["question"]},
    }
    rule = {"rule": "decontamination", **options, "benchmarks": [
        {"name": "crates", "uri": str(evaluation), "text": ["question", "answer"]}
    ]}  # fmt: skip
    return small_road(folder, documents, rules=[rule], dedup={"near": None})


def html_of(night: Night) -> str:
    return card_html(night.manifest, night.ref)


def test_documents_with_items_are_dropped_and_the_version_names_what_it_was_cleaned_against(tmp_path: Path) -> None:
    road = road_of(tmp_path)
    night = road.run()
    outcomes = road.outcomes(night)
    assert {place: (row["outcome"], row["reason"]) for place, row in outcomes.items()} == {
        "wiki:a.md": ("dropped", "contaminated"), "wiki:b.md": ("kept", None),
        "blog:c.md": ("dropped", "contaminated"), "blog:d.md": ("dropped", "contaminated"),
    }  # fmt: skip
    assert outcomes["wiki:a.md"]["score"] == 1.0 and outcomes["wiki:a.md"]["threshold"] == 0.0
    identity = night.manifest.identity
    digest = sha256_file(tmp_path / "crates.jsonl")
    assert identity.versions["rule.decontamination.crates"] == digest
    (row,) = cleaned_against(identity)
    assert row == {
        "rule": "decontamination", "benchmark": "crates", "policy": "drop", "sha256": digest, "items": 3,
        "searchable": 3, "seen": 3, "documents": 3, "sources": {"blog": 2, "wiki": 1}, "numbers": "1-3",
    }  # fmt: skip
    for shown in (html_of(night), card_markdown(night.manifest, night.ref)):
        assert "Cleaned against" in shown and digest in shown and "blog 2, wiki 1" in shown
        assert "ferry carries" not in shown
    assert "1-3" in html_of(night)


def test_cut_leaves_the_rest_of_a_document_as_it_was(tmp_path: Path) -> None:
    road = road_of(tmp_path, policy="cut")
    night = road.run()
    rows = {f"{row['source']}:{row['uri']}": row["text"] for row in road.shard_rows(night)}
    assert rows["wiki:b.md"] == CLEAN.strip()
    assert rows["wiki:a.md"] == f"{page(2).strip()}\n\n\nNote: ?"
    assert rows["blog:c.md"].startswith(page(3).strip()) and "FERRY" not in rows["blog:c.md"]
    assert rows["blog:d.md"] == "?"
    assert night.manifest.identity.statistics["edits"]["spans"] == {"contaminated": 3}


@pytest.mark.parametrize("change", ["edited", "moved"])
def test_an_edited_evaluation_file_makes_another_version_and_a_moved_one_does_not(tmp_path: Path, change: str) -> None:
    road = road_of(tmp_path)
    before = road.run()
    file = tmp_path / "crates.jsonl"
    if change == "edited":
        file.write_text(json.dumps(ITEMS[1]) + "\n")
    else:
        file = file.rename(tmp_path / "moved.jsonl")
        road.values["rules"][0]["benchmarks"][0]["uri"] = str(file)
    after = road.run()
    if change == "moved":
        assert after.digests == before.digests and after.ref.version == before.ref.version
        return
    assert after.ref.version == 2
    assert cleaned_rows(cleaned_against(after.manifest.identity))[0][2:6] == [1, 1, 1, 1]
    assert [place for place, row in road.outcomes(after).items() if row["outcome"] == "dropped"] == ["blog:d.md"]


def test_a_scope_is_kept_in_what_is_dropped_cut_and_reported(tmp_path: Path) -> None:
    road = road_of(tmp_path, when={"source": "wiki"})
    night = road.run()
    assert [place for place, row in road.outcomes(night).items() if row["outcome"] == "dropped"] == ["wiki:a.md"]
    (row,) = cleaned_against(night.manifest.identity)
    assert (row["seen"], row["documents"], row["sources"]) == (1, 1, {"wiki": 1})


def test_a_version_without_the_rule_says_nothing_of_it(tmp_path: Path) -> None:
    night = small_road(tmp_path, {"wiki": {"b.md": CLEAN}}).run()
    assert cleaned_against(night.manifest.identity) == []
    assert "Cleaned against" not in html_of(night) + card_markdown(night.manifest, night.ref)
