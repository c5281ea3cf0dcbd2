"""`ingot gc` takes what nothing names and nobody touched for 48 hours, and nothing else."""

import json
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ingot import garbage, ledger
from ingot.errors import IntegrityError
from ingot.garbage import collect, find_garbage
from ingot.storage import Store
from ingot.verify import verify
from interface.cli import main
from tests.base.tiny_store import ACTOR, TinyStore, build

DAY = 86_400
UNNAMED = {
    "shards/" + 64 * "a" + ".parquet", "decisions/" + 64 * "b" + ".parquet", "tokens/t/orphan.bin",
    "tokenizers/t/tokenizer.json", "checkpoints/f/00000001/model.safetensors", "documents/" + 32 * "c" + ".parquet",
    "features/1/" + 32 * "c" + ".parquet", "spans/d/" + 32 * "c" + ".parquet", "plans/" + 64 * "e" + ".parquet",
    "acquisition/wiki/x/" + 64 * "f" + ".parquet",
}  # fmt: skip
LEFT_ALONE = {"history/s/note.txt", "reports/r.html", "somebody/elses.file"}


def age(root: Path, days: float) -> None:
    for path in root.rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - days * DAY,) * 2)


def everything_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """On S3 nobody can make an object older: what is young is what comes an hour from now."""
    monkeypatch.setattr(garbage, "MIN_AGE", timedelta(hours=-1))


def test_a_store_in_which_everything_is_named_gives_nothing_away(
    any_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path / "x", tmp_path / "sources", store=any_store)
    everything_is_old(monkeypatch)
    found = find_garbage(any_store)
    assert (found.objects, found.uploads, found.num_young, found.bytes) == ((), (), 0, 0)
    before = any_store.list("")
    collect(any_store, found, actor=ACTOR)
    assert any_store.list("") == before


def test_what_nothing_names_is_taken_and_recorded_and_all_else_stays(
    any_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path / "x", tmp_path / "sources", store=any_store)
    named = set(any_store.list(""))
    for number, key in enumerate(sorted(UNNAMED | LEFT_ALONE)):
        any_store.put_bytes(key, b"x" * (number + 1))
    everything_is_old(monkeypatch)
    found = find_garbage(any_store)
    assert {item.key for item in found.objects} == UNNAMED
    assert found.by_area()["shards"][0] == 1 and sum(count for count, _ in found.by_area().values()) == len(UNNAMED)
    done = collect(any_store, found, actor=ACTOR)
    assert (done.objects, done.bytes, done.num_kept) == (len(UNNAMED), found.bytes, 0)
    assert set(any_store.list("")) == named | LEFT_ALONE | {ledger.key_of(6)}
    record = ledger.read(any_store)[-1]
    assert (record.verb, record.subject, record.details["objects"]) == ("deleted", "unnamed objects", len(UNNAMED))
    assert set(record.details["keys"]) == UNNAMED
    verify(any_store)


def test_what_is_younger_than_48_hours_stays_and_is_counted(tiny: TinyStore) -> None:
    key = "shards/" + 64 * "a" + ".parquet"
    tiny.store.put_bytes(key, b"x")
    age(tiny.root, 1.9)
    found = find_garbage(tiny.store)
    assert (found.objects, found.num_young) == ((), 1)
    age(tiny.root, 2.1)
    assert [item.key for item in find_garbage(tiny.store).objects] == [key]


def test_what_a_run_finds_instead_of_making_is_young_again(tiny: TinyStore, tmp_path: Path) -> None:
    key = "shards/" + 64 * "a" + ".parquet"
    (tmp_path / "file").write_bytes(b"x")
    for use in (
        lambda: tiny.store.put_bytes(key, b"x"),
        lambda: tiny.store.put_file(key, tmp_path / "file"),
        lambda: tiny.store.reuse(key, 1),
    ):
        tiny.store.put_bytes(key, b"x", overwrite=True)
        age(tiny.root, 3)
        found = find_garbage(tiny.store)
        assert len(found.objects) == 1
        use()
        assert find_garbage(tiny.store).objects == ()
        # Also between the look and the removal.
        assert collect(tiny.store, found, actor=ACTOR).num_kept == 1
        assert tiny.store.read_bytes(key) == b"x"
    assert not tiny.store.reuse(key, 2) and not tiny.store.reuse("shards/none")


def test_renewing_works_on_every_store(any_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    any_store.put_bytes("shards/a", b"x" * 10)
    before = next(iter(any_store.find("shards/"))).modified
    monkeypatch.setattr("ingot.storage.RENEWED_AFTER", timedelta(0))
    time.sleep(1.1)
    assert any_store.reuse("shards/a", 10)
    (after,) = any_store.find("shards/")
    assert after.modified > before and any_store.read_bytes("shards/a") == b"x" * 10
    assert not any_store.delete_if_untouched("shards/a", before)
    assert any_store.delete_if_untouched("shards/a", after.modified + timedelta(seconds=2))
    assert not any_store.exists("shards/a")


def test_the_look_before_the_newest_goes_when_no_version_was_made_from_it(tiny: TinyStore) -> None:
    for path in (tiny.root / "corpora/handbook").iterdir():
        path.unlink()
    age(tiny.root, 3)
    looks = [item.key for item in find_garbage(tiny.store).objects if item.key.startswith("acquisition/")]
    pointers = [key for key in tiny.store.list("acquisition/") if key.endswith(".json")]
    assert looks[0] == pointers[0] and len(looks) == 2


def test_temporaries_of_dead_writers_are_taken_without_a_record(tiny: TinyStore) -> None:
    (tiny.root / ".tmp").mkdir(exist_ok=True)
    (tiny.root / ".tmp/a.123").write_bytes(b"half")
    age(tiny.root, 3)
    (tiny.root / ".tmp/b.456").write_bytes(b"being written")
    found = find_garbage(tiny.store)
    assert [item.key for item in found.objects] == [".tmp/a.123"]
    collect(tiny.store, found, actor=ACTOR)
    assert [path.name for path in (tiny.root / ".tmp").iterdir()] == ["b.456"]
    assert len(ledger.read(tiny.store)) == 5


@pytest.mark.parametrize("area", ["corpora", "ledger", "tokens", "checkpoints", "acquisition", "tokenizers"])
def test_when_a_record_cannot_be_read_nothing_is_taken(tiny: TinyStore, area: str) -> None:
    tiny.store.put_bytes("shards/" + 64 * "a" + ".parquet", b"x")
    name = "manifest.json" if area in ("checkpoints", "tokenizers") else "*.json"
    record = sorted((tiny.root / area).rglob(name))[0]
    record.write_bytes(record.read_bytes()[:-20])
    age(tiny.root, 3)
    with pytest.raises(IntegrityError):
        find_garbage(tiny.store)


def test_the_command_says_what_it_would_do_and_does_it(
    tiny: TinyStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("INGOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("INGOT_STORE", str(tiny.root))
    tiny.store.put_bytes("shards/" + 64 * "a" + ".parquet", b"x" * 1234)
    age(tiny.root, 3)

    def asked(*words: str) -> dict[str, Any]:
        assert main(["gc", "--json", *words]) == 0
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    planned = asked("--dry-run")
    assert planned["areas"] == {"shards": {"objects": 1, "bytes": 1234}} and planned["removed"]["objects"] == 0
    assert main(["gc", "--dry-run"]) == 0
    assert "1 would be removed (1,234 bytes)" in capsys.readouterr().out
    assert asked()["removed"]["bytes"] == 1234
    assert asked()["areas"] == {}
    verify(tiny.store)
