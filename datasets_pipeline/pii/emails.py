"""E-mail addresses.

Taken for one: a local part of up to 64 bytes (ASCII, or Latin letters with diacritics), `@`, a domain whose last label
has two or more letters. Not: file names (`logo@2x.png`), `git@host:path`, the password of a URL, and, unless reserved
ones are wanted, the example domains of RFC 2606, which belong to nobody.
"""

import re
from collections.abc import Iterator, Sequence

from datasets_pipeline.pii.found import Found

KIND = "email"

# Latin letters with diacritics, U+00C0 to U+024F, are two bytes, the first of them C3 to C9.
_LATIN = rb"[\xc3-\xc9][\x80-\xbf]"
_LOCAL = rb"(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]|" + _LATIN + rb")"
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

_USER_OF_URL = re.compile(rb"://[^\s/@:]{0,64}:[^\s/@]{0,64}\Z")


def find(data: bytes, places: Sequence[tuple[int, int]], reserved: bool) -> Iterator[Found]:
    """The addresses around some `@`; their value is in lower case."""
    floor = 0
    for at, _ in places:
        if _AT_SIGN.match(data, at) is None:
            continue
        domain = _DOMAIN.match(data, at + 1, at + 256)
        if domain is None:
            continue
        start = _local_start(data, max(floor, at - 64), at)
        name = domain.group().lower()
        if start is None or name.rsplit(b".", 1)[1] in _FILE_SUFFIXES:
            continue
        if data[start:at] == b"git" or (not reserved and _EXAMPLE_DOMAIN.search(name)):
            continue
        if _USER_OF_URL.search(data, max(0, at - 160), at):
            continue
        value = data[start : domain.end()].decode("utf-8", "replace").lower().encode()
        yield Found(start, domain.end(), KIND, value)
        floor = domain.end()


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
