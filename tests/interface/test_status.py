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
