"""Who may use a document, from folder rule to corpus version: what is dropped, and what a version says of itself."""

import json
from pathlib import Path
from typing import Any

from datasets_pipeline.card import card_html, card_markdown
from tests.curation.pages import page
from tests.curation.road import Night, Road, small_road

ADMIT = {"rule": "access", "classification": ["public", "internal"], "as_of": "2026-11-27"}
FOLDERS = [
    {"path": "board/**", "classification": "Secret", "owner": "The Board"},
    {"path": "old/**", "classification": "internal", "retain_until": "2026-01-31"},
    {"path": "staff/**", "classification": "internal", "audience": "staff"},
]


def road_with(folder: Path, documents: dict[str, dict[str, str]], options: dict[str, Any], **sections: Any) -> Road:
    road = small_road(folder, documents, **sections)
    sources = [{**entry, **options.get(entry["name"], {})} for entry in road.corpus.recipe["sources"]]
    road.values["sources"] = sources
    return road


def reasons(road: Road, night: Night) -> dict[str, str | None]:
    return {name: row["reason"] for name, row in road.outcomes(night).items()}


def test_a_secret_page_copied_into_a_public_folder_is_dropped_and_the_version_says_its_strictest_class(
    tmp_path: Path,
) -> None:
    documents = {
        "website": {"a.md": page(1), "leaked.md": page(2)},
        "intranet": {"board/minutes.md": page(2), "board/plan.md": page(3), "staff/b.md": page(4), "old/c.md": page(5)},
        "drive": {"d.md": page(6)},
    }
    options = {"website": {"classification": "public", "rank": 1}, "intranet": {"folders": FOLDERS}}
    road = road_with(tmp_path, documents, options, rules=[ADMIT])
    night = road.run()
    assert reasons(road, night) == {
        "website:a.md": None,
        "website:leaked.md": "classification_not_admitted",  # its primary place is public
        "intranet:board/plan.md": "classification_not_admitted",
        "intranet:staff/b.md": None,
        "intranet:old/c.md": "retention_over",
        "drive:d.md": "classification_unknown",
    }
    identity = night.manifest.identity
    assert identity.statistics["access"] == {"strictest": "internal", "unclassified": 0}
    kept = {name: row["kept"] for name, row in identity.statistics["classification"].items()}
    assert kept == {"internal": 1, "public": 1, "secret": 0, "unknown": 0}
    written = {row["uri"]: json.loads(row["metadata"]).get("classification") for row in road.shard_rows(night)}
    assert written == {"a.md": "public", "staff/b.md": "internal"}
    assert "internal" in card_html(night.manifest, night.ref)
    assert "strictest classification: internal" in card_markdown(night.manifest, night.ref)


def test_what_is_stated_nowhere_is_admitted_only_when_the_recipe_says_so(tmp_path: Path) -> None:
    documents = {"one": {"a.md": page(1), "b.md": page(2)}, "two": {"b.md": page(2)}}
    options = {"two": {"classification": "public"}}
    road = road_with(tmp_path, documents, options, rules=[ADMIT], expectations={"min_documents": 0})
    assert set(reasons(road, road.run()).values()) == {"classification_unknown"}
    road.values["rules"] = [{**ADMIT, "classification": ["public", "unknown"]}]
    night = road.run()
    assert set(reasons(road, night).values()) == {None}
    assert night.manifest.identity.statistics["access"] == {"strictest": "public", "unclassified": 1}


def test_a_changed_folder_rule_opens_no_file_and_makes_another_version(tmp_path: Path) -> None:
    road = road_with(tmp_path, {"docs": {"a.md": page(1), "hr/b.md": page(2)}}, {"docs": {"classification": "public"}})
    first = road.run()
    assert first.manifest.identity.statistics["access"] == {"strictest": "public", "unclassified": 0}
    (entry,) = road.values["sources"]
    road.values["sources"] = [{**entry, "folders": [{"path": "hr/**", "classification": "for the board"}]}]
    second = road.run()
    assert (second.opened, second.ref.version, second.ref.content_digest) == (0, 2, first.ref.content_digest)
    # A word that no order names is stricter than all that it does.
    assert second.manifest.identity.statistics["access"] == {"strictest": "for the board", "unclassified": 0}
    road.values["classifications"] = ["for the board", "public"]
    third = road.run()
    assert third.manifest.identity.statistics["access"] == {"strictest": "public", "unclassified": 0}
    assert road.run().ref.version == 3


def test_a_column_says_more_than_the_folder_and_the_folder_more_than_the_source(tmp_path: Path) -> None:
    """Sidecars give attributes of files, as columns give those of rows: both come before rules of the recipe."""
    road = road_with(
        tmp_path,
        {"docs": {"hr/a.md": page(1), "hr/b.md": page(2), "c.md": page(3)}},
        {
            "docs": {
                "sidecar": "{path}.meta.json",
                "folders": [{"path": "hr/**", "classification": "confidential"}],
                "classification": "internal",
            }
        },
    )
    road.corpus.write("docs", "hr/a.md.meta.json", json.dumps({"Classification": "Public"}))
    night = road.run()
    written = {row["uri"]: json.loads(row["metadata"])["classification"] for row in road.shard_rows(night)}
    assert written == {"hr/a.md": "public", "hr/b.md": "confidential", "c.md": "internal"}


def test_what_is_dropped_is_not_held_out_either(tmp_path: Path) -> None:
    documents = {"open": {f"{n}.md": page(n) for n in range(20)}, "closed": {f"{n}.md": page(n) for n in range(15, 40)}}
    options = {"open": {"classification": "public"}, "closed": {"classification": "secret"}}
    road = road_with(tmp_path, documents, options, rules=[ADMIT], heldout={"share": 0.4})
    night = road.run()
    inside = {row["uri"] for row in road.shard_rows(night)}
    assert inside == {f"{n}.md" for n in range(15)}
    assert road.shard_rows(night, "heldout")


def test_a_document_with_a_bad_sidecar_is_counted_and_comes_back_once_it_is_mended(tmp_path: Path) -> None:
    road = road_with(tmp_path, {"docs": {"a.md": page(1), "b.md": page(2)}}, {"docs": {"sidecar": "{path}.json"}})
    road.corpus.write("docs", "a.md.json", '{"classification": "sec')
    night = road.run()
    assert (night.reasons, list(road.outcomes(night))) == ({"docs": {"bad_sidecar": 1}}, ["docs:b.md"])
    assert road.run().opened == 0
    road.corpus.write("docs", "a.md.json", '{"classification": "secret"}')
    night = road.run()
    assert (night.opened, night.reasons["docs"], len(road.outcomes(night))) == (1, {}, 2)
    assert night.manifest.identity.statistics["access"] == {"strictest": "secret", "unclassified": 1}
