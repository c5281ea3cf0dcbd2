"""`ingot doctor storage` on local folders: what is asked, what follows, and that nothing stays."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ingot import store_probe
from ingot.errors import RecipeError, StorageError
from interface.cli import main


def marks(root: Path) -> dict[str, str]:
    return {item.name: item.mark for item in store_probe.probe(str(root)).probes}


def test_a_plain_folder_is_fit_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    found = store_probe.probe(str(tmp_path / "store"))
    assert found.mode == "many_writers"
    assert {"put if absent", "race for one name", "flush to disk", "rename over a file", "upper and lower case",
            "free space", "list after put", "delete"} <= {item.name for item in found.probes}  # fmt: skip
    assert list((tmp_path / "store").iterdir()) == []


def test_a_folder_that_is_not_there_yet_is_asked_above_and_not_made(tmp_path: Path) -> None:
    assert store_probe.probe(f"file://{tmp_path}/not/yet").mode == "many_writers"
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_links_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    found = store_probe.probe(str(tmp_path))
    assert [item.name for item in found.refusals] == ["put if absent", "race for one name"]
    assert "Operation not permitted; two runs could both publish one version" in (
        f"{found.refusals[0].found}; {found.refusals[0].follows}"
    )


def test_a_disk_that_lets_everyone_win_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", lambda source, target: shutil.copyfile(source, target))
    assert marks(tmp_path)["put if absent"] == marks(tmp_path)["race for one name"] == "FAIL"


def test_a_disk_that_cannot_flush_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(22, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    found = store_probe.probe(str(tmp_path))
    assert [item.follows for item in found.refusals] == ["what was published could be gone after a power cut"]


def test_memory_is_a_note(tmp_path: Path) -> None:
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("needs a file system in memory at /dev/shm")
    (kind,) = (item for item in store_probe.probe("/dev/shm").probes if item.name == "file system")
    assert kind.mark == "note" and "everything is gone after a restart" in kind.follows


def test_what_cannot_be_written_is_one_answer_and_exit_75(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INGOT_HOME", str(tmp_path / "home"))
    assert main(["doctor", "storage", "/proc/nowhere", "--json"]) == StorageError.exit_code
    found = json.loads(capsys.readouterr().out)
    assert found["mode"] == "refused" and [probe["name"] for probe in found["probes"]] == ["write"]


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(RecipeError, match="a store at gs:// is not known"):
        store_probe.probe("gs://bucket/prefix")
