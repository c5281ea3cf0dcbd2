"""What both halves of the road end with: a site that has refused a bad recipe and is stopped, for the search for leaks.

    road/   from documents to the first model: without a network, killed four times, built again, asked about
    room/   what comes after: champion, a worse candidate, the next night, and the pages people look at

Each half has documents, a home and a stack of its own (`site`), so that the two run side by side.
"""

import pytest

from tests.e2e import leaks
from tests.e2e.site import Done, Site


@pytest.fixture(scope="module")
def refused(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Done:
    return leaks.refuse_a_recipe(site, tmp_path_factory.mktemp("refused"))


@pytest.fixture(scope="module")
def stopped(site: Site, refused: Done) -> Site:
    """The site with its databases closed, so that all of them can be read whole."""
    site.ingot("down")
    return site
