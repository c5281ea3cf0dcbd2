"""Arrow IPC files (Feather V2 is one) and streams: one document a row; ranges are row numbers of the file.

The first bytes tell a file from a stream, not the name. Columns are a contract, as in Parquet. Of an IPC file larger
than part_bytes a part holds the batches that begin in it; a stream has no index and is read whole.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pydantic import Field

from datasets_pipeline.sources import arrow_tables, files, parts, records
from datasets_pipeline.sources.arrow_blocks import MAGIC, MAX_FOOTER_BYTES, Block, blocks, num_rows
from datasets_pipeline.sources.base import (
    ExtractionError,
    ExtractionResult,
    FileContent,
    FileEntry,
    with_stated_attributes,
)

VERSION = "1"

_FEATHER_1 = b"FEA1"


class Config(records.RecordConfig):
    """A folder of Arrow files, or one such file."""

    include: tuple[str, ...] = Field(
        default=("**/*.arrow", "**/*.feather", "**/*.ipc", "**/*.arrows"),
        description="Globs on the path relative to the uri; a file is taken when one of them matches.",
    )


def list_files(config: Config, skipped: Counter[str] | None = None) -> Iterator[FileEntry]:
    """The files the globs select, sorted; `skipped` counts what is not a readable file, by reason."""
    for entry in files.list_tree(config.uri, config.include, config.exclude, skipped):
        if entry.size <= config.bytes_of_a_part or config.group_by or not _is_ipc_file(config, entry):
            yield entry
        else:
            yield from parts.by_size(entry, config.bytes_of_a_part)


def read_file(config: Config, entry: FileEntry) -> FileContent:
    """The bytes of one file, at most config.max_file_bytes; of a part, its batches behind schema and dictionaries."""
    if entry.part is None:
        return files.read_file(config.uri, entry, config.max_file_bytes)
    with files.open_ranges(config.uri, parts.whole(entry)) as file:
        footer_start, dictionaries, batches = _blocks_of(file, entry.uri)
        start, end = entry.part
        inside = [batch for batch in batches if start <= batch.start < end]
        if not inside:
            return FileContent(parts.pack([]))
        num_bytes = sum(block.end - block.start for block in (*dictionaries, *inside))
        if num_bytes > config.max_file_bytes:
            raise ExtractionError(
                "too_large",
                f"{entry.uri}: its batches have {num_bytes:,} bytes, more than max_file_bytes "
                f"({config.max_file_bytes:,}); write smaller batches or raise the limit",
            )
        # What stands between the mark and the first block is the schema: the head of a stream of these batches.
        first_block = min(block.start for block in (*dictionaries, *batches))
        before = [batch for batch in batches if batch.start < inside[0].start]
        first_row = sum(_num_rows(file, batch, entry.uri) for batch in before)
        wanted = [Block(8, first_block, 0), *dictionaries, *inside]
        segments = [(block.start, file.read(block.start, block.end)) for block in wanted]
        return FileContent(parts.pack(segments, first_row=first_row))


def extract_file(config: Config, entry: FileEntry, data: bytes) -> ExtractionResult:
    """One document a row, one reject for every row without a text. Raises ExtractionError for the file."""
    if not data:
        raise ExtractionError("empty", f"{entry.uri}: the file is empty (0 bytes)")
    failure = ""
    try:
        result = records.result_of(_rows(config, entry, data), config, entry, "arrow", VERSION)
    except ExtractionError:
        raise
    except Exception as error:  # Arrow's messages may quote values; only the kind of fault is told
        failure = type(error).__name__
    if failure:
        raise ExtractionError(
            "parser_error", f"{entry.uri}: reading it as Arrow raised {failure}; the file is damaged, write it again"
        )
    return with_stated_attributes(result, entry.attributes)


def extraction_version(config: Config) -> dict[str, str]:
    """What besides the bytes shapes the extracted documents."""
    return {"source.arrow": VERSION} | records.options_version(config)


def _rows(config: Config, entry: FileEntry, data: bytes) -> Iterator[records.Row]:
    row, num_bytes = 0, 0
    if entry.part is not None:
        part = parts.unpack(data, entry.uri)
        if not part.segments:
            return
        row, data = part.facts["first_row"], b"".join(piece for _, piece in part.segments)
    uri = parts.file_uri(entry)
    for batch in _batches(config, uri, data):
        num_bytes += batch.nbytes
        if num_bytes > config.max_decompressed_bytes:
            raise ExtractionError(
                "too_large",
                f"{uri}: more than {config.max_decompressed_bytes:,} bytes after decompression; split the file or "
                "raise max_decompressed_bytes",
            )
        batch.validate(full=True)  # offsets that lead out of their buffer end the process when they are followed
        yield from arrow_tables.rows_of(batch.select(list(config.columns)), row)
        row += len(batch)


def _batches(config: Config, uri: str, data: bytes) -> Iterator[Any]:
    if data.startswith(_FEATHER_1):
        raise ExtractionError(
            "unsupported_media_type", f"{uri}: Feather version 1; write it again as version 2, or as Parquet"
        )
    source = pa.BufferReader(data)
    if not data.startswith(MAGIC):
        with pa.ipc.open_stream(source) as stream:
            arrow_tables.check_schema(config, uri, stream.schema)
            yield from stream
        return
    with pa.ipc.open_file(source) as file:
        arrow_tables.check_schema(config, uri, file.schema)
        for index in range(file.num_record_batches):
            yield file.get_batch(index)


def _is_ipc_file(config: Config, entry: FileEntry) -> bool:
    """Whether the first bytes say so; a file that cannot be read is for read_file to tell about."""
    try:
        with files.open_ranges(config.uri, entry) as file:
            return file.read(0, len(MAGIC)) == MAGIC
    except ExtractionError:
        return False


def _blocks_of(file: files.Ranges, uri: str) -> tuple[int, list[Block], list[Block]]:
    """Where the footer begins, and the dictionaries and batches it names, in file order."""
    tail = file.read(max(file.size - 10, 0), file.size)
    length = int.from_bytes(tail[:4], "little")
    start = file.size - 10 - length
    if len(tail) == 10 and tail.endswith(MAGIC) and 0 < length <= MAX_FOOTER_BYTES and start > 8:
        try:
            dictionaries, batches = blocks(file.read(start, file.size - 10))
            if all(block.start > 8 and block.end <= start for block in (*dictionaries, *batches)):
                return start, dictionaries, batches
        except ValueError:
            pass
    raise ExtractionError("parser_error", f"{uri}: the file's footer is damaged; write it again")


def _num_rows(file: files.Ranges, batch: Block, uri: str) -> int:
    try:
        return num_rows(file.read(batch.start, batch.start + batch.metadata_bytes))
    except ValueError:
        raise ExtractionError("parser_error", f"{uri}: a batch of the file is damaged; write it again") from None
