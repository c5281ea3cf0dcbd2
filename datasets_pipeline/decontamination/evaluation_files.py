"""Evaluation items read from local files: JSON lines, JSON arrays, CSV, Parquet and plain text, also compressed.

A file that cannot be read whole is refused: a corpus that was cleaned against half of a benchmark is not clean. No
message holds text of an item.
"""

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from datasets_pipeline.extract import packed
from datasets_pipeline.normalize import normalize_text
from datasets_pipeline.sources.base import ExtractionError, FileEntry
from datasets_pipeline.sources.files import list_tree, local_root, read_file
from datasets_pipeline.sources.record_values import field_text, fill_template
from ingot.digests import digest_of, sha256_file
from ingot.errors import DataError, NotFoundError, RecipeError
from ingot.settings import Settings, expand_place

MAX_FILE_BYTES = 4 << 30
"""Of one file, unpacked."""

_RECORDS = ("jsonl", "ndjson", "json", "csv", "tsv", "parquet")
_TEXTS = ("txt", "text", "md")
_PACKED = ("", ".gz", ".bz2", ".xz", ".zst")
_GLOB = frozenset("*?[")

Item = tuple[str, ...]
"""The texts of one evaluation item, such as its question and its answer; none where it states nothing."""


@dataclass(frozen=True)
class EvaluationFile:
    """One file of a benchmark, as it lay there when it was listed."""

    root: str
    entry: FileEntry
    path: Path
    state: tuple[int, int, int]
    """Size, time of change and inode: a file that is edited is another one."""


def list_evaluation_files(name: str, uri: str) -> list[EvaluationFile]:
    """The files that a benchmark's uri means, by relative path: a file, a folder's files of known kinds, or a glob.

    Raises RecipeError for a place that is not local or outside INGOT_SOURCE_ROOTS, NotFoundError where no file is.
    """
    settings = Settings.from_environment(os.environ)
    place = expand_place(uri, settings.environ)
    if local_root(place) is None:
        raise RecipeError(f"benchmark {name}: {uri} is not on this machine; copy the evaluation files to a folder here")
    root, pattern = _split_glob(place)
    base = local_root(root)
    assert base is not None
    include = [pattern] if pattern else [f"**/*.{kind}{end}" for kind in (*_RECORDS, *_TEXTS) for end in _PACKED]
    if base.is_file():
        include = ["**"]
    try:
        entries = list(list_tree(root, include, ()))
    except NotFoundError:
        entries = []
    files = [_evaluation_file(name, root, base, entry, settings.source_roots) for entry in entries]
    if not files:
        raise NotFoundError(
            f"benchmark {name}: no evaluation file at {uri}; give a file, a folder with "
            f"{', '.join((*_RECORDS, *_TEXTS))} files, or a glob"
        )
    return files


def files_digest(files: Sequence[EvaluationFile]) -> str:
    """SHA-256 of a single file; of several, the digest of the list of their SHA-256 in order of their names."""
    digests = [_digest(file.path, file.state) for file in files]
    return digests[0] if len(digests) == 1 else digest_of(digests)


def read_items(name: str, files: Sequence[EvaluationFile], text: str | Sequence[str] | None) -> list[Item]:
    """The items of a benchmark in file order; text says where a record's texts are, null for plain text alone.

    Raises DataError for a file that is damaged or holds no such texts, naming file and line and never quoting them.
    """
    return [item for file in files for item in _items_of(name, file, text)]


def texts_at(record: Mapping[str, Any], path: str) -> list[str]:
    """The texts at a column, or at a path into nested values such as `question.*.content`, in order."""
    if path in record:
        return list(_leaves(record[path]))
    found: list[Any] = [record]
    for part in path.split("."):
        found = [value for node in found for value in _below(node, part)]
    return [text for value in found for text in _leaves(value)]


def _evaluation_file(
    name: str, root: str, base: Path, entry: FileEntry, roots: tuple[Path, ...] | None
) -> EvaluationFile:
    path = base if base.is_file() else base / entry.uri
    resolved = path.resolve()
    if roots is not None and not any(root == resolved or root in resolved.parents for root in roots):
        raise RecipeError(
            f"benchmark {name}: {resolved} lies outside INGOT_SOURCE_ROOTS ({':'.join(map(str, roots))}); move it "
            "below one of them or add its folder to the setting"
        )
    status = path.stat()
    return EvaluationFile(root, entry, path, (status.st_size, status.st_mtime_ns, status.st_ino))


def _split_glob(place: str) -> tuple[str, str | None]:
    """(folder, pattern below it); pattern None for a place without one, or that is a file of such a name."""
    if not _GLOB.intersection(place) or Path(place).expanduser().exists():
        return place, None
    parts = place.split("/")
    first = next(index for index, part in enumerate(parts) if _GLOB.intersection(part))
    return "/".join(parts[:first]) or ("/" if place.startswith("/") else "."), "/".join(parts[first:])


@lru_cache(maxsize=4096)
def _digest(path: Path, state: tuple[int, int, int]) -> str:
    return sha256_file(path)


def _kind(uri: str) -> str:
    name = uri.lower()
    for end in _PACKED[1:]:
        name = name.removesuffix(end)
    return name.rsplit(".", 1)[-1] if "." in name else ""


def _items_of(name: str, file: EvaluationFile, text: str | Sequence[str] | None) -> list[Item]:
    where = f"benchmark {name}: {file.entry.uri}"
    kind = _kind(file.entry.uri)
    if kind not in (*_RECORDS, *_TEXTS):
        raise DataError(f"{where} is no kind of evaluation file; known: {', '.join((*_RECORDS, *_TEXTS))}, also packed")
    try:
        data, is_whole = packed.unpack_all(
            read_file(file.root, file.entry, MAX_FILE_BYTES).data, MAX_FILE_BYTES, file.entry.uri, "the file"
        )
    except ExtractionError as error:
        raise DataError(f"{where} cannot be read ({error.reason}); mend it") from None
    if not is_whole:
        raise DataError(f"{where} is cut or damaged; fetch it again")
    if kind in _TEXTS:
        return [(block,) for block in _blocks(_decoded(data, where))]
    if text is None:
        raise RecipeError(f"{where} has records; say where their texts are: `text: [question, answer]`")
    records = list(_records(kind, data, where))
    items = [_item(record, text) for record in records]
    if records and not any(items):
        columns = sorted({str(key) for record in records[:100] for key in record})
        wanted = text if isinstance(text, str) else ", ".join(text)
        raise DataError(f"{where} has no text at {wanted}; its columns: {', '.join(columns)}")
    return items


def _item(record: Mapping[str, Any], text: str | Sequence[str]) -> Item:
    if not isinstance(text, str):
        found = ["\n".join(texts_at(record, path)) for path in text]
    elif "{" in text:
        found = [fill_template(text, record) or ""]
    else:
        found = ["\n".join(texts_at(record, text))]
    return tuple(normal for one in found if (normal := normalize_text(one)))


def _below(node: Any, part: str) -> list[Any]:
    if isinstance(node, Mapping):
        return list(node.values()) if part == "*" else [node[part]] if part in node else []
    if isinstance(node, list):
        if part == "*":
            return node
        return [node[int(part)]] if part.isdecimal() and int(part) < len(node) else []
    return []


def _leaves(value: Any) -> Iterator[str]:
    """Every text in a value, numbers as text; a truth value says nothing."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _leaves(one)
    elif value is not None and not isinstance(value, bool):
        text = field_text(value)
        if text:
            yield text


def _records(kind: str, data: bytes, where: str) -> Iterator[Mapping[str, Any]]:
    if kind == "parquet":
        yield from _parquet_rows(data, where)
        return
    text = _decoded(data, where)
    if kind in ("csv", "tsv"):
        limit = csv.field_size_limit(MAX_FILE_BYTES)  # of the process: the sources' own reader has another
        try:
            rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if kind == "tsv" else ","))
        finally:
            csv.field_size_limit(limit)
        yield from ({column: value for column, value in row.items() if column is not None} for row in rows)
    elif kind == "json" and text.lstrip().startswith("["):
        yield from (_record(one, f"{where}, entry {number}") for number, one in enumerate(_json(text, where), 1))
    else:
        # Not splitlines: U+2028 and its like may stand inside a JSON string.
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                place = f"{where}, line {number}"
                yield _record(_json(line, place), place)


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise DataError(f"{where} is not JSON; mend it") from None


def _record(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise DataError(f"{where} is not a JSON object with named texts; write one such as {{...}} a line")
    return value


def _parquet_rows(data: bytes, where: str) -> Iterator[Mapping[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            for batch in file.iter_batches(batch_size=4096):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{where} is no readable Parquet file ({type(error).__name__}); fetch it again") from None


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def _blocks(text: str) -> Iterator[str]:
    """Paragraphs: what blank lines separate."""
    lines: list[str] = []
    for line in [*normalize_text(text).split("\n"), ""]:
        if line.strip():
            lines.append(line)
        elif lines:
            yield "\n".join(lines)
            lines = []
