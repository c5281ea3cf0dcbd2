"""One real stack for the whole folder: starting it is most of what these tests cost."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments import local_stack
from deployments.local_stack import StackState
from deployments.prefect_api import Server
from ingot.settings import Settings
from tests import door


def make_settings(home: Path, **more: str) -> Settings:
    foreign = ("INGOT_", "PREFECT_", "MLFLOW_", "_INGOT_")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    return Settings.from_environment({**clean, "INGOT_HOME": str(home), "INGOT_TIMEZONE": "Europe/Berlin", **more})


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    found = make_settings(tmp_path_factory.mktemp("stack") / "home")
    door.prepare(found.home)
    door.open_for_this_process()
    return found


@pytest.fixture(scope="session")
def first_start(settings: Settings) -> Iterator[StackState]:
    """What the first `up` returned; the stack is taken down after the last test."""
    try:
        yield local_stack.up(settings)
    finally:
        local_stack.down(settings)
        assert local_stack.stack_processes(settings) == []


@pytest.fixture
def stack(first_start: StackState, settings: Settings) -> StackState:
    """The stack, started again if an earlier test killed part of it or took it down."""
    return local_stack.up(settings)


@pytest.fixture
def server(stack: StackState, settings: Settings) -> Server:
    """The stack's Prefect API."""
    return local_stack.prefect_server(settings, stack)


@pytest.fixture
def client_environment(stack: StackState, settings: Settings) -> dict[str, str]:
    """The environment of a process that talks to the stack, for subprocesses of a test."""
    return {**settings.environ, **local_stack.environment(stack)}
