"""New data starts a retrain on the real servers: by the event, by looking, by both at once, and then never again."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from deployments import local_stack, prefect_api, retraining, services
from deployments.local_stack import StackState
from deployments.prefect_api import Server
from deployments.retraining import Poll
from ingot import manifest, store_identity
from ingot.retraining import PUBLISHED_EVENT
from ingot.settings import Settings
from ingot.storage import Store
from tests.base import tiny_store
from tests.waiting import wait_until

pytestmark = pytest.mark.stack
SECONDS = 120.0
ASKS = {"retrain": {"model": "mini", "recipe": "/data/recipe.yaml", "overrides": [], "min_new_tokens": 1}}
REGISTER = """
from deployments import definitions, local_stack, register, retraining
from ingot.settings import Settings
settings = Settings.from_environment()
server = local_stack.prefect_server(settings)
shipped = definitions.read_deployments(definitions.schedule_variables(settings), only=frozenset({"adapt"}))
adapt = register.register(shipped, server)[0].id
print(adapt, retraining.ensure_automation(server), retraining.ensure_automation(server))
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """mini/1, trained on handbook@1."""
    made = Store(str(tmp_path_factory.mktemp("new-data") / "store"))
    store_identity.initialise(made, salt=tiny_store.SALT)
    tiny_store.publish(made, tiny_store.FIRST_NIGHT, 1)
    tiny_store.train(made, 1)
    return made


@pytest.fixture(scope="module")
def here(settings: Settings, store: Store) -> Settings:
    """The stack's settings, with the tiny store for the stack's."""
    return replace(settings, store=store.root, environ={**settings.environ, "INGOT_STORE": store.root})


@pytest.fixture(scope="module")
def retrain_id(first_start: StackState, settings: Settings, store: Store) -> Iterator[str]:
    """`adapt` as it is shipped, with its automation, on the tiny store; and a `retrain` whose runs nobody takes."""
    server = local_stack.prefect_server(settings, local_stack.up(settings))
    flow = server.post("/flows/", {"name": "retrain model"})
    made = server.post("/deployments/", {"name": "retrain", "flow_id": flow["id"]})
    environment = {**settings.environ, **local_stack.environment(first_start)}
    done = subprocess.run(
        [sys.executable, "-c", REGISTER], capture_output=True, text=True, timeout=120,
        env={**environment, "PYTHONPATH": str(services.root_folder())},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    adapt, first, second = done.stdout.split()[-3:]
    assert (first, second) == ("True", "False")  # the second registration finds the automation as it should be
    server.patch(f"/deployments/{adapt}", {"job_variables": {"env": {"INGOT_STORE": store.root}}})
    yield str(made["id"])
    for run in retrains(server, made["id"]):  # they would wait for ever, and others count what waits
        server.delete(f"/flow_runs/{run['id']}")
    for deployment in (made["id"], adapt):
        server.delete(f"/deployments/{deployment}")
    for automation in automations(server):
        server.delete(f"/automations/{automation['id']}")


def publish(store: Store, uris: tuple[str, ...]) -> str:
    """The next version of handbook, which asks for a retrain; returns its root digest."""
    number = manifest.versions_of(store, "handbook")[-1] + 1
    tiny_store.publish(store, uris, number, ASKS)
    return manifest.read(store, "handbook", number).identity.root_digest


def tell(server: Server) -> None:
    """The event of a published version."""
    event = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": PUBLISHED_EVENT,
        "resource": {"prefect.resource.id": "ingot.corpus.handbook", "ingot.retrain": "asked"},
        "payload": {"corpus": "handbook"},
    }
    server.post("/events", [event])  # type: ignore[arg-type]


def retrains(server: Server, deployment: str) -> list[dict[str, Any]]:
    return prefect_api.flow_runs(server, deployments={"id": {"any_": [deployment]}})


def automations(server: Server) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.post(
        "/automations/filter", {"automations": {"name": {"any_": [retraining.AUTOMATION]}}}
    )
    return found


def adapt_runs(server: Server) -> list[dict[str, Any]]:
    return prefect_api.flow_runs(server, flows={"name": {"any_": ["adapt model"]}})


def test_event_and_look_together_start_one_retrain(
    server: Server, here: Settings, store: Store, retrain_id: str
) -> None:
    root = publish(store, tiny_store.SECOND_NIGHT)
    tell(server)
    poll = Poll()
    poll(here, server)
    wait_until(lambda: [r for r in adapt_runs(server) if r["state_type"] == "COMPLETED"], "adapt", SECONDS)
    (run,) = retrains(server, retrain_id)
    assert run["idempotency_key"] == f"retrain-mini-{root}"
    assert run["parameters"]["corpus"] == "handbook@2" and run["parameters"]["recipe"] == "/data/recipe.yaml"
    assert run["parameters"]["requested_by"] in ("new data (event)", "new data (poll)")
    assert store.read_record(f"retrains/mini/{root}.json")["flow_run"] == run["id"]
    assert Poll()(here, server) == 0  # one that remembers nothing judges again, and the store remembers
    begun = time.process_time()
    assert poll(here, server) == 0
    assert time.process_time() - begun < 0.05
    assert len(retrains(server, retrain_id)) == 1


def test_without_the_automation_the_look_alone_starts_it_and_does_so_once(
    server: Server, here: Settings, store: Store, retrain_id: str
) -> None:
    (automation,) = automations(server)
    server.delete(f"/automations/{automation['id']}")
    before = len(adapt_runs(server))
    poll = Poll()
    assert poll(here, server) == 0
    publish(store, tuple(uri for uri in tiny_store.TEXTS if not uri.startswith("blog/")))
    tell(server)
    assert (poll(here, server), poll(here, server), Poll()(here, server)) == (1, 0, 0)
    runs = retrains(server, retrain_id)
    assert sorted(run["parameters"]["corpus"] for run in runs) == ["handbook@2", "handbook@3"]
    assert next(r for r in runs if r["parameters"]["corpus"] == "handbook@3")["parameters"]["requested_by"] == (
        "new data (poll)"
    )
    assert len(adapt_runs(server)) == before


def test_an_automation_that_was_switched_off_stays_off_and_is_otherwise_mended(server: Server, retrain_id: str) -> None:
    assert retraining.ensure_automation(server)  # it was deleted above
    (made,) = automations(server)
    server.patch(f"/automations/{made['id']}", {"enabled": False})
    assert not retraining.ensure_automation(server)
    kept = {name: made[name] for name in ("name", "trigger", "actions")}
    server.put(f"/automations/{made['id']}", {**kept, "enabled": False, "description": "of an earlier version"})
    assert retraining.ensure_automation(server)
    mended = server.get(f"/automations/{made['id']}")
    assert (mended["enabled"], mended["description"]) == (False, made["description"])
