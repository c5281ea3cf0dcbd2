"""Parquet files with a text column: one document a row; ranges are row numbers of the file.

The columns a recipe names are a contract: a file without one of them, or with a text column that is not
text, is refused as schema_mismatch, naming column and file, instead of giving silent nulls. Of a file larger than
part_bytes a part holds the row groups that begin in it.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pydantic import Field

from datasets_pipeline.sources import arrow_tables, files, parts, records
from datasets_pipeline.sources.base import (
    ExtractionError,
    ExtractionResult,
    FileContent,
    FileEntry,
    with_stated_attributes,
)
from datasets_pipeline.sources.parquet_footer import MAX_FOOTER_BYTES, RowGroup, row_groups

VERSION = "1"

_MAGIC = b"PAR1"


class Config(records.RecordConfig):
    """A folder of Parquet files, or one such file."""

    include: tuple[str, ...] = Field(
        default=("**/*.parquet",),
        description="Globs on the path relative to the uri; a file is taken when one of them matches.",
    )


def list_files(config: Config, skipped: Counter[str] | None = None) -> Iterator[FileEntry]:
    """The files the globs select, sorted; `skipped` counts what is not a readable file, by reason."""
    for entry in files.list_tree(config.uri, config.include, config.exclude, skipped):
        if config.group_by:
            yield entry
        else:
            yield from parts.by_size(entry, config.bytes_of_a_part)


def read_file(config: Config, entry: FileEntry) -> FileContent:
    """The bytes of one file, at most config.max_file_bytes; of a part, the row groups that begin in it."""
    if entry.part is None:
        return files.read_file(config.uri, entry, config.max_file_bytes)
    with files.open_ranges(config.uri, parts.whole(entry)) as file:
        footer_start, groups = _groups_of(file, entry.uri)
        start, end = entry.part
        inside = [index for index, group in enumerate(groups) if start <= group.start < end]
        num_bytes = sum(groups[index].end - groups[index].start for index in inside)
        if num_bytes > config.max_file_bytes:
            raise ExtractionError(
                "too_large",
                f"{entry.uri}: its row groups have {num_bytes:,} bytes, more than max_file_bytes "
                f"({config.max_file_bytes:,}); write smaller row groups or raise the limit",
            )
        if not inside:
            return FileContent(parts.pack([]))
        segments = [(groups[i].start, file.read(groups[i].start, groups[i].end)) for i in inside]
        segments.append((footer_start, file.read(footer_start, file.size)))
        first_row = sum(group.num_rows for group in groups[: inside[0]])
        return FileContent(parts.pack(segments, size=file.size, groups=inside, first_row=first_row))


def extract_file(config: Config, entry: FileEntry, data: bytes) -> ExtractionResult:
    """One document a row, one reject for every row without a text. Raises ExtractionError for the file."""
    if not data:
        raise ExtractionError("empty", f"{entry.uri}: the file is empty (0 bytes)")
    failure = ""
    try:
        rows = _whole_rows(config, entry, data) if entry.part is None else _part_rows(config, entry, data)
        result = records.result_of(rows, config, entry, "parquet", VERSION)
    except ExtractionError:
        raise
    except Exception as error:  # Arrow's messages may quote values; only the kind of fault is told
        failure = type(error).__name__
    if failure:
        raise ExtractionError(
            "parser_error", f"{entry.uri}: reading it as Parquet raised {failure}; the file is damaged, write it again"
        )
    return with_stated_attributes(result, entry.attributes)


def extraction_version(config: Config) -> dict[str, str]:
    """What besides the bytes shapes the extracted documents."""
    return {"source.parquet": VERSION} | records.options_version(config)


def _whole_rows(config: Config, entry: FileEntry, data: bytes) -> Iterator[records.Row]:
    import pyarrow.parquet as pq

    table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    return _rows(config, entry.uri, table, list(range(table.metadata.num_row_groups)), 0)


def _part_rows(config: Config, entry: FileEntry, data: bytes) -> Iterator[records.Row]:
    import pyarrow.parquet as pq

    part = parts.unpack(data, entry.uri)
    if not part.segments:
        return iter(())
    sparse = parts.SparseFile(part.segments, part.facts["size"])
    table = pq.ParquetFile(pa.PythonFile(sparse, mode="r"), page_checksum_verification=True)
    return _rows(config, parts.file_uri(entry), table, part.facts["groups"], part.facts["first_row"])


def _rows(config: Config, uri: str, table: Any, groups: list[int], first_row: int) -> Iterator[records.Row]:
    arrow_tables.check_schema(config, uri, table.schema_arrow)
    num_bytes = sum(table.metadata.row_group(i).total_byte_size for i in groups)
    if num_bytes > config.max_decompressed_bytes:
        raise ExtractionError(
            "too_large",
            f"{uri}: {num_bytes:,} bytes after decompression; split the file or raise max_decompressed_bytes",
        )
    row = first_row
    for batch in table.iter_batches(
        batch_size=arrow_tables.BATCH_ROWS, row_groups=groups, columns=list(config.columns), use_threads=False
    ):
        yield from arrow_tables.rows_of(batch, row)
        row += len(batch)


def _groups_of(file: files.Ranges, uri: str) -> tuple[int, list[RowGroup]]:
    """Where the footer begins, and the row groups it names."""
    tail = file.read(max(file.size - 8, 0), file.size)
    length = int.from_bytes(tail[:4], "little")
    start = file.size - 8 - length
    if len(tail) == 8 and tail.endswith(_MAGIC) and 0 < length <= MAX_FOOTER_BYTES and start > 0:
        try:
            groups = row_groups(file.read(start, file.size - 8))
            if all(group.end <= start for group in groups):
                return start, groups
        except ValueError:
            pass
    raise ExtractionError("parser_error", f"{uri}: the file's footer is damaged; write it again")
