"""Small office files made on the spot: by hand where the test needs to see every byte, else by the libraries."""

import io
import struct
import zipfile

import xlsxwriter

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
M = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
ODF = " ".join(
    f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for prefix, name in [
        ("office", "office"), ("text", "text"), ("table", "table"), ("draw", "drawing"), ("style", "style"),
        ("presentation", "presentation"), ("meta", "meta"),
    ]
) + ' xmlns:dc="http://purl.org/dc/elements/1.1/"'  # fmt: skip
_CONTENT_TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    '<Override PartName="/word/document.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
_RELATIONSHIP = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def zipped(parts: dict[str, str | bytes]) -> bytes:
    """A zip of the parts, in their order; `mimetype` is stored, as the formats want it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name, part in parts.items():
            target.writestr(name, part, zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def relationships(*types_and_targets: tuple[str, str]) -> str:
    inside = "".join(
        f'<Relationship Id="r{n}" Type="{_RELATIONSHIP}/{kind}" Target="{target}"/>'
        for n, (kind, target) in enumerate(types_and_targets)
    )
    return (
        f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{inside}</Relationships>'
    )


def docx(body: str, parts: dict[str, str | bytes] | None = None, prolog: str = "") -> bytes:
    """A DOCX of the XML inside w:body; more parts, or others in place of its own."""
    document = f"{prolog}<w:document {W} {M}><w:body>{body}</w:body></w:document>"
    return zipped(
        {
            "[Content_Types].xml": _CONTENT_TYPES,
            "_rels/.rels": relationships(("officeDocument", "word/document.xml")),
            "word/document.xml": document,
        }
        | (parts or {})
    )


def paragraph(text: str, style: str = "") -> str:
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}<w:r><w:t>{text}</w:t></w:r></w:p>"


def odf(kind: str, content: str, parts: dict[str, str | bytes] | None = None, prolog: str = "") -> bytes:
    """An ODT, ODS or ODP of the XML inside the body; kind is text, spreadsheet or presentation."""
    body = f"<office:body><office:{kind}>{content}</office:{kind}></office:body>"
    return zipped(
        {
            "mimetype": f"application/vnd.oasis.opendocument.{kind}",
            "META-INF/manifest.xml": '<m:manifest xmlns:m="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>',
            "content.xml": f"{prolog}<office:document-content {ODF}>{body}</office:document-content>",
        }
        | (parts or {})
    )


def epub(chapters: dict[str, str], parts: dict[str, str | bytes] | None = None, prolog: str = "") -> bytes:
    """A book of chapters by file name, in the order of the spine."""
    items = "".join(
        f'<item id="c{n}" href="{name}" media-type="application/xhtml+xml"/>' for n, name in enumerate(chapters)
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
    package = (
        f'{prolog}<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>On Walls</dc:title><dc:creator>A. Person</dc:creator>'
        f"<dc:language>en-GB</dc:language><dc:date>2021-03-04</dc:date></metadata><manifest>{items}</manifest>"
        f"<spine>{spine}</spine></package>"
    )
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile '
        'full-path="OEBPS/book.opf"/></rootfiles></container>'
    )
    return zipped(
        {"mimetype": "application/epub+zip", "META-INF/container.xml": container, "OEBPS/book.opf": package}
        | {f"OEBPS/{name}": page for name, page in chapters.items()}
        | (parts or {})
    )


def xlsx(sheets: dict[str, list[list[object]]], **options: object) -> bytes:
    """A workbook of rows by sheet name."""
    packed = io.BytesIO()
    workbook = xlsxwriter.Workbook(packed, {"in_memory": True, "default_date_format": "yyyy-mm-dd", **options})
    for name, rows in sheets.items():
        sheet = workbook.add_worksheet(name)
        for row, cells in enumerate(rows):
            for column, value in enumerate(cells):
                if value is not None:
                    sheet.write(row, column, value)
    workbook.close()
    return packed.getvalue()


def with_part(data: bytes, name: str, part: bytes) -> bytes:
    """The zip with one part replaced or added."""
    with zipfile.ZipFile(io.BytesIO(data)) as members:
        parts: dict[str, str | bytes] = {member: members.read(member) for member in members.namelist()}
    return zipped(parts | {name: part})


def part_of(data: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as members:
        return members.read(name)


def ole(streams: dict[str, bytes]) -> bytes:
    """An OLE file of at most three streams of 4,096 bytes or more each ([MS-CFB])."""
    free, end, table_sector = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
    table, contents, entries = [table_sector, end], [], []
    for index, (name, content) in enumerate(streams.items(), 1):
        assert len(content) >= 4096 and index <= 3
        content += bytes(-len(content) % 512)
        start, num_sectors = len(table), len(content) // 512
        table += [*range(start + 1, start + num_sectors), end]
        contents.append(content)
        following = index + 1 if index < len(streams) else free
        entries.append(_ole_entry(name, 2, start, len(content), right=following))
    directory = b"".join([_ole_entry("Root Entry", 5, end, 0, child=1), *entries]).ljust(512, b"\x00")
    header = struct.pack(
        "<8s16x5H6x9I", bytes.fromhex("d0cf11e0a1b11ae1"), 0x3E, 3, 0xFFFE, 9, 6, 0, 1, 1, 0, 4096, end, 0, end, 0
    )
    header += struct.pack("<109I", 0, *[free] * 108)
    return header + struct.pack("<128I", *table, *[free] * (128 - len(table))) + directory + b"".join(contents)


def _ole_entry(name: str, kind: int, start: int, size: int, right: int = 0xFFFFFFFF, child: int = 0xFFFFFFFF) -> bytes:
    encoded = name.encode("utf-16-le") + b"\x00\x00"
    entry = encoded.ljust(64, b"\x00") + struct.pack("<HBB3I", len(encoded), kind, 1, 0xFFFFFFFF, right, child)
    return entry.ljust(116, b"\x00") + struct.pack("<2I4x", start, size)
