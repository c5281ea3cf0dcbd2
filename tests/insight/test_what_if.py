"""What if: the answer from stored features is what a run with these rules then does."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from datasets_pipeline.insight.what_if import WhatIf, what_if
from datasets_pipeline.insight.what_if_page import what_if_page
from ingot import manifest
from ingot.config import parse_recipe
from ingot.errors import NotFoundError
from interface.cli import main
from tests.curation.pages import ADDRESS, CORPORA, Corpus, edited, page, recipe_of
from tests.curation.road import Road, small_road


def asked(road: Road, **sections: Any) -> WhatIf:
    """What the road's recipe with other sections would do to the newest version."""
    recipe = parse_recipe(copy.deepcopy({**road.corpus.recipe, **road.values, **sections}))
    name, found = manifest.read_named(road.store, "harbour")
    return what_if(road.store, recipe, name, found)


def files_of(road: Road) -> dict[str, tuple[int, int]]:
    """Every file of the store with size and time."""
    files = [path for path in Path(road.store.root).rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def with_rule(rules: list[dict[str, Any]], rule: str, **options: Any) -> list[dict[str, Any]]:
    return [{**entry, **options} if entry["rule"] == rule else entry for entry in rules]


CHANGES: dict[str, Any] = {
    "tighter": lambda rules: with_rule(rules, "length", min_words=225),
    "looser": lambda rules: with_rule(rules, "gopher_repetition", dup_5_gram=1.0, dup_line_frac=1.0, top_2_gram=None),
    "another scope": lambda rules: with_rule(rules, "gopher_quality", when={"media": "text/html"}),
    "removed": lambda rules: [rule for rule in rules if rule["rule"] != "gopher_quality"],
    "added": lambda rules: [*rules, {"rule": "fineweb_quality", "short_line_thr": 0.4}],
    "in another order": lambda rules: list(reversed(rules)),
    "languages": lambda rules: with_rule(rules, "language", keep=["en", "de"]),
    "all at once": lambda rules: [*with_rule(rules, "length", min_words=225), {"rule": "length", "id": "b"}][1:],
}


ASKED = [("real", "all at once"), ("real", "languages"), *(("made_up", name) for name in sorted(CHANGES))]


def corpus_of(folder: Path) -> Corpus:
    return Corpus(folder / "documents", recipe_of(folder / "documents", [{"name": "notes"}]))


OVERRIDES: dict[str, list[dict[str, Any]] | None] = {
    "the same": [{"uri": "short.md", "action": "keep"}, {"uri": "b.md", "action": "drop"}],
    "none any more": None,
    "others": [{"uri": "d.md", "action": "drop"}, {"uri": "tiny.md", "action": "keep"}],
}


@pytest.mark.parametrize("now", sorted(OVERRIDES))
@pytest.mark.parametrize("before", sorted(OVERRIDES))
def test_overrides_have_the_last_word_as_in_a_run(before: str, now: str, tmp_path: Path) -> None:
    def of(name: str) -> list[dict[str, Any]] | None:
        told = OVERRIDES[name]
        return None if told is None else [{**entry, "reason": "asked", "author": "anna"} for entry in told]

    corpus = corpus_of(tmp_path)
    corpus.recipe["rules"] = [{"rule": "length", "min_words": 30}]
    for number, name in enumerate(("a", "b", "c", "d", "e")):
        corpus.write("notes", f"{name}.md", page(number))
    corpus.write("notes", "short.md", "Few words stand here.\n")
    corpus.write("notes", "tiny.md", "Fewer stand here.\n")
    road = Road(corpus, tmp_path / "road", values={"heldout": {"share": 0.0}, "dedup": {"near": None}})
    road.values["overrides"] = of(before)
    first = road.run()
    rules = [{"rule": "length", "min_words": 20}]
    answer = asked(road, rules=rules, overrides=of(now))
    road.values |= {"rules": rules, "overrides": of(now), "expectations": {"min_documents": 0, "max_lost_share": 1.0}}
    second = road.run()
    was, then = ({key for key, row in road.outcomes(n).items() if row["outcome"] == "kept"} for n in (first, second))
    assert (answer.before, answer.after) == (len(was), len(then))
    assert (answer.goes, answer.comes) == (len(was - then), len(then - was))
    assert {f"{e['source']}:{e['uri']}" for e in answer.examples["goes"]} == was - then
    assert {f"{e['source']}:{e['uri']}" for e in answer.examples["comes"]} == then - was
    assert sum(rule.goes for rule in answer.rules) == answer.goes
    assert sum(rule.comes for rule in answer.rules) == answer.comes
    assert answer.notes == []


def test_a_place_is_no_difference_and_the_content_of_a_list_is(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("casino\n")
    rules = [{"rule": "urls", "lists": [{"kind": "deny_words", "uri": str(words)}]}]
    corpus = corpus_of(tmp_path)
    corpus.recipe["rules"] = rules
    corpus.write("notes", "a.md", page(1))
    road = Road(corpus, tmp_path / "road")
    road.run()
    (rule,) = asked(road, rules=rules).rules
    assert (rule.change, rule.options) == ("unchanged", {})
    words.write_text("casino\nlottery\n")
    (rule,) = asked(road, rules=rules).rules
    assert rule.change == "changed" and len(rule.options) == 1


@pytest.mark.parametrize(("name", "change"), ASKED)
def test_what_if_says_which_documents_a_run_with_these_rules_then_lets_through(
    name: str, change: str, tmp_path: Path
) -> None:
    corpus = CORPORA[name](tmp_path / "documents")
    road = Road(corpus, tmp_path / "road", values={"heldout": {"share": 0.0}, "dedup": {"near": None}})
    before = road.run()
    rules = CHANGES[change](corpus.recipe["rules"])
    files = files_of(road)
    answer = asked(road, rules=rules)
    assert files_of(road) == files, "what-if wrote to the store"
    road.values |= {"rules": rules, "expectations": {"min_documents": 0, "max_lost_share": 1.0}}
    after = road.run()
    was, now = ({key for key, row in road.outcomes(n).items() if row["outcome"] == "kept"} for n in (before, after))
    assert (answer.before, answer.after) == (len(was), len(now))
    assert (answer.goes, answer.comes) == (len(was - now), len(now - was))
    assert answer.notes == [] and answer.needs_reading == []
    counted = after.manifest.identity.statistics
    assert {rule.rule: rule.dropped_after for rule in answer.rules if rule.change != "removed"} == {
        rule: row["dropped"] for rule, row in counted["rules"].items()
    }
    for group in ("source", "language"):
        kept = {name: row["kept"] for name, row in counted[group].items()}
        assert {name: row["after"] for name, row in answer.groups[group].items()} == kept
    assert sum(rule.goes for rule in answer.rules) == answer.goes
    assert sum(rule.comes for rule in answer.rules) == answer.comes
    assert answer.goes or change not in ("tighter", "all at once", "added")
    assert answer.comes or change != "languages"


def test_the_same_rules_change_nothing(road: Road) -> None:
    road.run()
    answer = asked(road)
    assert answer.after == answer.before and (answer.goes, answer.comes, answer.stand_ins) == (0, 0, 0)
    assert {rule.change for rule in answer.rules} == {"unchanged"} and answer.checks == {}


def test_a_span_rule_with_other_options_is_said_to_need_reading_and_counts_as_it_was(road: Road) -> None:
    road.run()
    answer = asked(road, rules=with_rule(road.corpus.recipe["rules"], "pii", policy="drop", reserved=True))
    assert answer.needs_reading == ["pii"] and answer.goes == 0
    assert "looks for places in texts" in what_if_page(answer)
    # Where the same options have been looked for before, it is answered.
    drop = with_rule(road.corpus.recipe["rules"], "pii", policy="drop")
    first, road.values["rules"] = road.corpus.recipe["rules"], drop
    road.run()
    assert asked(road, rules=first).needs_reading == []
    assert asked(road, rules=first).comes == 1  # the page with an address


def test_no_text_is_read(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    import ingot.parquet

    road.run()
    read: list[Any] = []
    real = ingot.parquet.read_file
    monkeypatch.setattr(
        ingot.parquet, "read_file", lambda path, key, columns=None, f=None: read.append((key, columns)) or
        real(path, key, columns, f),
    )  # fmt: skip
    asked(road, rules=CHANGES["tighter"](road.corpus.recipe["rules"]))
    documents = [columns for key, columns in read if key.startswith("documents/")]
    assert documents and all("text" not in columns for columns in documents)


def test_newcomers_that_resemble_what_stays_are_told_by_their_signatures(tmp_path: Path) -> None:
    long, short = page(1, sentences=60), page(2, sentences=30)
    pages = {"long.md": long, "short.md": short, "nearly-short.md": edited(short, 3), "other.md": page(4, sentences=80)}
    road = small_road(tmp_path, {"wiki": pages}, rules=[{"rule": "length", "min_words": 1000}])
    road.run()
    assert asked(road).before == 1
    answer = asked(road, rules=[])
    assert (answer.comes, answer.comes_near, answer.after) == (3, 1, 3)
    road.values["rules"] = []
    assert road.run().ref.num_documents == 3


def test_a_near_duplicate_may_take_the_place_of_one_that_goes(tmp_path: Path) -> None:
    text = page(1, sentences=40)
    shorter = " ".join(text.split(" ")[:-12]) + ".\n"
    road = small_road(tmp_path, {"wiki": {"a.md": text, "b.md": shorter, "c.md": page(2)}})
    assert road.run().ref.num_documents == 2
    words = len(text.split())
    answer = asked(road, rules=[{"rule": "length", "max_words": words - 10}])
    assert (answer.goes, answer.stand_ins, answer.after) == (1, 1, 2)
    road.values["rules"] = [{"rule": "length", "max_words": words - 10}]
    assert road.run().ref.num_documents == 2


def test_rules_over_access_facts_are_answered_too(made_up: Corpus, tmp_path: Path) -> None:
    sources = [{**entry, "classification": "internal"} if entry["name"] == "mirror" else entry
               for entry in made_up.recipe["sources"]]  # fmt: skip
    road = Road(made_up, tmp_path / "road", values={"sources": sources, "heldout": {"share": 0.0}})
    road.run()
    rules = [*made_up.recipe["rules"], {"rule": "access", "classification": ["unknown"]}]
    answer = asked(road, rules=rules)
    road.values["rules"] = rules
    kept = road.run().ref.num_documents
    # The page that stands in both sources is as secret as its stricter place; its near-copy's twin stays.
    assert answer.after == kept and answer.groups["source"]["mirror"]["after"] == 0


def test_pictures_show_the_cut_that_was_and_the_one_that_is_asked_about(road: Road) -> None:
    road.run()
    rules = with_rule(road.corpus.recipe["rules"], "gopher_quality", min_doc_words=120,
                      per_language={"de": {"min_doc_words": 80}})  # fmt: skip
    answer = asked(road, rules=rules)
    counts = answer.checks["gopher_quality"][0]
    assert counts.reason == "gopher_short_doc" and counts.before == [(50.0, "")]
    assert sum(counts.counts) == next(
        row["judged"] for rule, row in road.run().manifest.identity.statistics["rules"].items()
        if rule == "gopher_quality"
    )  # fmt: skip
    text = what_if_page(answer)
    assert "was 50" in text and "new 120" in text and "gopher_quality: gopher_short_doc" in text
    assert ADDRESS not in text


def test_features_of_another_release_are_refused_with_the_remedy(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets_pipeline.insight import stored_features

    road.run()
    monkeypatch.setattr(stored_features, "feature_version", lambda: "99-abc")
    with pytest.raises(NotFoundError, match="run `ingot curate` first"):
        asked(road, rules=CHANGES["tighter"](road.corpus.recipe["rules"]))


def test_the_command_answers_in_lines_json_and_a_page(
    road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    road.run()
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(road.corpus.recipe))
    monkeypatch.setenv("INGOT_STORE", road.store.root)
    monkeypatch.setenv("INGOT_HOME", str(tmp_path / "home"))
    command = ["what-if", str(tmp_path / "recipe.yaml"), "--set", "rules.length.min_words=225"]
    assert main([*command, "--html", str(tmp_path / "page.html")]) == 0
    told = capsys.readouterr().out
    assert "min_words 20 -> 225" in told and "would go" in told
    assert main([*command, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["goes"] > 0 and answer["version"] == "harbour@1"
    assert answer["checks"]["length"][0]["after"] == [[225.0, ""]]
    page_ = (tmp_path / "page.html").read_text()
    assert "<svg" in page_ and answer["examples"]["goes"][0]["doc_id"] in page_
    assert main(["what-if", str(tmp_path / "recipe.yaml"), "--set", "rules.length.min_word=1"]) == 2
    assert "min_words" in capsys.readouterr().err


def test_overrides_hold_whatever_the_rules_become(tmp_path: Path) -> None:
    stub = "# A stub\n\nIt says little, although the harbour is wide and the boats that lie in it are old."
    length = {"rule": "length", "min_words": 40}
    who = {"reason": "asked by legal", "author": "anna"}
    pages = {"a.md": page(1), "b.md": page(2), "gone.md": page(3), "kept.md": stub, "short.md": f"{stub}!"}
    road = small_road(
        tmp_path, {"notes": pages}, rules=[length], heldout={"share": 0.0}, dedup={"near": None},
        overrides=[{**who, "uri": "kept.md", "action": "keep"}, {**who, "uri": "gone.md", "action": "drop"}],
        expectations={"min_documents": 0},
    )  # fmt: skip
    road.run()
    same = asked(road)
    assert (same.before, same.after, same.goes, same.comes) == (3, 3, 0, 0)
    looser, tighter = ({**length, "min_words": number} for number in (5, 100_000))
    answers = [asked(road, rules=[rule]) for rule in (looser, tighter)]
    assert [(answer.goes, answer.comes, answer.after) for answer in answers] == [(0, 1, 4), (2, 0, 1)]
    road.values |= {"rules": [tighter], "expectations": {"min_documents": 0, "max_lost_share": 1.0}}
    outcomes = road.outcomes(road.run())
    assert [place for place, row in outcomes.items() if row["outcome"] == "kept"] == ["notes:kept.md"]
