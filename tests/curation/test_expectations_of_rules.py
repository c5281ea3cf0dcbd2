"""What a recipe expects of rules, languages, duplicates, personal data and the last version's distributions."""

from pathlib import Path
from typing import Any

import pytest

from datasets_pipeline.distributions import binned, stability_index
from ingot import manifest
from ingot.config import parse_recipe
from ingot.errors import HeldError, RecipeError
from tests.curation.pages import ADDRESS, GERMAN, page
from tests.curation.road import Road, small_road

RULES = [{"rule": "length", "min_words": 20}, {"rule": "pii"}]
DRAFTS = {"rule": "regex", "patterns": {"draft": "DRAFT"}, "action": "drop"}


def wiki(folder: Path, **expectations: Any) -> Road:
    """120 pages over which a night has something to say."""
    pages = {f"{n:03}.md": page(n, sentences=8) for n in range(120)}
    return small_road(folder, {"wiki": pages}, rules=RULES, expectations=expectations)


def held_for(road: Road) -> str:
    """The reason of the hold that the next night is; the last good version stays the newest."""
    with pytest.raises(HeldError) as told:
        road.run()
    assert manifest.versions_of(road.store, "harbour") == [1] and "ingot diff harbour harbour@held/2" in str(told.value)
    name, held = manifest.read_named(road.store, "harbour@held/2")
    assert name == "harbour@held/2" and held.provenance["breaches"]
    return "; ".join(held.provenance["breaches"])


def test_a_rule_that_drops_more_than_it_may_is_named_with_its_rate_before(tmp_path: Path) -> None:
    road = wiki(tmp_path, max_drop_rate={"length": 0.25})
    road.run()
    for n in range(40):
        road.corpus.write("wiki", f"{n:03}.md", f"# Sheet {n}\n\nSee sheet {n + 1}.\n")
    assert held_for(road) == (
        "rule length drops 33.3% of the documents it judges after 0.0% in harbour@1 "
        "(expectations.max_drop_rate.length is 0.25)"
    )
    # The same numbers may be published once somebody says so.
    road.values["expectations"] = {"max_drop_rate": {"length": 0.4}}
    assert road.run().ref.version == 2


def test_a_language_that_leaves_its_bounds_is_named(tmp_path: Path) -> None:
    road = wiki(tmp_path, languages={"de": {"max": 0.05}})
    road.run()
    for n in range(30):
        text = f"---\nlang: de\n---\n# Blatt {n}\n\n{GERMAN}\n\n{page(7000 + n, sentences=8)}"
        road.corpus.write("wiki", f"de/{n:03}.md", text)
    assert held_for(road) == (
        "language de is 20.0% of the documents kept after 0.0% in harbour@1 (expectations.languages.de.max is 0.05)"
    )


def test_copies_and_near_copies_are_counted_over_all_places(tmp_path: Path) -> None:
    road = wiki(tmp_path, max_duplicate_rate=0.2)
    road.run()
    for n in range(60):
        road.corpus.write("wiki", f"copy/{n:03}.md", page(n, sentences=8))
    assert "33.3% of all places hold a copy after 0.0% in harbour@1" in held_for(road)


def test_more_personal_data_than_expected_is_held(tmp_path: Path) -> None:
    road = wiki(tmp_path, max_hits_per_document={"pii": 0.1})
    road.run()
    for n in range(30):
        road.corpus.write("wiki", f"{n:03}.md", f"{page(n, sentences=8)}\nAsk {ADDRESS} or second{n}@quay-lists.org.\n")
    assert "rule pii finds 0.5 places a document after 0 in harbour@1" in held_for(road)


def test_too_little_text_is_held_on_the_first_night_too(tmp_path: Path) -> None:
    road = wiki(tmp_path, min_bytes=10**9)
    with pytest.raises(HeldError, match=r"bytes of text are kept \(expectations.min_bytes is 1,000,000,000\)"):
        road.run()


def test_fewer_or_more_tokens_than_expected_are_held(tmp_path: Path) -> None:
    road = wiki(tmp_path)
    statistics = road.run().manifest.identity.statistics
    size = sum(row["kept_bytes"] for row in statistics["source"].values())
    few, many = round(size / 2.5) - 1, round(size / 2.5) + 1
    for expected in ({"min_tokens": few}, {"max_tokens": many}, {"min_tokens": few, "max_tokens": many}):
        road.values["expectations"] = {**expected, "bytes_per_token": 2.5}
        assert road.run().ref.reused  # within, and no part of what the version is
    road.corpus.write("wiki", "more.md", page(900, sentences=8))
    road.values["expectations"] = {"max_tokens": many, "bytes_per_token": 2.5}
    reason = held_for(road)
    assert f"tokens of text are kept after {few + 1:,} in harbour@1, at 2.5 bytes each" in reason
    assert f"(expectations.max_tokens is {many:,})" in reason
    for n in range(3):
        road.corpus.path("wiki", f"{n:03}.md").unlink()
    road.values["expectations"] = {"min_tokens": few, "bytes_per_token": 2.5}
    with pytest.raises(HeldError, match=f"expectations.min_tokens is {few:,}"):
        road.run()


def test_drift_names_the_distribution_and_the_version_it_moved_from(tmp_path: Path) -> None:
    road = wiki(tmp_path, max_drift=0.25)
    road.run()
    for n in range(60):
        road.corpus.write("wiki", f"{n:03}.md", page(n, sentences=60))
    reason = held_for(road)
    assert "the distribution of words moved by" in reason and "since harbour@1" in reason
    road.values["expectations"] = {"max_drift": 20.0}
    assert road.run().ref.version == 2


def test_a_source_whose_share_changes_is_named(tmp_path: Path) -> None:
    road = small_road(
        tmp_path,
        {name: {f"{n:03}.md": page(start + n) for n in range(120)} for name, start in (("wiki", 0), ("notes", 500))},
        expectations={"max_share_change": 0.1},
    )
    road.run()
    for n in range(50):
        road.corpus.path("notes", f"{n:03}.md").unlink()
    reason = held_for(road)
    assert "source notes is 36.8% of the documents kept after 50.0% in harbour@1" in reason
    assert "source wiki is 63.2%" in reason and "language" not in reason


@pytest.mark.parametrize(
    ("expectations", "told"),
    [
        ({"max_drop_rate": {"lenght": 0.3}}, "'lenght' is no rule of this recipe; its rules: length, pii, regex"),
        ({"max_drop_rate": {"length": 3}}, "3 is no share"),
        ({"max_hits_per_document": {"length": 1}}, "rule length finds no places in a text"),
        ({"max_hits_per_document": {"regex": 1}}, "rule regex finds no places in a text to edit, with its options"),
        ({"max_drop_rate": {"pii": 0.1}}, "rule pii drops nothing with its options; ask with max_hits_per_document"),
        ({"languages": {"German": {"min": 0.1}}}, "'German' is no language code"),
        ({"languages": {"de": {"min": 0.5, "max": 0.1}}}, "0.5 is above max"),
        ({"min_tokens": 10, "max_tokens": 9}, "10 is above max_tokens"),
    ],
)
def test_an_expectation_that_cannot_be_asked_is_refused(
    expectations: dict[str, Any], told: str, tmp_path: Path
) -> None:
    values = {"corpus": "c", "sources": [{"source": "folder", "name": "w", "uri": "/w"}], "rules": [*RULES, DRAFTS]}
    with pytest.raises(RecipeError, match=told):
        parse_recipe({**values, "expectations": expectations})


def test_the_stability_index_is_that_of_credit_scoring() -> None:
    assert stability_index([50, 50], [50, 50]) == 0.0
    # (0.7 - 0.5) ln(0.7 / 0.5) + (0.3 - 0.5) ln(0.3 / 0.5) = 0.1695 without smoothing
    assert stability_index([5000, 5000], [7000, 3000]) == pytest.approx(0.1695, abs=1e-3)
    assert stability_index([100, 0], [0, 100]) < 20  # an empty bin is not infinite


def test_values_fall_into_the_bin_that_begins_with_them() -> None:
    import numpy as np

    assert binned(np.array([0.0, 1.0, 1.5, 2.0, 9.0, np.nan]), (1.0, 2.0)) == [1, 2, 2]
