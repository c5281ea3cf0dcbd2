"""`ingot status` without a stack: what waits for a person is told from the ledger."""

import json

import pytest

from ingot import model_versions, promotion
from interface.cli import main
from tests.base.tiny_store import ACTOR, TinyStore, build


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> TinyStore:
    made = build(tmp_path / "store", tmp_path / "sources")
    monkeypatch.setenv("INGOT_STORE", str(made.root))
    return made


def test_status_lists_the_candidate_that_waits_for_approval_with_the_command(tiny, capsys):
    assert main(["status"]) == 0
    told = capsys.readouterr().out
    assert "Approval wanted" in told and "ingot approve mini/2 --reason ... --key ..." in told
    assert main(["status", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["approvals"]
    assert (found["model"], found["verdict"], found["reason"]) == ("mini/2", "FIRST", "no champion yet")
    promotion.promote(tiny.store, model_versions.resolve(tiny.store, "mini/2"), actor=ACTOR, reason="good")
    assert main(["status"]) == 0
    assert "Approval wanted" not in capsys.readouterr().out


def test_status_lists_what_was_held_back_since_the_last_good_version(tiny, capsys):
    told = {"time": "2026-11-27T02:00:00+00:00", "breaches": ["source wiki has 1 documents after 400"]}
    for number in (2, 3):  # 2 was published after all
        tiny.store.put_if_absent(
            f"held/handbook/{number}.json", {"identity": {"corpus": "handbook"}, "provenance": told}
        )
    assert main(["status", "--json"]) == 0
    [held] = json.loads(capsys.readouterr().out)["held"]
    assert held == {"corpus": "handbook@held/3", "time": told["time"], "reason": told["breaches"][0]}
    assert main(["status"]) == 0
    assert "source wiki has 1 documents after 400" in capsys.readouterr().out
