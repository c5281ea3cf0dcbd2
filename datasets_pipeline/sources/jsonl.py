"""JSON lines: one record a line, plain or compressed with gzip or zstd.

A line that is not a record is one quarantined row; the lines around it are kept. Ranges are bytes of
the decompressed stream. Lines are read through a bounded buffer: a line beyond max_line_bytes is passed
over without being held, and a file that decompresses to more than 200 times its size is refused. A plain
file larger than part_bytes is read in parts, cut at line ends; a compressed one is not.
"""

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from pydantic import Field

from datasets_pipeline.extract import packed
from datasets_pipeline.sources import files, parts, records
from datasets_pipeline.sources.base import (
    MEBIBYTE,
    ExtractionError,
    ExtractionResult,
    FileContent,
    FileEntry,
    Reject,
    with_stated_attributes,
)

VERSION = "1"

# A damaged archive loses at most the block it breaks in.
_BLOCK_BYTES = 64 * 1024


class Config(records.RecordConfig):
    """A folder of JSON-lines files, or one such file."""

    include: tuple[str, ...] = Field(
        default=tuple(f"**/*.{kind}{packed}" for kind in ("jsonl", "ndjson") for packed in ("", ".gz", ".zst")),
        description="Globs on the path relative to the uri; a file is taken when one of them matches.",
    )
    max_line_bytes: int = Field(
        default=16 * MEBIBYTE,
        ge=1,
        description="Bytes from which a line is quarantined as too_large instead of being read into memory.",
    )


def list_files(config: Config, skipped: Counter[str] | None = None) -> Iterator[FileEntry]:
    """The files the globs select, sorted; `skipped` counts what is not a readable file, by reason."""
    for entry in files.list_tree(config.uri, config.include, config.exclude, skipped):
        if entry.size <= config.bytes_of_a_part or config.group_by or _is_compressed(config, entry):
            yield entry
        else:
            yield from parts.by_size(entry, config.bytes_of_a_part)


def read_file(config: Config, entry: FileEntry) -> FileContent:
    """The bytes of one file as stored, at most config.max_file_bytes; of a part, the lines that begin in it."""
    if entry.part is None:
        return files.read_file(config.uri, entry, config.max_file_bytes)
    start, end = entry.part
    with files.open_ranges(config.uri, parts.whole(entry)) as file:
        # A line begins behind a line end, so the look begins one byte ahead of the part.
        data = file.read(max(start - 1, 0), end)
        ahead = min(start, 1)
        skipped = data.find(b"\n") + 1 if ahead else 0
        if ahead and (not skipped or skipped == len(data)):
            return FileContent(parts.pack([]))
        pieces, position = [data[skipped:]], end
        num_ahead = 0
        while not pieces[-1].endswith(b"\n") and num_ahead <= config.max_line_bytes:
            block = file.read(position, position + _BLOCK_BYTES)
            if not block:
                break
            stop = block.find(b"\n") + 1
            pieces.append(block[:stop] if stop else block)
            position, num_ahead = position + len(block), num_ahead + len(block)
    return FileContent(parts.pack([(start - ahead + skipped, b"".join(pieces))]))


def extract_file(config: Config, entry: FileEntry, data: bytes) -> ExtractionResult:
    """One document a line, and one reject for every line that is none. Raises ExtractionError for the file."""
    if not data:
        raise ExtractionError("empty", f"{entry.uri}: the file is empty (0 bytes)")
    if entry.part is None:
        rows = _rows(_lines(packed.reader(data), config, entry.uri, len(data)), 0)
    else:
        rows = chain.from_iterable(
            _rows(_lines(io.BytesIO(lines).read, config, entry.uri, len(lines)), start)
            for start, lines in parts.unpack(data, entry.uri).segments
        )
    return with_stated_attributes(records.result_of(rows, config, entry, "jsonl", VERSION), entry.attributes)


def extraction_version(config: Config) -> dict[str, str]:
    """What besides the bytes shapes the extracted documents."""
    return {"source.jsonl": VERSION, "option.max_line_bytes": str(config.max_line_bytes)} | records.options_version(
        config
    )


def _lines(
    read: Callable[[int], bytes], config: Config, uri: str, num_packed_bytes: int
) -> Iterator[tuple[int, int, bytes | str]]:
    """(start, end, line) for every line; a reason in place of the line when it cannot be read."""
    pending, start, position, overlong = bytearray(), 0, 0, False
    while True:
        try:
            block = read(_BLOCK_BYTES)
        except packed.FAULTS:  # a cut or damaged archive: what came before is kept
            yield start, position, "parser_error"
            return
        position += len(block)
        packed.check_growth(position, num_packed_bytes, config.max_decompressed_bytes, uri)
        offset = 0
        while (end := block.find(b"\n", offset)) >= 0:
            end_position = position - len(block) + end
            if overlong or len(pending) + end - offset > config.max_line_bytes:
                yield start, end_position, "too_large"
            else:
                yield start, end_position, bytes(pending) + block[offset:end]
            pending.clear()
            overlong, start, offset = False, end_position + 1, end + 1
        if not block:
            break
        if overlong or len(pending) + len(block) - offset > config.max_line_bytes:
            pending.clear()
            overlong = True
        else:
            pending += block[offset:]
    if overlong:
        yield start, position, "too_large"
    elif pending:
        yield start, position, bytes(pending)


def _rows(lines: Iterator[tuple[int, int, bytes | str]], first_byte: int) -> Iterator[records.Row | Reject]:
    """Lines as records; first_byte is where in the file they begin."""
    for start, end, line in lines:
        start, end = start + first_byte, end + first_byte
        row = Reject(start, end, line) if isinstance(line, str) else _row(line, start, end)
        if row is not None:
            yield row


def _row(line: bytes, start: int, end: int) -> records.Row | Reject | None:
    """One line as a record or a reject; None for a blank line."""
    if start == 0:
        line = line.removeprefix(b"\xef\xbb\xbf")
    if not line.strip():
        return None
    try:
        record: Any = json.loads(line.decode("utf-8"), parse_constant=lambda _: None)
    except UnicodeDecodeError:
        return Reject(start, end, "invalid_encoding")
    except (ValueError, RecursionError):
        return Reject(start, end, "bad_row")
    return records.Row(start, end, record) if isinstance(record, dict) else Reject(start, end, "bad_row")


def _is_compressed(config: Config, entry: FileEntry) -> bool:
    """Whether a file's first bytes say so; one that cannot be read is for read_file to tell about."""
    try:
        with files.open_ranges(config.uri, entry) as file:
            return packed.is_packed(file.read(0, 4))
    except ExtractionError:
        return True
