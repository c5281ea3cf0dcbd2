"""`ingot backup` and `ingot restore`: what is copied, what is refused, and what a kill leaves."""

import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ingot import backup, ledger, verify
from ingot.backup import read_index
from ingot.digests import sha256_hex
from ingot.storage import Store
from interface.cli import main
from tests.base.tiny_store import ACTOR, TinyStore, build

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> TinyStore:
    folder = tmp_path_factory.mktemp("template")
    return build(folder / "store", folder / "sources")


@pytest.fixture
def tiny(template: TinyStore, home: Path) -> TinyStore:
    """A home with a store, both servers' databases, an artifact and notes of the stack."""
    shutil.copytree(template.root, home / "store")
    for server in ("prefect", "mlflow"):
        (home / server).mkdir()
        with closing(sqlite3.connect(home / server / f"{server}.db")) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("CREATE TABLE runs (name TEXT)")
            database.execute("INSERT INTO runs VALUES ('first')")
            database.commit()
    (home / "mlflow/artifacts/1/card").mkdir(parents=True)
    (home / "mlflow/artifacts/1/card/card.json").write_text("{}")
    (home / "run").mkdir()
    for name in ("ports.json", "secret", "stack.json"):
        (home / "run" / name).write_text(f'"{name}"')
    return TinyStore(home / "store", template.sources, template.witness)


def ask(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    capsys.readouterr()
    assert main([*words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_a_restored_home_passes_verify_and_holds_databases_artifacts_and_notes(
    tiny: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = ask(capsys, "backup", str(tmp_path / "kept"))
    assert told["copied"] == told["objects"] > 30 and told["ledger_head"] == tiny.witness and told["notes"] == []
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "kept/store/documents").stat().st_mode) == 0o700
    assert not list((tmp_path / "kept").rglob("secret")) and not list((tmp_path / "kept").rglob("stack.json"))

    answer = ask(capsys, "restore", str(tmp_path / "kept"), "--into", str(tmp_path / "new"))
    assert answer["ledger_head"] == tiny.witness and answer["notes"] == []
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert files(tmp_path / "new/store") == files(tiny.root)
    for server in ("prefect", "mlflow"):
        path = tmp_path / "new" / server / f"{server}.db"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("SELECT name FROM runs").fetchall() == [("first",)]
    assert (tmp_path / "new/mlflow/artifacts/1/card/card.json").read_text() == "{}"
    assert sorted(path.name for path in (tmp_path / "new/run").iterdir()) == ["ports.json"]
    monkeypatch.setenv("INGOT_HOME", str(tmp_path / "new"))
    assert ask(capsys, "verify", "--head", tiny.witness)["objects"] == answer["objects"]


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".tmp" not in path.parts
    }


def test_a_second_backup_copies_nothing_and_a_third_only_what_is_new(
    tiny: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = ask(capsys, "backup", str(tmp_path / "kept"))
    again = ask(capsys, "backup", str(tmp_path / "kept"))
    assert (again["copied"], again["objects"]) == (0, first["objects"])
    note(tiny.store, "one more")
    third = ask(capsys, "backup", str(tmp_path / "kept"))
    assert (third["copied"], third["objects"]) == (1, first["objects"] + 1)
    assert len(list((tmp_path / "kept/databases").iterdir())) == 1
    ask(capsys, "restore", str(tmp_path / "kept"), "--into", str(tmp_path / "new"))


def note(store: Store, attempt: str) -> None:
    ledger.append(
        store, actor=ACTOR, verb="read_text", subject="model mini/1", subject_digest="0", evidence={}, attempt=attempt
    )


def test_what_the_store_let_go_leaves_the_backup_too(
    tiny: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.store.put_bytes("reports/old.html", b"<p>words of a document</p>")
    ask(capsys, "backup", str(tmp_path / "kept"))
    assert (tmp_path / "kept/store/reports/old.html").is_file()
    tiny.store.delete("reports/old.html")
    ask(capsys, "backup", str(tmp_path / "kept"))
    assert not (tmp_path / "kept/store/reports").exists()


@pytest.mark.parametrize("damage", ["flip", "cut", "delete"])
@pytest.mark.parametrize("area", ["store/shards", "store/ledger", "databases", "mlflow-artifacts"])
def test_a_damaged_backup_is_refused_by_the_name_of_the_file(
    tiny: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], area: str, damage: str
) -> None:
    ask(capsys, "backup", str(tmp_path / "kept"))
    victim = next(path for path in sorted((tmp_path / "kept" / area).rglob("*")) if path.is_file())
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.unlink() if damage == "delete" else victim.write_bytes(data if damage == "flip" else data[:-1])
    told = ask(capsys, "restore", str(tmp_path / "kept"), "--into", str(tmp_path / "new"), code=5)
    assert told["error"]["code"] == "INGOT-INTEGRITY" and str(victim) in told["error"]["message"]


def test_a_changed_index_or_an_unfinished_backup_is_refused(
    tiny: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(capsys, "backup", str(tmp_path / "kept"))
    index = tmp_path / "kept/backup.json"
    index.write_text(index.read_text().replace('"size":', '"size":1', 1))
    assert "backup.json" in ask(capsys, "restore", str(tmp_path / "kept"), "--into", "new", code=5)["error"]["message"]
    index.unlink()
    told = ask(capsys, "restore", str(tmp_path / "kept"), "--into", "new", code=4)
    assert "holds no finished backup" in told["error"]["message"] and not Path("new").exists()


def test_nothing_is_written_over(tiny: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                 monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    ask(capsys, "backup", "kept")
    Path("full").mkdir()
    Path("full/letter.txt").write_text("mine")
    assert "not empty" in ask(capsys, "restore", "kept", "--into", "full", code=2)["error"]["message"]
    assert "other files" in ask(capsys, "backup", "full", code=2)["error"]["message"]
    monkeypatch.setenv("INGOT_STORE", str(tiny.root))
    assert "not empty" in ask(capsys, "restore", "kept", "--into", "new", code=2)["error"]["message"]
    assert "inside" in ask(capsys, "backup", str(tiny.root / "kept"), code=2)["error"]["message"]
    assert Path("full/letter.txt").read_text() == "mine"


def test_another_store_or_a_rewritten_ledger_does_not_replace_a_backup(
    tiny: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note(tiny.store, "last")
    ask(capsys, "backup", "kept")
    before = files(tmp_path / "kept")
    (tiny.root / ledger.key_of(6)).unlink()
    assert "ledger/000000000006" in ask(capsys, "backup", "kept", code=5)["error"]["message"]
    note(tiny.store, "another")
    assert "rewritten" in ask(capsys, "backup", "kept", code=5)["error"]["message"]
    assert files(tmp_path / "kept") == before


def test_a_lost_object_of_the_store_does_not_replace_a_backup(
    tiny: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(capsys, "backup", "kept")
    before = read_index(tmp_path / "kept")
    shard = next((tiny.root / "shards").iterdir())
    shard.unlink()
    assert shard.name in ask(capsys, "backup", "kept", code=5)["error"]["message"]
    assert read_index(tmp_path / "kept") == before
    ask(capsys, "restore", "kept", "--into", "new")


def test_a_backup_is_whole_although_the_store_grows_and_lets_go_meanwhile(
    tiny: TinyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two steps of the copy a run appends, trains and retires checkpoints."""
    store, number = tiny.store, 0
    copying = Store(str(tiny.root))
    find = Store.list

    def grow() -> None:
        nonlocal number
        number += 1
        note(store, f"{number}")
        folder = f"checkpoints/{sha256_hex(b'growing')}"
        add_checkpoint(store, f"{folder}/{number:08d}", number)
        if number > 2 and number % 2 == 0:  # the odd ones are milestones, and stay
            key = f"{folder}/{number - 2:08d}"
            for name in ("manifest.json", "model.safetensors"):
                store.delete(f"{key}/{name}")

    def list_and_grow(self: Store, prefix: str) -> list[str]:
        found = find(self, prefix)
        if self is copying:
            grow()
        return found

    steps = 0

    def report(what: str, done: int, total: int) -> None:
        nonlocal steps
        steps += 1
        if steps % 10 == 0:
            grow()

    with monkeypatch.context() as patch:
        patch.setattr(Store, "list", list_and_grow)
        with backup.opened(tmp_path / "kept") as previous:
            copied = backup.copy_store(copying, tmp_path / "kept", previous, report)
            index = backup.Index(time="", store="", ledger_head=copied.ledger_head, files=tuple(copied.files.values()))
            backup.write_index(tmp_path / "kept", index)
    assert number > 8
    assert int(copied.ledger_head.split(":")[0]) < len(ledger.read(store))
    verify.verify(Store(str(tmp_path / "kept/store")), witness=copied.ledger_head)


def add_checkpoint(store: Store, key: str, number: int) -> None:
    data = bytes([number % 256]) * 100
    store.put_bytes(f"{key}/model.safetensors", data)
    files = [{"name": "model.safetensors", "size": len(data), "sha256": sha256_hex(data)}]
    assert store.put_if_absent(f"{key}/manifest.json", {"kind": "checkpoint", "step": number, "files": files})


def test_an_unfinished_checkpoint_waits_and_a_repeated_one_is_copied_again(tiny: TinyStore, tmp_path: Path) -> None:
    key = f"checkpoints/{sha256_hex(b'killed')}/00000005"
    tiny.store.put_bytes(f"{key}/model.safetensors", b"half" * 10)

    def back_up() -> dict[str, backup.BackupFile]:
        with backup.opened(tmp_path / "kept") as previous:
            copied = backup.copy_store(tiny.store, tmp_path / "kept", previous, lambda *progress: None)
            index = backup.Index(time="", store="", ledger_head=copied.ledger_head, files=tuple(copied.files.values()))
            backup.write_index(tmp_path / "kept", index)
        return copied.files

    assert f"{key}/model.safetensors" not in back_up()
    tiny.store.delete(f"{key}/model.safetensors")
    add_checkpoint(tiny.store, key, 5)
    first = back_up()[f"{key}/model.safetensors"]
    for name in ("manifest.json", "model.safetensors"):
        tiny.store.delete(f"{key}/{name}")
    add_checkpoint(tiny.store, key, 6)
    assert back_up()[f"{key}/model.safetensors"].sha256 != first.sha256
    verify.verify(Store(str(tmp_path / "kept/store")))


def test_marks_of_failed_rows_come_with_their_objects(tiny: TinyStore, tmp_path: Path) -> None:
    """Without its mark, an object in which a document counts as empty would be taken for finished."""
    tiny.store.put_bytes("spans/v1/unit.failed.json", b"[3]")
    tiny.store.put_bytes("spans/v1/unit.parquet", b"spans")
    keys, _ = backup.list_keys(tiny.store)
    assert {"spans/v1/unit.failed.json", "spans/v1/unit.parquet"} <= set(keys)
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    "point", ["backup.object.before:1", "backup.object.after:20", "backup.index.before", "backup.index.after"]
)
def test_a_killed_backup_is_taken_up_by_the_same_command(
    tiny: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], point: str
) -> None:
    if "index" in point:
        ask(capsys, "backup", "kept")
        note(tiny.store, "more")
    run_until_killed(tmp_path, point, "backup", "kept")
    told = ask(capsys, "backup", "kept")
    assert told["copied"] < told["objects"] or point.endswith("before:1")
    if point.endswith("after:20"):
        assert told["copied"] == told["objects"] - 20
    ask(capsys, "restore", "kept", "--into", "new")
    assert files(tmp_path / "new/store") == files(tiny.root)


def test_a_killed_restore_is_taken_up_by_the_same_command(
    tiny: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(capsys, "backup", "kept")
    run_until_killed(tmp_path, "restore.object.before:25", "restore", "kept", "--into", "new")
    assert not (tmp_path / "new/store/ledger").exists()
    ask(capsys, "restore", "kept", "--into", "new")
    assert files(tmp_path / "new/store") == files(tiny.root)


def run_until_killed(folder: Path, point: str, *words: str) -> None:
    environment = {**os.environ, "INGOT_CRASH_AT": point, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "interface.cli", *words], env=environment, cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_database_is_copied_whole_while_a_server_writes(
    tiny: TinyStore, home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    stop = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(home / "prefect/prefect.db", timeout=30)) as database:
            while not stop.is_set():
                database.execute("INSERT INTO runs VALUES ('a'), ('b')")
                database.commit()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        ask(capsys, "backup", "kept")
    finally:
        stop.set()
        writer.join()
    ask(capsys, "restore", "kept", "--into", "new")
    with closing(sqlite3.connect(tmp_path / "new/prefect/prefect.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT count(*) FROM runs").fetchone()[0] % 2 == 1


def test_two_backups_into_one_folder_do_not_run_at_once(
    tiny: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with backup.opened(tmp_path / "kept"):
        assert ask(capsys, "backup", "kept", code=75)["error"]["code"] == "INGOT-BUSY"


def test_a_damaged_database_is_told_before_it_replaces_a_good_copy(
    tiny: TinyStore, home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ask(capsys, "backup", "kept")
    before = read_index(tmp_path / "kept")
    (home / "mlflow/mlflow.db").write_bytes(b"not a database" * 100)
    assert "mlflow.db" in ask(capsys, "backup", "kept", code=5)["error"]["message"]
    assert read_index(tmp_path / "kept") == before


def test_a_name_that_leads_out_of_the_folder_is_refused() -> None:
    with pytest.raises(ValueError):
        backup.BackupFile(name="store/../../etc/passwd", size=1, sha256="0")


@pytest.mark.parametrize("theirs", ["lock", "our lock's name", "index"])
def test_a_folder_of_somebody_else_is_refused_and_keeps_its_files(
    tiny: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], theirs: str
) -> None:
    folder = tmp_path / "photos"
    (folder / "store").mkdir(parents=True)
    (folder / "store/letter.txt").write_text("mine")
    names = {"lock": ".lock", "our lock's name": ".ingot-backup.lock", "index": "backup.json"}
    (folder / names[theirs]).write_text("{}")
    before = files(folder)
    ask(capsys, "backup", "photos", code=5 if theirs == "index" else 2)
    assert files(folder) == before


def test_a_note_that_somebody_keeps_beside_a_backup_stays(
    tiny: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(capsys, "backup", "kept")
    (tmp_path / "kept/heads.txt").write_text("ledger heads of every night")
    (tmp_path / "kept/store/left.txt").write_text("of a killed backup")
    ask(capsys, "backup", "kept")
    assert (tmp_path / "kept/heads.txt").exists() and not (tmp_path / "kept/store/left.txt").exists()


def test_the_wrong_home_is_told_instead_of_backed_up(
    tiny: TinyStore, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "mlflow/mlflow.db").unlink()
    (told,) = ask(capsys, "backup", "kept")["notes"]
    assert "mlflow.db does not exist" in told and "INGOT_HOME" in told
    before = files(tmp_path / "kept")
    monkeypatch.setenv("INGOT_HOME", str(tmp_path / "other"))
    message = ask(capsys, "backup", "kept", code=4)["error"]["message"]
    assert "is empty" in message and "INGOT_HOME" in message and "INGOT_STORE" in message
    assert files(tmp_path / "kept") == before


def test_an_edited_backup_cannot_plant_a_secret(
    tiny: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(capsys, "backup", "kept")
    index = read_index(tmp_path / "kept")
    assert index is not None
    planted = []
    for name in ("run/secret", "databases/x/run.db"):
        (tmp_path / "kept" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "kept" / name).write_bytes(b"known")
        planted.append(backup.BackupFile(name=name, size=5, sha256=sha256_hex(b"known")))
    backup.write_index(tmp_path / "kept", index.model_copy(update={"files": (*index.files, *planted)}))
    told = ask(capsys, "restore", "kept", "--into", "new")
    assert sorted(path.name for path in (tmp_path / "new/run").iterdir()) == ["ports.json"]
    assert [note.split()[0] for note in told["notes"]] == ["run/secret", "databases/x/run.db"]
