"""Sheets are documents of their own, as Markdown tables; a forged size is told before a library makes room for it."""

import struct
from datetime import date, datetime, time

import pytest

from datasets_pipeline.extract import ExtractOptions, extract, sheet_bounds
from datasets_pipeline.sources.base import ExtractionError, ExtractionResult
from tests.extract.office_files import odf, ole, part_of, with_part, xlsx

OPTIONS = ExtractOptions()
FIRST = "xl/worksheets/sheet1.xml"
CELL = '<table:table-cell office:value-type="string"{}><text:p>word</text:p></table:table-cell>'


def read(data: bytes, name: str = "book.xlsx") -> ExtractionResult:
    return extract(data, name, None, OPTIONS)


def reason(data: bytes, name: str = "book.xlsx") -> str:
    with pytest.raises(ExtractionError) as raised:
        read(data, name)
    return raised.value.reason


def ods(rows: str) -> bytes:
    return odf("spreadsheet", f'<table:table table:name="Prices">{rows}</table:table>')


def test_each_sheet_is_a_document_with_a_place_of_its_own() -> None:
    data = xlsx({"Prices": [["kind", "euro"], ["slate", 90]], "Empty": [], "Notes": [["Ask first."]]})
    result = read(data, "shop/book.xlsx")
    assert [(d.uri, d.start, d.end, d.text) for d in result.documents] == [
        ("shop/book.xlsx!/Prices", 0, 1, "# Prices\n\n| kind | euro |\n| --- | --- |\n| slate | 90 |"),
        ("shop/book.xlsx!/Notes", 2, 3, "# Notes\n\nAsk first."),
    ]
    assert not result.rejects


def test_values_are_written_without_noise() -> None:
    row = [0.1 + 0.2, 3.0, 1e16, -2.5, True, date(2024, 5, 6), datetime(2024, 5, 6, 7, 8, 9), time(7, 8, 9), "a | b\nc"]
    (document,) = read(xlsx({"a": [["x"] * len(row), row]})).documents
    expected = "| 0.3 | 3 | 1e+16 | -2.5 | TRUE | 2024-05-06 | 2024-05-06 | 07:08:09 | a \\| b c |"
    assert document.text.splitlines()[-1] == expected.replace(" 2024-05-06 | 07", " 2024-05-06 07:08:09 | 07")


def test_empty_rows_end_a_table_and_empty_columns_are_left_out() -> None:
    rows: list[list[object]] = [
        [],
        [None, "Roofs"],
        [],
        [None, "kind", None, "years"],
        [None, "slate", None, 90],
        [],
        [],
    ]
    (document,) = read(xlsx({"a": rows})).documents
    assert document.text == "# a\n\nRoofs\n\n| kind | years |\n| --- | --- |\n| slate | 90 |"


def test_a_workbook_without_a_value_is_empty() -> None:
    assert reason(xlsx({"a": [], "b": []})) == "empty"


def test_a_hidden_sheet_says_so() -> None:
    data = xlsx({"a": [["x"]], "b": [["y"]]})
    workbook = part_of(data, "xl/workbook.xml").replace(b'name="b"', b'name="b" state="hidden"')
    assert [d.metadata for d in read(with_part(data, "xl/workbook.xml", workbook)).documents] == [{}, {"hidden": "yes"}]


def test_a_forged_sheet_name_stays_below_its_workbook() -> None:
    data = xlsx({"a": [["x"]], "b": [["y"]]})
    workbook = (
        part_of(data, "xl/workbook.xml").replace(b'name="a"', b'name="../../etc/x"').replace(b'name="b"', b'name=".."')
    )
    documents = read(with_part(data, "xl/workbook.xml", workbook)).documents
    assert [d.uri for d in documents] == ["book.xlsx!/..%2F..%2Fetc%2Fx", "book.xlsx!/sheet-2"]


@pytest.mark.parametrize(
    "rows",
    [
        b'<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>',
        b'<row r="1"><c><v>1</v></c></row><row r="1048576"><c/><c/><c/><c/><c><v>1</v></c></row>',
        b'<row><c r="A1"><v>1</v></c></row><row><c r="XFD999999"><is><t>1</t></is></c></row>',
        b'<row><c r="A1"><v>1</v></c></row><row><c r="ZZZZZZZ1"><v>1</v></c></row>',
    ],
)
def test_two_cells_at_the_corners_are_too_large_and_not_a_dead_process(rows: bytes) -> None:
    data = xlsx({"a": [["x"]]})
    sheet = part_of(data, FIRST)
    start, end = sheet.index(b"<sheetData>") + 11, sheet.index(b"</sheetData>")
    assert reason(with_part(data, FIRST, sheet[:start] + rows + sheet[end:])) == "too_large"


def test_formatted_cells_without_values_count_for_nothing() -> None:
    data = xlsx({"a": [["x"]]})
    sheet = part_of(data, FIRST).replace(
        b"</sheetData>", b'<row r="1048576"><c r="XFD1048576" s="0"/></row></sheetData>'
    )
    (document,) = read(with_part(data, FIRST, sheet)).documents
    assert document.text == "# a\n\nx"


def test_ods_pads_its_sheets_with_repeats_and_a_bomb_of_repeats_is_too_large() -> None:
    padding = (
        '<table:table-cell table:number-columns-repeated="16383"/></table:table-row><table:table-row '
        'table:number-rows-repeated="1048575"><table:table-cell table:number-columns-repeated="16384"/>'
        "</table:table-row>"
    )
    (document,) = read(ods(f"<table:table-row>{CELL.format('')}{padding}"), "book.ods").documents
    assert (document.uri, document.text) == ("book.ods!/Prices", "# Prices\n\nword")
    repeated = CELL.format(' table:number-columns-repeated="16000"')
    assert reason(
        ods(f'<table:table-row table:number-rows-repeated="1000000">{repeated}</table:table-row>'), "a.ods"
    ) == ("too_large")


def record(kind: int, data: bytes) -> bytes:
    return struct.pack("<2H", kind, len(data)) + data


@pytest.mark.parametrize(
    "inside",
    [
        record(0x0200, struct.pack("<2I3H", 0, 0x7FFFFFFF, 0, 0xFFFF, 0)),
        record(0x0203, struct.pack("<3Hd", 0, 0, 0, 1)) + record(0x0203, struct.pack("<3Hd", 0xFFFF, 0xFFFF, 0, 1)),
        record(0x00BD, struct.pack("<2H6s2H", 0, 0, b"", 0, 0))
        + record(0x027E, struct.pack("<3HI", 0xFFFF, 255, 0, 1)),
    ],
)
def test_an_xls_that_states_an_impossible_size_is_too_large(inside: bytes) -> None:
    stream = record(0x0809, struct.pack("<8H", 0x600, 0x10, 0, 0, 0, 0, 0, 0)) + inside + record(0x000A, b"")
    assert max(sheet_bounds.cells_of_xls(stream)) > 4_000_000
    assert reason(ole({"Workbook": stream.ljust(4096, b"\x00")}), "book.xls") == "too_large"


def test_the_cells_of_a_binary_workbook_are_counted() -> None:
    def cell(row: int, column: int) -> bytes:
        return b"\x00\x04" + struct.pack("<I", row) + b"\x05\x10" + struct.pack("<2Id", column, 0, 1.5)

    begin = b"\x91\x01\x00"
    assert sheet_bounds.cells_of_xlsb(begin + cell(0, 0) + cell(9, 4)) == 50
    assert sheet_bounds.cells_of_xlsb(begin + cell(0, 0) + cell(1_048_575, 16_383)) == 1_048_576 * 16_384
    assert sheet_bounds.cells_of_xlsb(cell(0, 0) + cell(1_048_575, 16_383)) == 0
    assert sheet_bounds.cells_of_xlsb(b"\xff" * 50) == 0


def test_a_forged_number_of_strings_makes_no_room() -> None:
    data = xlsx({"a": [["x", "uniqueCount"]]})
    name = "xl/sharedStrings.xml"
    forged = part_of(data, name).replace(b'uniqueCount="2"', b"uniqueCount = '4294967296'")
    (document,) = read(with_part(data, name, forged)).documents
    assert document.text == "# a\n\n| x | uniqueCount |\n| --- | --- |"
