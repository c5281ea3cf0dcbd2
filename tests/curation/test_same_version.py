"""A corpus version is a pure function of snapshot, recipe, salt and versions (CONTRACTS 1): nothing else shows."""

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from datasets_pipeline import identity
from datasets_pipeline.parallel import InProcessPool, Pool, open_pool
from datasets_pipeline.sources import folder as folder_source
from ingot.storage import Store
from ingot.verify import verify
from tests.curation.pages import CORPORA, Corpus, page
from tests.curation.road import Night, Road, WatchingPool

WORKERS = (1, 2, 4)


@pytest.fixture(scope="module", params=WORKERS)
def pool(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    with open_pool(request.param, scratch=tmp_path_factory.mktemp("pool")) as opened:
        yield opened


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Corpus, Night]]:
    """Each corpus, not to be changed, with its version made in this process; filled as tests ask."""
    return {}


def reference(
    name: str, found: dict[str, tuple[Corpus, Night]], places: pytest.TempPathFactory
) -> tuple[Corpus, Night]:
    if name not in found:
        corpus = CORPORA[name](places.mktemp(name) / "documents")
        found[name] = (corpus, Road(corpus, places.mktemp(f"{name}-road")).run())
    return found[name]


@pytest.fixture(params=sorted(CORPORA))
def made(
    request: pytest.FixtureRequest,
    references: dict[str, tuple[Corpus, Night]],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Corpus, Night]:
    return reference(request.param, references, tmp_path_factory)


def test_any_number_of_workers_gives_the_version_that_one_process_gives(
    pool: Pool, made: tuple[Corpus, Night], tmp_path: Path
) -> None:
    corpus, expected = made
    watched = WatchingPool(pool, shuffle=pool.num_workers)
    found = Road(corpus, tmp_path / "road").run(watched)
    assert found.digests == expected.digests
    assert found.manifest.identity == expected.manifest.identity
    if pool.num_workers > 1:
        for function in ("read_unit", "analyse_unit", "write_shard"):
            assert len(watched.done[function]) >= 2, f"only one worker did {function}: {watched.done}"


@pytest.fixture
def made_up_night(
    references: dict[str, tuple[Corpus, Night]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Corpus, Night]:
    return reference("made_up", references, tmp_path_factory)


@pytest.mark.parametrize("unit_bytes", [1, 2_500, 40_000, 32 << 20])
def test_the_size_of_units_does_not_show(made_up_night: tuple[Corpus, Night], unit_bytes: int, tmp_path: Path) -> None:
    corpus, expected = made_up_night
    watched = WatchingPool(InProcessPool(), shuffle=unit_bytes)
    found = Road(corpus, tmp_path / "road", unit_bytes=unit_bytes).run(watched)
    assert found.manifest.identity == expected.manifest.identity
    num_files = sum(counts["seen"] for counts in found.files.values())
    num_sources = len(found.files)
    assert watched.num("read_unit") == (num_files if unit_bytes == 1 else watched.num("read_unit"))
    assert unit_bytes < 1 << 20 or watched.num("read_unit") == num_sources


def test_the_order_of_the_listing_does_not_show(
    made: tuple[Corpus, Night], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, expected = made
    listed = folder_source.list_files

    def shuffled(config: folder_source.Config, skipped: Counter[str] | None = None) -> Iterator[object]:
        entries = list(listed(config, skipped))
        random.Random(len(entries)).shuffle(entries)
        assert [entry.uri for entry in entries] != sorted(entry.uri for entry in entries)
        return iter(entries)

    monkeypatch.setattr(folder_source, "list_files", shuffled)
    road = Road(corpus, tmp_path / "road")
    assert road.run().manifest.identity == expected.manifest.identity
    assert road.run().ref.reused


def test_the_order_of_sources_in_the_recipe_does_not_show(made_up_night: tuple[Corpus, Night], tmp_path: Path) -> None:
    corpus, expected = made_up_night
    turned = Road(corpus, tmp_path / "road", values={"sources": corpus.recipe["sources"][::-1]})
    assert turned.run().manifest.identity == expected.manifest.identity


def test_places_do_not_show(made_up_night: tuple[Corpus, Night], tmp_path: Path) -> None:
    corpus, expected = made_up_night
    moved = tmp_path / "another place" / "deep"
    shutil.copytree(corpus.folder, moved)
    sources = [{**entry, "uri": str(moved / entry["name"])} for entry in corpus.recipe["sources"]]
    # Also another INGOT_HOME, store, scratch folder and unit size.
    elsewhere = Road(corpus, tmp_path / "another home", unit_bytes=9_000, values={"sources": sources}).run()
    assert elsewhere.manifest.identity == expected.manifest.identity
    assert str(tmp_path) not in elsewhere.manifest.identity.model_dump_json()


def test_moving_the_folder_publishes_nothing(made_up_night: tuple[Corpus, Night], tmp_path: Path) -> None:
    corpus, _ = made_up_night
    first = Road(corpus, tmp_path / "road")
    night = first.run()
    moved = tmp_path / "moved"
    shutil.copytree(corpus.folder, moved)
    sources = [{**entry, "uri": str(moved / entry["name"])} for entry in corpus.recipe["sources"]]
    watched = WatchingPool(InProcessPool())
    again = replace(first, values={"sources": sources}).run(watched)
    assert again.ref.reused and again.ref.version == night.ref.version
    # Read at the new place, and known by their bytes: nothing was extracted or analysed again.
    seen = sum(counts["seen"] for counts in again.files.values())
    assert again.opened == seen and sum(counts["read"] for counts in again.files.values()) == 0
    assert watched.num("analyse_unit") == 0


def test_one_changed_byte_of_one_file_changes_the_version(made_up: Corpus, tmp_path: Path) -> None:
    road = Road(made_up, tmp_path / "road")
    before = road.run()
    path = made_up.path("notes", "sheets/007.md")
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(bytes(data))
    after = road.run()
    assert after.ref.content_digest != before.ref.content_digest
    assert after.ref.root_digest != before.ref.root_digest
    assert after.ref.identity_digest != before.ref.identity_digest
    assert after.files["notes"]["opened"] == after.files["notes"]["read"] == 1
    data[-10] ^= 1
    path.write_bytes(bytes(data))
    back = road.run()
    assert back.digests == before.digests and back.ref.version == 3


def test_a_changed_threshold_changes_the_version_without_reading_or_analysing_anything(
    made: tuple[Corpus, Night], tmp_path: Path
) -> None:
    corpus, _ = made
    road = Road(corpus, tmp_path / "road")
    before = road.run()
    rules = [{**rule, "min_words": 60} if rule["rule"] == "length" else rule for rule in corpus.recipe["rules"]]
    watched = WatchingPool(InProcessPool())
    after = replace(road, values={"rules": rules}).run(watched)
    assert after.ref.identity_digest != before.ref.identity_digest and after.ref.version == 2
    assert after.opened == watched.num("read_unit") == watched.num("analyse_unit") == 0


def test_a_changed_salt_or_seed_is_another_version(made_up: Corpus, tmp_path: Path) -> None:
    from ingot import store_identity

    first = Road(made_up, tmp_path / "road").run()
    other = Road(made_up, tmp_path / "other")
    store_identity.initialise(other.store, salt="00" * 16)
    salted = other.run()
    assert salted.ref.content_digest != first.ref.content_digest
    assert salted.manifest.identity.versions["salt"] != first.manifest.identity.versions["salt"]
    seeded = Road(made_up, tmp_path / "seeded", values={"seed": 1}).run()
    assert seeded.ref.content_digest == first.ref.content_digest
    assert seeded.ref.identity_digest != first.ref.identity_digest


def test_another_way_to_edit_is_another_version(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    # Which documents edits leave empty or equal is decided with it.
    now = identity.stage_versions(road.recipe, b"salt")
    monkeypatch.setattr(identity, "EDITS_VERSION", "next")
    assert identity.stage_versions(road.recipe, b"salt") != now


@pytest.mark.parametrize("lost", ["documents", "features", "spans", "history", "plans", "acquisition", "all of them"])
def test_losing_a_cache_costs_time_and_never_bytes(road: Road, lost: str) -> None:
    caches = ("documents", "features", "spans", "history", "plans", "acquisition")
    before = road.run()
    for name in caches if lost == "all of them" else (lost,):
        shutil.rmtree(Path(road.store.root) / name)
    again = road.run()
    assert again.ref.reused and again.digests == before.digests
    road.corpus.write("notes", "sheets/new.md", page(700))
    after = road.run()
    if lost == "all of them":
        assert after.manifest.identity == Road(road.corpus, road.folder / "fresh").run().manifest.identity
    assert after.ref.version == 2 and after.manifest.provenance["shards"]["reused"] > 0
    verify(road.store)


@pytest.mark.parametrize("area", ["plans", "decisions", "shards"])
def test_a_lost_object_of_a_version_is_made_again(road: Road, area: str) -> None:
    """The record that names it is not enough: a hit needs every object, at its size (CONTRACTS 1)."""
    before = road.run()
    lost = [key for key in road.store.list(f"{area}/") if key.endswith(".parquet")]
    for key in lost:
        road.store.delete(key)
    again = road.run()
    assert again.ref.reused and again.digests == before.digests
    assert [key for key in road.store.list(f"{area}/") if key.endswith(".parquet")] == lost
    verify(road.store)


def test_a_version_is_read_from_its_own_objects_alone(road: Road, tmp_path: Path) -> None:
    night = road.run()
    bare = tmp_path / "bare"
    for area in ("corpora", "decisions", "shards", "ledger"):
        shutil.copytree(Path(road.store.root) / area, bare / area)
    shutil.copy(Path(road.store.root) / "store.json", bare)
    copied = replace(road)
    copied.store = Store(str(bare))
    assert copied.shard_rows(night) == road.shard_rows(night)
    assert copied.decisions(night) == road.decisions(night)
    verify(copied.store)
