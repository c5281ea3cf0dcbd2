"""Two runs on one corpus at the same time: the version number is the fence (CONTRACTS 9)."""

from pathlib import Path
from typing import Any

from ingot import ledger, manifest
from ingot.storage import Store
from ingot.verify import verify
from tests.curation.crash_child import NUM_PAGES, visible_versions
from tests.curation.fork_server import ForkServer
from tests.curation.pages import made_up

BESIDE = "tests.curation.crash_child:curate_beside_another"
ALONE = "tests.curation.crash_child:curate"


def race(servers: list[ForkServer], folder: Path, number: int, *values: dict[str, Any]) -> list[dict[str, Any]]:
    """Two processes that put the same version number at the same moment; what each of them returned."""
    meeting = folder / f"meeting-{number}"
    meeting.mkdir()
    places = {"documents": folder / "documents", "place": folder / "road", "meeting": meeting}
    common: dict[str, Any] = {name: str(place) for name, place in places.items()}
    for me, (server, mine) in enumerate(zip(servers, values, strict=True)):
        server.start(BESIDE, **common, values=mine, me=me)
    ended = [server.wait() for server in servers]
    for child in ended:
        assert child.code == 0, child.output
    return [child.result for child in ended]


def test_two_runs_that_find_the_same_make_one_version(servers: list[ForkServer], tmp_path: Path) -> None:
    made_up(tmp_path / "documents", num_pages=NUM_PAGES)
    one, other = race(servers, tmp_path, 0, {}, {})
    assert one["digests"] == other["digests"]
    assert one["version"] == other["version"] == 1
    assert sorted([one["reused"], other["reused"]]) == [False, True], "one of them adopts the other's version"
    store = Store(str(tmp_path / "road" / "store"))
    assert list(visible_versions(store)) == [1]
    assert [entry.subject for entry in ledger.read(store)] == ["harbour@1"]
    verify(store)


def test_two_runs_that_find_different_things_make_two_versions_and_lose_none(
    servers: list[ForkServer], tmp_path: Path
) -> None:
    made_up(tmp_path / "documents", num_pages=NUM_PAGES)
    store = Store(str(tmp_path / "road" / "store"))
    expected: dict[int, str] = {}
    for number in range(4):
        # From the second race on both have the same parent, and shards to reuse.
        pair = [{"heldout": {"share": 0.1 + number / 20}}, {"heldout": {"share": 0.3 + number / 20}}]
        results = race(servers, tmp_path, number, *pair)
        assert {result["version"] for result in results} == {2 * number + 1, 2 * number + 2}
        assert not any(result["reused"] for result in results)
        expected |= {result["version"]: result["digests"][2] for result in results}
        assert visible_versions(store) == expected
    entries = ledger.read(store)  # checks sequence, chain and bytes
    assert sorted(entry.subject for entry in entries) == [f"harbour@{number}" for number in range(1, 9)]
    for entry in entries:
        number = int(entry.subject.partition("@")[2])
        assert entry.subject_digest == expected[number]
    verify(store)


def test_a_version_made_beside_another_is_the_one_made_alone(servers: list[ForkServer], tmp_path: Path) -> None:
    made_up(tmp_path / "documents", num_pages=NUM_PAGES)
    values: list[dict[str, Any]] = [{}, {"dedup": {"near": None}}]
    raced = race(servers, tmp_path, 0, *values)
    for server, mine, result in zip(servers, values, raced, strict=True):
        place = tmp_path / f"alone-{len(mine)}"
        alone = server.run(ALONE, documents=str(tmp_path / "documents"), place=str(place), values=mine)
        assert alone.result is not None and alone.result["digests"] == result["digests"], alone.output


def test_the_loser_says_what_ledger_head_it_saw(servers: list[ForkServer], tmp_path: Path) -> None:
    made_up(tmp_path / "documents", num_pages=NUM_PAGES)
    race(servers, tmp_path, 0, {}, {"seed": 7})
    store = Store(str(tmp_path / "road" / "store"))
    heads = [manifest.read(store, "harbour", number).provenance["ledger_head"] for number in (1, 2)]
    # It made sure of the winner's record before it tried again.
    first = ledger.read(store)[0]
    assert first.subject == "harbour@1"
    assert heads == ["0:", f"1:{first.sha256}"]
