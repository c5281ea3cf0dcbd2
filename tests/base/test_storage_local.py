"""A local store under kills, races, full disks and power loss (as far as fsync goes)."""

import errno
import multiprocessing
import os
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ingot.errors import RecipeError, StorageError
from ingot.storage import Store

FORK = multiprocessing.get_context("fork")
DURABLE_CALLS = ("fsync", "replace", "link", "mkdir", "open", "unlink")
OLD, NEW = b"old " * 50_000, b"new!" * 50_000


def in_child(function: Callable[[], Any]) -> int:
    """Run in a forked process; its exit status, negative when a signal ended it."""
    child = os.fork()
    if child == 0:
        try:
            function()
        finally:
            os._exit(0)
    status = os.waitpid(child, 0)[1]
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def kill_before_call(number: int) -> None:
    """SIGKILL this process before its number-th system call that makes something durable."""
    reached = 0

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal reached
            reached += 1
            if reached == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        return call

    for name in DURABLE_CALLS:
        setattr(os, name, counted(getattr(os, name)))


def killed_at(number: int, act: Callable[[], Any]) -> None:
    kill_before_call(number)
    act()


def put_bytes(store: Store, folder: Path) -> None:
    store.put_bytes("shards/a.parquet", NEW, overwrite=True)


def put_file(store: Store, folder: Path) -> None:
    store.put_file("shards/a.parquet", folder / "new", overwrite=True)


@pytest.mark.parametrize("put", [put_bytes, put_file])
@pytest.mark.parametrize("before", [None, OLD], ids=["fresh", "overwriting"])
def test_a_writer_killed_at_any_step_leaves_the_old_object_or_the_new_one(
    tmp_path: Path, put: Callable[[Store, Path], None], before: bytes | None
) -> None:
    (tmp_path / "new").write_bytes(NEW)
    outcomes = []
    for number in range(1, 100):
        store = Store(str(tmp_path / f"store-{number}"))
        if before is not None:
            store.put_bytes("shards/a.parquet", before)
        status = in_child(partial(killed_at, number, partial(put, store, tmp_path)))
        found = store.read_bytes("shards/a.parquet") if store.exists("shards/a.parquet") else None
        assert found in (before, NEW)
        assert store.list("shards/") == (["shards/a.parquet"] if found else [])
        put(store, tmp_path)
        assert store.read_bytes("shards/a.parquet") == NEW
        outcomes.append(found)
        if status == 0:
            break
        assert status == -signal.SIGKILL
    assert len(outcomes) >= 4
    assert outcomes[0] == before and outcomes[-1] == NEW


def test_a_record_killed_at_any_step_is_there_or_not_and_never_half(tmp_path: Path) -> None:
    record = {"who": "x" * 100_000}
    seen = set()
    for number in range(1, 100):
        store = Store(str(tmp_path / f"store-{number}"))
        status = in_child(partial(killed_at, number, partial(store.put_if_absent, "ledger/1.json", record)))
        seen.add(store.exists("ledger/1.json"))
        if store.exists("ledger/1.json"):
            assert store.read_record("ledger/1.json") == record
        else:
            assert store.put_if_absent("ledger/1.json", record)
        if status == 0:
            break
    assert seen == {True, False}


@pytest.mark.parametrize("point", ["store.put_if_absent.before", "store.put_if_absent.after"])
def test_a_named_crash_point_kills_where_it_says(tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGOT_CRASH_AT", point)
    monkeypatch.setenv("INGOT_CRASH_LOG", str(tmp_path / "log"))
    store = Store(str(tmp_path / "store"))
    assert in_child(lambda: store.put_if_absent("ledger/1.json", {"a": 1})) == -signal.SIGKILL
    assert store.exists("ledger/1.json") == point.endswith("after")
    assert (tmp_path / "log").read_text().split()[-1] == point


def test_a_reader_beside_a_writer_sees_whole_objects_only(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.put_bytes("shards/a", OLD)

    def write_for_ever() -> None:
        while True:
            for data in (NEW, OLD):
                store.put_bytes("shards/a", data, overwrite=True)

    writer = FORK.Process(target=write_for_ever)
    writer.start()
    try:
        seen = [store.read_bytes("shards/a") for _ in range(2000)]
    finally:
        writer.kill()
        writer.join()
    assert set(seen) == {OLD, NEW}


def _compete(root: str, number: int, start: Any, wins: Any) -> None:
    store = Store(root)
    start.wait()
    if store.put_if_absent("corpora/handbook/1.json", {"who": number}):
        wins.put(number)


def test_of_24_processes_exactly_one_wins_a_key(tmp_path: Path) -> None:
    for attempt in range(3):
        start, wins = FORK.Barrier(24), FORK.Queue()
        root = str(tmp_path / str(attempt))
        racers = [FORK.Process(target=_compete, args=(root, number, start, wins)) for number in range(24)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join(60)
            assert racer.exitcode == 0
        winner = wins.get(timeout=10)
        assert wins.empty()
        assert Store(root).read_record("corpora/handbook/1.json") == {"who": winner}


def test_folders_that_may_hold_personal_data_are_for_their_owner_only(local_store: Store) -> None:
    for area in ("documents", "spans/abc", "quarantine", "reports", "acquisition/wiki/abc"):
        local_store.put_bytes(f"{area}/a", b"x")
        folder = Path(local_store.root)
        for part in area.split("/"):
            folder /= part
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
    local_store.put_bytes("shards/a", b"x")
    assert stat.S_IMODE((Path(local_store.root) / "shards").stat().st_mode) & 0o700 == 0o700
    assert stat.S_IMODE((Path(local_store.root) / ".tmp").stat().st_mode) == 0o700


def test_scratch_is_private_and_removed_even_after_an_error(local_store: Store) -> None:
    with pytest.raises(KeyError), local_store.scratch() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "deep").mkdir()
        (folder / "deep/file").write_bytes(b"x")
        raise KeyError
    assert not folder.exists()


def test_no_temporary_file_stays_behind(local_store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    local_store.put_bytes("area/a", b"x")
    local_store.put_file("area/b", tmp_path / "file")
    local_store.put_if_absent("area/c", {})
    local_store.put_if_absent("area/c", {})
    assert list((Path(local_store.root) / ".tmp").iterdir()) == []


@pytest.mark.parametrize("put", ["put_bytes", "put_file", "put_if_absent"])
def test_the_file_and_then_its_folder_are_flushed_to_disk(
    local_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, put: str
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    local_store.put_bytes("area/first", b"x")  # the folders are there now
    argument: Any = {"put_bytes": b"x", "put_file": tmp_path / "file", "put_if_absent": {}}[put]
    events: list[str] = []

    def watch(name: str, describe: Callable[..., str]) -> None:
        original: Callable[..., Any] = getattr(os, name)

        def call(*arguments: Any) -> None:
            events.append(describe(*arguments))
            original(*arguments)

        monkeypatch.setattr(os, name, call)

    watch("fsync", lambda file: "fsync folder" if stat.S_ISDIR(os.fstat(file).st_mode) else "fsync file")
    watch("replace", lambda *paths: "publish")
    watch("link", lambda *paths: "publish")
    getattr(local_store, put)("area/second", argument)
    assert events == ["fsync file", "publish", "fsync folder"]


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB; only root may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"needs the right to mount a small disk: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_says_how_much_is_needed_and_publishes_nothing(full_disk: Path, tmp_path: Path) -> None:
    store = Store(str(full_disk / "store"))
    store.put_bytes("shards/small", b"x" * 1000)
    big = b"y" * (3 << 20)
    (tmp_path / "big").write_bytes(big)
    for put in (
        lambda: store.put_bytes("shards/big", big),
        lambda: store.put_file("shards/big", tmp_path / "big"),
        lambda: store.put_if_absent("shards/big", {"text": "y" * (3 << 20)}),
    ):
        with pytest.raises(StorageError, match=r"is full: shards/big needs 3,145,\d\d\d bytes, 1,0\d\d,\d{3} are free"):
            put()
        assert store.list("shards/") == ["shards/small"]
        assert list((full_disk / "store/.tmp").iterdir()) == []
    assert store.read_bytes("shards/small") == b"x" * 1000


def test_an_error_of_the_disk_names_the_object_and_is_no_bare_oserror(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match=r"shards/a cannot be written .* Input/output error; check"):
        local_store.put_bytes("shards/a", b"x")
    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(StorageError, match=r"shards/a cannot be read: Input/output error"):
        local_store.read_bytes("shards/a")


def test_a_file_url_is_a_local_folder_and_another_scheme_is_refused(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/store")
    store.put_bytes("area/a", b"x")
    assert (tmp_path / "store/area/a").read_bytes() == b"x"
    with pytest.raises(RecipeError, match=r"a store at gs:// is not known; give a local path or s3://"):
        Store("gs://bucket/prefix")
