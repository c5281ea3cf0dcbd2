"""The S3 services that the same tests hold for: moto, and Ceph's gateway where its packages are installed."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ingot.storage import Store
from tests.moto import running_moto
from tests.s3 import ceph as ceph_module
from tests.s3.ceph import Ceph
from tests.s3.fault_proxy import FaultProxy, Rule, fault_proxy

BUCKET = "ingot-faults"
_places = itertools.count()


@dataclass(frozen=True)
class Service:
    """A running service with a bucket, and a key that may use it."""

    name: str
    endpoint: str
    access_key: str
    secret_key: str


@pytest.fixture(scope="session")
def ceph() -> Iterator[Ceph]:
    """Ceph on loopback, once for all tests (20 s)."""
    if missing := ceph_module.missing():
        pytest.skip(
            f"needs a real S3, and {', '.join(missing)} is not installed: apt-get install --no-install-recommends "
            "radosgw ceph-mon ceph-osd ceph-mgr ceph-common"
        )
    cluster = Ceph()
    try:
        cluster.start()
        _make_bucket(cluster.endpoint, ceph_module.ACCESS_KEY, ceph_module.SECRET_KEY)
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A moto server with the bucket."""
    with running_moto(tmp_path_factory.mktemp("moto")) as endpoint:
        _make_bucket(endpoint, "AKIAINGOTMOTO", "secret-of-moto")
        yield Service("moto", endpoint, "AKIAINGOTMOTO", "secret-of-moto")


def _make_bucket(endpoint: str, access_key: str, secret_key: str) -> None:
    import s3fs

    with pytest.MonkeyPatch.context() as patch:
        _name_loopback(patch)
        s3fs.S3FileSystem(
            key=access_key, secret=secret_key, endpoint_url=endpoint, skip_instance_cache=True,
            config_kwargs={"s3": {"addressing_style": "path"}},
        ).mkdir(BUCKET)  # fmt: skip


def _name_loopback(patch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        patch.setenv(name, "127.0.0.1")


@pytest.fixture(params=["moto", "ceph"])
def service(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Service:
    """The same tests hold for both; the environment names the service and holds its key."""
    found = request.getfixturevalue(request.param)
    if isinstance(found, Ceph):
        found = Service("ceph", found.endpoint, ceph_module.ACCESS_KEY, ceph_module.SECRET_KEY)
    use(monkeypatch, found.endpoint, found.access_key, found.secret_key)
    assert isinstance(found, Service)
    return found


def use(patch: pytest.MonkeyPatch, endpoint: str, access_key: str, secret_key: str) -> None:
    """Point this process at a service."""
    _name_loopback(patch)
    for name, value in {
        "INGOT_S3_ENDPOINT": endpoint, "AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        patch.setenv(name, value)
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_MAX_ATTEMPTS"):
        patch.delenv(name, raising=False)


@pytest.fixture
def root(service: Service) -> str:
    """A prefix that no other test uses."""
    return f"s3://{BUCKET}/place-{next(_places)}/store"


@pytest.fixture
def store(root: str, tmp_path: Path) -> Store:
    """An empty store, reached without a fault."""
    return Store(root, scratch_root=tmp_path / "scratch")


@pytest.fixture
def any_store(store: Store) -> Store:
    """What the tests of every store (`tests/base/test_storage.py`) take."""
    return store


class Faulty:
    """A store behind a proxy whose rule the test sets."""

    def __init__(self, proxy: FaultProxy, store: Store) -> None:
        self.proxy, self.store = proxy, store

    def use(self, rule: Rule) -> None:
        self.proxy.rule = rule


@pytest.fixture
def faulty(service: Service, root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    """The store of `store`, reached through the proxy; the two name the same objects."""
    with fault_proxy(service.endpoint) as proxy:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("INGOT_S3_ENDPOINT", proxy.endpoint)
            behind = Store(root, scratch_root=tmp_path / "scratch-of-faulty")
        yield Faulty(proxy, behind)
