"""`ingot approve | rollback`: what they print, and that they need no server."""

import io
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from ingot import ledger, model_versions
from interface import models
from interface.cli import main
from tests.base.judged import judge
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
    assert main(["approve", "mini@candidate", "--reason", "reads well", "--key", str(key), "--yes", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    expected = {"model": "mini", "champion": 2, "previous": None, "verdict": "FIRST", "by": "carla",
                "established_by": "ssh_signature", "mlflow": False}  # fmt: skip
    assert {name: answer[name] for name in expected} == expected
    assert [e.verb for e in ledger.read(tiny.store)][-2:] == ["approved", "promoted"]
    assert main(["verify"]) == 0
    assert main(["approve", "mini/2", "--reason", "again", "--key", str(key), "--yes"]) == 3
    assert "champion already" in capsys.readouterr().err


def test_approve_shows_the_evidence_and_signs_only_after_yes(tiny, key, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("INGOT_WORKSPACE", str(tmp_path))
    judge(tiny.store, model_versions.resolve(tiny.store, "mini/2"), champion=None)
    command = ["approve", "mini/2", "--reason", "reads well", "--key", str(key)]
    before = len(ledger.read(tiny.store))
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert main(command) == 2 and "--yes" in capsys.readouterr().err, "a pipe is nobody who read"
    terminal = io.StringIO("\nn\ny\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin", terminal)
    assert main([*command, "--json"]) == 2 and terminal.tell() == 0
    capsys.readouterr()
    for _ in range(2):
        assert main(command) == 130
        told = capsys.readouterr()
        assert "mini/2: FIRST" in told.out and "training tokens" in told.out and "approve mini/2? [y/N]" in told.out
        assert "nothing was signed" in told.err
    assert len(ledger.read(tiny.store)) == before
    assert main(command) == 0
    assert ledger.read(tiny.store)[-1].actor.id == "carla"


def test_what_steers_a_terminal_is_not_printed_with_the_evidence():
    assert models._on_terminal("a \x1b[2Jname") == "a ?[2Jname"


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
