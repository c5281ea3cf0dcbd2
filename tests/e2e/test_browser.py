"""The pages people look at, in a real browser: what the road made is there to be seen."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Edited
from tests.e2e.site import Site

pytestmark = pytest.mark.stack
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--window-size=1400,1100",
)  # fmt: skip
_PATIENCE_MS = 30_000  # of the page's own clock, which runs ahead while nothing is on its way


@pytest.fixture
def browser(tmp_path: Path) -> Path:
    """The folder of the pictures; skips where there is no Chromium."""
    if CHROMIUM is None:
        pytest.skip("no chromium here; install it (Debian: apt-get install chromium) to look at the pages")
    return tmp_path


def look(folder: Path, address: str, *words: str) -> str:
    """The page once its scripts have run, and its picture in the folder; tries twice on a busy machine."""
    text, page = "", ""
    for attempt in ("first", "second"):
        command = [
            str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / attempt}", f"--virtual-time-budget={_PATIENCE_MS}",
            f"--screenshot={folder / 'page.png'}", "--dump-dom", address,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        page = done.stdout
        text = re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)
        if all(word in text for word in words):
            break
    for word in words:
        assert word in text, f"{address} does not show {word!r}: {' '.join(text.split())[:1000]}"
    return page


def prefect(site: Site, path: str) -> str:
    return f"{site.stack.prefect_ui_url}/v2/{path}"


def test_prefect_lists_the_runs(site: Site, edited: Edited, browser: Path) -> None:
    look(browser, prefect(site, "runs"), "build model", "curate corpus", "train model", "Completed", "Crashed")


def test_prefect_shows_the_run_of_a_build_and_its_steps(site: Site, edited: Edited, browser: Path) -> None:
    build = site.newest_flow_run("build model")
    page = prefect(site, f"runs/flow-run/{build['id']}?tab=SubflowRuns")
    look(browser, page, "build model", build["name"], "evaluate model", "Completed")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("data-card", ("handbook@2", "held out", "near_duplicate")),
        ("waterfall", ("documents", "excluded_near_heldout", "kept")),
        ("lineage", ("Lineage of model tiny/3", "handbook@2", "vocabulary 512")),
        ("evaluation", ("tiny/3", "bits per byte", "ngram")),
    ],
)
def test_prefect_shows_what_a_build_made(
    site: Site, edited: Edited, browser: Path, key: str, words: tuple[str, ...]
) -> None:
    build = site.newest_flow_run("build model")
    shown = site.artifacts([run["id"] for run in site.subflow_runs(build["id"]).values()])
    page = look(browser, prefect(site, f"artifacts/artifact/{shown[key]['id']}"), *words)
    assert (key == "lineage") == ("<svg" in page and "flowchart-v2" in page)  # drawn, not quoted


def test_prefect_offers_the_deployments_with_the_nightly(site: Site, edited: Edited, browser: Path) -> None:
    look(browser, prefect(site, "deployments"), "nightly", "At 02:00 AM", "build", "train", "evaluate")


def test_mlflow_shows_the_training_run_with_its_data_and_files(site: Site, edited: Edited, browser: Path) -> None:
    run = next(run for run in site.mlflow_runs("training") if "handbook@2" in run.info.run_name)
    page = f"{site.mlflow_uri}/#/experiments/{run.info.experiment_id}"
    look(browser, f"{page}/runs", run.info.run_name, "handbook@2")
    look(browser, f"{page}/runs/{run.info.run_id}", run.info.run_name, "handbook@2", "Finished", "ingot.root_digest")
    look(browser, f"{page}/runs/{run.info.run_id}/artifacts/lineage.html", "lineage.html", "recipe.json")


def test_mlflow_shows_the_model_with_both_aliases(site: Site, edited: Edited, browser: Path) -> None:
    look(browser, f"{site.mlflow_uri}/#/models/tiny", "Version 1", "Version 3", "candidate", "champion")
