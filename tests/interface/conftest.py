"""A home, a folder of documents, and a stack that must not be started."""

import os
from pathlib import Path
from typing import Any

import pytest

from interface import runs


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation of its own: no setting of the machine reaches a test, and none of a test gets out."""
    for name in [name for name in os.environ if name.startswith("INGOT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("INGOT_HOME", str(tmp_path / "home"))
    # Commands set it for their process; set and deleted here, so that it is undone after the test.
    monkeypatch.setenv("INGOT_WORKSPACE", "")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """Three documents."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in ("press", "rollers", "lamps"):
        text = f"This page tells how the {name} of the workshop are kept clean, and who looks after them. "
        (folder / f"{name}.md").write_text(text * 3)
    return folder


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The flows that a command would have run, with their arguments; no server is started."""
    flows: list[dict[str, Any]] = []

    class Reached(Exception):
        """The command got as far as its flow."""

    def run_flow(name: str, report: Any, **arguments: Any) -> Any:
        flows.append({"flow": name, **arguments})
        raise Reached

    monkeypatch.setattr(runs, "connect", lambda settings, printer: {"prefect": "", "mlflow": ""})
    monkeypatch.setattr(runs, "run_flow", run_flow)
    return flows
