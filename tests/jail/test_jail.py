"""What a document that has taken over its parser can do: cost itself, and nothing else."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from datasets_pipeline.jail import walls
from datasets_pipeline.jail.limits import Limits
from datasets_pipeline.jail.messages import Answer, pack, unpack_answer
from datasets_pipeline.jail.parent import Jail
from datasets_pipeline.sources.base import ExtractedDocument, ExtractionError, ExtractionResult, FileEntry
from ingot.errors import RecipeError, ServiceError
from tests.waiting import wait_until

LIMITS = Limits(memory_bytes=512 << 20, cpu_seconds=2)
SHUT = (walls.BUBBLEWRAP, walls.NAMESPACES)
GOOD = "six good words in one file"


@pytest.fixture(scope="module", autouse=True)
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "sources").mkdir()
    shutil.copy(Path(__file__).with_name("attacks.py"), folder / "sources" / "attacks.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INGOT_WORKSPACE", str(folder))
        patch.setenv("INGOT_SECRET_WAREHOUSE", "hunter2")
        yield folder


@pytest.fixture(scope="module", params=SHUT)
def jail(request: pytest.FixtureRequest, workspace: Path) -> Iterator[Jail]:
    kind = request.param
    try:
        walls.choose(kind)
    except ServiceError as error:
        pytest.skip(str(error))
    made = Jail(kind, LIMITS)
    yield made
    made.close()


def attack(jail: Jail, name: str, data: bytes = b"data") -> str:
    """The text that came out; ExtractionError when none did."""
    values = {"name": "attacks", "uri": "/nowhere"}
    (document,) = jail.extract("attacks", values, FileEntry(f"{name}.txt", len(data)), data).documents
    return document.text


def assert_costs_itself(jail: Jail, name: str, reason: str) -> str:
    """It fails for this reason, and the next file is read."""
    with pytest.raises(ExtractionError) as raised:
        attack(jail, name)
    assert raised.value.reason == reason, raised.value
    assert f"{name}.txt" in str(raised.value)
    assert attack(jail, "good", GOOD.encode()) == GOOD
    return str(raised.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("crash", "parser_crashed"), ("exit", "parser_crashed"), ("quit", "parser_error"), ("spin", "cpu_limit"),
        ("eat", "memory_limit"), ("flood", "too_large"), ("lie", "parser_crashed"),
    ],
)  # fmt: skip
def test_a_parser_that_dies_or_takes_too_much_costs_the_one_file(jail: Jail, name: str, reason: str) -> None:
    assert_costs_itself(jail, name, reason)


def test_what_a_parser_prints_goes_nowhere(jail: Jail, capfd: pytest.CaptureFixture[str]) -> None:
    assert attack(jail, "print") == "printed"
    assert capfd.readouterr() == ("", "")


def test_lone_surrogates_do_not_break_the_answer(jail: Jail) -> None:
    assert attack(jail, "surrogates") == "lone � and paired 😀"


def test_there_is_no_network(jail: Jail) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        place = f"127.0.0.1:{server.getsockname()[1]}".encode()
        told = attack(jail, "call_home", place).split()
        assert told[0] in ("ConnectionRefusedError", "OSError") and told[1:] == ["lo"]
        open_jail = Jail(walls.LIMITS_ONLY, LIMITS)
        assert attack(open_jail, "call_home", place).startswith("connected")  # the attack works where nothing stops it
        open_jail.close()


def test_no_secret_and_no_file_of_ours_is_seen(jail: Jail, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("private")
    home = Path.home() / ".profile"
    paths = [str(tmp_path / "key"), "/etc/passwd", "/etc/shadow", str(home), str(Path(__file__)), "/proc/1/environ"]
    told = attack(jail, "read", "\n".join(paths).encode())
    assert "private" not in told and "hunter2" not in told
    assert [word.split("=")[0] for word in told.split()[1:]] in ([], ["/proc/1/environ"])
    names = attack(jail, "environment").split()
    assert "INGOT_SECRET_WAREHOUSE" not in names and "INGOT_WORKSPACE" in names
    open_jail = Jail(walls.LIMITS_ONLY, LIMITS)
    assert "private" in attack(open_jail, "read", "\n".join(paths).encode())
    assert "INGOT_SECRET_WAREHOUSE" not in attack(open_jail, "environment")
    open_jail.close()


def test_nothing_can_be_written_but_scratch_that_vanishes(jail: Jail, tmp_path: Path, workspace: Path) -> None:
    folders = [str(tmp_path), "/usr", str(workspace / "sources"), sys.prefix, str(Path(walls.__file__).parent), "/tmp"]
    folders += ["/", "/dev", "/dev/shm"]  # memory of the machine, without the limit of the scratch folder
    assert attack(jail, "write", "\n".join(folders).encode()).split()[1:] == ["/tmp"]
    assert not (Path("/tmp") / "dropped").exists() and list(tmp_path.iterdir()) == []
    filled = int(attack(jail, "fill").split()[1])
    assert 1 <= filled <= 512


@pytest.mark.parametrize("kind", [walls.NAMESPACES, walls.LIMITS_ONLY])
def test_a_child_that_closes_its_end_and_lives_on_is_ended(kind: str, workspace: Path) -> None:
    """bubblewrap itself holds the pipe open, so that there the deadline ends it."""
    jail = Jail(kind, LIMITS)
    began = time.monotonic()
    assert_costs_itself(jail, "hang_up", "parser_crashed")
    assert time.monotonic() - began < 30
    jail.close()


def test_places_and_messages_of_an_answer_are_bounded() -> None:
    document = ExtractedDocument(
        text="words", start=0, end=5, media_type="text/plain", extractor="text", extractor_version="1"
    )
    good = Answer(ExtractionResult([document]))
    assert unpack_answer(pack(good)) == good
    for end in (-1, 1 << 70):
        assert unpack_answer(pack(Answer(ExtractionResult([replace(document, end=end)])))) is None
    assert unpack_answer(pack(Answer(None, "empty", "x" * 200_000))) is None


def test_a_fork_bomb_stops_and_ends_with_its_child(jail: Jail) -> None:
    before = len(psutil.pids())
    if os.getuid() != 0:  # the kernel does not count the processes of root
        assert int(attack(jail, "fork").split()[1]) <= 130
    jail.close()
    wait_until(lambda: len(psutil.pids()) <= before + 5, "the children of a fork bomb to end", 10)


def test_walls_cannot_be_moved_from_inside(jail: Jail) -> None:
    told = attack(jail, "mount").split()
    assert told[1] == "-1"
    assert int(told[5]) <= 5


def test_a_deadline_ends_a_parser_that_only_waits() -> None:
    class Short(Limits):
        @property
        def deadline_seconds(self) -> float:
            return 3.0

    jail = Jail(walls.AUTO, Short(memory_bytes=512 << 20, cpu_seconds=2))
    begun = time.monotonic()
    assert_costs_itself(jail, "sleep", "timeout")
    assert time.monotonic() - begun < 15
    jail.close()


def test_a_child_dies_with_its_worker(workspace: Path) -> None:
    code = (
        "import sys\nfrom datasets_pipeline.jail.parent import Jail\n"
        "from datasets_pipeline.sources.base import FileEntry\n"
        "jail = Jail(sys.argv[1])\n"
        "jail.extract('attacks', {'name': 'a', 'uri': '/n'}, FileEntry('good.txt', 4), b'some words')\n"
        "print(jail._child._process.pid, flush=True)\n"
        "jail.extract('attacks', {'name': 'a', 'uri': '/n'}, FileEntry('sleep.txt', 4), b'some words')\n"
    )
    for kind in (walls.choose(), walls.LIMITS_ONLY):
        worker = subprocess.Popen([sys.executable, "-c", code, kind], stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        pid = int(worker.stdout.readline())
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        worker.kill()
        worker.wait()
        gone, alive = psutil.wait_procs(family, 5)
        assert alive == [], kind


def test_without_walls_nothing_is_parsed_unless_a_setting_names_the_risk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walls, "_fault", lambda kind: f"no {kind} here")
    with pytest.raises(ServiceError, match="no bubblewrap here.*no namespaces here.*INGOT_JAIL=limits_only"):
        attack(Jail(walls.AUTO, LIMITS), "good", GOOD.encode())
    open_jail = Jail(walls.LIMITS_ONLY, LIMITS)
    assert attack(open_jail, "good", GOOD.encode()) == GOOD
    open_jail.close()
    with pytest.raises(RecipeError, match="INGOT_JAIL is 'none'"):
        walls.choose("none")
