"""Rate and time left of a stage, and artifacts that never hold up the work they show."""

import threading
import time
from typing import Any

import pytest

from tasks import live_artifacts
from tasks.live_artifacts import LiveArtifact
from tasks.progress import Pace, describe, duration


def paced(*points: tuple[float, int]) -> Pace:
    pace = Pace()
    for now, done in points:
        pace.add(now, done)
    return pace


def test_progress_says_unit_rate_and_time_left() -> None:
    pace = paced((0.0, 0), (10.0, 1_000))
    assert describe("analyse", 1_000, 19_000, "documents", pace) == (
        "analyse: about 3 min left, 100 documents per second, 1,000 of 19,000 documents"
    )
    assert describe("analyse", 1_000, 1_000, "documents", pace) == (
        "analyse: done in 10 s, 100 documents per second, 1,000 of 1,000 documents"
    )
    assert describe("analyse", 1, 9, "files", paced((0.0, 1))) == "analyse: 1 of 9 files", "one point has no rate"


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    pace = paced((0.0, 0), (100.0, 100_000), (120.0, 100_200), (140.0, 100_400), (160.0, 100_600))
    assert pace.rate == pytest.approx(10.0)
    assert pace.mean_rate == pytest.approx(100_600 / 160)


def test_a_count_that_begins_anew_begins_a_new_rate() -> None:
    pace = paced((0.0, 0), (10.0, 1_000), (11.0, 0), (13.0, 10))
    assert pace.rate == pytest.approx(5.0) and pace.seconds == pytest.approx(2.0)


@pytest.mark.parametrize(("seconds", "text"), [(3.2, "3 s"), (89, "89 s"), (200, "3 min"), (7_500, "2 h 5 min")])
def test_a_duration_reads_as_a_person_says_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class Server:
    """Stands in for Prefect's client: slow, away, or refusing, and it notes what arrives."""

    def __init__(self) -> None:
        self.states: list[Any] = []
        self.error: Exception | None = None
        self.calls = 0
        self.open = threading.Event()
        self.open.set()

    def send(self, artifact: LiveArtifact, client: Any, state: Any) -> None:
        self.calls += 1
        self.open.wait(10)
        if self.error is not None:
            raise self.error
        self.states.append(state.data)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr(live_artifacts, "_publisher", live_artifacts._Publisher())
    monkeypatch.setattr(live_artifacts, "_new_client", lambda: object())
    monkeypatch.setattr(live_artifacts, "_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(LiveArtifact, "send", lambda self, client, state: server.send(self, client, state))
    return server


def artifact_of_a_run(key: str = "analyse") -> LiveArtifact:
    from uuid import uuid4

    artifact = LiveArtifact(key, "progress")
    artifact.flow_run_id = uuid4()
    return artifact


def test_a_slow_server_costs_the_work_nothing_and_gets_the_newest_state_only(server: Server) -> None:
    server.open.clear()
    artifact = artifact_of_a_run()
    begun = time.monotonic()
    for percent in range(1_000):
        artifact.show(percent)
    assert time.monotonic() - begun < 0.5
    assert not artifact.flush(0.1), "the end waits a short while only"
    server.open.set()
    assert artifact.flush(5)
    assert len(server.states) <= 2 and server.states[-1] == 999


def test_a_server_that_was_away_gets_the_last_state_when_it_is_back(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.error = ConnectionError("refused")
    artifact = artifact_of_a_run()
    artifact.show(1)
    artifact.show(2)
    time.sleep(0.2)
    server.error = None
    assert artifact.flush(5) and server.states[-1] == 2
    assert [record.levelname for record in caplog.records] == ["WARNING"], "said once"


def test_a_state_the_server_refuses_is_not_sent_for_ever(server: Server) -> None:
    server.error = ValueError("no such key")
    artifact = artifact_of_a_run()
    artifact.show(1)
    assert artifact.flush(5) and server.calls == 1


def test_outside_a_run_nothing_is_sent_and_a_key_is_always_valid(server: Server) -> None:
    artifact = LiveArtifact("acquire-My_Source.v2", "progress")
    artifact.show(1)
    assert artifact.flush(1) and server.calls == 0
    assert artifact.key == "acquire-my-source-v2"
