"""E-mail addresses and IP addresses, found as spans to redact or as a reason to drop.

Clean text costs almost nothing: RE2 looks for an '@' between characters, four dotted numbers, or colons
between hexadecimal groups (about 500 MB/s a core); only texts with one of these are scanned, on their
UTF-8 bytes, so offsets are bytes from the start. Every pattern is bounded: time is linear in the text.

What is taken for an e-mail address: a local part of up to 64 bytes (ASCII, or Latin letters with
diacritics), '@', a domain whose last label has two or more letters. Not: file names (`logo@2x.png`),
`git@host:path`, and, unless `reserved` is set, the example domains of RFC 2606, which belong to nobody.

What is taken for an IP address: four octets without leading zeros, or IPv6 as RFC 4291 writes it, in public
space (with `reserved`, also in private, loopback and documentation ranges). Not a version or section number:
glued to letters, digits, `_`, a letter and `-`, or further dotted parts (`v1.2.3.4`, `1.2.3.4.5`,
`1.2.3.4-rc1`, `foo-1.2.3.4`); after a comparison (`==1.2.3.4`), a product (`Name/1.2.3.4`), `§`, or a word such
as version, release, section, chapter; before `=` (an object identifier); or, all four parts below 32, after `@`,
in a Markdown heading, at the start of a line before a word, or as the text of a link to a place in a page.
"""

import re
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from datasets_pipeline.rules.ip_addresses import is_ipv4, is_ipv6, is_public_ipv4
from datasets_pipeline.rules.verdicts import Check, Verdicts, first_failing
from ingot.schemas import SPAN

VERSION = "2"
KIND = "span"
LANGUAGES = None
"""Valid everywhere: addresses look alike in all languages."""

Found = tuple[int, int, str]
"""start, end, kind"""

MAX_CONTEXT_BYTES = 100
MAX_SECTION = 32
"""Four numbers below this may be a section number."""

EMAIL_REPLACEMENT = "<EMAIL>"
IP_REPLACEMENT = "<IP_ADDRESS>"


class Config(BaseModel):
    """Options of `- rule: pii`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Literal["redact", "drop"] = Field(
        default="redact",
        description="redact replaces each address by <EMAIL> or <IP_ADDRESS>; drop drops documents that hold one.",
    )
    emails: bool = Field(default=True, description="Look for e-mail addresses.")
    ip_addresses: bool = Field(default=True, description="Look for IPv4 and IPv6 addresses.")
    reserved: bool = Field(
        default=False,
        description="Also take example domains and private, loopback and documentation IP ranges; they identify "
        "nobody, but an internal network's plan may be worth hiding.",
    )


# Latin letters with diacritics, U+00C0 to U+024F, are two bytes, the first of them C3 to C9.
_LATIN = rb"[\xc3-\xc9][\x80-\xbf]"
_LOCAL = rb"(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]|" + _LATIN + rb")"
# Patterns start with what they look for and look back afterwards: `re` then skips to it, twice as fast.
_AT_SIGN = re.compile(rb"@(?<=[A-Za-z0-9_\x80-\xbf+-]@)(?=[A-Za-z0-9\xc3-\xc9])")
_LOCAL_TAIL = re.compile(_LOCAL + rb"{1,64}\Z")
_LABEL = rb"(?:[A-Za-z0-9]|" + _LATIN + rb")(?:[A-Za-z0-9_-]|" + _LATIN + rb"){0,62}"
_DOMAIN = re.compile(rb"(?:" + _LABEL + rb"\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9_])")
# A local part starts with a letter or digit; what stands before (quotes, brackets, mailto:) is not part of it.
_LOCAL_START = re.compile(rb"[A-Za-z0-9_]|" + _LATIN)
_FILE_SUFFIXES = {
    b"png", b"jpg", b"jpeg", b"gif", b"svg", b"webp", b"ico", b"js", b"css", b"map", b"json", b"yaml", b"yml",
    b"html", b"htm", b"md", b"txt", b"xml", b"service", b"socket", b"timer", b"jar", b"whl", b"tgz", b"gz",
}  # fmt: skip
_EXAMPLE_DOMAIN = re.compile(rb"(?:^|\.)(?:example\.(?:com|org|net|edu)|example|test|invalid|localhost|local)\Z")

_IPV4 = re.compile(
    rb"[0-9](?<![A-Za-z0-9_.][0-9])(?<![A-Za-z]-[0-9])[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?![A-Za-z0-9_=]|\.[0-9]|-[A-Za-z]|\.[A-Za-z]{2})"
)
_IPV6 = re.compile(
    rb"(?<![A-Za-z0-9_:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9A-Fa-f]{1,4})?"
    rb"(?![A-Za-z0-9_:])"
)
_VERSION_CONTEXT = re.compile(
    rb"(?:[=~!<>]=\s?|[~^]\s?|\xc2\xa7[\sand0-9.,&]{0,60}|"
    rb"(?<![A-Za-z])(?:versions?|ver|v|releases?|rel|revision|rev|build|firmware|"
    rb"sections?|sect?|chapters?|clauses?|figures?|fig|appendix|annex)"
    rb"[\s.:=\"'`*(]{1,3}|"
    rb"(?<![/A-Za-z0-9.])[A-Za-z][A-Za-z0-9_.-]{1,30}/)\Z",
    re.IGNORECASE,
)
_IN_HEADING = re.compile(rb"(?:^|\n)#{1,6}[^\n]*\Z")
_LINE_START = re.compile(rb"(?:^|\n)[\s*>|-]{0,8}\Z")

_PREFILTER_EMAIL = r"[^\s]@[^\s]"
_PREFILTER_IPV4 = r"\d\.\d{1,3}\.\d{1,3}\.\d"
_PREFILTER_IPV6 = r"[0-9A-Fa-f:]:[0-9A-Fa-f:]*:"


def find_spans(config: Config, documents: pa.Table, key: bytes) -> pa.Table:
    """Column spans, list<SPAN> per row: sorted, not overlapping, in UTF-8 bytes of the text; empty where none is."""
    column = documents["text"].combine_chunks()
    candidates = (
        (_emails, _candidates(column, _PREFILTER_EMAIL, config.emails)),
        (_ipv4_addresses, _candidates(column, _PREFILTER_IPV4, config.ip_addresses)),
        (_ipv6_addresses, _candidates(column, _PREFILTER_IPV6, config.ip_addresses)),
    )
    found: dict[int, list[Found]] = {}
    for row in np.flatnonzero(np.logical_or.reduce([rows for _, rows in candidates])):
        data = column[int(row)].as_buffer().to_pybytes()
        spans = [span for find, rows in candidates if rows[row] for span in find(data, config.reserved)]
        if spans:
            found[int(row)] = _without_overlaps(spans)
    return pa.table({"spans": _as_array(found, len(column))})


def judge(config: Config, features: pa.Table, found: pa.Table) -> Verdicts:
    """With policy drop: reason pii_found, the score being the number of spans, the threshold 0. Else all pass."""
    count = pc.fill_null(pc.list_value_length(found["spans"]), 0)
    if isinstance(count, pa.ChunkedArray):
        count = count.combine_chunks()
    numbers = count.to_numpy(zero_copy_only=False).astype(np.float64)
    failed = (numbers > 0) & (config.policy == "drop")
    check = Check("pii_found", failed, numbers, np.zeros(len(numbers)))
    return first_failing([check], np.ones(len(numbers), dtype=bool))


def _candidates(column: pa.Array, pattern: str, wanted: bool) -> np.ndarray:
    if not wanted:
        return np.zeros(len(column), dtype=bool)
    return pc.fill_null(pc.match_substring_regex(column, pattern), False).to_numpy(zero_copy_only=False)


def _emails(data: bytes, reserved: bool) -> list[Found]:
    spans: list[Found] = []
    floor = 0
    for match in _AT_SIGN.finditer(data):
        at = match.start()
        domain = _DOMAIN.match(data, at + 1, at + 256)
        if domain is None:
            continue
        start = _local_start(data, max(floor, at - 64), at)
        name = domain.group().lower()
        if start is None or name.rsplit(b".", 1)[1] in _FILE_SUFFIXES:
            continue
        if data[start:at] == b"git" or (not reserved and _EXAMPLE_DOMAIN.search(name)):
            continue
        spans.append((start, domain.end(), "email"))
        floor = domain.end()
    return spans


def _local_start(data: bytes, floor: int, at: int) -> int | None:
    """Where the local part before data[at] starts, not before floor; None where there is none."""
    tail = _LOCAL_TAIL.search(data, floor, at)
    if tail is None:
        return None
    start = tail.start()
    # `mailto:` ends at the colon, but `/`, `=`, quotes and dots may precede an address in running text.
    for separator in (b"/", b"=", b"|", b"'", b"`", b"..", b"{"):
        cut = data.rfind(separator, start, at)
        start = max(start, cut + len(separator)) if cut >= 0 else start
    first = _LOCAL_START.search(data, start, at)
    return first.start() if first else None


def _ipv4_addresses(data: bytes, reserved: bool) -> list[Found]:
    is_wanted = is_ipv4 if reserved else is_public_ipv4
    return [
        (match.start(), match.end(), "ip_address")
        for match in _IPV4.finditer(data)
        if is_wanted(match.group().decode()) and not _is_version(data, match)
    ]


def _ipv6_addresses(data: bytes, reserved: bool) -> list[Found]:
    return [
        (match.start(), match.end(), "ip_address")
        for match in _IPV6.finditer(data)
        if is_ipv6(match.group().decode(), public_only=not reserved)
    ]


def _is_version(data: bytes, match: re.Match[bytes]) -> bool:
    before = data[max(0, match.start() - MAX_CONTEXT_BYTES) : match.start()]
    if _VERSION_CONTEXT.search(before):
        return True
    if any(int(octet) >= MAX_SECTION for octet in match.group().split(b".")):
        return False
    is_titled = re.match(rb"\.?[ \t]+[A-Za-z]|\]\([^)\s]*#", data[match.end() : match.end() + 200]) is not None
    if before.endswith(b"@"):
        return True  # name@1.2.3.4, as package managers write it
    if before.endswith(b"["):
        return is_titled  # a link to a section
    return _IN_HEADING.search(before) is not None or (is_titled and _LINE_START.search(before) is not None)


def _without_overlaps(spans: list[Found]) -> list[Found]:
    """Sorted; of overlapping spans the one that starts first stays, then the longer one."""
    kept: list[Found] = []
    for span in sorted(spans, key=lambda s: (s[0], -s[1])):
        if not kept or span[0] >= kept[-1][1]:
            kept.append(span)
    return kept


def _as_array(found: dict[int, list[Found]], num_rows: int) -> pa.Array:
    lengths = np.zeros(num_rows + 1, dtype=np.int32)
    for row, spans in found.items():
        lengths[row + 1] = len(spans)
    flat = [span for row in sorted(found) for span in found[row]]
    kinds = [kind for _, _, kind in flat]
    values = pa.StructArray.from_arrays(
        [
            pa.array([start for start, _, _ in flat], pa.int32()),
            pa.array([end for _, end, _ in flat], pa.int32()),
            pa.array(kinds, pa.string()),
            pa.array([EMAIL_REPLACEMENT if kind == "email" else IP_REPLACEMENT for kind in kinds], pa.string()),
            pa.nulls(len(kinds), pa.string()),
        ],
        fields=list(SPAN),
    )
    return pa.ListArray.from_arrays(pa.array(np.cumsum(lengths, dtype=np.int32)), values)
