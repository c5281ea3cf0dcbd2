"""Which IP addresses belong to nobody in particular: the special-purpose ranges of IANA's registries.

An own table, because `ipaddress.is_global` has changed between Python releases, and a release must not
change what a corpus version holds.
"""

from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network

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


def is_public_ipv4(text: str) -> bool:
    """Whether this is an IPv4 address, and a globally routable one."""
    try:
        address = IPv4Address(text)
    except AddressValueError:
        return False
    return not any(address in network for network in _RESERVED_V4)


def is_ipv4(text: str) -> bool:
    """Whether this is an IPv4 address; an octet with a leading zero is none."""
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


def is_ipv6(text: str, *, public_only: bool) -> bool:
    """Whether this is an IPv6 address in global unicast space, or, unless public_only, a local one.

    Other well-formed texts (`a::b`, `::`) are more often code than addresses and are not taken for one.
    """
    try:
        address = IPv6Address(text)
    except AddressValueError:
        return False
    if address.ipv4_mapped is not None:
        mapped = str(address.ipv4_mapped)
        return is_public_ipv4(mapped) if public_only else is_ipv4(mapped)
    if address in _GLOBAL_V6:
        if sum(bool(group) for group in text.split(":")) < MIN_GROUPS:
            return False
        return not (public_only and any(address in network for network in _RESERVED_V6))
    return not public_only and any(address in network for network in _LOCAL_V6)
