"""A git repository as a source: what is read of it, what it states, and what a hostile one cannot do."""

import os
import shutil
import subprocess
import zlib
from collections import Counter
from hashlib import sha1
from pathlib import Path

import pytest
from pydantic import ValidationError

from datasets_pipeline.sources import git, git_objects
from datasets_pipeline.sources.base import ExtractionError, FileEntry
from datasets_pipeline.sources.git_objects import Repository
from ingot.errors import DataError, NotFoundError, RecipeError

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs the program git")

MIT = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software\n"


class Work:
    """A repository with a working tree, and the few commands that tests give it."""

    def __init__(self, folder: Path, *init: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self("init", "-q", "-b", "main", *init)

    def __call__(self, *arguments: str, date: str = "2020-01-02T03:04:05+0100") -> str:
        who = {
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@b",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@b",
        }
        clean = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "GIT_CONFIG_NOSYSTEM": "1"}
        dates = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        command = ["git", "-C", str(self.folder), "-c", "protocol.file.allow=always", *arguments]
        return subprocess.run(
            command, env=clean | who | dates, check=True, capture_output=True, text=True
        ).stdout.strip()

    def put(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def commit(self, files: dict[str, str], *, date: str = "2020-01-02T03:04:05+0100") -> str:
        self.put(files)
        self("add", "-A")
        self("commit", "-q", "--allow-empty", "-m", "change", date=date)
        return self("rev-parse", "HEAD")


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path / "work")


def config(place: Path, **options: object) -> git.Config:
    return git.Config.model_validate({"name": "repo", "uri": str(place), **options})


def listed(place: Path, skipped: Counter[str] | None = None, **options: object) -> dict[str, FileEntry]:
    return {entry.uri: entry for entry in git.list_files(config(place, **options), skipped)}


def texts(place: Path, **options: object) -> dict[str, bytes]:
    chosen = config(place, **options)
    return {entry.uri: git.read_file(chosen, entry).data for entry in git.list_files(chosen)}


def dates(place: Path, **options: object) -> dict[str, str | None]:
    return {uri: entry.attributes.get("stated_date") for uri, entry in listed(place, **options).items()}


def licences(place: Path) -> dict[str, str | None]:
    return {uri: entry.attributes.get("licence") for uri, entry in listed(place).items()}


def test_what_is_committed_is_read_and_not_what_lies_in_the_working_tree(work: Work, tmp_path: Path) -> None:
    work.commit({"a.md": "committed", "docs/b.md": "b", "docs/c.txt": "c"})
    work.put({"a.md": "changed", "new.md": "new"})
    assert texts(work.folder) == {"a.md": b"committed", "docs/b.md": b"b", "docs/c.txt": b"c"}
    work("clone", "-q", "--bare", str(work.folder), str(tmp_path / "bare.git"))
    assert texts(tmp_path / "bare.git", include=("**/*.md",), exclude=("docs/**",)) == {"a.md": b"committed"}


@pytest.mark.parametrize("packed", [False, True])
def test_a_branch_a_tag_and_a_commit_name_their_files(work: Work, packed: bool) -> None:
    first = work.commit({"a.md": "one"})
    work("tag", "-a", "-m", "v", "v1")
    work("branch", "feature/old")
    second = work.commit({"a.md": "two"})
    if packed:
        work("gc", "-q")
    expected = {"HEAD": "two", "main": "two", "refs/heads/main": "two", second: "two", second[:10]: "two"}
    expected |= {"v1": "one", "feature/old": "one", first: "one"}
    for revision, text in expected.items():
        assert texts(work.folder, revision=revision) == {"a.md": text.encode()}, revision
    with pytest.raises(NotFoundError, match="'v2' is no commit"):
        listed(work.folder, revision="v2")
    blob = work("rev-parse", "HEAD:a.md")
    with pytest.raises(NotFoundError):
        listed(work.folder, revision=blob)


def test_two_commits_with_the_same_files_give_the_same_entries(work: Work) -> None:
    first = work.commit({"a.md": "one", "b.md": "two"})
    second = work.commit({}, date="2024-05-06T00:00:00+0000")
    assert first != second
    assert listed(work.folder, revision=first) == listed(work.folder, revision=second)


def test_a_changed_file_has_another_mark_and_its_neighbours_have_the_same(work: Work) -> None:
    work.commit({"a.md": "one", "b.md": "two"})
    before = listed(work.folder)
    work.commit({"a.md": "three"})
    after = listed(work.folder)
    assert before["b.md"] == after["b.md"]
    assert before["a.md"].etag != after["a.md"].etag
    assert before["a.md"].mtime_ns == after["a.md"].mtime_ns == 0
    # The older blob stays readable, so a branch that moves between listing and reading changes nothing.
    assert git.read_file(config(work.folder), before["a.md"]).data == b"one"


def test_the_date_is_that_of_the_last_commit_that_touched_the_file_as_its_author_wrote_it(work: Work) -> None:
    work.commit({"a.md": "1", "b.md": "1", "odd\nname.md": "1"}, date="2019-12-31T23:30:00-0800")
    work.commit({"b.md": "2"}, date="2021-03-04T12:00:00+0000")
    assert dates(work.folder) == {"a.md": "2019-12-31", "b.md": "2021-03-04", "odd\nname.md": "2019-12-31"}
    assert dates(work.folder, commit_dates=False) == {"a.md": None, "b.md": None, "odd\nname.md": None}


def test_a_merge_dates_only_what_it_changed_itself(work: Work) -> None:
    work.commit({"a.md": "1\n", "both.md": "1\n", "side.md": "1\n"}, date="2020-01-01T12:00:00+0000")
    work("checkout", "-q", "-b", "side")
    work.commit({"side.md": "2\n", "both.md": "side\n"}, date="2020-02-02T12:00:00+0000")
    work("checkout", "-q", "main")
    work.commit({"a.md": "2\n", "both.md": "main\n"}, date="2020-03-03T12:00:00+0000")
    with pytest.raises(subprocess.CalledProcessError):
        work("merge", "side")
    work.commit({"both.md": "resolved\n"}, date="2020-04-04T12:00:00+0000")
    assert len(work("rev-list", "--parents", "-1", "HEAD").split()) == 3
    assert dates(work.folder) == {"a.md": "2020-03-03", "both.md": "2020-04-04", "side.md": "2020-02-02"}


def test_a_shallow_clone_dates_only_what_it_knows(work: Work, tmp_path: Path) -> None:
    work.commit({"a.md": "1", "b.md": "1"}, date="2020-01-01T12:00:00+0000")
    work.commit({"c.md": "1"}, date="2020-02-02T12:00:00+0000")
    work.commit({"b.md": "2"}, date="2020-03-03T12:00:00+0000")
    work("clone", "-q", "--depth", "2", f"file://{work.folder}", str(tmp_path / "shallow"))
    assert dates(tmp_path / "shallow") == {"a.md": None, "b.md": "2020-03-03", "c.md": None}
    assert texts(tmp_path / "shallow") == {"a.md": b"1", "b.md": b"2", "c.md": b"1"}


def test_a_repository_with_sha256_is_read_too(tmp_path: Path) -> None:
    work = Work(tmp_path / "work", "--object-format=sha256")
    work.commit({"a.md": "one"})
    assert texts(work.folder) == {"a.md": b"one"}
    assert dates(work.folder) == {"a.md": "2020-01-02"}


def test_a_file_has_the_licence_of_the_nearest_licence_file_unless_it_states_its_own(work: Work) -> None:
    apache = "Apache License\nVersion 2.0, January 2004\n"
    work.commit(
        {
            "LICENSE": MIT,
            "a.md": "# A",
            "vendor/COPYING.txt": "GNU General Public License Version 3",
            "vendor/deep/b.md": "b",
            "dual/LICENSE-MIT": MIT,
            "dual/LICENSE-APACHE": apache,
            "dual/c.md": "c",
            "odd/licence.md": "You may read this on Sundays.",
            "odd/d.md": "d",
            "reuse/e.png": "e",
            "reuse/e.png.license": "SPDX-License-Identifier: CC-BY-4.0\n",
            "own/f.py": "# SPDX-License-Identifier: BSD-2-Clause\nx = 1\n",
            "src/license.py": "not a licence",
        }
    )
    assert licences(work.folder) == {
        "LICENSE": "MIT",
        "a.md": "MIT",
        "vendor/COPYING.txt": "GPL-3.0-only",
        "vendor/deep/b.md": "GPL-3.0-only",
        "dual/LICENSE-MIT": "Apache-2.0 AND MIT",
        "dual/LICENSE-APACHE": "Apache-2.0 AND MIT",
        "dual/c.md": "Apache-2.0 AND MIT",
        "odd/licence.md": "unknown",
        "odd/d.md": "unknown",
        "reuse/e.png": "CC-BY-4.0",
        "own/f.py": "MIT",
        "src/license.py": "MIT",
    }
    entries = listed(work.folder)
    assert entries["a.md"].attributes["licence_evidence"] == "licence file LICENSE"
    chosen = config(work.folder)
    (document,) = git.extract_file(
        chosen, entries["own/f.py"], git.read_file(chosen, entries["own/f.py"]).data
    ).documents
    assert (document.licence, document.licence_evidence) == ("BSD-2-Clause", "SPDX-License-Identifier")
    (document,) = git.extract_file(chosen, entries["a.md"], b"# A").documents
    assert (document.licence, document.stated_date) == ("MIT", "2020-01-02")


def test_a_licence_that_is_not_recognised_leaves_the_word_to_the_recipe(work: Work) -> None:
    work.commit({"LICENSE": "Ask us.", "a.md": "a"})
    assert licences(work.folder) == {"LICENSE": None, "a.md": None}


def test_a_folder_of_licence_texts_states_what_its_names_say(work: Work) -> None:
    work.commit({"LICENSES/CC0-1.0.txt": "text", "LICENSES/MIT.txt": "text", "a.md": "a"})
    assert licences(work.folder)["a.md"] == "CC0-1.0 AND MIT"


def test_links_and_submodules_are_passed_over_and_counted(work: Work, tmp_path: Path) -> None:
    other = Work(tmp_path / "other")
    other.commit({"inside.md": "x"})
    (work.folder / "passwd").symlink_to("/etc/passwd")
    (work.folder / "loop").symlink_to(".")
    work("submodule", "-q", "add", str(other.folder), "sub")
    work.commit({"a.md": "a"})
    skipped: Counter[str] = Counter()
    assert sorted(listed(work.folder, skipped)) == [".gitmodules", "a.md"]
    assert skipped == {"link": 2, "submodule": 1}


def test_a_pointer_of_git_lfs_is_refused_with_a_remedy(work: Work) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"
    work.commit({"big.bin": pointer, "about.md": pointer + "words " * 300})
    entries, chosen = listed(work.folder), config(work.folder)
    with pytest.raises(ExtractionError, match="git LFS pointer") as refused:
        git.extract_file(chosen, entries["big.bin"], git.read_file(chosen, entries["big.bin"]).data)
    assert refused.value.reason == "content_elsewhere"
    assert git.extract_file(chosen, entries["about.md"], git.read_file(chosen, entries["about.md"]).data).documents


def test_names_that_are_not_text_are_escaped_and_files_beyond_the_limit_are_refused(work: Work) -> None:
    with open(os.fsencode(work.folder) + b"/caf\xe9 1.md", "wb") as file:
        file.write(b"words")
    work.commit({"tab\tand\nline.md": "x" * 100})
    assert texts(work.folder) == {"caf%E9 1.md": b"words", "tab\tand\nline.md": b"x" * 100}
    large = listed(work.folder)["tab\tand\nline.md"]
    with pytest.raises(ExtractionError) as refused:
        git.read_file(config(work.folder, max_file_bytes=99), large)
    assert refused.value.reason == "too_large"
    with pytest.raises(ExtractionError) as refused:  # a listing that lies about the size
        git.read_file(config(work.folder, max_file_bytes=99), FileEntry("a.md", 1, 0, etag=large.etag))
    assert refused.value.reason == "too_large"
    assert git.read_file(config(work.folder), large).data == b"x" * 100


def put_object(work: Work, kind: str, content: bytes) -> str:
    """Store an object that git itself would refuse to make."""
    data = f"{kind} {len(content)}".encode() + b"\0" + content
    oid = sha1(data).hexdigest()
    path = work.folder / ".git/objects" / oid[:2] / oid[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(zlib.compress(data))
    return oid


def commit_tree(work: Work, tree: str) -> None:
    content = f"tree {tree}\nauthor a <a@b> 1577934245 +0000\ncommitter a <a@b> 1577934245 +0000\n\nodd\n"
    (work.folder / ".git/refs/heads/main").write_text(put_object(work, "commit", content.encode()) + "\n")


@pytest.mark.parametrize("name", [b"..", b"../../escape.md", b"/etc/passwd", b".", b"a//b"])
def test_a_tree_with_a_name_that_leads_out_is_passed_over(work: Work, name: bytes) -> None:
    blob = put_object(work, "blob", b"words")
    rows = sorted([b"100644 good.md\0", b"100644 " + name + b"\0"])
    commit_tree(work, put_object(work, "tree", b"".join(row + bytes.fromhex(blob) for row in rows)))
    skipped: Counter[str] = Counter()
    assert sorted(listed(work.folder, skipped)) == ["good.md"]
    assert skipped == {"invalid_name": 1}


def test_a_tree_that_holds_itself_ten_times_over_is_refused(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_objects, "_MAX_FILES", 20_000)
    oid, mode = put_object(work, "blob", b"words"), b"100644"
    for _ in range(8):
        oid = put_object(work, "tree", b"".join(mode + b" f%d\0" % n + bytes.fromhex(oid) for n in range(10)))
        mode = b"40000"
    commit_tree(work, oid)
    with pytest.raises(DataError, match="20,000 files"):
        listed(work.folder)


def test_damaged_and_missing_objects_cost_their_own_file(work: Work) -> None:
    work.commit({"a.md": "one", "b.md": "two", "c.md": "three"})
    objects = work.folder / ".git/objects"
    a, b = (work("rev-parse", f"HEAD:{name}") for name in ("a.md", "b.md"))
    entries, chosen = listed(work.folder), config(work.folder)
    (objects / a[:2] / a[2:]).unlink()
    broken = objects / b[:2] / b[2:]
    broken.chmod(0o600)
    broken.write_bytes(zlib.compress(b"blob 3\0TWO"))
    for name in ("a.md", "b.md"):
        with pytest.raises(ExtractionError) as refused:
            git.read_file(chosen, entries[name])
        assert refused.value.reason == "unreadable"
    assert git.read_file(chosen, entries["c.md"]).data == b"three"


def test_a_repository_that_cannot_be_walked_is_told(work: Work) -> None:
    first = work.commit({"a.md": "one"})
    work.commit({"a.md": "two", "b.md": "two"})
    (work.folder / ".git/objects" / first[:2] / first[2:]).unlink()
    with pytest.raises(DataError, match="git log cannot read"):
        listed(work.folder)
    assert texts(work.folder, commit_dates=False) == {"a.md": b"two", "b.md": b"two"}


def test_nothing_of_a_hostile_repository_is_run(work: Work, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    script = tmp_path / "trap.sh"
    script.write_text(f"#!/bin/sh\ntouch {proof}\ncat\n")
    script.chmod(0o755)
    attributes = "* filter=trap diff=trap merge=trap\n"
    work.commit({"a.md": "one", "b.md": "two", ".gitattributes": attributes, ".mailmap": "x"})
    work.commit({"a.md": "three"})
    places = """core.fsmonitor core.sshCommand core.pager core.editor core.gitProxy core.askPass diff.external
        core.alternateRefsCommand diff.trap.command diff.trap.textconv filter.trap.smudge filter.trap.clean
        filter.trap.process gpg.program uploadpack.packObjectsHook credential.helper pager.log pager.ls-tree
        alias.log alias.cat-file sequence.editor"""
    for name in places.split():
        work("config", name, ("!" if name.startswith("alias") else "") + str(script))
    work("config", "log.showSignature", "true")
    work("config", "core.hooksPath", str(tmp_path))
    work("config", "include.path", "/dev/zero")
    for hook in ("post-checkout", "post-index-change", "reference-transaction", "pre-auto-gc", "fsmonitor-watchman"):
        shutil.copy(script, tmp_path / hook)
    with open(work.folder / ".git/config", "a") as file:
        file.write("[core\nthis line is no configuration")
    expected = {".gitattributes": attributes.encode(), ".mailmap": b"x", "a.md": b"three", "b.md": b"two"}
    assert texts(work.folder) == expected
    assert not proof.exists()


def test_replacement_refs_grafts_and_missing_objects_of_a_promisor_are_not_followed(work: Work, tmp_path: Path) -> None:
    work.commit({"a.md": "one", "b.md": "two"})
    a, b = (work("rev-parse", f"HEAD:{name}") for name in ("a.md", "b.md"))
    work("replace", a, b)
    (work.folder / ".git/info/grafts").write_text(f"{work('rev-parse', 'HEAD')} {'0' * 40}\n")
    assert texts(work.folder)["a.md"] == b"one"
    proof = tmp_path / "proof"
    (work.folder / ".git/objects" / b[:2] / b[2:]).unlink()
    for name, value in (
        ("core.repositoryFormatVersion", "1"), ("extensions.partialClone", "far"), ("remote.far.promisor", "true"),
        ("remote.far.url", f"ext::sh -c touch% {proof}"), ("protocol.ext.allow", "always"),
    ):  # fmt: skip
        work("config", name, value)
    entries = listed(work.folder)
    with pytest.raises(ExtractionError) as refused:
        git.read_file(config(work.folder), entries["b.md"])
    assert refused.value.reason == "unreadable"
    assert not proof.exists()


def test_settings_of_this_user_do_not_reach_the_source(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    work.commit({"a.md": "one"})
    for name, value in (
        ("GIT_DIR", "/nowhere"), ("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", "core.pager"),
        ("GIT_CONFIG_VALUE_0", "x"),
        ("GIT_ALTERNATE_OBJECT_DIRECTORIES", "/nowhere"), ("GIT_EXTERNAL_DIFF", "false"), ("GIT_TRACE", "/nowhere/x"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    assert list(listed(work.folder)) == ["a.md"]


def test_objects_that_lie_in_another_repository_are_refused(work: Work, tmp_path: Path) -> None:
    work.commit({"a.md": "secret"})
    work("clone", "-q", "--shared", str(work.folder), str(tmp_path / "shared"))
    work("worktree", "add", "-q", str(tmp_path / "linked"))
    linked_objects, linked_git, linked_file = (Work(tmp_path / name) for name in ("objects", "git", "file"))
    shutil.rmtree(linked_objects.folder / ".git/objects")
    (linked_objects.folder / ".git/objects").symlink_to(work.folder / ".git/objects")
    shutil.rmtree(linked_git.folder / ".git")
    (linked_git.folder / ".git").symlink_to(work.folder / ".git")
    linked_file.commit({"b.md": "b"})
    oid = work("rev-parse", "HEAD:a.md")
    (linked_file.folder / ".git/objects" / oid[:2]).mkdir(exist_ok=True)
    (linked_file.folder / ".git/objects" / oid[:2] / oid[2:]).symlink_to(
        work.folder / ".git/objects" / oid[:2] / oid[2:]
    )
    (tmp_path / "empty").mkdir()
    for name, reason in {
        "shared": "alternates", "linked": "main repository", "objects": "no git repository", "git": "main repository",
        "file": "no file, such as a link", "empty": "no git repository",
    }.items():  # fmt: skip
        with pytest.raises(DataError, match=reason):
            listed(tmp_path / name)
    # Alternates that appear after the check lead nowhere either: git never sees that folder.
    with Repository(str(linked_file.folder.parent / "work")) as repository:
        (work.folder / ".git/objects/info/alternates").write_text(str(tmp_path / "nowhere"))
        assert [file.path for file in repository.files(repository.resolve("HEAD"))] == [b"a.md"]


@pytest.mark.parametrize(
    "head", ["ref: ../../secret", "ref: refs/../../secret", "ref: refs/heads/a", "\0\0", "x" * 9999]
)
def test_a_head_that_leads_nowhere_is_told(work: Work, head: str) -> None:
    work.commit({"a.md": "one"})
    (work.folder.parent / "secret").write_text(work("rev-parse", "HEAD"))
    (work.folder / ".git/refs/heads/a").write_text("ref: refs/heads/a")  # round and round
    (work.folder / ".git/HEAD").write_text(head)
    with pytest.raises(NotFoundError, match="is no commit"):
        listed(work.folder)
    assert list(listed(work.folder, revision="main")) == ["a.md"]


@pytest.mark.parametrize("revision", ["--upload-pack=x", "-x", "a b", "main~1", "main:a.md", "HEAD^", "@{-1}", ""])
def test_a_revision_that_is_no_plain_name_is_refused(tmp_path: Path, revision: str) -> None:
    with pytest.raises(ValidationError):
        config(tmp_path, revision=revision)


def test_without_git_and_for_a_remote_place_the_remedy_is_told(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match="clone it here"):
        list(git.list_files(git.Config(name="repo", uri="s3://bucket/x.git")))
    with pytest.raises(NotFoundError, match="does not exist"):
        listed(work.folder / "nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RecipeError, match="apt install git"):
        listed(work.folder)


def test_the_reading_process_is_replaced_when_it_dies_and_leaves_no_folder(work: Work) -> None:
    work.commit({"a.md": "one"})
    oid = work("rev-parse", "HEAD:a.md")
    with Repository(str(work.folder)) as repository:
        assert repository.blob(oid, 100) == b"one"
        assert repository._batch is not None
        repository._batch.kill()
        repository._batch.wait()
        assert repository.blob(oid, 100) == b"one"
        private = repository._folder
        assert private.is_dir()
    assert not private.exists()


def test_what_is_committed_while_the_repository_is_open_can_be_read(work: Work) -> None:
    work.commit({"a.md": "one"})
    with Repository(str(work.folder)) as repository:
        assert repository.blob(work("rev-parse", "HEAD:a.md"), 100) == b"one"
        for number in range(12):
            work.put({f"{number}.md": f"text {number}"})
            oid = work("hash-object", "-w", f"{number}.md")
            assert repository.blob(oid, 100) == f"text {number}".encode()
        work("add", "-A")
        work("commit", "-q", "-m", "all")
        work("repack", "-a", "-d", "-q")
        assert repository.blob(work("rev-parse", "HEAD:7.md"), 100) == b"text 7"
