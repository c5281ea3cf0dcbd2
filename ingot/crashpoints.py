"""Named places where a process may be killed, so that tests can kill it at every one of them.

`INGOT_CRASH_AT=name` kills this process (SIGKILL) the first time it reaches that point,
`name:3` the third time, `name@detail` only where the detail matches (a file, a unit).
`INGOT_CRASH_LOG=file` appends each point reached, which is how a test enumerates them.
Without these variables a crash point is one dictionary look-up.
"""

import os
import signal

_reached: dict[str, int] = {}


def crashpoint(name: str, detail: str = "") -> None:
    """Mark a durable step; `name` is `<area>.<step>.<before|after>`."""
    log = os.environ.get("INGOT_CRASH_LOG")
    if log:
        with open(log, "a") as lines:
            lines.write(name + "\n")
    wanted = os.environ.get("INGOT_CRASH_AT")
    if not wanted:
        return
    wanted, _, occurrence = wanted.partition(":")
    wanted_name, _, wanted_detail = wanted.partition("@")
    if wanted_name != name or (wanted_detail and wanted_detail != detail):
        return
    _reached[name] = _reached.get(name, 0) + 1
    if _reached[name] == int(occurrence or 1):
        os.kill(os.getpid(), signal.SIGKILL)
