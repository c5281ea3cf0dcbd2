"""The first build of the site, started four times and killed four times, through Prefect.

1. a deployment's run, killed by itself after its first unit was analysed
2. a deployment's run, killed before its manifest was put
3. `ingot build`, whose training rank is killed between a checkpoint's files and its manifest
4. `ingot build`, killed from outside while it trains; nobody is left to tell the servers
"""

import signal
import time
from dataclasses import dataclass
from typing import Any

from ingot import tracking
from tests.e2e.site import Done, Site
from tests.waiting import wait_until

BUILD = "build model/build"


@dataclass(frozen=True)
class Crashes:
    """What was seen after each kill."""

    after_analyse: dict[str, Any]
    """The flow run, once it had ended."""
    before_manifest: dict[str, Any]
    versions_before_manifest: list[str]
    """Manifests a reader saw then."""
    before_checkpoint: Done
    run_before_checkpoint: str
    """MLflow's status of the training run."""
    steps_before_checkpoint: list[str]
    """Whole checkpoints there were then."""
    killed: Done
    flow_run_killed: dict[str, Any]
    """As it was left by the kill."""
    subflow_run_killed: dict[str, Any]
    up_again: Done
    flow_run_settled: dict[str, Any]
    """After the next `ingot up`."""
    unfinished_after_up: list[str]
    subflow_run_settled: dict[str, Any]
    run_killed: str
    run_reaped: Any
    """MLflow's training run after the reaper."""


def crash_four_times(site: Site) -> Crashes:
    """Start and kill; asserts nothing."""
    # Without workers of its own the flow's process is the one that analyses, and dies.
    after_analyse = _crash_deployment(site, INGOT_CRASH_AT="analyse.unit.after", INGOT_WORKERS="0")
    before_manifest = _crash_deployment(site, INGOT_CRASH_AT="manifest.put.before")
    versions = site.store.list("corpora/")
    before_checkpoint = site.ingot("build", str(site.recipe), "--json", INGOT_CRASH_AT="checkpoint.manifest.before:2")
    (run,) = site.mlflow_runs("training")
    whole = [key for key in site.store.list("checkpoints/") if key.endswith("/manifest.json")]

    begun = time.monotonic()
    process = site.start("build", str(site.recipe), "--json")
    wait_until(lambda: site.mlflow_runs("training")[0].info.status == "RUNNING", "the training run to go on", 120)
    process.send_signal(signal.SIGKILL)
    killed = site.finish(process, "build", begun=begun)
    flow_run = site.newest_flow_run("build model")
    subflow_run = site.subflow_runs(flow_run["id"])["train model"]
    status = site.mlflow_runs("training")[0].info.status
    up_again = site.ingot("up", "--json")
    time.sleep(1.0)
    tracking.reap_dead_runs(site.mlflow_uri, max_age_seconds=0.5)
    return Crashes(
        after_analyse=after_analyse,
        before_manifest=before_manifest,
        versions_before_manifest=versions,
        before_checkpoint=before_checkpoint,
        run_before_checkpoint=run.info.status,
        steps_before_checkpoint=whole,
        killed=killed,
        flow_run_killed=flow_run,
        subflow_run_killed=subflow_run,
        up_again=up_again,
        flow_run_settled=site.flow_run(flow_run["id"]),
        unfinished_after_up=site.unfinished_flow_runs(),
        subflow_run_settled=site.flow_run(subflow_run["id"]),
        run_killed=status,
        run_reaped=site.mlflow_runs("training")[0],
    )


def _crash_deployment(site: Site, **variables: str) -> dict[str, Any]:
    return site.wait_for_flow_run(site.trigger(BUILD, **variables))
