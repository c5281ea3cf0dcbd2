"""DOCX: headings, lists, tables, text boxes, formulas (LaTeX) and notes as Markdown, through mammoth's HTML.

Left out: page headers and footers, comments, deleted text, pictures (their alternative text stays). Footnotes and
endnotes stand at the end as `[^1]: ...`. mammoth reads about half a MB of XML a second.
"""

import re
from typing import Any

from datasets_pipeline.extract import office_html, office_xml
from datasets_pipeline.extract.containers import DOCX
from datasets_pipeline.extract.office_zip import OfficeZip
from datasets_pipeline.extract.omml import formulas_as_text
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.sources.base import MEBIBYTE, ExtractedDocument, ExtractionError, ExtractionResult

VERSION = "1"
MEDIA_TYPES = (DOCX,)
LIBRARIES = ("mammoth", "lxml")

_MAX_XML_BYTES = 32 * MEBIBYTE
"""Uncompressed parts of one file; the library holds 50 times as much (235 MiB for 4.7 MB)."""
_STYLES = """
p[style-name='Title'] => h1:fresh
p[style-name='Subtitle'] => p:fresh
p[style-name='HTML Preformatted'] => pre:separator('\\n')
p[style-name='Source Code'] => pre:separator('\\n')
p[style-name='Preformatted Text'] => pre:separator('\\n')
p[style-name='Plain Text'] => p:fresh
"""
_XML = re.compile(r"\.(?:xml|rels)\Z")
_NOTE = re.compile(r"#(?:footnote|endnote)-\w+\Z")
_NOTE_NUMBER = re.compile(r"\[(\d+)\]\Z")


def extract(data: bytes, uri: str, media_type: str, options: ExtractOptions) -> ExtractionResult:
    """The whole document as one text. Raises ExtractionError."""
    office = OfficeZip(data, uri)
    if office.num_bytes() > _MAX_XML_BYTES:
        raise ExtractionError("too_large", f"{uri}: its text unpacks to more than {_MAX_XML_BYTES:,} bytes; split it")
    document = ExtractedDocument(
        text=_text_of(office),
        start=0,
        end=len(data),
        media_type=media_type,
        extractor="docx",
        extractor_version=VERSION,
        **office_xml.stated(**office_xml.ooxml_properties(office)),
    )
    return ExtractionResult([document])


def _text_of(office: OfficeZip) -> str:
    import mammoth
    from lxml import html

    page = mammoth.convert_to_html(
        # All parts are parsed here once: mammoth takes seconds to find out how deep a part is nested.
        office.repacked({name: formulas_as_text(office.read_xml(name)) for name in office.names if _XML.search(name)}),
        style_map=_STYLES,
        include_embedded_style_map=False,
        external_file_access=False,
        convert_image=mammoth.images.img_element(lambda image: {}),  # its bytes are never opened
    ).value
    root = html.fragment_fromstring(page, create_parent="div", parser=html.HTMLParser(huge_tree=True))
    _mark_notes(root)
    for image in root.iter("img"):
        image.text = image.get("alt") or ""
    for box in root.iter("input"):
        box.tail = ("[ ] " if box.get("checked") is None else "[x] ") + (box.tail or "").lstrip()
    return office_html.render(root)


def _mark_notes(root: Any) -> None:
    """References to notes as `[^1]`, and the list of notes at the end as one paragraph each."""
    numbers: dict[str, str] = {}
    for link in root.iter("a"):
        target, number = link.get("href", ""), _NOTE_NUMBER.match(link.text or "")
        if number and _NOTE.match(target):
            numbers.setdefault(target[1:], number.group(1))
            link.text = f"[^{number.group(1)}]"
        elif link.text == "↑":  # leads back from a note
            link.text = ""
    notes = [item for item in root.iterfind("ol/li") if item.get("id") in numbers]
    for item in notes:
        blocks = list(item) or [item]
        blocks[0].text = f"[^{numbers[item.get('id')]}]: {blocks[0].text or ''}"
        item.tag = "div"
        item.getparent().tag = "div"
