"""MLflow and Prefect are views: with both databases gone, `ingot rebuild` shows the same again from the store."""

import json
import shutil
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from ingot import tracking
from tests.e2e.room.conftest import Edited
from tests.e2e.site import Done, Site
from tests.nights import is_next_night

pytestmark = pytest.mark.stack
EXPERIMENTS = ("corpora", "training", "evaluation")
# Of the process that logged, not of the run.
_PASSING_TAGS = (tracking.HEARTBEAT_TAG, tracking.LOGGED_TAG, tracking.ENDED_TAG, tracking.PROCESS_TAG)


@dataclass(frozen=True)
class Shown:
    """What MLflow shows, without any id of its own."""

    runs: dict[str, dict[str, Any]]
    versions: dict[str, dict[str, Any]]
    aliases: dict[str, str]
    ids: set[str]


def what_mlflow_shows(site: Site) -> Shown:
    client = site.mlflow
    runs = {}
    ids = set()
    for experiment in EXPERIMENTS:
        for run in site.mlflow_runs(experiment):
            ids.add(run.info.run_id)
            runs[run.data.tags[tracking.RUN_TAG]] = {
                "experiment": experiment,
                "name": run.info.run_name,
                "status": run.info.status,
                "params": run.data.params,
                "tags": {k: v for k, v in run.data.tags.items() if k.startswith("ingot.") and k not in _PASSING_TAGS},
                "inputs": sorted((d.name, d.digest, d.source) for d in (i.dataset for i in run.inputs.dataset_inputs)),
                "metrics": {key: history(client, run, key) for key in run.data.metrics},
                "files": site.mlflow_files(run),
            }
    versions = {
        f"{v.name}/{v.tags['ingot.version']}": {
            "source": v.source, "tags": dict(v.tags), "run": v.run_id is not None, "description": v.description,
        }
        for name in ("tiny", "corpus-handbook")
        for v in client.search_model_versions(f"name = '{name}'")
    }  # fmt: skip
    numbers = {v.version: v.tags["ingot.version"] for v in client.search_model_versions("name = 'tiny'")}
    aliases = {alias: numbers[v] for alias, v in client.get_registered_model("tiny").aliases.items()}
    aliases |= dict(client.get_registered_model("corpus-handbook").aliases)  # MLflow's number of a corpus is ours
    return Shown(runs, versions, aliases, ids)


def history(client: Any, run: Any, key: str) -> list[tuple[int, float, int]]:
    """A curve. Of the run that was killed and did five steps again, MLflow had kept the first time and speed of each,
    the store has the last; of that run only what does not depend on the clock is compared."""
    points = [(m.step, m.value, m.timestamp) for m in client.get_metric_history(run.info.run_id, key)]
    if run.info.run_name != "tiny pretrain on handbook@1" or run.data.params["tokens"] == "1024":
        return points
    return [(step, 0.0 if key == "tokens_per_second" else value, 0) for step, value, _ in points]


@dataclass(frozen=True)
class Rebuilt:
    before: Shown
    done: Done
    after: Shown


@pytest.fixture(scope="module")
def rebuilt(site: Site, edited: Edited) -> Rebuilt:
    before = what_mlflow_shows(site)
    site.ingot("down")
    shutil.rmtree(site.home / "mlflow")
    for path in (site.home / "prefect").glob("prefect.db*"):
        path.unlink()
    done = site.ingot("rebuild", "--json")
    return Rebuilt(before, done, what_mlflow_shows(site))


def test_rebuild_says_what_it_restored(rebuilt: Rebuilt) -> None:
    print(f"\nrebuild with the start of the stack: {rebuilt.done.seconds:.0f} s")
    assert rebuilt.done.exit_code == 0, rebuilt.done.stderr
    assert rebuilt.done.answer == {"runs": len(rebuilt.before.runs), "versions": 2 + 3}  # of the corpus, of the model
    assert len(rebuilt.before.runs) == 2 + 3 + 3  # corpora, training, evaluation
    assert rebuilt.before.ids.isdisjoint(rebuilt.after.ids)


@pytest.mark.parametrize("what", ["experiment", "name", "status", "params", "tags", "inputs", "metrics", "files"])
def test_the_same_runs_are_shown(rebuilt: Rebuilt, what: str) -> None:
    before = {key: run[what] for key, run in rebuilt.before.runs.items()}
    assert {key: run[what] for key, run in rebuilt.after.runs.items()} == before


def test_the_same_versions_and_aliases_are_shown(rebuilt: Rebuilt) -> None:
    assert set(rebuilt.after.versions) == {"corpus-handbook/1", "corpus-handbook/2", "tiny/1", "tiny/2", "tiny/3"}
    assert rebuilt.after.versions == rebuilt.before.versions
    assert rebuilt.after.aliases == rebuilt.before.aliases == {"champion": "1", "candidate": "3", "newest": "2"}


def test_the_pages_of_versions_are_their_cards(rebuilt: Rebuilt) -> None:
    champion = rebuilt.after.versions["tiny/1"]["description"]
    assert "[handbook@1](#/models/corpus-handbook/versions/1)" in champion and "promoted tiny/1: the first" in champion
    corpus = rebuilt.after.versions["corpus-handbook/1"]["description"]
    assert "[tiny/1](#/models/tiny/versions/1)" in corpus and "near\\_duplicate" in corpus


def test_no_restored_run_ends_before_it_starts(site: Site, rebuilt: Rebuilt) -> None:
    for experiment in EXPERIMENTS:
        for run in site.mlflow_runs(experiment):
            assert run.info.start_time <= run.info.end_time, run.info.run_name


def test_the_deployments_are_back_with_their_schedule_and_recipe(site: Site, rebuilt: Rebuilt) -> None:
    deployment = site.deployment("curate corpus/nightly")
    assert deployment["parameters"] == {"recipe": str(site.recipe)}
    runs = site.prefect(
        "/flow_runs/filter",
        flow_runs={"deployment_id": {"any_": [deployment["id"]]}, "state": {"type": {"any_": ["SCHEDULED"]}}},
    )
    assert is_next_night(min(datetime.fromisoformat(run["expected_start_time"]) for run in runs))


def test_a_second_rebuild_doubles_nothing(site: Site, rebuilt: Rebuilt) -> None:
    again = site.ingot("rebuild", "--json")
    assert again.exit_code == 0, again.stderr
    shown = what_mlflow_shows(site)
    assert json.dumps(shown.runs, sort_keys=True) == json.dumps(rebuilt.after.runs, sort_keys=True)
    assert shown.versions == rebuilt.after.versions
