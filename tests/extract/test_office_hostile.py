"""Whatever is wrong with an office file, only ExtractionError leaves, soon, and with a reason."""

import random
import struct

import pytest

from datasets_pipeline.extract import ExtractOptions, extract
from datasets_pipeline.extract.office_zip import OfficeZip
from datasets_pipeline.sources.base import REASONS, ExtractionError
from tests.extract.office_files import docx, epub, odf, ole, paragraph, part_of, with_part, xlsx
from tests.extract.real_documents import unpack
from tests.extract.test_office_documents import presentation, saved

OPTIONS = ExtractOptions()
LAUGHS = '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY l0 "ha">' + "".join(
    f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10)
) + "]>"  # fmt: skip
OUTSIDE = '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY l9 SYSTEM "file:///etc/passwd">]>'
PAGE = "<html><body><p>Walls stand.&l9;</p></body></html>"


def outcome(data: bytes, name: str) -> str:
    """The reason, or the text; anything but ExtractionError rises."""
    try:
        result = extract(data, name, None, OPTIONS)
    except ExtractionError as error:
        assert error.reason in REASONS and name in error.message
        return error.reason
    return "\n".join(document.text for document in result.documents)


def entity_files(prolog: str) -> dict[str, bytes]:
    slide, book = saved(presentation()), xlsx({"a": [["x"]]})
    hostile_slide = prolog.encode() + part_of(slide, "ppt/slides/slide1.xml").partition(b"?>")[2].replace(
        b"first", b"&l9;"
    )
    strings = prolog.encode() + part_of(book, "xl/sharedStrings.xml").partition(b"?>")[2].replace(b">x<", b">&l9;<")
    return {
        "a.docx": docx(paragraph("&l9;"), prolog=prolog),
        "core.docx": docx(paragraph("x"), {"docProps/core.xml": f"{prolog}<a>&l9;</a>"}),
        "a.pptx": with_part(slide, "ppt/slides/slide1.xml", hostile_slide),
        "a.xlsx": with_part(book, "xl/sharedStrings.xml", strings),
        "a.ods": odf("spreadsheet", "<table:table>&l9;</table:table>", prolog=prolog),
        "a.odt": odf("text", "<text:p>&l9;</text:p>", prolog=prolog),
        "meta.odt": odf("text", "<text:p>x</text:p>", {"meta.xml": f"{prolog}<a>&l9;</a>"}),
        "a.odp": odf("presentation", "<text:p>&l9;</text:p>", prolog=prolog),
        "package.epub": epub({"a.xhtml": PAGE}, prolog=prolog),
        "chapter.epub": epub({"a.xhtml": prolog + PAGE}),
        "utf16.docx": docx("", {"word/document.xml": f"{prolog.partition('?>')[2]}<a>&l9;</a>".encode("utf-16")}),
    }


@pytest.mark.parametrize("prolog", [LAUGHS, OUTSIDE], ids=["billion laughs", "external entity"])
@pytest.mark.parametrize("name", sorted(entity_files("")))
def test_entities_are_refused(name: str, prolog: str) -> None:
    assert outcome(entity_files(prolog)[name], name) == "parser_error"


@pytest.mark.parametrize("depth", [200, 5_000, 200_000])
def test_deep_nesting_is_an_error_or_text_and_never_a_crash(depth: int) -> None:
    outcomes = {
        "a.docx": docx("<w:sdt><w:sdtContent>" * depth + paragraph("x") + "</w:sdtContent></w:sdt>" * depth),
        "table.docx": docx("<w:tbl><w:tr><w:tc>" * depth + paragraph("x") + "</w:tc></w:tr></w:tbl>" * depth),
        "a.odt": odf("text", "<text:list><text:list-item>" * depth + "x" + "</text:list-item></text:list>" * depth),
        "a.epub": epub({"a.xhtml": "<div>" * depth + "x" + "</div>" * depth}),
    }
    for name, data in outcomes.items():
        assert outcome(data, name) in {"x", "parser_error", "parser_returned_nothing", "- x", "too_large"}, name


def samples() -> dict[str, bytes]:
    return {
        "a.docx": docx(paragraph("Slate lasts.") * 20),
        "a.pptx": saved(presentation()),
        "a.xlsx": xlsx({"a": [["kind", 1.5], ["slate", 90]], "b": [["x"]]}),
        "a.ods": odf("spreadsheet", "<table:table><table:table-row><table:table-cell><text:p>x</text:p>"
                     "</table:table-cell></table:table-row></table:table>"),
        "a.odt": odf("text", "<text:p>Slate lasts.</text:p>" * 20),
        "a.epub": epub({"a.xhtml": PAGE, "b.xhtml": PAGE}),
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(samples()))
def test_a_file_cut_anywhere_is_an_error_of_the_file(name: str) -> None:
    data = samples()[name]
    for end in range(4, len(data), max(len(data) // 60, 1)):  # shorter ones are text of a letter or two
        assert outcome(data[:end], name) in REASONS


@pytest.mark.parametrize("name", sorted(samples()))
def test_flipped_bytes_are_text_or_an_error_of_the_file(name: str) -> None:
    chance = random.Random(name)
    data = samples()[name]
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(chance.choice((1, 3, 20))):
            damaged[chance.randrange(len(data))] = chance.randrange(256)
        outcome(bytes(damaged), name)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("a.docx", "word/document.xml"), ("a.pptx", "ppt/slides/slide2.xml"), ("a.pptx", "ppt/charts/chart1.xml"),
        ("a.xlsx", "xl/worksheets/sheet1.xml"), ("a.xlsx", "xl/workbook.xml"), ("a.odt", "content.xml"),
        ("a.ods", "content.xml"), ("a.epub", "OEBPS/book.opf"), ("a.epub", "OEBPS/a.xhtml"),
    ],
)  # fmt: skip
def test_damage_inside_of_a_part_is_text_or_an_error_of_the_file(name: str, part: str) -> None:
    """Flips of compressed bytes fail the checksum; these reach the parsers."""
    chance = random.Random(name + part)
    data = samples()[name]
    if part == "ppt/charts/chart1.xml":  # its number in the package is the library's affair
        part = next(n for n in OfficeZip(data, name).names if n.startswith("ppt/charts/chart"))
    content = part_of(data, part)
    for _ in range(30):
        damaged = bytearray(content)
        for _ in range(chance.choice((1, 3, 10))):
            place = chance.randrange(len(damaged))
            damaged[place : place + chance.choice((0, 1, 1, 9))] = chance.randbytes(1) * chance.choice((0, 1, 1, 5))
        outcome(with_part(data, part, bytes(damaged)), name)


def test_real_workbooks_of_the_old_kind_survive_damage(tmp_path) -> None:
    root = unpack("format-corpus", tmp_path, suffixes=("Reviews.xls",))
    (path,) = root.rglob("*.xls")
    data, chance = path.read_bytes(), random.Random(4)
    assert len(outcome(data, "a.xls")) > 10_000
    for end in range(1, len(data), len(data) // 30):
        outcome(data[:end], "a.xls")
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(chance.choice((1, 3, 20))):
            damaged[chance.randrange(len(data))] = chance.randrange(256)
        outcome(bytes(damaged), "a.xls")


def test_a_chain_of_sectors_that_bites_its_tail_ends() -> None:
    data = bytearray(ole({"Workbook": bytes(4096)}))
    for place in range(512, 1024, 4):
        struct.pack_into("<I", data, place, 2)
    assert outcome(bytes(data), "a.xls") in REASONS
