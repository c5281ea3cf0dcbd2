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


@flow
def meet(path: str, name: str, others: int) -> None:
    """Say that this run works, so that one that runs twice is seen, and wait until so many others do too."""
    with open(path, "a") as lines:
        lines.write(f"{name}\n")
    end = time.monotonic() + 120
    while len(Path(path).read_text().splitlines()) <= others:
        if time.monotonic() > end:
            raise TimeoutError("nobody came")
        time.sleep(0.1)
