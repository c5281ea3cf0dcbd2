"""What is wrong with an order is told before a server is started; what is right reaches the flow as given."""

import os
from pathlib import Path
from typing import Any

import pytest

from ingot.recipe_files import find_recipe
from interface.cli import main

RECIPE = """
corpus: handbook
sources:
  - {source: folder, name: wiki, uri: docs}
"""
TRAIN = """
train:
  - {stage: pretrain, model: {family: llama, layers: 1, width: 64}, tokens: 50_000}
"""
RULE = """
from pydantic import BaseModel, ConfigDict
VERSION = "1"
KIND = "threshold"
class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
"""


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(arguments)
    return code, capsys.readouterr().err


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


@pytest.mark.parametrize("command", ["train", "build"])
def test_a_recipe_without_a_stage_is_not_trained(
    workspace: Path, started: list[Any], capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (workspace / "docs").mkdir()
    code, message = refused([command, "mine"], capsys)
    assert (code, started) == (2, [])
    assert "has no 'train' section; add '- stage: pretrain'" in message


@pytest.mark.parametrize("command", ["curate", "build"])
def test_a_source_that_is_not_there_is_named_before_anything_starts(
    workspace: Path, started: list[Any], capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (workspace / "recipe.yaml").write_text(RECIPE + TRAIN)
    code, message = refused([command, "mine"], capsys)
    assert (code, started) == (4, [])
    assert f"sources.0 (wiki): {workspace / 'docs'} does not exist" in message


def test_training_and_evaluating_need_no_source(workspace: Path, started: list[Any]) -> None:
    (workspace / "recipe.yaml").write_text(RECIPE + TRAIN)
    main(["train", "mine"])
    main(["evaluate", "mine"])
    assert [flow["flow"] for flow in started] == ["train_model", "evaluate_model"]


@pytest.mark.parametrize("uri", ["docs", "file://{docs}"])
def test_a_source_outside_the_allowed_folders_is_refused_however_it_is_written(
    workspace: Path, docs: Path, started: list[Any], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uri: str,
) -> None:  # fmt: skip
    (workspace / "docs").symlink_to(docs)
    (workspace / "recipe.yaml").write_text(RECIPE.replace("uri: docs", f"uri: '{uri.format(docs=docs)}'"))
    monkeypatch.setenv("INGOT_SOURCE_ROOTS", str(workspace))
    code, message = refused(["curate", "mine"], capsys)
    assert (code, started) == (2, [])
    assert f"sources.0 (wiki): source {docs} lies outside INGOT_SOURCE_ROOTS" in message
    monkeypatch.setenv("INGOT_SOURCE_ROOTS", str(tmp_path))
    main(["curate", "mine"])
    assert len(started) == 1


def test_a_place_whose_variable_is_not_set_is_named(
    workspace: Path, started: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    code, message = refused(["curate", "mine", "--set", "sources.wiki.uri=${NO_SUCH_PLACE}/x"], capsys)
    assert (code, started) == (2, [])
    assert "sources.0 (wiki): " in message and "${NO_SUCH_PLACE}, which is not set" in message


def test_the_flow_gets_the_file_that_was_checked(started: list[Any], tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()  # an empty folder that happens to be called like a shipped recipe
    main(["curate", "demo", "--set", "seed=7"])
    assert started == [{"flow": "curate_corpus", "recipe": str(find_recipe("demo")), "overrides": {"seed": "7"}}]
    assert Path(started[0]["recipe"]).is_absolute() and Path(started[0]["recipe"]).parent != tmp_path / "demo"


def test_a_recipe_given_as_a_folder_finds_the_rules_beside_it(workspace: Path, docs: Path, started: list[Any]) -> None:
    (workspace / "rules").mkdir()
    (workspace / "rules/rule_of_this_workspace.py").write_text(RULE)
    (workspace / "recipe.yaml").write_text(
        RECIPE.replace("uri: docs", "uri: ../docs") + "rules:\n  - rule: rule_of_this_workspace\n"
    )
    main(["curate", "./mine"])
    assert [flow["recipe"] for flow in started] == [str(workspace / "recipe.yaml")]
    assert os.environ["INGOT_WORKSPACE"] == str(workspace)


def test_a_workspace_that_is_set_is_left_alone(
    workspace: Path, docs: Path, started: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("INGOT_WORKSPACE", str(tmp_path / "other"))
    main(["curate", "mine", "--set", f"sources.wiki.uri={docs}"])
    assert len(started) == 1 and os.environ["INGOT_WORKSPACE"] == str(tmp_path / "other")
