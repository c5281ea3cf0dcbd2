"""The records of a WARC file, each with its range, its headers and its block, or with what is wrong with it.

fastwarc reads the records of each member. What it passes over in silence is told here: a block shorter than its header
says, bytes behind a fault, a member whose checksum is wrong. In a plain file the next record is found by its first
line, in a compressed one by the next member.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from datasets_pipeline.extract import packed
from datasets_pipeline.sources import warc_members

VERSION = "1"

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CLOSING = re.compile(rb"(?:\r?\n){1,2}")
_BLOCK_BYTES = 64 * 1024
_ONCE = {"warc-type", "warc-record-id", "warc-target-uri", "warc-date", "content-length"}
_ALGORITHMS = {
    "sha1": "sha1",
    "sha256": "sha256",
    "sha512": "sha512",
    "md5": "md5",
    "sha-1": "sha1",
    "sha-256": "sha256",
}


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
        is_plain = member.end == len(data) and member.start == 0 and not warc_members.is_compressed(data, uri)
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
        start = reached = 0
        while start < len(data):
            fault = Record(start, start, fault="damaged", detail="bytes that are no record")
            for record in self._of_stream(warc_members.plain_member(data, start)):
                record = _closed(data, replace(record, start=start + record.start if record.kind else reached))
                if record.fault == "damaged":
                    fault = record
                    break
                yield record
                reached = record.end
            else:
                if not data[reached:].strip(b"\x00\r\n "):
                    return
                fault = replace(fault, start=reached)
            start = reached = warc_members.next_record(data, fault.start + 1)
            yield replace(fault, end=start)

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
        member.finish()
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

        stream: Any = member
        try:
            found = iter(ArchiveIterator(stream, parse_http=False, stream_detect=False, quirks_mode=True))
            while (item := next(found, None)) is not None:
                yield self._record(item)
            return
        except (*packed.FAULTS, OverflowError, RuntimeError, TypeError, UnicodeError):
            pass
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # what a fault inside of fastwarc is: no Exception
                raise
        # It does not say where, but no further than it has read.
        position = member.num_bytes
        detail = "no record begins here, or its header is damaged"
        yield Record(position, position, fault="damaged", detail=detail)

    def _record(self, item: Any) -> Record:
        lines = [(name.lower(), value.strip()) for name, value in item.headers.to_tuples()]
        headers = dict(lines)
        kind = headers.get("warc-type", "").lower()
        length = headers.get("content-length", "")
        record = Record(item.stream_pos, item.stream_pos, kind, headers)
        if not (length.isascii() and length.isdigit()) or int(length) != item.content_length or not kind:
            return replace(record, fault="damaged", detail="its header has no type or no length")
        if sum(name in _ONCE for name, _ in lines) != len(_ONCE & headers.keys()):
            # A header that breaks off runs on into the next record's.
            return replace(record, fault="damaged", detail="its header states one thing twice")
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


def _closed(data: bytes, record: Record) -> Record:
    """A record of a plain file with its end, or with a fault when no line ends where its block does."""
    if record.fault == "damaged":
        return record
    head = _HEAD_END.search(data, record.start)
    end = min((head.end() if head else len(data)) + int(record.headers["content-length"]), len(data))
    closing = _CLOSING.match(data, end)
    if closing is None and end < len(data):
        return replace(record, fault="damaged", detail="more follows than it states", block=b"")
    return replace(record, end=closing.end() if closing else end)
