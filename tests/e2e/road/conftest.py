"""From documents to the first model, walked once: a fixture is a stretch of it, and stands on the stretch before.

    clean_road    the recipe in a home of its own, without a network where the machine can do that
    site          the home under test, with its stack up
    crashes       four starts of the first build, each killed somewhere else
    first_build   the fifth start, which goes on and completes
    second_build  the same again, with nothing changed

A fixture only acts and notes what happened; what must hold is said by the tests.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deployments import local_stack
from tests.e2e.documents import Handbook, write_handbook, write_recipe
from tests.e2e.road import crash_starts
from tests.e2e.road.crash_starts import Crashes
from tests.e2e.site import INGOT, ROOT, Done, Site, in_order, open_site

# The leak test comes last because it looks at what everything before it wrote.
_ORDER = ("offline", "crashes", "build", "answers", "exit_codes", "schedule", "road_leaks")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files of this folder in the order of the road."""
    in_order(items, Path(__file__).parent, _ORDER)


@pytest.fixture(scope="session")
def handbook(tmp_path_factory: pytest.TempPathFactory) -> Handbook:
    return write_handbook(tmp_path_factory.mktemp("handbook"))


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory, handbook: Handbook) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe") / "recipe.yaml", handbook)


@dataclass(frozen=True)
class CleanRoad:
    """One undisturbed road: up, build, down."""

    site: Site
    isolated: str
    """Empty when it ran without a network, else why it could not."""
    commands: list[dict[str, Any]]
    interfaces: list[str]

    @property
    def build(self) -> dict[str, Any]:
        return self.commands[1]


# Asks MLflow's maker for its configuration unless MLflow is told not to: DO_NOT_TRACK=1 is not what it reads.
_TALKATIVE = """
import json, mlflow, sys, time
port = json.load(open(sys.argv[1]))["ports"]["mlflow"]
try:
    mlflow.MlflowClient(f"http://127.0.0.1:{port}").create_experiment("talkative")
except mlflow.exceptions.MlflowException:
    pass  # it is not let in, and asks all the same, in a thread of its own
time.sleep(5)
"""
_ASKING = "import socket\ntry: socket.getaddrinfo('example.invalid', 80)\nexcept OSError: pass"


@pytest.fixture(scope="session")
def clean_road(tmp_path_factory: pytest.TempPathFactory, handbook: Handbook, recipe: Path) -> CleanRoad:
    folder = tmp_path_factory.mktemp("clean")
    site = Site(folder / "home", handbook, recipe)
    site.prepare()
    unset = ("env", "-u", "MLFLOW_DISABLE_TELEMETRY", "-u", "DO_NOT_TRACK")
    job = {
        "environment": {**site.environment, "INGOT_WORKERS": "1"},  # the site has two: the bytes are the same
        "cwd": str(folder),
        "commands": [
            [*INGOT, "up", "--json"],
            [*INGOT, "build", str(recipe), "--json"],
            [*unset, "DO_NOT_TRACK=1", sys.executable, "-c", _TALKATIVE, str(site.home / "run" / "ports.json")],
            [sys.executable, "-c", _ASKING],
            [*INGOT, "down", "--json"],
        ],
    }
    obstacle = _no_namespace()
    notes = tmp_path_factory.mktemp("notes")  # not beside the home: the job names the credential
    (notes / "job.json").write_text(json.dumps(job))
    report = notes / "report.json"
    walk = [sys.executable, "-m", "tests.e2e.road.offline_road", str(notes / "job.json"), str(report)]
    try:
        command = [*walk, "--shared-network"] if obstacle else ["unshare", "--net", "--mount", *walk]
        subprocess.run(command, cwd=ROOT, check=True, timeout=900)
    finally:
        local_stack.down(site.settings)
    told = json.loads(report.read_text())
    site.outputs += [
        Done(tuple(c["arguments"]), c["exit_code"], c["stdout"], c["stderr"], c["seconds"]) for c in told["commands"]
    ]
    return CleanRoad(site, obstacle, told["commands"], told["interfaces"])


def _no_namespace() -> str:
    """Why this machine cannot give a process a network of its own; empty when it can."""
    if shutil.which("unshare") is None:
        return "unshare is not installed (Debian package util-linux)"
    tried = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, text=True)
    return "" if tried.returncode == 0 else f"unshare --net --mount: {tried.stderr.strip()}; run as root"


@pytest.fixture(scope="session")
def site(
    tmp_path_factory: pytest.TempPathFactory, handbook: Handbook, recipe: Path, clean_road: CleanRoad
) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("site") / "home", handbook, recipe) as found:
        yield found


@pytest.fixture(scope="session")
def crashes(site: Site) -> Crashes:
    return crash_starts.crash_four_times(site)


@pytest.fixture(scope="session")
def first_build(site: Site, crashes: Crashes) -> Done:
    return site.ingot("build", str(site.recipe), "--json")


@pytest.fixture(scope="session")
def second_build(site: Site, first_build: Done) -> Done:
    """The same again, in words."""
    return site.ingot("build", str(site.recipe))
