"""`ingot approve | rollback`: what they print, and that they need no server."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from ingot import ledger
from interface.cli import main
from tests.base.tiny_store import TinyStore, build


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyStore:
    made = build(tmp_path / "store", tmp_path / "sources")
    monkeypatch.setenv("INGOT_STORE", str(made.root))
    monkeypatch.setenv("INGOT_ACTOR", "maria")
    return made


@pytest.fixture
def key(tmp_path: Path) -> Path:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not here (Debian: openssh-client)")
    file = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)
    (tmp_path / "allowed_signers").write_text(f"carla {file.with_suffix('.pub').read_text()}")
    return file


def test_approve_signs_against_the_file_of_the_workspace(tiny, key, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("INGOT_WORKSPACE", str(tmp_path))
    assert main(["approve", "mini@candidate", "--reason", "reads well", "--key", str(key), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    expected = {"model": "mini", "champion": 2, "previous": None, "verdict": "FIRST", "by": "carla",
                "established_by": "ssh_signature", "mlflow": False}  # fmt: skip
    assert {name: answer[name] for name in expected} == expected
    assert [e.verb for e in ledger.read(tiny.store)][-2:] == ["approved", "promoted"]
    assert main(["verify"]) == 0
    assert main(["approve", "mini/2", "--reason", "again", "--key", str(key)]) == 3
    assert "champion already" in capsys.readouterr().err


def test_approve_without_a_file_of_signers_says_where_it_looks(tiny, key, capsys):
    assert main(["approve", "mini/2", "--reason", "reads well", "--key", str(key)]) == 2
    assert "INGOT_ALLOWED_SIGNERS" in capsys.readouterr().err


def test_rollback_moves_the_champion_back_and_says_from_where(tiny, capsys):
    for model in ("mini/2", "mini/1"):  # the first was never judged
        main(["promote", model, "--override", "--reason", "for the test"])
    assert main(["rollback", "mini", "--reason", "worse"]) == 4
    capsys.readouterr()
    record = ledger.read(tiny.store)[3]
    ledger.append(
        tiny.store, actor=record.actor, verb="gated", subject="model mini/1", subject_digest="d", evidence={},
        attempt="1", details={"model": "mini", "version": 1, "verdict": "PASS", "champion": 2, "reason": "So."},
    )  # fmt: skip
    assert main(["promote", "mini/1"]) == 0
    assert main(["rollback", "mini", "--reason", "worse"]) == 0
    assert "champion of mini is version 2 again, was mini/1" in capsys.readouterr().out
    assert main(["rollback", "mini", "--to", "1", "--reason", "not that", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["champion"], answer["previous"], answer["mlflow"]) == (1, 2, False)
    assert ledger.read(tiny.store)[-1].details["reason"] == "not that"
