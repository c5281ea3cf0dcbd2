"""What both halves of the road begin with: the documents and the recipe.

    road/   from documents to the first model: without a network, killed four times, built again, asked about
    room/   what comes after: champion, a worse candidate, the next night, and the pages people look at

Each half has a home and a stack of its own, so that the two run side by side.
"""

from pathlib import Path

import pytest

from tests.e2e.documents import Handbook, write_handbook, write_recipe


@pytest.fixture(scope="session")
def handbook(tmp_path_factory: pytest.TempPathFactory) -> Handbook:
    return write_handbook(tmp_path_factory.mktemp("handbook"))


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory, handbook: Handbook) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe") / "recipe.yaml", handbook)
