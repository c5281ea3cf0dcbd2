"""OLE compound files by [MS-CFB] 2.2 to 2.6: the names at the root, which tell a .doc from an .xls, a .msg or an
encrypted .docx, and the streams below them.

A damaged file gives what could be followed; nothing is raised. Libraries follow chains of sectors in circles until the
memory is full, so they are handed `packed()`, a new file around the stream that was read here.
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
    """Names of the streams and storages at the root, in lower case: their case tells nothing apart."""
    return frozenset(entry.name.lower() for entry in _File(data).children)


def stream(data: bytes, name: str) -> bytes:
    """A stream at the root, its name in any case; empty when there is none, cut where its chain is broken."""
    file = _File(data)
    return next((file.read(entry) for entry in file.children if entry.name.lower() == name.lower()), b"")


def packed(name: str, content: bytes) -> bytes:
    """A compound file of version 4 (sectors of 4,096 bytes) with one stream, filled with zeros to whole sectors."""
    size, free, end, table_mark = 4096, 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
    content = content.ljust(-(-max(len(content), 1) // size) * size, b"\x00")
    num_sectors = len(content) // size + 1  # of the stream, after that of the directory
    num_tables = -(-num_sectors // (size // 4 - 1))
    first = num_tables + 1
    chain = [*(table_mark for _ in range(num_tables)), end, *range(first + 1, first + num_sectors - 1), end]
    table = struct.pack(f"<{len(chain)}I", *chain).ljust(num_tables * size, b"\xff")
    header = SIGNATURE + struct.pack(
        "<16x5H6x9I", 0x3E, 4, 0xFFFE, 12, 6, 1, num_tables, num_tables, 0, _SHORT_STREAM_BYTES, end, 0, end, 0
    )
    header += struct.pack("<109I", *range(num_tables), *(free for _ in range(109 - num_tables)))
    # A root without a stream of its own is refused by some readers, so it names the same sectors, none of them used.
    entries = _packed_entry("Root Entry", 5, first, 0, child=1) + _packed_entry(
        name, 2, first, len(content), child=free
    )
    return header.ljust(size, b"\x00") + table + entries.ljust(size, b"\x00") + content


def _packed_entry(name: str, kind: int, start: int, size: int, child: int) -> bytes:
    encoded = name.encode("utf-16-le") + b"\x00\x00"
    entry = encoded.ljust(64, b"\x00") + struct.pack("<HBB3I", len(encoded), kind, 1, 0xFFFFFFFF, 0xFFFFFFFF, child)
    return entry.ljust(116, b"\x00") + struct.pack("<IQ", start, size)


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
