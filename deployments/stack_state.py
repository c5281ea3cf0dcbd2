"""What is known about the local stack, how it is kept in INGOT_HOME/run, and the lock around it.

`stack.json` is written anew after each process start; `ports.json` and `recipe.json` remember the ports and
the nightly's recipe over restarts. All are their owner's alone (mode 0600).
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from deployments.processes import ProcessIdentity
from deployments.services import DATA_POOL, GPU_POOL, MLFLOW, PREFECT, SERVERS, SUPERVISOR
from ingot.errors import BusyError
from ingot.settings import Settings


class ServiceState(BaseModel):
    """One service as it is now."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    identity: ProcessIdentity | None = None
    """None for a server elsewhere, named by INGOT_PREFECT_URI or INGOT_MLFLOW_URI."""
    url: str | None = None
    """API address of a server; None for the worker."""
    port: int | None = None
    log: str = ""
    healthy: bool = False
    """Its process lives and, if it is a server, it answers."""


class StackState(BaseModel):
    """The whole stack as it is now; `running` when every service is healthy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: str
    services: tuple[ServiceState, ...] = ()
    started_at: str = ""
    seconds: float = 0.0
    """How long the last `up` that started something took."""
    already_running: bool = False
    """True when `up` found nothing to do."""
    troubles: tuple[str, ...] = ()
    """What the servers' logs complain about."""

    @property
    def running(self) -> bool:
        """True when both servers, a worker and the supervisor are there, and nothing that was started is down."""
        names = {s.name for s in self.services}
        return {*SERVERS, DATA_POOL, GPU_POOL, SUPERVISOR} <= names and all(s.healthy for s in self.services)

    def service(self, name: str) -> ServiceState:
        """The named service; an empty state when it was never started."""
        return next((s for s in self.services if s.name == name), ServiceState(name=name))

    @property
    def prefect_api_url(self) -> str | None:
        """For clients."""
        return self.service(PREFECT).url

    @property
    def prefect_ui_url(self) -> str | None:
        """For a browser."""
        url = self.prefect_api_url
        return url.removesuffix("/api") if url else None

    @property
    def mlflow_url(self) -> str | None:
        """For clients and for a browser."""
        return self.service(MLFLOW).url


@contextmanager
def only_one(settings: Settings, wait_seconds: float) -> Iterator[None]:
    """Hold the stack's lock; the system frees it when this process dies, however it dies."""
    folder = settings.home / "run"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "stack.lock"
    end = time.monotonic() + wait_seconds
    with open(os.open(path, os.O_CREAT | os.O_RDWR, 0o600), "r+") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise BusyError(
                        f"another `ingot up` or `ingot down` has held {path} for {wait_seconds:.0f} s; "
                        "try again when it is done"
                    ) from None
                time.sleep(0.1)
        yield


def state_path(settings: Settings) -> Path:
    """Where the state is kept while something may be running."""
    return settings.home / "run" / "stack.json"


def _ports_path(settings: Settings) -> Path:
    return settings.home / "run" / "ports.json"


class _Ports(BaseModel):
    ports: dict[str, int] = {}


def read_ports(settings: Settings) -> dict[str, int]:
    """The ports of last time by service; empty when there was none."""
    try:
        return _Ports.model_validate_json(_ports_path(settings).read_bytes()).ports
    except (OSError, ValidationError):
        return {}


def write_ports(settings: Settings, values: dict[str, int]) -> None:
    """Remember the ports, so that bookmarks keep working."""
    write_private(_ports_path(settings), _Ports(ports=values).model_dump_json())


class _Recipe(BaseModel):
    recipe: str


def _recipe_path(settings: Settings) -> Path:
    return settings.home / "run" / "recipe.json"


def read_recipe(settings: Settings) -> str | None:
    """The recipe that the deployments were last registered with by name; None when it was never said."""
    try:
        return _Recipe.model_validate_json(_recipe_path(settings).read_bytes()).recipe
    except (OSError, ValidationError):
        return None


def write_recipe(settings: Settings, recipe: str) -> None:
    """Remember the recipe, so that a restart registers the same nightly."""
    write_private(_recipe_path(settings), _Recipe(recipe=recipe).model_dump_json())


def read_state(settings: Settings) -> StackState | None:
    """What the last `up` recorded, believed or not; None when nothing readable is there."""
    try:
        return StackState.model_validate_json(state_path(settings).read_bytes())
    except (OSError, ValidationError):
        return None  # absent, cut short or of another version: processes are still found by their mark


def write_state(settings: Settings, state: StackState) -> None:
    """Record the state, whole or not at all."""
    write_private(state_path(settings), state.model_dump_json(indent=1))


def write_private(path: Path, text: str) -> None:
    """Write a small file of its owner's alone, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(path.name + ".part")
    with open(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)
    part.replace(path)
