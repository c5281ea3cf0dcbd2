"""DOCX, PPTX, ODT, ODP and EPUB keep their structure as Markdown and state what they say about themselves."""

import io
from typing import Any

import pptx
import pytest
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from datasets_pipeline.extract import ExtractOptions, extract
from datasets_pipeline.sources.base import ExtractedDocument, ExtractionError
from tests.extract.office_files import ODF, docx, epub, odf, paragraph, relationships

OPTIONS = ExtractOptions()
CORE = (
    '<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><dc:title> On  Roofs </dc:title>'
    "<dc:creator>A. Person</dc:creator><cp:lastModifiedBy>B. Person</cp:lastModifiedBy><dc:language>de-AT</dc:language>"
    '<dcterms:modified xsi:type="dcterms:W3CDTF">2024-05-06T07:08:09Z</dcterms:modified></cp:coreProperties>'
)


def read(data: bytes, name: str) -> ExtractedDocument:
    (document,) = extract(data, name, None, OPTIONS).documents
    return document


def cell(*blocks: str) -> str:
    return f"<w:tc>{''.join(blocks)}</w:tc>"


def table(*rows: list[str]) -> str:
    return "<w:tbl>" + "".join(f"<w:tr>{''.join(row)}</w:tr>" for row in rows) + "</w:tbl>"


def test_docx_keeps_headings_and_tables() -> None:
    body = (
        paragraph("Roofs", "Heading1")
        + paragraph("Slate lasts.")
        + table(
            [cell(paragraph("kind")), cell(paragraph("years"))],
            [cell(paragraph("slate | split")), cell(paragraph("90"))],
        )
        + paragraph("After.")
    )
    assert read(docx(body), "a.docx").text == (
        "# Roofs\n\nSlate lasts.\n\n| kind | years |\n| --- | --- |\n| slate \\| split | 90 |\n\nAfter."
    )


def test_a_table_that_lays_out_a_page_is_read_cell_by_cell() -> None:
    text = read(
        docx(table([cell(paragraph("Left", "Heading2"), paragraph("words")), cell(paragraph("right"))])), "a.docx"
    )
    assert text.text == "## Left\n\nwords\n\nright"


def test_docx_states_title_language_and_day_but_no_person() -> None:
    document = read(docx(paragraph("Text."), {"docProps/core.xml": CORE}), "a.docx")
    assert (document.stated_date, document.language, document.metadata) == ("2024-05-06", "de", {"title": "On Roofs"})
    assert "Person" not in repr(document)


def test_footnotes_stand_at_the_end_under_their_numbers() -> None:
    note = (
        '<w:footnotes xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:footnote w:id="2">'
        + paragraph("Quarried in Wales.") + "</w:footnote></w:footnotes>"
    )  # fmt: skip
    body = (
        '<w:p><w:r><w:t>Slate</w:t></w:r><w:r><w:footnoteReference w:id="2"/></w:r><w:r><w:t> lasts.</w:t></w:r></w:p>'
    )
    parts: dict[str, str | bytes] = {
        "word/footnotes.xml": note,
        "word/_rels/document.xml.rels": relationships(("footnotes", "footnotes.xml")),
    }
    assert read(docx(body, parts), "a.docx").text == "Slate[^1] lasts.\n\n[^1]: Quarried in Wales."


@pytest.mark.parametrize(
    ("math", "latex"),
    [
        ("<m:f><m:num><m:r><m:t>a</m:t></m:r></m:num><m:den><m:r><m:t>b</m:t></m:r></m:den></m:f>", r"\frac{a}{b}"),
        ("<m:sSup><m:e><m:r><m:t>x</m:t></m:r></m:e><m:sup><m:r><m:t>2</m:t></m:r></m:sup></m:sSup>", "x^{2}"),
        ("<m:rad><m:deg/><m:e><m:r><m:t>x</m:t></m:r></m:e></m:rad>", r"\sqrt{x}"),
        ('<m:nary><m:naryPr><m:chr m:val="∑"/></m:naryPr><m:sub><m:r><m:t>i=1</m:t></m:r></m:sub><m:sup><m:r><m:t>n'
         "</m:t></m:r></m:sup><m:e><m:r><m:t>i</m:t></m:r></m:e></m:nary>", r"\sum_{i=1}^{n} i"),
        ("<m:d><m:e><m:r><m:t>x_1</m:t></m:r></m:e></m:d>", r"(x\_1)"),
        ("<m:unheard><m:r><m:t>kept</m:t></m:r></m:unheard>", "kept"),
    ],
)  # fmt: skip
def test_formulas_are_latex(math: str, latex: str) -> None:
    body = f"<w:p><w:r><w:t>Let </w:t></w:r><m:oMath>{math}</m:oMath><w:r><w:t> be.</w:t></w:r></w:p>"
    assert read(docx(body), "a.docx").text == f"Let ${latex}$ be."


def test_deleted_text_is_left_out_and_inserted_text_is_kept() -> None:
    body = "<w:p><w:del><w:r><w:delText>old</w:delText></w:r></w:del><w:ins><w:r><w:t>new</w:t></w:r></w:ins></w:p>"
    assert read(docx(body), "a.docx").text == "new"


def presentation() -> Any:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Roofs"
    for left, top, text in ((5, 4, "third"), (5, 2, "second"), (1, 2, "first")):
        slide.shapes.add_textbox(Inches(left), Inches(top), Inches(1), Inches(1)).text_frame.text = text
    group = slide.shapes.add_group_shape()
    group.shapes.add_textbox(Inches(1), Inches(6), Inches(1), Inches(1)).text_frame.text = "grouped"
    slide.notes_slide.notes_text_frame.text = "Say it slowly."
    slide = deck.slides.add_slide(deck.slide_layouts[6])
    cells = slide.shapes.add_table(2, 2, Inches(1), Inches(1), Inches(4), Inches(2)).table
    for index, text in enumerate(("kind", "years", "slate", "90")):
        cells.cell(index // 2, index % 2).text = text
    data = CategoryChartData()
    data.categories = ["2023", "2024"]
    data.add_series("slates", (1.1, 2))
    slide.shapes.add_chart(XL_CHART_TYPE.BAR_CLUSTERED, Inches(1), Inches(4), Inches(4), Inches(3), data)
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "Points"
    frame = slide.placeholders[1].text_frame
    frame.text = "one"
    for text, level in (("inner", 1), ("two", 0)):
        added = frame.add_paragraph()
        added.text, added.level = text, level
    deck.core_properties.author, deck.core_properties.title = "A. Person", "Roofing"
    return deck


def saved(deck: Any) -> bytes:
    packed = io.BytesIO()
    deck.save(packed)
    return packed.getvalue()


def test_slides_are_read_in_order_and_shapes_from_top_left() -> None:
    document = read(saved(presentation()), "a.pptx")
    assert document.text == (
        "## Roofs\n\nfirst\n\nsecond\n\nthird\n\ngrouped\n\nNotes:\n\nSay it slowly.\n\n---\n\n"
        "| kind | years |\n| --- | --- |\n| slate | 90 |\n\n"
        "|  | slates |\n| --- | --- |\n| 2023 | 1.1 |\n| 2024 | 2 |\n\n"
        "## Points\n\n- one\n  - inner\n- two"
    )
    assert document.metadata == {"title": "Roofing"}


def test_odt_keeps_headings_lists_tables_and_notes() -> None:
    styles = (
        f"<office:document-styles {ODF}>"
        '<text:list-style style:name="L1"><text:list-level-style-number text:level="1"/><text:list-level-style-bullet '
        'text:level="2"/></text:list-style></office:document-styles>'
    )
    meta = (
        f"<office:document-meta {ODF}><office:meta><dc:title>On Roofs</dc:title><dc:creator>A. Person</dc:creator>"
        "<dc:date>2020-02-03T04:05:06</dc:date></office:meta></office:document-meta>"
    )
    content = (
        "<text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>"
        '<text:h text:outline-level="2">Roofs</text:h>'
        "<text:p>Slate<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>From Wales.</text:p>"
        '</text:note-body></text:note> and<text:s text:c="2"/>tile<text:line-break/>last.</text:p>'
        '<text:list text:style-name="L1"><text:list-item><text:p>one</text:p><text:list><text:list-item><text:p>inner'
        "</text:p></text:list-item></text:list></text:list-item><text:list-item><text:p>two</text:p></text:list-item>"
        "</text:list><table:table><table:table-row><table:table-cell><text:p>kind</text:p></table:table-cell>"
        "<table:table-cell><text:p>years</text:p></table:table-cell></table:table-row><table:table-row>"
        "<table:table-cell><text:p>slate</text:p></table:table-cell><table:table-cell><text:p>90</text:p>"
        "</table:table-cell></table:table-row></table:table>"
    )
    document = read(odf("text", content, {"styles.xml": styles, "meta.xml": meta}), "a.odt")
    assert document.text == (
        "## Roofs\n\nSlate[^1] and tile\nlast.\n\n1. one\n  - inner\n2. two\n\n"
        "| kind | years |\n| --- | --- |\n| slate | 90 |\n\n[^1]: From Wales."
    )
    assert (document.stated_date, document.metadata) == ("2020-02-03", {"title": "On Roofs"})
    assert "Person" not in repr(document)


def test_odp_slides_stand_under_their_titles() -> None:
    content = (
        '<draw:page><draw:frame presentation:class="title"><draw:text-box><text:p>Roofs</text:p></draw:text-box>'
        "</draw:frame>"
        "<draw:frame><draw:text-box><text:p>Slate lasts.</text:p></draw:text-box></draw:frame><presentation:notes>"
        "<text:p>Slowly.</text:p></presentation:notes></draw:page>"
    )
    assert read(odf("presentation", content), "a.odp").text == "## Roofs\n\nSlate lasts.\n\nNotes:\n\nSlowly."


def test_an_odf_file_behind_a_password_is_encrypted() -> None:
    manifest = (
        '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"><manifest:file-entry>'
        "<manifest:encryption-data/></manifest:file-entry></manifest:manifest>"
    )
    for kind, name in (("text", "a.odt"), ("spreadsheet", "a.ods")):
        with pytest.raises(ExtractionError) as raised:
            read(odf(kind, "", {"META-INF/manifest.xml": manifest}), name)
        assert raised.value.reason == "encrypted"


def test_a_book_is_its_chapters_in_the_order_of_the_spine() -> None:
    page = '<?xml version="1.0"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head><body>{}</body></html>'
    data = epub(
        {
            "z.xhtml": page.format('<h1>Walls</h1><p>Walls stand.<a id="x"/></p><aside><p>A note.</p></aside>'),
            "a.xhtml": page.format("<p>The end.</p>"),
        }
    )
    document = read(data, "walls.epub")
    assert document.text == "# Walls\n\nWalls stand.\n\nA note.\n\nThe end."
    assert (document.stated_date, document.language, document.metadata) == ("2021-03-04", "en", {"title": "On Walls"})
    assert "Person" not in repr(document)


def test_a_chapter_that_is_missing_costs_nothing_else() -> None:
    data = epub({"a.xhtml": "<html><body><p>Kept.</p></body></html>", "b.xhtml": "<p>x</p>"})
    data = data.replace(b"OEBPS/b.xhtml", b"OEBPS/c.xhtml")
    result = extract(data, "walls.epub", None, OPTIONS)
    assert [document.text for document in result.documents] == ["Kept."]
    assert [(reject.uri, reject.reason) for reject in result.rejects] == [("walls.epub!/OEBPS/b.xhtml", "parser_error")]


def test_a_book_with_drm_is_encrypted_and_hidden_fonts_are_not_drm() -> None:
    encryption = (
        '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container" xmlns:enc="http://www.w3.org/2001/04/xmlenc#">'
        '<enc:EncryptedData><enc:EncryptionMethod Algorithm="{}"/></enc:EncryptedData></encryption>'
    )
    chapters = {"a.xhtml": "<html><body><p>Walls stand.</p></body></html>"}
    fonts = encryption.format("http://www.idpf.org/2008/embedding")
    assert read(epub(chapters, {"META-INF/encryption.xml": fonts}), "a.epub").text == "Walls stand."
    drm = encryption.format("http://www.w3.org/2001/04/xmlenc#aes256-cbc")
    with pytest.raises(ExtractionError) as raised:
        read(epub(chapters, {"META-INF/encryption.xml": drm}), "a.epub")
    assert raised.value.reason == "encrypted"
