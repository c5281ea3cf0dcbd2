"""Zips of office files are looked through before a library sees them; what is in them decides what they are."""

import io
import struct
import zipfile

import pytest

from datasets_pipeline.extract import ExtractOptions, extract
from datasets_pipeline.extract.containers import DOC, DOCX, EPUB, MSG, ODS, ODT, PPT, PPTX, XLS, XLSX
from datasets_pipeline.extract.media_types import media_type_of
from datasets_pipeline.extract.office_zip import OfficeZip
from datasets_pipeline.sources.base import ExtractionError
from tests.extract.office_files import docx, epub, odf, ole, paragraph, with_part, xlsx, zipped

OPTIONS = ExtractOptions()
BODY = paragraph("Rain fell on the slate roofs of the town.")


def refusal(data: bytes, name: str = "a.docx") -> ExtractionError:
    with pytest.raises(ExtractionError) as raised:
        extract(data, name, None, OPTIONS)
    assert name in raised.value.message
    return raised.value


@pytest.mark.parametrize(
    ("name", "data", "media_type"),
    [
        ("report.zip", docx(BODY), DOCX),
        ("report", docx(BODY), DOCX),
        ("report.doc", docx(BODY), DOCX),
        ("report.docm", docx(BODY), DOCX),
        ("report.txt", docx(BODY), DOCX),
        ("prices.docx", xlsx({"a": [["x"]]}), XLSX),
        ("prices.xltm", xlsx({"a": [["x"]]}), XLSX),
        ("book", epub({"a.xhtml": "<html><body>x</body></html>"}), EPUB),
        ("note.zip", odf("text", "<text:p>x</text:p>"), ODT),
        ("note.odt", odf("spreadsheet", ""), ODS),
        ("old.docx", ole({"WordDocument": bytes(4096)}), DOC),
        ("old.doc", ole({"Workbook": bytes(4096)}), XLS),
        ("old", ole({"PowerPoint Document": bytes(4096)}), PPT),
        ("mail.doc", ole({"__properties_version1.0": bytes(4096)}), MSG),
        ("plain.zip", zipped({"a.txt": "x"}), "application/zip"),
        ("slides.pptx", zipped({"a.txt": "x"}), PPTX),
        ("picture.docx", b"%PDF-1.7\n", "application/pdf"),
    ],
)
def test_what_is_inside_decides_what_a_file_is(name: str, data: bytes, media_type: str) -> None:
    assert media_type_of(name, data) == media_type


def test_a_wrongly_named_document_is_read_by_the_right_extractor() -> None:
    (document,) = extract(docx(BODY), "minutes.doc", None, OPTIONS).documents
    assert (document.extractor, document.text) == ("docx", "Rain fell on the slate roofs of the town.")


def test_a_protected_document_is_encrypted_under_every_name() -> None:
    protected = ole({"EncryptedPackage": bytes(4096), "EncryptionInfo": bytes(4096)})
    for name in ("a.docx", "a.xlsx", "a.pptx", "a"):
        assert refusal(protected, name).reason == "encrypted"


def test_a_zip_with_encrypted_members_is_encrypted() -> None:
    data = bytearray(docx(BODY))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        while (start := data.find(mark, start + 1)) >= 0:
            data[start + place] |= 1
    assert refusal(bytes(data)).reason == "encrypted"


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = docx(BODY, {"word/media/a.xml": bytes(64 * 1024 * 1024)})
    assert len(bomb) < 100_000
    assert refusal(bomb).reason == "too_large"
    # Sizes that lie are found when the part is read.
    small = docx(BODY, {"word/document.xml": b"<a>" + bytes(100_000)})
    lying = small.replace(struct.pack("<I", 100_003), struct.pack("<I", 100))
    assert refusal(lying).reason == "parser_error"


def test_a_repetitive_but_small_part_is_no_bomb() -> None:
    text = "word " * 400_000
    (document,) = extract(docx(paragraph(text)), "a.docx", None, OPTIONS).documents
    assert document.text == text.strip()


def test_members_that_share_bytes_are_refused() -> None:
    """The overlap bomb of David Fifield: many directory entries for one stretch of compressed data."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as target:
        target.writestr("[Content_Types].xml", "x" * 1000)
        info = target.infolist()[0]
        for number in range(50):
            copy = zipfile.ZipInfo(f"{number}.xml")
            copy.header_offset, copy.CRC = info.header_offset, info.CRC
            copy.compress_size, copy.file_size = info.compress_size, info.file_size
            target.filelist.append(copy)
            target.NameToInfo[copy.filename] = copy
    assert "share" in refusal(packed.getvalue()).message


def test_too_many_members_are_refused() -> None:
    data = zipped({f"{number}.xml": "" for number in range(10_001)})
    assert media_type_of("a.docx", data) == DOCX  # by its name: nothing that large is looked into
    assert refusal(data).reason == "too_large"


@pytest.mark.parametrize(
    "part",
    [
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1/x.dtd"><a/>',
        b'<?xml version="1.0"?>\n<!-- --><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'.encode("utf-16"),
        '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'.encode("utf-16-be"),
        b'<?xml version="1.0" encoding="UTF-7"?>+ADwAIQ-DOCTYPE a+AD4-<a/>',
        b'<?xml version="1.0" encoding = "x-odd/name"?><a/>',
        '<?xml version="1.0"?><!DOCTYPE a><a/>'.encode("cp500"),
        "<?xml version='1.0' encoding='ISO-8859-1'?><!DOCTYPE a><a>é</a>".encode("latin-1"),
    ],
)
def test_a_document_type_is_refused_in_every_part_and_encoding(part: bytes) -> None:
    office = OfficeZip(with_part(docx(BODY), "word/other.xml", part), "a.docx")
    for look in (lambda: office.read_xml("word/other.xml"), office.repacked):
        with pytest.raises(ExtractionError) as raised:
            look()
        assert raised.value.reason == "parser_error"


def test_parts_in_utf16_and_latin1_are_read() -> None:
    body = "<?xml version='1.0' encoding='{}'?><w:document xmlns:w=" + (
        '"http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>' + paragraph("Straße") + "</w:body>"
        "</w:document>"
    )
    for encoding in ("utf-16", "iso-8859-1", "utf-8"):
        part = body.format(encoding).encode(encoding)
        (document,) = extract(docx("", {"word/document.xml": part}), "a.docx", None, OPTIONS).documents
        assert document.text == "Straße"


def test_pictures_are_not_unpacked_and_may_be_damaged() -> None:
    data = bytearray(docx(BODY, {"word/media/image1.png": b"\x89PNG" + bytes(range(256)) * 40}))
    place = data.find(b"\x89PNG")
    data[place + 5 : place + 9] = b"\xff\xff\xff\xff"
    (document,) = extract(bytes(data), "a.docx", None, OPTIONS).documents
    assert document.text.startswith("Rain fell")
