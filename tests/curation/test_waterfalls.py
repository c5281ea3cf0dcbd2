"""The waterfall of each language and source, and the flag on a rule that drops too much of one of them."""

from collections import Counter
from pathlib import Path

import pytest

from datasets_pipeline.card import card_html, card_markdown
from datasets_pipeline.flags import FLAG_FROM, flags, sentence
from ingot import manifest
from tests.curation.pages import GERMAN, Corpus, page
from tests.curation.road import Road, small_road


def german(number: int) -> str:
    """Pages that share no run of words, in words that the rule below knows only a few of."""
    return f"---\nlang: de\n---\n# Blatt {number}\n\n{GERMAN[:60]} {page(5000 + number, sentences=3)}"


def two_languages(folder: Path, num_german: int, **sections: object) -> Road:
    english = {f"en/{n:03}.md": page(n) for n in range(80)}
    pages = {**english, **{f"de/{n:03}.md": german(n) for n in range(num_german)}}
    rules = [{"rule": "length", "min_words": 90}]
    return small_road(folder, {"wiki": pages, "notes": {"a.md": page(900)}}, **{"rules": rules, **sections})


def test_the_waterfalls_of_languages_and_sources_add_up_to_the_waterfall(corpus: Corpus, tmp_path: Path) -> None:
    road = Road(corpus, tmp_path / "road")
    identity = road.run().manifest.identity
    whole = Counter({(rule, reason): num for rule, reason, num in identity.statistics["waterfall"]})
    for group in ("language", "source"):
        parts: Counter[tuple[str, str]] = Counter()
        for name, drops in identity.statistics["waterfall_by"][group].items():
            row = identity.statistics[group][name]
            assert row["documents"] == row["kept"] + row["heldout"] + sum(num for _, _, num in drops)
            parts.update({(rule, reason): num for rule, reason, num in drops})
        assert parts == whole and whole.total() > 0


def test_a_rule_that_drops_a_third_of_a_language_is_flagged_before_publishing(tmp_path: Path) -> None:
    road = two_languages(tmp_path, FLAG_FROM)
    night = road.run()
    rows = [row for row in road.decisions(night) if row["final"] and row["language"] == "de"]
    assert all((row["rule"], row["reason"]) == ("length", "too_few_words") for row in rows) and len(rows) == FLAG_FROM
    (flag,) = [flag for flag in night.manifest.provenance["flags"] if flag["by"] == "language"]
    assert flag == {"by": "language", "name": "de", "rule": "length", "documents": 50, "dropped": 50, "share": 1.0}
    assert sentence(flag) == "length drops 100% of language de (50 of 50 documents)"
    found = manifest.read(road.store, "harbour", 1)
    page_ = card_html(found, night.ref)
    assert "length drops 100% of language de" in page_ and "Drops by language" in page_ and "Distributions" in page_
    assert "length drops 100% of language de" in card_markdown(found, night.ref)


def test_a_handful_of_documents_is_not_flagged_and_neither_is_what_the_recipe_asks_for(tmp_path: Path) -> None:
    few = two_languages(tmp_path / "few", FLAG_FROM - 1).run()
    assert [flag for flag in few.manifest.provenance["flags"] if flag["by"] == "language"] == []
    asked = [{"rule": "language", "keep": ["en"]}, {"rule": "length", "min_words": 90}]
    night = two_languages(tmp_path / "asked", FLAG_FROM + 10, rules=asked).run()
    statistics = night.manifest.identity.statistics
    assert statistics["waterfall_by"]["language"]["de"] == [["language", "language_not_kept", 60]]
    assert statistics["verdicts_by"]["language"]["de"] == {"documents": 0, "dropped": {}}
    assert flags(statistics) == []


def test_a_rule_is_flagged_for_what_it_drops_also_where_an_earlier_rule_owns_the_drop(tmp_path: Path) -> None:
    rules = [{"rule": "length", "min_words": 90}, {"rule": "length", "id": "longer", "min_words": 91}]
    statistics = two_languages(tmp_path, FLAG_FROM, rules=rules).run().manifest.identity.statistics
    assert [drop[0] for drop in statistics["waterfall_by"]["language"]["de"]] == ["length"]
    flagged = {flag["rule"] for flag in flags(statistics) if flag["name"] == "de"}
    assert flagged == {"length", "longer"}


@pytest.mark.parametrize("share", [0.29, 0.31])
def test_the_bound_is_30_percent(share: float) -> None:
    row = {"documents": 1000, "dropped": {"length": round(1000 * share)}}
    assert len(flags({"verdicts_by": {"source": {"wiki": row}}})) == (share > 0.3)


def test_distributions_count_every_document_once(road: Road) -> None:
    identity = road.run().manifest.identity
    words = identity.statistics["distributions"]["words"]
    assert sum(words["documents"]) == identity.accounting["documents"]
    assert sum(words["kept"]) == identity.accounting["kept"] < sum(words["documents"])
    assert len(words["documents"]) == len(words["edges"]) + 1
