"""How the suite shares two cores: the longest folders first, each whole in one process (`pytest -n 3`).

A real stack is started once for a folder, so its tests stay together; of the other folders each file does. Three
processes keep two cores busy: those that drive a stack often wait for it.
Without `-n` the tests run in the same order, one after the other.
"""

from pathlib import Path
from typing import Any

import pytest

# By their length: what takes longest must not begin last. These share a session's fixtures.
_WHOLE_FOLDERS = ("room", "road", "stack", "curation", "training", "s3")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make faults` runs the fault tests with many rounds, `make test` each of them with a few."""
    parser.addoption("--long", action="store_true", help="as many rounds of each fault test as take minutes")


@pytest.fixture(scope="session")
def is_long(request: pytest.FixtureRequest) -> bool:
    """Whether fault tests run their many rounds."""
    return bool(request.config.getoption("--long"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest folders first."""
    items.sort(key=lambda item: _place(item.path.parent.name))


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


def _place(folder: str) -> int:
    return _WHOLE_FOLDERS.index(folder) if folder in _WHOLE_FOLDERS else len(_WHOLE_FOLDERS)
