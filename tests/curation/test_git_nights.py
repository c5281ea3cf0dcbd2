"""A git repository over several nights: what is the same blob is not opened, and the commit shapes no byte."""

import shutil
from pathlib import Path

import pytest

from tests.curation.pages import Corpus, page, recipe_of
from tests.curation.road import Road
from tests.sources.test_git import Work

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs the program git")


def test_only_what_a_commit_changed_is_opened_and_an_empty_commit_is_the_same_version(tmp_path: Path) -> None:
    work = Work(tmp_path / "documents" / "repo")
    work.commit({"LICENSE.txt": "CC0 1.0 Universal", **{f"docs/{n}.md": page(n) for n in range(6)}})
    recipe = recipe_of(
        tmp_path / "documents",
        [{"source": "git", "name": "repo", "include": ["docs/**"]}],
        rules=[],
        heldout={"share": 0},
    )
    road = Road(Corpus(tmp_path / "documents", recipe), tmp_path / "road")
    first = road.run()
    assert (first.opened, len(road.outcomes(first))) == (6, 6)
    assert {row["licence"] for row in road.shard_rows(first)} == {"CC0-1.0"}
    work.commit({}, date="2024-05-06T00:00:00+0000")
    second = road.run()
    assert (second.opened, second.ref.version, second.digests) == (0, 1, first.digests)
    work.put({"docs/0.md": "not committed"})
    assert road.run().opened == 0
    work.commit({"docs/1.md": page(20)}, date="2024-06-07T00:00:00+0000")
    work("rm", "-q", "docs/2.md")
    work.commit({})
    third = road.run()
    assert (third.opened, third.files["repo"]["gone"], third.files["repo"]["superseded"]) == (2, 1, 2)  # 0.md as well
    # The same files in another clone: another place is looked at anew, the bytes are the same.
    work("clone", "-q", "--bare", str(work.folder), str(tmp_path / "clone.git"))
    road.values["sources"] = [{**road.corpus.recipe["sources"][0], "uri": str(tmp_path / "clone.git")}]
    fourth = road.run()
    assert (fourth.opened, fourth.ref.version, fourth.digests) == (5, 2, third.digests)
