"""What an auditor asks needs the store and nothing else: neither Prefect nor MLflow nor torch is even imported."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ingot import ledger, lineage
from tests.e2e.site import INGOT, ROOT, Done, Site, heldout_uris

pytestmark = pytest.mark.stack
HEAVY = ("prefect", "mlflow", "torch", "transformers", "dask")
# Runs a command in this process and writes down which of the heavy libraries it has loaded by its end.
WATCHED = """
import json, sys
from interface.cli import main
code = main(sys.argv[3:])
json.dump([name for name in sys.argv[2].split(",") if name in sys.modules], open(sys.argv[1], "w"))
sys.exit(code)
"""


def ask(site: Site, tmp_path: Path, *arguments: str) -> tuple[Done, list[str]]:
    """The command's outcome, and the heavy libraries it loaded."""
    told = tmp_path / "loaded.json"
    begun = time.monotonic()
    command = [sys.executable, "-c", WATCHED, str(told), ",".join(HEAVY), *arguments]
    process = subprocess.Popen(
        command, env=site.environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    done = site.finish(process, *arguments, begun=begun)
    return done, json.loads(told.read_text())


def doc_id(site: Site, uri: str) -> str:
    return lineage.find_documents(site.store, uri)[0][0]


def test_trace_model_tells_run_recipe_code_corpus_sources_and_licences(
    site: Site, second_build: Done, tmp_path: Path
) -> None:
    done, loaded = ask(site, tmp_path, "trace", "model", "tiny@candidate", "--json")
    assert (done.exit_code, loaded) == (0, []), done.stderr
    answer = done.answer
    assert (answer["model"], answer["version"], answer["aliases"]) == ("tiny", 1, ["candidate"])
    (run,) = site.mlflow_runs("training")
    assert answer["run"] == run.data.tags["ingot.run"]
    assert answer["recipe"]["corpus"] == "handbook" and len(answer["code"]["commit"]) == 40
    (corpus,) = answer["corpora"]
    assert corpus["corpus"] == "handbook@1" and corpus["root_digest"] == site.corpus(1).identity.root_digest
    assert corpus["tokens"] > 10_000
    assert {s["source"] for s in answer["sources"]} == {"pages", "notes"}
    assert {item["licence"] for item in answer["licences"]} == {"internal", "unknown"}
    assert [(e["verb"], e["by"], e["kind"]) for e in answer["ledger"]] == [
        ("registered", "ada", "person"),
        ("gated", "ada", "person"),
    ]


@pytest.mark.parametrize("way", ["id", "uri", "file"])
def test_trace_document_finds_it_by_id_uri_and_file(site: Site, second_build: Done, tmp_path: Path, way: str) -> None:
    wanted = doc_id(site, site.handbook.kept)
    query = {"id": wanted, "uri": site.handbook.kept, "file": str(site.handbook.pages / site.handbook.kept)}[way]
    done, loaded = ask(site, tmp_path, "trace", "document", query, "--json")
    assert (done.exit_code, loaded) == (0, []), done.stderr
    (found,) = done.answer["documents"]
    assert found["doc_id"] == wanted
    (occurrence,) = found["occurrences"]
    assert (occurrence["source"], occurrence["uri"], occurrence["state"]) == ("pages", site.handbook.kept, "open")
    (version,) = found["versions"]
    assert (version["corpus"], version["version"], version["outcome"]) == ("handbook", 1, "kept")
    assert version["row"] is not None and len(version["shard"]) == 64
    assert [(m["model"], m["version"], m["role"]) for m in found["models"]] == [("tiny", 1, "trained on it")]


def test_trace_says_that_a_heldout_document_measured_the_model(site: Site, second_build: Done, tmp_path: Path) -> None:
    uri = next(iter(heldout_uris(site, 1)))
    done, _ = ask(site, tmp_path, "trace", "document", uri)
    assert done.exit_code == 0
    assert "held out for evaluation" in done.stdout and "model tiny/1: measured with it" in done.stdout


def why(site: Site, tmp_path: Path, uri: str) -> dict[str, Any]:
    done, loaded = ask(site, tmp_path, "why", uri, "--json")
    assert (done.exit_code, loaded) == (0, []), done.stderr
    (answer,) = done.answer["answers"]
    return dict(answer)


def test_why_names_the_rule_its_score_and_threshold(site: Site, second_build: Done, tmp_path: Path) -> None:
    answer = why(site, tmp_path, site.handbook.dropped_short)
    assert (answer["outcome"], answer["rule"], answer["reason"]) == ("dropped", "length", "too_few_words")
    assert answer["score"] < answer["threshold"] == 20


def test_why_names_the_twin_a_duplicate_lost_to(site: Site, second_build: Done, tmp_path: Path) -> None:
    pair = {site.handbook.twin, site.handbook.dropped_twin}
    answers = [why(site, tmp_path, uri) for uri in sorted(pair)]
    (lost,) = [answer for answer in answers if answer["reason"] == "near_duplicate"]
    assert lost["score"] >= lost["threshold"] == 0.8
    assert {lost["uri"], lost["other_uri"]} == pair


def test_why_tells_that_a_file_could_not_be_read(site: Site, second_build: Done, tmp_path: Path) -> None:
    done, _ = ask(site, tmp_path, "why", site.handbook.unreadable)
    assert done.exit_code == 0
    assert "quarantined: parser_returned_nothing" in done.stdout


def test_verify_finds_the_store_intact_and_takes_a_head_kept_elsewhere(
    site: Site, second_build: Done, tmp_path: Path
) -> None:
    done, loaded = ask(site, tmp_path, "ledger", "head", "--json")
    assert (done.exit_code, loaded) == (0, [])
    head = done.answer["head"]
    assert head == "{}:{}".format(*ledger.head(site.store))
    done, loaded = ask(site, tmp_path, "verify", "--head", head)
    assert (done.exit_code, loaded) == (0, []), done.stderr
    assert "intact: 3 ledger records, 1 corpus versions" in done.stdout


def test_verify_finds_one_flipped_byte_and_names_the_object(site: Site, second_build: Done, tmp_path: Path) -> None:
    copy = tmp_path / "store"
    shutil.copytree(site.store.root, copy)
    shard = sorted((copy / "shards").iterdir())[0]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    os.chmod(shard, 0o600)
    shard.write_bytes(content)
    done = site.ingot("verify", "--json", INGOT_STORE=str(copy))
    assert done.exit_code == 5
    assert done.answer["error"]["code"] == "INGOT-INTEGRITY" and shard.name in done.answer["error"]["message"]


def test_a_cut_ledger_is_found_by_its_head(site: Site, second_build: Done, tmp_path: Path) -> None:
    sequence, digest = ledger.head(site.store)
    copy = tmp_path / "store"
    shutil.copytree(site.store.root, copy)
    (copy / "ledger" / f"{sequence:012d}.json").unlink()
    done = site.ingot("verify", "--head", f"{sequence}:{digest}", INGOT_STORE=str(copy))
    assert done.exit_code == 5 and done.stderr.startswith("INGOT-INTEGRITY: ")


def test_init_writes_a_recipe_that_can_be_read(site: Site, second_build: Done, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    done, loaded = ask(site, tmp_path, "init", str(mine), "--source", str(site.handbook.folder), "--json")
    assert (done.exit_code, loaded) == (0, []), done.stderr
    written = (mine / "recipe.yaml").read_text()
    assert 'keep: ["en"]' in written and str(site.handbook.folder) in written
    again = site.ingot("init", str(mine), "--source", str(site.handbook.folder))
    assert again.exit_code == 2 and "exists" in again.stderr
    changed = site.ingot("curate", str(mine), "--set", "rules.length.min_wrods=3")
    assert changed.exit_code == 2 and "min_words" in changed.stderr


def test_the_watch_sees_a_command_that_does_load_them(site: Site, second_build: Done, tmp_path: Path) -> None:
    _, loaded = ask(site, tmp_path, "up", "--recipe", str(site.recipe), "--json")
    assert {"prefect", "mlflow"} <= set(loaded)


def test_help_is_there_at_once(site: Site) -> None:
    seconds = []
    for _ in range(5):
        begun = time.monotonic()
        done = subprocess.run([*INGOT, "--help"], env=site.environment, cwd=ROOT, capture_output=True, text=True)
        seconds.append(time.monotonic() - begun)
        assert done.returncode == 0 and "curate" in done.stdout
    print(f"\ningot --help: best of five {min(seconds):.2f} s")
    assert min(seconds) < 0.7
