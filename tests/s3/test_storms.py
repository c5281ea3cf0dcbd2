"""A service in trouble: refused, cut, damaged, silent. Work ends right, or with an error, in bounded time."""

import hashlib
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ingot import s3_client
from ingot.errors import StorageError
from ingot.storage import Store
from tests.s3.conftest import Faulty, Service
from tests.s3.fault_proxy import Answer, CutBody, Damage, Stall, Trickle, first, storm


@pytest.mark.faults
def test_with_a_fifth_of_requests_refused_and_connections_cut_everything_is_stored_once_and_right(
    faulty: Faulty, store: Store, tmp_path: Path, is_long: bool
) -> None:
    faulty.store.put_if_absent("ledger/warm.json", {"warm": "up"})
    faulty.use(storm(7, refused=0.2, cut=0.05))
    count = 400 if is_long else 20
    bodies = [random.Random(number).randbytes(40_000) for number in range(count)]

    def work(number: int) -> bool:
        key = f"shards/{number}.parquet"
        faulty.store.put_bytes(key, bodies[number])
        assert faulty.store.read_bytes(key) == bodies[number]
        assert faulty.store.local_path(key).read_bytes() == bodies[number]
        return faulty.store.put_if_absent(f"ledger/{number}.json", {"n": number})

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(work, range(count)))
    assert len(faulty.store.list("shards/")) == count
    seen = faulty.proxy.done
    assert seen["Answer"] > 0.1 * seen["passed"] and seen["CutBefore"] and seen["CutAfter"] and seen["CutBody"]
    assert store.list("shards/") == sorted(f"shards/{number}.parquet" for number in range(count))
    for number in range(count):
        assert store.read_bytes(f"shards/{number}.parquet") == bodies[number]
        assert store.read_record(f"ledger/{number}.json") == {"n": number}


def test_a_read_that_is_cut_goes_on_where_it_was(faulty: Faulty, store: Store) -> None:
    data = random.Random(1).randbytes(3_000_000)
    store.put_bytes("shards/a", data)
    faulty.use(first(3, CutBody(0.4), method="GET", path="/shards/"))
    assert hashlib.sha256(faulty.store.read_bytes("shards/a")).digest() == hashlib.sha256(data).digest()
    assert faulty.proxy.done["CutBody"] == 3


def test_a_slow_service_is_waited_for_as_long_as_bytes_come(
    faulty: Faulty, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = random.Random(2).randbytes(600_000)
    store.put_bytes("shards/a", data)
    monkeypatch.setattr(s3_client, "PATIENCE_SECONDS", 0.5)
    faulty.use(first(3, Trickle(6, 0.2), method="GET", path="/shards/"))
    assert faulty.store.read_bytes("shards/a") == data
    assert faulty.proxy.done["Trickle"] == 3


def test_bytes_that_were_damaged_on_their_way_are_refused_and_sent_again(
    faulty: Faulty, store: Store, service: Service
) -> None:
    if service.name == "moto":
        pytest.skip("moto does not look at Content-MD5")
    faulty.use(first(1, Damage(), method="PUT", path="/shards/"))
    faulty.store.put_bytes("shards/a", b"x" * 100_000)
    assert store.read_bytes("shards/a") == b"x" * 100_000
    assert faulty.proxy.done["Damage"] == 1


@pytest.mark.parametrize("code", [503, 500])
def test_a_service_that_goes_on_refusing_is_given_up_after_so_many_tries(
    faulty: Faulty, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "4")
    faulty.use(lambda request: Answer(code, "SlowDown" if code == 503 else "InternalError"))
    begun = time.monotonic()
    with pytest.raises(StorageError, match=r"cannot look up shards/a .*check that the service answers.*work is kept"):
        faulty.store.put_bytes("shards/a", b"x")
    assert faulty.proxy.done["Answer"] == 4
    assert time.monotonic() - begun < 10


def test_a_service_that_stays_silent_is_given_up_when_patience_ends(
    faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_client, "_SILENCE_SECONDS", 1)
    monkeypatch.setattr(s3_client, "PATIENCE_SECONDS", 3.0)
    s3_client._filesystem.cache_clear()
    faulty.use(lambda request: Stall(6.0))
    begun = time.monotonic()
    with pytest.raises(StorageError, match=r"cannot read shards/a .*\(ReadTimeoutError\)"):
        faulty.store.read_bytes("shards/a")
    assert time.monotonic() - begun < 8
    s3_client._filesystem.cache_clear()
