"""HTTP messages as an archive or a server gives them: the head, the decoded body, and what media type it is.

Every step is bounded, because both ends of a message may be hostile: a head of 64 KiB, two layers of compression, and
as many bytes as the caller allows.
"""

import codecs
import io
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from datasets_pipeline.extract import media_types, packed
from datasets_pipeline.sources.base import ExtractionError

VERSION = "1"

_MAX_HEAD_BYTES = 64 * 1024
_MAX_LAYERS = 2
_BLOCK_BYTES = 64 * 1024
_MAX_URI_CHARACTERS = 2048
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})(?:[ \t]|\Z)")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]{0,4096})?\r?\n")
# Types that a server gives to files it does not know; a name says more.
_SAYS_NOTHING = {
    "", "text/plain", "application/octet-stream", "binary/octet-stream", "application/force-download",
    "application/download", "application/x-download", "application/unknown", "unknown/unknown",
}  # fmt: skip
_OTHER_NAMES = {
    "application/xhtml+xml": media_types.HTML,
    "application/x-pdf": "application/pdf",
    "application/x-zip-compressed": "application/zip",
    "application/x-gzip": "application/gzip",
    "application/x-javascript": "text/javascript",
    "application/javascript": "text/javascript",
    "application/x-yaml": "application/yaml",
    "text/x-markdown": media_types.MARKDOWN,
    "text/json": "application/json",
    "text/x-python-script": media_types.PYTHON,
}


@dataclass(frozen=True)
class Head:
    """Status and headers of a response, and where its body begins; names are lower-case, repeated ones joined."""

    status: int
    headers: dict[str, str]
    num_bytes: int


def parse_head(message: bytes) -> Head | None:
    """The head of a response; None when the bytes do not begin with one of 64 KiB at most."""
    end = re.search(rb"\r?\n\r?\n", message[: _MAX_HEAD_BYTES + 4])
    if end is None:
        return None
    lines = re.split(rb"\r?\n", message[: end.start()])
    status = _STATUS.match(lines[0])
    if status is None:
        return None
    headers: dict[str, str] = {}
    name = ""
    for line in lines[1:]:
        if line[:1] in (b" ", b"\t") and name:
            headers[name] += " " + line.decode("latin-1").strip()
            continue
        key, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            continue
        name = key.strip().lower()
        headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
    return Head(int(status.group(1)), headers, end.end())


def unchunked(body: bytes) -> bytes | None:
    """A body without the chunks it was sent in; None when it is cut, or not in chunks."""
    pieces: list[bytes] = []
    position = 0
    while found := _CHUNK.match(body, position):
        size = int(found.group(1), 16)
        if size == 0:
            return b"".join(pieces)
        start, end = found.end(), found.end() + size
        if end > len(body):
            return None
        pieces.append(body[start:end])
        position = end + (2 if body[end : end + 2] == b"\r\n" else 1)
    return None


def stated_length(head: Head) -> int:
    """Bytes of the body by its header; -1 when it states none, or none that is a number."""
    length = head.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 19 else -1


def begins_with_chunk(body: bytes) -> bool:
    """Whether a body looks as it was sent in chunks."""
    return _CHUNK.match(body) is not None


def decoded(body: bytes, encodings: str, max_bytes: int, uri: str) -> bytes:
    """The body without its content encodings (gzip, deflate, br, zstd), the last one first.

    A body that plainly is not in the encoding it is said to be in is left as it is: archives keep the header of what
    they have decoded. Raises ExtractionError too_large, damaged, or unsupported_media_type for an unknown encoding.
    """
    layers = [name for name in (part.strip().lower() for part in encodings.split(",")) if name not in ("", "identity")]
    if len(layers) > _MAX_LAYERS:
        raise ExtractionError("nested_too_deeply", f"{uri}: its body is compressed {len(layers)} times over")
    for layer in reversed(layers):
        reader = _reader(layer, body)
        if reader is None:
            raise ExtractionError("unsupported_media_type", f"{uri}: its body is in an encoding that is not read")
        body = _read_all(reader, len(body), max_bytes, uri) if _is_encoded(layer, body) else body
    if len(body) > max_bytes:
        raise ExtractionError("too_large", f"{uri}: larger than the limit ({max_bytes:,} bytes); raise or exclude it")
    return body


def _is_encoded(layer: str, body: bytes) -> bool:
    if layer in ("gzip", "x-gzip"):
        return body.startswith(b"\x1f\x8b")
    if layer == "zstd":
        return body.startswith(b"\x28\xb5\x2f\xfd")
    # Neither deflate nor br has a mark: a body that is plain markup was decoded before.
    return bool(body) and body.lstrip()[:1] != b"<"


def _reader(layer: str, body: bytes) -> Callable[[int], bytes] | None:
    if layer in ("gzip", "x-gzip", "zstd"):
        return packed.reader(body)
    if layer == "deflate":
        return _Inflate(body).read
    if layer == "br":
        from fastwarc.stream_io import BrotliReader

        return BrotliReader(io.BytesIO(body)).read
    return None


def _read_all(read: Callable[[int], bytes], num_packed: int, max_bytes: int, uri: str) -> bytes:
    pieces: list[bytes] = []
    num_bytes = 0
    while True:
        try:
            block = read(_BLOCK_BYTES)
        except packed.FAULTS:
            break
        if not block:
            return b"".join(pieces)
        pieces.append(block)
        num_bytes += len(block)
        packed.check_growth(num_bytes, num_packed, max_bytes, uri)
    raise ExtractionError("damaged", f"{uri}: its compressed body is cut or damaged; fetch it again")


class _Inflate:
    """`deflate`, which servers write with and without the header of zlib."""

    def __init__(self, body: bytes) -> None:
        has_header = len(body) > 1 and body[0] & 15 == 8 and (body[0] * 256 + body[1]) % 31 == 0
        self._inflater = zlib.decompressobj(15 if has_header else -15)
        self._left = body

    def read(self, num_bytes: int) -> bytes:
        """At most so many bytes; none at the end. Raises EOFError for a cut stream."""
        while not self._inflater.eof:
            block = self._inflater.decompress(self._left, num_bytes)
            self._left = self._inflater.unconsumed_tail
            if block:
                return block
            if not self._left and not self._inflater.eof:
                raise EOFError
        return b""


def media_type_of(content_type: str, uri: str, data: bytes) -> str:
    """What a body is: what its header says, else the name in its address, and in any case what its bytes allow."""
    stated: str | None = content_type.partition(";")[0].strip().lower()
    stated = _OTHER_NAMES.get(stated or "", stated)
    if stated is None or stated in _SAYS_NOTHING or "/" not in stated:
        stated = media_types.stated_media_type(unquote(_path(uri))) or (
            "text/plain" if stated == "text/plain" else None
        )
    return media_types.checked_media_type(stated, data)


def charset_of(content_type: str) -> str | None:
    """The text encoding that a Content-Type names, by Python's name; None when it names none that is known."""
    found = re.search(r"charset\s*=\s*[\"']?([A-Za-z0-9_.:-]{1,40})", content_type, re.IGNORECASE)
    if found is None:
        return None
    try:
        name = codecs.lookup(found.group(1)).name
        b"a".decode(name)
    except (LookupError, UnicodeError):
        return None
    return name


def day_of(http_date: str | None) -> str | None:
    """The day of an HTTP date in UTC, YYYY-MM-DD; None for what is no date."""
    moment = moment_of(http_date)
    return moment.date().isoformat() if moment else None


def moment_of(http_date: str | None) -> datetime | None:
    """An HTTP date; None for what is none."""
    try:
        moment = parsedate_to_datetime(http_date or "")
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def clean_uri(uri: str) -> str:
    """An address as a record keeps it: no user or password, no fragment, printable ASCII, 2,048 characters at most."""
    uri = uri.strip().removeprefix("<").removesuffix(">")
    try:
        parts = urlsplit(uri)
        uri = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))
    except ValueError:
        pass
    return quote(uri, safe="!#$%&'()*+,/:;=?@[]~")[:_MAX_URI_CHARACTERS]


def _path(uri: str) -> str:
    try:
        return urlsplit(uri).path
    except ValueError:
        return ""
