"""Members of a tar, read as a stream: plain, or compressed with gzip, bzip2, xz or zstd.

A stream cannot go back, so sizes that lead backwards end it instead of turning in circles. What an archive says about
itself (long names, extended headers) is read only up to a bound.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from datasets_pipeline.extract import packed
from datasets_pipeline.extract.budgets import OPTION, Budget
from datasets_pipeline.sources.base import MEBIBYTE, ExtractionError

VERSION = "1"

_MAX_HEADER_BYTES = MEBIBYTE
_ABOUT_THE_NEXT = frozenset(
    {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
)


@dataclass(frozen=True)
class TarMember:
    """One file of a tar. start, end: its bytes in the decompressed tar, header included.

    fault: why it was not read; then data is empty.
    """

    name: str
    start: int
    end: int
    data: bytes = field(default=b"", repr=False)
    fault: ExtractionError | None = None


def is_tar(data: bytes, uri: str) -> bool:
    """Whether a file is a tar, or unpacks to one: its first block has the checksum of a tar header."""
    head = b""
    try:
        reader = packed.BoundedReader(data, uri, packed.RATIO_FREE_BYTES)
        while len(head) < tarfile.BLOCKSIZE and (block := reader.read(tarfile.BLOCKSIZE - len(head))):
            head += block
    except ExtractionError:
        return False
    if len(head) < tarfile.BLOCKSIZE:
        return False
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
        return False  # a block of zeros, which any file may begin with
    except Exception:
        return False
    return True


def members(data: bytes, uri: str, budget: Budget, max_members: int) -> Iterator[TarMember]:
    """The files of a tar, folders left out. Raises ExtractionError when the stream ends before its end."""
    stream: Any = _Stream(data, uri, budget)
    damaged = ExtractionError("parser_error", f"{uri}: the tar is cut or damaged; fetch it again")
    try:
        archive: Any = tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header)  # noqa: SIM115
    except ExtractionError:
        raise
    except Exception:
        archive = None
    if archive is None:
        raise damaged
    num_members = 0
    while True:
        member = _next(archive, damaged)
        if member is None:
            if not archive.tarinfo_ended:
                raise damaged
            while stream.read(MEBIBYTE):  # the checksum of a compressed stream stands at its end
                pass
            return
        num_members += 1
        if num_members > max_members:
            raise ExtractionError(
                "too_large", f"{uri}: more than {max_members:,} members; unpack it, or raise max_archive_members"
            )
        if not member.isdir():
            yield _read(archive, member, uri, budget, damaged)


def _next(archive: Any, damaged: ExtractionError) -> Any:
    archive.tarinfo_ended = False
    archive.members = []  # tarfile keeps them all
    failed = False
    try:
        return archive.next()
    except ExtractionError:
        raise
    except Exception:  # of a damaged archive tarfile raises nearly everything
        failed = True
    assert failed  # outside of the handler: a chained exception may carry bytes along
    raise damaged


def _read(archive: Any, member: Any, uri: str, budget: Budget, damaged: ExtractionError) -> TarMember:
    start, end = member.offset, member.offset_data + member.size
    place = f"{uri}!/{member.name}"
    if not member.isreg():
        fault = ExtractionError("unsafe_member", f"{place}: it is a link or a device; not read")
        return TarMember(member.name, start, start + tarfile.BLOCKSIZE, fault=fault)
    if member.issparse() or member.size > budget.left:
        # A sparse file of a few bytes may claim any size.
        fault = ExtractionError(
            "too_large", f"{place}: {member.size:,} bytes, or a sparse file; unpack it before, or raise {OPTION}"
        )
        return TarMember(member.name, start, max(start, end), fault=fault)
    content: bytes | None = None
    try:
        content = archive.extractfile(member).read()
    except ExtractionError:
        raise
    except Exception:
        content = None
    if content is None or len(content) < member.size:
        raise damaged
    return TarMember(member.name, start, end, content)


class _Stream:
    """The decompressed bytes, each counted against the budget."""

    def __init__(self, data: bytes, uri: str, budget: Budget) -> None:
        self._reader = packed.BoundedReader(data, uri, budget.left, OPTION)
        self._uri, self._budget = uri, budget
        self._is_packed = packed.is_packed(data)

    def read(self, num_bytes: int) -> bytes:
        block = self._reader.read(num_bytes)
        if self._is_packed:  # what a plain tar holds was there before
            self._budget.spend(len(block), self._uri)
        return block


class _Header(tarfile.TarInfo):
    """A header that notes whether the archive ended as one should, and refuses sizes no header has."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: Any, errors: Any) -> Any:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _ABOUT_THE_NEXT and header.size > _MAX_HEADER_BYTES):
            raise tarfile.ReadError("a size no header has")
        return header

    @classmethod
    def fromtarfile(cls, tarfile_: Any) -> Any:
        try:
            return super().fromtarfile(tarfile_)
        except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]
            tarfile_.tarinfo_ended = True
            raise
