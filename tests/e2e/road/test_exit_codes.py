"""What a script sees: an exit code for each kind of trouble, the stable code on stderr, JSON when asked for."""

import pytest

from tests.e2e.site import Done, Site

pytestmark = pytest.mark.stack


def assert_refused(done: Done, exit_code: int, code: str, *words: str) -> None:
    """Refused with this exit code; the message is on stderr, and stdout is empty or one JSON object."""
    assert done.exit_code == exit_code, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"{code}: ")
    for word in words:
        assert word in last
    if "--json" in done.arguments:
        assert done.answer == {"error": {"code": code, "message": last.removeprefix(f"{code}: ")}}
    else:
        assert done.stdout == ""


def test_an_unknown_key_of_a_recipe_is_named_with_the_nearest_known_one(site: Site) -> None:
    for more in ((), ("--json",)):
        done = site.ingot("build", str(site.recipe), "--set", "heldout.shere=0.1", *more)
        assert_refused(done, 2, "INGOT-RECIPE", "heldout.shere", "did you mean share?")


def test_a_command_that_does_not_exist_is_named_with_the_nearest_one(site: Site) -> None:
    for more in ((), ("--json",)):
        assert_refused(site.ingot("biuld", "recipe.yaml", *more), 2, "INGOT-RECIPE", "'biuld'", "did you mean build?")


def test_a_missing_argument_is_a_usage_error_too(site: Site) -> None:
    assert_refused(site.ingot("promote", "--json"), 2, "INGOT-RECIPE", "model", "ingot promote --help")


def test_an_unknown_setting_is_refused(site: Site) -> None:
    done = site.ingot("verify", "--json", INGOT_WORKER="3")
    assert_refused(done, 2, "INGOT-RECIPE", "INGOT_WORKER is unknown", "did you mean INGOT_WORKERS?")


def test_what_does_not_exist_is_not_found(site: Site, second_build: Done) -> None:
    assert_refused(site.ingot("trace", "model", "giant", "--json"), 4, "INGOT-NOT-FOUND", "'giant'", "tiny")
    assert_refused(site.ingot("trace", "model", "tiny/9"), 4, "INGOT-NOT-FOUND", "tiny/9")
    assert_refused(site.ingot("why", "no-such-page.md"), 4, "INGOT-NOT-FOUND", "no-such-page.md")
    assert_refused(site.ingot("build", "no-such-recipe"), 4, "INGOT-NOT-FOUND", "no-such-recipe", "demo")


def test_a_service_that_is_away_means_try_again(site: Site, tmp_path: str) -> None:
    done = site.ingot("up", "--json", INGOT_HOME=f"{tmp_path}/home", INGOT_MLFLOW_URI="http://127.0.0.1:9")
    assert_refused(done, 75, "INGOT-SERVICE", "http://127.0.0.1:9", "INGOT_MLFLOW_URI")
    gone = site.ingot("down", INGOT_HOME=f"{tmp_path}/home")
    assert (gone.exit_code, gone.stdout) == (0, "nothing was running\n")


def test_nothing_wrong_is_zero(site: Site, second_build: Done) -> None:
    for arguments in (("status",), ("doctor",), ("ledger",), ("schema", "recipe"), ("up",)):
        done = site.ingot(*arguments)
        assert (done.exit_code, done.stderr) == (0, ""), done.stdout + done.stderr
