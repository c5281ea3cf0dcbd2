"""Pages of web sites: a sitemap or a list of addresses, on hosts that the recipe names.

    - name: handbook
      source: web
      uri: https://docs.example.org/sitemap.xml
      hosts: [docs.example.org]

A site's wishes hold: robots.txt, ai.txt, tdmrep.json, and noai or noindex on a page; such pages are quarantined as
refused_by_site. Private addresses are refused, also behind a redirect, unless INGOT_WEB_ALLOW_PRIVATE names the host.

What is unchanged is told without reading it, in this order:
1. lastmod of the sitemap, once it is two days old: until then a page may change again under the same date
2. HEAD: ETag, else Last-Modified, with Content-Length; one request a page
3. a server that gives neither is asked for the page, and its bytes decide
Requests to one host keep `delay_seconds` or its Crawl-delay between them, over all processes of a machine.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

import ingot
from datasets_pipeline import extract
from datasets_pipeline.extract import media_types
from datasets_pipeline.sources import files, http_messages, web_addresses, web_pace, web_rules, web_sitemaps
from datasets_pipeline.sources.base import (
    MEBIBYTE,
    ExtractedDocument,
    ExtractionError,
    ExtractionResult,
    FileContent,
    FileEntry,
    SourceConfig,
    with_stated_attributes,
)
from datasets_pipeline.sources.globs import is_included
from datasets_pipeline.sources.paths import PathStatements, stated_by_path
from datasets_pipeline.sources.web_client import Access, Client, NoAnswer, Response, host_of, normalized
from ingot import credentials
from ingot.errors import DataError, NotFoundError, RecipeError, StorageError

VERSION = "1"

_PAUSES = (1.0, 5.0)  # seconds before a second and a third try
_MAX_RETRY_AFTER_SECONDS = 60.0
_MAX_CRAWL_DELAY_SECONDS = 30.0
_RULES_SECONDS = 3600.0  # how long the rules of a site hold in a process; RFC 9309 allows a day
_SETTLED = timedelta(hours=48)
_LIVE = timedelta(minutes=10)
_REFUSED = "refused"  # attribute of an entry that its site keeps from us: by what
_LOGIN = (401, 402, 403, 407, 451)
_BUSY = (429, 500, 502, 503, 504)


class Config(SourceConfig, PathStatements, extract.ExtractOptions):
    """Pages of the hosts that are named."""

    uri: str = Field(
        min_length=1,
        description="Address of a sitemap, an index of sitemaps (also .gz) or a list with one address a line; or the "
        "local path of such a file.",
    )
    hosts: tuple[str, ...] = Field(
        min_length=1,
        description="Hosts that may be asked, exactly as in addresses, with the port where it is not the usual one; "
        "sitemaps and redirects that lead elsewhere are not followed.",
    )
    include: tuple[str, ...] = Field(
        default=("**",), description="Globs on the whole address, e.g. `https://docs.example.org/guide/**`."
    )
    source_class: Literal["public", "licensed", "crawled", "user", "synthetic", "other"] = Field(
        default="crawled", description="What kind of source it is; pages of the web are crawled."
    )
    credentials: str | None = Field(
        default=None,
        pattern=credentials.NAME_PATTERN,
        description="Name of the secret that all hosts get, over TLS or on the private hosts of the setting only: "
        "INGOT_SECRET_<NAME>, or the file secrets/<name> of INGOT_HOME.",
    )
    credentials_kind: Literal["bearer", "basic"] = Field(
        default="bearer", description="How the secret is sent: as a token, or as `user:password`."
    )
    contact: str | None = Field(
        default=None,
        pattern=r"^[!-~]{1,200}$",
        description="Address of a page or mailbox that sites see in the user agent, for complaints.",
    )
    trust_lastmod: bool = Field(
        default=True, description="Whether lastmod of the sitemap tells that a page is unchanged; false asks each page."
    )
    delay_seconds: float = Field(
        default=1.0,
        ge=0.0,
        le=_MAX_CRAWL_DELAY_SECONDS,
        description="Seconds between two requests to one host; a longer Crawl-delay holds, up to 30.",
    )
    max_pages: int = Field(
        default=10_000, ge=1, description="Pages from which the source is refused as a whole, so that none goes unseen."
    )
    max_total_bytes: int = Field(
        default=4096 * MEBIBYTE,
        ge=1,
        description="Bytes of all pages, where servers state them, from which the source is refused as a whole.",
    )
    max_file_bytes: int = Field(
        default=32 * MEBIBYTE, ge=1, description="Bytes, sent or decoded, from which a page is too_large."
    )
    connect_seconds: float = Field(default=10.0, gt=0.0, le=300.0, description="Seconds to reach a server.")
    read_seconds: float = Field(default=30.0, gt=0.0, le=600.0, description="Seconds of silence within an answer.")
    total_seconds: float = Field(default=120.0, gt=0.0, le=3600.0, description="Seconds for one request in all.")

    @field_validator("hosts")
    @classmethod
    def _hosts_are_names(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if normalized(f"https://{host}/") != f"https://{host}/" or any(sign in host for sign in "/*?@ "):
                raise RecipeError(f"host {host!r} is not a name as in addresses; write e.g. docs.example.org")
        return hosts

    @model_validator(mode="after")
    def _uri_is_on_the_list(self) -> "Config":
        if self.uri.startswith(("http://", "https://")):
            try:
                host_of(normalized(self.uri), self.hosts)
            except ExtractionError as error:
                raise RecipeError(f"uri: {error.message}") from None
        return self


def list_files(config: Config, skipped: Counter[str] | None = None) -> Iterator[FileEntry]:
    """The pages of the sitemap, sorted by address; `skipped` counts those on other hosts.

    Raises StorageError when a site is away, DataError for a sitemap that is none or names more than the budget.
    """
    skipped = skipped if skipped is not None else Counter()
    chosen: dict[str, web_sitemaps.Page] = {}
    site = _site(config)
    for page in site.pages():
        try:
            host_of(page.url, config.hosts)
        except ExtractionError:
            skipped["other_host"] += 1
            continue
        if is_included(page.url, config.include, config.exclude):
            chosen[page.url] = page
    if len(chosen) > config.max_pages:
        raise DataError(
            f"{config.uri} names {len(chosen):,} pages, more than max_pages ({config.max_pages:,}); raise it, or "
            "narrow `include`"
        )
    num_bytes = 0
    for url in sorted(chosen):
        entry = site.look(chosen[url])
        num_bytes += entry.size
        if num_bytes > config.max_total_bytes:
            raise DataError(
                f"pages of {config.uri} are more than max_total_bytes ({config.max_total_bytes:,}); raise it, or "
                "narrow `include`"
            )
        yield entry


def read_file(config: Config, entry: FileEntry) -> FileContent:
    """One page: a line of JSON with what its server says of it, and its decoded body.

    Raises ExtractionError refused_by_site, too_large or unreadable, StorageError when the whole site is away.
    """
    by = entry.attributes.get(_REFUSED)
    if by is not None:
        raise _refusal(entry.uri, by)
    return FileContent(_envelope(_site(config).read(entry.uri)))


def extract_file(config: Config, entry: FileEntry, data: bytes) -> ExtractionResult:
    """The documents of one page. Raises ExtractionError, also when the page itself asks not to be used."""
    content_type, modified, body = _opened(entry, data)
    media_type = http_messages.media_type_of(content_type, entry.uri, body)
    by = web_rules.refused_by_page(body) if media_type == media_types.HTML else None
    if by is not None:
        raise _refusal(entry.uri, by)
    charset = http_messages.charset_of(content_type)
    options = config.model_copy(update={"encoding": charset}) if charset else config
    result = extract.extract(body, entry.uri, media_type, options)

    def dated(document: ExtractedDocument) -> ExtractedDocument:
        return replace(document, stated_date=document.stated_date or modified)

    return with_stated_attributes(
        ExtractionResult([dated(document) for document in result.documents], result.rejects), entry.attributes
    )


def extraction_version(config: Config) -> dict[str, str]:
    """What besides the bytes and the attributes shapes the extracted documents."""
    return {
        "source.web": VERSION,
        "source.http_messages": http_messages.VERSION,
        "option.max_file_bytes": str(config.max_file_bytes),
    } | extract.extraction_version(config)


class Site:
    """The hosts of a source: their rules, their pace, and how they are asked."""

    def __init__(self, config: Config, resolver: web_addresses.Resolver = web_addresses.resolve) -> None:
        self._config = config
        self._rules: dict[str, tuple[float, web_rules.SiteRules]] = {}
        contact = f" (+{config.contact})" if config.contact else ""
        self._agent = f"{web_rules.AGENT}/{ingot.__version__}{contact}"
        self._resolver = resolver
        self._client = self._client_for(config.max_file_bytes)

    def pages(self) -> Iterator[web_sitemaps.Page]:
        """The pages that the sitemap or list names."""
        uri = self._config.uri
        client = self._client_for(web_sitemaps.MAX_SITEMAP_BYTES)

        def read(url: str) -> bytes:
            try:
                response = self._answer(url, client)
            except NoAnswer as error:
                raise StorageError(f"{error}; check the site and start again") from None
            if response.status in (404, 410):
                raise NotFoundError(f"{url} does not exist (status {response.status}); check `uri`")
            if not 200 <= response.status < 300:
                raise StorageError(f"{url} cannot be had (status {response.status}); check the site and start again")
            return response.body

        try:
            data = read(normalized(uri)) if uri.startswith(("http://", "https://")) else _local(uri)
            yield from web_sitemaps.pages(data, uri, read)
        except ExtractionError as error:
            raise DataError(f"list of pages: {error.message}") from None

    def look(self, page: web_sitemaps.Page) -> FileEntry:
        """A page as a listing shows it: what tells whether it changed, or by what its site keeps it from us."""
        config = self._config
        attributes = stated_by_path(config.path_pattern, page.url)
        by = self._rules_of(page.url).refusal(page.url)
        if by is not None:
            return FileEntry(page.url, 0, 0, attributes | {_REFUSED: by})
        if config.trust_lastmod and page.changed is not None and page.changed < datetime.now(UTC) - _SETTLED:
            return FileEntry(page.url, 0, _nanoseconds(page.changed), attributes)
        try:
            response = self._client.get(page.url, "HEAD", self._may_read)
        except (ExtractionError, NoAnswer):
            return FileEntry(page.url, 0, None, attributes)  # reading it will say what is wrong
        if not 200 <= response.status < 300:
            return FileEntry(page.url, 0, None, attributes)
        by = web_rules.refused_by_headers(response.headers)
        if by is not None:
            return FileEntry(page.url, 0, 0, attributes | {_REFUSED: by})
        length = response.headers.get("content-length", "")
        size = int(length) if length.isascii() and length.isdigit() and len(length) < 16 else 0
        etag, changed = response.headers.get("etag"), _settled_change(response)
        if etag is None and changed is None:
            return FileEntry(page.url, size, None, attributes)
        # An ETag alone tells; servers behind one name differ in the rest.
        return FileEntry(page.url, size, 0 if etag else _nanoseconds(changed), attributes, etag)

    def read(self, url: str) -> Response:
        """A page whose site lets us have it, after up to three tries."""
        try:
            response = self._answer(url, self._client)
        except NoAnswer as error:
            self._check_there(url)
            raise ExtractionError("unreadable", f"{error}; tried again in the next run") from None
        if response.status in _LOGIN:
            raise ExtractionError("refused_by_site", f"{url}: the site wants a login (status {response.status})")
        if response.status in _BUSY:
            self._check_there(url)
        if response.status not in (200, 203):
            raise ExtractionError(
                "unreadable", f"{url}: status {response.status}; take it out of the list if it is gone for good"
            )
        by = web_rules.refused_by_headers(response.headers)
        if by is not None:
            raise _refusal(url, by)
        return response

    def _answer(self, url: str, client: Client) -> Response:
        may_read: Callable[[str], None] = self._may_read if client is self._client else lambda url: None
        for pause in (*_PAUSES, None):
            try:
                response = client.get(url, may_read=may_read)
            except NoAnswer:
                if pause is None:
                    raise
                time.sleep(pause)
                continue
            if response.status not in _BUSY or pause is None:
                return response
            wanted = response.headers.get("retry-after", "")
            time.sleep(min(float(wanted) if wanted.isdigit() else pause, _MAX_RETRY_AFTER_SECONDS) if pause else pause)
        raise AssertionError("the last try returns or raises")

    def _check_there(self, url: str) -> None:
        """Raise StorageError when not only this page, but its site does not answer."""
        self._rules.pop(web_rules.origin_of(url), None)
        self._rules_of(url)

    def _may_read(self, url: str) -> None:
        by = self._rules_of(url).refusal(url)
        if by is not None:
            raise _refusal(url, by)

    def _rules_of(self, url: str) -> web_rules.SiteRules:
        origin = web_rules.origin_of(url)
        held = self._rules.get(origin)
        if held is None or held[0] < time.monotonic():
            rules = web_rules.read_rules(self._client_for(web_rules.MAX_RULES_BYTES), origin)
            held = self._rules[origin] = (time.monotonic() + _RULES_SECONDS, rules)
        return held[1]

    def _client_for(self, max_bytes: int) -> Client:
        config = self._config
        access = Access(
            config.hosts, self._agent, max_bytes, config.connect_seconds, config.read_seconds, config.total_seconds,
            config.credentials, config.credentials_kind,
        )  # fmt: skip
        return Client(access, wait=self._wait, resolver=self._resolver)

    def _wait(self, place: str) -> None:
        known = [rules for origin, (_, rules) in self._rules.items() if urlsplit(origin).netloc == place]
        asked = max((rules.delay_seconds for rules in known), default=0.0)
        web_pace.wait(place, min(max(self._config.delay_seconds, asked), _MAX_CRAWL_DELAY_SECONDS))


@lru_cache(maxsize=16)
def _site_of(values: str) -> Site:
    return Site(Config.model_validate_json(values))


def _site(config: Config) -> Site:
    """The hosts of a source, kept over files: rules of a site are asked for once an hour."""
    return _site_of(config.model_dump_json())


def _refusal(url: str, by: str) -> ExtractionError:
    return ExtractionError(
        "refused_by_site", f"{url}: its site asks not to use it ({by}); exclude it, or ask its owner"
    )


def _envelope(response: Response) -> bytes:
    changed = _settled_change(response)
    facts = {
        "content_type": response.headers.get("content-type", "")[:300],
        "modified": changed.date().isoformat() if changed else None,
    }
    return json.dumps(facts, sort_keys=True).encode() + b"\n" + response.body


def _opened(entry: FileEntry, data: bytes) -> tuple[str, str | None, bytes]:
    """(content type, day of change, body) of what read_file gave."""
    line, _, body = data.partition(b"\n")
    try:
        facts = json.loads(line)
        content_type, modified = facts["content_type"], facts["modified"]
        if isinstance(content_type, str) and (modified is None or isinstance(modified, str)):
            return content_type, modified, body
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise ExtractionError("parser_error", f"{entry.uri}: not a page as it was read; list the source again")


def _settled_change(response: Response) -> datetime | None:
    """Last-Modified; None where it is the time of the answer, as pages that are made on demand say it."""
    changed = http_messages.moment_of(response.headers.get("last-modified"))
    answered = http_messages.moment_of(response.headers.get("date")) or datetime.now(UTC)
    return changed if changed is not None and changed < answered - _LIVE else None


def _nanoseconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp()) * 1_000_000_000


def _local(uri: str) -> bytes:
    root = files.local_root(uri)
    if root is None:
        raise DataError(f"{uri} is neither an address of a site nor a local file; see `uri`")
    path = Path(root)
    if not path.is_file():
        raise NotFoundError(f"list of pages {path} does not exist; check `uri`")
    with path.open("rb") as file:
        return file.read(web_sitemaps.MAX_SITEMAP_BYTES + 1)
