"""Pages of a site: what is listed, what is unchanged, what its site refuses; against a real local server."""

import gzip
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from datasets_pipeline.sources import web, web_rules, web_site
from datasets_pipeline.sources.base import ExtractedDocument, ExtractionError, FileEntry
from ingot.errors import DataError, NotFoundError, RecipeError, StorageError
from tests.sources.web_server import Answer, Site, serving


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with serving() as found:
        monkeypatch.setenv("INGOT_WEB_ALLOW_PRIVATE", found.host)
        monkeypatch.setattr(web_site, "_PAUSES", ())
        yield found


def config(site: Site, **values: object) -> web.Config:
    own = {"name": "site", "uri": site.url("/sitemap.xml"), "hosts": [site.host], "delay_seconds": 0, **values}
    return web.Config.model_validate(own)


def listed(site: Site, **values: object) -> list[FileEntry]:
    web._site_of.cache_clear()  # a new night
    return list(web.list_files(config(site, **values)))


def read(site: Site, path: str, **values: object) -> list[ExtractedDocument]:
    own = config(site, **values)
    entry = FileEntry(site.url(path), 0)
    return web.extract_file(own, entry, web.read_file(own, entry).data).documents


def reason(site: Site, path: str, **values: object) -> str:
    with pytest.raises(ExtractionError) as told:
        read(site, path, **values)
    return told.value.reason


def test_the_pages_of_a_sitemap_are_listed_and_read(site: Site) -> None:
    site.sitemap("/b", "/a?x=1", "/c#part")
    site.page("/b", "pump", ETag='"1"', Last_Modified="Wed, 21 Oct 2015 07:28:00 GMT")
    site.page("/a?x=1", "valve")
    site.page("/c", "gauge")
    entries = listed(site)
    assert [entry.uri for entry in entries] == [site.url(path) for path in ("/a?x=1", "/b", "/c")]
    (document,) = read(site, "/b")
    assert "Check the pump monthly." in document.text and document.media_type == "text/html"
    assert document.stated_date == "2015-10-21" and document.language == "en"
    assert site.headers[-1]["user-agent"].startswith("Ingot/") and "cookie" not in site.headers[-1]


def test_an_index_of_packed_sitemaps_is_followed_but_not_another_index(site: Site) -> None:
    site.sitemap("/a")
    inner = site.answers["/sitemap.xml"].body
    site.answers["/part.xml.gz"] = Answer(gzip.compress(inner))
    index = f"<sitemapindex><sitemap><loc>{site.url('/part.xml.gz')}</loc></sitemap></sitemapindex>".encode()
    site.answers["/sitemap.xml"] = Answer(index)
    assert [entry.uri for entry in listed(site)] == [site.url("/a")]
    site.answers["/part.xml.gz"] = Answer(index)
    with pytest.raises(DataError, match="another index"):
        listed(site)


def test_a_list_of_addresses_is_a_file_here_or_there(site: Site, tmp_path: Path) -> None:
    text = f"# pages\n\n{site.url('/b')}\n{site.url('/a')}\n"
    (tmp_path / "pages.txt").write_text(text)
    site.answers["/list.txt"] = Answer(text.encode())
    for uri in (str(tmp_path / "pages.txt"), site.url("/list.txt")):
        assert [entry.uri for entry in listed(site, uri=uri)] == [site.url("/a"), site.url("/b")]
    (tmp_path / "pages.txt").write_text("file:///etc/passwd\n")
    with pytest.raises(DataError, match="line 1"):
        listed(site, uri=str(tmp_path / "pages.txt"))
    with pytest.raises(NotFoundError):
        listed(site, uri=str(tmp_path / "nothing.txt"))


def test_pages_elsewhere_and_outside_of_the_globs_are_left_out(site: Site) -> None:
    site.sitemap("/guide/a", "/blog/b")
    site.answers["/sitemap.xml"].body = site.answers["/sitemap.xml"].body.replace(
        b"</urlset>", b"<url><loc>https://other.example/x</loc></url></urlset>"
    )
    skipped: Counter[str] = Counter()
    own = config(site, include=[site.url("/guide/**")])
    assert [entry.uri for entry in web.list_files(own, skipped)] == [site.url("/guide/a")]
    assert skipped == {"other_host": 1}


def test_head_tells_what_is_unchanged_and_only_a_change_shows(site: Site) -> None:
    site.sitemap("/etag", "/dated", "/neither", "/live")
    site.page("/etag", "one", ETag='"1"')
    site.page("/dated", "two", Last_Modified="Wed, 21 Oct 2015 07:28:00 GMT")
    site.page("/neither", "three")
    now = {"Date": "Wed, 21 Oct 2026 07:28:00 GMT", "Last_Modified": "Wed, 21 Oct 2026 07:28:00 GMT"}
    site.page("/live", "four", **now)
    first = {entry.uri.rpartition("/")[2]: entry for entry in listed(site)}
    second = {entry.uri.rpartition("/")[2]: entry for entry in listed(site)}
    assert first == second
    assert first["etag"].mtime_ns is not None and first["etag"].etag == '"1"'
    assert first["dated"].mtime_ns is not None
    assert first["neither"].mtime_ns is None and first["live"].mtime_ns is None
    assert all(method == "HEAD" or path in _RULES for method, path in site.asked)
    site.page("/etag", "one", ETag='"2"')
    site.page("/dated", "two", Last_Modified="Thu, 22 Oct 2015 07:28:00 GMT")
    third = {entry.uri.rpartition("/")[2]: entry for entry in listed(site)}
    assert third["etag"] != first["etag"] and third["dated"] != first["dated"]


_RULES = ("/sitemap.xml", "/robots.txt", "/ai.txt", "/.well-known/tdmrep.json")


def test_a_settled_lastmod_spares_the_request_and_a_young_one_does_not(site: Site) -> None:
    site.sitemap("/a", lastmod="2020-05-06")
    site.page("/a", "one", ETag='"1"')
    (entry,) = listed(site)
    assert entry.mtime_ns is not None and ("HEAD", "/a") not in site.asked
    assert listed(site, trust_lastmod=False)[0].etag == '"1"'
    site.sitemap("/a", lastmod="2999-01-01T00:00:00Z")
    assert listed(site)[0].etag == '"1"'


def test_an_unchanged_page_that_says_nothing_of_itself_has_the_same_digest(site: Site) -> None:
    site.page("/a", "one", Date="Wed, 21 Oct 2026 07:28:00 GMT", Last_Modified="Wed, 21 Oct 2026 07:28:00 GMT")
    own, entry = config(site), FileEntry(site.url("/a"), 0)
    digest = web.read_file(own, entry).sha256
    site.page("/a", "one", Date="Thu, 22 Oct 2026 07:28:00 GMT", Last_Modified="Thu, 22 Oct 2026 07:28:00 GMT")
    assert web.read_file(own, entry).sha256 == digest


def test_robots_txt_and_its_kin_are_obeyed_without_asking_for_the_page(site: Site) -> None:
    site.answers["/robots.txt"] = Answer(b"User-agent: *\nDisallow: /private\n\nUser-agent: Ingot\nDisallow: /secret")
    site.answers["/ai.txt"] = Answer(b"User-Agent: *\nDisallow: /art")
    site.answers["/.well-known/tdmrep.json"] = Answer(b'[{"location": "/law/*", "tdm-reservation": 1}]')
    site.sitemap("/secret", "/art", "/law/1", "/private", "/open")
    for path in ("/secret", "/art", "/law/1", "/private", "/open"):
        site.page(path, "page")
    entries = {entry.uri.removeprefix(site.url("")): entry for entry in listed(site)}
    refused = {path: entry.attributes.get("refused") for path, entry in entries.items()}
    assert refused == {"/secret": "robots.txt", "/art": "ai.txt", "/law/1": "tdmrep.json", "/private": None,
                       "/open": None}  # fmt: skip
    site.asked.clear()
    with pytest.raises(ExtractionError) as told:
        web.read_file(config(site), entries["/secret"])
    assert told.value.reason == "refused_by_site" and not site.asked
    assert reason(site, "/secret") == "refused_by_site" and ("GET", "/secret") not in site.asked


def test_a_page_that_redirects_into_what_is_forbidden_is_refused(site: Site) -> None:
    site.answers["/robots.txt"] = Answer(b"User-agent: *\nDisallow: /secret")
    site.answers["/a"] = Answer(status=302, headers={"Location": "/secret"})
    assert reason(site, "/a") == "refused_by_site" and ("GET", "/secret") not in site.asked


@pytest.mark.parametrize("header", ["noai", "none", "noindex, nofollow", "ingot: noai", "otherbot: x\nnoindex"])
def test_x_robots_tag_is_obeyed(site: Site, header: str) -> None:
    site.sitemap("/a")
    site.page("/a", "one", X_Robots_Tag=header)
    assert listed(site)[0].attributes == {"refused": "X-Robots-Tag"}
    assert reason(site, "/a") == "refused_by_site"


def test_directives_for_others_or_of_other_kinds_refuse_nothing() -> None:
    for value in ("googlebot: noindex, noai", "max-snippet: 5, nofollow", "unavailable_after: 25 Jun 2030", "all"):
        assert web_rules.refused_by_headers({"x-robots-tag": value}) is None, value
    assert web_rules.refused_by_headers({"tdm-reservation": "1"}) == "tdm-reservation"
    assert web_rules.refused_by_headers({"tdm-reservation": "0"}) is None


@pytest.mark.parametrize(
    "meta",
    ['<meta name="robots" content="noindex, follow">', "<META CONTENT='NoAI' NAME=robots>",
     '<meta name="ingot" content="none">', '<meta name="tdm-reservation" content="1">'],
)  # fmt: skip
def test_what_a_page_says_of_itself_is_obeyed(site: Site, meta: str) -> None:
    site.page("/a", "one", meta)
    assert reason(site, "/a") == "refused_by_site"


def test_a_page_for_whatever_is_not_there_is_no_rule(site: Site) -> None:
    for path in ("/robots.txt", "/ai.txt", "/.well-known/tdmrep.json"):
        site.page(path, "Disallow: /")
    site.page("/a", "one")
    assert len(read(site, "/a")) == 1


def test_a_login_refuses_and_a_missing_page_is_not_there(site: Site) -> None:
    site.answers["/in"] = Answer(status=401)
    assert reason(site, "/in") == "refused_by_site"
    assert reason(site, "/gone") == "not_there"


def test_a_site_that_is_away_is_a_fault_of_the_place_and_one_bad_page_is_not(site: Site) -> None:
    site.sitemap("/a", "/b")
    site.page("/a", "one")
    site.answers["/b"] = Answer(status=503)
    assert reason(site, "/b") == "unreadable"
    own = config(site)
    for path in ("/robots.txt", "/a"):
        site.answers[path] = Answer(status=503)
    with pytest.raises(StorageError):
        web.read_file(own, FileEntry(site.url("/a"), 0))
    with pytest.raises(StorageError):
        listed(site)
    site.answers["/sitemap.xml"] = Answer(status=500)
    with pytest.raises(StorageError):
        listed(site)
    del site.answers["/sitemap.xml"]
    with pytest.raises(NotFoundError):
        listed(site)


def test_a_server_that_is_down_is_a_fault_of_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_site, "_PAUSES", ())
    with serving() as gone:
        monkeypatch.setenv("INGOT_WEB_ALLOW_PRIVATE", gone.host)
    with pytest.raises(StorageError):
        listed(gone)
    with pytest.raises(StorageError):
        web.read_file(config(gone), FileEntry(gone.url("/a"), 0))


def test_a_second_try_helps_where_the_first_one_failed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_site, "_PAUSES", (0.01,))
    site.page("/a", "one")
    good = site.answers["/a"]

    def busy(handler: object) -> None:
        site.answers["/a"] = good
        handler.send_error(503)  # type: ignore[attr-defined]

    site.answers["/a"] = Answer(write=busy)
    assert len(read(site, "/a")) == 1


def test_the_budget_refuses_the_whole_source(site: Site) -> None:
    site.sitemap("/a", "/b")
    with pytest.raises(DataError, match="max_pages"):
        listed(site, max_pages=1)
    with pytest.raises(DataError, match="max_total_bytes"):
        listed(site, max_total_bytes=1000)


def test_a_sitemap_that_is_an_attack_or_none_is_told(site: Site) -> None:
    laughs = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><urlset><url><loc>&b;</loc></url></urlset>'
    for body in (laughs, b"<html><body>Log in", b"<urlset><url><loc>http://x", gzip.compress(b"<urlset>" * 999)[:-9]):
        site.answers["/sitemap.xml"] = Answer(body)
        with pytest.raises(DataError):
            listed(site)
    site.answers["/sitemap.xml"] = Answer(gzip.compress(bytes(80 << 20)))
    with pytest.raises(DataError):
        listed(site)


def test_requests_to_a_host_keep_their_distance(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[tuple[str, float]] = []
    monkeypatch.setattr(web_site.web_pace, "wait", lambda host, seconds: waited.append((host, seconds)))
    site.answers["/robots.txt"] = Answer(b"User-agent: *\nCrawl-delay: 7")
    site.page("/a", "one")
    read(site, "/a", delay_seconds=2)
    assert waited[0] == (site.host, 2.0) and waited[-1] == (site.host, 7.0)
    site.answers["/robots.txt"] = Answer(b"User-agent: *\nCrawl-delay: 99999")
    web._site_of.cache_clear()
    read(site, "/a", delay_seconds=2)
    assert waited[-1] == (site.host, 30.0)


def test_a_recipe_that_cannot_work_is_refused() -> None:
    good = {"name": "s", "uri": "https://docs.example.org/sitemap.xml", "hosts": ["docs.example.org"]}
    web.Config.model_validate(good)
    for change in ({"hosts": []}, {"hosts": ["https://x.example"]}, {"hosts": ["*.example.org"]},
                   {"hosts": ["other.example"]}, {"hosts": ["Docs.Example.org"]}, {"contact": "a b"},
                   {"uri": "https://me:hunter2@docs.example.org/"}):  # fmt: skip
        with pytest.raises((ValueError, RecipeError)) as told:
            web.Config.model_validate({**good, **change})
        assert "hunter2" not in str(told.value)


def test_what_is_no_page_of_read_file_is_refused(site: Site) -> None:
    for data in (b"", b"{}\n<html>", b"[" * 100_000, b"junk", b'{"content_type": 3, "modified": null}\nx'):
        with pytest.raises(ExtractionError):
            web.extract_file(config(site), FileEntry(site.url("/a"), 0), data)
