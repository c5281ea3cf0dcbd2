"""The hosts of a web source: what their sitemap names, what their rules allow, at what pace and how they are asked."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import ingot
from datasets_pipeline.sources import files, http_messages, web_addresses, web_pace, web_rules, web_sitemaps
from datasets_pipeline.sources.base import ExtractionError, FileEntry
from datasets_pipeline.sources.paths import stated_by_path
from datasets_pipeline.sources.web_client import Access, Client, NoAnswer, Response, normalized
from ingot.errors import DataError, NotFoundError, StorageError

if TYPE_CHECKING:
    from datasets_pipeline.sources.web import Config

_PAUSES = (1.0, 5.0)  # seconds before a second and a third try
_MAX_RETRY_AFTER_SECONDS = 60.0
MAX_DELAY_SECONDS = 30.0
_RULES_SECONDS = 3600.0  # how long the rules of a site hold in a process; RFC 9309 allows a day
UNSTATED_BYTES = 128 * 1024
"""What a page counts for whose size nobody states; so a unit of work is some hundred pages."""
_SETTLED = timedelta(hours=48)
_LIVE = timedelta(minutes=10)
REFUSED = "refused"  # attribute of an entry that its site keeps from us: by what
_LOGIN = (401, 402, 403, 407, 451)
_BUSY = (429, 500, 502, 503, 504)


class Site:
    """The hosts of a source: their rules, their pace, and how they are asked."""

    def __init__(self, config: "Config", resolver: web_addresses.Resolver = web_addresses.resolve) -> None:
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
            return FileEntry(page.url, UNSTATED_BYTES, 0, attributes | {REFUSED: by})
        if config.trust_lastmod and page.changed is not None and page.changed < datetime.now(UTC) - _SETTLED:
            return FileEntry(page.url, UNSTATED_BYTES, _nanoseconds(page.changed), attributes)
        try:
            response = self._client.get(page.url, "HEAD", self._may_read)
        except (ExtractionError, NoAnswer):
            return FileEntry(page.url, UNSTATED_BYTES, None, attributes)  # reading it will say what is wrong
        if not 200 <= response.status < 300:
            return FileEntry(page.url, UNSTATED_BYTES, None, attributes)
        by = web_rules.refused_by_headers(response.headers)
        if by is not None:
            return FileEntry(page.url, UNSTATED_BYTES, 0, attributes | {REFUSED: by})
        length = response.headers.get("content-length", "")
        size = int(length) if length.isascii() and length.isdigit() and len(length) < 16 else UNSTATED_BYTES
        etag, changed = response.headers.get("etag"), settled_change(response)
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
        if response.status in (404, 410):
            raise ExtractionError(
                "not_there", f"{url}: status {response.status}; take it out of the list if it is gone for good"
            )
        if response.status not in (200, 203):
            raise ExtractionError(
                "unreadable", f"{url}: status {response.status}; tried again in the next run"
            )
        by = web_rules.refused_by_headers(response.headers)
        if by is not None:
            raise refusal(url, by)
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
            told = float(wanted) if wanted.isascii() and wanted.isdigit() else pause
            time.sleep(min(told, _MAX_RETRY_AFTER_SECONDS) if pause else pause)
        raise AssertionError("the last try returns or raises")

    def _check_there(self, url: str) -> None:
        """Raise StorageError when not only this page, but its site does not answer."""
        self._rules.pop(web_rules.origin_of(url), None)
        self._rules_of(url)

    def _may_read(self, url: str) -> None:
        by = self._rules_of(url).refusal(url)
        if by is not None:
            raise refusal(url, by)

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
        web_pace.wait(place, min(max(self._config.delay_seconds, asked), MAX_DELAY_SECONDS))


def refusal(url: str, by: str) -> ExtractionError:
    """What a page is quarantined with that its site keeps from us."""
    return ExtractionError("refused_by_site", f"{url}: its site asks not to use it ({by}); exclude it or ask its owner")


def settled_change(response: Response) -> datetime | None:
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
