"""INGOT_SOURCE_ROOTS: what lies outside is not read, however the place is written."""

from pathlib import Path

import pytest

from datasets_pipeline.curate import check_source_root
from ingot.errors import RecipeError

ROOTS = (Path("/data"),)


@pytest.mark.parametrize(
    "place",
    [
        "/data",
        "/data/handbook",
        "file:///data/handbook",
        "s3://bucket/handbook",
        "sqlite:////data/tickets.db",
        "postgresql://reader@db.example/helpdesk",
    ],
)
def test_a_place_below_a_root_or_elsewhere_than_this_disk_is_read(place):
    check_source_root(place, ROOTS)


@pytest.mark.parametrize(
    "place",
    [
        "/etc",
        "file:///etc",
        "/data/../etc",
        "/database",
        "sqlite:////etc/tickets.db",
        "sqlite:////data/../etc/tickets.db",
    ],
)
def test_a_place_outside_every_root_is_refused_with_the_setting_named(place):
    with pytest.raises(RecipeError, match="INGOT_SOURCE_ROOTS"):
        check_source_root(place, ROOTS)


@pytest.mark.parametrize("place", ["sqlite:///data.db", "mysql://db/x", "sqlite:////data/t.db?mode=rwc", "redis://x"])
def test_a_kind_of_place_that_no_source_reads_is_refused(place):
    with pytest.raises(RecipeError, match="INGOT_SOURCE_ROOTS|absolute|not one a source reads"):
        check_source_root(place, ROOTS)
