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
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Literal

from pydantic import Field, field_validator, model_validator

from datasets_pipeline import extract
from datasets_pipeline.extract import media_types
from datasets_pipeline.sources import http_messages, web_rules, web_sitemaps
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
from datasets_pipeline.sources.paths import PathStatements
from datasets_pipeline.sources.web_client import Response, host_of, normalized
from datasets_pipeline.sources.web_site import MAX_DELAY_SECONDS, REFUSED, Site, refusal, settled_change
from ingot import credentials
from ingot.errors import DataError, RecipeError

VERSION = "1"


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
        le=MAX_DELAY_SECONDS,
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
    by = entry.attributes.get(REFUSED)
    if by is not None:
        raise refusal(entry.uri, by)
    return FileContent(_envelope(_site(config).read(entry.uri)))


def extract_file(config: Config, entry: FileEntry, data: bytes) -> ExtractionResult:
    """The documents of one page. Raises ExtractionError, also when the page itself asks not to be used."""
    content_type, modified, body = _opened(entry, data)
    media_type = http_messages.media_type_of(content_type, entry.uri, body)
    by = web_rules.refused_by_page(body) if media_type == media_types.HTML else None
    if by is not None:
        raise refusal(entry.uri, by)
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


@lru_cache(maxsize=16)
def _site_of(values: str) -> Site:
    return Site(Config.model_validate_json(values))


def _site(config: Config) -> Site:
    """The hosts of a source, kept over files: rules of a site are asked for once an hour."""
    return _site_of(config.model_dump_json())


def _envelope(response: Response) -> bytes:
    changed = settled_change(response)
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
