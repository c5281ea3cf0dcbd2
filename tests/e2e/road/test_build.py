"""`ingot build` as a user runs it, read back from Prefect's API, MLflow's API and the store."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from deployments import local_stack, prefect_api
from ingot import manifest, model_versions
from tests import door
from tests.e2e.site import Done, Site

pytestmark = pytest.mark.stack
MEBIBYTE = 1 << 20


@pytest.fixture(scope="session")
def flow_runs(site: Site, first_build: Done) -> dict[str, dict[str, Any]]:
    """The flow runs of the first build by flow."""
    build = site.newest_flow_run("build model")
    return {"build model": build, **site.subflow_runs(build["id"])}


def test_a_build_prints_one_json_object_and_nothing_else(first_build: Done) -> None:
    print(f"\nfirst whole build after four kills: {first_build.seconds:.0f} s")
    assert first_build.exit_code == 0, first_build.stderr
    answer = first_build.answer
    assert answer["model"] == {"name": "tiny", "version": 1, "reused": False}
    corpus = answer["corpus"]
    # Published by the third start, which was killed later.
    assert (corpus["corpus"], corpus["version"], corpus["reused"]) == ("handbook", 1, True)
    assert answer["verdict"]["verdict"] == "FIRST"
    assert "no champion" in answer["verdict"]["reason"]


def test_every_document_is_accounted_for(site: Site, first_build: Done) -> None:
    found = site.corpus(1)
    files = {name: source["files"] for name, source in found.provenance["sources"].items()}
    assert sum(f["seen"] for f in files.values()) == site.handbook.num_seen
    for counts in files.values():
        assert counts["seen"] == counts["read"] + counts["unchanged"] + counts["quarantined"]
    assert files["pages"]["quarantined"] == 2 and files["notes"]["rejected_rows"] == 2
    assert found.provenance["sources"]["pages"]["quarantined"]["parser_returned_nothing"] == 1
    accounting = found.identity.accounting
    reasons = {reason: num for _, reason, num in found.identity.statistics["waterfall"]}
    assert {"too_few_words", "near_duplicate", "excluded_near_heldout"} <= set(reasons)
    assert accounting["dropped"] == sum(reasons.values())
    assert accounting["documents"] == accounting["kept"] + accounting["heldout"] + accounting["dropped"]
    assert accounting["heldout"] >= 12


def test_prefect_shows_every_flow_completed(flow_runs: dict[str, dict[str, Any]]) -> None:
    states = {name: run["state_type"] for name, run in flow_runs.items()}
    assert states == dict.fromkeys(("build model", "curate corpus", "train model", "evaluate model"), "COMPLETED")


def test_prefect_shows_a_task_for_every_step(site: Site, flow_runs: dict[str, dict[str, Any]]) -> None:
    children = [run["id"] for name, run in flow_runs.items() if name != "build model"]
    tasks = site.prefect("/task_runs/filter", flow_runs={"id": {"any_": children}})
    names = {task["name"].rpartition("-")[0] for task in tasks}
    curation = {"acquire", "analyse", "decide", "publish", "show corpus"}
    training = {"tokenize", "train", "register", "show model"}
    assert names == curation | training | {"evaluate", "gate", "show evaluation"}
    assert {task["state_type"] for task in tasks} == {"COMPLETED"}


def test_prefect_shows_card_waterfall_progress_lineage_and_evaluation(
    site: Site, flow_runs: dict[str, dict[str, Any]]
) -> None:
    shown = site.artifacts([run["id"] for run in flow_runs.values()])
    assert {"data-card", "waterfall", "lineage", "evaluation", "train-pretrain"} <= set(shown)
    assert shown["data-card"]["data"].startswith("# handbook@1\n")
    rows = json.loads(shown["waterfall"]["data"])
    accounting = site.corpus(1).identity.accounting
    assert (rows[0]["documents"], rows[-1]["documents"]) == (accounting["documents"], accounting["kept"])
    assert shown["train-pretrain"]["type"] == "progress" and float(shown["train-pretrain"]["data"]) == 100.0
    told = shown["train-pretrain"]["description"]
    assert re.fullmatch(r"pretrain: done in .+, [\d,.e+]+ tokens per second, 16,384 of 16,384 tokens", told), told
    assert "handbook@1" in shown["lineage"]["data"] and "```mermaid" in shown["lineage"]["data"]
    assert "FIRST" in shown["evaluation"]["data"] and "| ngram |" in shown["evaluation"]["data"]


def test_prefect_shows_the_training_curve_as_a_picture_and_as_numbers(
    site: Site, flow_runs: dict[str, dict[str, Any]]
) -> None:
    curve = site.artifacts([flow_runs["train model"]["id"]])["training-curve"]
    page = curve["data"]
    assert curve["type"] == "markdown" and page.startswith("# Training curve of tiny pretrain on handbook@1\n")
    assert "![loss by step](data:image/svg+xml;base64," in page and re.search(
        r"(?m)^\| 16 \| \d\.\d{4} \| [\d,]+ \|", page
    )
    assert "bits per byte of held-out text" in page
    # Replaced in place: one version of it for each flow run that trained, however often it grew.
    versions = site.prefect("/artifacts/filter", artifacts={"key": {"any_": ["training-curve"]}}, limit=200)
    runs = [version["flow_run_id"] for version in versions]
    assert len(runs) == len(set(runs))


def test_prefect_shows_what_ranks_say_in_the_log_of_their_task(
    site: Site, flow_runs: dict[str, dict[str, Any]]
) -> None:
    lines = site.logs(flow_runs["train model"]["id"])
    said = [line for line in lines if line["message"].startswith("[rank 0] step 16 of 16: loss ")]
    assert len(said) == 1 and said[0]["level"] == 20 and said[0]["task_run_id"] is not None


@pytest.fixture(scope="session")
def training_run(site: Site, first_build: Done) -> Any:
    (run,) = site.mlflow_runs("training")
    return run


def test_mlflow_shows_the_training_run_with_the_corpus_it_read(site: Site, training_run: Any) -> None:
    assert training_run.info.status == "FINISHED"
    assert training_run.info.run_name == "tiny pretrain on handbook@1"
    (entry,) = training_run.inputs.dataset_inputs
    root = site.corpus(1).identity.root_digest
    assert entry.dataset.name == "handbook@1"
    assert re.fullmatch(r"[0-9a-f]{32}", entry.dataset.digest) and root.startswith(entry.dataset.digest)
    assert json.loads(entry.dataset.source) == {"uri": "ingot://corpora/handbook/1.json", "digest": root}
    assert training_run.data.tags["ingot.root_digest"] == root


def test_mlflow_shows_at_most_twenty_parameters_and_the_whole_recipe(site: Site, training_run: Any) -> None:
    params = training_run.data.params
    assert 10 <= len(params) <= 20
    assert (params["corpus"], params["model.layers"], params["tokens"]) == ("handbook@1", "1", "16384")
    assert {"recipe.json", "lineage.html", "data_card.html"} <= set(site.mlflow_files(training_run))
    recipe = json.loads(read_artifact(site, training_run, "recipe.json"))
    assert recipe["heldout"] == {"share": 0.2} and recipe["train"][0]["model"]["width"] == 32
    assert str(site.handbook.folder) not in json.dumps(recipe)  # a place is not part of what was done


def test_mlflow_shows_curves_with_the_steps_and_times_of_the_run_itself(site: Site, training_run: Any) -> None:
    history = site.mlflow.get_metric_history(training_run.info.run_id, "loss")
    folder = site.home / "runs" / training_run.data.tags["ingot.run"]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    told = {line["step"]: round(line["time"] * 1000) for line in lines if "loss" in line}
    shown = {point.step: point.timestamp for point in history}
    # Steps from 6 on were done twice, before and after a kill: MLflow keeps the first time it was told. How many
    # depends on when the kill came, because steps go on while a checkpoint is written.
    again = sorted(step for step in told if shown[step] != told[step])
    assert again == list(range(6, again[-1] + 1)) and again[-1] >= 10
    assert all(shown[step] < told[step] for step in again)
    assert told.keys() == shown.keys() and again[-1] < max(told)
    assert history[-1].value < history[0].value


def test_mlflow_shows_how_held_out_text_was_learnt(site: Site, training_run: Any) -> None:
    history = site.mlflow.get_metric_history(training_run.info.run_id, "heldout_bits_per_byte")
    # Ten of 16 steps, and before the first.
    assert [point.step for point in history] == [0, 2, 4, 5, 7, 8, 10, 12, 13, 15, 16]
    assert history[-1].value < history[0].value


def test_mlflow_shows_the_corpus_and_the_evaluation_with_their_cards(site: Site, first_build: Done) -> None:
    (corpus,) = site.mlflow_runs("corpora")
    assert (corpus.info.status, corpus.info.run_name) == ("FINISHED", "handbook@1")
    assert "Data card of handbook@1" in read_artifact(site, corpus, "card.html")
    (evaluation,) = site.mlflow_runs("evaluation")
    assert evaluation.info.status == "FINISHED" and evaluation.data.tags["ingot.verdict"] == "FIRST"
    assert "Evaluation of tiny/1" in read_artifact(site, evaluation, "card.html")
    assert evaluation.data.metrics["baseline_ngram"] > 0
    assert evaluation.data.metrics["bits_per_byte"] < evaluation.data.metrics["baseline_unigram"]


def test_mlflow_shows_the_model_version_as_candidate_with_our_number_and_source(site: Site, training_run: Any) -> None:
    version = site.mlflow.get_model_version_by_alias("tiny", "candidate")
    run_key = training_run.data.tags["ingot.run"]
    assert version.source == f"ingot://checkpoints/{run_key}/00000016"
    assert version.run_id == training_run.info.run_id
    tags = {"ingot.version": "1", "ingot.corpus": "handbook@1", "ingot.verdict": "FIRST"}
    assert tags.items() <= version.tags.items()
    assert version.tags["ingot.checkpoint"] == model_versions.resolve(site.store, "tiny").evidence["checkpoint"]


def test_no_weights_are_copied_into_mlflow(site: Site, first_build: Done) -> None:
    files = [path for path in (site.home / "mlflow" / "artifacts").rglob("*") if path.is_file()]
    assert len(files) >= 6
    assert {path.suffix for path in files} <= {".html", ".json"}
    assert max(path.stat().st_size for path in files) < MEBIBYTE


def test_a_second_build_reuses_everything_and_says_so(site: Site, first_build: Done, second_build: Done) -> None:
    print(f"\nsecond build: {second_build.seconds:.0f} s")
    assert second_build.exit_code == 0, second_build.stderr
    assert "nothing changed: same as handbook@1" in second_build.stdout
    assert "nothing to train: same as tiny/1" in second_build.stdout
    assert manifest.versions_of(site.store, "handbook") == [1]
    assert [v.version for v in model_versions.versions_of(site.store, "tiny")] == [1]
    assert site.verbs() == ["published", "registered", "gated"]
    assert len(site.mlflow.search_model_versions("name = 'tiny'")) == 1
    assert second_build.seconds < 0.9 * first_build.seconds


def test_a_second_build_leaves_the_finished_run_as_it_was(site: Site, training_run: Any, second_build: Done) -> None:
    (run,) = site.mlflow_runs("training")
    assert (run.info.start_time, run.info.end_time) == (training_run.info.start_time, training_run.info.end_time)
    assert run.info.status == "FINISHED"


_SEEDS = """
from ingot.recipe_files import load_recipe
from tasks.training import with_seed
for changes in ({}, {"seed": "7"}, {"seed": "7", "train.0.seed": "3"}):
    recipe = load_recipe(%r, changes)
    print(with_seed(recipe.train[0], recipe).config.seed)
"""


def test_the_seed_of_a_recipe_is_the_seed_of_its_stages(site: Site) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SEEDS % str(site.recipe)],
        env={**site.environment, **local_stack.environment(site.stack)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["0", "7", "3"], done.stderr


def test_no_flow_run_is_left_unfinished(site: Site, second_build: Done) -> None:
    assert site.unfinished_flow_runs() == []


def read_artifact(site: Site, run: Any, name: str) -> str:
    """A file of a run, from the address the browser uses."""
    address = f"{site.mlflow_uri}/get-artifact?run_uuid={run.info.run_id}&path={name}"
    return prefect_api.get(address, credential=door.CREDENTIAL).decode()
