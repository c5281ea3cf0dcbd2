"""`ingot scrub` names every damaged object, who needs it, and what makes it again."""

import json
from pathlib import Path

import pytest

from ingot import ledger
from ingot.errors import IntegrityError
from ingot.scrub import LEFT, PUT_ASIDE, REMOVED, Damage, scrub
from ingot.verify import verify
from interface.cli import main
from tests.base.tiny_store import ACTOR, TinyStore


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


def damages(tiny: TinyStore, *, is_touching: bool = False) -> dict[str, Damage]:
    return {damage.key: damage for damage in scrub(tiny.store, actor=ACTOR, is_touching=is_touching).damages}


def test_a_whole_store_is_read_and_nothing_is_wrong(tiny: TinyStore) -> None:
    found = scrub(tiny.store, actor=ACTOR)
    assert found.damages == () and found.objects == found.num_named == verify(tiny.store).objects
    assert found.bytes == verify(tiny.store).bytes


def test_every_damage_is_told_and_not_only_the_first(tiny: TinyStore) -> None:
    paths = [
        path
        for area in ("shards", "decisions", "tokens", "checkpoints", "evaluations", "documents", "runs")
        for path in [next(path for path in sorted((tiny.root / area).rglob("*")) if path.is_file())]
    ]
    for path in paths:
        flip(path)
    assert set(damages(tiny)) == {str(path.relative_to(tiny.root)) for path in paths}
    flip(tiny.root / "corpora/handbook/2.json")
    assert damages(tiny)["corpora/handbook/2.json"].versions == ("handbook@2",)


def test_a_damaged_shard_names_its_versions_and_models(tiny: TinyStore) -> None:
    before = ledger.read(tiny.store)
    identity = json.loads((tiny.root / "corpora/handbook/2.json").read_bytes())["identity"]
    older = json.loads((tiny.root / "corpora/handbook/1.json").read_bytes())["identity"]
    only_old = next(s["sha256"] for s in older["shards"] if s not in identity["shards"])
    newest = next(s["sha256"] for s in identity["shards"])
    for digest in (only_old, newest):
        flip(tiny.root / f"shards/{digest}.parquet")
    told = damages(tiny)
    assert told[f"shards/{only_old}.parquet"].versions == ("handbook@1",)
    assert told[f"shards/{only_old}.parquet"].models == ("mini/1",)
    assert told[f"shards/{newest}.parquet"].models == ("mini/2",)
    assert "restore it from a backup" in told[f"shards/{only_old}.parquet"].remedy
    assert "`ingot curate` of handbook makes it again" in told[f"shards/{newest}.parquet"].remedy
    # With is_touching False nothing was done.
    assert {damage.done for damage in told.values()} == {LEFT} and ledger.read(tiny.store) == before


def test_caches_are_removed_shards_put_aside_and_the_rest_is_left(tiny: TinyStore) -> None:
    identity = json.loads((tiny.root / "corpora/handbook/2.json").read_bytes())["identity"]
    shard = f"shards/{identity['shards'][0]['sha256']}.parquet"
    tokens = next(key for key in tiny.store.list("tokens/") if key.endswith(".bin"))
    checkpoint = next(key for key in tiny.store.list("checkpoints/") if key.endswith(".safetensors"))
    unit = tiny.store.list("documents/")[0]
    look = next(key for key in tiny.store.list("acquisition/") if key.endswith(".parquet"))
    for key in (shard, tokens, checkpoint, unit, look):
        flip(tiny.root / key)
    bad = (tiny.root / shard).read_bytes()
    told = damages(tiny, is_touching=True)
    assert {key: damage.done for key, damage in told.items()} == {
        shard: PUT_ASIDE, unit: PUT_ASIDE, tokens: REMOVED, look: REMOVED, checkpoint: LEFT,
    }  # fmt: skip
    assert told[tokens].models and told[checkpoint].models
    for key in (shard, unit, tokens, look):
        assert not tiny.store.exists(key)
    assert tiny.store.exists(checkpoint)
    assert tiny.store.read_bytes(f"quarantine/damaged/{shard}.damaged") == bad
    record = ledger.read(tiny.store)[-1]
    assert (record.verb, record.subject) == ("deleted", "damaged objects")
    assert record.details["objects"][shard] == PUT_ASIDE
    # The look's number is free again, and the one before it is the newest.
    pointers = [key for key in tiny.store.list("acquisition/") if key.endswith(".json")]
    assert len(pointers) == 1


def test_what_is_missing_is_told_as_such(tiny: TinyStore) -> None:
    key = tiny.store.list("shards/")[0]
    tiny.store.delete(key)
    assert damages(tiny, is_touching=True)[key].problem == "is missing"


def test_a_damaged_ledger_ends_it(tiny: TinyStore) -> None:
    flip(tiny.root / "ledger/000000000002.json")
    with pytest.raises(IntegrityError, match="ledger"):
        scrub(tiny.store, actor=ACTOR)


def test_the_command_prints_each_damage_and_ends_with_5(
    tiny: TinyStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("INGOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("INGOT_STORE", str(tiny.root))
    assert main(["scrub"]) == 0
    assert "0 damaged" in capsys.readouterr().out
    identity = json.loads((tiny.root / "corpora/handbook/2.json").read_bytes())["identity"]
    key = f"shards/{identity['shards'][0]['sha256']}.parquet"
    flip(tiny.root / key)
    assert main(["scrub", "--dry-run"]) == 5
    told = capsys.readouterr().out
    assert f"DAMAGED  {key} has other bytes than were written" in told
    assert "versions that need it: handbook@2" in told and "models that need it: mini/2" in told
    assert main(["scrub", "--json", "--sample", "0.5"]) in (0, 5)
    answer = json.loads(capsys.readouterr().out)
    assert 0 < answer["objects"] < answer["named"]
    assert main(["scrub", "--sample", "0"]) == 2
