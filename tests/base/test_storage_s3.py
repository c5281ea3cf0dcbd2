"""The S3 side alone: races, lost replies, refusals, and what a message may say."""

import multiprocessing
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ingot.errors import NotFoundError, RecipeError, StorageError
from ingot.storage import Store
from tests.base.conftest import ACCESS_KEY, BUCKET, SECRET_KEY

SPAWN = multiprocessing.get_context("spawn")


class ClientError(Exception):
    """As botocore shapes it: what the service answered."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code}}


def answered(code: str, kind: type[OSError] = OSError) -> OSError:
    """An error as s3fs raises it for an answer of the service."""
    error = kind(22, "message of the service")
    error.__cause__ = ClientError(code)
    return error


def meddle(monkeypatch: pytest.MonkeyPatch, store: Store, before: Any = None, after: Any = None) -> list[str]:
    """Let a function act before or after every put; returns the list of puts that were sent."""
    backend: Any = store._backend
    send, sent = backend._call, []

    def call(method: str, key: str, **arguments: Any) -> Any:
        if method != "put_object" or key.startswith(".tmp/"):
            return send(method, key, **arguments)
        sent.append(key)
        if before is not None:
            before(len(sent))
        answer = send(method, key, **arguments)
        if after is not None:
            after(len(sent))
        return answer

    monkeypatch.setattr(backend, "_call", call)
    return sent


def _compete(root: str, process: int, start: Any, wins: Any) -> None:
    store = Store(root)
    store.exists("warm/up")
    start.wait(60)
    with ThreadPoolExecutor(4) as threads:
        key = "corpora/handbook/1.json"
        wins.put(list(threads.map(lambda thread: store.put_if_absent(key, {"who": f"{process}.{thread}"}), range(4))))


def test_of_8_writers_in_two_processes_exactly_one_wins_a_key(s3_root: str) -> None:
    start, wins = SPAWN.Barrier(2), SPAWN.Queue()
    racers = [SPAWN.Process(target=_compete, args=(s3_root, number, start, wins)) for number in range(2)]
    for racer in racers:
        racer.start()
    won = [*wins.get(timeout=60), *wins.get(timeout=60)]
    for racer in racers:
        racer.join(60)
    assert len(won) == 8 and won.count(True) == 1
    assert set(Store(s3_root).read_record("corpora/handbook/1.json")) == {"who"}


def test_a_writer_whose_reply_was_lost_learns_that_it_won(s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose_the_reply(number: int) -> None:
        raise TimeoutError("the reply never came")

    sent = meddle(monkeypatch, s3_store, after=lose_the_reply)
    assert s3_store.put_if_absent("ledger/1.json", {"a": 1})
    assert sent == ["ledger/1.json"]
    assert s3_store.read_record("ledger/1.json") == {"a": 1}


def test_a_writer_that_is_told_412_by_its_own_retry_learns_that_it_won(
    s3_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer_412(number: int) -> None:
        raise answered("PreconditionFailed")

    meddle(monkeypatch, s3_store, after=answer_412)
    assert s3_store.put_if_absent("ledger/1.json", {"a": 1})


def test_a_writer_whose_request_was_lost_fails_and_wins_when_it_tries_again(
    s3_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_the_first(number: int) -> None:
        if number == 1:
            raise ConnectionResetError("gone")

    meddle(monkeypatch, s3_store, before=lose_the_first)
    with pytest.raises(StorageError, match=r"cannot write ledger/1\.json .*ConnectionResetError.*run again"):
        s3_store.put_if_absent("ledger/1.json", {"a": 1})
    assert s3_store.put_if_absent("ledger/1.json", {"a": 1})


def test_a_loser_whose_reply_was_lost_does_not_believe_that_it_won(
    s3_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3_store.put_if_absent("ledger/1.json", {"who": "first"})

    def lose(number: int) -> None:
        raise TimeoutError("the reply never came")

    meddle(monkeypatch, s3_store, before=lose)
    with pytest.raises(StorageError):
        s3_store.put_if_absent("ledger/1.json", {"who": "second"})
    assert s3_store.read_record("ledger/1.json") == {"who": "first"}


@pytest.mark.parametrize("code", ["412", "PreconditionFailed"])
def test_412_in_every_spelling_means_taken(s3_store: Store, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    s3_store.put_if_absent("ledger/1.json", {"who": "first"})

    def refuse(number: int) -> None:
        raise answered(code)

    meddle(monkeypatch, s3_store, before=refuse)
    assert not s3_store.put_if_absent("ledger/1.json", {"who": "second"})


def test_a_conflict_is_tried_again_until_it_is_decided(s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def conflict_twice(number: int) -> None:
        if number <= 2:
            raise answered("ConditionalRequestConflict")

    sent = meddle(monkeypatch, s3_store, before=conflict_twice)
    assert s3_store.put_if_absent("ledger/1.json", {"a": 1})
    assert len(sent) == 3


def test_a_service_that_ignores_the_condition_is_refused(s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(s3_root)
    backend: Any = store._backend
    send = backend._call
    monkeypatch.setattr(
        backend, "_call", lambda method, key, **a: send(method, key, **{k: v for k, v in a.items() if k == "Body"})
    )
    with pytest.raises(StorageError, match="ignores If-None-Match, so two runs could both publish"):
        store.put_if_absent("ledger/1.json", {"a": 1})
    assert store.list("ledger/") == []


def test_a_missing_bucket_is_named_with_a_remedy(s3_endpoint: str, tmp_path: Path) -> None:
    store = Store("s3://no-such-bucket/prefix", scratch_root=tmp_path)
    for call in (
        lambda: store.put_bytes("area/a", b"x"),
        lambda: store.put_if_absent("ledger/1.json", {}),
        lambda: store.read_bytes("area/a"),
        lambda: store.list("ledger/"),
        lambda: store.delete("area/a"),
    ):
        with pytest.raises((StorageError, NotFoundError)) as caught:
            call()
        assert "no-such-bucket" in str(caught.value)
    with pytest.raises(StorageError, match="bucket 'no-such-bucket' does not exist; create it, or correct INGOT_STORE"):
        store.put_bytes("area/a", b"x")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (answered("SignatureDoesNotMatch", PermissionError), r"refused to write area/a \(SignatureDoesNotMatch\)"),
        (answered("SlowDown"), r"cannot write area/a .*\(SlowDown\); check that the service answers"),
        (TimeoutError("x"), r"cannot write area/a .*\(TimeoutError\)"),
    ],
    ids=["signature", "slow", "timeout"],
)
def test_every_refusal_is_a_storage_error_with_its_code(
    s3_store: Store, monkeypatch: pytest.MonkeyPatch, error: OSError, message: str
) -> None:
    def fail(number: int) -> None:
        raise error

    meddle(monkeypatch, s3_store, before=fail)
    with pytest.raises(StorageError, match=message) as caught:
        s3_store.put_bytes("area/a", b"x")
    assert SECRET_KEY not in str(caught.value) and ACCESS_KEY not in str(caught.value)


def test_a_service_that_is_not_there_is_a_storage_error(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("INGOT_S3_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store = Store(f"s3://{BUCKET}/x", scratch_root=tmp_path)
    for call in (lambda: store.read_bytes("area/a"), lambda: store.exists("area/a")):
        with pytest.raises(StorageError, match=r"at http://127\.0\.0\.1:9 \(EndpointConnectionError\)") as caught:
            call()
        assert SECRET_KEY not in str(caught.value)


def test_missing_credentials_are_said_so(s3_root: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(StorageError, match="no credentials; set AWS_ACCESS_KEY_ID"):
        Store(s3_root).put_bytes("area/a", b"x")


@pytest.mark.parametrize("place", ["root", "endpoint"])
def test_an_address_with_a_password_is_refused_and_not_repeated(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if place == "endpoint":
        monkeypatch.setenv("INGOT_S3_ENDPOINT", "http://me:hunter2@127.0.0.1:9")
    with pytest.raises(RecipeError, match="holds a password; give credentials by environment") as caught:
        Store("s3://bucket/x" if place == "endpoint" else "s3://me:hunter2@bucket/x")
    assert "hunter2" not in str(caught.value)


def test_a_store_without_a_bucket_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"names no bucket; write s3://bucket/prefix"):
        Store("s3:///prefix")


def test_copies_of_remote_objects_are_kept_and_private(
    s3_store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    s3_store.put_bytes("documents/a", b"personal")
    first = s3_store.local_path("documents/a")
    backend: Any = s3_store._backend
    monkeypatch.setattr(backend, "download", lambda *a: pytest.fail("downloaded twice"))
    assert s3_store.local_path("documents/a") == first
    assert stat.S_IMODE(first.parent.stat().st_mode) == 0o700
    first.parent.chmod(0o777)
    with pytest.raises(StorageError, match="is open to others; remove it"):
        s3_store.local_path("documents/a")


def test_copies_of_what_a_run_keeps_for_itself_go_when_its_folder_goes(s3_store: Store) -> None:
    s3_store.put_bytes("documents/a", b"stays")
    s3_store.put_bytes(".tmp/run/spans-000001", b"facts of documents")
    s3_store.put_bytes(".tmp/another/spans-000001", b"facts of documents")
    stays, copy, another = (
        s3_store.local_path(key) for key in ("documents/a", ".tmp/run/spans-000001", ".tmp/another/spans-000001")
    )
    assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o700
    s3_store.delete_folder(".tmp/run")
    assert not copy.exists() and not s3_store.exists(".tmp/run/spans-000001")
    assert another.read_bytes() == b"facts of documents" and stays.read_bytes() == b"stays"


def test_a_download_that_was_cut_is_not_kept(s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    s3_store.put_bytes("shards/a", b"x" * 100)
    backend: Any = s3_store._backend
    with monkeypatch.context() as patch:
        patch.setattr(backend, "download", lambda key, path: path.write_bytes(b"x" * 99))
        with pytest.raises(StorageError, match=r"shards/a changed or was cut while it was read"):
            s3_store.local_path("shards/a")
    assert s3_store.local_path("shards/a").read_bytes() == b"x" * 100


def test_opening_a_store_touches_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGOT_S3_ENDPOINT", "http://127.0.0.1:9")
    assert repr(Store("s3://bucket/prefix/")) == "Store('s3://bucket/prefix')"
