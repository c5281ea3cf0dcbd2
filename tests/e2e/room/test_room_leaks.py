"""After gate, browser, retrain and a rebuild of the databases: planted text is where text may be, only."""

import json

import pytest

from tests.e2e import leaks
from tests.e2e.documents import NUM_PLANTED
from tests.e2e.site import Done, Site

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("edited")]


def test_everything_was_planted_where_text_may_be(stopped: Site) -> None:
    leaks.check_text_is_where_it_may_be(stopped, NUM_PLANTED)


def test_no_planted_secret_or_name_is_anywhere_else(stopped: Site) -> None:
    leaks.check_nothing_leaked(stopped)


def test_a_refused_recipe_does_not_show_what_was_refused(refused: Done) -> None:
    assert refused.exit_code == 2 and "not shown" in json.dumps(refused.answer)
