"""Which machines a web source may talk to: public addresses, and private ones that a setting names.

A name is resolved once; every address it has is checked, and the connection goes to the checked address itself, so a
name that resolves to something else a moment later changes nothing.
"""

import ipaddress
import os
import socket
from collections.abc import Callable, Mapping

from ingot.errors import RecipeError

SETTING = "INGOT_WEB_ALLOW_PRIVATE"

Resolver = Callable[[str, int], list[str]]
"""The addresses of a name and port, as text. Raises OSError when there are none."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Where clouds keep credentials of machines, although the address looks public.
_METADATA = {ipaddress.ip_address("168.63.129.16"), ipaddress.ip_address("fd00:ec2::254")}
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # how networks without IPv4 show its addresses (RFC 6052)


class RefusedAddress(Exception):
    """An address that no source may talk to. The message names host and kind."""


def resolve(host: str, port: int) -> list[str]:
    """The addresses the system's resolver has for a name."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[4][0]) for place in found))


def checked_addresses(host: str, port: int, resolver: Resolver = resolve) -> list[str]:
    """The addresses to connect to, in the resolver's order.

    Raises RefusedAddress when one of them is none that a source may talk to, OSError when the name has none.
    """
    addresses = resolver(host, port)
    if not addresses:
        raise OSError(f"{host} has no address")
    private_allowed = is_private_allowed(host, port)
    for text in addresses:
        kind = refused_kind(text)
        if kind is not None and not (private_allowed and kind in ("private", "loopback")):
            hint = f"; name {host}:{port} in {SETTING} if it is yours" if kind in ("private", "loopback") else ""
            raise RefusedAddress(f"{host} is at a {kind} address{hint}")
    return addresses


def is_private_allowed(host: str, port: int, environ: Mapping[str, str] | None = None) -> bool:
    """Whether the setting lets a host and port be on a private network."""
    return f"{host.lower()}:{port}" in allowed_private(os.environ if environ is None else environ)


def allowed_private(environ: Mapping[str, str]) -> frozenset[str]:
    """The `host:port` of INGOT_WEB_ALLOW_PRIVATE. Raises RecipeError for an entry without a port."""
    entries = frozenset(part.strip().lower() for part in environ.get(SETTING, "").split(",") if part.strip())
    for entry in entries:
        host, colon, port = entry.rpartition(":")
        if not colon or not host or not port.isdigit():
            raise RecipeError(f"setting {SETTING} has the entry {entry!r}; write host:port, with commas between")
    return entries


def refused_kind(text: str) -> str | None:
    """What forbids an address: private, loopback, link-local, multicast, metadata, reserved; None for a public one."""
    try:
        address: _Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return "reserved"
    return next((kind for kind in map(_kind, _meant(address)) if kind is not None), None)


def _meant(address: _Address) -> list[_Address]:
    """Where traffic to an address may end: the address, and those that are written inside of it."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    number = int(address)
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in _TRANSLATED or (number >> 32 == 0 and number > 1):
        return [ipaddress.IPv4Address(number & 0xFFFFFFFF)]
    inside = [one for one in (address.sixtofour, *(address.teredo or ())) if one is not None]
    return [*inside, address]


def _kind(address: _Address) -> str | None:
    if address in _METADATA:
        return "metadata"
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    if address.is_multicast:
        return "multicast"
    if address.is_unspecified or address.is_reserved or getattr(address, "is_site_local", False):
        return "reserved"
    return None if address.is_global else "private"
