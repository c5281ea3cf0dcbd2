"""How the command line prints: text for people on stdout, `--json` for machines, progress on stderr."""

import json
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from ingot.errors import StorageError

Progress = Any
# Names of files are chosen by others: one that holds the start of a command would be carried out by the terminal.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Printer:
    """Prints lines for people, or keeps quiet and prints one JSON object at the end."""

    def __init__(self, *, as_json: bool, out: TextIO | None = None) -> None:
        self.as_json = as_json
        self._out = out or sys.stdout

    def line(self, text: str = "") -> None:
        """One line for people."""
        if not self.as_json:
            print(_CONTROL.sub(_escaped, text), file=self._out, flush=True)

    def heading(self, text: str) -> None:
        """A line that opens a section."""
        self.line()
        self.line(text)
        self.line("-" * len(text))

    def table(self, rows: Sequence[Sequence[object]], header: Sequence[str] = ()) -> None:
        """Columns wide enough for their cells; numbers to the right."""
        if self.as_json or not rows:
            return
        cells = [[_cell(value) for value in row] for row in rows]
        everything = [list(header), *cells] if header else cells
        widths = [max(len(row[i]) for row in everything) for i in range(len(everything[0]))]
        right = [all(isinstance(row[i], int | float) for row in rows) for i in range(len(widths))]
        for index, row in enumerate(everything):
            parts = [t.rjust(w) if r else t.ljust(w) for t, w, r in zip(row, widths, right, strict=True)]
            self.line("  " + "  ".join(parts).rstrip())
            if header and index == 0:
                self.line("  " + "  ".join("-" * width for width in widths))

    def result(self, value: Mapping[str, Any]) -> None:
        """The answer as JSON; nothing when printing for people."""
        if self.as_json:
            print(json.dumps(value, indent=1, ensure_ascii=False, default=str), file=self._out, flush=True)


def _escaped(found: re.Match[str]) -> str:
    return f"\\x{ord(found.group()):02x}"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3f}"
    return str(value)


@contextmanager
def progress_bars(*, quiet: bool) -> Iterator[Progress]:
    """A callback (what, done, total) that draws bars on a terminal, or prints a line a stage elsewhere."""
    if quiet:
        yield lambda what, done, total: None
    elif sys.stderr.isatty():
        with _terminal_bars() as report:
            yield report
    else:
        yield _lines()


@contextmanager
def _terminal_bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("left"), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield report


def _lines() -> Progress:
    finished: set[str] = set()
    lock = threading.Lock()

    def report(what: str, done: int, total: int) -> None:
        with lock:
            if done >= total and what not in finished:
                finished.add(what)
                print(f"{what}: {total:,} done", file=sys.stderr, flush=True)

    return report


def write_file(path: Path, data: bytes) -> None:
    """Write a file that a user named, whole or not at all; StorageError when its folder cannot take it."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            file.write(data)
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}; name another place") from error
