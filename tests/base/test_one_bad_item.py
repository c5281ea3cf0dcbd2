"""What one corpus or one file of schedules does wrong keeps no other from its retrain or its nights."""

import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deployments import retraining, schedules
from ingot import manifest, store_identity
from ingot.settings import Settings
from ingot.storage import Store
from tests.base import tiny_store

ASKS = {"retrain": {"model": "mini", "recipe": "/data/recipe.yaml", "overrides": [], "min_new_tokens": 1}}


class Prefect:
    """Takes the runs that are started."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []

    def get(self, path: str) -> Any:
        return {"id": "d"}

    def post(self, path: str, body: dict[str, Any]) -> Any:
        self.runs.append(body)
        return {"id": f"run{len(self.runs)}"}


def test_a_damaged_corpus_keeps_no_other_from_its_retrain(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    store_identity.initialise(store, salt=tiny_store.SALT)
    tiny_store.publish(store, tiny_store.FIRST_NIGHT, 1)
    tiny_store.train(store, 1)
    tiny_store.publish(store, tiny_store.SECOND_NIGHT, 2, ASKS)
    store.put_bytes(manifest.key_of("damaged", 1), b'{"a page": "secret"}')
    assert retraining._any_asks(store, {"damaged": 1})  # else nobody would hear of it
    prefect, now = Prefect(), datetime.now(UTC)
    answer = retraining.start_due(store, prefect, now)  # type: ignore[arg-type]
    assert answer.started == ("run1",) and len(prefect.runs) == 1
    assert answer.look_again == now + timedelta(minutes=5)  # not every half minute
    (told,) = answer.failed
    assert "damaged" in told and "secret" not in told


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"INGOT_HOME": str(tmp_path / "home")})


def test_a_schedule_that_is_written_wrong_is_passed_over_and_told(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("binary", "cron", "good", "no-list", "second", "yaml"):
        (tmp_path / name).mkdir()
        schedules.put(settings, tmp_path / name / "recipe.yaml", name, "0 2 * * *", "UTC")
    broken = {"binary": b"\xff\xfe\xfa", "yaml": b"schedules: [", "no-list": b"schedules: 3"}
    for name, data in broken.items():
        (tmp_path / name / schedules.FILE_NAME).write_bytes(data)
    entry = {"recipe": "recipe.yaml", "timezone": "UTC"}
    lines = [
        {**entry, "corpus": "cron", "cron": "at two"},
        {**entry, "corpus": "nightly", "cron": "0 2 * * *"},
        {**entry, "corpus": "fine", "cron": "0 3 * * *"},
    ]
    (tmp_path / "cron" / schedules.FILE_NAME).write_text(json.dumps({"schedules": lines}))
    (tmp_path / "second" / schedules.FILE_NAME).write_text(
        json.dumps({"schedules": [{**entry, "corpus": "good", "cron": "0 4 * * *"}]})
    )
    with caplog.at_level(logging.ERROR):
        known = schedules.known_schedules(settings)
    assert [(found.corpus, found.cron) for _, found in known] == [("fine", "0 3 * * *"), ("good", "0 2 * * *")]
    assert len(caplog.records) == 6
    for name in (*broken, "cron", "second"):
        assert str(tmp_path / name) in caplog.text
