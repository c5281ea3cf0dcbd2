"""What the supervisor takes for dead, and how it paces itself; the real deaths are in test_kills.py."""

import os
from pathlib import Path

import pytest

from deployments import local_stack, processes, services, stack_state
from deployments.stack_state import ServiceState, StackState
from deployments.supervisor import Supervisor
from ingot.errors import ServiceError
from ingot.settings import Settings
from tests.stack.conftest import make_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path / "home")


def note(settings: Settings, *missing: str, **changed: ServiceState) -> None:
    """A note of a stack whose every process is this one, but for some."""
    alive = processes.identify(os.getpid())
    states = [
        changed.get(name) or ServiceState(name=name, identity=alive)
        for name in services.all_services(settings)
        if name not in missing
    ]
    stack_state.write_state(settings, StackState(home=str(settings.home), services=tuple(states)))


@pytest.fixture
def ups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every start the supervisor asks for; the starting itself is tested elsewhere."""
    asked: list[str] = []
    monkeypatch.setattr(local_stack, "up", lambda settings: asked.append(str(settings.home)))
    return asked


def test_a_stack_that_lives_or_was_taken_down_is_left_alone(settings: Settings, ups: list[str]) -> None:
    assert not Supervisor(settings).revive()  # no note: somebody took it down
    note(settings)
    assert not Supervisor(settings).revive()
    assert ups == []


def test_a_service_that_a_failed_start_took_out_of_the_note_is_started_again(
    settings: Settings, ups: list[str]
) -> None:
    note(settings, "prefect")
    assert Supervisor(settings).revive()
    assert len(ups) == 1


def test_a_server_elsewhere_is_not_ours_to_start(settings: Settings, ups: list[str]) -> None:
    note(settings, mlflow=ServiceState(name="mlflow", url="http://127.0.0.1:9"))
    assert not Supervisor(settings).revive()


def test_what_keeps_dying_is_tried_five_times_and_then_left_for_five_minutes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    def fail(settings: Settings) -> None:
        nonlocal tries
        tries += 1
        raise ServiceError("prefect ended with status 1")

    monkeypatch.setattr(local_stack, "up", fail)
    note(settings, "prefect")
    supervisor = Supervisor(settings)
    for _ in range(9):
        try:
            supervisor.revive()
        except ServiceError:
            continue
    assert tries == 5
