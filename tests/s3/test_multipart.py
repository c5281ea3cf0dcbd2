"""Large objects go in parts: seen whole or not at all, and what a dead writer left is found."""

import hashlib
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ingot import garbage, storage_s3
from ingot.errors import StorageError
from ingot.garbage import collect, find_garbage
from ingot.storage import Store
from tests.base.tiny_store import ACTOR
from tests.s3.conftest import Faulty
from tests.s3.fault_proxy import Answer, CutAfter, CutBefore, Fault, Request, first

PART = 5 << 20  # services refuse smaller ones, except the last


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_s3, "_SINGLE_PUT_BYTES", 6 << 20)
    monkeypatch.setattr(storage_s3, "_PART_BYTES", PART)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Three whole parts and a bit."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(random.Random(3).randbytes(3 * PART + 1234))
    return path


def uploads(store: Store) -> list[Any]:
    backend: Any = store._backend
    return list(backend.list_uploads())


def is_same(store: Store, key: str, path: Path) -> bool:
    return hashlib.sha256(store.read_bytes(key)).digest() == hashlib.sha256(path.read_bytes()).digest()


def test_a_large_file_goes_in_parts_and_comes_back_whole(store: Store, large: Path) -> None:
    store.put_file("checkpoints/x/model", large)
    assert is_same(store, "checkpoints/x/model", large)
    assert store.size("checkpoints/x/model") == large.stat().st_size
    assert uploads(store) == []
    backend: Any = store._backend
    assert backend._tag("checkpoints/x/model").endswith("-4")


def test_parts_that_are_refused_or_cut_are_sent_again(faulty: Faulty, store: Store, large: Path) -> None:
    def trouble(request: Request) -> Fault | None:
        if request.method != "PUT" or "partNumber" not in request.path:
            return None
        return (Answer(503, "SlowDown"), CutBefore(), CutAfter(), None)[request.number % 4]

    faulty.use(trouble)
    faulty.store.put_file("checkpoints/x/model", large)
    assert is_same(store, "checkpoints/x/model", large)
    assert uploads(store) == []


def test_an_upload_whose_last_answer_was_lost_is_found_complete(faulty: Faulty, store: Store, large: Path) -> None:
    faulty.use(first(1, CutAfter(), method="POST", path="uploadId="))
    faulty.store.put_file("checkpoints/x/model", large)
    assert faulty.proxy.done["CutAfter"] == 1
    assert is_same(store, "checkpoints/x/model", large)


def test_an_upload_that_fails_takes_its_parts_back(
    faulty: Faulty, store: Store, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    def refuse_the_third(request: Request) -> Fault | None:
        return Answer(500, "InternalError") if "partNumber=3" in request.path else None

    faulty.use(refuse_the_third)
    with pytest.raises(StorageError, match=r"cannot write checkpoints/x/model .*InternalError"):
        faulty.store.put_file("checkpoints/x/model", large)
    assert not store.exists("checkpoints/x/model")
    assert uploads(store) == []


_DIE_AMID = """
import os, signal, sys
from pathlib import Path
from ingot import storage_s3
from ingot.storage import Store
storage_s3._SINGLE_PUT_BYTES, storage_s3._PART_BYTES, storage_s3._PARTS_IN_FLIGHT = 6 << 20, 5 << 20, 1
put = storage_s3.S3Objects._put_part
def die_at_the_third(self, key, upload, number, *rest):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return put(self, key, upload, number, *rest)
storage_s3.S3Objects._put_part = die_at_the_third
Store(sys.argv[1]).put_file("checkpoints/x/model", Path(sys.argv[2]))
"""


def test_what_a_killed_writer_left_is_seen_by_no_reader_and_taken_back_by_gc_when_it_is_old(
    store: Store, root: str, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = subprocess.run([sys.executable, "-c", _DIE_AMID, root, str(large)], env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL
    assert not store.exists("checkpoints/x/model") and store.list("checkpoints/") == []
    (left,) = uploads(store)
    assert left.key == "checkpoints/x/model" and left.bytes == 2 * PART
    # The next writer is not disturbed by it.
    store.put_file("checkpoints/x/model", large)
    assert is_same(store, "checkpoints/x/model", large)
    # Young: perhaps its writer lives.
    assert find_garbage(store).uploads == ()
    monkeypatch.setattr(garbage, "MIN_AGE", timedelta(hours=-1))
    found = find_garbage(store)
    assert found.uploads == (left,) and found.by_area()["uploads"] == (1, 2 * PART)
    assert collect(store, replace(found, objects=()), actor=ACTOR).uploads == 1
    store.abort_upload(left)  # who comes second finds nothing to do
    assert uploads(store) == []
    assert is_same(store, "checkpoints/x/model", large)
