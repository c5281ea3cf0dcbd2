"""What a run looks like in words, when a follower is told something, and what two model versions differ in."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deployments import overview, run_view
from deployments.run_view import Progress, RunView, Step
from ingot.errors import ServiceError
from ingot.settings import Settings
from interface import comparing, following
from interface.cli import main
from interface.grammar import COMMANDS, parser
from tests.base.tiny_store import TinyStore, build

RUN: dict[str, Any] = {
    "tags": [], "parameters": {}, "auto_scheduled": False, "deployment_id": None, "created_by": None,
    "state_name": "Running", "state_type": "RUNNING", "work_pool_name": "gpu", "next_scheduled_start_time": None,
    "expected_start_time": "2026-01-01T02:00:00Z",
}  # fmt: skip
VIEW = RunView(
    id="1f0c", name="busy-owl", flow="train model", state="Running", state_type="RUNNING",
    started="2026-01-01T02:00:00Z", seconds=3.0, started_by="ada", request_id=None, about="handbook@2", waiting="",
    error="", url="http://ui/1f0c",
)  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyStore:
    folder = tmp_path_factory.mktemp("tiny")
    return build(folder / "store", folder / "sources")


@pytest.mark.parametrize(
    ("changed", "who"),
    [
        ({}, "command line"),
        ({"deployment_id": "d"}, "control room"),
        ({"deployment_id": "d", "auto_scheduled": True}, "schedule"),
        ({"deployment_id": "d", "created_by": {"type": "AUTOMATION"}}, "event"),
        ({"deployment_id": "d", "parameters": {"requested_by": "bob"}}, "bob"),
        ({"deployment_id": "d", "auto_scheduled": True, "tags": ["requested-by:ada"]}, "ada"),
    ],
)
def test_a_run_says_who_started_it(changed: dict[str, Any], who: str) -> None:
    assert run_view.started_by({**RUN, **changed}) == who


@pytest.mark.parametrize(
    ("state", "state_type", "words"),
    [
        ("Running", "RUNNING", ""),
        ("Pending", "PENDING", "its process to start"),
        ("Late", "SCHEDULED", "a free worker of pool gpu; `ingot doctor` says whether one is up"),
        ("AwaitingConcurrencySlot", "SCHEDULED", "its turn: 2d85 (old-cat) is under way; `ingot runs` shows how far"),
        ("AwaitingRetry", "SCHEDULED", "its next attempt, after a step failed for a reason that may pass"),
        ("Suspended", "PAUSED", "a person's answer: open it in Prefect and press Resume"),
        ("Completed", "COMPLETED", ""),
    ],
)
def test_a_run_says_what_it_waits_for(state: str, state_type: str, words: str) -> None:
    run = {**RUN, "state_name": state, "state_type": state_type}
    assert run_view.what_it_waits_for(run, ahead=[{"id": "2d85", "name": "old-cat"}]) == words


def test_a_run_that_waits_for_a_decision_names_the_command_and_status_says_the_same(tmp_path: Path) -> None:
    at = "2026-03-01T02:00:00+00:00"
    run = {**RUN, "id": "r", "name": "owl", "state_name": "Suspended", "state_type": "PAUSED", "deployment_id": "d",
           "parameters": {"model": "mini/3"}, "state": {"timestamp": at}}  # fmt: skip
    later = {**run, "id": "l", "state_name": "Scheduled", "state_type": "SCHEDULED"}

    class Asked:
        def post(self, path: str, body: Any) -> list[dict[str, Any]]:
            if path == "/flow_runs/filter":
                return [run, later] if not body.get("offset") else []
            return [{"id": "d", "flow_id": "f", "name": "promote"}]

    words = "a person's answer: open it in Prefect and press Resume, or `ingot approve mini/3 --reason ... --key ...`"
    settings = Settings.from_environment({"INGOT_HOME": str(tmp_path)})
    found = overview.waiting(settings, Asked())  # type: ignore[arg-type]
    assert [(item.id, item.why) for item in found] == [("r", words)] == [("r", run_view.what_it_waits_for(run))]


def test_a_run_of_later_says_when_and_one_without_a_worker_says_so() -> None:
    later = {**RUN, "state_type": "SCHEDULED", "state_name": "Scheduled", "expected_start_time": "2999-01-01T02:00:00Z"}
    assert run_view.what_it_waits_for(later) == "its time, 2999-01-01 02:00 UTC"
    late = {**RUN, "state_type": "SCHEDULED", "state_name": "Late"}
    assert run_view.what_it_waits_for(late, pool="a worker: none is alive") == "a worker: none is alive"


def test_what_a_run_made_is_shown_before_what_it_was_asked_for(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("corpus: handbook\n")
    made = [
        {"key": "data-card", "description": "handbook@1"},
        {"key": "data-card", "description": "handbook@2"},
        {"key": "lineage", "description": "model mini/3"},
    ]
    assert run_view.about({"recipe": str(recipe)}, []) == "handbook"
    assert run_view.about({"recipe": str(tmp_path / "gone.yaml")}, []) == "gone"
    assert run_view.about({"recipe": str(recipe), "model": "mini@candidate"}, []) == "mini@candidate"
    assert run_view.about({"recipe": str(recipe)}, made) == "handbook@2, mini/3"


def test_the_exit_code_of_a_followed_run_is_its_outcome() -> None:
    def code(state_type: str, verdict: str = "") -> int:
        return replace(VIEW, state_type=state_type, verdict=verdict).exit_code

    assert [code("COMPLETED"), code("FAILED"), code("CRASHED"), code("CANCELLED")] == [0, 1, 1, 130]
    assert code("COMPLETED", "model mini/3: FAIL") == 3
    assert code("COMPLETED", "model mini/3: PASS") == 0


def test_a_follower_is_told_what_changed_and_nothing_twice() -> None:
    step = Step("t1", "tokenize", "task", 0, "Running", 1.0)
    first = list(following.changes(None, replace(VIEW, steps=(step,))))
    assert [change["event"] for change in first] == ["run", "step", "state"]
    now = replace(VIEW, steps=(step,), progress=Progress("tokenize", 40.0, "4 of 10"))
    assert [c["event"] for c in following.changes(replace(VIEW, steps=(step,)), now)] == ["progress"]
    assert list(following.changes(now, replace(now, seconds=9.0))) == []
    ended = replace(
        now, steps=(replace(step, state="Failed", seconds=4.0, error="disk full"),), state="Failed",
        state_type="FAILED", error="disk full", seconds=75.0,
    )  # fmt: skip
    last = list(following.changes(now, ended))
    assert last[-1] == {
        "event": "state", "state": "Failed", "seconds": 75.0, "error": "disk full", "exit_code": 1, "verdict": "",
        "about": "handbook@2",
    }  # fmt: skip
    assert [following.line_of(change) for change in last] == [
        "  tokenize: Failed in 4.0 s: disk full",
        "Failed after 1 min 15 s: disk full",
    ]


def test_durations_and_task_names_are_words() -> None:
    assert [following.duration(s) for s in (None, 4.24, 42.4, 200, 7500)] == [
        "-", "4.2 s", "42 s", "3 min 20 s", "2 h 05 min",
    ]  # fmt: skip
    assert [run_view.task_name(name) for name in ("acquire-4f1", "show corpus-0", "wait-for-it")] == [
        "acquire", "show corpus", "wait-for-it",
    ]  # fmt: skip
    begun = {"start_time": "2026-01-01T02:00:00Z", "end_time": None}
    assert run_view.seconds_of(begun, datetime(2026, 1, 1, 2, 1, 30, tzinfo=UTC)) == 90.0


def test_two_model_versions_are_compared_from_the_store_alone(tiny: TinyStore) -> None:
    first, second = (comparing.describe(tiny.store, name, no_stack) for name in ("mini/1", "mini/2"))
    differences, results = comparing.compare(first, second)
    differing = {row[0]: row[1:] for row in differences}
    assert differing["corpus"] == ["handbook@1", "handbook@2"]
    assert "verdict" in {row[0] for row in results}
    assert comparing.compare(first, first)[0] == []


def no_stack() -> Any:
    raise ServiceError("no server is asked")


def test_the_runs_of_a_corpus_are_listed_from_the_store_without_a_stack(
    tiny: TinyStore, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGOT_STORE", str(tiny.root))
    assert main(["runs", "--corpus", "handbook@2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["runs"]
    assert found and {row["corpus"] for row in found} == {"handbook@2"}
    assert main(["runs", "--corpus", "handbook@2"]) == 0
    assert found[0]["name"] in capsys.readouterr().out
    assert main(["runs", "--corpus", "nowhere@1"]) == 4


def test_the_curves_of_a_training_run_end_with_loss_speed_and_time() -> None:
    lines = [
        {"step": 1, "time": 10.0, "loss": 5.0, "tokens_per_second": 90.0},
        {"step": 2, "time": 12.5, "loss": 4.0, "tokens_per_second": 100.0},
    ]
    assert comparing.training_results(lines) == {"loss": 4.0, "tokens/s": 100.0, "training in s": 2.5}
    assert comparing.training_results([]) == {}


@pytest.mark.parametrize("arguments", [["runs"], ["run", "1f0c"], ["cancel", "1f0c"]])
def test_without_a_stack_the_remedy_is_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--json"]) == ServiceError.exit_code
    assert "start it with `ingot up`" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_the_commands_that_start_a_flow_can_be_detached_and_repeated() -> None:
    for command in ("curate", "train", "evaluate", "build", "retrain"):
        options = parser().parse_args([command, "demo", "--detach", "--request-id", "tuesday"])
        assert (options.detach, options.request_id) == (True, "tuesday")
        assert command in COMMANDS
