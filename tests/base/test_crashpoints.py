"""A crash point kills where a test says, and costs nothing elsewhere."""

import signal
from pathlib import Path

import pytest

from ingot.crashpoints import crashpoint
from tests.base.test_storage_local import in_child


def reach_points(log: Path) -> None:
    for name, detail in (("a.before", "x"), ("b.before", "x"), ("b.before", "y"), ("b.before", "z")):
        with log.open("a") as lines:
            lines.write(f"{name}@{detail}\n")
        crashpoint(name, detail)


@pytest.mark.parametrize(
    ("wanted", "last"),
    [
        ("a.before", "a.before@x"), ("b.before", "b.before@x"), ("b.before:2", "b.before@y"),
        ("b.before@z", "b.before@z"), ("b.before@y:1", "b.before@y"), ("b.before:4", None), ("b", None), ("", None),
    ],
)  # fmt: skip
def test_the_process_dies_at_the_point_that_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str, last: str | None
) -> None:
    monkeypatch.setenv("INGOT_CRASH_AT", wanted)
    status = in_child(lambda: reach_points(tmp_path / "log"))
    assert status == (-signal.SIGKILL if last else 0)
    assert (tmp_path / "log").read_text().split()[-1] == (last or "b.before@z")


def test_the_log_lists_every_point_that_was_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGOT_CRASH_LOG", str(tmp_path / "points"))
    reach_points(tmp_path / "log")
    assert (tmp_path / "points").read_text().split() == ["a.before", "b.before", "b.before", "b.before"]
