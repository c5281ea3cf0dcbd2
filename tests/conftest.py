"""How the suite shares two cores: the longest folders first, each whole in one process (`pytest -n 2`).

A real stack is started once for a folder, so its tests stay together; of the other folders each file does.
Without `-n` the tests run in the same order, one after the other.
"""

from pathlib import Path

import pytest

_HERE = Path(__file__).parent
# By their length: what takes longest must not begin last. These share a session's fixtures.
_WHOLE_FOLDERS = ("e2e", "stack", "curation", "training")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the folders and say which tests stay together."""
    items.sort(key=_place)
    for item in items:
        folder = _folder(item)
        group = folder if folder in _WHOLE_FOLDERS else str(item.path.relative_to(_HERE))
        item.add_marker(pytest.mark.xdist_group(group))


def _place(item: pytest.Item) -> int:
    folder = _folder(item)
    return _WHOLE_FOLDERS.index(folder) if folder in _WHOLE_FOLDERS else len(_WHOLE_FOLDERS)


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(_HERE).parts[0]
