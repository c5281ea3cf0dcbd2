"""Header fields of a mail as text: encoded words (RFC 2047), raw UTF-8 (RFC 6532), raw bytes of older programs, dates.

Fields are decoded here and not by the email package's structured parser, which raises on fields that real mail has,
and whose reading changes with Python's version.
"""

import base64
import binascii
import re
from datetime import date
from email.message import Message
from email.utils import parsedate

from datasets_pipeline.extract.decoding import decode
from datasets_pipeline.extract.stated import iso_date
from datasets_pipeline.normalize import normalize_text
from datasets_pipeline.sources.base import ExtractionError

VERSION = "1"

_ENCODED_WORD = re.compile(r"=\?([A-Za-z0-9_:.+-]{1,40})(?:\*[A-Za-z0-9-]{0,20})?\?([bBqQ])\?([^?]{0,2000})\?=")
_HEX = re.compile(rb"=([0-9A-Fa-f]{2})")
_MAX_CHARACTERS = 4000
"""Of one field; what is longer is a list of addresses or an attack."""
_YEARS = range(1970, 2101)


def field_of(message: Message, name: str) -> str:
    """The first field of that name, decoded, white space as single blanks; empty when there is none."""
    raw = next((value for key, value in message.raw_items() if key.lower() == name.lower()), "")
    return decoded(str(raw))


def decoded(raw: str) -> str:
    """A field's raw value, in which bytes beyond ASCII are surrogates, as text on one line."""
    raw = raw[:_MAX_CHARACTERS]
    parts: list[str] = []
    run: list[bytes] = []  # neighbours of one charset are joined first: a character may be split between them
    run_charset, position = "", 0
    for word in _ENCODED_WORD.finditer(raw):
        between = raw[position : word.start()]
        charset, kind, payload = word.groups()
        if run and (between.strip() or charset.lower() != run_charset):
            parts.append(_text(b"".join(run), run_charset))
            run = []
        if between.strip():
            parts.append(_raw_text(between))
        run.append(_payload(kind, payload))
        run_charset, position = charset.lower(), word.end()
    if run:
        parts.append(_text(b"".join(run), run_charset))
    parts.append(_raw_text(raw[position:]))
    return " ".join(normalize_text("".join(parts)).split())


def stated_day(message: Message) -> str | None:
    """The day of the Date field as written there, without a time zone applied; None for none that can be read."""
    raw = field_of(message, "Date")
    try:
        parts = parsedate(raw)
        day = date(*parts[:3]).isoformat() if parts else iso_date(raw)
    except (ValueError, TypeError, IndexError, OverflowError):
        day = iso_date(raw)
    return day if day and int(day[:4]) in _YEARS else None


def _payload(kind: str, payload: str) -> bytes:
    raw = payload.encode("ascii", "surrogateescape")
    if kind in "qQ":
        return _HEX.sub(lambda found: bytes([int(found.group(1), 16)]), raw.replace(b"_", b" "))
    try:
        return base64.b64decode(raw + b"=" * (-len(raw) % 4))
    except (binascii.Error, ValueError):
        return b""


def _raw_text(value: str) -> str:
    if value.isascii():
        return value
    return _text(value.encode("utf-8", "surrogateescape"), None)


def _text(data: bytes, charset: str | None) -> str:
    if not data:
        return ""
    try:
        return decode(data, "", declared=charset, max_odd_share=1.0).text
    except ExtractionError:
        return data.decode("latin-1")
