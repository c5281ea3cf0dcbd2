"""Lines that cross from a child to its parent: levels kept, in bounds, and without what another's error quotes."""

import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingot import line_logs
from ingot.errors import DataError
from ingot.line_logs import INFO_LINES, LineHandler, LineTail, describe_error

CANARY = "the patient's name is Zebulon Quarrington"


@pytest.fixture
def child(tmp_path: Path) -> Iterator[logging.Logger]:
    """A logger as a child has it; its lines go to the file only."""
    logger = logging.Logger("datasets_pipeline.somewhere", logging.DEBUG)
    handler = LineHandler(tmp_path / "child.jsonl")
    logger.addHandler(handler)
    yield logger


@pytest.fixture
def said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> "Said":
    caplog.set_level(logging.INFO)
    return Said(tmp_path / "child.jsonl", caplog)


class Said:
    """What the parent says again."""

    def __init__(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.path, self.caplog, self.tail = path, caplog, LineTail()

    def lines(self) -> list[tuple[str, str]]:
        self.caplog.clear()
        self.tail.deliver([("worker 2", self.path)])
        return [(record.levelname, record.getMessage()) for record in self.caplog.records]


def quote() -> None:
    raise ValueError(CANARY)


def test_lines_are_said_again_once_with_the_childs_name_and_their_level(child: logging.Logger, said: Said) -> None:
    assert said.lines() == []
    child.info("read %d files", 3)
    child.debug("a detail")
    child.warning("slow")
    assert said.lines() == [("INFO", "[worker 2] read 3 files"), ("WARNING", "[worker 2] slow")]
    assert said.caplog.records[0].name == "datasets_pipeline.somewhere"
    child.error("gone")
    assert said.lines() == [("ERROR", "[worker 2] gone")]
    assert stat.S_IMODE(said.path.stat().st_mode) == 0o600


def test_of_anothers_exception_only_the_class_and_our_own_places_are_told(child: logging.Logger, said: Said) -> None:
    try:
        line_logs.json.loads(CANARY)
    except ValueError as error:
        child.exception("a unit failed")
        child.warning("tried again after %s", error)
    lines = said.lines()
    assert lines[0] == ("ERROR", "[worker 2] a unit failed: JSONDecodeError at a place outside our code")
    assert "JSONDecodeError" in lines[1][1]
    assert CANARY not in said.path.read_text() and CANARY not in str(lines)


def test_places_in_our_code_are_told_and_our_own_errors_are_told_in_full(tmp_path: Path) -> None:
    try:
        line_logs.write_lines_to(tmp_path / "missing" / "file")
    except OSError as error:
        text = describe_error(error)
    assert text.startswith("FileNotFoundError (No such file or directory) at ingot/line_logs.py:")
    assert "in write_lines_to" in text and str(tmp_path) not in text
    assert describe_error(DataError("unit 3 is damaged")) == "INGOT-DATA: unit 3 is damaged"


def test_other_packages_are_not_passed_on(tmp_path: Path, said: Said) -> None:
    logger = logging.Logger("somebody.elses")
    logger.addHandler(LineHandler(said.path))
    logger.error(CANARY)
    assert said.lines() == []


def test_a_flood_is_cut_but_a_warning_in_it_is_not_lost(
    child: logging.Logger, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(200):
        child.info("line %d", number)
    child.warning("the one that matters")
    lines = said.lines()
    assert len(lines) == INFO_LINES + 1 and lines[-1] == ("WARNING", "[worker 2] the one that matters")
    monkeypatch.setattr(line_logs, "WINDOW_SECONDS", 0.0)
    assert said.lines() == [("WARNING", f"[worker 2] {200 - INFO_LINES} more lines are not shown")]


def test_half_a_line_waits_for_its_other_half(child: logging.Logger, said: Said) -> None:
    child.info("whole")
    whole = said.path.read_bytes()
    said.path.write_bytes(whole[:-5])
    assert said.lines() == []
    said.path.write_bytes(whole)
    assert said.lines() == [("INFO", "[worker 2] whole")]
