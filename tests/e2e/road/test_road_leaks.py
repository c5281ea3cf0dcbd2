"""After four kills, refusals and every question: planted text is where text may be, only."""

import json
import sqlite3
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.e2e import leaks
from tests.e2e.documents import NUM_PLANTED_FIRST, planted
from tests.e2e.leaks import find_leaks
from tests.e2e.road.conftest import CleanRoad
from tests.e2e.site import Done, Site

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("second_build")]


def test_everything_was_planted_where_text_may_be(stopped: Site) -> None:
    leaks.check_text_is_where_it_may_be(stopped, NUM_PLANTED_FIRST)


def test_no_planted_secret_or_name_is_anywhere_else(stopped: Site, clean_road: CleanRoad) -> None:
    leaks.check_nothing_leaked(stopped, clean_road.site)


def test_a_refused_recipe_does_not_show_what_was_refused(refused: Done) -> None:
    assert refused.exit_code == 2 and "not shown" in json.dumps(refused.answer)


def test_a_leak_into_a_log_or_a_database_would_be_found(tmp_path: Path) -> None:
    secret, name = planted()[:2]
    (tmp_path / "worker.log").write_text(f"12:00:00 | INFO | read {name}\n")
    with sqlite3.connect(tmp_path / "view.db") as connection:
        connection.execute("create table log (message text)")
        # Longer than a page: in the file itself its parts lie apart.
        connection.execute("insert into log values (?)", ["x" * 5_000 + secret + "y" * 5_000])
    pq.write_table(pa.table({"score": pa.array([secret] * 50)}), tmp_path / "features.parquet", compression="zstd")
    found = find_leaks(sorted(tmp_path.iterdir()), planted())
    assert {Path(path).name: hits for path, hits in found.items()} == {
        "worker.log": {name},
        "view.db": {secret},
        "features.parquet": {secret},
    }
