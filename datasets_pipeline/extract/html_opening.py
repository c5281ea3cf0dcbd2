"""What a page's opening states of it: title, language, the values of <meta> and <link>. A compiled loop finds them."""

import re
from dataclasses import dataclass
from html import unescape

from datasets_pipeline.normalize import normalize_text

_CHARACTERS = 65536
"""Of a page, in which it states what it is."""
_MAX_TAGS = 256
"""Of those in question; a page with more is searched by the patterns alone."""
_HTML_OPEN = re.compile(r"<html\b([^<>]*)>", re.IGNORECASE)
_META_OR_LINK = re.compile(r"<(?:meta|link)\b([^<>]*)>|<a\b([^<>]*\brel\s*=\s*[\"']?license[^<>]*)>", re.IGNORECASE)
# [^<>]* instead of .*? keeps every expression linear on hostile input.
_ATTRIBUTE = re.compile(r"([A-Za-z:_-]{1,40})\s*=\s*(?:\"([^\"<>]*)\"|'([^'<>]*)'|([^\s\"'<>]+))")
_TITLE = re.compile(r"<title\b[^<>]*>([^<>]{1,300})</title", re.IGNORECASE)


@dataclass(frozen=True)
class Stated:
    """Of a page's opening: its characters, the named values by lower-case name, title and language tag."""

    opening: str
    named: dict[str, str]
    title: str | None
    language: str | None


def stated_by(page: str) -> Stated:
    """What the first 65,536 characters state; <meta> and <link> behind the head count where some carry itemprop."""
    import numpy as np

    from datasets_pipeline.extract import html_opening_kernel as kernel

    opening = page[:_CHARACTERS]
    data = opening.encode("utf-8", "replace")
    places, kinds = np.empty(_MAX_TAGS, np.int64), np.empty(_MAX_TAGS, np.uint8)
    num_tags, words = kernel.find_tags(np.frombuffer(data, np.uint8), places, kinds)
    if num_tags > _MAX_TAGS:
        return Stated(opening, _named_values([opening]), _title([opening]), _language([opening]))
    tags: dict[int, list[str]] = {kernel.META: [], kernel.TITLE: [], kernel.HTML: []}
    ends_head = not words & (kernel.HAS_LICENCE | kernel.HAS_ITEMPROP)
    is_behind = False
    for place, kind in zip(places[:num_tags].tolist(), kinds[:num_tags].tolist(), strict=True):
        if kind == kernel.HEAD_END:
            is_behind = ends_head
        elif kind == kernel.TITLE:
            # Up to its end: the text has at most 300 characters of at most four bytes.
            tag_end = data.find(b">", place)
            tags[kind].append(data[place : tag_end + 1300].decode("utf-8", "replace"))
        elif not (is_behind and kind == kernel.META):
            tag = data[place : data.find(b">", place) + 1]
            if b"<" not in tag[1:]:
                tags[kind].append(tag.decode("utf-8", "replace"))
    # A link that names a licence may be any <a>: rare enough to look for in all of it.
    named = _named_values([opening] if words & kernel.HAS_LICENCE_VALUE else tags[kernel.META])
    return Stated(opening, named, _title(tags[kernel.TITLE]), _language(tags[kernel.HTML]))


def _attributes(inside_tag: str) -> dict[str, str]:
    return {
        name.lower(): unescape(double or single or bare).strip()
        for name, double, single, bare in _ATTRIBUTE.findall(inside_tag)
    }


def _named_values(parts: list[str]) -> dict[str, str]:
    """Values of <meta name|property|itemprop|http-equiv> and <link rel> by lower-case name; the first wins."""
    values: dict[str, str] = {}
    for meta, anchor in (found for part in parts for found in _META_OR_LINK.findall(part)):
        attributes = _attributes(meta or anchor)
        keys = ("name", "property", "itemprop", "http-equiv", "rel")
        name = next((attributes[key].lower() for key in keys if key in attributes), None)
        value = attributes.get("content") or attributes.get("href")
        if name and value:
            values.setdefault(name, value)
    return values


def _language(parts: list[str]) -> str | None:
    found = next((found for part in parts if (found := _HTML_OPEN.search(part))), None)
    attributes = _attributes(found.group(1)) if found else {}
    return attributes.get("lang") or attributes.get("xml:lang")


def _title(parts: list[str]) -> str | None:
    found = next((found for part in parts if (found := _TITLE.search(part))), None)
    return (" ".join(normalize_text(unescape(found.group(1))).split()) or None) if found else None
