"""Compressed files (gzip, bzip2, xz, zstd), read through a bounded buffer; the first bytes tell, not the name.

Shared by the archives here and by the sources whose files may be compressed.
"""

import io
import lzma
import zlib
from collections.abc import Callable

from datasets_pipeline.sources.base import MEBIBYTE, ExtractionError

VERSION = "1"

_GZIP, _BZIP2, _XZ, _ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"
MAX_RATIO = 200  # a gigabyte of zeros is 1,030 times its gzip; logs and text stay below 30
RATIO_FREE_BYTES = 16 * MEBIBYTE
_BLOCK_BYTES = 64 * 1024

FAULTS = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)
"""What the reader of a cut or damaged file raises."""


def is_packed(data: bytes) -> bool:
    """Whether a file that begins so is compressed."""
    return data.startswith((_GZIP, _BZIP2, _XZ, _ZSTD))


def reader(data: bytes) -> Callable[[int], bytes]:
    """A read function over the decompressed bytes; over the bytes themselves when they are not compressed."""
    # read1 gives what there is: read() would drop what came before a fault.
    if data.startswith(_GZIP):
        import gzip

        return gzip.GzipFile(fileobj=io.BytesIO(data)).read1
    if data.startswith(_BZIP2):
        import bz2

        return bz2.BZ2File(io.BytesIO(data)).read1
    if data.startswith(_XZ):
        return lzma.LZMAFile(io.BytesIO(data)).read1
    if data.startswith(_ZSTD):
        import pyarrow as pa

        return pa.CompressedInputStream(pa.BufferReader(data), "zstd").read  # type: ignore[no-any-return]
    return io.BytesIO(data).read


def grows_too_much(num_bytes: int, num_packed_bytes: int) -> bool:
    """Whether so many bytes out of so few are a bomb; below RATIO_FREE_BYTES nothing is."""
    return num_bytes > RATIO_FREE_BYTES and num_bytes > MAX_RATIO * num_packed_bytes


def check_growth(
    num_bytes: int, num_packed_bytes: int, max_bytes: int, uri: str, option: str = "max_decompressed_bytes"
) -> None:
    """Raise ExtractionError too_large when a file has given more bytes than it may, or than its size can explain.

    option: the option that holds max_bytes, named in the message.
    """
    told = f"{uri}: {num_packed_bytes:,} bytes decompress to {num_bytes:,} and more"
    if num_bytes > max_bytes:
        raise ExtractionError("too_large", f"{told}; split the file, or raise {option} if it is what it says")
    if grows_too_much(num_bytes, num_packed_bytes):
        raise ExtractionError("too_large", f"{told}, as only a bomb does; unpack it by hand if it is what it says")


def unpack_all(data: bytes, max_bytes: int, uri: str, option: str = "max_decompressed_bytes") -> tuple[bytes, bool]:
    """(decompressed bytes, whether that is all of them); of a damaged file what came before the fault."""
    if not is_packed(data):
        return data, True
    read, num_bytes = reader(data), 0
    pieces: list[bytes] = []
    while True:
        try:
            block = read(_BLOCK_BYTES)
        except FAULTS:
            return b"".join(pieces), False
        if not block:
            return b"".join(pieces), True
        num_bytes += len(block)
        check_growth(num_bytes, len(data), max_bytes, uri, option)
        pieces.append(block)


class BoundedReader:
    """read(n) over the decompressed bytes of a file, for parsers that stream.

    Raises ExtractionError too_large beyond the limits, and parser_error for a damaged archive once everything before
    the damage was read.
    """

    def __init__(self, data: bytes, uri: str, max_bytes: int, option: str = "max_decompressed_bytes") -> None:
        self._read = reader(data)
        self._uri, self._max_bytes, self._num_packed, self._option = uri, max_bytes, len(data), option
        self.num_bytes = 0

    def read(self, num_bytes: int = MEBIBYTE) -> bytes:
        """At most so many bytes; none at the end."""
        try:
            block = self._read(num_bytes)
        except FAULTS:
            failed = True
        else:
            self.num_bytes += len(block)
            check_growth(self.num_bytes, self._num_packed, self._max_bytes, self._uri, self._option)
            return block
        assert failed  # outside of the handler: a chained exception may carry bytes along
        raise ExtractionError("parser_error", f"{self._uri}: the archive is cut or damaged; fetch it again")

    def read_all(self) -> bytes:
        """Everything that is left."""
        parts = []
        while block := self.read():
            parts.append(block)
        return b"".join(parts)
