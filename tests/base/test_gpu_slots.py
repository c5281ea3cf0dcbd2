"""GPU slots: all or none, in turn, freed by the kernel when their holder is killed."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ingot import gpu_slots
from ingot.errors import RecipeError
from ingot.settings import Settings

HOLDER = """
import sys, time
from ingot import gpu_slots
from ingot.settings import Settings
number, run = int(sys.argv[1]), sys.argv[2]
say = lambda text: print("waits", text, flush=True)
with gpu_slots.hold(Settings.from_environment(), number, flow_run_id=run, what="pretrain", on_wait=say) as devices:
    print("has", ",".join(devices), flush=True)
    sys.stdin.readline()
"""
Start = Callable[[int, str], "subprocess.Popen[str]"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"INGOT_HOME": str(tmp_path), "INGOT_GPUS": "2"})


@pytest.fixture
def start(settings: Settings) -> Iterator[Start]:
    """Starts a process that holds so many slots until its input ends."""
    started = []

    def run(number: int, flow_run_id: str) -> "subprocess.Popen[str]":
        environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(number), flow_run_id],
            env={**environment, **settings.environ}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def queue_length(settings: Settings) -> int:
    return len(list((gpu_slots.folder_of(settings.home) / "queue").glob("[0-9]*")))


def test_the_second_who_wants_both_waits_and_starts_when_the_first_is_killed(settings: Settings, start: Start) -> None:
    first = start(2, "11111111-run")
    assert line(first) == "has 0,1"
    second = start(2, "22222222-run")
    told = line(second)
    assert told.startswith("waits 2 GPUs: 0 and 1 are held by pretrain of run 11111111 since ")
    assert [(slot.device, slot.flow_run_id, slot.pid) for slot in gpu_slots.describe(settings)] == [
        (device, "11111111-run", first.pid) for device in ("0", "1")
    ]
    first.send_signal(signal.SIGKILL)
    first.wait()
    while (told := line(second)).startswith("waits"):
        pass
    assert told == "has 0,1"
    assert {slot.pid for slot in gpu_slots.describe(settings)} == {second.pid}


def test_a_small_request_waits_behind_a_large_one_that_came_first(settings: Settings, start: Start) -> None:
    one = start(1, "one")
    assert line(one) == "has 0"
    both = start(2, "both")
    assert "0 is held by pretrain of run one" in line(both)
    small = start(1, "small")  # device 1 is free, but it is not its turn
    assert "1 stage waits longer" in line(small)
    assert [slot.is_free for slot in gpu_slots.describe(settings)] == [False, True], "none is kept by who waits"
    both.kill()  # a place in the queue is as little lost as a slot
    both.wait()
    while (told := line(small)).startswith("waits"):
        pass
    assert told == "has 1"
    assert queue_length(settings) == 0


def test_slots_are_free_after_a_normal_end(settings: Settings) -> None:
    with gpu_slots.hold(settings, 1, flow_run_id="a", what="pretrain", on_wait=pytest.fail) as devices:
        assert devices == ("0",)
        (path,) = gpu_slots.folder_of(settings.home).glob("*.lock")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert json.loads(path.read_text())["flow_run_id"] == "a"
    assert all(slot.is_free for slot in gpu_slots.describe(settings))
    with gpu_slots.hold(settings, 2, flow_run_id="b", what="pretrain", on_wait=pytest.fail) as devices:
        assert devices == ("0", "1")


def test_threads_of_one_process_take_turns_too(settings: Settings) -> None:
    at_work, most = [0], [0]

    def work() -> None:
        with gpu_slots.hold(settings, 2, flow_run_id="", what="x", on_wait=lambda text: None):
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
            time.sleep(0.05)
            at_work[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most[0] == 1


def test_more_than_there_are_is_refused_at_once_with_the_field_and_the_number(settings: Settings) -> None:
    with pytest.raises(RecipeError, match=r"train\.0\.gpus asks for 3 GPUs, and this machine has 2; .*INGOT_GPUS"):
        gpu_slots.check(settings, 3, "train.0.gpus")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"INGOT_GPUS": "3"}, ("0", "1", "2")),
        ({"CUDA_VISIBLE_DEVICES": "2,5"}, ("2", "5")),
        ({"CUDA_VISIBLE_DEVICES": "2,5", "INGOT_GPUS": "1"}, ("2",)),
        ({"CUDA_VISIBLE_DEVICES": ""}, ()),
        ({"INGOT_GPUS": "0"}, ()),
    ],
)
def test_the_devices_come_from_the_environment(variables: dict[str, str], expected: tuple[str, ...]) -> None:
    assert gpu_slots.devices(Settings.from_environment(variables)) == expected


def test_without_settings_the_devices_are_what_nvidia_smi_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: GPU-a)'\necho 'GPU 1: NVIDIA H100 (UUID: GPU-b)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert gpu_slots.devices(Settings.from_environment({})) == ("0", "1")
