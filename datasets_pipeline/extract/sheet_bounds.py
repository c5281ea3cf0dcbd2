"""How large the sheets of a workbook are between their first and last value, told before a library makes room for it.

A sheet of one value in the first and one in the last possible cell is 10 kB on disk and 17 thousand million cells.
"""

import re
import struct
import sys
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from datasets_pipeline.extract.containers import ODS, XLSB
from datasets_pipeline.extract.office_xml import local_name
from datasets_pipeline.extract.office_zip import OfficeZip

VERSION = "1"

_REFERENCE = re.compile(r"([A-Za-z]{1,7})([0-9]{1,9})\Z")
_SHEET = re.compile(r"\Axl/(?:worksheets|macrosheets|chartsheets|dialogsheets)/[^/]*\.(?:xml|bin)\Z", re.IGNORECASE)
_MAX_ROWS = 1_048_576
_MAX_COLUMNS = 16_384
# Records of XLSB ([MS-XLSB] 2.3.1) that begin a row, and that hold a value in a column of it.
_ROW_RECORD = 0
_CELL_RECORDS = range(2, 12)
_BEGIN_DATA_RECORD = 145


# Records of XLS ([MS-XLS] 2.4): a part begins, the used cells as stated, a value (each begins with row and column).
_PART_RECORD = 0x0809
_DIMENSIONS_RECORD = 0x0200
_VALUE_RECORDS = frozenset({0x0006, 0x00BD, 0x00D6, 0x00FD, 0x0203, 0x0204, 0x0205, 0x027E})
_SEVERAL_RECORD = 0x00BD
_MAX_XLS_ROWS = 65_536
_MAX_XLS_COLUMNS = 256


class _Box:
    """The rectangle around the places it was told."""

    def __init__(self) -> None:
        self._top = self._left = 1 << 62
        self._bottom = self._right = -1

    def add(self, row: int, column: int, num_rows: int = 1, num_columns: int = 1) -> None:
        self._top, self._left = min(self._top, row), min(self._left, column)
        self._bottom, self._right = max(self._bottom, row + num_rows - 1), max(self._right, column + num_columns - 1)

    def num_cells(self) -> int:
        return (self._bottom - self._top + 1) * (self._right - self._left + 1) if self._bottom >= 0 else 0


def num_cells(office: OfficeZip, media_type: str) -> Iterator[int]:
    """Cells of the rectangle around the values of each sheet. Raises ExtractionError, and lxml's errors."""
    if media_type == ODS:
        yield from _cells_of_ods(office.read_xml("content.xml"))
        return
    # Sheets may have any name; whatever is a sheet by its content or its place is measured.
    for name in office.names:
        if media_type == XLSB and name.lower().endswith(".bin") and office.holds_text(name):
            yield cells_of_xlsb(office.read(name))
        elif name.lower().endswith(".xml") and (_SHEET.match(name) or b"sheetData" in office.read(name)):
            yield _cells_of_xlsx(office.read_xml(name))


def _events(part: bytes, names: tuple[str, ...]) -> Iterator[tuple[str, str, Any]]:
    from lxml import etree

    for event, element in etree.iterparse(
        BytesIO(part), events=("start", "end"), resolve_entities=False, load_dtd=False, no_network=True
    ):
        name = local_name(element)
        if name in names:
            yield event, name, element
        if event == "end" and name in ("c", "row", "table-row", "table-cell", "covered-table-cell"):
            element.clear(keep_tail=False)


def _cells_of_xlsx(part: bytes) -> int:
    """A cell without a reference stands right of the one before it, a row without a number below."""
    box = _Box()
    row, column = -1, -1
    for event, name, element in _events(part, ("row", "c")):
        if name == "row":
            if event == "start":
                number = element.get("r", "")
                row, column = (int(number) - 1 if number.isascii() and number.isdigit() else row + 1), -1
        elif event == "start":
            place = _REFERENCE.match(element.get("r", ""))
            column += 1
            if place:
                column, row = _column(place.group(1)), int(place.group(2)) - 1
        elif len(element):  # a cell without a value has a format alone
            box.add(row, column)
    return box.num_cells()


def _column(letters: str) -> int:
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def cells_of_xlsb(part: bytes) -> int:
    box = _Box()
    row = position = 0
    inside = False  # of the table of cells; other parts of a workbook have none
    while position < len(part):
        kind, position = _variable(part, position, 2)
        size, position = _variable(part, position, 4)
        inside = inside or kind == _BEGIN_DATA_RECORD
        if inside and kind == _ROW_RECORD:
            row = int.from_bytes(part[position : position + 4], "little")
        elif inside and kind in _CELL_RECORDS:
            box.add(row, int.from_bytes(part[position : position + 4], "little"))
        position += size
    return box.num_cells()


def cells_of_xls(workbook: bytes) -> Iterator[int]:
    """The same for each part of the workbook stream of an XLS; one that states an impossible size is infinite."""
    box = _Box()
    position = 0
    while position + 4 <= len(workbook):
        kind, size = struct.unpack_from("<2H", workbook, position)
        record = workbook[position + 4 : position + 4 + size]
        position += 4 + size
        if kind == _PART_RECORD:
            yield box.num_cells()
            box = _Box()
        elif kind == _DIMENSIONS_RECORD and len(record) >= 10:
            _, rows, _, columns = struct.unpack_from("<2I2H" if len(record) >= 14 else "<4H", record)
            if rows > _MAX_XLS_ROWS or columns > _MAX_XLS_COLUMNS:
                yield sys.maxsize
        elif kind in _VALUE_RECORDS and len(record) >= 6:
            row, column = struct.unpack_from("<2H", record)
            last = struct.unpack_from("<H", record, len(record) - 2)[0] if kind == _SEVERAL_RECORD else column
            box.add(row, column, 1, max(last - column, 0) + 1)
    yield box.num_cells()


def _variable(part: bytes, position: int, most: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = 0
    for index in range(most):
        byte = part[position] if position < len(part) else 0
        position += 1
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            break
    return value, position


def _cells_of_ods(part: bytes) -> Iterator[int]:
    """Repeated rows and cells count as often as they are repeated, where they hold a value."""
    box = _Box()
    row = column = 0
    first = last = -1
    for event, name, element in _events(part, ("table", "table-row", "table-cell", "covered-table-cell")):
        if name == "table":
            if event == "end":
                yield box.num_cells()
            box, row = _Box(), 0
        elif name == "table-row":
            if event == "start":
                column, first, last = 0, -1, -1
            else:
                times = _repeated(element, "number-rows-repeated", _MAX_ROWS)
                if last >= 0:
                    box.add(row, first, times, last - first + 1)
                row += times
        elif event == "end":
            times = _repeated(element, "number-columns-repeated", _MAX_COLUMNS)
            if len(element) or any(key.endswith("}value-type") for key in element.attrib):
                first, last = (column if first < 0 else first), column + times - 1
            column += times


def _repeated(element: Any, name: str, most: int) -> int:
    value = next((str(value) for key, value in element.attrib.items() if key.endswith("}" + name)), "1")
    return min(int(value), most) if value.isascii() and value.isdigit() and len(value) < 10 else 1
