"""Passwords in URLs: `scheme://user:password@host`. The span is the password alone.

Left alone unless reserved ones are wanted: placeholders (`password`, `${DB_PASSWORD}`, `***`, one that equals the user)
and those of hosts that are examples or this machine.
"""

import re
from collections.abc import Iterator, Sequence

from datasets_pipeline.pii.found import Found

KIND = "password"

MAX_BYTES_BEFORE = 400
_USERINFO = re.compile(rb"://([^\s/@:\"'`<>|]{0,128}):([^\s/@\"'`<>|]{1,200})\Z")
_HOST = re.compile(rb"[A-Za-z0-9\[][A-Za-z0-9._:\]-]{0,252}")
_PLACEHOLDER = re.compile(
    rb"[^A-Za-z0-9]*(?:(?:my|your|the|some|db|user)?[_-]?(?:password|passwd|passwort|passw|pass|pwd|secret|token|pw)\d{0,3}|"
    rb"p[a@]ssw[o0]rd|changeme|change_me|example|admin|root|guest|test|foo|bar|baz|hunter2|x-oauth-basic|xx+|\*+|\.+)[^A-Za-z0-9]*",
    re.IGNORECASE,
)
_TEMPLATE = re.compile(rb"[${}%(]|\.\.\.|\xe2\x80\xa6")
_CAPITALS = re.compile(rb"[A-Z_]+")
_NO_HOST = re.compile(
    rb"(?:^|\.)(?:example(?:\.(?:com|org|net|edu))?|test|invalid|localhost|local)(?:[:.]?\d*)\Z|^127\.|^host(?:name)?(?::|\Z)"
)


def find(data: bytes, places: Sequence[tuple[int, int]], reserved: bool) -> Iterator[Found]:
    """The passwords before some `@`."""
    for at, _ in places:
        scheme = data.rfind(b"://", max(0, at - MAX_BYTES_BEFORE), at)
        if scheme < 0:
            continue
        match = _USERINFO.match(data, scheme, at)
        host = _HOST.match(data, at + 1)
        if match is None or host is None:
            continue
        user, password = match.groups()
        if not reserved and (_is_placeholder(user, password) or _NO_HOST.search(host.group().lower())):
            continue
        yield Found(match.start(2), match.end(2), KIND, password)


def _is_placeholder(user: bytes, password: bytes) -> bool:
    return (
        password.lower() == user.lower()
        or _TEMPLATE.search(password) is not None
        or _CAPITALS.fullmatch(password) is not None
        or _PLACEHOLDER.fullmatch(password) is not None
    )
