"""Loopback ports for the local services: the preferred one when it is free, else any free one."""

import random
import socket
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import psutil

LOOPBACK = "127.0.0.1"
_LENT_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST, _HIGHEST = 10_000, 65_535  # below live the services that everybody knows by number


def is_free(port: int) -> bool:
    """True when a server could listen on this loopback port now.

    SO_REUSEADDR as the servers set it: without it a port in TIME_WAIT would look taken after `down`.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def choose_port(preferences: Collection[int], avoid: Collection[int] = ()) -> int:
    """The first preferred port that is free and not in `avoid`, else a free one at random.

    Not one of those the system lends to outgoing connections: a server that is started again could find its port
    lent, and whoever holds its address would lose it. Another program may take the port before our server does; the
    caller notices and chooses again.
    """
    for port in preferences:
        if port not in avoid and is_free(port):
            return port
    lent = _lent_ports()
    while True:
        port = random.randint(_LOWEST, _HIGHEST)
        if port not in lent and port not in avoid and is_free(port):
            return port


def _lent_ports() -> range:
    """The ports of outgoing connections; IANA's range where the system does not say or leaves next to none."""
    with suppress(OSError, ValueError):
        first, last = map(int, _LENT_PORTS.read_text().split())
        if max(0, first - _LOWEST) + max(0, _HIGHEST - last) > 1_000:
            return range(first, last + 1)
    return range(49_152, _HIGHEST + 1)


def listening_sockets(processes: Collection[psutil.Process]) -> list[tuple[str, int]]:
    """(address, port) of every socket these processes listen on, sorted."""
    found: set[tuple[str, int]] = set()
    for process in processes:
        try:
            connections = process.net_connections(kind="inet")
        except psutil.Error:
            continue
        found.update((c.laddr.ip, c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN)
    return sorted(found)
