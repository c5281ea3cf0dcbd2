"""Kills in the middle of a scheduled curation: each process alone, then all at once; the bytes stay the same.

A rule of the workspace's own holds the analysis in a Dask worker for as long as a file is there, so that every
kill hits the middle of a stage, whatever the machine's speed.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psutil
import pytest

from datasets_pipeline.curate import curate
from datasets_pipeline.parallel import open_pool
from deployments import local_stack, prefect_api, processes, services
from deployments.local_stack import StackState
from deployments.prefect_api import Server
from ingot import manifest, store_identity
from ingot.heartbeats import RUN_VARIABLE
from ingot.ledger import Actor
from ingot.recipe_files import load_recipe
from ingot.settings import Settings
from ingot.storage import Store
from tests.waiting import wait_until

pytestmark = pytest.mark.stack
SALT = "5a17" * 8
HOLD = '''
import os, time
from pathlib import Path
import pyarrow as pa
from pydantic import BaseModel
from datasets_pipeline.rules.pii import Config as _Pii, find_spans as _find, judge as _judge
VERSION, KIND, LANGUAGES = "1", "span", None
class Config(BaseModel):
    label: str = ""
def find_spans(config, documents, key):
    held = Path(os.environ.get("HOLD_FILE", "/nowhere"))
    if held.exists():
        (held.parent / "held").touch()
    while held.exists():
        time.sleep(0.1)
    return _find(_Pii(emails=False, ip_addresses=False), documents, key)
def judge(config, features, found):
    return _judge(_Pii(), features, found)
'''
RECIPE = """
corpus: {corpus}
sources:
  - {{source: folder, name: {corpus}, uri: {documents}, licence: internal}}
rules: [{{rule: hold, label: {corpus}}}]
"""
# The label changes the rule's digest: spans found for one corpus are not found again by the next.


@dataclass
class Workspace:
    """A folder with a recipe, its own rule, and the file that holds it."""

    folder: Path
    settings: Settings

    @property
    def hold(self) -> Path:
        return self.folder.parent / "hold"

    @property
    def held(self) -> Path:
        return self.folder.parent / "held"

    def write_recipe(self, corpus: str) -> Path:
        recipe = self.folder / "recipe.yaml"
        recipe.write_text(RECIPE.format(corpus=corpus, documents=self.folder.parent / "documents"))
        return recipe

    def ingot(self, *arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "interface.cli", *arguments, "--json"],
            env={**self.settings.environ, "PYTHONPATH": str(services.root_folder())},
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


@pytest.fixture(scope="module")
def workspace(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    base = tmp_path_factory.mktemp("kills")
    folder = base / "workspace"
    (folder / "rules").mkdir(parents=True)
    (folder / "rules" / "hold.py").write_text(HOLD)
    documents = base / "documents"
    documents.mkdir()
    for number in range(40):
        words = " ".join(f"page {number} line {line} says something of its own" for line in range(12))
        (documents / f"page-{number:02d}.md").write_text(f"# Page {number}\n\n{words}\n")
    store_identity.initialise(Store(settings.store), salt=SALT)
    return Workspace(folder, settings)


@pytest.fixture(scope="module")
def clean_digest(workspace: Workspace, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Content digest of the same documents, curated in this process without any server."""
    recipe = workspace.write_recipe("undisturbed")
    before = os.environ.get("INGOT_WORKSPACE")
    os.environ["INGOT_WORKSPACE"] = str(workspace.folder)
    try:
        store = Store(str(tmp_path_factory.mktemp("clean") / "store"))
        store_identity.initialise(store, salt=SALT)
        actor = Actor("person", "a tester", "declared")
        with open_pool(1, scratch=settings.scratch) as pool:
            digest = curate(store, load_recipe(recipe), settings, pool, actor=actor).content_digest
        yield digest
    finally:
        if before is None:
            del os.environ["INGOT_WORKSPACE"]
        else:
            os.environ["INGOT_WORKSPACE"] = before


def start_held(server: Server, workspace: Workspace, corpus: str) -> str:
    """Start the schedule's run now, as the button does, and return once it is held in the middle of a stage."""
    workspace.hold.touch()
    workspace.held.unlink(missing_ok=True)
    deployment = server.get(f"/deployments/name/curate%20corpus/{corpus}")
    environment = {**deployment["job_variables"]["env"], "HOLD_FILE": str(workspace.hold), "INGOT_WORKERS": "1"}
    body = {"job_variables": {"env": environment}}
    run = str(server.post(f"/deployments/{deployment['id']}/create_flow_run", body)["id"])
    wait_until(workspace.held.exists, f"{corpus} to be held in its analysis")
    return run


def start_scheduled_and_held(server: Server, workspace: Workspace, corpus: str) -> tuple[dict[str, Any], str]:
    """Schedule a corpus and hold a first run of it; (its deployment, the run)."""
    workspace.write_recipe(corpus)
    workspace.ingot("schedule", str(workspace.folder), "--cron", "0 2 * * *")
    run = start_held(server, workspace, corpus)
    deployment: dict[str, Any] = server.get(f"/deployments/name/curate%20corpus/{corpus}")
    return deployment, run


def state_of(server: Server, run: str) -> str:
    return str(server.get(f"/flow_runs/{run}")["state_type"])


def wait_for_end(server: Server, run: str) -> str:
    return str(wait_until(lambda: found if (found := state_of(server, run)) in prefect_api.ENDED else None, "the end"))


def kill(settings: Settings, name: str) -> None:
    """SIGKILL a service, without the runs that it started."""
    before = local_stack.status(settings).service(name).identity
    assert before is not None
    os.kill(before.pid, signal.SIGKILL)
    assert processes.wait_until_gone(before, 10.0)


def kill_run(run: str, settings: Settings) -> None:
    """SIGKILL the process of a flow run."""
    for process in processes.find_processes(settings.home):
        if variable_of(process, RUN_VARIABLE) == run:
            process.kill()


def variable_of(process: psutil.Process, name: str) -> str | None:
    """A variable of a process's environment; None when it is gone by now."""
    try:
        return process.environ().get(name)
    except psutil.Error:
        return None


def digest_of(settings: Settings, corpus: str) -> str:
    return manifest.read(Store(settings.store), corpus, 1).identity.content_digest


def test_a_schedule_is_written_beside_the_recipe_and_runs_at_two_in_its_time_zone(
    stack: StackState, workspace: Workspace
) -> None:
    recipe = workspace.write_recipe("nightly-one")
    told = workspace.ingot("schedule", str(recipe.parent), "--cron", "0 2 * * *", "--timezone", "Europe/Berlin")
    written = (workspace.folder / "schedules.yaml").read_text()
    assert "cron: 0 2 * * *" in written and "timezone: Europe/Berlin" in written and "recipe: recipe.yaml" in written
    moment = datetime.fromisoformat(told["next"])
    assert moment.astimezone(ZoneInfo("Europe/Berlin")).hour in (2, 3)
    assert timedelta(0) < moment - datetime.now(UTC) <= timedelta(hours=26)
    seen = workspace.ingot("status")
    assert "curate corpus/nightly-one" in [run["deployment"] for run in seen["next"]]
    assert [entry["corpus"] for entry in workspace.ingot("schedule")["schedules"]] == ["nightly-one"]


def test_servers_and_worker_killed_one_after_the_other_come_back_and_the_run_goes_on(
    stack: StackState, server: Server, settings: Settings, workspace: Workspace, clean_digest: str
) -> None:
    workspace.write_recipe("nightly-one")
    run = start_held(server, workspace, "nightly-one")
    for name in ("prefect", "mlflow", "data"):
        before = local_stack.status(settings).service(name).identity
        kill(settings, name)
        wait_until(lambda: local_stack.status(settings).running, f"the supervisor to start {name} again")
        assert local_stack.status(settings).service(name).identity != before
    assert state_of(server, run) == "RUNNING"
    workspace.hold.unlink()
    assert wait_for_end(server, run) == "COMPLETED"
    assert digest_of(settings, "nightly-one") == clean_digest


def test_a_killed_flow_ends_crashed_and_its_slot_is_free_for_the_next_run(
    stack: StackState, server: Server, settings: Settings, workspace: Workspace, clean_digest: str
) -> None:
    deployment, run = start_scheduled_and_held(server, workspace, "nightly-two")
    kill_run(run, settings)
    assert wait_for_end(server, run) == "CRASHED"
    workspace.hold.unlink()
    again = server.post(f"/deployments/{deployment['id']}/create_flow_run", {})["id"]
    assert wait_for_end(server, again) == "COMPLETED"
    assert digest_of(settings, "nightly-two") == clean_digest


def test_everything_killed_at_once_after_up_the_next_night_runs_and_of_three_missed_nights_one(
    stack: StackState, server: Server, settings: Settings, workspace: Workspace, clean_digest: str
) -> None:
    deployment, run = start_scheduled_and_held(server, workspace, "nightly-three")
    everything = local_stack.stack_processes(settings)
    # The supervisor first: it would begin to start again what dies after it.
    for process in sorted(everything, key=lambda p: variable_of(p, processes.SERVICE_VARIABLE) != "supervisor"):
        process.kill()
    wait_until(lambda: not local_stack.stack_processes(settings), "everything to be gone")
    workspace.hold.unlink()
    make_late(settings, deployment["id"])

    local_stack.up(settings)
    assert wait_for_end(server, run) == "CRASHED"
    late = {"deployment_id": {"any_": [deployment["id"]]}, "expected_start_time": {"before_": _now()}}
    nights = [r for r in prefect_api.flow_runs(server, flow_runs=late) if r["id"] != run]
    states = sorted(wait_for_end(server, night["id"]) for night in nights)
    assert states == ["CANCELLED", "CANCELLED", "COMPLETED"]
    assert digest_of(settings, "nightly-three") == clean_digest
    assert local_stack.status(settings).running


def _now() -> str:
    return datetime.now(UTC).isoformat()


def make_late(settings: Settings, deployment_id: str) -> None:
    """Let the nights that are written down lie in the past, as after three days off."""
    import sqlite3

    with sqlite3.connect(settings.home / "prefect" / "prefect.db") as database:
        rows = database.execute(
            "SELECT id FROM flow_run WHERE deployment_id = ? AND state_type = 'SCHEDULED' ORDER BY expected_start_time",
            (deployment_id,),
        ).fetchall()
        for days, (row,) in zip((3, 2, 1), rows[:3], strict=True):
            moment = (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%d %H:%M:%S.%f")
            database.execute(
                "UPDATE flow_run SET expected_start_time = ?, next_scheduled_start_time = ? WHERE id = ?",
                (moment, moment, row),
            )


def test_a_schedule_switched_off_in_prefect_stays_off_and_a_removed_one_is_gone(
    stack: StackState, server: Server, settings: Settings, workspace: Workspace
) -> None:
    workspace.write_recipe("nightly-three")
    workspace.ingot("schedule", str(workspace.folder), "--cron", "0 3 * * *")
    deployment = server.get("/deployments/name/curate%20corpus/nightly-three")
    server.post(f"/deployments/{deployment['id']}/pause_deployment", {})
    assert workspace.ingot("schedule", str(workspace.folder), "--cron", "0 3 * * *")["next"] is None
    removed = workspace.ingot("schedule", str(workspace.folder), "--remove")
    assert removed["unregistered"] is True
    names = {entry["name"] for entry in server.post("/deployments/filter", {})}
    assert "nightly-three" not in names and "nightly-two" in names
