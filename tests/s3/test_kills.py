"""The store's own processes are killed under writers: nothing that was acknowledged is lost."""

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from ingot.errors import StorageError
from ingot.storage import Store
from tests.s3 import ceph as ceph_module
from tests.s3.ceph import Ceph
from tests.s3.conftest import BUCKET, use

WRITERS = 4


class Writers:
    """Threads that write objects and records until they are told to stop, and what the store acknowledged to them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.objects: dict[str, str] = {}
        self.records: list[str] = []
        self.errors: list[StorageError] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(WRITERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(300)
            assert not thread.is_alive()

    @property
    def num_acknowledged(self) -> int:
        return len(self.objects) + len(self.records)

    def wait_for_more(self, number: int) -> None:
        goal, deadline = self.num_acknowledged + number, time.monotonic() + 120
        while self.num_acknowledged < goal:
            assert time.monotonic() < deadline, "the writers do not go on"
            time.sleep(0.05)

    def _write(self, writer: int) -> None:
        number = 0
        while not self._stop.is_set():
            data, name = os.urandom(100_000), f"{writer}-{number}"
            try:
                self.store.put_bytes(f"shards/{name}", data)
                self.objects[f"shards/{name}"] = hashlib.sha256(data).hexdigest()
                # All writers want the same records: each number has one winner.
                if self.store.put_if_absent(f"ledger/{number}.json", {"who": name}):
                    self.records.append(f"{number} {name}")
            except StorageError as error:
                self.errors.append(error)
            number += 1


@pytest.mark.faults
@pytest.mark.parametrize("victim", ["gateway", "disk"])
def test_what_was_acknowledged_survives_kill_9_of_the_store(
    ceph: Ceph, victim: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_long: bool
) -> None:
    use(monkeypatch, ceph.endpoint, ceph_module.ACCESS_KEY, ceph_module.SECRET_KEY)
    store = Store(f"s3://{BUCKET}/kills-{victim}", scratch_root=tmp_path)
    store.put_if_absent("ledger/warm.json", {"warm": "up"})
    writers = Writers(store)
    writers.start()
    try:
        for _ in range(8 if is_long else 1):
            writers.wait_for_more(20)
            ceph.kill(victim)
            time.sleep(0.5)
            ceph.start_gateway() if victim == "gateway" else ceph.start_disk()
            writers.wait_for_more(20)
    finally:
        writers.stop()
    assert writers.errors == []
    assert len(writers.objects) >= 20
    for key, digest in writers.objects.items():
        assert hashlib.sha256(store.read_bytes(key)).hexdigest() == digest, f"{key} was acknowledged and is lost"
    winners = dict(line.split() for line in writers.records)
    assert len(winners) == len(writers.records), "two writers believe that they won one record"
    for number, name in winners.items():
        assert store.read_record(f"ledger/{number}.json") == {"who": name}
