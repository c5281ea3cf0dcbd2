"""A folder as a source: what is listed, what is read, and what is refused."""

import os
import socket
import time
from collections import Counter

import pytest
from pydantic import ValidationError

from datasets_pipeline.sources import files, folder, paths
from datasets_pipeline.sources.base import REASONS, ExtractionError, FileEntry
from datasets_pipeline.sources.globs import is_included
from ingot.errors import NotFoundError, RecipeError


def config(root, **options) -> folder.Config:
    return folder.Config(name="wiki", uri=str(root), **options)


def uris(root, **options) -> list[str]:
    return [entry.uri for entry in folder.list_files(config(root, **options))]


def write(root, *relative: str, data: bytes = b"words") -> None:
    for name in relative:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("**", ["a", "a/b/c.md", ".hidden"], []),
        ("**/*.md", ["a.md", "x/a.md", "x/y/a.md"], ["a.mdx", "a.MD", "md"]),
        ("*.md", ["a.md"], ["x/a.md"]),
        ("docs/**", ["docs/a", "docs/x/y"], ["docs", "docs2/a", "x/docs/a"]),
        ("docs/", ["docs/a", "docs/x/y"], ["docs"]),
        ("docs/**/*.md", ["docs/a.md", "docs/x/y/a.md"], ["a.md", "docs/a.txt"]),
        ("**/test/**", ["test/a", "x/test/y/a"], ["x/tests/a", "test"]),
        ("v?/[a-c]*", ["v1/abc", "v2/c"], ["v10/a", "v1/d", "v1/a/b"]),
        ("[!.]*", ["a"], [".git"]),
        ("a+(b).md", ["a+(b).md"], ["aab.md"]),
        ("**/**/a", ["a", "x/y/a"], ["x/b"]),
        ("x/**/**", ["x/a", "x/a/b"], ["x"]),
        ("foo**bar", ["foobar", "foo.bar"], ["foo/bar"]),
        ("a[[]b", ["a[b"], ["ab"]),
        ("é.md", ["é.md"], ["e.md"]),
    ],
)
def test_a_glob_matches_whole_relative_paths(pattern, matching, other):
    assert [path for path in matching + other if is_included(path, [pattern], [])] == matching


def test_exclude_wins_over_include():
    assert is_included("a/b.md", ["**/*.md"], ["x/**"])
    assert not is_included("x/b.md", ["**/*.md"], ["x/**"])


@pytest.mark.parametrize("pattern", ["", "/etc/*", "../*", "a/../b", "a[b"])
def test_a_glob_that_cannot_match_is_refused(pattern):
    with pytest.raises(RecipeError, match="glob"):
        is_included("a", [pattern], [])


def test_files_are_listed_sorted_with_size_and_time(tmp_path):
    write(tmp_path, "b.md", "a/z.md", "a.md", "c/.git/config", ".git/HEAD")
    entries = list(folder.list_files(config(tmp_path)))
    assert [entry.uri for entry in entries] == ["a.md", "a/z.md", "b.md"]
    assert all(entry.size == 5 and entry.mtime_ns for entry in entries)


def test_links_pipes_and_sockets_are_counted_and_not_read(tmp_path):
    root = tmp_path / "root"
    write(root, "good.md")
    write(tmp_path, "outside/secret.md")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "file.md").symlink_to(tmp_path / "outside/secret.md")
    (root / "loop").symlink_to(root)
    os.mkfifo(root / "pipe.md")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "socket.md"))
        skipped: Counter[str] = Counter()
        assert [entry.uri for entry in folder.list_files(config(root), skipped)] == ["good.md"]
    assert skipped == {"link": 3, "not_regular": 2}


@pytest.mark.parametrize("swapped", ["file", "folder", "pipe"])
def test_what_is_swapped_after_the_listing_is_not_followed(tmp_path, swapped):
    root, outside = tmp_path / "root", tmp_path / "outside"
    write(root, "a/page.md")
    write(outside, "page.md", data=b"secret")
    (entry,) = folder.list_files(config(root))
    (root / "a/page.md").unlink()
    if swapped == "file":
        (root / "a/page.md").symlink_to(outside / "page.md")
    elif swapped == "folder":
        (root / "a").rmdir()
        (root / "a").symlink_to(outside)
    else:
        os.mkfifo(root / "a/page.md")
    with pytest.raises(ExtractionError) as refused:
        folder.read_file(config(root), entry)
    assert refused.value.reason == "unreadable"


@pytest.mark.parametrize(
    "uri", ["../outside.md", "/etc/passwd", "a/../../outside.md", "", "a\x00b", "%2e%2e/outside.md"]
)
def test_a_path_that_leaves_the_root_is_not_read(tmp_path, uri):
    root = tmp_path / "root"
    root.mkdir()
    write(tmp_path, "outside.md", data=b"secret")
    with pytest.raises(ExtractionError) as refused:
        folder.read_file(config(root), FileEntry(uri, 6))
    assert refused.value.reason == "unreadable"


def test_a_vanished_file_is_unreadable_and_a_large_one_is_too_large(tmp_path):
    write(tmp_path, "a.md", data=b"x" * 100)
    with pytest.raises(ExtractionError) as vanished:
        folder.read_file(config(tmp_path), FileEntry("b.md", 1))
    (entry,) = folder.list_files(config(tmp_path))
    assert folder.read_file(config(tmp_path, max_file_bytes=100), entry).data == b"x" * 100
    with pytest.raises(ExtractionError) as large:
        folder.read_file(config(tmp_path, max_file_bytes=99), entry)
    assert (vanished.value.reason, large.value.reason) == ("unreadable", "too_large")


def test_a_name_that_is_not_utf8_is_escaped_and_can_be_read(tmp_path):
    with open(os.fsencode(tmp_path) + b"/caf\xe9 1.md", "wb") as file:
        file.write(b"words")
    (entry,) = folder.list_files(config(tmp_path))
    assert entry.uri == "caf%E9 1.md"
    assert folder.read_file(config(tmp_path), entry).data == b"words"


def test_a_single_file_is_a_source_too(tmp_path):
    write(tmp_path, "one.md", "two.md")
    (entry,) = folder.list_files(config(tmp_path / "one.md"))
    assert entry.uri == "one.md"
    assert folder.read_file(config(tmp_path / "one.md"), entry).data == b"words"


def test_a_missing_folder_is_told_and_an_empty_one_lists_nothing(tmp_path):
    with pytest.raises(NotFoundError, match="does not exist; check `uri`"):
        uris(tmp_path / "nowhere")
    assert uris(tmp_path) == []


@pytest.mark.parametrize("uri", ["s3://user:hunter2@bucket/x", "https://h/x?token=hunter2", "sftp://u:hunter2@h/x"])
def test_a_uri_with_a_password_is_refused_and_not_repeated(uri):
    with pytest.raises(ValidationError) as refused:
        folder.Config(name="a", uri=uri)
    assert "credentials: NAME" in str(refused.value) and "hunter2" not in str(refused.value)


@pytest.mark.parametrize("uri", ["https://example.org/x", "zip::file:///a.zip", "git://a/b", "zip://a::s3://b"])
def test_a_uri_of_a_kind_no_source_reads_is_refused(uri):
    with pytest.raises(RecipeError, match="known: a local path"):
        uris(uri)


def test_a_file_url_is_a_local_path(tmp_path):
    write(tmp_path, "a b.md")
    assert uris(f"file://{str(tmp_path).replace(' ', '%20')}") == ["a b.md"]


def test_an_fsspec_url_lists_and_reads_like_a_folder():
    import fsspec

    memory = fsspec.filesystem("memory")
    for name in ("/ingot-docs/b.md", "/ingot-docs/a/c.md", "/ingot-docs/x.bin", "/ingot-docs-other/d.md"):
        memory.pipe_file(name, b"# Words of " + name.encode())
    try:
        remote = config("memory://ingot-docs", include=("**/*.md",))
        entries = list(folder.list_files(remote))
        assert [entry.uri for entry in entries] == ["a/c.md", "b.md"]
        assert entries[0].size == len("# Words of /ingot-docs/a/c.md") and entries[0].mtime_ns
        (document,) = folder.extract_file(remote, entries[0], folder.read_file(remote, entries[0]).data).documents
        assert document.text == "# Words of /ingot-docs/a/c.md"
        with pytest.raises(ExtractionError):
            folder.read_file(remote, FileEntry("gone.md", 1))
        with pytest.raises(NotFoundError):
            list(folder.list_files(config("memory://nowhere")))
    finally:
        memory.rm("/ingot-docs", recursive=True)
        memory.rm("/ingot-docs-other", recursive=True)


def test_the_path_states_family_version_and_language(tmp_path):
    write(tmp_path, "pt-br/v1.2/guide/a.md", "readme.md")
    pattern = r"^(?P<language>[a-z-]{2,5})/(?P<version>v[^/]+)/(?P<family>.+)$"
    stated = config(tmp_path, path_pattern=pattern)
    first, second = folder.list_files(stated)
    assert first.attributes == {"language": "pt", "version": "v1.2", "family": "guide/a.md"}
    assert second.attributes == {}
    (document,) = folder.extract_file(stated, first, b"words").documents
    assert (document.language, document.version, document.family) == ("pt", "v1.2", "guide/a.md")


@pytest.mark.parametrize("pattern", ["(", "no groups", "(?P<colour>.)", "(?!en)(?P<family>.)"])
def test_a_path_pattern_without_known_groups_is_refused(tmp_path, pattern):
    with pytest.raises(ValidationError, match="path_pattern"):
        config(tmp_path, path_pattern=pattern)


def test_globs_take_linear_time_and_ranges_do_not_cross_folders():
    began = time.monotonic()
    assert not is_included("x/" + "-" * 2000, ("**/*-*-*-*.html",), ())
    assert time.monotonic() - began < 2
    assert is_included("a0b", ("a[.-9]b",), ()) and not is_included("a/b", ("a[.-9]b", "a[!x]b"), ())
    assert is_included("a]b", ("a[]]b",), ()) and is_included("a-b", ("a[a-]b",), ())


def test_what_is_deleted_while_a_folder_is_listed_is_gone_and_no_fault(tmp_path, monkeypatch):
    write(tmp_path, "a.md", "b.md", "c/d.md")
    kind = files._kind

    def deleting(child, device):
        if child.name == "b.md":
            os.unlink(child.path)
        return kind(child, device)

    monkeypatch.setattr(files, "_kind", deleting)
    skipped = Counter()
    found = [entry.uri for entry in folder.list_files(config(tmp_path), skipped)]
    assert found == ["a.md", "c/d.md"] and not skipped["unreadable"]


def test_a_pattern_takes_linear_time_whatever_the_path_is(tmp_path):
    began = time.monotonic()
    pattern = config(tmp_path, path_pattern=r"^(?P<family>(\w+)+)$").path_pattern
    assert paths.stated_by_path(pattern, "a" * 200 + "!") == {}  # 2^200 steps by backtracking
    assert time.monotonic() - began < 2


def test_a_document_states_more_than_its_path(tmp_path):
    entry = FileEntry("a.md", 1, attributes={"language": "fr", "licence": "MIT", "licence_evidence": "path"})
    stated = b"---\nlang: de\nlicense: something of ours\n---\nwords"
    (document,) = folder.extract_file(config(tmp_path), entry, stated).documents
    assert (document.language, document.licence, document.licence_evidence) == ("de", "MIT", "path")


def test_a_wrong_option_is_refused(tmp_path):
    with pytest.raises(ValidationError):
        config(tmp_path, inclde=("**",))


def test_the_extraction_version_follows_options_and_not_the_place(tmp_path):
    version = folder.extraction_version(config(tmp_path))
    assert version == folder.extraction_version(config(tmp_path / "elsewhere", rank=5))
    assert version != folder.extraction_version(config(tmp_path, python="docstrings"))


def test_every_reason_has_a_sentence():
    assert all(sentence and sentence[0].islower() for sentence in REASONS.values())
