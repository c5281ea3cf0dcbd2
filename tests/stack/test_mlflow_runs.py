"""Runs, curves, inputs and model versions in a real MLflow server, through crashes of either side."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments import local_stack, processes, services
from deployments.local_stack import StackState
from ingot import tracked_run, tracking
from ingot.errors import NotFoundError, ServiceError
from ingot.settings import Settings
from ingot.tracking_rebuild import restore
from ingot.tracking_records import DatasetInput, RunRecord, VersionRecord, points, read_lines
from ingot.tracking_versions import get_alias, register_model_version, set_alias, shown_versions

pytestmark = pytest.mark.stack
DIGEST = "5f" * 32
T0 = 1_780_000_000.25


def lines(*steps: int) -> list[dict[str, Any]]:
    return [{"time": T0 + step, "step": step, "loss": 5.0 - step / 10, "phase": "train"} for step in steps]


def history(uri: str, run_key: str, key: str = "loss") -> list[tuple[int, float, int]]:
    client = tracking.connect(uri)
    run = tracking.find_run(client, run_key)
    assert run is not None
    return [(m.step, m.value, m.timestamp) for m in client.get_metric_history(run.info.run_id, key)]


def seen(uri: str, run_key: str) -> Any:
    run = tracking.find_run(tracking.connect(uri), run_key)
    assert run is not None
    return run


@pytest.fixture
def uri(stack: StackState) -> str:
    assert stack.mlflow_url is not None
    return stack.mlflow_url


@pytest.fixture
def fast_retry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(tracked_run, "_PAUSE_SECONDS", 0.2)
    yield


def open_run(uri: str, run_key: str, **more: Any) -> tracked_run.TrackedRun:
    return tracking.open_run(uri, experiment="handbook", run_key=run_key, name=f"pretrain {run_key}", **more)


def test_a_run_shows_params_inputs_curves_and_files_and_ends_finished(uri: str) -> None:
    data = DatasetInput(
        name="handbook@12",
        digest=DIGEST,
        source="ingot://corpora/handbook/12",
        context="pretrain",
        profile={"documents": 7, "tokens": 600},
    )
    with open_run(uri, "run-a", params={"layers": 4, "lr": 3e-4}, tags={"ingot.recipe": "r1"}, datasets=[data]) as run:
        run.log_metric_lines(lines(1, 2, 3))
        run.log_html("card.html", "<p>7 documents</p>")
        run.log_json("recipe.json", {"b": 1, "a": 2})
    assert run.is_complete and run.failures == 0
    shown = seen(uri, "run-a")
    assert shown.info.status == "FINISHED"
    assert shown.data.params == {"layers": "4", "lr": "0.0003"}
    assert shown.data.tags["ingot.recipe"] == "r1"
    (entry,) = shown.inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("handbook@12", DIGEST[:32])
    assert json.loads(entry.dataset.source) == {"uri": "ingot://corpora/handbook/12", "digest": DIGEST}
    assert [(t.key, t.value) for t in entry.tags] == [("mlflow.data.context", "pretrain")]
    assert history(uri, "run-a") == [(s, 5.0 - s / 10, round((T0 + s) * 1000)) for s in (1, 2, 3)]
    names = {f.path for f in tracking.connect(uri).list_artifacts(shown.info.run_id)}
    assert names == {"card.html", "recipe.json"}


def test_artifacts_lie_under_the_home_folder(uri: str, settings: Settings) -> None:
    with open_run(uri, "run-files") as run:
        run.log_html("card.html", "<p>here</p>")
    found = list((settings.home / "mlflow" / "artifacts").rglob("card.html"))
    assert "<p>here</p>" in [path.read_text() for path in found]


def test_an_exception_ends_the_run_failed_and_does_not_quote_its_message(uri: str) -> None:
    with pytest.raises(ValueError), open_run(uri, "run-b") as run:
        run.log_metric_lines(lines(1))
        raise ValueError("the document says: secret")
    shown = seen(uri, "run-b")
    assert shown.info.status == "FAILED"
    assert shown.data.tags["ingot.ended"] == "ValueError"


def test_a_second_open_resumes_the_run_and_replays_nothing_twice(uri: str) -> None:
    with pytest.raises(RuntimeError), open_run(uri, "run-c", params={"layers": 4}) as run:
        run.log_metric_lines(lines(1, 2, 3, 4))
        raise RuntimeError
    resumed = [{**line, "time": line["time"] + 1000} for line in lines(3, 4, 5)]  # from the checkpoint at step 2
    with open_run(uri, "run-c", params={"layers": 4}) as run:
        run.log_metric_lines(lines(1, 2))
        run.log_metric_lines(resumed)
    assert run.failures == 0
    assert [step for step, _, _ in history(uri, "run-c")] == [1, 2, 3, 4, 5]
    assert seen(uri, "run-c").info.status == "FINISHED"
    assert "ingot.ended" not in seen(uri, "run-c").data.tags


def child(uri: str, run_key: str, environment: dict[str, str], body: str) -> subprocess.Popen[bytes]:
    code = (
        "import time, os, signal, sys; from ingot import tracking\n"
        f"run = tracking.open_run({uri!r}, experiment='handbook', run_key={run_key!r}, name='child',"
        " heartbeat_seconds=0.2)\n"
        f"{body}\n"
    )
    env = {**environment, "PYTHONPATH": str(services.root_folder())}
    return subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE)


LOOP = "with run:\n    print('open', flush=True)\n    time.sleep(60)"


def test_a_killed_run_is_reaped_at_once_as_failed_with_the_time_of_its_last_heartbeat(
    uri: str, client_environment: dict[str, str]
) -> None:
    killed = child(uri, "run-killed", client_environment, LOOP)
    assert killed.stdout is not None
    assert killed.stdout.readline() == b"open\n"
    time.sleep(0.6)
    killed.send_signal(signal.SIGKILL)
    killed.wait(10)
    with open_run(uri, "run-alive", heartbeat_seconds=0.2):
        assert seen(uri, "run-killed").info.status == "RUNNING"
        # Far from its 180 s, but its process was of this machine and is gone.
        assert tracking.reap_dead_runs(uri) == 1
        assert seen(uri, "run-alive").info.status == "RUNNING"
    shown = seen(uri, "run-killed")
    assert shown.info.status == "FAILED"
    assert shown.info.end_time == int(shown.data.tags["ingot.heartbeat"])
    assert "killed" in shown.data.tags["ingot.ended"]


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [("term", LOOP, "SIGTERM"), ("exit", "run.start(); print('open', flush=True)", "without ending")],
)
def test_a_process_that_is_ended_leaves_a_failed_run(
    uri: str, client_environment: dict[str, str], name: str, body: str, reason: str
) -> None:
    process = child(uri, f"run-{name}", client_environment, body)
    assert process.stdout is not None
    assert process.stdout.readline() == b"open\n"
    if name == "term":
        process.terminate()
        assert process.wait(20) == -signal.SIGTERM
    else:
        assert process.wait(20) == 0
    shown = seen(uri, f"run-{name}")
    assert shown.info.status == "FAILED"
    assert reason in shown.data.tags["ingot.ended"]


def test_a_server_killed_in_the_middle_neither_stops_the_run_nor_loses_a_line(
    uri: str, settings: Settings, fast_retry: None, caplog: pytest.LogCaptureFixture
) -> None:
    with open_run(uri, "run-d", heartbeat_seconds=60) as run:
        run.log_metric_lines(lines(1, 2))
        for process in processes.find_processes(settings.home, "mlflow"):
            process.kill()
        begun = time.monotonic()
        for step in range(3, 8):
            run.log_metric_lines(lines(step))
        run.log_html("card.html", "<p>later</p>")
        assert time.monotonic() - begun < 15.0
        assert run.failures >= 1 and not run.is_complete
        assert len([r for r in caplog.records if "does not take the run" in r.message]) == 1
        assert local_stack.up(settings).mlflow_url == uri
        run.log_metric_lines(lines(8))
        time.sleep(0.3)
    assert run.is_complete
    assert [step for step, _, _ in history(uri, "run-d")] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert seen(uri, "run-d").info.status == "FINISHED"


def test_a_run_without_any_server_ends_in_seconds() -> None:
    begun = time.monotonic()
    with open_run("http://127.0.0.1:9", "run-nowhere") as run:
        for step in range(100):
            run.log_metric_lines(lines(step))
    assert time.monotonic() - begun < 15.0
    assert run.failures >= 1 and not run.is_complete


def test_runs_are_found_by_the_digest_of_a_dataset_over_all_experiments(uri: str) -> None:
    data = DatasetInput(name="wiki@3", digest="ab" * 32, source="ingot://corpora/wiki/3", context="eval")
    for experiment in ("one", "two"):
        run = tracking.open_run(uri, experiment=experiment, run_key=f"run-{experiment}", name="eval", datasets=[data])
        with run:
            pass
    found = tracking.search_runs_by_dataset_digest(uri, "ab" * 32)
    assert {(r.run_key, r.experiment, r.status) for r in found} == {
        ("run-one", "one", "FINISHED"),
        ("run-two", "two", "FINISHED"),
    }
    assert tracking.search_runs_by_dataset_digest(uri, "cd" * 32) == []


def test_a_model_version_has_our_number_our_source_and_an_alias_that_moves(uri: str) -> None:
    with open_run(uri, "run-model"):
        pass
    for number in (3, 4):  # numbers of ours; MLflow counts 1, 2
        record = VersionRecord(
            name="handbook-model",
            version=number,
            source=f"ingot://checkpoints/{DIGEST}/{number:08d}",
            run_key="run-model",
            tags={"ingot.verdict": "FIRST"},
            aliases=("candidate",),
        )
        register_model_version(uri, record)
        register_model_version(uri, record)
    assert get_alias(uri, "handbook-model", "candidate") == 4
    assert get_alias(uri, "handbook-model", "champion") is None
    assert get_alias(uri, "no-such-model", "champion") is None
    set_alias(uri, "handbook-model", "champion", 3)
    assert get_alias(uri, "handbook-model", "champion") == 3
    with pytest.raises(NotFoundError, match="version 9 of model handbook-model"):
        set_alias(uri, "handbook-model", "champion", 9)
    versions = tracking.connect(uri).search_model_versions("name = 'handbook-model'")
    assert {(v.version, v.tags["ingot.version"]) for v in versions} == {("1", "3"), ("2", "4")}
    assert {v.run_id for v in versions} == {seen(uri, "run-model").info.run_id}
    assert {v.source for v in versions} == {f"ingot://checkpoints/{DIGEST}/{n:08d}" for n in (3, 4)}


def test_a_version_has_a_page_and_a_corpus_and_a_model_of_one_name_keep_their_numbers_apart(uri: str) -> None:
    source = f"ingot://checkpoints/{DIGEST}"
    of_corpus = VersionRecord(name="corpus-twin", version=1, source=source, kind="corpus", description="| a |\n|---|")
    of_model = VersionRecord(name="corpus-twin", version=1, source=source, description="card", about="what they are")
    for record in (of_corpus, of_model, of_model.model_copy(update={"description": "a newer card"})):
        register_model_version(uri, record)
    shown = tracking.connect(uri).search_model_versions("name = 'corpus-twin'")
    assert {v.tags["ingot.kind"]: v.description for v in shown} == {"corpus": "| a |\n|---|", "model": "a newer card"}
    assert shown_versions(uri, "corpus-twin", "corpus") == {1} and shown_versions(uri, "nobody") == set()


def test_mlflow_refuses_a_plain_path_as_a_source_which_is_why_ours_has_a_scheme(uri: str, tmp_path: Path) -> None:
    for source in (str(tmp_path), f"file://{tmp_path}"):
        with pytest.raises(ServiceError, match="source"):
            register_model_version(uri, VersionRecord(name="refused", version=1, source=source))


def test_restore_fills_an_empty_mlflow_and_a_second_time_doubles_nothing(uri: str, tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines(*range(1, 1501))) + '{"time": 1, "st')
    record = RunRecord(
        run_key="run-restored",
        name="restored",
        experiment="restored",
        params={"layers": 2},
        tags={"ingot.corpus": "handbook@12"},
        datasets=(
            DatasetInput(name="handbook@12", digest=DIGEST, source="ingot://corpora/handbook/12", context="pretrain"),
        ),
        artifacts={"card.html": "<p>card</p>"},
        metrics_path=metrics,
        status="FINISHED",
        start_time_ms=1_780_000_000_000,
        end_time_ms=1_780_000_100_000,
    )
    version = VersionRecord(
        name="restored-model",
        version=7,
        source=f"ingot://checkpoints/{DIGEST}",
        run_key="run-restored",
        aliases=("champion",),
    )
    for _ in range(2):
        assert restore(uri, [record], [version]) == (1, 1)
        shown = seen(uri, "run-restored")
        assert shown.info.status == "FINISHED"
        assert (shown.info.start_time, shown.info.end_time) == (1_780_000_000_000, 1_780_000_100_000)
        assert len(history(uri, "run-restored")) == 1500
        assert len(shown.inputs.dataset_inputs) == 1
        assert get_alias(uri, "restored-model", "champion") == 7
    assert len(tracking.connect(uri).search_model_versions("name = 'restored-model'")) == 1


def test_a_question_to_a_dead_server_is_a_service_error_within_seconds() -> None:
    begun = time.monotonic()
    with pytest.raises(ServiceError, match="http://127.0.0.1:9"):
        tracking.reap_dead_runs("http://127.0.0.1:9")
    assert time.monotonic() - begun < 10.0


def test_points_are_numbers_with_the_time_of_their_line(tmp_path: Path) -> None:
    found = list(points([{"time": 1.5, "step": 2, "loss": 3, "kind": "train", "ok": True}, {"step": 1, "loss": 1}]))
    assert found == [("loss", 3.0, 2, 1500)]
    assert read_lines(tmp_path / "absent.jsonl") == []


def test_a_run_takes_at_most_twenty_params() -> None:
    with pytest.raises(ValueError, match="20"):
        RunRecord(run_key="k", name="n", experiment="e", params={f"p{i}": i for i in range(21)})


def test_importing_tracking_does_not_import_mlflow() -> None:
    code = "import sys, ingot.tracking, ingot.tracked_run, ingot.tracking_rebuild; sys.exit('mlflow' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(services.root_folder())}
    assert subprocess.run([sys.executable, "-c", code], env=env).returncode == 0
