"""The nightly of the shipped deployments, and a run started with the button of the control room."""

from datetime import UTC, datetime

import pytest

from ingot import manifest
from ingot.retraining import PUBLISHED_EVENT
from tests.e2e.site import Done, Site
from tests.nights import ZONE, is_next_night

pytestmark = pytest.mark.stack
NIGHTLY = "curate corpus/nightly"


def test_after_up_a_run_is_scheduled_for_the_next_two_o_clock(site: Site) -> None:
    deployment = site.deployment(NIGHTLY)
    (schedule,) = deployment["schedules"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == ("0 2 * * *", ZONE)
    runs = site.prefect(
        "/flow_runs/filter",
        flow_runs={"deployment_id": {"any_": [deployment["id"]]}, "state": {"type": {"any_": ["SCHEDULED"]}}},
    )
    starts = sorted(datetime.fromisoformat(run["expected_start_time"]) for run in runs)
    assert is_next_night(starts[0])


def test_the_deployments_are_of_the_recipe_given_to_up(site: Site, second_build: Done) -> None:
    for name in (NIGHTLY, "train model/train", "evaluate model/evaluate", "build model/build"):
        assert site.deployment(name)["parameters"] == {"recipe": str(site.recipe)}


def test_the_run_button_curates_on_the_worker(site: Site, second_build: Done) -> None:
    begun = datetime.now(UTC)
    run = site.wait_for_flow_run(site.trigger(NIGHTLY))
    print(f"\ntriggered curation done {(datetime.now(UTC) - begun).total_seconds():.0f} s after the button")
    assert run["state_type"] == "COMPLETED", run["state"]
    assert run["work_pool_name"] == "data" and run["parameters"]["recipe"] == str(site.recipe)
    assert {"data-card", "waterfall"} <= set(site.artifacts([run["id"]]))
    assert manifest.versions_of(site.store, "handbook") == [1]  # nothing had changed


def test_a_published_version_is_told_as_an_event_with_names_and_digests(site: Site, first_build: Done) -> None:
    found = site.prefect("/events/filter", filter={"event": {"name": [PUBLISHED_EVENT]}})["events"]
    told = next(event for event in found if event["payload"]["version"] == 1)
    assert told["resource"]["prefect.resource.id"] == "ingot.corpus.handbook"
    root = manifest.read(site.store, "handbook", 1).identity.root_digest
    assert told["payload"] == {"corpus": "handbook", "version": 1, "root_digest": root, "recipe": ""}
    assert told["resource"]["ingot.retrain"] == "not asked"  # its recipe has no such section
