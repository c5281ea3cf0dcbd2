"""The run that waits for a person, on the real servers: asked, killed around, answered wrongly, answered."""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from deployments import local_stack, processes, services
from deployments.local_stack import StackState
from deployments.prefect_api import Server
from ingot import ledger, model_versions, promotion, tracking_versions
from ingot.heartbeats import RUN_VARIABLE
from ingot.ledger import Actor
from ingot.settings import Settings
from ingot.storage import Store
from ingot.tracking_records import VersionRecord
from tests.base.judged import SERVICE, judge
from tests.base.tiny_store import ACTOR, build
from tests.stack.test_stack import kill_hard
from tests.waiting import wait_until

pytestmark = pytest.mark.stack
REGISTER = """
from deployments import definitions, local_stack, register
from ingot.settings import Settings
settings = Settings.from_environment()
shipped = definitions.read_deployments(definitions.schedule_variables(settings), only=frozenset({"promote"}))
print(register.register(shipped, local_stack.prefect_server(settings))[0].id)
"""
SECONDS = 120.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """mini/1 is the champion; mini/3 passed, was asked for by ada, and needs four eyes."""
    made = build(tmp_path / "models", tmp_path / "sources").store
    one, two = (model_versions.resolve(made, f"mini/{number}") for number in (1, 2))
    judge(made, one, champion=None)
    promotion.promote(made, one, actor=ACTOR, reason="first")
    evidence = {name: digest for name, digest in two.evidence.items() if name != "checkpoint"}
    three = model_versions.register(
        made, "mini", checkpoint_fingerprint="f" * 64, checkpoint_key=two.checkpoint_key, checkpoint_digest="d" * 64,
        evidence=evidence, details={**two.details, "approval": "four_eyes", "requested_by": "ada"}, actor=SERVICE,
    )  # fmt: skip
    judge(made, three, champion=1)
    return made


@pytest.fixture
def promote(server: Server, store: Store, client_environment: dict[str, str]) -> Any:
    """Start a run of the deployment on the tiny store."""
    done = subprocess.run(
        [sys.executable, "-c", REGISTER], capture_output=True, text=True, timeout=120,
        env={**client_environment, "PYTHONPATH": str(services.root_folder())},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    deployment = done.stdout.split()[-1]

    def start(model: str) -> str:
        body = {"parameters": {"model": model}, "job_variables": {"env": {"INGOT_STORE": store.root}}}
        return str(server.post(f"/deployments/{deployment}/create_flow_run", body)["id"])

    return start


def wait_for(server: Server, run_id: str, state: str, question: int | None = None) -> dict[str, Any]:
    """The run once its state has this name; of a suspended one, once it asks this question."""
    end = time.monotonic() + SECONDS
    while True:
        run: dict[str, Any] = server.get(f"/flow_runs/{run_id}")
        keys = run["state"]["state_details"].get("run_input_keyset") or {"schema": ""}
        if run["state_name"] == state and (question is None or f"-question-{question}-" in keys["schema"]):
            return run
        assert run["state_type"] not in ("FAILED", "CRASHED", "COMPLETED", "CANCELLED"), run["state"]
        assert time.monotonic() < end, f"run is {run['state_name']}: {run['state']}"
        time.sleep(0.3)


def form_of(server: Server, run: dict[str, Any]) -> str:
    """What stands above the fields, as the page of the run reads it."""
    key = run["state"]["state_details"]["run_input_keyset"]["description"]
    return str(server.get(f"/flow_runs/{run['id']}/input/{key}"))


def runs_of_processes(settings: Settings) -> set[str]:
    """Ids of the flow runs that some process of the stack executes."""
    found = set()
    for process in local_stack.stack_processes(settings):
        with suppress(psutil.Error):
            found.add(process.environ().get(RUN_VARIABLE, ""))
    return found


def answer(server: Server, run_id: str, **values: str) -> str:
    """Press Resume in the form; the server's verdict on the values."""
    return str(server.post(f"/flow_runs/{run_id}/resume", {"run_input": values})["status"])


def test_a_person_approves_in_the_form_and_a_kill_of_everything_meanwhile_loses_nothing(
    server: Server, stack: StackState, settings: Settings, store: Store, promote: Any
) -> None:
    assert stack.mlflow_url is not None
    for number in (1, 3):
        record = VersionRecord(name="mini", version=number, source=f"ingot://checkpoints/{number}", run_key="", tags={},
                               aliases=("champion",) if number == 1 else ())  # fmt: skip
        tracking_versions.register_model_version(stack.mlflow_url, record)
    run_id = promote("mini@candidate")
    wait_until(lambda: run_id in runs_of_processes(settings), "the process of the run")
    run = wait_for(server, run_id, "Suspended", question=0)
    assert run["name"] == "promote mini@candidate"
    form = form_of(server, run)
    for words in ("mini/3: PASS", "champion mini/1", "baseline xz", "handbook@1 to handbook@2", "licence internal"):
        assert words in form
    wait_until(lambda: run_id not in runs_of_processes(settings), "the process of a run that waits to be gone")

    assert answer(server, run_id, decision="perhaps", name="Bob", reason="so") == "REJECT"
    assert answer(server, run_id, decision="approve", name="Ada ", reason="mine, so it is good") == "ACCEPT"
    run = wait_for(server, run_id, "Suspended", question=1)
    assert "four eyes" in form_of(server, run).partition("\n")[0]
    assert model_versions.champion_version(ledger.read(store), "mini") == 1

    for process in processes.find_processes(settings.home, "data"):
        process.kill()
    kill_hard(stack.service("prefect").identity)
    server = local_stack.prefect_server(settings, local_stack.up(settings))
    assert server.get(f"/flow_runs/{run_id}")["state_name"] == "Suspended"
    assert answer(server, run_id, decision="approve", name="Bob", reason="reads well") == "ACCEPT"
    run = wait_for(server, run_id, "Completed")
    approved, promoted = ledger.read(store)[-2:]
    assert (approved.verb, promoted.verb) == ("approved", "promoted")
    assert approved.actor == promoted.actor == Actor("person", "Bob", "declared")
    assert (approved.details["flow_run"], promoted.details["reason"]) == (run_id, "reads well")
    assert "champion of mini is version 3, was mini/1: Bob" in run["state"]["message"]
    assert tracking_versions.get_alias(stack.mlflow_url, "mini", "champion") == 3


def test_what_may_not_be_promoted_ends_the_run_with_one_line_and_asks_nobody(server: Server, promote: Any) -> None:
    run = wait_for(server, promote("mini/1"), "Failed")
    assert run["state"]["message"] == (
        "INGOT-GATE: model mini/1 is the champion already; there is nothing to approve"
    )
