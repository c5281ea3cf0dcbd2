"""One huge file read in parts: how a part is named, and what passes from reading it to extracting it.

A part's entry is `big.jsonl@67108864-134217728`: the file's uri, and the range that names the part. Borders are
multiples of a fixed size, whatever the size of the file, so appending to a file changes its last part alone. A record
belongs to the part in which it begins. Documents have the file's uri and places in the whole file.

The bytes of a part are an envelope: one line of JSON (ranges of the file that follow, and what is known of them),
then those ranges' bytes. So extracting a part is a function of bytes, like extracting a file.
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from datasets_pipeline.sources.base import ExtractionError, FileEntry

_MAX_HEADER_BYTES = 1 << 24


@dataclass(frozen=True)
class Part:
    """Ranges of a file with their bytes, and facts about them (numbers and short texts)."""

    segments: list[tuple[int, bytes]] = field(repr=False)
    facts: dict[str, Any] = field(default_factory=dict)


def file_uri(entry: FileEntry) -> str:
    """The uri of the file that an entry is, or is a part of."""
    return entry.uri if entry.part is None else entry.uri.rpartition("@")[0]


def whole(entry: FileEntry) -> FileEntry:
    """The file of a part, for opening it."""
    return entry if entry.part is None else replace(entry, uri=file_uri(entry), part=None)


def part_uri(uri: str, start: int, end: int) -> str:
    """The name of a part."""
    return f"{uri}@{start}-{end}"


def by_size(entry: FileEntry, part_bytes: int) -> Iterator[FileEntry]:
    """A file's parts of part_bytes each, the last one shorter; the file itself when it is no larger than one."""
    if entry.size <= part_bytes:
        yield entry
        return
    for start in range(0, entry.size, part_bytes):
        end = start + part_bytes
        size = min(end, entry.size) - start
        yield replace(entry, uri=part_uri(entry.uri, start, end), size=size, part=(start, end))


def pack(segments: Sequence[tuple[int, bytes]], **facts: Any) -> bytes:
    """A part as bytes; a function of the part alone."""
    ranges = [[start, len(data)] for start, data in segments]
    header = json.dumps({"facts": facts, "ranges": ranges}, sort_keys=True, separators=(",", ":"))
    return b"\n".join((header.encode(), b"".join(data for _, data in segments)))


def unpack(data: bytes, uri: str) -> Part:
    """The part that pack() packed. Raises ExtractionError parser_error for other bytes."""
    end = data.find(b"\n", 0, _MAX_HEADER_BYTES)
    try:
        header = json.loads(data[: max(end, 0)])
        position, segments = end + 1, []
        for start, length in header["ranges"]:
            if not (isinstance(start, int) and 0 <= length <= len(data) - position):
                raise ValueError
            segments.append((start, data[position : position + length]))
            position += length
        return Part(segments, dict(header["facts"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise ExtractionError("parser_error", f"{uri}: not a part of a file; list the source again")


class SparseFile(io.RawIOBase):
    """A file of which some ranges are there; reading elsewhere gives zeros, which no format takes for data."""

    def __init__(self, segments: Sequence[tuple[int, bytes]], size: int) -> None:
        self._segments, self._size, self._position = list(segments), size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = max(0, offset + (0, self._position, self._size)[whence])
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        start, end = self._position, min(self._position + len(view), self._size)
        if end <= start:
            return 0
        view[: end - start] = bytes(end - start)
        for offset, data in self._segments:
            low, high = max(start, offset), min(end, offset + len(data))
            if low < high:
                view[low - start : high - start] = memoryview(data)[low - offset : high - offset]
        self._position = end
        return end - start
