"""Which rule judges which document, who owns a drop, and what several places of one text amount to."""

from pathlib import Path
from typing import Any

import pytest

from ingot.config import parse_recipe
from ingot.errors import RecipeError
from tests.curation.pages import edited, page
from tests.curation.road import Road, small_road

STUB = "# A stub\n\nIt says little, although the harbour is wide and the boats that lie in it are old."
SPANISH = "---\nlang: es\n---\n# El puerto\n\nEl capitán espera a la tripulación en el muelle, y la lluvia no cesa.\n"


def reasons(road: Road) -> dict[str, str | None]:
    return {name: row["reason"] for name, row in road.outcomes(road.run()).items()}


@pytest.mark.parametrize(
    ("when", "judged"),
    [
        ({"source": "notes"}, {"notes:a.md", "notes:a.txt", "notes:es.md"}),
        ({"source": ["mirror"]}, {"mirror:b.md"}),
        ({"language": "es"}, {"notes:es.md"}),
        ({"media": "text/plain"}, {"notes:a.txt"}),
        ({"media": ["text/markdown"], "source": ["notes"], "language": ["en"]}, {"notes:a.md"}),
        (None, {"notes:a.md", "notes:a.txt", "notes:es.md", "mirror:b.md"}),
    ],
)
def test_a_rule_judges_only_what_its_when_names(tmp_path: Path, when: dict[str, Any] | None, judged: set[str]) -> None:
    rule = {"rule": "length", "min_words": 10_000, **({"when": when} if when else {})}
    pages = {"a.md": page(1), "a.txt": page(2), "es.md": SPANISH}
    documents = {"notes": pages, "mirror": {"b.md": page(3)}}
    road = small_road(tmp_path, documents, rules=[rule], expectations={"min_documents": 0})
    night = road.run()
    dropped = {name for name, row in road.outcomes(night).items() if row["outcome"] == "dropped"}
    assert dropped == judged
    # What is out of scope is not judged; it is no abstention.
    counted = night.manifest.identity.statistics["rules"]["length"]
    assert counted == {"judged": len(judged), "abstained": 0, "dropped": len(judged)}


def test_the_first_rule_in_recipe_order_owns_the_drop_and_the_others_are_recorded(tmp_path: Path) -> None:
    rules: list[dict[str, Any]] = [
        {"rule": "length", "min_words": 40},
        {"rule": "gopher_quality"},
        {"rule": "length", "id": "in_characters", "min_words": None, "min_chars": 300},
    ]
    owners = {}
    for place, order in (("forward", rules), ("backward", rules[::-1])):
        road = small_road(tmp_path / place, {"notes": {"stub.md": STUB, "a.md": page(1)}}, rules=order)
        night = road.run()
        stub = road.outcomes(night)["notes:stub.md"]["doc_id"]
        rows = [row for row in road.decisions(night) if row["doc_id"] == stub]
        owners[place] = (rows[0]["rule"], rows[0]["reason"])
        assert [row["rule"] for row in rows[1:]] == [rule.get("id", rule["rule"]) for rule in order]
        assert [row["verdict_order"] for row in rows] == [0, 1, 2, 3]
        ((rule, reason, num),) = night.manifest.identity.statistics["waterfall"]
        assert (rule, reason, num) == (*owners[place], 1)
    assert owners == {"forward": ("length", "too_few_words"), "backward": ("in_characters", "too_few_chars")}


def test_the_same_rule_twice_needs_an_id_and_then_judges_twice(tmp_path: Path) -> None:
    rules: list[dict[str, Any]] = [
        {"rule": "length", "min_words": 5, "when": {"source": "notes"}},
        {"rule": "length", "min_words": 500, "when": {"source": "mirror"}},
    ]
    road = small_road(tmp_path, {"notes": {"a.md": STUB}, "mirror": {"b.md": page(3)}}, rules=rules)
    with pytest.raises(RecipeError, match="rules: length appears twice; give each an 'id'"):
        parse_recipe({**road.corpus.recipe, "rules": rules})
    rules[1]["id"] = "long_enough"
    row = road.outcomes(road.run())["mirror:b.md"]
    assert (row["rule"], row["threshold"]) == ("long_enough", 500.0)


def test_the_same_span_rule_twice_with_other_scopes_edits_each_of_them(tmp_path: Path) -> None:
    from tests.curation.pages import ADDRESS

    text = f"{page(7)}\nMail {ADDRESS} about it.\n"
    rules = [
        {"rule": "pii", "when": {"source": "notes"}},
        {"rule": "pii", "id": "pii_of_mirror", "policy": "drop", "when": {"source": "mirror"}},
    ]
    road = small_road(tmp_path, {"notes": {"a.md": text}, "mirror": {"b.md": text + "Again."}}, rules=rules)
    assert reasons(road) == {"notes:a.md": None, "mirror:b.md": "pii_found"}


def test_exact_copies_collapse_across_sources_and_the_smallest_place_is_the_primary_one(tmp_path: Path) -> None:
    """The smallest (source rank, source, uri, start)."""
    crlf = page(1).replace("\n", "\r\n") + "\n\n"
    documents = {"zeta": {"z.md": page(1), "a.md": crlf}, "alpha": {"m.md": page(1)}, "low": {"0.md": page(1)}}
    road = small_road(tmp_path, documents, expectations={"max_lost_share": 1.0})
    ranks = {"zeta": 10, "alpha": 10, "low": 90}
    expected = [("alpha", "m.md"), ("zeta", "a.md"), ("zeta", "z.md"), ("low", "0.md")]
    for number, (source, uri) in enumerate(expected):
        road.values["sources"] = [{**entry, "rank": ranks[entry["name"]]} for entry in road.corpus.recipe["sources"]]
        night = road.run()
        (row,) = road.outcomes(night).values()
        assert (row["source"], row["uri"], row["num_occurrences"]) == (source, uri, 4 - number)
        (written,) = road.shard_rows(night)
        assert (written["source"], written["uri"], written["text"]) == (source, uri, page(1).strip())
        # The copy vanishes; a source without files is an error, so another page stays.
        road.corpus.write(source, "0-other.txt", "")
        road.corpus.path(source, uri).unlink()


@pytest.mark.parametrize(
    ("first", "second", "strictest"),
    [
        ("MIT", "GPL-3.0-only", "GPL-3.0-only"),
        ("CC0-1.0", "CC-BY-4.0", "CC-BY-4.0"),
        ("GPL-3.0-only", "unknown", "unknown"),
        ("our handbook", "MIT", "our handbook"),
        ("MIT OR unknown", "AGPL-3.0-only", "MIT OR unknown"),
    ],
)
def test_the_strictest_licence_of_all_places_decides(tmp_path: Path, first: str, second: str, strictest: str) -> None:
    road = small_road(tmp_path, {"one": {"a.md": page(1)}, "two": {"b.md": page(1)}})
    for licences in ((first, second), (second, first)):
        sources = zip(road.corpus.recipe["sources"], licences, strict=True)
        road.values["sources"] = [{**entry, "licence": licence} for entry, licence in sources]
        night = road.run()
        assert [row["licence"] for row in road.shard_rows(night)] == [strictest]
        assert [row["licence"] for row in road.outcomes(night).values()] == [strictest]


def test_the_evidence_is_that_of_the_licence_that_decides(tmp_path: Path) -> None:
    import json

    stated = f"---\nlicense: AGPL-3.0-only\n---\n{page(1)}"
    road = small_road(tmp_path, {"one": {"a.md": page(1)}, "two": {"b.md": stated}})
    road.values["sources"] = [{**entry, "licence": "MIT"} for entry in road.corpus.recipe["sources"]]
    (row,) = road.shard_rows(road.run())
    assert (row["source"], row["licence"]) == ("one", "AGPL-3.0-only")
    assert json.loads(row["metadata"])["licence_evidence"] == "front matter"


def test_of_near_copies_the_source_with_the_smallest_rank_keeps_its_page(tmp_path: Path) -> None:
    original, copy = page(1, sentences=30), edited(page(1, sentences=30), 1)
    road = small_road(tmp_path, {"one": {"a.md": original}, "two": {"b.md": copy}})
    for ranks, kept, lost in (((10, 20), "one:a.md", "two:b.md"), ((20, 10), "two:b.md", "one:a.md")):
        sources = zip(road.corpus.recipe["sources"], ranks, strict=True)
        road.values["sources"] = [{**entry, "rank": rank} for entry, rank in sources]
        outcomes = road.outcomes(road.run())
        assert outcomes[kept]["outcome"] == "kept"
        row = outcomes[lost]
        assert (row["reason"], row["threshold"], row["other_doc_id"]) == (
            "near_duplicate", 0.8, outcomes[kept]["doc_id"],
        )  # fmt: skip
        assert 0.8 <= row["score"] < 1.0


def test_translations_are_kept_unless_the_recipe_says_otherwise(tmp_path: Path) -> None:
    """Pages that share most of their words, as those of commands do; the path states language and page."""
    original, translated = page(1, sentences=30), edited(page(1, sentences=30), 1)
    road = small_road(tmp_path, {"docs": {"en/page.md": original, "de/page.md": translated, "en/other.md": page(2)}})
    (entry,) = road.corpus.recipe["sources"]
    road.values["sources"] = [{**entry, "path_pattern": "^(?P<language>[a-z]{2})/(?P<family>.+)$"}]
    assert set(reasons(road).values()) == {None}
    road.values["dedup"] = {"near": {"keep_translations": False}}
    assert sorted(map(str, reasons(road).values())) == ["None", "None", "near_duplicate"]
    road.values["dedup"] = {"near": None}
    assert set(reasons(road).values()) == {None}
