"""What a service refuses is told with its reason: wrong, expired and replaced credentials, and clocks that differ."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingot import s3_client
from ingot.errors import StorageError
from ingot.storage import Store
from tests.s3 import ceph as ceph_module
from tests.s3.ceph import Ceph
from tests.s3.conftest import BUCKET, Faulty, use
from tests.s3.fault_proxy import Answer, Fault, Request, first


@pytest.fixture(autouse=True)
def fresh_clients() -> Iterator[None]:
    """Clients remember the credentials they began with."""
    s3_client._filesystem.cache_clear()
    yield
    s3_client._filesystem.cache_clear()


@pytest.fixture
def on_ceph(ceph: Ceph, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    use(monkeypatch, ceph.endpoint, ceph_module.ACCESS_KEY, ceph_module.SECRET_KEY)
    return Store(f"s3://{BUCKET}/{tmp_path.name}", scratch_root=tmp_path / "scratch")


def test_a_wrong_secret_is_refused_and_not_repeated(on_ceph: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    for call in (
        lambda: on_ceph.put_bytes("area/a", b"x"),
        lambda: on_ceph.exists("area/a"),
        lambda: on_ceph.read_bytes("area/a"),
        lambda: on_ceph.list("area/"),
    ):
        with pytest.raises(StorageError, match=r"refused to .*\(SignatureDoesNotMatch\): the secret key does not be"):
            call()
    try:
        on_ceph.read_bytes("area/a")
    except StorageError as error:
        assert "not-the-secret" not in str(error)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ceph_module.SECRET_KEY)
    on_ceph.put_bytes("area/a", b"x")


def test_a_key_that_was_replaced_is_named(on_ceph: Store, ceph: Ceph, monkeypatch: pytest.MonkeyPatch) -> None:
    ceph.add_key("SECONDKEY", "second-secret")
    use(monkeypatch, ceph.endpoint, "SECONDKEY", "second-secret")
    on_ceph.put_bytes("area/a", b"x")
    ceph.remove_key("SECONDKEY")
    with pytest.raises(StorageError, match=r"\(InvalidAccessKeyId\): the service does not know this access key"):
        on_ceph.put_bytes("area/b", b"x")


@pytest.mark.parametrize("minutes", [20, -20])
def test_a_clock_that_is_wrong_is_named_with_its_difference(
    on_ceph: Store, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    there = on_ceph.list("area/")

    def now(remove_tzinfo: bool = True) -> datetime:
        moment = datetime.now(UTC) + timedelta(minutes=minutes)
        return moment.replace(tzinfo=None) if remove_tzinfo else moment

    monkeypatch.setattr("botocore.auth.get_current_datetime", now)
    monkeypatch.setattr(s3_client, "_now", lambda: now(remove_tzinfo=False))
    side = "ahead of" if minutes > 0 else "behind"
    for call in (lambda: on_ceph.exists("area/a"), lambda: on_ceph.put_bytes("area/a", b"x")):
        with pytest.raises(StorageError, match=rf"\(RequestTimeTooSkewed\): the clock .* is 1,(19|20)\d s {side} the"):
            call()
    monkeypatch.undo()
    assert there == []


@pytest.mark.parametrize("code", ["ExpiredToken", "RequestExpired"])
def test_credentials_that_expired_are_named(faulty: Faulty, code: str) -> None:
    faulty.use(lambda request: Answer(400, code))
    for call in (
        lambda: faulty.store.exists("area/a"),  # a HEAD, whose refusal has no body
        lambda: faulty.store.read_bytes("area/a"),
        lambda: faulty.store.put_bytes("area/a", b"x"),
    ):
        with pytest.raises(StorageError, match=rf"\({code}\): the credentials have expired; renew them and run again"):
            call()


def test_credentials_that_were_renewed_in_their_file_are_read_again_amid_a_run(
    faulty: Faulty, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def profile(access_key: str) -> None:
        (tmp_path / "credentials").write_text(
            f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = x\n"
        )

    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    profile("OLDKEY")

    def refuse_the_old(request: Request) -> Fault | None:
        if "OLDKEY" in request.headers["authorization"]:
            return Answer(400, "ExpiredToken")
        # The service behind does not know the new key either: what matters is that it is asked with it.
        return Answer(404, "NoSuchKey")

    faulty.use(refuse_the_old)
    with pytest.raises(StorageError, match="expired"):
        faulty.store.exists("area/a")
    s3_client._filesystem.cache_clear()
    faulty.use(first(0, Answer(404, "NoSuchKey"), method="HEAD"))
    profile("OLDKEY")
    faulty.use(lambda request: Answer(404, "NoSuchKey"))
    assert not faulty.store.exists("area/a")
    profile("NEWKEY")
    faulty.use(refuse_the_old)
    assert not faulty.store.exists("area/a")
