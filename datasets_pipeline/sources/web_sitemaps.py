"""Which pages there are: a sitemap (also an index of sitemaps, also gzip), or a plain list of addresses.

Sitemaps come from strangers: 50 MiB each, a document type is refused, an index leads to 500 of them at most and not to
another index.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from datasets_pipeline.extract import packed
from datasets_pipeline.sources.web_client import normalized
from ingot.errors import DataError

MAX_SITEMAP_BYTES = 50 * 1024 * 1024  # the protocol's own limit (sitemaps.org)
_MAX_SITEMAPS = 500
_MAX_ADDRESS_CHARACTERS = 2048


@dataclass(frozen=True)
class Page:
    """An address, and when the sitemap says that it changed; None when it does not say."""

    url: str
    changed: datetime | None = None


def pages(data: bytes, uri: str, read: Callable[[str], bytes]) -> Iterator[Page]:
    """The pages of a sitemap or list; `read` gives the bytes of the sitemaps that an index names.

    Raises DataError for what is neither.
    """
    data = _unpacked(data, uri)
    if not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        yield from _of_list(data, uri)
        return
    kind, found = _of_sitemap(data, uri)
    if kind != "sitemapindex":
        yield from found
        return
    if len(found) > _MAX_SITEMAPS:
        raise DataError(f"{uri} names {len(found):,} sitemaps, more than {_MAX_SITEMAPS}; name one of them as `uri`")
    for sitemap in found:
        kind, inside = _of_sitemap(_unpacked(read(sitemap.url), sitemap.url), sitemap.url)
        if kind == "sitemapindex":
            raise DataError(f"{uri}: an index of sitemaps names another index; name that one as `uri`")
        yield from inside


def _of_list(data: bytes, uri: str) -> Iterator[Page]:
    """One address a line; blank lines and lines that begin with `#` are passed over."""
    for number, line in enumerate(data.decode("utf-8-sig", "replace").splitlines(), 1):
        address = line.strip()
        if not address or address.startswith("#"):
            continue
        if not address.startswith(("http://", "https://")) or len(address) > _MAX_ADDRESS_CHARACTERS:
            raise DataError(f"{uri}, line {number}: not an address that begins with https:// or http://; mend the list")
        yield Page(normalized(address))


def _of_sitemap(data: bytes, uri: str) -> tuple[str, list[Page]]:
    """(`urlset` or `sitemapindex`, its entries)."""
    from xml.etree.ElementTree import ParseError

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import iterparse

    kind, found = "", list[Page]()
    root: Any = None
    depth = 0
    address, changed = "", None
    failure = ""
    try:
        for event, element in iterparse(io.BytesIO(data), events=("start", "end"), forbid_dtd=True):
            name = str(element.tag).rpartition("}")[2]
            if event == "start":
                kind = kind or name
                root = element if root is None else root
                depth += 1
                continue
            depth -= 1
            if name == "loc":
                address = (element.text or "").strip()
            elif name == "lastmod":
                changed = moment(element.text or "")
            elif name in ("url", "sitemap"):
                if address.startswith(("http://", "https://")) and len(address) <= _MAX_ADDRESS_CHARACTERS:
                    found.append(Page(normalized(address), changed))
                address, changed = "", None
            if depth == 1:
                root.clear()  # a sitemap of 50 MB would be a gigabyte of elements
    except (ParseError, DefusedXmlException, ValueError, LookupError, RecursionError) as error:
        failure = type(error).__name__
    if failure or kind not in ("urlset", "sitemapindex"):
        raise DataError(f"{uri} is no sitemap ({failure or 'another kind of XML'}); check `uri`")
    return kind, found


def moment(text: str) -> datetime | None:
    """A date or time of a sitemap (W3C), a date as the end of its day in UTC; None for what is none."""
    text = text.strip()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    if len(text) <= 10:
        found = found.replace(hour=23, minute=59, second=59)
    try:
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _unpacked(data: bytes, uri: str) -> bytes:
    whole, is_all = packed.unpack_all(data, MAX_SITEMAP_BYTES, uri)
    if not is_all or len(whole) > MAX_SITEMAP_BYTES:
        raise DataError(f"{uri} is damaged or larger than {MAX_SITEMAP_BYTES:,} bytes; check `uri`")
    return whole
