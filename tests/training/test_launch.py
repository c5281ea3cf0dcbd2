"""The process group as a whole: real torchrun, real signals, nothing left behind."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from ingot.errors import BusyError, DataError, TrainingError
from tests.training.conftest import BESIDE, FINGERPRINT, TINY, Place, RankRunner
from training.checkpoints import list_steps, verify_checkpoint
from training.job import Failure
from training.launch import TrainingInterrupted, _environment, _failure, _watch
from training.stages.pretrain import run

ROOT = Path(__file__).parents[2]
# Long enough that a signal sent when the first lines appear arrives in the middle.
LONG = BESIDE.model_copy(update={"tokens": 250 * 256, "checkpoint_every_steps": 100})


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def started(place: Place) -> bool:
    path = place.run_dir / "metrics.jsonl"
    return path.is_file() and path.read_text().count("\n") >= 3


@pytest.fixture
def launcher(place: Place) -> Iterator[Callable[[int], subprocess.Popen[str]]]:
    """Starts a launcher in a process of its own."""
    processes = []

    def start(num_ranks: int) -> subprocess.Popen[str]:
        place.run_dir.mkdir(exist_ok=True)
        job = place.root / "test_job.json"
        job.write_text(place.job(LONG).model_dump_json())
        command = [sys.executable, "-m", "tests.training.start_run", str(job), str(num_ranks)]
        environment = {**os.environ, "INGOT_SECRET_WAREHOUSE": "planted", "PREFECT_API_KEY": "planted"}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The agent and then the ranks of a launcher."""
    return psutil.Process(process.pid).children(recursive=True)


def gone(processes: list[psutil.Process]) -> bool:
    return all(not p.is_running() or p.status() == psutil.STATUS_ZOMBIE for p in processes)


def processes_of(place: Place) -> list[str]:
    """Command lines in /proc of agents and ranks of a run, whoever their parent is now."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(place.run_dir) in line:
            found.append(line)
    return found


def test_a_group_trains_reports_and_gives_the_weights_of_a_single_process(clean: Place, place: Place) -> None:
    lines: list[dict[str, float]] = []
    ref = run(TINY, None, place.tokens, place.output(on_progress=lines.extend))
    assert (ref.step, ref.tokens_seen, ref.reused) == (12, 12 * 256, False)
    assert place.weights_sha256() == clean.weights_sha256()
    assert lines == place.metrics() and [line["step"] for line in lines] == [0, 2, 4, 6, 8, 10, 12]
    known = {"time", "step", "loss", "learning_rate", "grad_norm", "tokens", "tokens_per_second", "epoch", "mfu"}
    measured = {"peak_memory_bytes", "energy_wh", "energy_estimated_wh"}  # one of the two energies, by machine
    assert known < lines[-1].keys() < known | measured
    assert lines[0]["loss"] - lines[-1]["loss"] > 0.5
    _, verified = verify_checkpoint(place.store, ref.key)
    assert verified == ref

    again: list[dict[str, float]] = []
    elsewhere = place.output(on_progress=again.extend, run_dir=place.root / "other machine")
    assert run(TINY, None, place.tokens, elsewhere) == ref.model_copy(update={"reused": True})
    assert again == lines  # the curve comes from the store


def test_term_leaves_a_checkpoint_and_a_second_start_continues(
    place: Place, launcher: Callable[[int], subprocess.Popen[str]], run_rank: RankRunner
) -> None:
    process = launcher(1)
    wait_for(lambda: started(place))
    agent, rank = family(process)
    assert any("training.worker" in line for line in processes_of(place))
    environment = rank.environ()
    assert "planted" not in environment.values() and environment["OMP_NUM_THREADS"] == "1"
    with pytest.raises(BusyError, match="in use by another run"):
        run(LONG, None, place.tokens, place.output())
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == TrainingInterrupted.exit_code
    assert process.stdout is not None
    message = process.stdout.read()
    assert "INGOT-INTERRUPTED: training stopped as asked after step" in message
    assert gone([agent, rank]) and processes_of(place) == []
    assert place.outcome().status == "stopped"
    stopped_at = place.outcome().checkpoint.step
    assert 0 < stopped_at < 250 and list_steps(place.store, FINGERPRINT)[0] == stopped_at
    assert run_rank(place.job(LONG)) == 0
    assert f"continues at step {stopped_at} of 250" in (place.run_dir / "rank0.log").read_text()
    interrupted = place.weights_sha256(step=250)
    assert run_rank(place.job(LONG, fingerprint="9" * 64)) == 0
    assert interrupted == place.weights_sha256(step=250, fingerprint="9" * 64)


@pytest.mark.parametrize("victim", ["launcher", "agent", "rank"])
def test_whoever_is_killed_the_whole_group_goes(
    victim: str, place: Place, launcher: Callable[[int], subprocess.Popen[str]]
) -> None:
    process = launcher(2 if victim == "rank" else 1)
    wait_for(lambda: started(place))
    agent, *ranks = group = family(process)
    if victim == "rank":
        listening = [c.laddr.ip for p in group for c in p.net_connections() if c.status == psutil.CONN_LISTEN]
        assert listening and set(listening) == {"127.0.0.1"}  # gloo between the two ranks, on loopback
    {"launcher": process, "agent": agent, "rank": ranks[-1]}[victim].kill()
    wait_for(lambda: gone(group), 20)
    wait_for(lambda: processes_of(place) == [], 20)
    if victim != "launcher":
        assert process.wait(30) == TrainingError.exit_code
        assert process.stdout is not None
        message = process.stdout.read()
        assert "INGOT-TRAINING" in message and "continue from the last checkpoint" in message


def test_two_ranks_give_the_curve_of_one_and_are_heard(
    clean: Place, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ref = run(TINY, None, place.tokens, place.output(num_ranks=2))
    assert ref.step == 12
    said = [record.getMessage() for record in caplog.records if record.name.startswith("training.")]
    assert any(line.startswith("[rank 0] step 12 of 12: loss ") for line in said), said
    assert any(line.startswith("[rank 1] begins with fresh weights") for line in said), said
    for one, two in zip(clean.metrics(), place.metrics(), strict=True):
        assert one["step"] == two["step"]
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)


def test_cancel_passes_term_on_without_a_signal_to_this_process(place: Place) -> None:
    place.run_dir.mkdir()
    cancel = threading.Event()
    cancel.set()
    with subprocess.Popen(["sleep", "60"]) as agent:
        assert _watch(agent, place.job(), place.output(cancel=cancel), threading.Event())
        assert agent.returncode == -signal.SIGTERM


def test_a_group_that_ignores_term_is_killed_after_its_grace(place: Place) -> None:
    place.run_dir.mkdir()
    stop = threading.Event()
    stop.set()
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        agent.stdout.readline()
        assert _watch(agent, place.job(), place.output(grace_seconds=0.3), stop)
        assert agent.poll() is None  # still there: the caller kills it
        agent.kill()


def test_an_error_of_a_rank_arrives_as_it_was_raised(place: Place) -> None:
    place.run_dir.mkdir()
    named = Failure(attempt="test", rank=0, kind="DataError", message="token id 7 is outside the vocabulary")
    (place.run_dir / "failure.json").write_text(named.model_dump_json())
    error = _failure(place.job(), 1, num_ranks=1)
    assert isinstance(error, DataError) and str(error) == named.message


def test_a_death_without_an_error_is_told_with_the_end_of_the_log(place: Place) -> None:
    place.run_dir.mkdir()
    (place.run_dir / "rank0.log").write_text("".join(f"line {n}\n" for n in range(40)))
    message = str(_failure(place.job(), -9, num_ranks=1))
    assert "status -9" in message and "line 39" in message and "line 5\n" not in message
    assert "continue from the last checkpoint" in message


def test_a_group_without_a_heartbeat_is_given_up(place: Place) -> None:
    place.run_dir.mkdir()
    with subprocess.Popen(["sleep", "60"]) as agent:
        with pytest.raises(TrainingError, match="made no step for 0 s and was killed"):
            _watch(agent, place.job(), place.output(stall_timeout_seconds=0.3), threading.Event())
        agent.kill()


def test_a_broken_progress_callback_does_not_stop_the_tail(place: Place) -> None:
    from training.metrics import MetricsTail, MetricsWriter

    place.run_dir.mkdir()
    seen: list[dict[str, float]] = []
    broken = [True]

    def deliver(lines: list[dict[str, float]]) -> None:
        if broken[0]:
            raise ConnectionError("the tracking server is down")
        seen.extend(lines)

    tail, writer = MetricsTail(place.run_dir, deliver), MetricsWriter(place.run_dir)
    writer.write({"step": 1})
    tail.deliver()
    broken[0] = False
    writer.write({"step": 2})
    tail.deliver()
    tail.deliver()
    assert [line["step"] for line in seen] == [1, 2]


def test_ranks_get_no_server_addresses_and_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "INGOT_SECRET_X"):
        monkeypatch.setenv(name, "planted")
    monkeypatch.setenv("AWS_PROFILE", "kept")
    environment = _environment(threads=3)
    assert "planted" not in environment.values() and environment["AWS_PROFILE"] == "kept"
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "3"
    assert environment["PREFECT_SERVER_EPHEMERAL_ENABLED"] == "false"


def test_ranks_see_the_devices_their_stage_holds_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert _environment(threads=1, devices=("1", "3"))["CUDA_VISIBLE_DEVICES"] == "1,3"
    assert _environment(threads=1)["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"
