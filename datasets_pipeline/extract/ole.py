"""The names at the root of an OLE compound file: what tells a .doc from an .xls, a .msg or an encrypted .docx.

Only the directory is read, by [MS-CFB] 2.2 to 2.6; streams are not.
"""

import struct
from collections.abc import Iterator

SIGNATURE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

_NO_ENTRY = 0xFFFFFFFF
_ENTRY_BYTES = 128
_MAX_ENTRIES = 100_000


def root_names(data: bytes) -> frozenset[str]:
    """Names of streams and storages at the root; those that could be read where the file is damaged. Never raises."""
    try:
        return frozenset(_root_entries(_directory(data)))
    except (struct.error, IndexError):
        return frozenset()


def _directory(data: bytes) -> bytes:
    """The sectors of the directory, in order, as far as their chain can be followed."""
    shift = struct.unpack_from("<H", data, 30)[0]
    if not 7 <= shift <= 16:
        return b""
    size = 1 << shift
    (sector,) = struct.unpack_from("<I", data, 48)
    tables = _allocation_sectors(data, size)
    parts: list[bytes] = []
    seen: set[int] = set()
    while sector < _NO_ENTRY - 5 and sector not in seen and len(parts) * size < _MAX_ENTRIES * _ENTRY_BYTES:
        seen.add(sector)
        parts.append(data[(sector + 1) * size : (sector + 2) * size])
        table, index = divmod(sector, size // 4)
        if table >= len(tables):
            break
        place = (tables[table] + 1) * size + 4 * index
        if place + 4 > len(data):
            break
        (sector,) = struct.unpack_from("<I", data, place)
    return b"".join(parts)


def _allocation_sectors(data: bytes, size: int) -> list[int]:
    """Numbers of the sectors that hold the allocation table: 109 in the header, the rest in a chain."""
    sectors = list(struct.unpack_from("<109I", data, 76))
    following, seen = struct.unpack_from("<I", data, 68)[0], set()
    while following < _NO_ENTRY - 5 and following not in seen and (following + 2) * size <= len(data):
        seen.add(following)
        *more, following = struct.unpack_from(f"<{size // 4}I", data, (following + 1) * size)
        sectors += more
    return [sector for sector in sectors if sector < _NO_ENTRY - 5]


def _root_entries(directory: bytes) -> Iterator[str]:
    """Names of the root's children, which are a tree of siblings."""
    num_entries = len(directory) // _ENTRY_BYTES
    if not num_entries:
        return
    waiting, seen = [struct.unpack_from("<I", directory, 76)[0]], set()
    while waiting:
        entry = waiting.pop()
        if entry >= num_entries or entry in seen:
            continue
        seen.add(entry)
        start = entry * _ENTRY_BYTES
        (num_bytes,) = struct.unpack_from("<H", directory, start + 64)
        left, right = struct.unpack_from("<2I", directory, start + 68)
        yield directory[start : start + max(min(num_bytes, 64) - 2, 0)].decode("utf-16-le", "replace")
        waiting += [left, right]
