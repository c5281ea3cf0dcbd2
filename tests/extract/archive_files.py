"""Small zips and tars for tests, honest and hostile."""

import io
import struct
import tarfile
import zipfile
import zlib


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def tarred(members: dict[str, bytes], special: dict[str, bytes] | None = None) -> bytes:
    """special: names of members without content, by their type."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
        for name, kind in (special or {}).items():
            header = tarfile.TarInfo(name)
            header.type, header.linkname = kind, "/etc/passwd"
            archive.addfile(header)
    return buffer.getvalue()


def overlapping_zip(num_members: int, num_bytes: int) -> bytes:
    """Members that all have the bytes of the first, so that a small file claims to hold very much."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    content = bytes(num_bytes)
    packed = deflate.compress(content) + deflate.flush()
    sizes = (zlib.crc32(content), len(packed), num_bytes)
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 8, 0, 0, *sizes, 1, 0) + b"a"
    directory = b"".join(
        struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, *sizes, 1, 0, 0, 0, 0, 0, 0) + b"a"
        for _ in range(num_members)
    )
    start = len(local) + len(packed)
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, num_members, num_members, len(directory), start, 0)
    return local + packed + directory + end
