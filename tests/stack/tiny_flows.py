"""Two flows small enough to test the machinery around them."""

import time
from pathlib import Path

from prefect import flow


@flow
def write_note(path: str, overrides: dict[str, str] | None = None) -> str:
    """Leave a line in a file, as a sign that the worker ran this."""
    Path(path).write_text(f"note {sorted((overrides or {}).items())}\n")
    return path


@flow
def sleep_long(path: str, seconds: float = 600.0) -> None:
    """Say that it runs, then sleep, to be killed."""
    Path(path).write_text("sleeping\n")
    time.sleep(seconds)
