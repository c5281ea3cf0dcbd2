"""Thirty nights of changes against one run over the last snapshot: the same version, byte for byte."""

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datasets_pipeline.normalize import document_id, normalize_text
from datasets_pipeline.sources import files
from datasets_pipeline.sources import folder as folder_source
from datasets_pipeline.sources.base import FileEntry
from ingot import ledger
from ingot.parquet import read_table, write_table
from ingot.verify import verify
from tests.curation.pages import Corpus, edited, page
from tests.curation.road import Night, Road

NUM_NIGHTS = 30
RULE_CHANGES_ON = 15
QUIET = (6, 19, 27)
"""Nights on which nothing happens."""


class Editors:
    """People who change a corpus by day, the same way each time; they know how many files a night must open."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.chosen = random.Random("thirty nights")
        self.source = corpus.recipe["sources"][0]["name"]
        self.other = corpus.recipe["sources"][1]["name"]
        self.away: list[tuple[str, bytes]] = []
        self.edited: dict[str, bytes] = {}
        """uri -> id of the text that stood there before the last day's edits."""
        self.num_changes = 0

    def uris(self) -> list[str]:
        root = self.corpus.folder / self.source
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.md") if path.stat().st_size > 700)

    def add(self, night: int) -> int:
        self.corpus.write(self.source, f"new/night-{night}.md", page(1000 + night))
        return 1

    def edit(self, night: int) -> int:
        uri = self.chosen.choice(self.uris())
        path = self.corpus.path(self.source, uri)
        text = path.read_bytes().decode()
        self.edited[uri] = document_id(normalize_text(text))
        path.write_text(edited(text, night))
        return 1

    def move(self, night: int) -> int:
        uri = self.chosen.choice(self.uris())
        target = self.corpus.path(self.source, f"moved/{night}/{uri}")
        target.parent.mkdir(parents=True)
        self.corpus.path(self.source, uri).rename(target)  # keeps size and mtime
        return 1

    def delete(self, night: int) -> int:
        uri = self.chosen.choice(self.uris())
        path = self.corpus.path(self.source, uri)
        self.away.append((uri, path.read_bytes()))
        path.unlink()
        return 0

    def bring_back(self, night: int) -> int:
        uri, data = self.away.pop(0)
        if self.corpus.path(self.source, uri).exists():
            return 0
        self.corpus.write(self.source, uri, data)
        return 1

    def duplicate(self, night: int) -> int:
        """A copy appears in the other source."""
        uri = self.chosen.choice(self.uris())
        self.corpus.write(self.other, f"copies/{night}.md", self.corpus.path(self.source, uri).read_bytes())
        return 1

    def take_twin_away(self, night: int) -> int:
        """The original of a copy vanishes; the copy stays."""
        uri = self.chosen.choice(self.uris())
        original = self.corpus.path(self.source, uri)
        self.corpus.write(self.other, f"orphans/{night}.md", original.read_bytes())
        original.unlink()
        return 1

    def near_copy(self, night: int) -> int:
        uri = self.chosen.choice(self.uris())
        text = self.corpus.path(self.source, uri).read_text()
        self.corpus.write(self.other, f"near/{night}.md", edited(text, 100 + night))
        return 1

    def work(self, night: int) -> int:
        """One day; returns how many files are new or changed."""
        self.edited = {}
        if night == 1 or night in QUIET:
            return 0
        days: list[list[Callable[[int], int]]] = [
            [self.add, self.edit],
            [self.delete, self.edit, self.edit],
            [self.duplicate, self.move],
            [self.take_twin_away, self.add],
            [self.edit, self.near_copy],
            [self.bring_back] if self.away else [self.add],
        ]
        return sum(action(night) for action in days[night % len(days)])


def check_night(road: Road, editors: Editors, night: int, run: Night, before: Night | None, num_changes: int) -> None:
    assert run.opened == (num_changes if before else sum(c["seen"] for c in run.files.values()))
    for counts in run.files.values():
        assert counts["seen"] == counts["read"] + counts["unchanged"] + counts["quarantined"]
    if before is None:
        return
    if night in QUIET:
        assert run.ref.reused and run.ref.version == before.ref.version
        return
    decided = {row["doc_id"]: row for row in road.decisions(run) if row["final"]}
    by_uri = {(row["source"], row["uri"]): row for row in decided.values()}
    for uri, predecessor in editors.edited.items():
        row = by_uri[editors.source, uri]
        assert row["other_doc_id"] != predecessor, f"night {night}: {uri} lost to the text that it replaced"
        still_there = predecessor in {
            document_id(normalize_text(path.read_bytes().decode(errors="replace")))
            for path in editors.corpus.folder.rglob("*.md")
        }
        assert still_there or predecessor not in decided, f"night {night}: {uri} is superseded and still decided"


def test_thirty_nights_give_the_version_of_one_run_over_the_last_snapshot(corpus: Corpus, tmp_path: Path) -> None:
    editors = Editors(corpus)
    road = Road(corpus, tmp_path / "nightly")
    before: Night | None = None
    versions, num_reused = set(), 0
    for night in range(1, NUM_NIGHTS + 1):
        num_changes = editors.work(night)
        if night == RULE_CHANGES_ON:
            rules = corpus.recipe["rules"]
            road.values["rules"] = [{**r, "min_words": 40} if r["rule"] == "length" else r for r in rules]
        run = road.run()
        check_night(road, editors, night, run, before, num_changes)
        if not run.ref.reused:
            shards = run.manifest.provenance["shards"]
            assert shards["shards"] == shards["written"] + shards["reused"] == len(run.manifest.identity.shards)
            assert before is None or shards["reused"] > 0, f"night {night} wrote every shard anew"
            num_reused += shards["reused"]
        versions.add(run.ref.version)
        before = run
    assert before is not None
    assert versions == set(range(1, NUM_NIGHTS - len(QUIET) + 1)), "a changed night publishes, a quiet one does not"
    assert num_reused > 100

    once = Road(corpus, tmp_path / "once", unit_bytes=50_000, values=dict(road.values))
    single = once.run()
    assert single.manifest.identity == before.manifest.identity
    assert single.digests == before.digests
    for area, names in (
        ("shards", [shard.sha256 for shard in single.manifest.identity.shards]),
        ("decisions", [part.sha256 for part in single.manifest.identity.decisions]),
    ):
        for name in names:
            nightly, fresh = (r.store.read_bytes(f"{area}/{name}.parquet") for r in (road, once))
            assert nightly == fresh and hashlib.sha256(fresh).hexdigest() == name
    assert once.decisions(single) == road.decisions(before)

    report = verify(road.store)
    assert report.corpus_versions == len(versions) == len(ledger.read(road.store))


def test_a_quiet_night_opens_no_file_and_publishes_nothing(road: Road) -> None:
    first = road.run()
    again = road.run()
    assert again.ref.reused and again.ref.name == first.ref.name
    assert again.opened == 0 and sum(counts["read"] for counts in again.files.values()) == 0
    assert again.files["notes"]["unchanged"] == first.files["notes"]["read"]
    assert again.files["notes"]["quarantined"] == first.files["notes"]["quarantined"] == 2
    assert len(ledger.read(road.store)) == 1


def test_a_touched_file_is_opened_and_not_extracted_again(road: Road) -> None:
    road.run()
    path = road.corpus.path("notes", "sheets/000.md")
    path.write_bytes(path.read_bytes())
    again = road.run()
    assert again.ref.reused
    assert (again.files["notes"]["opened"], again.files["notes"]["read"]) == (1, 0)


def test_an_edited_page_supersedes_its_predecessor_and_is_never_its_near_duplicate(road: Road) -> None:
    uri = "sheets/010.md"
    before = road.outcomes(road.run())[f"notes:{uri}"]
    path = road.corpus.path("notes", uri)
    path.write_text(edited(path.read_text(), 5))
    night = road.run()
    after = road.outcomes(night)[f"notes:{uri}"]
    assert night.files["notes"]["superseded"] == 1
    assert after["doc_id"] != before["doc_id"] and after["outcome"] in ("kept", "heldout")
    assert before["doc_id"] not in {row["doc_id"] for row in road.decisions(night)}
    assert before["doc_id"] not in {row["doc_id"] for row in road.shard_rows(night)}


def test_vanished_files_leave_and_come_back_without_being_extracted_again(road: Road) -> None:
    uri = "sheets/012.md"
    first = road.run()
    path = road.corpus.path("notes", uri)
    data = path.read_bytes()
    path.unlink()
    gone = road.run()
    assert gone.files["notes"]["gone"] == 1
    assert f"notes:{uri}" not in road.outcomes(gone)
    path.write_bytes(data)
    back = road.run()
    assert (back.files["notes"]["opened"], back.files["notes"]["read"]) == (1, 0)
    assert back.digests == first.digests


def test_a_file_that_could_not_be_read_last_night_is_tried_again(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    read = files._read_local

    def denied(root: Path, entry: FileEntry, num_bytes: int) -> bytes:
        if entry.uri == "sheets/013.md":
            raise PermissionError(13, "denied")
        return read(root, entry, num_bytes)

    with monkeypatch.context() as patched:
        patched.setattr(files, "_read_local", denied)
        denied_night = road.run()
    assert denied_night.reasons["notes"] == {"empty": 1, "not_text": 1, "unreadable": 1}
    # Rights change neither size nor mtime.
    again = road.run()
    assert again.reasons["notes"] == {"empty": 1, "not_text": 1}
    assert again.manifest.identity == Road(road.corpus, road.folder / "fresh").run().manifest.identity


def test_what_was_read_of_a_file_stays_while_it_cannot_be_read(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    first = road.run()
    road.corpus.write("notes", "sheets/013.md", page(1313))
    read = files._read_local

    def denied(root: Path, entry: FileEntry, num_bytes: int) -> bytes:
        if entry.uri == "sheets/013.md":
            raise PermissionError(13, "denied")
        return read(root, entry, num_bytes)

    with monkeypatch.context() as patched:
        patched.setattr(files, "_read_local", denied)
        denied_night = road.run()
        road.run()
    assert denied_night.reasons["notes"]["unreadable"] == 1
    assert denied_night.files["notes"]["superseded"] == denied_night.files["notes"]["gone"] == 0
    assert denied_night.digests == first.digests  # nothing says that another text stands there
    after = road.run()
    assert after.files["notes"]["superseded"] == 1
    assert after.manifest.identity == Road(road.corpus, road.folder / "fresh").run().manifest.identity


def test_a_changed_mark_of_the_store_opens_a_file_although_size_and_time_are_the_same(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 keeps times in whole seconds; its ETag tells two versions of one second apart."""
    listed = folder_source.list_files
    marks = {"sheets/001.md": "first"}

    def marked(*arguments: Any) -> Iterator[FileEntry]:
        return (replace(entry, mtime_ns=7, etag=marks.get(entry.uri, "mark")) for entry in listed(*arguments))

    monkeypatch.setattr(folder_source, "list_files", marked)
    road.run()
    assert road.run().opened == 0
    text = road.corpus.path("notes", "sheets/001.md").read_text()
    road.corpus.write("notes", "sheets/001.md", text.swapcase())
    marks["sheets/001.md"] = "second"
    night = road.run()
    assert night.opened == night.files["notes"]["read"] == night.files["notes"]["superseded"] == 1


def test_an_index_that_holds_a_document_twice_changes_nothing(road: Road) -> None:
    """Two runs at the same time may each add what is new."""
    road.run()
    (key,) = [key for key in road.store.list("history/") if "/pairs-" not in key]
    table = read_table(road.store, key)
    write_table(road.store, table.slice(0, table.num_rows // 2), key.rsplit("/", 1)[0])
    road.corpus.write("mirror", "nearly-006.md", edited(page(6), 7))
    night = road.run()
    assert road.outcomes(night)["mirror:nearly-006.md"]["reason"] == "near_duplicate"
    fresh = Road(road.corpus, road.folder / "fresh").run()
    assert night.manifest.identity == fresh.manifest.identity


def test_shards_of_another_library_version_are_written_anew(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a version would depend on which library wrote the nights before it."""
    road.run()
    road.corpus.write("notes", "sheets/new.md", page(701))
    with monkeypatch.context() as patched:
        patched.setattr("pyarrow.__version__", "0.0.0")
        upgraded = road.run()
    assert upgraded.manifest.provenance["shards"]["reused"] == 0
