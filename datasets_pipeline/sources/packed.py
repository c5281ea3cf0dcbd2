"""Decompressed bytes of a packed file, bounded: gzip, bzip2, xz and zstd by their first bytes."""

import io
import zlib
from typing import IO, Any

from datasets_pipeline.sources.base import MEBIBYTE, ExtractionError

MAX_RATIO = 200  # a gigabyte of zeros is 1,030 times its gzip; text stays below 30, dumps of wikis below 20
RATIO_FREE_BYTES = 16 * MEBIBYTE
FAULTS: tuple[type[Exception], ...] = (OSError, EOFError, ValueError, zlib.error)
"""What a cut or damaged archive raises; lzma's error joins on first use."""


class BoundedReader:
    """read(n) over the decompressed bytes of a file. Raises ExtractionError too_large beyond the limits.

    A damaged archive raises ExtractionError parser_error after everything before the damage was read.
    """

    def __init__(self, data: bytes, uri: str, max_bytes: int) -> None:
        self._stream, self._faults = _opened(data)
        self._uri, self._max_bytes, self._num_packed = uri, max_bytes, len(data)
        self.num_bytes = 0

    def read(self, num_bytes: int = MEBIBYTE) -> bytes:
        failed = False
        block = b""
        try:
            # read1 gives what there is: read() would drop what came before a fault.
            block = self._stream.read1(num_bytes) if hasattr(self._stream, "read1") else self._stream.read(num_bytes)
        except self._faults:
            failed = True
        if failed:
            raise ExtractionError("parser_error", f"{self._uri}: the archive is cut or damaged; fetch it again")
        self.num_bytes += len(block)
        ratio_exceeded = self.num_bytes > RATIO_FREE_BYTES and self.num_bytes > MAX_RATIO * self._num_packed
        if self.num_bytes > self._max_bytes or ratio_exceeded:
            raise ExtractionError(
                "too_large",
                f"{self._uri}: {self._num_packed:,} bytes decompress to more than {self.num_bytes - len(block):,}; "
                "raise max_decompressed_bytes if it is what it says",
            )
        return block

    def read_all(self) -> bytes:
        """Everything that is left."""
        parts = []
        while block := self.read():
            parts.append(block)
        return b"".join(parts)


def _opened(data: bytes) -> tuple[IO[bytes] | Any, tuple[type[Exception], ...]]:
    if data.startswith(b"\x1f\x8b"):
        import gzip

        return gzip.GzipFile(fileobj=io.BytesIO(data)), FAULTS
    if data.startswith(b"BZh"):
        import bz2

        return bz2.BZ2File(io.BytesIO(data)), FAULTS
    if data.startswith(b"\xfd7zXZ\x00"):
        import lzma

        return lzma.LZMAFile(io.BytesIO(data)), (*FAULTS, lzma.LZMAError)
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        import pyarrow as pa

        return pa.CompressedInputStream(pa.BufferReader(data), "zstd"), FAULTS
    return io.BytesIO(data), FAULTS
