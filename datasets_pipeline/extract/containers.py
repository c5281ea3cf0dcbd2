"""Media types that are told from the inside of a container: office files are zips and OLE files under any name."""

import io
import re
import zipfile

from datasets_pipeline.extract import ole

VERSION = "1"

ZIP = "application/zip"
OLE = "application/x-ole-storage"

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
XLSB = "application/vnd.ms-excel.sheet.binary.macroenabled.12"
DOC = "application/msword"
PPT = "application/vnd.ms-powerpoint"
XLS = "application/vnd.ms-excel"
MSG = "application/vnd.ms-outlook"
RTF = "application/rtf"
ODT = "application/vnd.oasis.opendocument.text"
ODS = "application/vnd.oasis.opendocument.spreadsheet"
ODP = "application/vnd.oasis.opendocument.presentation"
EPUB = "application/epub+zip"

ENCRYPTED_STREAM = "EncryptedPackage"
MAX_ENTRIES = 10_000
"""Members of a zip that is read as an office file; a book of 5,000 pictures has fewer."""

# What [Content_Types].xml calls the main part; templates and files with macros are read like the rest.
_MAIN_PARTS = (
    (re.compile(rb"wordprocessingml\.(?:document|template)\.main|ms-word\.(?:document|template)\.macroEnabled"), DOCX),
    (
        re.compile(
            rb"presentationml\.(?:presentation|template|slideshow)\.main"
            rb"|ms-powerpoint\.(?:presentation|template|slideshow|addin)\.macroEnabled"
        ),
        PPTX,
    ),
    (re.compile(rb"ms-excel\.sheet\.binary\.macroEnabled"), XLSB),
    (re.compile(rb"spreadsheetml\.(?:sheet|template)\.main|ms-excel\.(?:sheet|template|addin)\.macroEnabled"), XLSX),
)
_BY_MIMETYPE = {
    EPUB: EPUB, ODT: ODT, ODS: ODS, ODP: ODP,
    ODT + "-template": ODT, ODT + "-master": ODT, ODS + "-template": ODS, ODP + "-template": ODP,
}  # fmt: skip
_BY_STREAM = (
    ("WordDocument", DOC), ("PowerPoint Document", PPT), ("Workbook", XLS), ("Book", XLS),
    ("__properties_version1.0", MSG),
    (ENCRYPTED_STREAM, DOCX),  # or another of its family: whichever extractor sees it says that it is encrypted
)  # fmt: skip
_READ_BYTES = 1024 * 1024


def type_inside_zip(data: bytes) -> str | None:
    """The media type of the office file or book a zip is, None for any other zip or a damaged one. Never raises."""
    if data.count(b"PK\x01\x02") > MAX_ENTRIES:  # before the directory is built in memory
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as members:
            names = set(members.namelist())
            if "mimetype" in names:
                return _BY_MIMETYPE.get(_opening(members, "mimetype").decode("ascii", "replace").strip())
            if "[Content_Types].xml" in names:
                content_types = _opening(members, "[Content_Types].xml")
                return next((media_type for part, media_type in _MAIN_PARTS if part.search(content_types)), None)
            return EPUB if "META-INF/container.xml" in names and any(n.endswith(".opf") for n in names) else None
    except Exception:  # of a damaged zip zipfile and zlib raise nearly everything
        return None


def type_inside_ole(data: bytes) -> str | None:
    """The media type of the legacy office file an OLE file is, None for another kind. Never raises."""
    names = ole.root_names(data)
    return next((media_type for stream, media_type in _BY_STREAM if stream.lower() in names), None)


def is_encrypted_ooxml(data: bytes) -> bool:
    """True for a password-protected DOCX, PPTX or XLSX: an OLE file around the encrypted zip ([MS-OFFCRYPTO])."""
    return data.startswith(ole.SIGNATURE) and ENCRYPTED_STREAM.lower() in ole.root_names(data)


def _opening(members: zipfile.ZipFile, name: str) -> bytes:
    if members.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return b""
    with members.open(name) as member:
        return member.read(_READ_BYTES)
