"""Log lines that cross from a worker or rank to the process that started it, without a document's text.

The child appends what our own packages say to a file of its own, a JSON object a line; the parent reads the new
lines now and then and says them again under the same logger, so that they stand in the log of the task that is at
work. A line is written the moment it is said, so a child that is killed leaves its last words.

What an exception of somebody else's says may quote a document: of it only the class and the places in our own
code are written.
"""

import contextlib
import json
import logging
import os
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ingot.errors import IngotError

OUR_PACKAGES = ("datasets_pipeline", "evaluation", "flows", "ingot", "tasks", "training")
MAX_CHARACTERS = 2_000
INFO_LINES, WARNING_LINES = 30, 200
"""Lines of one child that are passed on in a window; what is beyond is counted, and stays in the child's file."""
WINDOW_SECONDS = 10.0
_ROOT = Path(__file__).resolve().parents[1]

logger = logging.getLogger(__name__)


class LineHandler(logging.Handler):
    """Appends the lines of our packages to a file that only its owner reads."""

    def __init__(self, path: Path) -> None:
        super().__init__(logging.INFO)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.addFilter(lambda record: record.name.split(".")[0] in OUR_PACKAGES)

    def emit(self, record: logging.LogRecord) -> None:
        """One write a line: whole or absent, whatever happens to this process next."""
        try:
            line = {"level": record.levelno, "logger": record.name, "message": _message(record)[:MAX_CHARACTERS]}
            os.write(self._file, json.dumps(line).encode() + b"\n")
        except Exception:
            self.handleError(record)


def write_lines_to(path: Path) -> None:
    """From now on, what our packages say at INFO and above in this process goes to this file too."""
    handler = LineHandler(path)
    logging.getLogger().addHandler(handler)
    for name in OUR_PACKAGES:
        logging.getLogger(name).setLevel(logging.INFO)


def describe_error(error: BaseException) -> str:
    """An error without what it quotes: ours in full, another's as its class and where in our code it rose."""
    if isinstance(error, IngotError):
        return f"{error.code}: {error}"
    frames = [
        f"{place}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
        if (place := _place(frame.filename)) is not None
    ]
    system = f" ({os.strerror(error.errno)})" if isinstance(error, OSError) and error.errno else ""
    return f"{type(error).__name__}{system} at {' > '.join(frames) or 'a place outside our code'}"


def _place(filename: str) -> Path | None:
    """A file of our packages, as the repository names it; None for another's."""
    path = Path(filename)
    if not path.is_relative_to(_ROOT):
        return None
    place = path.relative_to(_ROOT)
    return place if place.parts[0] in OUR_PACKAGES else None


class LineTail:
    """Says again, in this process, what children wrote to their files; call `deliver` where the work is."""

    def __init__(self) -> None:
        self._offsets: dict[Path, int] = {}
        self._windows: dict[Path, _Window] = {}

    def deliver(self, files: Iterable[tuple[str, Path]]) -> None:
        """Pass on the new whole lines of these (name of the child, its file)."""
        for name, path in files:
            window = self._windows.setdefault(path, _Window())
            for line in self._new_lines(path):
                level = int(line["level"])
                if window.has_room(level):
                    logging.getLogger(str(line["logger"])).log(level, "[%s] %s", name, line["message"])
            left_out = window.left_out()
            if left_out:
                logger.warning("[%s] %d more lines are not shown", name, left_out)

    def _new_lines(self, path: Path) -> list[dict[str, Any]]:
        try:
            with open(path, "rb") as file:
                file.seek(self._offsets.get(path, 0))
                data = file.read()
        except OSError:
            return []  # not there yet, or gone with its folder: no line is worth the work
        whole = data[: data.rfind(b"\n") + 1]
        self._offsets[path] = self._offsets.get(path, 0) + len(whole)
        lines = []
        for line in whole.splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(line))
        return lines


class _Window:
    """How many lines of one child were passed on lately."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._passed = {False: 0, True: 0}
        self._left_out = 0

    def has_room(self, level: int) -> bool:
        urgent = level >= logging.WARNING
        self._passed[urgent] += 1
        fits = self._passed[urgent] <= (WARNING_LINES if urgent else INFO_LINES)
        self._left_out += not fits
        return fits

    def left_out(self) -> int:
        """Lines left out in the window that has just ended; 0 while it lasts."""
        if time.monotonic() - self._begin < WINDOW_SECONDS:
            return 0
        left_out, self._left_out = self._left_out, 0
        self._begin, self._passed = time.monotonic(), {False: 0, True: 0}
        return left_out


def _message(record: logging.LogRecord) -> str:
    if isinstance(record.args, tuple):
        # Another's exception among the arguments says no more here than in a traceback.
        record = logging.makeLogRecord({**record.__dict__, "args": tuple(map(_harmless, record.args))})
    message = record.getMessage()
    error = record.exc_info[1] if record.exc_info else None
    return f"{message}: {describe_error(error)}" if error is not None else message


def _harmless(value: object) -> object:
    return describe_error(value) if isinstance(value, BaseException) else value
