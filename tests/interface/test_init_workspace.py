"""`ingot init` writes a recipe that `ingot build` takes, whatever the folders are called."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ingot.config import parse_recipe
from ingot.recipe_files import load_recipe, read_values
from interface import init_workspace
from interface.cli import main
from interface.init_workspace import Look, recipe_text


def look(*languages: str) -> Look:
    return Look(Counter({".md": 3}), 3, 900, Counter(languages), truncated=False)


@pytest.fixture(autouse=True)
def norwegian(monkeypatch: pytest.MonkeyPatch) -> None:
    """A language whose code YAML takes for false; the detector itself is tested with the features."""
    monkeypatch.setattr(init_workspace, "_guess_languages", lambda paths: Counter({"no": 3}))


@pytest.mark.parametrize("name", ["n #1", "2024", "a: b", 'it\'s "quoted"', "null", "ä ö\tü", "[x]"])
def test_a_folder_of_any_name_gives_a_recipe_that_is_read_back_as_meant(docs: Path, tmp_path: Path, name: str) -> None:
    source = docs.rename(tmp_path / name)
    assert main(["init", f"work/{name}", "--source", str(source)]) == 0
    recipe = load_recipe(tmp_path / "work" / name)
    assert recipe.sources[0].config.uri == str(source)
    assert recipe.sources[0].config.name == recipe.corpus == init_workspace.corpus_name(name)
    assert [rule.config.keep for rule in recipe.rules if rule.rule == "language"] == [("no",)]


def test_what_is_written_can_be_curated(docs: Path, tmp_path: Path, started: list[Any]) -> None:
    main(["init", "mine", "--source", "docs"])
    main(["build", "mine"])
    assert [flow["recipe"] for flow in started] == [str(tmp_path / "mine/recipe.yaml")]


@pytest.mark.parametrize("name", ["My Docs", "", "Å", "-x", "a" * 64])
def test_a_name_no_corpus_may_have_is_told_before_the_folder_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["init", "mine", "--source", "nowhere", f"--name={name}"]) == 2
    message = capsys.readouterr().err
    assert f"--name {name!r} is no corpus name; allowed are a-z 0-9 _ -, the first one of a-z 0-9" in message
    assert not (tmp_path / "mine").exists()


def test_a_corpus_named_by_hand_names_its_source_too(docs: Path, tmp_path: Path) -> None:
    assert main(["init", "mine", "--source", str(docs), "--name", "handbook"]) == 0
    recipe = load_recipe(tmp_path / "mine")
    assert (recipe.corpus, recipe.sources[0].config.name) == ("handbook", "handbook")


def test_nothing_is_written_when_the_recipe_would_not_be_read(
    docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init_workspace, "recipe_text", lambda name, source, look: "corpus: [\n")
    assert main(["init", "mine", "--source", str(docs)]) == 2
    assert not (tmp_path / "mine").exists()


def test_a_folder_that_is_a_file_is_refused(docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "docs/press.md", "--source", str(docs)]) == 2
    assert "docs/press.md is a file; choose another folder" in capsys.readouterr().err


def test_the_written_recipe_tells_where_rules_of_ones_own_belong(tmp_path: Path) -> None:
    text = recipe_text("mine", tmp_path, look("en"))
    parse_recipe(read_values(text, "the recipe"))
    assert "rules/house.py in this file's folder is `- rule: house`" in text and "INGOT_WORKSPACE" in text


def test_a_folder_in_no_known_language_gets_no_language_rule(tmp_path: Path) -> None:
    recipe = parse_recipe(read_values(recipe_text("mine", tmp_path, look()), "the recipe"))
    assert "language" not in [rule.rule for rule in recipe.rules]
