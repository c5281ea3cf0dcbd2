"""Small PDFs, written by hand: text at given places, greyscale pictures, fonts that name no characters."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class Text:
    """One line at (x, y) points from the bottom left corner. font: F1 Helvetica, F2 bold, F3 Courier, F4 garbled."""

    x: float
    y: float
    text: str
    size: float = 10
    font: str = "F1"
    turned: bool = False


@dataclass(frozen=True)
class Picture:
    """A greyscale picture over the whole page."""

    image: Image.Image


def lines(x: float, top: float, texts: Sequence[str], *, size: float = 10, leading: float = 12) -> list[Text]:
    """A column of lines from a top downwards."""
    return [Text(x, top - number * leading, text, size) for number, text in enumerate(texts)]


def write_pdf(
    pages: Sequence[Sequence[Text | Picture]], *, info: dict[str, str] | None = None, size: tuple[int, int] = (612, 792)
) -> bytes:
    """A PDF with these pages. info: entries of the document information dictionary."""
    objects: list[bytes] = [b"", b""]  # catalog and page tree come last
    fonts = [
        b"<< /Type /Font /Subtype /Type1 /BaseFont /%s /Encoding /WinAnsiEncoding >>" % name
        for name in (b"Helvetica", b"Helvetica-Bold", b"Courier")
    ]
    # Glyphs of a font of its own, and no word on which characters they are.
    descendant = (
        b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Garbled /CIDSystemInfo << /Registry (Adobe) "
        b"/Ordering (Identity) /Supplement 0 >> /FontDescriptor << /Type /FontDescriptor /FontName /Garbled /Flags 4 "
        b"/FontBBox [0 0 1000 1000] /ItalicAngle 0 /Ascent 800 /Descent -200 /CapHeight 700 /StemV 80 >> /DW 600 >>"
    )
    fonts.append(
        b"<< /Type /Font /Subtype /Type0 /BaseFont /Garbled /Encoding /Identity-H /DescendantFonts [%s] >>" % descendant
    )
    font_numbers = [_add(objects, font) for font in fonts]
    named = b" ".join(b"/F%d %d 0 R" % (n, number) for n, number in enumerate(font_numbers, 1))
    kids = []
    for page in pages:
        content, pictures = [], []
        for item in page:
            if isinstance(item, Picture):
                pictures.append(_add(objects, _picture(item.image)))
                content.append(b"q %d 0 0 %d 0 0 cm /P%d Do Q" % (*size, len(pictures)))
            else:
                content.append(_shown(item))
        stream = b"\n".join(content)
        number = _add(objects, b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        resources = b"<< /Font << %s >> /XObject << %s >> >>" % (
            named,
            b" ".join(b"/P%d %d 0 R" % (n, picture) for n, picture in enumerate(pictures, 1)),
        )
        kids.append(
            _add(
                objects,
                b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Resources %s /Contents %d 0 R >>"
                % (*size, resources, number),
            )
        )
    entries = b" ".join(b"/%s (%s)" % (k.encode(), v.encode("latin-1")) for k, v in (info or {}).items())
    info_number = _add(objects, b"<< %s >>" % entries)
    objects[0] = b"<< /Type /Catalog /Pages 2 0 R >>"
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(b"%d 0 R" % kid for kid in kids), len(kids))
    return _file(objects, info_number)


def _add(objects: list[bytes], body: bytes) -> int:
    objects.append(body)
    return len(objects)


def _picture(image: Image.Image) -> bytes:
    packed = zlib.compress(image.convert("L").tobytes(), 1)
    return (
        b"<< /Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceGray /BitsPerComponent 8 "
        b"/Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream" % (*image.size, len(packed), packed)
    )


def _shown(item: Text) -> bytes:
    if item.font == "F4":
        string = b"<%s>" % b"".join(b"%04x" % (ord(character) + 200) for character in item.text)
    else:
        string = b"(%s)" % item.text.encode("cp1252").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(
            b")", b"\\)"
        )
    matrix = b"0 1 -1 0" if item.turned else b"1 0 0 1"
    return b"BT /%s %g Tf %s %g %g Tm %s Tj ET" % (item.font.encode(), item.size, matrix, item.x, item.y, string)


def _file(objects: list[bytes], info_number: int) -> bytes:
    data, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"<< /Size %d /Root 1 0 R /Info %d 0 R >>" % (len(objects) + 1, info_number)
    data += b"xref\n0 %d\n0000000000 65535 f \n%strailer\n%s\n" % (len(objects) + 1, table, trailer)
    return data + b"startxref\n%d\n%%%%EOF\n" % data.index(b"xref\n0 ")
