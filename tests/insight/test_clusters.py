"""Clusters of near-duplicates: ids and numbers for all, texts only in the report that the ledger records."""

import json
import re
import stat
from pathlib import Path

import pytest

from datasets_pipeline.insight.clusters import cluster_of, list_clusters
from ingot import ledger
from ingot.errors import NotFoundError
from interface.cli import main
from tests.curation.pages import ADDRESS, edited, page
from tests.curation.road import Road, small_road

SECRET_WORD = "zephyrquay"


@pytest.fixture
def road(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Road:
    """Two clusters, of four and of two, and pages that are in none."""
    long = page(1, sentences=40) + f"\nWrite to {ADDRESS}.\n"
    pages = {"a.md": long, "b.md": edited(long, 1), "c.md": edited(long, 2), "n.md": page(7)}
    other = {"d.md": edited(long, 3).replace("harbour", SECRET_WORD, 1), "e.md": page(8), "f.md": edited(page(8), 4)}
    made = small_road(tmp_path, {"wiki": pages, "mirror": other}, rules=[{"rule": "pii"}])
    monkeypatch.setenv("INGOT_STORE", made.store.root)
    monkeypatch.setenv("INGOT_HOME", str(tmp_path / "home"))
    return made


def test_every_dropped_copy_is_in_the_cluster_of_the_one_it_yielded_to(road: Road) -> None:
    night = road.run()
    answer = list_clusters(road.store, night.manifest.identity, most=10)
    dropped = [row for row in road.decisions(night) if row["final"] and row["rule"] == "dedup.near"]
    assert answer.num_dropped == len(dropped) == 4 and answer.num_clusters == 2 and answer.sizes == {4: 1, 2: 1}
    first, second = answer.largest
    assert (first.size, second.size) == (4, 2)
    assert first.sources == {"mirror": 1, "wiki": 3} and first.reasons == {"near_duplicate": 3}
    scores = [row["score"] for row in dropped if row["other_doc_id"].hex() == first.representative.doc_id]
    assert first.min_jaccard == round(min(scores), 4) and first.mean_jaccard == round(sum(scores) / 3, 4)
    members = cluster_of(road.store, night.manifest.identity, first.representative.doc_id)
    assert [m.jaccard for m in members] == [None, *sorted(scores, reverse=True)] and members[0].reason is None
    # Any member leads to the same cluster.
    assert cluster_of(road.store, night.manifest.identity, members[-1].doc_id) == members
    only = list_clusters(road.store, night.manifest.identity, most=10, source="mirror")
    assert only.num_clusters == 2
    assert list_clusters(road.store, night.manifest.identity, most=1).largest == [first]


def test_a_document_in_no_cluster_and_one_that_is_not_there_are_told_apart(road: Road) -> None:
    night = road.run()
    alone = next(row for row in road.decisions(night) if row["final"] and row["uri"] == "n.md")
    with pytest.raises(NotFoundError, match="is in no cluster"):
        cluster_of(road.store, night.manifest.identity, alone["doc_id"].hex())
    with pytest.raises(NotFoundError, match="is not in this version"):
        cluster_of(road.store, night.manifest.identity, "ab" * 16)
    with pytest.raises(NotFoundError, match="is not in this version"):
        cluster_of(road.store, night.manifest.identity, "n.md")


def test_a_version_without_clusters_says_so(tmp_path: Path) -> None:
    night = (alone := small_road(tmp_path, {"wiki": {"a.md": page(1)}})).run()
    answer = list_clusters(alone.store, night.manifest.identity, most=5)
    assert (answer.num_clusters, answer.num_dropped, answer.largest) == (0, 0, [])
    assert list_clusters(alone.store, night.manifest.identity, most=5, source="wiki").num_clusters == 0


def test_texts_are_only_in_the_report_which_is_private_recorded_and_redacted(
    road: Road, capsys: pytest.CaptureFixture[str]
) -> None:
    road.run()
    assert main(["clusters", "harbour", "--json"]) == 0
    printed = capsys.readouterr().out
    leader = json.loads(printed)["largest"][0]["representative"]["doc_id"]
    assert main(["clusters", "harbour@1", leader]) == 0
    printed += capsys.readouterr().out
    assert leader in printed and "ingot report harbour@1 --cluster" in printed
    assert SECRET_WORD not in printed and "harbour.office" not in printed
    assert main(["clusters", "harbour", "--source", "elsewhere"]) == 4
    assert "harbour@1 has no source 'elsewhere'; its sources: " in capsys.readouterr().err
    assert main(["report", "harbour", "--cluster", leader]) == 2  # not without saying that one means to read text
    capsys.readouterr()
    assert main(["report", "harbour", "--cluster", leader, "--with-text"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    text = path.read_text()
    assert re.search(f"<(ins|del)>[^<]*{SECRET_WORD}", text) and "<ins>amendment" in text
    assert ADDRESS not in text and "&lt;EMAIL&gt;" in text
    (record,) = [entry for entry in ledger.read(road.store) if entry.verb == "read_text"]
    assert record.subject == "harbour@1" and record.details == {"cluster": leader}


@pytest.mark.parametrize(
    "words", [["clusters", "a", "--limit", "-1"], ["diff", "a", "b", "--limit", "x"], ["plan", "r", "--share", "2"],
              ["plan", "r", "--files", "-5"]],
)  # fmt: skip
def test_numbers_that_make_no_sense_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    told = capsys.readouterr().err
    assert f"argument {words[-2]}: {words[-1]!r} is no" in told
