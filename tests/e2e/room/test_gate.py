"""The gate between a candidate and the champion, and the person who moves the alias."""

import json
from pathlib import Path
from typing import Any

import pytest

from ingot import ledger, manifest, model_versions
from tests.e2e.room.conftest import Edited, Worse
from tests.e2e.site import Done, Site, heldout_uris

pytestmark = pytest.mark.stack


def alias(site: Site, name: str) -> str:
    return str(site.mlflow.get_model_version_by_alias("tiny", name).tags["ingot.version"])


def verdict_of(site: Site, done: Done) -> dict[str, Any]:
    record: dict[str, Any] = site.store.read_json(done.answer["verdict"]["key"])
    return record


def test_promote_moves_the_champion_in_the_ledger_and_the_alias_after_it(site: Site, champion: Done) -> None:
    assert champion.exit_code == 0, champion.stderr
    answer = champion.answer
    assert (answer["champion"], answer["previous"], answer["verdict"], answer["mlflow"]) == (1, None, "FIRST", True)
    entry = next(entry for entry in ledger.read(site.store) if entry.verb == "promoted")
    assert (entry.sequence, entry.actor.id, entry.actor.kind) == (answer["ledger"], "ada", "person")
    assert entry.details["reason"] == "the first that works"
    assert alias(site, "champion") == "1"


def test_a_kill_after_the_last_checkpoint_leaves_a_run_that_the_next_start_finishes(site: Site, worse: Worse) -> None:
    assert worse.killed.exit_code == 1 and worse.run_killed == "FAILED"
    run = next(run for run in site.mlflow_runs("training") if run.data.params["tokens"] == "1024")
    assert run.info.status == "FINISHED" and "ingot.ended" not in run.data.tags
    assert "lineage.html" in site.mlflow_files(run)


def test_a_worse_candidate_fails_the_gate_with_exit_code_3(site: Site, worse: Worse) -> None:
    done = worse.build
    assert done.exit_code == 3, done.stderr
    assert done.answer["model"] == {"name": "tiny", "version": 2, "reused": False}
    assert done.answer["corpus"]["reused"] is True
    record = verdict_of(site, done)
    assert (record["verdict"], record["champion"], record["version"]) == ("FAIL", 1, 2)
    assert record["difference"] > 0.1 and record["num_documents"] == len(heldout_uris(site, 1))
    assert (alias(site, "candidate"), alias(site, "champion")) == ("2", "1")


def test_what_failed_the_gate_is_not_promoted(site: Site, worse: Worse) -> None:
    refused = site.ingot("promote", "tiny/2", "--json")
    assert refused.exit_code == 3
    assert refused.answer["error"]["code"] == "INGOT-GATE" and "FAIL" in refused.answer["error"]["message"]
    overruled = site.ingot("promote", "tiny/2", "--override")
    assert overruled.exit_code == 2 and "--reason" in overruled.stderr
    assert model_versions.champion_version(ledger.read(site.store), "tiny") == 1
    assert alias(site, "champion") == "1"


def test_after_an_edit_the_models_are_compared_on_documents_held_out_for_both(site: Site, edited: Edited) -> None:
    done = edited.build
    assert done.exit_code in (0, 3), done.stderr
    assert manifest.versions_of(site.store, "handbook") == [1, 2]
    assert done.answer["model"] == {"name": "tiny", "version": 3, "reused": False}
    before, after = heldout_uris(site, 1), heldout_uris(site, 2)
    assert edited.gone in before and edited.gone not in after
    both = set(before.values()) & set(after.values())
    record = verdict_of(site, done)
    assert (record["champion"], record["num_documents"]) == (1, len(both))
    assert record["num_only_candidate"] == len(after) - len(both) > 0
    assert (done.exit_code == 3) == (record["verdict"] == "FAIL")
    evaluation = site.store.read_json(f"evaluations/{record['champion_evaluation']}.json")
    assert {row["doc_id"] for row in evaluation["documents"]} == both


def test_an_edit_makes_a_version_that_says_what_became_of_each_page(site: Site, edited: Edited) -> None:
    files = site.corpus(2).provenance["sources"]["pages"]["files"]
    assert (files["gone"], files["superseded"]) == (1, 1)
    assert files["read"] == 30 and files["unchanged"] > 60
    gone = site.ingot("why", edited.gone)
    assert gone.exit_code == 0 and "gone" in gone.stdout


def test_building_the_champion_again_keeps_its_verdict(site: Site, edited: Edited) -> None:
    version = model_versions.resolve(site.store, "tiny@champion")
    done = site.ingot("evaluate", str(site.recipe), "--model", "tiny@champion", "--json")
    assert (done.exit_code, done.answer["verdict"]["verdict"]) == (0, "FIRST")
    gated = [e for e in ledger.read(site.store) if e.verb == "gated" and e.subject == version.subject]
    assert len(gated) == 1


def test_a_restricted_report_is_opened_on_record(site: Site, edited: Edited) -> None:
    done = site.ingot("report", "tiny/1", "--with-text", "--json")
    assert done.exit_code == 0 and "<html" in Path(done.answer["path"]).read_text()
    assert site.verbs()[-1] == "read_text"
    assert "text" not in json.dumps(ledger.read(site.store)[-1].details)
