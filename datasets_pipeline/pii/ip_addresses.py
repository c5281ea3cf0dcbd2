"""IPv4 and IPv6 addresses.

Taken for one: four octets without leading zeros, or IPv6 as RFC 4291 writes it, in public space (with `reserved`, also
in private, loopback and documentation ranges). Not a version or section number: glued to letters, digits, `_`, a letter
and `-`, or further dotted parts (`v1.2.3.4`, `1.2.3.4.5`, `1.2.3.4-rc1`, `foo-1.2.3.4`); after a comparison
(`==1.2.3.4`), a product (`Name/1.2.3.4`), `§`, or a word such as version, release, section, chapter; before `=` (an
object identifier); or, all four parts below 32, after `@`, in a Markdown heading, at the start of a line before a word,
or as the text of a link to a section.

The special-purpose ranges of IANA's registries are an own table, because `ipaddress.is_global` has changed between
Python releases, and a release must not change what a corpus version holds.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network

from datasets_pipeline.pii.found import Found

KIND = "ip_address"

MAX_CONTEXT_BYTES = 100
MAX_SECTION = 32
"""Four numbers below this may be a section number."""

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
    rb"sections?|sect?|chapters?|clauses?|paragraphs?|articles?|tables?|figures?|fig|appendix|annex)"
    rb"[\s.:=\"'`*(]{1,3}|"
    rb"(?<![/A-Za-z0-9.])[A-Za-z][A-Za-z0-9_.-]{1,30}/)\Z",
    re.IGNORECASE,
)
_IN_HEADING = re.compile(rb"(?:^|\n)#{1,6}[^\n]*\Z")
_LINE_START = re.compile(rb"(?:^|\n)[\s*>|-]{0,40}\Z")


_RESERVED_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",  # documentation
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")
_RESERVED_V6 = (IPv6Network("2001:db8::/32"), IPv6Network("3fff::/20"))  # documentation
#: `3977:349::` stands in compressed code; addresses in use have more groups written out.
MIN_GROUPS = 3
_LOCAL_V6 = (IPv6Network("fc00::/7"), IPv6Network("fe80::/10"), IPv6Network("::1/128"))


def find_ipv4(data: bytes, places: Sequence[tuple[int, int]], reserved: bool) -> Iterator[Found]:
    """The addresses in dotted numbers."""
    is_wanted = _is_ipv4 if reserved else _is_public_ipv4
    for start, end in places:
        # What follows decides too: four bytes of it.
        for match in _IPV4.finditer(data, start, end + 4):
            if is_wanted(match.group().decode()) and not _is_version(data, match):
                yield Found(match.start(), match.end(), KIND, match.group())


def find_ipv6(data: bytes, places: Sequence[tuple[int, int]], reserved: bool) -> Iterator[Found]:
    """The addresses in runs around colons; their value is the shortest spelling."""
    for start, end in places:
        for match in _IPV6.finditer(data, start, end + 1):
            if _is_ipv6(match.group().decode(), public_only=not reserved):
                yield Found(match.start(), match.end(), KIND, str(IPv6Address(match.group().decode())).encode())


def _is_version(data: bytes, match: re.Match[bytes]) -> bool:
    before = data[max(0, match.start() - MAX_CONTEXT_BYTES) : match.start()]
    if _VERSION_CONTEXT.search(before):
        return True
    if any(int(octet) >= MAX_SECTION for octet in match.group().split(b".")):
        return False
    is_titled = re.match(rb"\.?[ \t]+[A-Za-z]|\]\([^)\s]*#", data[match.end() : match.end() + 200]) is not None
    if before.endswith(b"@"):
        return True  # name@1.2.3.4, as package managers write it
    if before.endswith((b"[", b">")):
        return is_titled  # a link to a section, in Markdown or HTML
    return _IN_HEADING.search(before) is not None or (is_titled and _LINE_START.search(before) is not None)


@lru_cache(maxsize=4096)
def _is_public_ipv4(text: str) -> bool:
    """Whether this is an IPv4 address, and a globally routable one."""
    try:
        address = IPv4Address(text)
    except AddressValueError:
        return False
    return not any(address in network for network in _RESERVED_V4)


@lru_cache(maxsize=4096)
def _is_ipv4(text: str) -> bool:
    """Whether this is an IPv4 address; an octet with a leading zero is none."""
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


@lru_cache(maxsize=4096)
def _is_ipv6(text: str, *, public_only: bool) -> bool:
    """Whether this is an IPv6 address in global unicast space, or, unless public_only, a local one.

    Other well-formed texts (`a::b`, `::`) are more often code than addresses and are not taken for one.
    """
    try:
        address = IPv6Address(text)
    except AddressValueError:
        return False
    if address.ipv4_mapped is not None:
        mapped = str(address.ipv4_mapped)
        return _is_public_ipv4(mapped) if public_only else _is_ipv4(mapped)
    if address in _GLOBAL_V6:
        if sum(bool(group) for group in text.split(":")) < MIN_GROUPS:
            return False
        return not (public_only and any(address in network for network in _RESERVED_V6))
    return not public_only and any(address in network for network in _LOCAL_V6)
