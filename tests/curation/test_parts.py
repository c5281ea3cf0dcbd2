"""Decisions made part by part, in units of any size, are those made over the whole corpus in one table."""

import heapq
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from datasets_pipeline import band_index, census, pair_scores
from datasets_pipeline.decide import DecisionsRef, decide
from datasets_pipeline.dedup import edges
from datasets_pipeline.dedup.edges import Buckets, PairScores, score_stars
from datasets_pipeline.exchange import read_part, workplace, write_parts
from datasets_pipeline.parallel import InProcessPool
from ingot.parquet import read_table
from ingot.storage import Store
from tests.curation.pages import ADDRESS, Corpus, edited, page
from tests.curation.road import SALT, Night, Road
from tests.curation.whole_corpus.decide import Whole
from tests.curation.whole_corpus.decide import decide as decide_whole


def decided(road: Road, night: Night) -> tuple[DecisionsRef, Whole]:
    """What the parts give, and what one table gives, for the snapshot of a night."""
    salt = bytes.fromhex(SALT)
    for key in road.store.list("plans/"):
        road.store.delete(key)
    arguments = (road.store, road.recipe, list(night.looks), InProcessPool())
    return decide(*arguments, salt=salt), decide_whole(*arguments, salt=salt)


def assert_equal(road: Road, night: Night) -> DecisionsRef:
    ref, whole = decided(road, night)
    assert ref.snapshot_digest == whole.snapshot_digest
    parts = [read_table(road.store, f"decisions/{entry.sha256}.parquet") for entry in ref.decisions]
    assert pa.concat_tables(parts).combine_chunks().equals(whole.decisions)
    plan = pa.concat_tables([read_table(road.store, part.key) for part in ref.plan])
    assert plan.combine_chunks().equals(whole.plan)
    assert ref.accounting == whole.accounting
    assert ref.statistics == whole.statistics
    return ref


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a dozen documents, ranges, segments and groups of a few: borders wherever they can be."""
    monkeypatch.setattr(census, "PART_DOCUMENTS", 12)
    monkeypatch.setattr(census, "_SAMPLE_EVERY", 3)
    monkeypatch.setattr(census, "cuts_after", lambda doc_id: doc_id[0] % 4 == 0)
    monkeypatch.setattr(band_index, "_SEGMENT_DOCUMENTS", 7)
    monkeypatch.setattr(band_index, "_KEYS_PER_TASK", 16)
    monkeypatch.setattr(pair_scores, "_SEGMENT_PAIRS", 3)
    monkeypatch.setattr(pair_scores, "_PAIRS_PER_UNIT", 2)
    monkeypatch.setattr(edges.score_stars, "__kwdefaults__", {"max_members": 4})


def test_parts_add_up_to_the_whole_corpus(corpus: Corpus, tmp_path: Path) -> None:
    road = Road(corpus, tmp_path / "road")
    assert_equal(road, road.run())


def test_parts_of_a_dozen_documents_add_up_to_the_whole_corpus(
    corpus: Corpus, tmp_path: Path, small_parts: None
) -> None:
    road = Road(corpus, tmp_path / "road", values={"heldout": {"share": 0.3}})
    ref = assert_equal(road, road.run())
    assert len(ref.plan) > 3


def test_texts_that_edits_make_equal_and_policies_add_up_too(
    made_up: Corpus, tmp_path: Path, small_parts: None
) -> None:
    for number, name in enumerate(("ann", "ben", "cid")):
        letter = page(300) + f"\nWrite to {name}.{number}@salt-quay-trading.org.\n"
        made_up.write("mirror", f"letters/{name}.md", letter)
    for number in range(6):
        made_up.write("notes", f"versions/{number}/list.md", edited(page(400), number, share=0.2))
    made_up.write("mirror", "only.md", ADDRESS)
    values = {
        "heldout": {"share": 0.0},
        "dedup": {"near": {"threshold": 0.7, "newest_version_only": True, "prefer_newest": True}},
        "sources": [
            {**source, "path_pattern": r"^versions/(?P<version>\d+)/(?P<family>.+)$"}
            for source in made_up.recipe["sources"]
        ],
    }
    road = Road(made_up, tmp_path / "road", values=values)
    ref = assert_equal(road, road.run())
    reasons = {name.partition(".")[2] for name in ref.accounting}
    assert {"older_version", "duplicate_after_edit"} <= reasons


def test_rows_come_back_by_part_in_the_order_of_the_units(road: Road) -> None:
    with workplace(road.store, "test") as place:
        for number in range(2):
            table = pa.table({"n": pa.array([10 * number + i for i in range(6)])})
            sizes = write_parts(place, "rows", number, table, np.array([2, 0, 2, 0, 2, 0]), 3)
            assert sizes.tolist() == [3, 0, 3]
        assert read_part(place, "rows", range(2), 0)["n"].to_pylist() == [1, 3, 5, 11, 13, 15]
        assert read_part(place, "rows", range(2), 1).num_rows == 0
        assert read_part(place, "rows", range(2), 2)["n"].to_pylist() == [0, 2, 4, 10, 12, 14]
    assert not list(road.store.find(".tmp/"))


def test_many_small_segments_of_the_index_are_merged(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(band_index, "_MAX_SMALL_SEGMENTS", 3)
    monkeypatch.setattr(pair_scores, "_MAX_SMALL_SEGMENTS", 3)
    for number in range(6):
        road.corpus.write("notes", f"more/{number}.md", page(500 + number))
        road.corpus.write("mirror", f"more/{number}.md", edited(page(500 + number), number))
        night = road.run()
    keys = road.store.list("history/")
    index, pairs = [key for key in keys if "/pairs-" not in key], [key for key in keys if "/pairs-" in key]
    assert 1 <= len(index) <= 4 and 1 <= len(pairs) <= 4
    fresh = Road(road.corpus, road.folder / "fresh").run()
    assert night.manifest.identity == fresh.manifest.identity
    # What was merged holds every document of the corpus, once.
    newest = Store(str(road.folder / "fresh" / "store"))
    (whole,) = [key for key in newest.list("history/") if "/pairs-" not in key]
    rows = pa.concat_tables([read_table(road.store, key) for key in index])
    assert rows.num_rows == rows.group_by(rows.column_names).aggregate([]).num_rows
    ids = set(rows["doc_id"].to_pylist())
    assert ids >= set(read_table(newest, whole)["doc_id"].to_pylist())


def test_a_segment_merged_while_the_index_is_listed_is_not_missed(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = road.run().manifest.identity
    (prefix,) = {key.rsplit("/", 1)[0] for key in road.store.list("history/") if "/pairs-" not in key}
    (whole,) = road.store.list(f"{prefix}/")
    listed = Store.list
    calls = 0

    def torn(store: Store, folder: str) -> list[str]:
        """The third list of the index in a run begins before the merged segment is there, ends after the others."""
        nonlocal calls
        calls += folder == f"{prefix}/"
        return [key for key in listed(store, folder) if key != whole or calls != 3]

    monkeypatch.setattr(Store, "list", torn)
    for key in listed(road.store, "plans/"):
        road.store.delete(key)
    assert road.run().manifest.identity == expected
    assert calls > 3, "the list was torn and asked for again"


def test_more_files_than_may_be_open_are_merged_in_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "_OPEN_FILES", 3)
    lines = [f"{number * 7919 % 211:03d}".encode() for number in range(400)]
    paths = [tmp_path / f"lines-{number}" for number in range(20)]
    for number, path in enumerate(paths):
        path.write_bytes(b"".join(line + b"\n" for line in sorted(lines[number::20])))
    folder = tmp_path / "scratch"
    folder.mkdir()
    merged = census._merged(paths, folder)
    assert len(merged) <= 3
    assert list(heapq.merge(*(census._lines(path) for path in merged))) == sorted(lines)


def test_pairs_of_long_documents_are_compared_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_scores, "_PAIRS_PER_UNIT", 5)
    monkeypatch.setattr(pair_scores, "_HASHES_PER_UNIT", 100)
    num_hashes = np.array([0, 0, 1, 2, 3, 0, 0, 60, 30, 10, 1, 99, 1, 250, 300, 1])
    order = np.arange(len(num_hashes))[::-1]
    pieces = pair_scores._pieces(order, num_hashes)
    assert np.concatenate(pieces).tolist() == order.tolist()
    sizes = [num_hashes[len(order) - 1 - piece] for piece in pieces]
    assert all(len(size) == 1 or (size.sum() <= 100 and len(size) <= 5) for size in sizes)
    assert [len(piece) for piece in pieces] == [5, 5, 2, 1, 1, 1, 1]


def test_stars_do_not_depend_on_how_buckets_come() -> None:
    rng = np.random.default_rng(5)
    member = np.concatenate([np.sort(rng.choice(40, 5, replace=False)) for _ in range(12)])
    parts = [Buckets(np.zeros(5, np.int64), member[5 * i : 5 * i + 5]) for i in range(12)]
    jaccard = rng.random((40, 40))
    found = []
    for max_members in (1, 12, 1000):
        scores = PairScores(40, lambda left, right: jaccard[left, right])
        score_stars(parts, scores, threshold=0.8, max_members=max_members)
        found.append(scores.pairs())
    assert len(found[0]) > 20
    for other in found[1:]:
        assert np.array_equal(found[0].left, other.left) and np.array_equal(found[0].right, other.right)
