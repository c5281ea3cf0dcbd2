"""One installation under test: its home, its command line as a user runs it, and the pages of its two servers."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from deployments import local_stack
from deployments.prefect_api import Server
from deployments.stack_state import StackState
from ingot import ledger, manifest, store_identity, tracking
from ingot.manifest import Manifest
from ingot.parquet import read_table
from ingot.settings import Settings
from ingot.storage import Store
from tests import door
from tests.e2e.documents import Handbook
from tests.waiting import wait_until

SALT = "beef" * 8
"""Holds out 16 of the made-up pages, four of them with a revised page that is then kept apart."""
ROOT = Path(__file__).resolve().parents[2]
INGOT = (sys.executable, "-m", "interface.cli")
SECRET = "hunter2-warehouse-1f0c9b7a"
"""The value of a credential, known to every process of the site and to nothing it writes."""
# A continuous integration switches MLflow's telemetry off by its mere presence: the site must not know of it.
_FOREIGN = (
    "INGOT_", "_INGOT_", "PREFECT_", "MLFLOW_", "_MLFLOW_", "PYTEST_", "CI", "GITHUB_", "GITLAB_", "JENKINS_",
    "BUILD_", "TF_BUILD", "TEAMCITY_", "CODEBUILD_", "BITBUCKET_", "HF_", "TRANSFORMERS_", "DO_NOT_TRACK",
)  # fmt: skip


@dataclass(frozen=True)
class Done:
    """A finished command."""

    arguments: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str
    seconds: float

    @cached_property
    def answer(self) -> dict[str, Any]:
        """What `--json` printed; a line more on stdout is a failure."""
        value: dict[str, Any] = json.loads(self.stdout)
        return value


@dataclass
class Site:
    """A home folder with its recipe and handbook; every output of every command is kept."""

    home: Path
    handbook: Handbook
    recipe: Path
    outputs: list[Done] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What a user's shell would hold: no trace of a test, a credential, places of its own for everything."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        folders = {"HOME": self.home.parent / "user", "TMPDIR": self.home.parent / "tmp"}
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        return {
            **clean,
            **{name: str(folder) for name, folder in folders.items()},
            "PYTHONPATH": str(ROOT),
            "INGOT_HOME": str(self.home),
            "INGOT_WORKERS": "2",
            "INGOT_TRAIN_THREADS": "1",
            "OMP_NUM_THREADS": "1",  # the model is too small for two threads, which would wait for each other
            "INGOT_TIMEZONE": "Europe/Berlin",
            "INGOT_ACTOR": "ada",
            "INGOT_SECRET_WAREHOUSE": SECRET,
        }

    @property
    def settings(self) -> Settings:
        """As a process of this site reads them."""
        return Settings.from_environment(self.environment)

    @property
    def store(self) -> Store:
        """The store, seen from the test."""
        return Store(self.settings.store)

    def prepare(self) -> None:
        """A store with a known salt, so that two sites hold out the same documents."""
        self.home.mkdir(parents=True, exist_ok=True)
        door.prepare(self.home)
        store_identity.initialise(self.store, salt=SALT)

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start `ingot ...` without waiting for it."""
        return subprocess.Popen(
            [*INGOT, *arguments],
            env={**self.environment, **variables},
            cwd=self.home.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str], *arguments: str, begun: float, timeout: float = 480.0) -> Done:
        """Wait for a started command and keep what it said."""
        stdout, stderr = process.communicate(timeout=timeout)
        done = Done(arguments, process.returncode, stdout, stderr, time.monotonic() - begun)
        self.outputs.append(done)
        return done

    def ingot(self, *arguments: str, **variables: str) -> Done:
        """Run `ingot ...` as a user does, in a process of its own."""
        begun = time.monotonic()
        return self.finish(self.start(*arguments, **variables), *arguments, begun=begun)

    @property
    def stack(self) -> StackState:
        """What runs now."""
        return local_stack.status(self.settings)

    # -- what the servers show ------------------------------------------------------------------

    @property
    def server(self) -> Server:
        """Prefect's API."""
        return local_stack.prefect_server(self.settings)

    @property
    def mlflow_uri(self) -> str:
        """Address of MLflow."""
        url = self.stack.mlflow_url
        assert url is not None, "the stack is down"
        return url

    @property
    def mlflow(self) -> Any:
        """A client of the site's MLflow."""
        door.open_for_this_process()
        return tracking.connect(self.mlflow_uri)

    def mlflow_runs(self, experiment: str) -> list[Any]:
        """The runs of an experiment, the newest first."""
        client = self.mlflow
        found = client.get_experiment_by_name(experiment)
        return list(client.search_runs([found.experiment_id])) if found else []

    def mlflow_files(self, run: Any) -> list[str]:
        """Names of a run's files."""
        return sorted(file.path for file in self.mlflow.list_artifacts(run.info.run_id))

    def prefect(self, path: str, **body: Any) -> Any:
        """One question to Prefect's API."""
        return self.server.post(path, body)

    def flow_run(self, run_id: str) -> dict[str, Any]:
        """A flow run as the server knows it."""
        run: dict[str, Any] = self.server.get(f"/flow_runs/{run_id}")
        return run

    def newest_flow_run(self, flow: str) -> dict[str, Any]:
        """The last started run of a flow."""
        started = {"start_time": {"is_null_": False}}
        runs = self.prefect(
            "/flow_runs/filter", flows={"name": {"any_": [flow]}}, flow_runs=started, sort="START_TIME_DESC", limit=1
        )
        run: dict[str, Any] = runs[0]
        return run

    def subflow_runs(self, parent: str) -> dict[str, dict[str, Any]]:
        """The runs below a flow run, by the name of their flow."""
        runs = self.prefect("/flow_runs/filter", flow_runs={"parent_flow_run_id": {"any_": [parent]}})
        flows = {flow["id"]: flow["name"] for flow in self.prefect("/flows/filter")}
        return {flows[run["flow_id"]]: run for run in runs}

    def unfinished_flow_runs(self) -> list[str]:
        """Names of the flow runs that are said to be under way."""
        under_way = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}
        return [run["name"] for run in self.prefect("/flow_runs/filter", flow_runs=under_way)]

    def artifacts(self, flow_runs: list[str]) -> dict[str, dict[str, Any]]:
        """What these flow runs show, by key."""
        found = self.prefect("/artifacts/filter", artifacts={"flow_run_id": {"any_": flow_runs}}, limit=200)
        return {artifact["key"]: artifact for artifact in found}

    def logs(self, flow_run: str) -> list[dict[str, Any]]:
        """What a flow run and its tasks logged."""
        wanted = {"flow_run_id": {"any_": [flow_run]}}
        found: list[dict[str, Any]] = self.prefect("/logs/filter", logs=wanted, limit=200)
        return found

    def deployment(self, full_name: str) -> dict[str, Any]:
        """A deployment by `<flow>/<deployment>`."""
        found: dict[str, Any] = self.server.get(f"/deployments/name/{full_name.replace(' ', '%20')}")
        return found

    def trigger(self, full_name: str, **variables: str) -> str:
        """Start a deployment's run as the button in the control room does; returns the run's id."""
        run = self.prefect(
            f"/deployments/{self.deployment(full_name)['id']}/create_flow_run",
            parameters={"recipe": str(self.recipe)},
            job_variables={"env": variables},
        )
        return str(run["id"])

    def wait_for_flow_run(self, run_id: str, seconds: float = 240.0) -> dict[str, Any]:
        """The flow run once it has ended, however it ended."""
        final = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
        return wait_until(
            lambda: run if (run := self.flow_run(run_id))["state_type"] in final else None,
            f"flow run {run_id} to end",
            seconds,
        )

    # -- what the store holds -------------------------------------------------------------------

    def corpus(self, version: int, name: str = "handbook") -> Manifest:
        """A corpus version's manifest."""
        return manifest.read(self.store, name, version)

    def verbs(self) -> list[str]:
        """The ledger's verbs, in order."""
        return [entry.verb for entry in ledger.read(self.store)]


@contextmanager
def open_site(home: Path, handbook: Handbook, recipe: Path) -> Iterator[Site]:
    """A site whose stack is up until the block ends."""
    found = Site(home, handbook, recipe)
    found.prepare()
    try:
        found.ingot("up", "--recipe", str(recipe), "--json")
        yield found
    finally:
        local_stack.down(found.settings)
        assert local_stack.stack_processes(found.settings) == []


def in_order(items: list[pytest.Item], folder: Path, order: tuple[str, ...]) -> None:
    """Put the test files of a folder into this order of their names, where the folder's tests stand now."""
    places = [index for index, item in enumerate(items) if item.path.parent == folder]
    mine = sorted((items[index] for index in places), key=lambda item: order.index(item.path.stem[len("test_") :]))
    for index, item in zip(places, mine, strict=True):
        items[index] = item


def heldout_uris(site: Site, version: int) -> dict[str, str]:
    """doc_id (hex) by uri of the documents held out of a corpus version."""
    identity = manifest.read(site.store, "handbook", version).identity
    found: dict[str, str] = {}
    for shard in identity.shards:
        if shard.split == "heldout":
            table = read_table(site.store, f"shards/{shard.sha256}.parquet", columns=["doc_id", "uri"])
            found |= {row["uri"]: row["doc_id"].hex() for row in table.to_pylist()}
    return found
