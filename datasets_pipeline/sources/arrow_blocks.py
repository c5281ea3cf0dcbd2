"""Where the messages of an Arrow IPC file lie; read outside of the jail, so in Python.

Flatbuffers (flatbuffers.dev/internals) carry a Footer of File.fbs and a Message of Message.fbs (Apache Arrow
format): a table begins with the distance to its vtable, which has the offset of every field.
"""

import struct
from dataclasses import dataclass

MAGIC = b"ARROW1"
MAX_FOOTER_BYTES = 64 * 1024 * 1024
_BLOCK_BYTES = 24  # struct Block { offset: long; metaDataLength: int; bodyLength: long; }, padded

# Field numbers of File.fbs, Message.fbs.
_FOOTER_DICTIONARIES, _FOOTER_BATCHES = 2, 3
_MESSAGE_HEADER = 2
_BATCH_LENGTH = 0


@dataclass(frozen=True)
class Block:
    """One message: [start, end) in bytes of the file, and how long its metadata is."""

    start: int
    end: int
    metadata_bytes: int


def blocks(footer: bytes) -> tuple[list[Block], list[Block]]:
    """(dictionaries, record batches) a footer names. Raises ValueError for bytes that are no such footer."""
    try:
        root = struct.unpack_from("<I", footer, 0)[0]
        return _vector(footer, root, _FOOTER_DICTIONARIES), _vector(footer, root, _FOOTER_BATCHES)
    except struct.error as error:
        raise ValueError("not a footer of an Arrow file") from error


def num_rows(metadata: bytes) -> int:
    """How many rows a record batch has, from its message's metadata. Raises ValueError for other bytes."""
    try:
        start = 8 if metadata.startswith(b"\xff\xff\xff\xff") else 4
        root = start + struct.unpack_from("<I", metadata, start)[0]
        place = _field(metadata, root, _MESSAGE_HEADER)
        if place is None:
            raise ValueError("a message without a header")
        batch = place + struct.unpack_from("<I", metadata, place)[0]
        length = _field(metadata, batch, _BATCH_LENGTH)
        rows = 0 if length is None else struct.unpack_from("<q", metadata, length)[0]
    except struct.error as error:
        raise ValueError("not a message of an Arrow file") from error
    if rows < 0:
        raise ValueError("a batch of fewer than no rows")
    return int(rows)


def _vector(data: bytes, table: int, number: int) -> list[Block]:
    place = _field(data, table, number)
    if place is None:
        return []
    start = place + struct.unpack_from("<I", data, place)[0]
    length = struct.unpack_from("<I", data, start)[0]
    if length * _BLOCK_BYTES > len(data):
        raise ValueError("more blocks than the footer holds")
    found = []
    for index in range(length):
        offset, metadata, body = struct.unpack_from("<qi4xq", data, start + 4 + index * _BLOCK_BYTES)
        if offset < 0 or metadata < 0 or body < 0:
            raise ValueError("a block without a place")
        found.append(Block(offset, offset + metadata + body, metadata))
    return found


def _field(data: bytes, table: int, number: int) -> int | None:
    """Where a field of a table lies; None when it has its default."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    if vtable < 0:
        raise ValueError("a table without a vtable")
    size = struct.unpack_from("<H", data, vtable)[0]
    if 4 + 2 * number >= size:
        return None
    offset = struct.unpack_from("<H", data, vtable + 4 + 2 * number)[0]
    return table + offset if offset else None
