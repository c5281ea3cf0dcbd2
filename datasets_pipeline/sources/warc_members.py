"""The members of a WARC file: gzip members or zstd frames, mostly of one record each, or the plain file as one.

A member that is cut, damaged or a bomb costs that member: the next one is found by its first bytes.
"""

import io
import re
import zlib
from collections.abc import Iterator
from typing import Any

from datasets_pipeline.extract import packed
from datasets_pipeline.sources.base import ExtractionError

_GZIP, _ZSTD = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"
_ZSTD_DICTIONARY = b"\x5d\x2a\x4d\x18"  # a skippable frame, in front of the records (IIPC's WARC with zstd)
_BEGINS = b"WARC/"
_FIRST_LINE = re.compile(rb"WARC/1\.[01]\r?\nWARC-")
_BLOCK_BYTES = 16 * 1024
_STEP_BYTES = 8 * 1024  # what a decompressor has made before it meets a fault is lost, so its steps are small
_MAX_WINDOW_BYTES = 1 << 27


class Member:
    """A stream over the decompressed bytes of one member; `fault` is a reason when they end before the member does.

    start, end: its range in the file; end is known once it is finished.
    """

    def __init__(self, data: bytes, start: int, end: int | None = None, dictionary: Any = None) -> None:
        self._data, self._dictionary = data, dictionary
        self.start, self.end = start, end
        self.fault: str | None = None
        self.num_bytes = 0

    def read(self, size: int = -1) -> bytes:
        """Some of the bytes; none at the end or at a fault."""
        if self.fault:
            return b""
        try:
            block = self._block(min(size, _STEP_BYTES) if size > 0 else _STEP_BYTES)
        except (*packed.FAULTS, MemoryError) as error:
            self.fault = "memory_limit" if isinstance(error, MemoryError) else "damaged"
            return b""
        self.num_bytes += len(block)
        if self.num_bytes > packed.RATIO_FREE_BYTES and self.num_bytes > packed.MAX_RATIO * self._num_packed():
            self.fault = "too_large"
            return b""
        return block

    def tell(self) -> int:
        """How many bytes were read."""
        return self.num_bytes

    def finish(self) -> None:
        """Read what is left: then `end` is known, and a wrong checksum has become a fault."""
        while self.read():
            pass
        if self.fault in ("damaged", "memory_limit") or self.end is None:
            # Where it says that it ends is as doubtful as its bytes.
            self.end = _next_member(self._data, self.start + 1, type(self), self._dictionary)

    def _block(self, size: int) -> bytes:
        raise NotImplementedError

    def _num_packed(self) -> int:
        raise NotImplementedError


class _Plain(Member):
    def __init__(self, data: bytes, start: int) -> None:
        super().__init__(data, start, len(data))
        self._position = start

    def _block(self, size: int) -> bytes:
        block = self._data[self._position : self._position + size]
        self._position += len(block)
        return block

    def _num_packed(self) -> int:
        return self.num_bytes


class _Lost(Member):
    """Bytes between members that belong to none."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        super().__init__(data, start, end)
        self.fault = "damaged"

    def finish(self) -> None:
        """Its end is known."""


class _Gzip(Member):
    def __init__(self, data: bytes, start: int) -> None:
        super().__init__(data, start)
        self._inflater = zlib.decompressobj(31)
        self._position, self._left = start, b""

    def _block(self, size: int) -> bytes:
        while not self._inflater.eof:
            if not self._left:
                self._left = self._data[self._position : self._position + _BLOCK_BYTES]
                self._position += len(self._left)
                if not self._left:
                    raise EOFError
            block = self._inflater.decompress(self._left, size)
            self._left = self._inflater.unconsumed_tail
            if self._inflater.eof:
                self.end = self._position - len(self._inflater.unused_data)
            if block:
                return block
        return b""

    def _num_packed(self) -> int:
        return (self.end or self._position - len(self._left)) - self.start


class _Zstd(Member):
    def __init__(self, data: bytes, start: int, end: int, dictionary: Any) -> None:
        import zstandard

        super().__init__(data, start, end, dictionary)
        decompressor = zstandard.ZstdDecompressor(dict_data=dictionary, max_window_size=_MAX_WINDOW_BYTES)
        self._error = zstandard.ZstdError
        self._frame = decompressor.stream_reader(io.BytesIO(data[start:end]))

    def _block(self, size: int) -> bytes:
        try:
            return self._frame.read(size)
        except self._error:
            pass
        raise ValueError  # the library's own message may quote what it read

    def _num_packed(self) -> int:
        return (self.end or 0) - self.start


def members(data: bytes, uri: str) -> Iterator[Member]:
    """The members of a file in order; a caller reads one before it asks for the next.

    Bytes that belong to none come as a member with the fault `damaged`.
    """
    kind = _kind(data, uri)
    if kind is _Plain:
        yield _Plain(data, 0)
        return
    dictionary, position = _dictionary(data, uri) if kind is _Zstd else (None, 0)
    while position < len(data):
        member = _member_at(data, position, kind, dictionary)
        if member is None:
            end = _next_member(data, position + 1, kind, dictionary)
            if data[position:end].strip(b"\x00\r\n "):
                yield _Lost(data, position, end)
            position = end
            continue
        yield member
        member.finish()
        assert member.end is not None and member.end > position
        position = member.end


def is_compressed(data: bytes, uri: str) -> bool:
    """Whether a file consists of members; else its records stand in it as they are."""
    return _kind(data, uri) is not _Plain


def _kind(data: bytes, uri: str) -> type[Member]:
    """By the first bytes, and by the name where these are damaged."""
    if data.startswith(_GZIP) or (uri.endswith(".gz") and not data.startswith(_BEGINS)):
        return _Gzip
    if data.startswith((_ZSTD, _ZSTD_DICTIONARY)) or (uri.endswith(".zst") and not data.startswith(_BEGINS)):
        return _Zstd
    return _Plain


def plain_member(data: bytes, start: int) -> Member:
    """A file that is not compressed, from a position on."""
    return _Plain(data, start)


def next_record(data: bytes, start: int) -> int:
    """Where the next record of a plain file may begin, at or behind start; its length when there is none."""
    found = _FIRST_LINE.search(data, start)
    return found.start() if found else len(data)


def _member_at(data: bytes, position: int, kind: type[Member], dictionary: Any) -> Member | None:
    if kind is _Gzip:
        return _Gzip(data, position) if data.startswith(_GZIP, position) else None
    end = _frame_end(data, position)
    return None if end is None else _Zstd(data, position, end, dictionary)


def _next_member(data: bytes, start: int, kind: type[Member], dictionary: Any) -> int:
    """Where the next member that begins with a record begins; the file's length when there is none."""
    mark = _GZIP if kind is _Gzip else _ZSTD
    while (start := data.find(mark, start)) >= 0:
        member = _member_at(data, start, kind, dictionary)
        if member is not None and member.read(64).startswith(_BEGINS):
            return start
        start += 1
    return len(data)


def _frame_end(data: bytes, start: int) -> int | None:
    """Where a zstd frame ends, by the lengths of its blocks (RFC 8878, 3.1.1); None when it is cut or none."""
    if not data.startswith(_ZSTD, start) or start + 5 > len(data):
        return None
    descriptor = data[start + 4]
    is_single = descriptor >> 5 & 1
    size_bytes = (is_single, 2, 4, 8)[descriptor >> 6]
    position = start + 5 + (not is_single) + (0, 1, 2, 4)[descriptor & 3] + size_bytes
    while position + 3 <= len(data):
        header = int.from_bytes(data[position : position + 3], "little")
        kind, size = header >> 1 & 3, header >> 3
        position += 3 + (1 if kind == 1 else size)
        if kind == 3 or position > len(data):
            return None
        if header & 1:
            end = position + 4 * (descriptor >> 2 & 1)
            return end if end <= len(data) else None
    return None


def _dictionary(data: bytes, uri: str) -> tuple[Any, int]:
    """(the dictionary in front of the records, where they begin)."""
    if not data.startswith(_ZSTD_DICTIONARY):
        return None, 0
    import zstandard

    end = 8 + int.from_bytes(data[4:8], "little")
    words = data[8:end]
    try:
        if words.startswith(_ZSTD):
            words, is_whole = packed.unpack_all(words, packed.RATIO_FREE_BYTES, uri)
            if not is_whole:
                raise ValueError
        return zstandard.ZstdCompressionDict(words), end
    except (ValueError, zstandard.ZstdError):
        pass
    raise ExtractionError("damaged", f"{uri}: its zstd dictionary is cut or damaged; fetch it again")
