"""Settings come from the environment and are checked; a place is filled in from it."""

import sysconfig
from pathlib import Path

import pytest

from ingot.errors import RecipeError
from ingot.settings import Settings, expand_place


def test_nothing_needs_to_be_set() -> None:
    settings = Settings.from_environment({})
    assert settings.home == Path.home() / ".ingot"
    assert settings.store == str(settings.home / "store")
    assert settings.workers >= 1 and settings.ranks == 1 and settings.train_threads >= 1
    assert settings.source_roots is None and settings.scheduler is None


def test_an_unknown_variable_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(
        RecipeError, match=r"setting INGOT_WORKER is unknown; did you mean INGOT_WORKERS\? known: INGOT_"
    ):
        Settings.from_environment({"INGOT_WORKER": "3"})


def test_a_secret_may_have_any_name_and_is_never_shown() -> None:
    settings = Settings.from_environment({"INGOT_SECRET_WAREHOUSE": "hunter2"})
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("value", "message"),
    [("two", "'two'; give a whole number"), ("-1", "the smallest value is 0"), ("1.5", "'1.5'; give a whole number")],
)
def test_a_number_that_is_none_is_refused_with_its_value(value: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Settings.from_environment({"INGOT_WORKERS": value})


def test_sizes_may_be_written_with_underscores_and_paths_with_a_tilde() -> None:
    settings = Settings.from_environment({"INGOT_UNIT_BYTES": "1_000", "INGOT_HOME": "~/here", "INGOT_WORKERS": "0"})
    assert (settings.unit_bytes, settings.workers, settings.home) == (1000, 0, Path.home() / "here")


def test_ranks_share_the_cores() -> None:
    assert Settings.from_environment({"INGOT_RANKS": "64"}).train_threads == 1


def test_source_roots_are_split_and_made_absolute(tmp_path: Path) -> None:
    settings = Settings.from_environment({"INGOT_SOURCE_ROOTS": f"{tmp_path}/a/../b:{tmp_path}/c:"})
    assert settings.source_roots == (tmp_path / "b", tmp_path / "c")


def test_a_place_is_filled_in_from_the_environment() -> None:
    assert expand_place("${DATA}/wiki/${YEAR}", {"DATA": "/srv", "YEAR": "2026"}) == "/srv/wiki/2026"
    assert expand_place("s3://bucket/docs", {}) == "s3://bucket/docs"
    assert expand_place("${SITE_PACKAGES}", {}) == sysconfig.get_paths()["purelib"]
    assert expand_place("${SITE_PACKAGES}", {"SITE_PACKAGES": "/elsewhere"}) == "/elsewhere"


def test_a_value_that_looks_like_a_variable_is_taken_as_it_is() -> None:
    assert expand_place("${A}/x", {"A": "${A}"}) == "${A}/x"


def test_a_place_that_is_not_set_is_named() -> None:
    with pytest.raises(RecipeError, match=r"names \$\{DATA\}, which is not set; set DATA"):
        expand_place("${DATA}/wiki", {})


@pytest.mark.parametrize("uri", ["${DATA/wiki", "${}/wiki", "${a b}"])
def test_a_place_written_wrongly_is_refused(uri: str) -> None:
    with pytest.raises(RecipeError, match="write"):
        expand_place(uri, {"DATA": "/srv"})
