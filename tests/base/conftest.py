"""Fixtures of the base: the tiny store, built once and copied, and a moto server that stands in for S3."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingot.storage import Store
from tests.base.tiny_store import TinyStore, build
from tests.moto import running_moto

BUCKET = "ingot-tests"
# moto accepts any key; these are here so that a test can look for them where they must not be.
ACCESS_KEY, SECRET_KEY = "AKIAINGOTTESTSACCESS", "ingot-tests-secret-key"
_places = itertools.count()


@pytest.fixture(scope="session")
def built_store(tmp_path_factory: pytest.TempPathFactory) -> TinyStore:
    """Read only; a test that changes something takes `tiny`."""
    folder = tmp_path_factory.mktemp("tiny")
    return build(folder / "store", folder / "sources")


@pytest.fixture
def tiny(built_store: TinyStore, tmp_path: Path) -> TinyStore:
    """A copy of the tiny store that a test may damage."""
    shutil.copytree(built_store.root, tmp_path / "store")
    return TinyStore(tmp_path / "store", built_store.sources, built_store.witness)


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A moto server with an empty bucket; the environment names it and holds the credentials."""
    import s3fs

    with running_moto(tmp_path_factory.mktemp("moto")) as endpoint, pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_MAX_ATTEMPTS": "2",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
            "INGOT_S3_ENDPOINT": endpoint, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        s3fs.S3FileSystem(endpoint_url=endpoint).mkdir(BUCKET)
        yield endpoint


@pytest.fixture
def s3_root(s3_endpoint: str) -> str:
    """A prefix of the bucket that no other test uses."""
    return f"s3://{BUCKET}/place-{next(_places)}/store"


@pytest.fixture
def s3_store(s3_root: str, tmp_path: Path) -> Store:
    """An empty store on S3."""
    return Store(s3_root, scratch_root=tmp_path / "scratch")


@pytest.fixture
def local_store(tmp_path: Path) -> Store:
    """An empty store in a local folder."""
    return Store(str(tmp_path / "store"), scratch_root=tmp_path / "scratch")


@pytest.fixture(params=["local", "s3"])
def any_store(request: pytest.FixtureRequest) -> Store:
    """The same tests hold for both kinds of store."""
    store: Store = request.getfixturevalue(f"{request.param}_store")
    return store
