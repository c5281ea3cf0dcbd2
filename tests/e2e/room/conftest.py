"""What comes after the first model, in a home of its own: a fixture stands on the one before.

    site         the home under test, with its stack up
    first_build  the first corpus version and model
    champion     the model, promoted
    worse        a candidate after one training step
    edited       the next night: pages gone, changed and new

A fixture only acts and notes what happened; what must hold is said by the tests.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.documents import edit_handbook, write_handbook, write_recipe
from tests.e2e.site import Done, Site, heldout_uris, in_order, open_site

# The leak test comes last because it looks at what everything before it wrote.
_ORDER = ("gate", "browser", "rebuild", "control_room", "room_leaks")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files of this folder in the order of the road."""
    in_order(items, Path(__file__).parent, _ORDER)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    handbook = write_handbook(tmp_path_factory.mktemp("handbook"))  # its own: the next night edits it
    recipe = write_recipe(tmp_path_factory.mktemp("recipe") / "recipe.yaml", handbook)
    with open_site(tmp_path_factory.mktemp("room") / "home", handbook, recipe) as found:
        yield found


@pytest.fixture(scope="session")
def first_build(site: Site) -> Done:
    return site.ingot("build", str(site.recipe), "--json")


@pytest.fixture(scope="session")
def champion(site: Site, first_build: Done) -> Done:
    return site.ingot("promote", "tiny/1", "--reason", "the first that works", "--json")


@dataclass(frozen=True)
class Worse:
    """A model that has seen one step."""

    killed: Done
    """The first start: its rank was killed after the only checkpoint was complete."""
    run_killed: str
    """MLflow's status of the run then."""
    build: Done


@pytest.fixture(scope="session")
def worse(site: Site, champion: Done) -> Worse:
    one_step = ("train", str(site.recipe), "--set", "train.0.tokens=1024", "--json")
    killed = site.ingot(*one_step, INGOT_CRASH_AT="checkpoint.manifest.after")
    status = site.mlflow_runs("training")[0].info.status
    return Worse(killed, status, site.ingot("build", *one_step[1:]))


@dataclass(frozen=True)
class Edited:
    """A night after the documents changed."""

    gone: str
    """uri of the page that was removed; it had been held out."""
    build: Done


@pytest.fixture(scope="session")
def edited(site: Site, worse: Worse) -> Edited:
    gone = next(
        uri for uri in heldout_uris(site, 1) if uri.startswith("page-") and not 20 <= int(uri[5:8]) < 30
    )  # fmt: skip
    edit_handbook(site.handbook, gone)
    return Edited(gone, site.ingot("build", str(site.recipe), "--json"))
