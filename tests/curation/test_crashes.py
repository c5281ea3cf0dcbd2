"""One SIGKILL at every durable step of curation, tokenizer and tokens; a rerun ends where a clean run does.

Every crash point is named, and enumerated by a clean run. In each case a child is killed there, a reader
looks at what is left, and another child runs again. On a store that holds a version already, and on an
empty one. Budget: three minutes on two cores.
"""

import random
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from ingot import ledger
from ingot.storage import Store
from ingot.verify import verify
from tests.curation.crash_child import NUM_PAGES, visible_versions
from tests.curation.fork_server import Ended, ForkServer
from tests.curation.pages import edited, made_up, made_up_at, page

Case = tuple[tuple[str, int], ...]
"""(crash point, which time it is reached) of each run that is killed."""
NIGHT = "tests.curation.crash_child:curate_and_tokenize"

# A crash point that disappears is noticed here; new ones are killed at without being named.
AREAS = ("acquisition", "documents", "quarantine", "features", "spans", "history", "plans", "decisions", "shards")
CRASH_POINTS = {
    *(f"{area}.put.{side}" for area in AREAS for side in ("before", "after")),
    *(f"acquire.{step}" for step in ("unit.after", "record.before", "record.after")),
    *("extract.file", "analyse.document", "analyse.unit.after", "shards.unit.after"),
    *(
        f"{step}.{side}"
        for step in ("decide.record", "manifest.put", "publish.ledger", "ledger.put", "store.put_if_absent",
                     "tokenizer.manifest", "tokens.manifest", "tokens.put")
        for side in ("before", "after")
    ),
    "tokens.put.between",
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """Where a night is killed: the documents, a store as it stands before, and what a clean run gives."""

    name: str
    documents: Path
    store_before: Path | None
    versions: dict[int, str]
    """Visible after the night: version number -> identity digest."""
    result: dict[str, Any]
    points: Counter[str]
    """Crash points that the night reaches, with how often."""


@pytest.fixture(scope="module")
def scenes(servers: list[ForkServer], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scene]:
    """A first night into an empty store, and a second one with new, changed, gone and unreadable files."""
    folder = tmp_path_factory.mktemp("crashes")
    made_up(folder / "first", num_pages=NUM_PAGES)
    first = _scene(servers[0], folder, "first", None)
    shutil.copytree(folder / "first", folder / "second")
    store = folder / "after-first"
    shutil.copytree(folder / "clean-first", store)
    second = made_up_at(folder / "second")
    second.write("notes", "sheets/new.md", page(800))
    second.write("notes", "sheets/005.md", edited(page(5), 9))
    second.write("mirror", "near-new.md", edited(page(800), 3))
    second.write("notes", "odd/other-picture.md", bytes(range(255)) * 8)
    second.path("notes", "sheets/006.md").unlink()
    return {"first": first, "second": _scene(servers[0], folder, "second", store)}


def _scene(server: ForkServer, folder: Path, name: str, store_before: Path | None) -> Scene:
    place, log = folder / f"clean-{name}", folder / f"{name}.log"
    if store_before is not None:
        shutil.copytree(store_before, place)
    ended = server.run(NIGHT, environ={"INGOT_CRASH_LOG": str(log)}, documents=str(folder / name), place=str(place))
    assert ended.code == 0, ended.output
    versions = visible_versions(Store(str(place / "store")))
    return Scene(name, folder / name, store_before, versions, ended.result, Counter(log.read_text().split()))


def _kill_and_run_again(server: ForkServer, scene: Scene, crashes: Case, place: Path) -> list[str]:
    """Kill a run at each of the crashes in turn, then let one finish; everything that is wrong, or nothing."""
    if scene.store_before is not None:
        shutil.copytree(scene.store_before, place)
    arguments: dict[str, Any] = {"documents": str(scene.documents), "place": str(place)}
    store = Store(str(place / "store"))
    faults: list[str] = []
    for number, (name, occurrence) in enumerate(crashes):
        killed = server.run(NIGHT, environ={"INGOT_CRASH_AT": f"{name}:{occurrence}"}, **arguments)
        # What a run has finished before it was killed is not done again, so a second kill may find nothing to do.
        if not (killed.was_killed or (number > 0 and killed.code == 0)):
            return [f"was not killed, but ended with {killed.code}: {killed.output[-500:]}"]
        faults += _what_a_reader_sees(store, scene)
    again = server.run(NIGHT, **arguments)
    if again.code != 0:
        return [*faults, f"the rerun failed: {again.output[-500:]}"]
    if again.result != scene.result:
        faults.append(f"the rerun gave {again.result}, a clean run {scene.result}")
    if visible_versions(store) != scene.versions:
        faults.append(f"versions {visible_versions(store)} are visible, not {scene.versions}")
    published = [entry.subject for entry in ledger.read(store) if entry.verb == "published"]
    if sorted(published) != [f"harbour@{number}" for number in sorted(scene.versions)]:
        faults.append(f"the ledger says {published}")
    return [*faults, *_verified(store, "after the rerun")]


def _what_a_reader_sees(store: Store, scene: Scene) -> list[str]:
    """A reader between kill and rerun: finished versions only, each of them whole."""
    seen = visible_versions(store)
    faults = [] if seen.items() <= scene.versions.items() else [f"half a version was visible: {seen}"]
    if scene.store_before is not None and 1 not in seen:
        faults.append("the version of the night before was gone")
    return [*faults, *_verified(store, "after the kill")]


def _verified(store: Store, when: str) -> list[str]:
    try:
        verify(store)
    except Exception as error:
        return [f"verify {when}: {error}"]
    return []


def test_a_clean_run_reaches_every_known_crash_point(scenes: dict[str, Scene]) -> None:
    assert set(scenes["first"].points) >= CRASH_POINTS
    assert set(scenes["second"].points) >= CRASH_POINTS
    assert len(CRASH_POINTS) == 42


def test_a_kill_is_a_kill_and_a_point_that_is_not_reached_is_none(
    servers: list[ForkServer], scenes: dict[str, Scene], tmp_path: Path
) -> None:
    """The control: without it a crash point that does nothing would pass every case."""
    scene = scenes["first"]

    def run(at: str) -> Ended:
        place = str(tmp_path / at)
        return servers[0].run(NIGHT, environ={"INGOT_CRASH_AT": at}, documents=str(scene.documents), place=place)

    assert run("manifest.put.before").was_killed
    assert visible_versions(Store(str(tmp_path / "manifest.put.before" / "store"))) == {}
    assert run("manifest.put.after").was_killed
    assert visible_versions(Store(str(tmp_path / "manifest.put.after" / "store"))) == scene.versions
    assert run("manifest.put.after:2").code == 0
    assert run("no.such.point").result == scene.result


def _examine(servers: list[ForkServer], scene: Scene, cases: list[Case], folder: Path) -> None:
    """All cases, as many at a time as there are servers; fails with every fault of every case."""
    free: Queue[ForkServer] = Queue()
    for server in servers:
        free.put(server)

    def examine(number: int, case: Case) -> list[str]:
        server, place = free.get(), folder / str(number)
        try:
            return _kill_and_run_again(server, scene, case, place)
        finally:
            free.put(server)
            shutil.rmtree(place, ignore_errors=True)

    with ThreadPoolExecutor(len(servers)) as threads:
        results = list(threads.map(examine, range(len(cases)), cases))
    faults = [f"{case}: {fault}" for case, found in zip(cases, results, strict=True) for fault in found]
    assert not faults, "\n".join(faults)


def test_a_kill_at_any_durable_step_of_a_first_night_and_a_rerun_give_the_clean_result(
    servers: list[ForkServer], scenes: dict[str, Scene], tmp_path: Path
) -> None:
    scene = scenes["first"]
    _examine(servers, scene, [((name, 1),) for name in sorted(scene.points)], tmp_path)


def test_a_kill_at_any_durable_step_of_a_later_night_and_a_rerun_give_the_clean_result(
    servers: list[ForkServer], scenes: dict[str, Scene], tmp_path: Path
) -> None:
    """At the first, the middle and the last time that each step is reached."""
    scene = scenes["second"]
    cases: list[Case] = [
        ((name, occurrence),)
        for name, count in sorted(scene.points.items())
        for occurrence in sorted({1, (count + 1) // 2, count})
    ]
    assert len(cases) > 1.5 * len(CRASH_POINTS)
    _examine(servers, scene, cases, tmp_path)


def test_a_rerun_that_is_killed_too_changes_nothing(
    servers: list[ForkServer], scenes: dict[str, Scene], tmp_path: Path
) -> None:
    chosen = random.Random("two kills")
    scene = scenes["second"]
    points = sorted(scene.points)
    cases: list[Case] = [tuple((chosen.choice(points), 1) for _ in range(3)) for _ in range(12)]
    _examine(servers, scene, cases, tmp_path)
