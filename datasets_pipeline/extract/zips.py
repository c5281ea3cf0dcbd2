"""Members of a zip that somebody else packed: every size is believed only after reading.

Shared by the archives and office files here and by the sources whose exports are zips.
"""

import io
import stat
import struct
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field

from datasets_pipeline.extract.packed import grows_too_much
from datasets_pipeline.sources.base import ExtractionError

VERSION = "1"

MAX_MEMBERS = 200_000
ENCRYPTED_FLAG = 0x1
_UTF8_FLAG = 0x800
_LOCAL_HEADER_BYTES = 30


@dataclass(frozen=True)
class Member:
    """One file in a zip. start, end: its bytes in the zip, header included."""

    name: str
    start: int
    end: int
    num_packed_bytes: int
    is_encrypted: bool
    is_special: bool
    """A link or a device."""
    info: zipfile.ZipInfo = field(repr=False)


class SharedBytes(ValueError):
    """Two members of a zip claim the same bytes."""


def member_ends(data: bytes, members: Iterable[zipfile.ZipInfo]) -> list[tuple[zipfile.ZipInfo, int]]:
    """Members by their place in the zip, each with its end.

    Raises SharedBytes when two share bytes, as in bombs and forgeries; ValueError when one lies outside of the zip.
    """
    ends, end = [], 0
    for member in sorted(members, key=lambda member: member.header_offset):
        start = member.header_offset
        if start < end:
            raise SharedBytes("members share bytes")
        if start + _LOCAL_HEADER_BYTES > len(data):
            raise ValueError("a member lies outside of the zip")
        end = start + _LOCAL_HEADER_BYTES + sum(struct.unpack_from("<2H", data, start + 26)) + member.compress_size
        ends.append((member, end))
    return ends


class ZipMembers:
    """A zip in memory. Raises ExtractionError parser_error, too_large, encrypted or unsafe_member, and nothing else."""

    def __init__(self, data: bytes, uri: str, max_bytes: int, max_members: int = MAX_MEMBERS) -> None:
        self._uri, self._max_bytes, self._num_packed = uri, max_bytes, len(data)
        self.num_bytes = 0
        failure = ""
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
            infos = self._archive.infolist()
        except Exception as error:  # zipfile raises what it pleases on damaged archives
            failure = type(error).__name__
        if failure:
            raise ExtractionError("parser_error", f"{uri}: reading it as a zip raised {failure}; fetch it again")
        if len(infos) > max_members:
            raise ExtractionError("too_large", f"{uri}: {len(infos):,} members; unpack it and name the folder")
        ends: list[tuple[zipfile.ZipInfo, int]] = []
        try:
            ends = member_ends(data, infos)
        except SharedBytes:
            failure = "too_large"
        except ValueError:
            failure = "parser_error"
        if failure == "too_large":
            raise ExtractionError("too_large", f"{uri}: its members share the same bytes, as in a bomb; exclude it")
        if failure:
            raise ExtractionError("parser_error", f"{uri}: its members lie outside of it; fetch it again")
        self.members = [_member(info, end) for info, end in ends if not info.is_dir()]
        """In the order of their places."""
        self._by_name = {member.info.filename: member for member in self.members}
        self.names = sorted(self._by_name)

    def read(self, name: str) -> bytes:
        """The bytes of one member, within the limits of the whole zip."""
        member = self._by_name[name]
        if member.is_encrypted:
            raise ExtractionError("encrypted", f"{self._uri}: its members are encrypted; unpack it with the password")
        data = self._unpacked(member, self._max_bytes - self.num_bytes)
        self.num_bytes += len(data)
        if self.num_bytes > self._max_bytes or grows_too_much(self.num_bytes, self._num_packed):
            raise self._too_large(self._uri, self.num_bytes, "max_decompressed_bytes")
        return data

    def read_member(self, member: Member, max_bytes: int, option: str) -> bytes:
        """The bytes of one member, at most max_bytes; what is wrong with it is no fault of the others.

        option: the option that holds max_bytes, named in the message.
        """
        place = f"{self._uri}!/{member.name}"
        if member.is_encrypted:
            raise ExtractionError("encrypted", f"{place}: it is encrypted; unpack the archive with the password")
        if member.is_special:
            raise ExtractionError("unsafe_member", f"{place}: it is a link or a device; not read")
        if member.info.file_size > max_bytes or grows_too_much(member.info.file_size, member.num_packed_bytes):
            raise self._too_large(place, member.info.file_size, option)
        return self._unpacked(member, max_bytes)

    def _unpacked(self, member: Member, max_bytes: int) -> bytes:
        failure, data = "", b""
        try:
            with self._archive.open(member.info) as file:
                data = file.read(max_bytes + 1)  # zipfile reads no more than the size the member states
        except NotImplementedError:
            failure = f"it is compressed by method {member.info.compress_type}, which is not supported; zip it again"
        except Exception as error:
            failure = f"unpacking it raised {type(error).__name__}; fetch it again"
        if failure:
            raise ExtractionError("parser_error", f"{self._uri}!/{member.name}: {failure}")
        return data

    def _too_large(self, place: str, num_bytes: int, option: str) -> ExtractionError:
        return ExtractionError(
            "too_large", f"{place}: {num_bytes:,} bytes after decompression; unpack it before, or raise {option}"
        )


def _member(info: zipfile.ZipInfo, end: int) -> Member:
    kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == 3 else 0
    return Member(
        name=_name(info),
        start=info.header_offset,
        end=end,
        num_packed_bytes=info.compress_size,
        is_encrypted=bool(info.flag_bits & ENCRYPTED_FLAG),
        is_special=kind not in (0, stat.S_IFREG, stat.S_IFDIR),
        info=info,
    )


def _name(info: zipfile.ZipInfo) -> str:
    """The member's name; many packers write UTF-8 without saying so, which zipfile reads as cp437."""
    # orig_filename: zipfile cuts names at NUL, which would hide what stands behind.
    name = info.orig_filename
    if info.flag_bits & _UTF8_FLAG or name.isascii():
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name
