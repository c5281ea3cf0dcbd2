"""A night on which a source is nearly empty, grew out of proportion or is all dropped is held back, and says why."""

import shutil
from pathlib import Path

import pytest

from datasets_pipeline import expectations
from ingot import ledger, manifest
from ingot.config import Expectations
from ingot.errors import DataError, HeldError, NotFoundError
from ingot.verify import verify
from tests.curation.pages import page
from tests.curation.road import Road, small_road


def pages(first: int, num: int) -> dict[str, str]:
    return {f"{number:04}.md": page(number, sentences=4) for number in range(first, first + num)}


def two_sources(folder: Path) -> Road:
    """A large and a small source, one of which a test empties."""
    return small_road(folder, {"wiki": pages(0, 300), "handbook": pages(1000, 100)})


def held_records(road: Road) -> list[ledger.Entry]:
    return [entry for entry in ledger.read(road.store) if entry.verb == "held_back"]


def test_a_share_that_was_not_mounted_leaves_yesterdays_version_the_newest(tmp_path: Path) -> None:
    road = two_sources(tmp_path)
    first = road.run()
    kept_aside = tmp_path / "aside"
    shutil.move(road.corpus.folder / "handbook", kept_aside)
    with pytest.raises(NotFoundError, match="handbook"):
        road.run()  # no folder: the run stops before anything is decided
    (road.corpus.folder / "handbook").mkdir()
    with pytest.raises(DataError, match="source handbook: no file matches"):
        road.run()
    road.corpus.write("handbook", "lost+found/README", "The share is not here.")
    for _ in range(2):  # the second night finds the first one's hold and adds nothing
        with pytest.raises(HeldError, match="source handbook has 1 documents after 100") as told:
            road.run()
        assert "harbour@1 stays the newest" in str(told.value) and "--set expectations." in str(told.value)
    assert manifest.versions_of(road.store, "harbour") == [1]
    assert road.store.list("held/") == ["held/harbour/2.json"]
    (record,) = held_records(road)
    assert record.subject == "harbour@2" and "max_lost_share is 0.5" in record.details["reason"]
    verify(road.store)
    shutil.rmtree(road.corpus.folder / "handbook")
    shutil.move(kept_aside, road.corpus.folder / "handbook")
    assert road.run().digests == first.digests


def test_a_person_can_have_it_published_all_the_same(tmp_path: Path) -> None:
    road = two_sources(tmp_path)
    road.run()
    for uri in list(pages(1000, 60)):
        road.corpus.path("handbook", uri).unlink()
    with pytest.raises(HeldError, match="source handbook has 40 documents after 100"):
        road.run()
    road.values["expectations"] = {"max_lost_share": 0.7}
    night = road.run()
    assert night.ref.version == 2
    assert night.manifest.provenance["expectations"]["max_lost_share"] == 0.7  # who ran it is `actor` beside it
    # Expectations shape no byte of a version, so they are not part of what it is.
    road.values["expectations"] = {}
    assert road.run().ref.reused


def test_another_hold_of_the_same_number_keeps_both(tmp_path: Path) -> None:
    road = two_sources(tmp_path)
    road.run()
    for gone in (60, 80):
        for uri in list(pages(1000, gone)):
            road.corpus.path("handbook", uri).unlink(missing_ok=True)
        with pytest.raises(HeldError):
            road.run()
    assert sorted(road.store.list("held/")) == ["held/harbour/2.json", "held/harbour/3.json"]
    assert [entry.subject for entry in held_records(road)] == ["harbour@2", "harbour@3"]


def test_nothing_kept_is_never_a_version_unless_the_recipe_says_so(tmp_path: Path) -> None:
    road = small_road(tmp_path, {"wiki": pages(0, 5)}, rules=[{"rule": "length", "min_words": 100_000}])
    with pytest.raises(HeldError, match="nothing is published: 0 of 5 documents are kept"):
        road.run()
    assert manifest.versions_of(road.store, "harbour") == []
    road.values["expectations"] = {"min_documents": 0}
    assert road.run().ref.num_documents == 0


def test_ten_times_as_much_is_held_and_a_source_that_left_the_recipe_is_not_missed(tmp_path: Path) -> None:
    road = two_sources(tmp_path)
    identity = road.run().manifest.identity
    grown = {**identity.statistics, "source": {**identity.statistics["source"], "handbook": {"documents": 1001}}}
    (told,) = expectations.breaches(
        identity.model_copy(update={"statistics": grown}), ("harbour@1", identity), Expectations(), {}
    )
    assert told == "source handbook has 1,001 documents after 100 (expectations.max_growth is 10)"
    (wiki,) = (entry for entry in road.corpus.recipe["sources"] if entry["name"] == "wiki")
    road.values["sources"] = [wiki]
    assert road.run().ref.version == 2


def test_all_of_a_source_is_missed_however_small_it_is(tmp_path: Path) -> None:
    road = small_road(tmp_path, {"wiki": pages(0, 5), "notes": pages(100, 3)})
    road.run()
    for uri in pages(100, 3):
        road.corpus.path("notes", uri).unlink()
    road.corpus.write("notes", "cut.pdf", b"%PDF-1.4")
    with pytest.raises(HeldError, match="source notes has 0 documents after 3"):
        road.run()
    road.corpus.write("notes", "other.md", page(200))
    assert road.run().ref.version == 2
