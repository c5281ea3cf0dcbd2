"""Zips of office files and books, looked through before any library sees them.

What a bomb or a forgery needs is refused first: too many members, members that share bytes, sizes out of
proportion, unusual compression, a document type or entities in an XML part. Libraries are handed `repacked()`, a new
zip of the parts that were read and checked, in which pictures are empty.
"""

import io
import re
import zipfile

from datasets_pipeline.extract.containers import MAX_ENTRIES, is_encrypted_ooxml
from datasets_pipeline.extract.packed import MAX_RATIO, grows_too_much
from datasets_pipeline.extract.zips import ENCRYPTED_FLAG, member_ends
from datasets_pipeline.sources.base import MEBIBYTE, ExtractionError

VERSION = "1"

MAX_BYTES = 256 * MEBIBYTE
"""Uncompressed bytes of one office file, pictures aside; a parser holds several times as much."""

# Members that hold no text; their bytes are never unpacked.
_MEDIA = re.compile(
    r"\.(?:png|jpe?g|jfif|gif|bmp|tiff?|webp|ico|emf|wmf|emz|wmz|pict?|eps|psd|heic|mp[34]|m4[av]|mov|avi|wm[av]|wav"
    r"|mid|ogg|webm|swf|ttf|otf|ttc|woff2?|odttf|fntdata|js|css|pdf|zip|docx|xlsx|pptx|doc|xls|ppt)\Z"
    r"|(?:^|/)(?:vbaProject|oleObject\d*|printerSettings\d*|editdata)\.(?:bin|mso)\Z",
    re.IGNORECASE,
)
_EBCDIC = b"\x4c\x6f\xa7\x94"  # `<?xm`, which some parsers decode unasked
# By the formats' own standards parts are UTF-8 or UTF-16; the others are told from ASCII by nothing a parser acts on.
_ENCODINGS = {"utf-8", "utf8", "us-ascii", "ascii"}
_SINGLE_BYTE = {"iso-8859-1", "iso-8859-15", "windows-1252"}
_DECLARATION = re.compile(rb"\s*<\?xml\b[^<>]*?\bencoding\b\s*(?:=\s*[\"']([A-Za-z0-9._-]{1,40})[\"'])?")
_REFUSED = re.compile(rb"<!(?:DOCTYPE|ENTITY)")
_REFUSED_IN_PAGES = re.compile(rb"<!ENTITY")


class OfficeZip:
    """The checked members of one zip; parts are unpacked when they are read."""

    def __init__(self, data: bytes, uri: str) -> None:
        """Raises ExtractionError: encrypted, too_large (a bomb), parser_error (damaged, or forged)."""
        self.uri = uri
        if is_encrypted_ooxml(data):
            raise ExtractionError("encrypted", f"{uri}: protected by a password; take it off, or exclude the file")
        if data.count(b"PK\x01\x02") > MAX_ENTRIES:
            raise self._too_large(f"more than {MAX_ENTRIES:,} members")
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except Exception as error:  # of a damaged directory zipfile raises nearly everything
            raise self._damaged("no directory of members can be read in it") from error
        self._members = {member.filename: member for member in self._zip.infolist() if not member.is_dir()}
        self._check_members(data)

    @property
    def names(self) -> list[str]:
        """Names of the members, in the order of the zip's directory."""
        return list(self._members)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def read(self, name: str) -> bytes:
        """One part as it is. Raises ExtractionError parser_error when it is missing or damaged."""
        if name not in self._members:
            raise self._damaged(f"the part {name[:100]!r} is missing")
        try:
            return self._zip.read(self._members[name])
        except Exception as error:
            raise self._damaged(f"the part {name[:100]!r} cannot be unpacked") from error

    def read_xml(self, name: str) -> bytes:
        """One XML part, in UTF-8. Raises ExtractionError parser_error, also for a document type or entities in it."""
        return self._checked(name, self.read(name), _REFUSED)

    def read_page(self, name: str) -> bytes:
        """One (X)HTML part, in UTF-8; it may have a document type but no entities of its own."""
        return self._checked(name, self.read(name), _REFUSED_IN_PAGES)

    def repacked(self, replaced: dict[str, bytes] | None = None) -> io.BytesIO:
        """A zip of the checked parts, uncompressed, for a library; pictures, macros and objects in it are empty.

        replaced: parts by name that stand in place of the ones read.
        """
        clean = io.BytesIO()
        with zipfile.ZipFile(clean, "w", zipfile.ZIP_STORED) as target:
            for name in self._members:
                part = (replaced or {}).get(name)
                if part is None:
                    part = self.read(name) if self.holds_text(name) else b""
                    part = self._checked(name, part, _REFUSED) if _looks_like_xml(part) else part
                target.writestr(zipfile.ZipInfo(name), part)
        clean.seek(0)
        return clean

    def num_bytes(self) -> int:
        """Uncompressed bytes of the parts that may hold text."""
        return sum(member.file_size for name, member in self._members.items() if self.holds_text(name))

    @staticmethod
    def holds_text(name: str) -> bool:
        """False for pictures, films, fonts, macros and embedded files, which are never unpacked."""
        return _MEDIA.search(name) is None

    def _check_members(self, data: bytes) -> None:
        members = self._zip.infolist()
        total = sum(member.file_size for member in members)
        if grows_too_much(total, len(data)):
            raise self._too_large(f"it unpacks to more than {MAX_RATIO} times its size")
        if self.num_bytes() > MAX_BYTES:
            raise self._too_large(f"its parts unpack to more than {MAX_BYTES:,} bytes")
        for member in members:
            if member.flag_bits & ENCRYPTED_FLAG:
                raise ExtractionError("encrypted", f"{self.uri}: its parts are encrypted; unlock it, or exclude it")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise self._damaged("a part is compressed in a way office files are not")
        try:
            member_ends(data, members)
        except ValueError as error:
            raise self._damaged("its members share the same bytes, or lie outside of it") from error

    def _checked(self, name: str, part: bytes, refused: re.Pattern[bytes]) -> bytes:
        part = self._as_utf8(name, part)
        if refused.search(part):
            raise ExtractionError(
                "parser_error",
                f"{self.uri}: the part {name[:100]!r} declares a document type or entities, which office files have no "
                "use for and attacks do; save it again with an office program, or exclude it",
            )
        return part

    def _as_utf8(self, name: str, part: bytes) -> bytes:
        """The part in UTF-8, so that what was searched is what a parser reads; a foreign encoding is refused."""
        if part[:2] in (b"\xff\xfe", b"\xfe\xff"):
            encoding = "utf-16"
        elif b"\x00" in part[:2]:
            encoding = "utf-16-le" if part[:1] != b"\x00" else "utf-16-be"
        else:
            declared = _DECLARATION.match(part.removeprefix(b"\xef\xbb\xbf"))
            encoding = (declared.group(1) or b"?").decode("ascii").lower() if declared else "utf-8"
            if encoding in _ENCODINGS and not part.startswith(_EBCDIC):
                return part
            if encoding not in _SINGLE_BYTE:
                raise self._damaged(f"the part {name[:100]!r} is in an encoding office files are not in")
        try:
            text = part.decode(encoding)
        except UnicodeDecodeError as error:
            raise self._damaged(f"the part {name[:100]!r} does not decode") from error
        return re.sub(r"^\s*<\?xml\b[^<>]*\?>", "", text).encode("utf-8", "replace")

    def _damaged(self, what: str) -> ExtractionError:
        return ExtractionError(
            "parser_error", f"{self.uri}: {what}; open it with an office program and save it again, or exclude it"
        )

    def _too_large(self, what: str) -> ExtractionError:
        return ExtractionError("too_large", f"{self.uri}: {what}; exclude it, or export its text")


def _looks_like_xml(part: bytes) -> bool:
    head = part[:64].replace(b"\x00", b"").lstrip(b"\xff\xfe\xef\xbb\xbf \t\r\n")
    return head.startswith((b"<", _EBCDIC))
