"""Delimited text (CSV, TSV): one document a row, plain or compressed with gzip or zstd; ranges are bytes.

The delimiter is told from the first records unless it is named, the encoding by the ladder of extract/decoding.py. A
row with more or fewer cells than the header is one quarantined row. A plain file larger than part_bytes is read in
parts, cut at the ends of records; a listing walks through such a file to find them.

- name: tickets
  source: csv
  uri: /exports
  text_template: "# {Title}\\n\\n{Body}"
  key: Number
"""

import codecs
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pydantic import Field, field_validator

from datasets_pipeline.extract import decoding, packed
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.sources import csv_records, files, parts, records
from datasets_pipeline.sources.base import (
    MEBIBYTE,
    ExtractionError,
    ExtractionResult,
    FileContent,
    FileEntry,
    Reject,
    with_stated_attributes,
)
from ingot.errors import RecipeError

VERSION = "1"

_HEAD_BYTES = 64 * 1024
_SCAN_BYTES = 8 * MEBIBYTE
# Encodings in which the bytes of a delimiter, a quote or a line end may be part of another character.
_NOT_BY_BYTES = ("utf-16", "utf-32", "utf-7", "iso2022", "hz")


class Config(records.RecordConfig):
    """A folder of CSV files, or one such file."""

    include: tuple[str, ...] = Field(
        default=tuple(f"**/*.{kind}{suffix}" for kind in ("csv", "tsv") for suffix in ("", ".gz", ".zst")),
        description="Globs on the path relative to the uri; a file is taken when one of them matches.",
    )
    delimiter: str | None = Field(
        default=None, description="What stands between cells; null: comma, semicolon, tab or bar, as the file has it."
    )
    quotechar: str = Field(default='"', description="What stands around a cell that holds a delimiter or a line end.")
    column_names: tuple[str, ...] | None = Field(
        default=None, description="Names of the columns of files without a header row. Null: the first row has them."
    )
    encoding: str | None = Field(
        default=None, description="Encoding of files that are neither UTF-8 nor UTF-16; null tries cp1252."
    )
    max_odd_share: float = Field(
        default=0.02,
        ge=0.0,
        le=1.0,
        description="Share of replaced or control characters from which a file counts as wrongly decoded.",
    )
    max_record_bytes: int = Field(
        default=16 * MEBIBYTE, ge=1, description="Bytes from which a row is quarantined as too_large."
    )

    @field_validator("delimiter", "quotechar")
    @classmethod
    def _is_one_ascii_character(cls, mark: str | None) -> str | None:
        if mark is not None and (len(mark) != 1 or not mark.isascii() or mark in "\r\n\x00"):
            raise RecipeError("delimiter and quotechar are one ASCII character each, and no line end")
        return mark

    @field_validator("encoding")
    @classmethod
    def _encoding_exists(cls, encoding: str | None) -> str | None:
        return ExtractOptions(encoding=encoding).encoding


def list_files(config: Config, skipped: Counter[str] | None = None) -> Iterator[FileEntry]:
    """The files the globs select, sorted, large ones in parts; `skipped` counts what is not a readable file."""
    for entry in files.list_tree(config.uri, config.include, config.exclude, skipped):
        if entry.size <= config.bytes_of_a_part or config.group_by:
            yield entry
        else:
            yield from _parts(config, entry)


def read_file(config: Config, entry: FileEntry) -> FileContent:
    """The bytes of one file as stored, at most config.max_file_bytes; of a part, its records behind the header."""
    if entry.part is None:
        return files.read_file(config.uri, entry, config.max_file_bytes)
    start, end = entry.part
    if end - start > config.max_file_bytes:
        raise ExtractionError(
            "too_large", f"{entry.uri}: larger than max_file_bytes ({config.max_file_bytes:,}); raise the limit"
        )
    with files.open_ranges(config.uri, parts.whole(entry)) as file:
        head = _head(file.read(0, _HEAD_BYTES))
        # The header and no more of the head: a row edited there must not make every part look changed.
        sample = _decode(config, head, entry.uri)
        delimiter = _delimiter(config, sample.text)
        lines = csv_records.lines_of(sample.text, head, sample.encoding)
        found = csv_records.records(lines, delimiter, config.quotechar, config.max_record_bytes)
        header = head[: next(found, (0, 0))[1]]
        return FileContent(parts.pack([(0, header), (start, file.read(start, end))], delimiter=delimiter))


def extract_file(config: Config, entry: FileEntry, data: bytes) -> ExtractionResult:
    """One document a row, one reject for every row that is none. Raises ExtractionError for the file."""
    if not data:
        raise ExtractionError("empty", f"{entry.uri}: the file is empty (0 bytes)")
    result = records.result_of(_rows(config, entry, data), config, entry, "csv", VERSION)
    return with_stated_attributes(result, entry.attributes)


def extraction_version(config: Config) -> dict[str, str]:
    """What besides the bytes shapes the extracted documents."""
    own = {
        "delimiter": config.delimiter,
        "quotechar": config.quotechar,
        "column_names": ",".join(config.column_names) if config.column_names else None,
        "encoding": config.encoding,
        "max_odd_share": config.max_odd_share,
        "max_record_bytes": config.max_record_bytes,
    }
    chosen = {f"option.{name}": str(value) for name, value in own.items() if value is not None}
    return {"source.csv": VERSION, "extract.decoding": decoding.VERSION} | chosen | records.options_version(config)


def _rows(config: Config, entry: FileEntry, data: bytes) -> Iterator[records.Row | Reject]:
    uri, start, is_whole = parts.file_uri(entry), 0, True
    if entry.part is None:
        data, is_whole = packed.unpack_all(data, config.max_decompressed_bytes, uri)
        head = _head(data[:_HEAD_BYTES])
    else:
        part = parts.unpack(data, entry.uri)
        (_, head), (start, data) = part.segments
    text = _decode(config, data, entry.uri)
    lines = csv_records.lines_of(text.text, data, text.encoding)
    if entry.part is None:
        sample = "".join(lines.texts[: head.count(b"\n") or None])[:_HEAD_BYTES]
        delimiter = _delimiter(config, sample)
    else:
        sample = _decode(config, head, entry.uri).text
        delimiter = str(part.facts["delimiter"])
    header = list(config.column_names or _header(sample, delimiter, config))
    places = _places(config, header, uri)
    is_header = start == 0 and config.column_names is None
    for first, last, cells in csv_records.records(lines, delimiter, config.quotechar, config.max_record_bytes):
        first, last = first + start, last + start
        if isinstance(cells, str):
            yield Reject(first, last, cells)
        elif is_header:
            pass
        elif len(cells) != len(header):
            told = f"{len(cells):,} cells, where the header has {len(header):,}"
            yield Reject(first, last, "bad_row", detail=told)
        else:
            yield records.Row(first, last, {column: cells[place] for column, place in places.items()})
        is_header = False
    if not is_whole:
        yield Reject(len(data), len(data), "parser_error", detail="the compressed file is cut or damaged here")


def _decode(config: Config, data: bytes, uri: str) -> decoding.Decoded:
    return decoding.decode(data, uri, declared=config.encoding, max_odd_share=config.max_odd_share)


def _delimiter(config: Config, sample: str) -> str:
    if config.delimiter is not None:
        return config.delimiter
    return csv_records.delimiter_of(sample, config.quotechar, config.columns, config.column_names)


def _header(sample: str, delimiter: str, config: Config) -> list[str]:
    found = csv_records.first_records(sample, delimiter, config.quotechar, 1)
    return found[0] if found else []


def _places(config: Config, header: list[str], uri: str) -> dict[str, int]:
    """Where in a row the named columns stand. What the file has instead is not told: it may be a row of text."""
    missing = [column for column in config.columns if column not in header]
    twice = [column for column in config.columns if header.count(column) > 1]
    if missing or twice:
        what = f"no column {', '.join(missing)}" if missing else f"more than one column {', '.join(twice)}"
        raise ExtractionError(
            "schema_mismatch",
            f"{uri}: {what} among the {len(header):,} of its first row; name its columns in the source, its "
            "delimiter, or column_names for a file without a header",
        )
    return {column: header.index(column) for column in config.columns}


def _head(data: bytes) -> bytes:
    """The first bytes of a file up to a line end, for telling its delimiter and its header."""
    return data[: data.rfind(b"\n") + 1] or data if len(data) >= _HEAD_BYTES else data


def _parts(config: Config, entry: FileEntry) -> Iterator[FileEntry]:
    """A large file's parts, from one record's end to another's; the file itself where bytes do not tell records."""
    cuts: list[int] = []
    size = entry.size
    try:
        with files.open_ranges(config.uri, entry) as file:
            head = _head(file.read(0, _HEAD_BYTES))
            if _is_read_by_bytes(config, head):
                from datasets_pipeline.sources.csv_kernels import cuts_of

                delimiter = _delimiter(config, _decode(config, head, entry.uri).text)
                blocks: Any = (file.read(at, at + _SCAN_BYTES) for at in range(0, file.size, _SCAN_BYTES))
                cuts, size = cuts_of(
                    blocks, config.bytes_of_a_part, config.max_record_bytes, ord(delimiter), ord(config.quotechar)
                )
    except ExtractionError:
        pass  # reading it tells
    borders = [0, *(cut for cut in cuts if cut < size), size]
    if len(borders) == 2:
        yield entry
        return
    step = config.bytes_of_a_part
    for start, end in zip(borders, borders[1:], strict=False):
        # Named by the multiple it begins behind: a name must not move when rows before it change.
        nominal = start // step * step
        uri = parts.part_uri(entry.uri, nominal, nominal + step)
        yield replace(entry, uri=uri, size=end - start, part=(start, end))


def _is_read_by_bytes(config: Config, head: bytes) -> bool:
    if packed.is_packed(head) or b"\x00" in head or head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return False
    return not (config.encoding or "").replace("_", "").startswith(_NOT_BY_BYTES)
