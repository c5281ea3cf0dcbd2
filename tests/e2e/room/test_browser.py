"""The pages people look at, in a real browser: what the road made is there to be seen."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingot import pictures
from tests.e2e.pages import CHROMIUM, Browser, logged_in, open_browser
from tests.e2e.room.conftest import Edited
from tests.e2e.site import Site

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no chromium here; install it (Debian: apt-get install chromium) to look at the pages"
    ),
]


@pytest.fixture(scope="module")
def browser(site: Site, edited: Edited, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with logged_in(site, tmp_path_factory.mktemp("pictures")) as window:
        yield window


def test_without_the_secret_prefect_shows_its_login_and_nothing_else(
    site: Site, edited: Edited, tmp_path: Path
) -> None:
    with open_browser(site, tmp_path) as stranger:
        stranger.prefect("runs", "Login")
        assert "build model" not in stranger.page.content()
        stranger.picture("prefect-login")
        stranger.log_in("ingot:guessed")
        stranger.see("Login")
        assert "login" in stranger.page.url


def test_prefect_lists_the_runs(browser: Browser) -> None:
    browser.prefect("runs", "build model", "curate corpus", "train model", "Completed", "Failed")
    browser.picture("prefect-runs")


def test_prefect_shows_the_run_of_a_build_and_its_steps(site: Site, browser: Browser) -> None:
    build = site.newest_flow_run("build model")
    browser.prefect(
        f"runs/flow-run/{build['id']}?tab=SubflowRuns", "build model", build["name"], "evaluate model", "Completed"
    )


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("data-card", ("handbook@2", "held out", "near_duplicate")),
        ("waterfall", ("documents", "excluded_near_heldout", "kept")),
        ("lineage", ("Lineage of model tiny/3", "handbook@2", "vocabulary 512")),
        ("evaluation", ("tiny/3", "bits per byte", "ngram")),
    ],
)
def test_prefect_shows_what_a_build_made(site: Site, browser: Browser, key: str, words: tuple[str, ...]) -> None:
    build = site.newest_flow_run("build model")
    shown = site.artifacts([run["id"] for run in site.subflow_runs(build["id"]).values()])
    page = browser.prefect(f"artifacts/artifact/{shown[key]['id']}", *words)
    if key == "lineage":
        browser.page.wait_for_selector("svg[aria-roledescription=flowchart-v2]")
        page = browser.page.content()
    assert (key == "lineage") == ("<svg" in page and "flowchart-v2" in page)  # drawn, not quoted
    browser.picture(f"prefect-{key}")


def test_prefect_draws_the_curve_of_the_training(site: Site, browser: Browser) -> None:
    build = site.newest_flow_run("build model")
    shown = site.artifacts([run["id"] for run in site.subflow_runs(build["id"]).values()])
    words = ("Training curve of tiny pretrain on handbook@2", "tokens per second", "learning rate")
    browser.prefect(f"artifacts/artifact/{shown['training-curve']['id']}", *words)
    for name in ("loss by step", "tokens per second by step"):
        picture = browser.page.wait_for_selector(f'img[alt="{name}"]')
        assert picture is not None
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == pictures.WIDTH
    browser.picture("prefect-training-curve")


def test_prefect_shows_what_workers_said_in_the_log_of_their_task(site: Site, browser: Browser) -> None:
    build = site.newest_flow_run("build model")
    curation = site.subflow_runs(build["id"])["curate corpus"]
    said = [line for line in site.logs(curation["id"]) if line["message"].startswith("[worker ")]
    assert any("analyse_unit: 1 unit in " in line["message"] for line in said), said
    assert all(line["task_run_id"] is not None for line in said)
    browser.prefect(f"runs/flow-run/{curation['id']}?tab=Logs", "analyse_unit: 1 unit in ")
    browser.picture("prefect-worker-lines")


def test_prefect_offers_the_deployments_with_the_nightly(browser: Browser) -> None:
    browser.prefect("deployments", "nightly", "At 02:00 AM", "build", "train", "evaluate")
    browser.picture("prefect-deployments")


def test_mlflow_shows_the_training_run_with_its_data_and_files(site: Site, browser: Browser) -> None:
    run = next(run for run in site.mlflow_runs("training") if "handbook@2" in run.info.run_name)
    page = f"experiments/{run.info.experiment_id}/runs"
    browser.mlflow(page, run.info.run_name, "handbook@2")
    browser.mlflow(f"{page}/{run.info.run_id}", run.info.run_name, "handbook@2", "Finished", "ingot.root_digest")
    browser.picture("mlflow-run")
    browser.mlflow(f"{page}/{run.info.run_id}/artifacts/lineage.html", "lineage.html", "recipe.json")


def test_mlflow_finds_runs_by_the_digest_of_a_corpus(site: Site, browser: Browser) -> None:
    digest = site.corpus(2).identity.root_digest
    run = next(run for run in site.mlflow_runs("training") if "handbook@2" in run.info.run_name)
    query = f"tags.%60ingot.root_digest%60%20%3D%20%27{digest}%27"
    browser.mlflow(f"experiments/{run.info.experiment_id}/runs?searchFilter={query}", run.info.run_name)
    assert not re.search(r"on handbook@1\b", browser.page.locator("body").inner_text())


def test_mlflow_shows_the_model_with_both_aliases(browser: Browser) -> None:
    browser.mlflow("models/tiny", "Version 1", "Version 3", "candidate", "champion")
    browser.picture("mlflow-model")
