"""An engineer and an approver at the browser: retrain by the form, watch it, read what it wrote, approve it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from ingot import ledger, model_versions
from tests.e2e.pages import CHROMIUM, Browser, logged_in
from tests.e2e.room.conftest import Edited
from tests.e2e.site import Site
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no chromium here; install it (Debian: apt-get install chromium) to look at the pages"
    ),
]
TOKENS = 65_536
"""Four times what the recipe says: the candidate is better than the champion, and the gate says so."""


@pytest.fixture(scope="module")
def browser(site: Site, edited: Edited, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with logged_in(site, tmp_path_factory.mktemp("control-room")) as window:
        yield window


@dataclass(frozen=True)
class Retrained:
    """A run of the form, once it has ended."""

    run: dict[str, Any]
    artifacts: dict[str, dict[str, Any]]

    def seconds_until(self, key: str) -> float:
        """From the start of the run to the first writing of an artifact."""
        begun, written = self.run["start_time"], self.artifacts[key]["created"]
        return (datetime.fromisoformat(written) - datetime.fromisoformat(begun)).total_seconds()


@pytest.fixture(scope="module")
def retrained(site: Site, browser: Browser) -> Retrained:
    """Open the form, change parameters, run it, watch it."""
    page = browser.page
    deployment = site.deployment("retrain model/retrain")
    browser.prefect(f"deployments/deployment/{deployment['id']}", "retrain model", "gpu")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Custom run").click()
    browser.see("Corpus version by name", "Tokens to train on in the first stage", "Write the plan and stop")
    page.get_by_label("corpus (Optional)").fill("handbook@latest")
    page.get_by_label("tokens (Optional)").fill(str(TOKENS))
    page.get_by_label("requested_by (Optional)").fill("grace")
    browser.picture("retrain-form")
    for _ in range(5):
        with page.expect_response(lambda answer: answer.url.endswith("/create_flow_run")) as started:
            page.get_by_role("button", name="Submit").click()
        if started.value.status != 503:
            break
        page.wait_for_timeout(2_000)  # SQLite takes one writer at a time; who was refused presses the button again
    assert started.value.ok, started.value.text()
    run = started.value.json()
    browser.prefect(f"runs/flow-run/{run['id']}", run["name"], "Running")
    curve = wait_until(lambda: artifacts_below(site, run["id"]).get("training-curve"), "the curve to begin", 180.0)
    browser.prefect(f"artifacts/artifact/{curve['id']}", "Training curve")
    ended = site.wait_for_flow_run(run["id"], 300.0)
    return Retrained(ended, artifacts_below(site, run["id"]))


def artifacts_below(site: Site, run_id: str) -> dict[str, dict[str, Any]]:
    """What a run and the runs below it show."""
    return site.artifacts([run_id, *(run["id"] for run in site.subflow_runs(run_id).values())])


def test_a_changed_parameter_in_the_form_reaches_the_run_and_it_completes(site: Site, retrained: Retrained) -> None:
    run = retrained.run
    assert run["state_type"] == "COMPLETED", run["state"]
    assert run["state"]["message"].startswith("PASS"), run["state"]["message"]
    assert (run["parameters"]["tokens"], run["parameters"]["corpus"]) == (TOKENS, "handbook@latest")
    started = datetime.fromisoformat(run["start_time"]) - datetime.fromisoformat(run["created"])
    print(f"\nwork began {started.total_seconds():.1f} s after the click, the plan was written "
          f"{retrained.seconds_until('plan'):.1f} s after that")  # fmt: skip
    assert retrained.seconds_until("plan") < 15.0
    version = model_versions.resolve(site.store, "tiny@candidate")
    assert version.details["requested_by"] == "grace"
    assert version.details["tokens_seen"] == TOKENS


def test_the_plan_says_what_runs_and_why(browser: Browser, retrained: Retrained) -> None:
    plan = retrained.artifacts["plan"]
    browser.prefect(f"artifacts/artifact/{plan['id']}", "Plan: tiny on handbook@2", "Gate:", "tiny/1", "65,536")
    browser.picture("retrain-plan")


def test_the_curve_grew_while_it_trained_and_is_a_picture(browser: Browser, retrained: Retrained) -> None:
    curve = retrained.artifacts["training-curve"]
    browser.prefect(f"artifacts/artifact/{curve['id']}", "Training curve", "65,536 of 65,536 tokens")
    images = browser.page.locator("img[alt^='loss by step']")
    images.first.wait_for()
    assert images.first.evaluate("image => image.naturalWidth") > 100, "the picture is broken"
    assert curve["updated"] > curve["created"]
    browser.picture("training-curve")


def test_the_result_says_pass_and_links_the_pages_of_mlflow(
    site: Site, browser: Browser, retrained: Retrained
) -> None:
    browser.prefect(f"artifacts/artifact/{retrained.artifacts['result']['id']}", "Passed: tiny/4", "Next:")
    browser.picture("retrain-result")
    links = browser.page.locator(f"a[href^='{site.mlflow_uri}']")
    assert links.count() >= 2
    browser.open(str(links.first.get_attribute("href")), "tiny")


def test_a_person_approves_in_the_form_and_the_champion_moves(
    site: Site, browser: Browser, retrained: Retrained
) -> None:
    page = browser.page
    deployment = site.deployment("promote model/promote")
    run = site.prefect(f"/deployments/{deployment['id']}/create_flow_run", parameters={"model": "tiny@candidate"})
    wait_until(lambda: site.flow_run(run["id"])["state_name"] == "Suspended", "the run to wait for a person", 120.0)
    browser.prefect(f"runs/flow-run/{run['id']}", "promote tiny@candidate", "Suspended")
    page.get_by_role("button").filter(has_text="Open menu").or_(page.locator("button[aria-haspopup=menu]")).last.click()
    page.get_by_role("menuitem", name="Resume").click()
    browser.see("tiny/4", "PASS", "handbook@2", "Your name")
    browser.picture("approval-form")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Select", exact=False).first.click()
    page.get_by_role("option", name="approve").click()
    dialog.get_by_label("Your name").fill("hopper")
    dialog.get_by_label("Reason").fill("four times the tokens, and better on every page")
    dialog.get_by_role("button", name="Resume").click()
    ended = site.wait_for_flow_run(run["id"], 180.0)
    assert ended["state_type"] == "COMPLETED", ended["state"]
    entries = ledger.read(site.store)
    assert model_versions.champion_version(entries, "tiny") == 4
    moved = next(entry for entry in reversed(entries) if entry.verb == "promoted")
    assert (moved.actor.kind, moved.actor.id, moved.actor.established_by) == ("person", "hopper", "declared")
    assert str(site.mlflow.get_model_version_by_alias("tiny", "champion").tags["ingot.version"]) == "4"


def test_an_auditor_finds_the_card_of_the_model_and_of_its_corpus_in_mlflow(
    browser: Browser, retrained: Retrained
) -> None:
    browser.mlflow("models/tiny/versions/4", "hopper", "PASS", "handbook@2", "internal")
    browser.picture("mlflow_model_version")
    browser.mlflow("models/corpus-handbook/versions/2", "near_duplicate", "tiny/4")
    browser.picture("mlflow_corpus")
