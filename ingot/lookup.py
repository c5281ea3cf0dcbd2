"""Single rows of large Parquet objects, found by a value without reading the object.

Row groups whose statistics exclude the value are passed over, of the others only the column asked for is read, and
whole rows only where one was found. Page checksums are verified; objects of up to 8 MB are checked whole as every
read does, larger ones are not, because hashing a gigabyte takes longer than the answer (`ingot verify` does it).
Footers are kept for the process.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingot.errors import IntegrityError, NotFoundError
from ingot.parquet import check_whole
from ingot.storage import Store

CHECKED_WHOLE_BYTES = 8 << 20

Matches = Callable[[pa.Table], pa.ChunkedArray]
"""Some columns of a row group -> whether each row is one that is looked for."""


def rows_with(
    store: Store, key: str, column: str, values: Sequence[Any], *, within: Mapping[str, Any] | None = None
) -> list[int]:
    """Numbers of the rows in which a column has one of the values, ascending.

    within: {other column: value} that these rows are known to have; only passes over more row groups. Raises
    NotFoundError when the object is absent and IntegrityError, naming it, when it is damaged.
    """
    if not values:
        return []
    wanted = {column: values, **{name: [value] for name, value in (within or {}).items()}}

    def matches(table: pa.Table) -> pa.ChunkedArray:
        kind = table.schema.field(column).type
        return reduce(pc.or_, (pc.equal(table[column], constant(value, kind)) for value in values))

    return _rows(store, key, [column], matches, wanted)


def rows_that(
    store: Store, key: str, columns: list[str], matches: Matches, *, within: Mapping[str, Any] | None = None
) -> list[int]:
    """Numbers of the rows that match by some columns, ascending; within as in `rows_with`."""
    return _rows(store, key, columns, matches, {name: [value] for name, value in (within or {}).items()})


def constant(value: bytes | str | int, kind: pa.DataType) -> pa.Scalar:
    """A value to compare a column with. pa.scalar and pa.array import pandas, which takes longer than an answer."""
    if isinstance(value, int):
        buffers = [value.to_bytes(kind.bit_width // 8, "little", signed=True)]
    else:
        data = value.encode() if isinstance(value, str) else value
        offsets = (0).to_bytes(4, "little") + len(data).to_bytes(4, "little")
        buffers = [data] if pa.types.is_fixed_size_binary(kind) else [offsets, data]
    return pa.Array.from_buffers(kind, 1, [None, *map(pa.py_buffer, buffers)])[0]


def rows_at(store: Store, key: str, rows: Sequence[int], columns: list[str] | None = None) -> list[dict[str, Any]]:
    """Rows by number, in the order asked for; only their row groups are read."""
    if not rows:
        return []
    with _opened(store, key) as file:
        starts = _group_starts(file.metadata)
        by_group: dict[int, list[int]] = {}
        for row in sorted(set(rows)):
            by_group.setdefault(bisect_right(starts, row) - 1, []).append(row)
        found: dict[int, dict[str, Any]] = {}
        for group, own in by_group.items():
            table = file.read_row_group(group, columns=columns, use_threads=False)
            # A slice from the first to the last: neighbours are what is asked for.
            part = table.slice(own[0] - starts[group], own[-1] - own[0] + 1).to_pylist()
            found |= {row: part[row - own[0]] for row in own}
    return [found[row] for row in rows]


def distinct(store: Store, key: str, column: str) -> list[Any]:
    """The distinct values of a column of few values, null left out, sorted."""
    found: set[Any] = set()
    with _opened(store, key, read_dictionary=[column]) as file:
        place = next(i for i in range(file.metadata.num_columns) if file.metadata.schema.column(i).path == column)
        for group in range(file.metadata.num_row_groups):
            told = file.metadata.row_group(group).column(place).statistics
            if told is not None and told.has_min_max and told.min == told.max:
                found.add(told.min)
                continue
            data = file.read_row_group(group, columns=[column], use_threads=False)[column]
            found.update(pc.unique(data).to_pylist())
    return sorted(found - {None})


def _rows(
    store: Store, key: str, columns: list[str], matches: Matches, wanted: Mapping[str, Sequence[Any]]
) -> list[int]:
    found: list[int] = []
    with _opened(store, key) as file:
        starts = _group_starts(file.metadata)
        places = {file.metadata.schema.column(i).path: i for i in range(file.metadata.num_columns)}
        by_place = {places[name]: values for name, values in wanted.items()}
        for group in range(file.metadata.num_row_groups):
            chunks = file.metadata.row_group(group)
            if all(_may_have(chunks.column(place).statistics, values) for place, values in by_place.items()):
                table = file.read_row_group(group, columns=columns, use_threads=False)
                found += [starts[group] + row for row in pc.indices_nonzero(matches(table)).to_pylist()]
    return found


def _may_have(statistics: pq.Statistics | None, values: Sequence[Any]) -> bool:
    """Whether a row group may hold one of the values, by the statistics of a column; without them it may."""
    if statistics is None or not statistics.has_min_max:
        return True
    low, high = statistics.min, statistics.max
    return any(low <= value <= high for value in values)


def _group_starts(metadata: pq.FileMetaData) -> list[int]:
    starts = [0]
    for group in range(metadata.num_row_groups):
        starts.append(starts[-1] + metadata.row_group(group).num_rows)
    return starts


@contextmanager
def _opened(store: Store, key: str, read_dictionary: list[str] | None = None) -> Iterator[pq.ParquetFile]:
    try:
        path = store.local_path(key)
        status = path.stat()
        if status.st_size <= CHECKED_WHOLE_BYTES:
            check_whole(path, key)
        metadata = _footer(path, status.st_size, status.st_mtime_ns, status.st_ino)
        with pq.ParquetFile(
            path, metadata=metadata, page_checksum_verification=True, read_dictionary=read_dictionary
        ) as file:
            yield file
    except FileNotFoundError:
        raise NotFoundError(f"{key} is not in the store") from None
    except (NotFoundError, IntegrityError):
        raise
    except (OSError, KeyError, pa.ArrowException) as error:
        raise IntegrityError(
            f"{key} is damaged ({type(error).__name__}); `ingot scrub` says who needs it and what makes it again"
        ) from error


@lru_cache(maxsize=1024)
def _footer(path: Path, size: int, mtime_ns: int, inode: int) -> pq.FileMetaData:
    """Of each state of a file once."""
    return pq.read_metadata(path)
