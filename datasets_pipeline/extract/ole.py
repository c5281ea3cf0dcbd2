"""OLE compound files by [MS-CFB] 2.2 to 2.6: the names at the root, which tell a .doc from an .xls, a .msg or an
encrypted .docx, and the streams below them, to be looked through before a library is.

A damaged file gives what could be followed; nothing is raised.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

SIGNATURE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

VERSION = "1"

_END = 0xFFFFFFFA  # this and above are no sector numbers
_ENTRY_BYTES = 128
_SHORT_STREAM_BYTES = 4096  # shorter streams lie in sectors of 64 bytes inside the root's own stream
_SHORT_SECTOR_BYTES = 64


@dataclass(frozen=True)
class _Entry:
    name: str
    start: int
    size: int


def root_names(data: bytes) -> frozenset[str]:
    """Names of the streams and storages at the root."""
    return frozenset(entry.name for entry in _File(data).children)


def stream(data: bytes, name: str) -> bytes:
    """A stream at the root; empty when there is none, cut where its chain is broken."""
    file = _File(data)
    return next((file.read(entry) for entry in file.children if entry.name == name), b"")


class _File:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._root = _Entry("", _END, 0)
        self._following: tuple[int, ...] = ()
        self.children: list[_Entry] = []
        try:
            self._size = 1 << min(max(struct.unpack_from("<H", data, 30)[0], 7), 16)
            table = b"".join(self._sector(number) for number in self._table_sectors())
            self._following = struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4])
            directory = b"".join(self._sector(number) for number in _chain(self._following, self._number(48)))
            if len(directory) >= _ENTRY_BYTES:
                self._root, child = _entry(directory, 0)[0], struct.unpack_from("<I", directory, 76)[0]
                self.children = list(_siblings(directory, child))
        except struct.error:
            return

    def read(self, entry: _Entry) -> bytes:
        if entry.size >= _SHORT_STREAM_BYTES:
            return self._read_long(entry)
        inside = self._read_long(self._root)
        try:
            table = b"".join(self._sector(number) for number in _chain(self._following, self._number(60)))
        except struct.error:
            return b""
        following = struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4])
        places = (number * _SHORT_SECTOR_BYTES for number in _chain(following, entry.start))
        return b"".join(inside[place : place + _SHORT_SECTOR_BYTES] for place in places)[: entry.size]

    def _read_long(self, entry: _Entry) -> bytes:
        return b"".join(self._sector(number) for number in _chain(self._following, entry.start))[: entry.size]

    def _sector(self, number: int) -> bytes:
        return self._data[(number + 1) * self._size : (number + 2) * self._size]

    def _number(self, place: int) -> int:
        return int(struct.unpack_from("<I", self._data, place)[0])

    def _table_sectors(self) -> list[int]:
        """Numbers of the sectors that hold the allocation table: 109 in the header, the rest in a chain."""
        sectors = list(struct.unpack_from("<109I", self._data, 76))
        number, seen = self._number(68), set[int]()
        while number < _END and number not in seen and len(self._sector(number)) == self._size:
            seen.add(number)
            *more, number = struct.unpack(f"<{self._size // 4}I", self._sector(number))
            sectors += more
        # A table names its sectors once; one that repeats them is a bomb.
        return list(dict.fromkeys(number for number in sectors if number < _END))


def _chain(following: tuple[int, ...], start: int) -> Iterator[int]:
    seen: set[int] = set()
    while start < len(following) and start not in seen:
        seen.add(start)
        yield start
        start = following[start]


def _siblings(directory: bytes, first: int) -> Iterator[_Entry]:
    """The entries of a tree of siblings."""
    waiting, seen = [first], set[int]()
    while waiting:
        number = waiting.pop()
        if number in seen or (number + 1) * _ENTRY_BYTES > len(directory):
            continue
        seen.add(number)
        entry, beside = _entry(directory, number)
        yield entry
        waiting += beside


def _entry(directory: bytes, number: int) -> tuple[_Entry, tuple[int, int]]:
    """An entry, and the numbers of its left and right sibling."""
    place = number * _ENTRY_BYTES
    num_bytes, _, left, right = struct.unpack_from("<2H2I", directory, place + 64)
    name = directory[place : place + max(min(num_bytes, 64) - 2, 0)].decode("utf-16-le", "replace")
    start, size = struct.unpack_from("<2I", directory, place + 116)
    return _Entry(name, start, size), (left, right)
