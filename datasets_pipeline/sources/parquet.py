"""Parquet files with a text column: one document a row; ranges are row numbers of the file.

The columns a recipe names are a contract: a file without one of them, or with a text column that is not
text, is refused as schema_mismatch, naming column and file, instead of giving silent nulls.
"""

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
from pydantic import Field

from datasets_pipeline.sources import files, records
from datasets_pipeline.sources.base import (
    ExtractedDocument,
    ExtractionError,
    ExtractionResult,
    FileContent,
    FileEntry,
    Reject,
    with_stated_attributes,
)

VERSION = "1"

_BATCH_ROWS = 1024


class Config(records.RecordConfig):
    """A folder of Parquet files, or one such file."""

    include: tuple[str, ...] = Field(
        default=("**/*.parquet",),
        description="Globs on the path relative to the uri; a file is taken when one of them matches.",
    )


def list_files(config: Config, skipped: Counter[str] | None = None) -> Iterator[FileEntry]:
    """The files the globs select, sorted; `skipped` counts what is not a readable file, by reason."""
    return files.list_tree(config.uri, config.include, config.exclude, skipped)


def read_file(config: Config, entry: FileEntry) -> FileContent:
    """The bytes of one file, at most config.max_file_bytes."""
    return files.read_file(config.uri, entry, config.max_file_bytes)


def extract_file(config: Config, entry: FileEntry, data: bytes) -> ExtractionResult:
    """One document a row, one reject for every row without a text. Raises ExtractionError for the file."""
    if not data:
        raise ExtractionError("empty", f"{entry.uri}: the file is empty (0 bytes)")
    failure = ""
    try:
        result = _rows(config, entry, data)
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


def _rows(config: Config, entry: FileEntry, data: bytes) -> ExtractionResult:
    import pyarrow.parquet as pq

    table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    _check_schema(config, entry.uri, table.schema_arrow)
    num_bytes = sum(table.metadata.row_group(i).total_byte_size for i in range(table.metadata.num_row_groups))
    if num_bytes > config.max_decompressed_bytes:
        raise ExtractionError(
            "too_large",
            f"{entry.uri}: {num_bytes:,} bytes after decompression; split the file or raise max_decompressed_bytes",
        )
    documents: list[ExtractedDocument] = []
    rejects: list[Reject] = []
    row = 0
    for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=list(config.columns), use_threads=False):
        for record in batch.to_pylist():
            made = records.document_of(record, config, row, row + 1, "parquet", VERSION)
            row += 1
            if isinstance(made, Reject):
                rejects.append(made)
            else:
                documents.append(made)
    return ExtractionResult(documents, rejects)


def _check_schema(config: Config, uri: str, schema: pa.Schema) -> None:
    missing = [column for column in config.columns if column not in schema.names]
    if missing:
        raise ExtractionError(
            "schema_mismatch",
            f"{uri}: no column {', '.join(missing)}; it has {', '.join(schema.names[:30])}; "
            "name its columns in the source",
        )
    kind = schema.field(config.text_column).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise ExtractionError(
            "schema_mismatch", f"{uri}: column {config.text_column} is {kind}, not text; name another text_column"
        )
