"""Members of a zip whose directory is lost, found by the headers before them: what a broken download still holds.

Goes forward from the first header and stops at the first thing it does not understand. Stored and deflated members
only; checksums are checked.
"""

import struct
import zlib
from collections.abc import Iterator

from datasets_pipeline.extract.packed import grows_too_much

VERSION = "1"

_HEADER = struct.Struct("<4s5H3I2H")
_MARK, _DESCRIPTOR_MARK = b"PK\x03\x04", b"PK\x07\x08"
_ENCRYPTED, _SIZES_FOLLOW, _UTF8 = 0x1, 0x8, 0x800
_STORED, _DEFLATED = 0, 8


def members(data: bytes, uri: str, max_bytes: int, max_members: int) -> Iterator[tuple[str, int, int, bytes]]:
    """(name, start, end, content) of the members that can be read, in order, until the first that cannot.

    max_bytes: of content in all.
    """
    position = left = 0
    left = max_bytes
    for _ in range(max_members):
        if len(data) - position < _HEADER.size:
            return
        mark, _, flags, method, _, _, checksum, num_packed, num_bytes, name_size, extra_size = _HEADER.unpack_from(
            data, position
        )
        start = position + _HEADER.size + name_size + extra_size
        if mark != _MARK or flags & _ENCRYPTED or start > len(data):
            return
        raw_name = data[position + _HEADER.size : position + _HEADER.size + name_size]
        if method == _DEFLATED:
            unpacked = _inflated(data, start, left)
            if unpacked is None:
                return
            content, end = unpacked
        elif method == _STORED and not flags & _SIZES_FOLLOW and num_packed == num_bytes:
            content, end = data[start : start + num_bytes], start + num_bytes
        else:
            return
        if flags & _SIZES_FOLLOW:
            checksum, end = _descriptor(data, end)
        if end > len(data) or len(content) > left or zlib.crc32(content) != checksum:
            return
        name = raw_name.decode("utf-8" if flags & _UTF8 or _is_utf8(raw_name) else "cp437", "replace")
        if not name.endswith("/"):
            yield name, position, end, content
        left -= len(content)
        position = end


def _inflated(data: bytes, start: int, max_bytes: int) -> tuple[bytes, int] | None:
    """(content, end of the packed bytes); None when they are damaged, cut, or a bomb."""
    inflate = zlib.decompressobj(-15)
    try:
        content = inflate.decompress(memoryview(data)[start:], max_bytes + 1)
    except zlib.error:
        return None
    end = len(data) - len(inflate.unused_data)
    if not inflate.eof or grows_too_much(len(content), end - start):
        return None
    return content, end


def _descriptor(data: bytes, end: int) -> tuple[int, int]:
    """(checksum, end) of the sizes that stand behind a member; the 64-bit form is told by what follows it."""
    start = end + 4 if data.startswith(_DESCRIPTOR_MARK, end) else end
    checksum = int.from_bytes(data[start : start + 4], "little")
    for size in (12, 20):
        if data[start + size : start + size + 2] == b"PK":
            return checksum, start + size
    return checksum, start + 12


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
