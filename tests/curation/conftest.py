"""Corpora, pools and fork servers that several tests of the data path share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from datasets_pipeline.parallel import DaskPool, open_pool
from tests.curation.fork_server import ForkServer
from tests.curation.pages import CORPORA, Corpus
from tests.curation.road import Road


@pytest.fixture(params=sorted(CORPORA))
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Corpus:
    """A corpus that a test may change, once made up and once of real pages."""
    return CORPORA[request.param](tmp_path / "documents")


@pytest.fixture
def made_up(tmp_path: Path) -> Corpus:
    """The made-up corpus, for a test to change."""
    return CORPORA["made_up"](tmp_path / "documents")


@pytest.fixture
def road(made_up: Corpus, tmp_path: Path) -> Road:
    """A road over the made-up corpus."""
    return Road(made_up, tmp_path / "road")


@pytest.fixture
def two_workers(tmp_path: Path) -> Iterator[DaskPool]:
    """Two Dask workers of this test's own, for it to kill."""
    with open_pool(2, scratch=tmp_path / "pool") as pool:
        assert isinstance(pool, DaskPool)
        yield pool


@pytest.fixture(scope="session")
def servers() -> Iterator[list[ForkServer]]:
    """Two warm processes to fork children from, one for each core of a small machine."""
    started = [ForkServer("tests.curation.crash_child:warm_up") for _ in range(2)]
    yield started
    for server in started:
        server.close()
