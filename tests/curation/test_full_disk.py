"""A run on disks of every size: a version is whole or absent, the error says what was missing, the next run ends it."""

import re
from pathlib import Path

import pytest

from datasets_pipeline.parallel import open_pool
from ingot.errors import StorageError
from ingot.verify import verify
from tests.curation.crash_child import NUM_PAGES, visible_versions
from tests.curation.pages import Corpus, made_up
from tests.curation.road import Night, Road
from tests.small_disk import small_disk

ENOUGH = 64 << 20
PAGE = 4096
"""What a small disk counts in."""
_TOLD = re.compile(
    r"the disk of (?P<place>\S+) is full: (?P<what>\S+) needs (?P<needs>[\d,]+) bytes, (?P<free>[\d,]+) are free; "
    r"free space and run again, finished work is kept"
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, Night, int]:
    """A corpus, its version made with room enough, and the bytes of disk that took."""
    corpus = made_up(tmp_path_factory.mktemp("documents") / "all", num_pages=NUM_PAGES)
    folder = tmp_path_factory.mktemp("road")
    night = Road(corpus, folder).run()
    return corpus, night, sum(_on_disk(path) for path in folder.rglob("*"))


def _on_disk(path: Path) -> int:
    return PAGE if path.is_dir() else -(-path.stat().st_size // PAGE) * PAGE


def _try(road: Road, expected: Night, seen: list[str]) -> bool:
    """One run: whether it published; else its error is told as promised and nothing is seen half."""
    try:
        night = road.run()
    except StorageError as error:
        told = _TOLD.fullmatch(str(error))
        assert told, f"not told as promised: {error!r}"
        assert str(road.folder) in told["place"]
        seen.append(told["what"].split("/")[0])
        left = [*(road.folder / "store/.tmp").glob("*"), *(road.folder / "home/scratch").glob("ingot-*")]
        assert left == []
    else:
        assert night.digests == expected.digests
    return visible_versions(road.store) == {1: expected.ref.identity_digest}


@pytest.mark.faults
def test_a_run_on_a_disk_of_any_size_publishes_all_or_nothing_and_ends_when_there_is_room(
    reference: tuple[Corpus, Night, int], tmp_path: Path, is_long: bool
) -> None:
    corpus, expected, used = reference
    steps = used // PAGE if is_long else 8
    outcomes: list[bool] = []
    areas: list[str] = []
    for step in range(steps + 2):
        size = PAGE * max(2, round(used / PAGE * step / steps))
        with small_disk(tmp_path / f"disk-{step}", size) as disk:
            road = Road(corpus, disk.folder / "road")
            outcomes.append(_try(road, expected, areas))
            disk.resize(ENOUGH)
            assert road.run().digests == expected.digests
            verify(road.store)
    assert outcomes[0] is False and outcomes[-1] is True
    assert len(set(areas)) >= 3, f"the disk was full in {set(areas)} only"


@pytest.mark.faults
def test_a_run_that_is_given_a_little_room_at_a_time_ends_with_the_same_version(
    reference: tuple[Corpus, Night, int], tmp_path: Path, is_long: bool
) -> None:
    corpus, expected, used = reference
    step = PAGE if is_long else 8 * PAGE
    areas: list[str] = []
    with small_disk(tmp_path / "disk", 2 * PAGE) as disk:
        road = Road(corpus, disk.folder / "road")
        size = 2 * PAGE
        while not _try(road, expected, areas):
            size += step
            assert size < 4 * used + ENOUGH
            disk.resize(size)
        verify(road.store)
    assert len(areas) >= 5


def test_a_run_on_a_disk_that_turns_read_only_says_so_and_ends_when_it_may_write(
    reference: tuple[Corpus, Night, int], tmp_path: Path
) -> None:
    corpus, expected, used = reference
    with small_disk(tmp_path / "disk", used // 2) as disk:
        road = Road(corpus, disk.folder / "road")
        assert not _try(road, expected, [])
        disk.protect(True)
        with pytest.raises(StorageError, match="Read-only file system; check"):
            road.run()
        disk.protect(False)
        disk.resize(ENOUGH)
        assert road.run().digests == expected.digests
        verify(road.store)


@pytest.mark.faults
def test_workers_on_a_full_disk_tell_it_and_the_next_run_ends(
    reference: tuple[Corpus, Night, int], tmp_path: Path
) -> None:
    corpus, expected, used = reference
    with (
        small_disk(tmp_path / "disk", used // 4) as disk,
        open_pool(2, scratch=tmp_path / "pool") as pool,
    ):
        road = Road(corpus, disk.folder / "road")
        with pytest.raises(StorageError, match=_TOLD):
            road.run(pool)
        disk.resize(ENOUGH)
        assert road.run(pool).digests == expected.digests
        verify(road.store)
    with (
        small_disk(tmp_path / "small", PAGE) as disk,
        pytest.raises(StorageError, match="is full: a pool of workers needs more room"),
        open_pool(2, scratch=disk.folder / "scratch"),
    ):
        pass
