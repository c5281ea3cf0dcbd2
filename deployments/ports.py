"""Loopback ports for the local services: the preferred one when it is free, else any free one."""

import socket
from collections.abc import Collection

import psutil

LOOPBACK = "127.0.0.1"


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
    """The first preferred port that is free and not in `avoid`, else one given by the system.

    Another program may take it before our server does; the caller notices and chooses again.
    """
    for port in preferences:
        if port not in avoid and is_free(port):
            return port
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((LOOPBACK, 0))
            port = probe.getsockname()[1]
        if port not in avoid:
            return port


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
