"""Sites and archives night after night, through the record and the jail."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datasets_pipeline.acquire import SourceSnapshot, acquire, open_files
from datasets_pipeline.parallel import InProcessPool
from datasets_pipeline.sources import web, web_site
from datasets_pipeline.sources.places import local_place
from ingot import registry
from ingot.config import NamedConfig
from ingot.errors import StorageError
from ingot.parquet import read_table
from ingot.storage import Store
from tests.sources.test_warc import THREE
from tests.sources.web_server import Answer, Site, serving


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with serving() as found:
        monkeypatch.setenv("INGOT_WEB_ALLOW_PRIVATE", found.host)
        monkeypatch.setattr(web_site, "_PAUSES", ())
        yield found


def look(root: Path, name: str, uri: str, **values: Any) -> tuple[SourceSnapshot, dict[str, str]]:
    web._site_of.cache_clear()  # a new night
    store = Store(str(root))
    config = registry.load("source", name).Config(name="night", uri=uri, **values)
    snapshot = acquire(
        store, NamedConfig(kind="source", name=name, config=config), InProcessPool(), place=uri, unit_bytes=1 << 20,
        now="2026-01-01",
    )  # fmt: skip
    texts: dict[str, str] = {}
    for file in open_files(store, snapshot):
        table = read_table(store, f"documents/{file.unit}.parquet", columns=["uri", "text"])
        texts |= {row["uri"]: row["text"] for row in table.slice(file.first_row, file.num_rows).to_pylist()}
    return snapshot, texts


def counts(snapshot: SourceSnapshot, *names: str) -> tuple[int, ...]:
    return tuple(snapshot.counts[name] for name in names)


def test_a_night_reads_what_changed_and_a_site_that_is_away_loses_nothing(site: Site, tmp_path: Path) -> None:
    values = {"hosts": [site.host], "delay_seconds": 0}
    uri = site.url("/sitemap.xml")
    site.sitemap("/a", "/b", "/c", "/no", "/gone")
    site.answers["/robots.txt"] = Answer(b"User-agent: *\nDisallow: /no")
    site.page("/a", "pump", ETag='"1"')
    site.page("/b", "valve")
    site.page("/c", "gauge", ETag='"1"', Last_Modified="Wed, 21 Oct 2015 07:28:00 GMT")
    first, texts = look(tmp_path, "web", uri, **values)
    assert sorted(texts) == [site.url(path) for path in ("/a", "/b", "/c")]
    assert first.reasons == {"not_there": 1, "refused_by_site": 1}
    assert counts(first, "seen", "read", "quarantined") == (5, 3, 2)

    site.asked.clear()
    second, again = look(tmp_path, "web", uri, **values)
    assert again == texts
    # Not opened: /a, /c and /no. /b says nothing of itself and its digest decides; /gone is tried again.
    assert counts(second, "read", "unchanged", "opened") == (0, 3, 2)
    assert [path for method, path in site.asked if method == "GET" and len(path) < 6] == ["/b", "/gone"]

    site.page("/a", "pump of the new works", ETag='"2"')
    site.sitemap("/a", "/b")
    third, changed = look(tmp_path, "web", uri, **values)
    assert counts(third, "read", "unchanged", "superseded") == (1, 1, 1) and third.counts["gone"] >= 1
    assert "new works" in changed[site.url("/a")]

    site.answers["/robots.txt"] = Answer(status=503)
    with pytest.raises(StorageError):
        look(tmp_path, "web", uri, **values)
    del site.answers["/robots.txt"]
    fourth, kept = look(tmp_path, "web", uri, **values)
    assert kept == changed and fourth.counts["read"] == 0


def test_an_archive_is_read_in_the_jail_and_once(tmp_path: Path) -> None:
    folder = tmp_path / "crawls"
    folder.mkdir()
    members = [gzip.compress(one) for one in THREE]
    (folder / "a.warc.gz").write_bytes(members[0] + members[1][:-9] + members[2])
    first, texts = look(tmp_path / "store", "warc", str(folder))
    assert sorted(texts) == ["http://docs.example/one", "http://docs.example/three"]
    assert counts(first, "seen", "read", "rejected_rows") == (1, 1, 1)
    second, again = look(tmp_path / "store", "warc", str(folder))
    assert again == texts and counts(second, "unchanged", "opened") == (1, 0)


def test_a_site_is_no_local_place() -> None:
    assert local_place("https://docs.example.org/sitemap.xml") is None
    assert local_place("/data/pages.txt") == Path("/data/pages.txt")


def test_a_page_that_cannot_be_had_tonight_keeps_its_text_and_one_that_is_gone_does_not(
    site: Site, tmp_path: Path
) -> None:
    values = {"hosts": [site.host], "delay_seconds": 0}
    uri = site.url("/sitemap.xml")
    site.sitemap("/a", "/busy", "/gone", "/login")
    for path in ("/a", "/busy", "/gone", "/login"):
        site.page(path, f"words of {path[1:]}")
    _, texts = look(tmp_path, "web", uri, **values)
    assert len(texts) == 4
    site.answers["/busy"] = Answer(status=500)
    site.answers["/gone"] = Answer(status=410)
    site.answers["/login"] = Answer(status=401)
    second, kept = look(tmp_path, "web", uri, **values)
    assert sorted(kept) == [site.url("/a"), site.url("/busy")]
    assert second.reasons == {"not_there": 1, "refused_by_site": 1, "unreadable": 1}
