"""Runs are asked for once, followed, and cancelled with everything they started; on real servers and workers."""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from deployments import run_control, run_stop, run_view, services
from deployments.prefect_api import Server, process_tag
from ingot import heartbeats
from ingot.errors import DataError, NotFoundError, RecipeError
from ingot.settings import Settings
from tests.training.conftest import FINGERPRINT, make_tokens
from tests.waiting import wait_until

pytestmark = pytest.mark.stack
HERE = "tests.stack.followed_flows"
UI = "http://127.0.0.1:1"
LIMIT_SECONDS = 20.0  # ten are promised; the tests beside this one want the processor too


def deployment(server: Server, flow_name: str, function: str, name: str) -> str:
    flow = server.post("/flows/", {"name": flow_name})
    body = {"name": name, "flow_id": flow["id"], "work_pool_name": "gpu", "entrypoint": f"{HERE}.{function}"}
    return str(server.post("/deployments/", {**body, "pull_steps": []})["id"])


def run_now(server: Server, deployment_id: str, **parameters: object) -> dict[str, Any]:
    run: dict[str, Any] = server.post(f"/deployments/{deployment_id}/create_flow_run", {"parameters": parameters})
    return run


def processes_of(run_id: str) -> list[psutil.Process]:
    """Whoever on this machine has the run in its environment, seen without the code under test."""
    found = []
    for process in psutil.process_iter():
        try:
            if run_id in process.environ().values() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def history(server: Server, run_id: str) -> list[str]:
    return [state["type"] for state in server.get(f"/flow_run_states/?flow_run_id={run_id}")]


def cancelled(server: Server, settings: Settings, run: dict[str, Any], group: list[psutil.Process]) -> float:
    """Cancel a run and see that nothing of it is left; returns the seconds."""
    begun = time.monotonic()
    done = run_stop.cancel(settings, server, server.get(f"/flow_runs/{run['id']}"), "ada")
    seconds = time.monotonic() - begun
    assert [p for p in group if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
    assert processes_of(run["id"]) == []
    assert (done.run["state_type"], done.run["state"]["message"]) == ("CANCELLED", "cancelled by ada")
    assert heartbeats.read(settings.home, run["id"]) is None
    assert all(sub["state_type"] == "CANCELLED" for sub in run_control.subflow_runs(server, run["id"]))
    return seconds


@pytest.fixture
def here(client_environment: dict[str, str]) -> Iterator[Any]:
    """Starts flows of `followed_flows` in processes of their own, as the command line does."""
    started: list[subprocess.Popen[str]] = []

    def start(call: str, tags: str = "process_tag()") -> subprocess.Popen[str]:
        code = (
            f"from prefect import tags; from deployments.prefect_api import process_tag; from {HERE} import *\n"
            f"with tags({tags}): {call}"
        )
        environment = {**client_environment, "PYTHONPATH": str(services.root_folder())}
        child = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def test_two_equal_requests_at_once_make_one_run(server: Server, settings: Settings) -> None:
    def ask(number: int) -> run_control.Asked:
        return run_control.ask_here(
            server, "train model", {"recipe": "a.yaml", "overrides": None}, person="ada", request_id="tuesday", tags=[]
        )  # fmt: skip

    with ThreadPoolExecutor(6) as threads:
        asked = list(threads.map(ask, range(6)))
    assert len({one.run["id"] for one in asked}) == 1
    assert [one.is_new for one in asked].count(True) == 1
    with pytest.raises(RecipeError, match=r"request 'tuesday' was made before with recipe='a.yaml', now 'b.yaml'"):
        run_control.ask_here(server, "train model", {"recipe": "b.yaml"}, person="ada", request_id="tuesday", tags=[])
    run = asked[0].run
    assert run_view.started_by(run) == "ada"
    run_stop.cancel(settings, server, run, "ada")  # one that waits is cancelled at once
    assert history(server, run["id"]) == ["PENDING", "CANCELLED"]
    with pytest.raises(NotFoundError, match="`ingot runs` lists them"):
        run_control.find_run(server, "no-such-run")
    assert run_control.find_run(server, run["id"][:13])["id"] == run["id"]
    assert run_control.find_run(server, run["name"])["id"] == run["id"]


def test_a_run_of_a_worker_is_followed_and_leaves_no_process_when_it_is_cancelled(
    server: Server, settings: Settings, tmp_path: Path
) -> None:
    deployment(server, "curate corpus", "curate_corpus", "nightly-followed")
    run_control.DEPLOYMENTS["curate_corpus"], shipped = "nightly-followed", run_control.DEPLOYMENTS["curate_corpus"]
    try:
        note = tmp_path / "stubborn.pid"
        asked = run_control.ask_worker(
            server, "curate_corpus", {"recipe": str(note), "overrides": None}, person="ada", request_id="night"
        )
        again = run_control.ask_worker(
            server, "curate_corpus", {"recipe": str(note), "overrides": None}, person="bob", request_id="night"
        )
    finally:
        run_control.DEPLOYMENTS["curate_corpus"] = shipped
    assert (asked.is_new, again.is_new, again.run["id"]) == (True, False, asked.run["id"])
    run = asked.run
    view = wait_until(
        lambda: v if (v := run_view.view_run(settings, server, server.get(f"/flow_runs/{run['id']}"), UI)).steps
        and v.steps[-1].name == "wait long" else None,
        "the task of the subflow",
    )  # fmt: skip
    assert [(s.name, s.kind, s.depth) for s in view.steps] == [("parts", "flow", 0), ("wait long", "task", 1)]
    assert (view.started_by, view.request_id, view.state) == ("ada", "night", "Running")
    beat = heartbeats.read(settings.home, run["id"])
    assert beat is not None and beat.is_alive and beat.flow == "curate corpus"
    part = run_control.subflow_runs(server, run["id"])[0]
    assert heartbeats.read(settings.home, part["id"]) is not None
    with pytest.raises(DataError, match="is a part of"):
        run_stop.cancel(settings, server, part, "ada")

    stubborn = psutil.Process(int(note.read_text()))
    group = run_stop.group_of(settings, run)
    assert {stubborn.pid, beat.pid} <= {p.pid for p in group}
    seconds = cancelled(server, settings, run, group)
    print(f"\ncancelled after {seconds:.1f} s, with one process that no TERM stops")
    assert seconds < LIMIT_SECONDS
    assert not stubborn.is_running()
    time.sleep(4.0)  # its worker has seen the end by now
    assert "CRASHED" not in history(server, run["id"])
    assert server.get(f"/flow_runs/{run['id']}")["state"]["message"] == "cancelled by ada"
    with pytest.raises(DataError, match="has ended already"):
        run_stop.cancel(settings, server, {**run, "state_type": "COMPLETED", "state_name": "Completed"}, "ada")


def test_dask_workers_of_a_cancelled_run_are_gone(server: Server, settings: Settings, tmp_path: Path) -> None:
    run = run_now(server, deployment(server, "spread", "spread", "spread"), path=str(tmp_path))
    wait_until(lambda: (tmp_path / "begun").exists(), "the workers")
    group = run_stop.group_of(settings, server.get(f"/flow_runs/{run['id']}"))
    assert len([p for p in group if "distributed.cli.dask_worker" in p.cmdline()]) == 2
    seconds = cancelled(server, settings, run, group)
    print(f"\ncancelled after {seconds:.1f} s, with two Dask workers")
    assert seconds < LIMIT_SECONDS
    assert "CRASHED" not in history(server, run["id"])


def test_training_writes_a_checkpoint_and_leaves_no_rank(server: Server, settings: Settings, tmp_path: Path) -> None:
    tokens = make_tokens(tmp_path)
    made = deployment(server, "train model", "train", "train-followed")
    run = run_now(server, made, root=str(tmp_path), tokens=tokens.model_dump_json())
    lines = tmp_path / "run" / "metrics.jsonl"
    wait_until(lambda: lines.exists() and len(lines.read_text().splitlines()) > 3, "the first steps")
    assert not list(tmp_path.glob(f"checkpoints/{FINGERPRINT}/*/manifest.json"))
    group = run_stop.group_of(settings, server.get(f"/flow_runs/{run['id']}"))
    assert len([p for p in group if "training.worker" in p.cmdline()]) >= 1
    print(f"\ncancelled after {cancelled(server, settings, run, group):.1f} s, with a checkpoint")
    assert len(list(tmp_path.glob(f"checkpoints/{FINGERPRINT}/*/manifest.json"))) == 1
    assert not {"CRASHED", "FAILED"} & set(history(server, run["id"]))


def test_a_run_of_the_command_line_is_cancelled_too_also_from_the_control_room(
    server: Server, settings: Settings, tmp_path: Path, here: Any
) -> None:
    for place, by_button in (("by-command", False), ("by-button", True)):
        note = tmp_path / place
        child = here(f"curate_corpus({str(note)!r})")
        wait_until(note.exists, "the flow to work")
        beat = wait_until(
            lambda pid=child.pid: next(
                (b for b in heartbeats.read_all(settings.home) if b.pid == pid and b.flow == "curate corpus"), None
            ),
            "its sign of life",
        )
        run = server.get(f"/flow_runs/{beat.flow_run_id}")
        group = run_stop.group_of(settings, run)
        if by_button:
            told = {"type": "CANCELLING", "name": "Cancelling", "message": "cancelled by ada"}
            server.post(f"/flow_runs/{run['id']}/set_state", {"state": told})
            wait_until(lambda c=child: c.poll() is not None, "the process to see it", 30.0)
        cancelled(server, settings, run, group)
        assert child.poll() is not None
        assert not {"CRASHED", "FAILED"} & set(history(server, run["id"]))


def test_the_runs_are_listed_newest_first_without_their_parts(server: Server) -> None:
    found = run_view.list_runs(server, UI, limit=50)
    assert found and all(view.flow != "parts" for view in found)
    only = run_view.list_runs(server, UI, limit=50, state="cancelled")
    assert only and {view.state for view in only} == {"Cancelled"}
    assert {view.exit_code for view in only} == {130}
    assert run_view.list_runs(server, UI, limit=1)[0].id == found[0].id


def test_the_tag_of_a_process_survives_a_host_name_with_colons() -> None:
    assert heartbeats.Process.parse(process_tag().partition(":")[2]) == heartbeats.Process.current()
