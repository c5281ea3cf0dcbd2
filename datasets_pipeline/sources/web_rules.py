"""What a site allows: robots.txt, and the signs by which it keeps its texts out of text and data mining.

- robots.txt (RFC 9309) for the agent `Ingot`, with Crawl-delay; a site whose robots.txt cannot be had is away
- /ai.txt, in the manner of robots.txt; /.well-known/tdmrep.json (TDM Reservation Protocol of the W3C community group)
- of a page: X-Robots-Tag and <meta name=robots> with noai, noindex or none; tdm-reservation 1 as header or meta
"""

import json
import re
from dataclasses import dataclass
from html import unescape
from typing import Any
from urllib.parse import urlsplit

from datasets_pipeline.sources.base import ExtractionError
from datasets_pipeline.sources.web_client import Client, NoAnswer
from ingot.errors import StorageError

AGENT = "Ingot"
MAX_RULES_BYTES = 512 * 1024  # RFC 9309 asks for 500 KiB at least

_REFUSING = {"noai", "noindex", "none"}
# Directives of X-Robots-Tag that have a value behind a colon; any other word before one is the name of an agent.
_WITH_VALUE = {"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"}
_META = re.compile(rb"<meta\b([^<>]{1,2000})>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"([A-Za-z-]{1,40})\s*=\s*(?:\"([^\"<>]*)\"|'([^'<>]*)'|([^\s\"'<>]+))")
_HEAD_BYTES = 256 * 1024


@dataclass(frozen=True)
class SiteRules:
    """Parsed rules of one site by the name of their file; what it does not have is not in it."""

    by_file: dict[str, Any]

    def refusal(self, url: str) -> str | None:
        """The file that keeps us from a url; None when none does."""
        return next((name for name, rules in self.by_file.items() if not rules.can_fetch(url, AGENT)), None)

    @property
    def delay_seconds(self) -> float:
        """Crawl-delay of robots.txt; 0 when it has none."""
        rules = self.by_file.get("robots.txt")
        return max(0.0, float((rules.crawl_delay(AGENT) if rules else None) or 0.0))


def read_rules(client: Client, origin: str) -> SiteRules:
    """The rules of a site, `https://host`. Raises StorageError when it does not answer for its robots.txt."""
    robots = _text(client, f"{origin}/robots.txt", required=True)
    found = {
        "robots.txt": robots,
        "ai.txt": _text(client, f"{origin}/ai.txt", required=False),
        "tdmrep.json": _as_robots(_text(client, f"{origin}/.well-known/tdmrep.json", required=False)),
    }
    from protego import Protego

    return SiteRules({name: Protego.parse(text) for name, text in found.items() if text})


def _text(client: Client, url: str, *, required: bool) -> str:
    """A file of rules; empty where there is none."""
    failure = ""
    try:
        response = client.get(url)
        if 200 <= response.status < 300:
            text = response.body.decode("utf-8", "replace").removeprefix("\ufeff")
            return "" if text.lstrip()[:1] == "<" else text  # a site's page for whatever it does not have
        if response.status < 500 and response.status != 429:
            return ""
        failure = f"status {response.status}"
    except ExtractionError as error:
        failure = error.message
    except NoAnswer as error:
        failure = str(error)
    if not required:
        return ""
    raise StorageError(f"{url} cannot be had ({failure}); the site is not read without it; check it and start again")


def _as_robots(text: str) -> str:
    """tdmrep.json as the lines of robots.txt that mean the same; empty for what is none."""
    try:
        rows = json.loads(text) if text else []
    except (ValueError, RecursionError):
        return ""
    lines = ["User-agent: *"]
    for row in rows if isinstance(rows, list) else []:
        location = row.get("location") if isinstance(row, dict) else None
        if isinstance(location, str) and location.startswith("/") and location.isprintable():
            lines.append(f"{'Disallow' if row.get('tdm-reservation') in (1, '1') else 'Allow'}: {location}")
    return "\n".join(lines) if len(lines) > 1 else ""


def refused_by_headers(headers: dict[str, str]) -> str | None:
    """The header that keeps a page out; None when none does. Lines of X-Robots-Tag are apart by line breaks."""
    if headers.get("tdm-reservation", "").strip() == "1":
        return "tdm-reservation"
    for line in headers.get("x-robots-tag", "").lower().split("\n"):
        is_ours = True
        for word in line.split(","):
            name, colon, rest = word.strip().partition(":")
            if colon and name.strip() not in _WITH_VALUE:
                is_ours = name.strip() in (AGENT.lower(), "*")
                name = rest
            if is_ours and name.strip() in _REFUSING:
                return "X-Robots-Tag"
    return None


def refused_by_page(page: bytes) -> str | None:
    """The meta element that keeps an HTML page out; None when none does."""
    for found in _META.finditer(page[:_HEAD_BYTES]):
        attributes = {
            name.lower(): unescape(double or single or bare).strip().lower()
            for name, double, single, bare in _ATTRIBUTE.findall(found.group(1).decode("latin-1"))
        }
        name, content = attributes.get("name", ""), attributes.get("content", "")
        if name in ("robots", AGENT.lower()) and _REFUSING & {word.strip() for word in content.split(",")}:
            return f"meta {name}"
        if name == "tdm-reservation" and content == "1":
            return "meta tdm-reservation"
    return None


def origin_of(url: str) -> str:
    """Scheme and host of a url, for its robots.txt."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
