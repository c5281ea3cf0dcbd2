"""Web archives: WARC, also .gz and .zst, as crawlers and archives write them. Every page is a document at its address.

    - name: intranet-crawl
      source: warc
      uri: /data/crawls
      source_class: crawled

Read are responses with a status of 2xx, and resources; what else is in an archive (requests, redirects, errors,
revisits) is passed over. The body is decoded as HTTP says and read as its media type; its address names it.
A record that is cut, damaged or has another digest than it states is a reject, and its siblings are kept. The day of
the text is the one that Last-Modified gives; when it was fetched is in the metadata only.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from pydantic import Field

from datasets_pipeline import extract
from datasets_pipeline.sources import files, http_messages, warc_records
from datasets_pipeline.sources.base import (
    MEBIBYTE,
    ExtractedDocument,
    ExtractionError,
    ExtractionResult,
    FileContent,
    FileEntry,
    Reject,
    SourceConfig,
    with_stated_attributes,
)

logger = logging.getLogger(__name__)

VERSION = "1"

RecordKind = Literal["response", "resource", "conversion"]


class Config(SourceConfig, extract.ExtractOptions):
    """One archive, or a folder of them."""

    include: tuple[str, ...] = Field(
        default=("**/*.warc", "**/*.warc.gz", "**/*.warc.zst"),
        description="Globs on the path relative to the uri; a file is taken when one of them matches.",
    )
    source_class: Literal["public", "licensed", "crawled", "user", "synthetic", "other"] = Field(
        default="crawled", description="What kind of source it is; archives of the web are crawled."
    )
    records: tuple[RecordKind, ...] = Field(
        default=("response", "resource"),
        min_length=1,
        description="Kinds of records that are read; `conversion` holds text that others made of pages (WET files).",
    )
    max_file_bytes: int = Field(
        default=1024 * MEBIBYTE, ge=1, description="Bytes from which an archive is too_large; it is held in memory."
    )
    max_record_bytes: int = Field(
        default=64 * MEBIBYTE, ge=1, description="Bytes, packed or decoded, from which a record is too_large."
    )
    max_decompressed_bytes: int = Field(
        default=16 * 1024 * MEBIBYTE, ge=1, description="Bytes after decompression beyond which an archive is not read."
    )
    max_cpu_seconds: int = Field(
        default=3600, ge=1, description="Processor time for an archive; HTML is read at some 10 MB a second."
    )
    max_memory_bytes: int = Field(
        default=6 * 1024 * MEBIBYTE,
        ge=256 * MEBIBYTE,
        description="Address space of the process that reads an archive: its bytes, twice its text, and a record.",
    )


def list_files(config: Config, skipped: Counter[str] | None = None) -> Iterator[FileEntry]:
    """The archives the globs select, sorted."""
    return files.list_tree(config.uri, config.include, config.exclude, skipped)


def read_file(config: Config, entry: FileEntry) -> FileContent:
    """The bytes of one archive as stored, at most config.max_file_bytes."""
    return files.read_file(config.uri, entry, config.max_file_bytes)


def extract_file(config: Config, entry: FileEntry, data: bytes) -> ExtractionResult:
    """The documents of every page in the archive. Raises ExtractionError when there is no record in it at all."""
    if not data:
        raise ExtractionError("empty", f"{entry.uri}: the file is empty (0 bytes)")
    documents: list[ExtractedDocument] = []
    rejects: list[Reject] = []
    passed_over: Counter[str] = Counter()
    num_records = 0
    wanted = frozenset(config.records)
    for record in warc_records.records(data, entry.uri, wanted, config.max_record_bytes, config.max_decompressed_bytes):
        num_records += bool(record.kind)
        try:
            result = _of_record(config, record, passed_over)
        except ExtractionError as error:
            result = ExtractionResult(
                [], [Reject(record.start, record.end, error.reason, _place(record), error.message)]
            )
        documents += result.documents
        rejects += result.rejects
    if not num_records:
        raise ExtractionError("parser_error", f"{entry.uri}: no record of an archive is in it; is it a WARC file?")
    logger.info("%s: %d records, %d documents, passed over: %s", entry.uri, num_records, len(documents),
                dict(sorted(passed_over.items())))  # fmt: skip
    return with_stated_attributes(ExtractionResult(documents, rejects), entry.attributes)


def extraction_version(config: Config) -> dict[str, str]:
    """What besides the bytes shapes the extracted documents."""
    import importlib.metadata

    own = {"records", "max_file_bytes", "max_record_bytes", "max_decompressed_bytes"}
    chosen = config.model_dump(mode="json", include=own)
    return {
        "source.warc": VERSION,
        "source.warc_records": warc_records.VERSION,
        "source.http_messages": http_messages.VERSION,
        "fastwarc": importlib.metadata.version("fastwarc"),
        **{f"option.{name}": str(value) for name, value in sorted(chosen.items())},
    } | extract.extraction_version(config)


def _of_record(config: Config, record: warc_records.Record, passed_over: Counter[str]) -> ExtractionResult:
    if record.fault:
        raise ExtractionError(record.fault, record.detail)
    if record.kind not in config.records:
        passed_over[record.kind if record.kind in _KINDS else "unknown"] += 1
        return ExtractionResult([])
    uri = _place(record)
    _check_whole(record, uri)
    content_type, payload, headers = record.headers.get("content-type", ""), record.block, {}
    if content_type.partition(";")[0].strip().lower() == "application/http":
        head = http_messages.parse_head(record.block)
        if head is None:
            raise ExtractionError("damaged", f"{uri}: no head of an HTTP response is in the record")
        if not 200 <= head.status < 300 or head.status == 206:
            passed_over[f"status {head.status}"] += 1
            return ExtractionResult([])
        headers, content_type = head.headers, head.headers.get("content-type", "")
        payload = _body(record, head, uri, config.max_record_bytes)
    elif uri.startswith("dns:"):
        passed_over["dns"] += 1
        return ExtractionResult([])
    else:
        _check_digest(record, "warc-payload-digest", uri, payload)
    return _documents(config, record, uri, payload, content_type, headers)


_KINDS = {"warcinfo", "request", "metadata", "revisit", "continuation", "response", "resource", "conversion"}


def _check_whole(record: warc_records.Record, uri: str) -> None:
    cut = record.headers.get("warc-truncated")
    if cut:
        why = cut if cut in ("length", "time", "disconnect", "unspecified") else "unspecified"
        raise ExtractionError("damaged", f"{uri}: the crawler cut it off (WARC-Truncated: {why}); fetch it again")
    if "warc-segment-number" in record.headers:
        raise ExtractionError("content_elsewhere", f"{uri}: one part of a record in segments; join them before")
    _check_digest(record, "warc-block-digest", uri, record.block)


def _check_digest(record: warc_records.Record, name: str, uri: str, *payloads: bytes) -> None:
    if warc_records.digest_agrees(record.headers.get(name, ""), *payloads) is False:
        raise ExtractionError("damaged", f"{uri}: its bytes have not the digest that the record states ({name})")


def _body(record: warc_records.Record, head: http_messages.Head, uri: str, max_bytes: int) -> bytes:
    """The decoded body of a response; its digest may be that of the bytes sent, or of those without their chunks."""
    sent = record.block[head.num_bytes :]
    body = sent
    if "chunked" in head.headers.get("transfer-encoding", "").lower():
        joined = http_messages.unchunked(sent)
        if joined is None and http_messages.begins_with_chunk(sent):
            raise ExtractionError("damaged", f"{uri}: its last chunks are missing; fetch it again")
        body = sent if joined is None else joined  # archives keep the header of chunks they have joined
    elif not head.headers.get("content-encoding") and http_messages.stated_length(head) > len(body):
        # Archives decode a body and keep the header, so only a plain body has to have its length.
        raise ExtractionError("damaged", f"{uri}: its body is shorter than Content-Length; fetch it again")
    decoded = http_messages.decoded(body, head.headers.get("content-encoding", ""), max_bytes, uri)
    _check_digest(record, "warc-payload-digest", uri, sent, body, decoded)
    return decoded


def _documents(
    config: Config, record: warc_records.Record, uri: str, payload: bytes, content_type: str, headers: dict[str, str]
) -> ExtractionResult:
    charset = http_messages.charset_of(content_type)
    options = config.model_copy(update={"encoding": charset}) if charset else config
    media_type = http_messages.media_type_of(content_type, uri, payload)
    result = extract.extract(payload, uri, media_type, options)
    modified = http_messages.day_of(headers.get("last-modified"))
    captured = record.headers.get("warc-date", "")[:32]
    metadata: dict[str, str | int | float] = {"captured": captured} if captured.isascii() and captured else {}
    return ExtractionResult(
        [
            replace(
                document,
                uri=document.uri or uri,
                start=record.start,
                end=record.end,
                stated_date=document.stated_date or modified,
                metadata=document.metadata | metadata,
            )
            for document in result.documents
        ],
        [Reject(record.start, record.end, r.reason, r.uri or uri, r.detail) for r in result.rejects],
    )


def _place(record: warc_records.Record) -> str:
    """A record's address, or its number by position where it states none."""
    target = record.headers.get("warc-target-uri", "")
    return http_messages.clean_uri(target) if target else f"record-{record.start}"
