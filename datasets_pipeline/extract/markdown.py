"""Markdown: the body as it is written, and what its front matter states.

YAML (`---`) and TOML (`+++`) front matter is taken off. Its title becomes the first heading when the
body has none, because pages of site generators carry their title only there. Front matter that does
not parse stays in the text: losing a page over a colon in its header would be worse.
"""

import re
from collections.abc import Mapping
from typing import Any

from datasets_pipeline.extract.decoding import decode
from datasets_pipeline.extract.licences import spdx_of
from datasets_pipeline.extract.media_types import MARKDOWN
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.extract.stated import iso_date, iso_language
from datasets_pipeline.normalize import normalize_text
from datasets_pipeline.sources.base import ExtractedDocument, ExtractionResult

VERSION = "1"
MEDIA_TYPES = (MARKDOWN,)

_MAX_FRONT_MATTER = 64 * 1024  # characters; a header, not a data file: safe_load reads 50 KB a second
_TOP_HEADING = re.compile(r"#[ \t]|[^\n]{1,300}\n={3,}[ \t]*\n|<h1\b", re.IGNORECASE)
_DATES = ("date", "lastmod", "last_updated", "updated", "created", "published")
_LICENCES = ("license", "licence", "spdx")
_LANGUAGES = ("lang", "language", "locale")


def extract(data: bytes, uri: str, media_type: str, options: ExtractOptions) -> ExtractionResult:
    """The Markdown body as one document."""
    decoded = decode(data, uri, declared=options.encoding, max_odd_share=options.max_odd_share)
    stated, body = split_front_matter(decoded.text)
    title = _one_line(stated.get("title"))
    if title and body.strip() and not _TOP_HEADING.match(body.lstrip()):
        body = f"# {title}\n\n{body.lstrip()}"
    licence = _one_line(_first(stated, _LICENCES))
    document = ExtractedDocument(
        text=body,
        start=0,
        end=len(data),
        media_type=media_type,
        extractor="markdown",
        extractor_version=VERSION,
        licence=spdx_of(licence) if licence else None,
        licence_evidence="front matter" if licence else None,
        stated_date=next((day for key in _DATES if (day := iso_date(stated.get(key)))), None),
        language=next((code for key in _LANGUAGES if (code := iso_language(stated.get(key)))), None),
        metadata=decoded.metadata | ({"title": title} if title else {}),
    )
    return ExtractionResult([document])


def split_front_matter(text: str) -> tuple[Mapping[str, Any], str]:
    """(what the front matter states, the body); ({}, text) when there is none that parses."""
    text = text.lstrip("\ufeff")
    first, _, rest = text.partition("\n")
    fence = first.rstrip()
    if fence not in ("---", "+++"):
        return {}, text
    header: list[str] = []
    size = position = 0
    while position < len(rest) and size <= _MAX_FRONT_MATTER:
        end = rest.find("\n", position)
        end = len(rest) if end < 0 else end
        line = rest[position:end]
        position = end + 1
        if line.rstrip() == fence or (fence == "---" and line.rstrip() == "..."):
            stated = _parsed("\n".join(header), fence)
            return ({}, text) if stated is None else (stated, rest[position:])
        header.append(line)
        size += len(line) + 1
    return {}, text


def _parsed(header: str, fence: str) -> Mapping[str, Any] | None:
    """The header as a mapping with lower-case keys; None when it is not one."""
    try:
        if fence == "---":
            import yaml

            values = yaml.safe_load(header) if header.strip() else {}
        else:
            import tomllib

            values = tomllib.loads(header)
    except Exception:  # whatever a YAML or TOML parser makes of hostile input, the text itself is still there
        return None
    if not isinstance(values, dict):
        return None
    return {str(key).lower(): value for key, value in values.items() if isinstance(key, str)}


def _first(stated: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((stated[key] for key in keys if stated.get(key)), None)


def _one_line(value: Any) -> str | None:
    """A short scalar as one line, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    line = " ".join(normalize_text(str(value)).split())
    return line if 0 < len(line) <= 300 else None
