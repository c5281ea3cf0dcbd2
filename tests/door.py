"""What a home of the tests holds before its first start: one known secret, and kernels that are compiled once."""

import os
from base64 import b64encode
from pathlib import Path

from deployments import credentials

PASSWORD = "a-secret-of-the-tests-3f9c1d77"
"""Also a canary: nothing but the secret's file may hold it."""
CREDENTIAL = credentials.Credential(credentials.USER, PASSWORD)
HEADERS = {"Authorization": "Basic " + b64encode(CREDENTIAL.pair.encode()).decode()}


def prepare(home: Path) -> None:
    """Give a home folder the tests' secret, and the kernels that all processes of the run share."""
    kernels = Path(os.environ["NUMBA_CACHE_DIR"])
    kernels.mkdir(parents=True, exist_ok=True)
    home.mkdir(parents=True, exist_ok=True)
    (home / "numba").symlink_to(kernels)
    path = credentials.path_of(home)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_text(PASSWORD + "\n")
    path.chmod(0o600)


def open_for_this_process() -> None:
    """Let the clients of this process in."""
    os.environ.update({**credentials.for_prefect(CREDENTIAL), **credentials.for_mlflow(CREDENTIAL)})
