"""The records of a WARC file, each with its range, its headers and its block, or with what is wrong with it.

fastwarc reads the records of each member. What it passes over in silence is told here: a block shorter than its header
says, bytes behind a fault, a member whose checksum is wrong. In a plain file the next record is found by its first
line, in a compressed one by the next member.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from datasets_pipeline.sources import packed, warc_members

VERSION = "1"

_BLOCK_BYTES = 64 * 1024
_ALGORITHMS = {"sha1": "sha1", "sha256": "sha256", "sha512": "sha512", "md5": "md5", "sha-1": "sha1", "sha-256": "sha256"}


@dataclass(frozen=True)
class Record:
    """One record. `fault` is a key of REASONS, then `detail` says more and the block is not to be used.

    start, end: of a record alone in its member the range of the member, as indexes of archives give it; otherwise the
    record's own range in the decompressed bytes. kind: `response`, `resource`, ...; empty where no record was found.
    """

    start: int
    end: int
    kind: str = ""
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    block: bytes = field(default=b"", repr=False)
    fault: str | None = None
    detail: str = ""


def records(data: bytes, uri: str, wanted: frozenset[str], max_block_bytes: int, max_bytes: int) -> Iterator[Record]:
    """The records in order; blocks of kinds that are not wanted are not kept.

    A file that decompresses to more than max_bytes ends with a fault too_large.
    """
    reader = _Reader(wanted, max_block_bytes)
    num_bytes = 0
    for member in warc_members.members(data, uri):
        is_plain = member.end == len(data) and member.start == 0 and not warc_members.is_compressed(data)
        yield from reader.plain(data) if is_plain else reader.packed(member, num_bytes)
        num_bytes += member.num_bytes
        if num_bytes > max_bytes:
            detail = f"more than max_decompressed_bytes ({max_bytes:,}) came before; the rest was not read"
            yield Record(member.end or member.start, len(data), fault="too_large", detail=detail)
            return


def digest_agrees(stated: str, *payloads: bytes) -> bool | None:
    """Whether a digest such as `sha1:JZ...` is that of one of the byte strings; None when it cannot be checked."""
    name, _, value = stated.strip().partition(":")
    algorithm = _ALGORITHMS.get(name.lower())
    if algorithm is None or not value:
        return None
    expected = _digest_bytes(value.strip(), hashlib.new(algorithm, usedforsecurity=False).digest_size)
    if expected is None:
        return None
    return any(hashlib.new(algorithm, payload, usedforsecurity=False).digest() == expected for payload in payloads)


def _digest_bytes(value: str, size: int) -> bytes | None:
    """A digest as it is spelled in archives: base32, or hexadecimal."""
    try:
        if len(value) == 2 * size:
            return bytes.fromhex(value)
        found = base64.b32decode(value.upper().rstrip("=") + "=" * (-len(value.rstrip("=")) % 8))
    except (ValueError, binascii.Error):
        return None
    return found if len(found) == size else None


class _Reader:
    def __init__(self, wanted: frozenset[str], max_block_bytes: int) -> None:
        self._wanted, self._max_block_bytes = wanted, max_block_bytes

    def plain(self, data: bytes) -> Iterator[Record]:
        """The records of a file that is not compressed; behind a fault it goes on with the next first line."""
        start = 0
        while start < len(data):
            held: Record | None = None
            for record in self._of_stream(warc_members.plain_member(data, start)):
                record = replace(record, start=start + record.start)
                if not record.kind and held is not None:
                    # What follows is no record: is it that this one is longer than it says?
                    end = _stated_end(data, held)
                    record = replace(record, start=min(end, len(data)))
                    if not held.fault and not data.startswith((b"\r\n", b"\n"), end):
                        held = replace(held, fault="damaged", detail="more follows than it states", block=b"")
                        break
                if held is not None:
                    yield replace(held, end=record.start)
                held = record
                if record.fault == "damaged":
                    break
            if held is not None and not held.fault:
                yield replace(held, end=len(data))
                return
            reached = held.start if held else start
            start = warc_members.next_record(data, reached + 1)
            if held is not None:
                yield replace(held, end=start)

    def packed(self, member: warc_members.Member, offset: int) -> Iterator[Record]:
        """The records of one member; offset: decompressed bytes before it."""
        held: Record | None = None
        is_alone = True
        if member.fault is None:
            for record in self._of_stream(member):
                record = replace(record, start=offset + record.start)
                if held is not None:
                    is_alone = False
                    yield replace(held, end=record.start)
                held = record
        member.drain()
        if held is None and member.fault is None:
            return
        held = held or Record(offset, offset, detail="bytes that are no record")
        if member.fault:
            held = replace(held, fault=member.fault, detail=f"its member is {_FAULTS[member.fault]}", block=b"")
        end = member.end if member.end is not None else member.start
        yield replace(held, start=member.start, end=end) if is_alone else replace(held, end=offset + member.num_bytes)

    def _of_stream(self, member: warc_members.Member) -> Iterator[Record]:
        """The records of a stream with where they begin in it; a fault of the stream is the last one's."""
        from fastwarc.warc import ArchiveIterator

        position = 0
        try:
            found = iter(ArchiveIterator(member, parse_http=False, stream_detect=False, quirks_mode=True))
            while (item := next(found, None)) is not None:
                position = item.stream_pos
                yield self._record(item)
                position += 1
        except (*packed.FAULTS, OverflowError, RuntimeError, TypeError, UnicodeError):
            yield Record(position, position, fault="damaged", detail="no record begins here, or its header is damaged")

    def _record(self, item: Any) -> Record:
        headers = {name.lower(): value.strip() for name, value in item.headers.to_tuples()}
        kind = headers.get("warc-type", "").lower()
        length = headers.get("content-length", "")
        record = Record(item.stream_pos, item.stream_pos, kind, headers)
        if not length.isdigit() or int(length) != item.content_length or not kind:
            return replace(record, fault="damaged", detail="its header has no type or no length")
        keep = kind in self._wanted and item.content_length <= self._max_block_bytes
        pieces: list[bytes] = []
        num_bytes = 0
        while piece := item.reader.read(min(_BLOCK_BYTES, item.content_length - num_bytes) or 1):
            num_bytes += len(piece)
            if keep:
                pieces.append(piece)
        if num_bytes != item.content_length:
            detail = f"{num_bytes:,} of {item.content_length:,} bytes are there; the file is cut or damaged"
            return replace(record, fault="damaged", detail=detail)
        if kind in self._wanted and not keep:
            detail = f"a record of {num_bytes:,} bytes; raise max_record_bytes if it is what it says"
            return replace(record, fault="too_large", detail=detail)
        return replace(record, block=b"".join(pieces))


_FAULTS = {"damaged": "cut or damaged", "too_large": "far larger than its size explains", "memory_limit": "too large"}


def _stated_end(data: bytes, record: Record) -> int:
    """Where the block of a record ends, by its header."""
    head = data.find(b"\r\n\r\n", record.start)
    return head + 4 + len(record.block) if head >= 0 else len(data)
