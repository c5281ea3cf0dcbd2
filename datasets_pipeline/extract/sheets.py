"""XLSX, XLSB, XLS and ODS: each sheet a document of its own, as a heading and Markdown tables, through python-calamine.

A sheet has a place of its own (`book.xlsx!/Prices`): sheets of one workbook are about different things, change at
different times, and are compared with other documents one by one. A row without a value ends a table; empty columns
are left out. Values are read as stored (dates in ISO 8601, numbers with 15 digits as the programs show them), formulas
as the results kept in the file; comments, charts and formats are not read. Hidden sheets say so in their metadata.
"""

import re
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from io import BytesIO
from typing import Any

from datasets_pipeline.extract import office_xml, ole, sheet_bounds
from datasets_pipeline.extract.children import child_uri
from datasets_pipeline.extract.containers import ODS, XLS, XLSB, XLSX
from datasets_pipeline.extract.office_zip import OfficeZip
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.extract.tables import markdown_table
from datasets_pipeline.sources.base import ExtractedDocument, ExtractionError, ExtractionResult, Reject

VERSION = "1"
MEDIA_TYPES = (XLSX, XLSB, XLS, ODS)
LIBRARIES = ("python-calamine",)

_MAX_CELLS = 4_000_000
"""Cells of one sheet between its first and its last value, empty ones too: the library holds 24 bytes for each."""
_FORGED_COUNT = re.compile(rb"\buniqueCount(?=\s*=\s*[\"'][+\s0]*[0-9]{8})")


def extract(data: bytes, uri: str, media_type: str, options: ExtractOptions) -> ExtractionResult:
    """One document per sheet that holds a value; start and end are numbers of sheets. Raises ExtractionError."""
    stated: dict[str, Any] = {}
    if media_type == XLS:
        data = _checked_xls(data, uri)
    else:
        office = OfficeZip(data, uri)
        _refuse_encrypted_ods(office, media_type)
        properties = office_xml.odf_properties if media_type == ODS else office_xml.ooxml_properties
        stated = office_xml.stated(**properties(office))
        if max(sheet_bounds.num_cells(office, media_type), default=0) > _MAX_CELLS:
            raise _too_large(uri)
        data = office.repacked(_with_honest_counts(office)).getvalue()
    workbook = _open(data, uri)
    documents: list[ExtractedDocument] = []
    rejects: list[Reject] = []
    num_sheets = len(workbook.sheet_names)
    for index, sheet in enumerate(workbook.sheets_metadata):
        if sheet.typ != type(sheet.typ).WorkSheet:
            continue  # charts, dialogs and macros
        place = child_uri(uri, _name(sheet.name, index))
        try:
            text = _text_of(workbook, index, place)
        except ExtractionError as error:
            rejects.append(Reject(index, index + 1, error.reason, place, error.message))
            continue
        if not text:
            continue  # a new workbook has three sheets, two of which stay empty
        hidden = {} if sheet.visible == type(sheet.visible).Visible else {"hidden": "yes"}
        documents.append(
            ExtractedDocument(
                text=f"# {' '.join(sheet.name.split())}\n\n{text}",
                start=index,
                end=index + 1,
                media_type=media_type,
                extractor="sheets",
                extractor_version=VERSION,
                uri=place,
                **(stated | {"metadata": stated.get("metadata", {}) | hidden}),
            )
        )
    if not documents and not rejects:
        raise ExtractionError("empty", f"{uri}: none of its {num_sheets} sheets holds a value")
    return ExtractionResult(documents, rejects)


def _with_honest_counts(office: OfficeZip) -> dict[str, bytes]:
    """The parts that claim ten million strings or more, for which the library would make room, without the claim."""
    parts = (name for name in office.names if name.lower().endswith(".xml"))
    return {
        name: honest
        for name in parts
        if (honest := _FORGED_COUNT.sub(b"statedCount", part := office.read_xml(name))) != part
    }


def _checked_xls(data: bytes, uri: str) -> bytes:
    """A new file around the workbook of an XLS of 1995 or later. Raises ExtractionError."""
    name, stream = next(((n, s) for n in ("Workbook", "Book") if (s := ole.stream(data, n))), ("", b""))
    if not stream:
        raise ExtractionError("parser_error", f"{uri}: there is no workbook in it; save it again as XLSX")
    if max(sheet_bounds.cells_of_xls(stream)) > _MAX_CELLS:
        raise _too_large(uri)
    return ole.packed(name, stream)


def _open(data: bytes, uri: str) -> Any:
    import python_calamine

    try:
        return python_calamine.CalamineWorkbook.from_object(BytesIO(data))
    except python_calamine.PasswordError:
        failure = "encrypted"
    except BaseException as error:
        failure = _failure(error)
    if failure == "encrypted":
        raise ExtractionError("encrypted", f"{uri}: protected by a password; take it off, or exclude the file")
    raise ExtractionError("parser_error", f"{uri}: the workbook cannot be opened ({failure}); save it again as XLSX")


def _text_of(workbook: Any, index: int, place: str) -> str:
    try:
        rows = workbook.get_sheet_by_index(index)
        if rows.height * rows.width > _MAX_CELLS:
            raise _too_large(place)
        return "\n\n".join(_tables(rows))
    except ExtractionError:
        raise
    except BaseException as error:
        failure = _failure(error)
    raise ExtractionError("parser_error", f"{place}: the sheet cannot be read ({failure}); save it again as XLSX")


def _failure(error: BaseException) -> str:
    """The name of an error of the library. Its panics are no Exceptions; what is not of the library rises again."""
    if isinstance(error, Exception) or type(error).__name__ == "PanicException":
        return type(error).__name__
    raise error


def _tables(sheet: Any) -> Iterator[str]:
    table: list[list[str]] = []
    for row in sheet.iter_rows():
        cells = [_cell(value) for value in row]
        if any(cells):
            table.append(cells)
        elif table:
            yield markdown_table(table)
            table = []
    if table:
        yield markdown_table(table)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.15g}"
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, time):
        return value.isoformat(timespec="seconds")
    if isinstance(value, timedelta):
        seconds = round(value.total_seconds())
        return f"{'-' if seconds < 0 else ''}{abs(seconds) // 3600}:{abs(seconds) // 60 % 60:02}:{abs(seconds) % 60:02}"
    return str(value).strip()


def _name(name: str, index: int) -> str:
    """The name of a sheet as one part of a uri. Programs forbid slashes in it; a forged file may have them."""
    clean = name.replace("/", "%2F").replace("\\", "%5C").replace("\x00", "%00").strip()
    return clean if clean.strip(".") else f"sheet-{index + 1}"


def _refuse_encrypted_ods(office: OfficeZip, media_type: str) -> None:
    manifest = "META-INF/manifest.xml"
    if media_type == ODS and manifest in office and b"encryption-data" in office.read_xml(manifest):
        raise ExtractionError("encrypted", f"{office.uri}: protected by a password; take it off, or exclude the file")


def _too_large(uri: str) -> ExtractionError:
    return ExtractionError(
        "too_large", f"{uri}: more than {_MAX_CELLS:,} cells between the first and the last value; export it as CSV"
    )
