"""The secret that stands before both servers: made on the first start, its owner's alone (mode 0600).

Loopback is no boundary on a machine with other users. One user name and password guard both servers; the
command line, the workers and the browser get them from here. Processes are handed it in their environment,
which only their owner can read, never on a command line, which everybody can.
"""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ingot.errors import NotFoundError

USER = "ingot"
_BYTES = 24  # 192 bits, 32 characters
_MLFLOW_NAMES = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


@dataclass(frozen=True)
class Credential:
    """User and password of the control room."""

    user: str
    password: str = field(repr=False)

    @property
    def pair(self) -> str:
        """`user:password`, as HTTP's basic authentication and Prefect want it."""
        return f"{self.user}:{self.password}"


def path_of(home: Path) -> Path:
    """Where the password is kept."""
    return home / "run" / "secret"


def ensure(home: Path) -> Credential:
    """The credential of this home folder; made when there is none."""
    path = path_of(home)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        if path.stat().st_size == 0:
            path.unlink()  # a kill between making and writing it
    except FileNotFoundError:
        pass
    try:
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(_BYTES) + "\n")
    except FileExistsError:
        os.chmod(path, 0o600)  # somebody may have copied it about
    return read(home)


def read(home: Path) -> Credential:
    """The credential of this home folder; NotFoundError when there is none or it may not be read."""
    path = path_of(home)
    try:
        password = path.read_text().strip()
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read ({error.strerror}); `ingot up` makes it for its owner") from None
    if not password:
        raise NotFoundError(f"{path} is empty; delete it, and `ingot up` makes a new one")
    return Credential(USER, password)


def for_prefect(credential: Credential) -> dict[str, str]:
    """Variables that let Prefect's clients in."""
    return {"PREFECT_API_AUTH_STRING": credential.pair}


def for_mlflow(credential: Credential) -> dict[str, str]:
    """Variables that let MLflow's clients in."""
    return {"MLFLOW_TRACKING_USERNAME": credential.user, "MLFLOW_TRACKING_PASSWORD": credential.password}


def of_others(environ: Mapping[str, str], *, prefect: bool, mlflow: bool) -> dict[str, str]:
    """What the user's environment holds to be let into servers that are not ours."""
    names = (("PREFECT_API_AUTH_STRING",) if prefect else ()) + (_MLFLOW_NAMES if mlflow else ())
    return {name: environ[name] for name in names if name in environ}


def from_environment(environ: Mapping[str, str]) -> Credential | None:
    """The credential a process of ours was handed; None when it was handed none."""
    user, separator, password = environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    return Credential(user, password) if separator else None
