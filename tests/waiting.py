"""Wait for something that another process does."""

import time
from collections.abc import Callable
from typing import Any


def wait_until(look: Callable[[], Any], what: str, seconds: float = 180.0) -> Any:
    """The first true answer of `look`; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.1)
    return found
