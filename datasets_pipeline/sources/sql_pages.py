"""Pages of a table: runs of rows in the order of the key, cut where the hash of a key says so.

A page is named by the key it begins behind and holds the rows up to its own last key, so a row that comes or goes
moves its page alone; when the last row of a page goes, the page and its neighbour become one.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from datasets_pipeline.sources.base import FileEntry
from datasets_pipeline.sources.record_values import key_place, key_text
from ingot.errors import DataError

_SCAN_ROWS = 10_000
_LONGEST_PAGE = 4  # times page_rows; without a cap one page in a million would have 14 times as many
_JSON = json.JSONEncoder(ensure_ascii=True)
_ROW_BYTES = 1024  # a guess, for sharing pages out among workers


@dataclass(frozen=True)
class Scan:
    """What is scanned: a relation, the columns of its order (group and key, or key), what tells a change."""

    relation: Any
    order: tuple[str, ...]
    changed_column: str | None
    page_rows: int
    root: str


def relation_of(table: str | None, query: str | None) -> Any:
    """A table or a query as something to select from."""
    import sqlalchemy

    if table is not None:
        schema, _, name = table.rpartition(".")
        return sqlalchemy.table(name, schema=schema or None)
    # On lines of its own: a comment at its end must not take the bracket. Colons are its own, not parameters.
    escaped = str(query).replace(":", "\\:")
    return sqlalchemy.text(f"(\n{escaped}\n) AS rows_of_query")


def pages(connection: Any, scan: Scan, columns: tuple[str, ...], skipped: Counter[str] | None) -> Iterator[FileEntry]:
    """The pages of a relation in order. Raises DataError when its columns or its key are not what was said."""
    _check(connection, scan, columns)
    if skipped is not None and len(scan.order) > 1 and (lost := _num_null(connection, scan, scan.order[0])):
        skipped["no_group"] += lost
    page, after, names = _Page(), None, {""}
    last: Any = None
    num_rows = 0
    for row in _scan(connection, scan):
        if num_rows and row[0] != last and _ends(page, last, scan.page_rows, names):
            yield page.entry(scan, after, last)
            page, after = _Page(), last
            names.add(_name(after) or "")
        page.add(row)
        last, num_rows = row[0], num_rows + 1
    if not num_rows:
        raise DataError(f"{scan.root} has no row with a {scan.order[0]}; check the table or the query of the source")
    yield page.entry(scan, after, last)


def rows(
    connection: Any,
    relation: Any,
    order: tuple[str, ...],
    columns: tuple[str, ...],
    borders: Mapping[str, str],
    fetch_rows: int,
) -> Iterator[dict[str, Any]]:
    """The rows of a page in order; `borders` are the attributes of its entry."""
    import sqlalchemy

    first = sqlalchemy.column(order[0])
    chosen = sqlalchemy.select(*map(sqlalchemy.column, columns)).select_from(relation)
    chosen = chosen.where(first <= json.loads(borders["to"]))
    if "after" in borders:
        chosen = chosen.where(first > json.loads(borders["after"]))
    chosen = chosen.order_by(*map(sqlalchemy.column, order))
    result = connection.execution_options(stream_results=True, max_row_buffer=fetch_rows).execute(chosen)
    while found := result.fetchmany(fetch_rows):
        yield from (dict(zip(columns, row, strict=True)) for row in found)


def plain(value: Any) -> Any:
    """A value as JSON has it: dates in ISO 8601 (UTC where they have a zone), decimals as text.

    Raises TypeError for bytes.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("bytes")
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else None
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).isoformat()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    return str(value)


@dataclass
class _Page:
    num_rows: int = 0
    digest: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=16))

    def add(self, row: tuple[Any, ...]) -> None:
        self.num_rows += 1
        self.digest.update(_JSON.encode([_typed(value) for value in row]).encode() + b"\n")

    def entry(self, scan: Scan, after: Any, to: Any) -> FileEntry:
        borders = {"to": json.dumps(_typed(to))}
        if after is not None:
            borders["after"] = json.dumps(_typed(after))
        name = "" if after is None else key_place("", _name(after) or "")[1:]
        known = scan.changed_column is not None
        return FileEntry(
            f"{scan.root}@{name}",
            self.num_rows * _ROW_BYTES,
            # No clock is asked: with a changed_column the mark below tells everything.
            mtime_ns=0 if known else None,
            attributes=borders,
            etag=self.digest.hexdigest() if known else None,
        )


def _ends(page: _Page, last: Any, page_rows: int, names: set[str]) -> bool:
    """Whether a page ends behind its last key; names are the keys that name a page already."""
    text = _name(last)
    if text is None or text in names:
        return False
    chosen = int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
    return chosen % page_rows == 0 or page.num_rows >= _LONGEST_PAGE * page_rows


def _typed(value: Any) -> Any:
    """A key or a mark of change as JSON, as the database will compare it again."""
    try:
        return plain(value)
    except TypeError:
        raise DataError("a key or changed_column holds bytes; name a column of text, numbers or dates") from None


def _name(key: Any) -> str | None:
    """A key or group as documents are named by it; None for one that names none."""
    return key_text(_typed(key))


def _check(connection: Any, scan: Scan, columns: tuple[str, ...]) -> None:
    import sqlalchemy

    everything = sqlalchemy.select(sqlalchemy.literal_column("*")).select_from(scan.relation).limit(0)
    has = list(connection.execute(everything).keys())
    wanted = (*scan.order, *columns, *([scan.changed_column] if scan.changed_column else []))
    missing = list(dict.fromkeys(column for column in wanted if column not in has))
    if missing:
        raise DataError(
            f"{scan.root}: no column {', '.join(missing)}; it has {', '.join(has[:30])}; name its columns in the source"
        )
    if _num_null(connection, scan, scan.order[-1]):
        raise DataError(f"{scan.root}: column {scan.order[-1]} has nulls; name a key that is unique and never null")


def _num_null(connection: Any, scan: Scan, column: str) -> int:
    import sqlalchemy

    nulls = sqlalchemy.select(sqlalchemy.func.count()).select_from(scan.relation)
    return int(connection.execute(nulls.where(sqlalchemy.column(column).is_(None))).scalar_one())


def _scan(connection: Any, scan: Scan) -> Iterator[tuple[Any, ...]]:
    """Every row's order columns and mark of change, a batch at a time, each from the last row of the one before."""
    import sqlalchemy

    order = [sqlalchemy.column(name) for name in scan.order]
    wanted = [*order, *([sqlalchemy.column(scan.changed_column)] if scan.changed_column else [])]
    base = sqlalchemy.select(*wanted).select_from(scan.relation).where(order[0].is_not(None)).order_by(*order)
    last: tuple[Any, ...] | None = None
    while True:
        chosen = base.limit(_SCAN_ROWS + (last is not None))
        if last is not None:
            at = tuple(_typed(value) for value in last)
            behind = order[-1] >= at[-1]
            if len(order) > 1:
                behind = sqlalchemy.or_(order[0] > at[0], sqlalchemy.and_(order[0] == at[0], behind))
            chosen = chosen.where(behind)
        found = [tuple(row) for row in connection.execute(chosen)]
        if last is not None:
            if not found or found[0][: len(order)] != last:
                raise _not_unique(scan)
            del found[0]
        for row in found:
            key = row[: len(order)]
            if key == last:
                raise _not_unique(scan)
            last = key
            yield row
        if len(found) < _SCAN_ROWS:
            return


def _not_unique(scan: Scan) -> DataError:
    return DataError(f"{scan.root}: column {scan.order[-1]} is not unique in its order; name a key that is")
