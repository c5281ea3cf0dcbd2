"""How the suite shares two cores: the longest folders first, each whole in one process (`pytest -n 3`).

A real stack is started once for a folder, so its tests stay together; of the other folders each file does. Three
processes keep two cores busy: those that drive a stack often wait for it.
Without `-n` the tests run in the same order, one after the other.
"""

import os
from pathlib import Path
from typing import Any

import pytest

# By their length: what takes longest must not begin last. The first three, training and s3 share a session's fixtures.
_LONGEST_FOLDERS = ("room", "road", "stack", "curation", "training", "s3")
_WHOLE_FOLDERS = ("room", "road", "stack", "training", "s3")
_LONGEST_FILES = ("test_nights", "test_crashes", "test_workers", "test_same_version")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make faults` runs the fault tests with many rounds, `make test` each of them with a few."""
    parser.addoption("--long", action="store_true", help="as many rounds of each fault test as take minutes")


@pytest.fixture(scope="session")
def is_long(request: pytest.FixtureRequest) -> bool:
    """Whether fault tests run their many rounds."""
    return bool(request.config.getoption("--long"))


def pytest_configure() -> None:
    """All processes and homes of a run keep their kernels in one place: compiling them takes a core a minute."""
    os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[1] / ".numba_cache"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest folders first, and in them the longest files."""
    items.sort(key=lambda item: _place(item.path))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A scheduler that keeps together what shares a stack, and keeps the order above."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFolder(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            folder = Path(file).parent.name
            return folder if folder in _WHOLE_FOLDERS else file

    config.option.loadscopereorder = False
    return ByFolder(config, log)


def _place(path: Path) -> tuple[int, int]:
    folder, file = path.parent.name, path.stem
    return (
        _LONGEST_FOLDERS.index(folder) if folder in _LONGEST_FOLDERS else len(_LONGEST_FOLDERS),
        _LONGEST_FILES.index(file) if folder == "curation" and file in _LONGEST_FILES else len(_LONGEST_FILES),
    )
