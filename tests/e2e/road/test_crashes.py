"""Killed through Prefect: nothing is left running for ever, and the next start ends with the same bytes."""

import json
import signal

import pytest

from ingot import manifest, model_versions
from tests.e2e.road.conftest import CleanRoad
from tests.e2e.road.crash_starts import Crashes
from tests.e2e.site import Done, Site

pytestmark = pytest.mark.stack


def test_a_deployments_run_that_is_killed_is_shown_as_crashed(crashes: Crashes) -> None:
    for run in (crashes.after_analyse, crashes.before_manifest):
        assert run["state_type"] == "CRASHED", run["state"]
        assert str(-signal.SIGKILL) in run["state"]["message"] or "SIGKILL" in run["state"]["message"]


def test_a_kill_before_the_manifest_leaves_nothing_half_published(crashes: Crashes) -> None:
    assert crashes.versions_before_manifest == []


def test_a_killed_rank_is_an_error_with_a_code_and_a_failed_run(crashes: Crashes) -> None:
    assert crashes.before_checkpoint.exit_code == 1
    assert crashes.before_checkpoint.answer["error"]["code"] == "INGOT-TRAINING"
    assert crashes.before_checkpoint.stderr.splitlines()[-1].strip() != ""
    assert crashes.run_before_checkpoint == "FAILED"
    assert [key.split("/")[2] for key in crashes.steps_before_checkpoint] == ["00000005"]


def test_a_killed_command_leaves_no_run_running_after_the_next_up(crashes: Crashes) -> None:
    assert crashes.killed.exit_code == -signal.SIGKILL
    # Nobody is left to report the end; the supervisor may have seen it in the moment between.
    for run in (crashes.flow_run_killed, crashes.subflow_run_killed):
        assert run["state_type"] in ("RUNNING", "CRASHED"), run["state"]
    assert crashes.up_again.exit_code == 0
    assert crashes.up_again.answer["already_running"] is True
    assert crashes.flow_run_settled["state_type"] == "CRASHED"
    assert crashes.subflow_run_settled["state_type"] == "CRASHED"
    assert "killed" in crashes.flow_run_settled["state"]["message"]
    assert crashes.unfinished_after_up == []  # nor a subflow of the deployments' runs that were killed before


def test_a_killed_command_leaves_a_failed_run_in_mlflow(crashes: Crashes) -> None:
    assert crashes.run_killed in ("RUNNING", "FAILED")  # as above
    assert crashes.run_reaped.info.status == "FAILED"
    assert "killed" in crashes.run_reaped.data.tags["ingot.ended"]


def test_the_start_after_four_kills_ends_with_the_bytes_of_an_undisturbed_build(
    site: Site, first_build: Done, clean_road: CleanRoad
) -> None:
    assert first_build.exit_code == 0, first_build.stderr
    ours, theirs = site.corpus(1), clean_road.site.corpus(1)
    assert ours.identity.content_digest == theirs.identity.content_digest
    assert ours.identity.root_digest == theirs.identity.root_digest
    assert ours.identity_digest == theirs.identity_digest
    assert manifest.versions_of(site.store, "handbook") == [1]
    assert final_files(site) == final_files(clean_road.site)


def final_files(site: Site) -> dict[str, str]:
    """sha256 of each file of the final checkpoint but its curves, which carry times."""
    (version,) = model_versions.versions_of(site.store, "tiny")
    record = site.store.read_json(f"{version.checkpoint_key}/manifest.json")
    assert record["step"] == 16
    return {f["name"]: f["sha256"] for f in record["files"] if f["name"] != "metrics.jsonl"}


def test_a_run_that_was_killed_twice_has_every_step_once(site: Site, first_build: Done) -> None:
    (run,) = site.mlflow_runs("training")
    assert run.info.status == "FINISHED" and "ingot.ended" not in run.data.tags
    history = site.mlflow.get_metric_history(run.info.run_id, "loss")
    assert [point.step for point in history] == list(range(17))  # step 0 is the loss before training
    lines = site.store.read_bytes(f"checkpoints/{run.data.tags['ingot.run']}/00000016/metrics.jsonl").decode()
    kept = {line["step"]: line["loss"] for line in map(json.loads, lines.splitlines()) if "loss" in line}
    assert {point.step: point.value for point in history} == pytest.approx(kept)
