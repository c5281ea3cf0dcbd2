"""Signs of life: whose they are, when they are dead, and that a renewal loses nothing."""

import subprocess
import sys
from pathlib import Path

from ingot import heartbeats, run_tags
from ingot.heartbeats import Process


def test_a_process_is_known_again_from_its_tag_and_gone_when_it_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start_time = heartbeats.start_time_of(child.pid)
    assert start_time is not None
    process = Process(Process.current().host, child.pid, start_time)
    assert Process.parse(str(process)) == process
    assert not process.is_gone
    child.communicate(b"\n")
    assert process.is_gone
    assert not Process("another-host", child.pid, start_time).is_gone  # nobody here can know
    assert not Process(process.host, child.pid, 0.0).is_gone  # its start is not known
    assert [Process.parse(text) for text in ("", "host:pid:1.0", "12:1.0")] == [None, None, None]


def test_a_renewal_keeps_what_the_run_waits_for(tmp_path: Path) -> None:
    beat = heartbeats.of_this_process("run", "train model")
    heartbeats.write(tmp_path, beat)
    heartbeats.say_waiting(tmp_path, "run", "a GPU")
    heartbeats.renew(tmp_path, beat)
    renewed = heartbeats.read(tmp_path, "run")
    assert renewed is not None and renewed.waiting == "a GPU" and renewed.time >= beat.time
    assert renewed.is_alive


def test_the_word_that_a_run_is_cancelled_goes_with_the_run(tmp_path: Path) -> None:
    assert heartbeats.asked_to_end(tmp_path, "run") is None
    heartbeats.write(tmp_path, heartbeats.of_this_process("run", "train model"))
    heartbeats.ask_to_end(tmp_path, "run", "cancelled by ada")
    assert heartbeats.asked_to_end(tmp_path, "run") == "cancelled by ada"
    assert [beat.flow_run_id for beat in heartbeats.read_all(tmp_path)] == ["run"]
    heartbeats.remove(tmp_path, "run")
    assert list(heartbeats.folder_of(tmp_path).iterdir()) == []


def test_a_run_says_by_its_tags_who_asked_for_it() -> None:
    tags = run_tags.made_for("ada", "tuesday")
    assert (run_tags.requested_by(tags), run_tags.request_id(tags)) == ("ada", "tuesday")
    assert (run_tags.requested_by(["process:x"]), run_tags.request_id(run_tags.made_for("ada"))) == (None, None)


def test_every_flow_gives_signs_of_life() -> None:
    flows = Path(__file__).parents[2] / "flows"
    for path in sorted(flows.glob("*_*.py")):
        if path.stem == "__init__":
            continue
        text = path.read_text()
        assert text.count("@flow(") == text.count("@watched\ndef "), f"{path.name}: write @watched below @flow"
        assert "@flow(" in text, path.name
