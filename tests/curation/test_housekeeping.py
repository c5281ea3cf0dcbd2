"""Housekeeping beside the data path: what is collected costs nothing, what is damaged is made again."""

import os
import shutil
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from datasets_pipeline import publish as publish_module
from datasets_pipeline.parallel import InProcessPool
from ingot import garbage, manifest
from ingot.errors import IntegrityError
from ingot.garbage import collect, find_garbage
from ingot.scrub import scrub
from ingot.storage import Store
from ingot.verify import verify
from tests.curation.pages import page
from tests.curation.road import ACTOR, Road, WatchingPool

_DAY = 86_400


def age(store: Store) -> None:
    """Three days go by."""
    for path in Path(store.root).rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - 3 * _DAY,) * 2)


class Killed(Exception):
    """Before a manifest was put."""


def killed_before_its_manifest(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that wrote all its objects and published nothing."""

    def die(*arguments: Any) -> bool:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(publish_module, "publish", die)
        with pytest.raises(Killed):
            road.run()


def other_recipe(road: Road) -> Road:
    return replace(road, values={"heldout": {"share": 0.5}})


def test_what_a_killed_run_left_is_collected_and_the_nights_lose_nothing(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = road.run()
    road.corpus.write("notes", "sheets/new.md", page(700))
    second = road.run()
    before = set(road.store.list(""))
    killed_before_its_manifest(other_recipe(road), monkeypatch)
    left = set(road.store.list("")) - before
    assert {key.split("/")[0] for key in left} == {"shards", "decisions", "plans"}
    assert find_garbage(road.store).objects == () and 0 < find_garbage(road.store).num_young <= len(left)
    age(road.store)
    found = find_garbage(road.store)
    assert {item.key for item in found.objects} == left
    collect(road.store, found, actor=ACTOR)
    verify(road.store)
    # Nothing that the next night uses is gone: it reads, analyses, decides and writes nothing.
    watched = WatchingPool(InProcessPool())
    again = road.run(watched)
    assert again.ref.reused and again.digests == second.digests
    assert watched.num("read_unit") == watched.num("analyse_unit") == watched.num("write_shard") == 0
    assert manifest.read(road.store, "harbour", 1).identity == first.manifest.identity
    assert other_recipe(road).run().ref.version == 3
    verify(road.store)


def test_documents_that_no_look_names_go_with_what_was_computed_from_them(road: Road) -> None:
    road.run()
    # Another extractor reads everything anew; here: the looks are lost, and with them the names of the units.
    shutil.rmtree(Path(road.store.root) / "acquisition")
    shutil.rmtree(Path(road.store.root) / "corpora")
    shutil.rmtree(Path(road.store.root) / "ledger")
    age(road.store)
    found = find_garbage(road.store)
    collect(road.store, found, actor=ACTOR)
    assert {"documents", "features", "spans", "shards", "decisions", "plans"} <= set(found.by_area())
    kept = {"store.json", "history", "quarantine", "looks", "ledger"}
    assert {key.split("/")[0] for key in road.store.list("")} <= kept


def test_a_run_that_takes_up_old_leftovers_is_not_robbed_while_it_works(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingot.storage.RENEWED_AFTER", timedelta(seconds=5))
    monkeypatch.setattr(garbage, "MIN_AGE", timedelta(seconds=30))
    stop, errors, rounds = threading.Event(), [], [0]

    def collect_for_ever() -> None:
        while not stop.is_set():
            try:
                collect(road.store, find_garbage(road.store), actor=ACTOR)
            except IntegrityError as error:
                errors.append(error)
            rounds[0] += 1

    for number in range(3):
        road.corpus.write("notes", f"sheets/new-{number}.md", page(800 + number))
        killed_before_its_manifest(road, monkeypatch)
        age(road.store)
        beside = threading.Thread(target=collect_for_ever)
        beside.start()
        try:
            night = road.run()
        finally:
            stop.set()
            beside.join()
            stop.clear()
        assert night.ref.version == number + 1
        verify(road.store)
    assert rounds[0] > 3 and errors == []


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("area", ["documents", "features", "spans", "history", "plans", "acquisition"])
def test_a_damaged_cache_is_removed_and_the_next_night_gives_the_same_version(road: Road, area: str) -> None:
    before = road.run()
    paths = sorted((Path(road.store.root) / area).rglob("*.parquet"))
    for path in paths:
        flip(path)
    found = scrub(road.store, actor=ACTOR)
    assert {damage.key for damage in found.damages} == {str(path.relative_to(road.store.root)) for path in paths}
    assert all(damage.done != "left" for damage in found.damages)
    again = road.run()
    assert again.ref.reused and again.digests == before.digests
    assert scrub(road.store, actor=ACTOR).damages == ()
    verify(road.store)


@pytest.mark.parametrize("area", ["shards", "decisions"])
def test_a_damaged_shard_of_the_newest_version_is_made_again_byte_for_byte(road: Road, area: str) -> None:
    road.run()
    road.corpus.write("notes", "sheets/new.md", page(700))
    night = road.run()
    whole = {key: road.store.read_bytes(key) for key in road.store.list(f"{area}/")}
    damaged = [key for key in whole if key.endswith(".parquet")][-2:]
    for key in damaged:
        flip(Path(road.store.root) / key)
    found = {damage.key: damage for damage in scrub(road.store, actor=ACTOR).damages}
    assert set(found) == set(damaged)
    restored = [key for key, damage in found.items() if damage.done == "put aside"]
    assert all("harbour@2" in found[key].versions for key in restored)
    again = road.run()
    assert again.ref.reused and again.digests == night.digests
    for key in restored:
        assert road.store.read_bytes(key) == whole[key]
    assert {damage.key for damage in scrub(road.store, actor=ACTOR).damages} == set(damaged) - set(restored)
