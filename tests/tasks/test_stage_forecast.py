"""The prediction of a stage beside what came true, in a real MLflow without a server, after a real tiny run."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingot import tracking
from ingot.plan_words import plan_words
from ingot.storage import Store
from tasks import runtime as runtimes
from tasks import stage_forecast
from tasks.corpus import find_published
from tasks.runtime import runtime
from tasks.starts import begun, find_start
from tasks.training import run_record, stage_fingerprint, train_stage
from tests.tasks.test_mixtures import recipe, store, tokenize  # noqa: F401  # store is a fixture
from tests.training.foreign import save_base
from tests.training.test_adopted_start import adopted_place
from tests.training.test_adopted_start import recipe as adopted_recipe
from training.plan_actual import actual_rows, actual_values, against_actual
from training.stage_costs import Prices


@pytest.fixture
def home(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:  # noqa: F811
    """This process as a worker with a store, a home and an MLflow of its own."""
    monkeypatch.chdir(tmp_path)
    values = {"HOME": str(tmp_path / "home"), "STORE": store.root, "MLFLOW_URI": f"sqlite:///{tmp_path}/mlflow.db",
              "TRAIN_THREADS": "1", "PRICE_PER_HOUR": "3", "ACTOR": "maria"}  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(f"INGOT_{name}", value)
    runtimes._places.cache_clear()
    yield tmp_path
    runtimes._places.cache_clear()


def artifact(uri: str, run_key: str, name: str) -> Any:
    client = tracking.connect(uri)
    run = tracking.find_run(client, run_key)
    assert run is not None
    return json.loads(Path(client.download_artifacts(run.info.run_id, name)).read_text())


def test_a_run_keeps_its_plan_and_shows_it_beside_what_came(home: Path, store: Store) -> None:  # noqa: F811
    here, what, corpus = runtime(), recipe(), find_published(store, "handbook@2")
    tokens = tokenize(store, corpus)
    (entry,) = what.train
    checkpoint = train_stage.fn(entry, what, corpus, tokens, None)
    digest = stage_fingerprint(entry, what, tokens, None)
    assert checkpoint.fingerprint == digest
    planned = artifact(here.tracking_uri, digest, "plan.json")
    assert planned["loss"]["is_extrapolation"]
    assert planned["cost"]["cost"] == pytest.approx(3 * planned["cost"]["hours"])
    table = artifact(here.tracking_uri, digest, "plan_against_actual.json")
    assert artifact(here.tracking_uri, digest, "preflight.json")["overlap"]["handbook@2"]["trained_on"] == 0
    assert set(table) == {"loss", "tokens_per_second", "hours", "memory_bytes", "kwh", "cost"}
    for name in ("tokens_per_second", "hours", "memory_bytes", "kwh", "cost"):
        assert table[name]["planned"] > 0 and table[name]["actual"] > 0, name
        assert table[name]["ratio"] == pytest.approx(table[name]["actual"] / table[name]["planned"])
    assert table["loss"]["verdict"] in ("within the band", "below the band", "above the band")
    assert 1 < table["loss"]["actual"] < 8
    kept = stage_forecast.for_card(store, checkpoint)["plan_against_actual"]
    assert plan_words(kept).startswith(f"loss {table['loss']['actual']:.2f} nats a token (planned ")
    # A second attempt plans anew, and the first plan stays.
    record = run_record(here, entry, what, corpus, tokens, digest)
    assert not store.put_if_absent(f"runs/{digest}.json", record.model_dump(mode="json"))
    came = stage_forecast.outcome(store, digest, checkpoint.key, "mini")
    assert came is not None and came.values == table and "tokens/s" in came.html and "| tokens/s |" in came.markdown


def test_a_stage_that_goes_on_from_an_adopted_model_has_a_plan_too(tmp_path: Path, monkeypatch: Any) -> None:
    place = adopted_place(tmp_path / "store", save_base(tmp_path / "tiny"))
    monkeypatch.setenv("INGOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("INGOT_STORE", place.store.root)
    runtimes._places.cache_clear()
    start = find_start(place.store, adopted_recipe())
    assert start is not None
    (entry,) = begun(adopted_recipe(), start).train
    planned = stage_forecast.forecast(runtime(), entry, place.tokens, start.checkpoint)
    runtimes._places.cache_clear()
    assert planned is not None and planned["loss"] is None and planned["cost"]["tokens_per_second"] > 0


LINES = [
    {"step": 0, "loss": 6.0, "tokens": 0, "time": 1.0},
    {"step": 10, "loss": 5.0, "tokens": 3600, "tokens_per_second": 1.0, "peak_memory_bytes": 7, "energy_wh": 100.0},
    {"step": 20, "loss": 4.0, "tokens": 10_800, "tokens_per_second": 2.0, "peak_memory_bytes": 9, "energy_wh": 150.0},
]


def test_what_came_is_counted_without_pauses_and_priced() -> None:
    came = actual_values(LINES, Prices(per_hour=2.0, per_kwh=4.0))
    assert came == {
        "loss": 4.0, "tokens_per_second": 1.5, "hours": 2.0, "memory_bytes": 9, "kwh": 0.25, "cost": 5.0,
    }  # fmt: skip
    assert actual_values(LINES[:1], Prices())["hours"] is None


@pytest.mark.parametrize(("low", "verdict"), [(3.0, "within the band"), (4.5, "below the band"), (1, "above the band")])
def test_a_loss_is_told_to_lie_within_or_outside_its_band(low: float, verdict: str) -> None:
    plan = {"prices": {"per_hour": None, "per_kwh": None}, "cost": {"hours": 4.0, "speed_basis": "a probe"},
            "loss": {"low": low, "middle": low + 0.5, "high": low + 2.0, "basis": "a law"}}  # fmt: skip
    found = against_actual(plan, LINES)
    assert found["loss"]["verdict"] == verdict and found["hours"]["ratio"] == 0.5
    rows = {row[0]: row for row in actual_rows(found)}
    assert rows["hours of training"][1:] == ["4", "2", "0.50", "a probe"]
    assert rows["cost"][1:4] == ["not known", "not known", ""]


def test_a_loss_that_nothing_predicted_is_told_alone() -> None:
    prices = {"per_hour": None, "per_kwh": None}
    plan = {"prices": prices, "cost": {"hours": 4.0, "speed_basis": "a probe"}, "loss": None}
    assert plan_words(against_actual(plan, LINES)) == "loss 4.00 nats a token, 2 hours (planned 4), 0.25 kWh"
