"""Parquet in one way only: every option explicit, page checksums written and verified (CONTRACTS 7).

pyarrow's defaults read most single-bit errors back silently wrong; with page checksums none of 2,700
trials passed unnoticed (measured with pyarrow 25). Page checksums leave the footer and the page headers open, so
every object is checked whole when it is read first: its key is its SHA-256, or, for a key named by what it was
computed from, the footer holds a seal over the key and every other byte.
"""

import hashlib
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from ingot.crashpoints import crashpoint
from ingot.digests import sha256_file
from ingot.errors import IntegrityError, NotFoundError, StorageError
from ingot.refs import ObjectRef
from ingot.storage import Store

if TYPE_CHECKING:
    import pyarrow.dataset as ds

ROW_GROUP_ROWS = 4096
# 4,096 rows of 3 kB text are 12 MB: one group fits a worker's buffer, and a point look-up by doc_id
# reads one group.

WRITER_VERSION = "1"
_OPTIONS = {
    "version": "2.6",
    "compression": "zstd",
    "compression_level": 3,
    "data_page_version": "2.0",
    "data_page_size": 1 << 20,
    "dictionary_pagesize_limit": 1 << 20,
    "write_statistics": True,
    "write_page_index": False,
    "write_page_checksum": True,
    "store_schema": True,
    "use_dictionary": True,
    "write_batch_size": 1024,
}
_CONTENT_NAME = re.compile(r"[0-9a-f]{64}")
_SEAL = b"ingot.seal"
_NO_SEAL = b"0" * 64
# In the footer's Thrift encoding: the key, field header, length 64, value.
_SEAL_PLACE = _SEAL + b"\x18\x40"


def write_table(store: Store, table: pa.Table, prefix: str, *, key: str | None = None) -> ObjectRef:
    """Write one table as one object and return its ref.

    The key is `<prefix>/<sha256>.parquet`, or `key` for caches named by what they were computed from.
    The file is written to scratch, read back with its checksums, hashed, and put once.
    """
    with store.scratch(key or prefix, table.nbytes) as folder:
        path = folder / "table.parquet"
        # combine_chunks: the page layout must not depend on how the table was put together.
        table = table.combine_chunks().replace_schema_metadata({_SEAL: _NO_SEAL} if key else None)
        pq.write_table(table, path, row_group_size=ROW_GROUP_ROWS, **_OPTIONS)
        rows = pq.read_metadata(path).num_rows
        if rows != table.num_rows:
            raise StorageError(f"{prefix}: wrote {rows} rows of {table.num_rows}; the local disk may be failing")
        if key:
            _set_seal(path, key)
        digest = sha256_file(path)
        key = key or f"{prefix}/{digest}.parquet"
        area = key.split("/", 1)[0]
        crashpoint(f"{area}.put.before", key)
        store.put_file(key, path)
        crashpoint(f"{area}.put.after", key)
        return ObjectRef(key=key, sha256=digest, bytes=path.stat().st_size, rows=rows)


def read_table(
    store: Store,
    key: str,
    columns: list[str] | None = None,
    filters: "ds.Expression | None" = None,
) -> pa.Table:
    """Read an object's rows, verifying page checksums and, the first time in a process, every byte.

    With filters, which read a few pages of a large object, page checksums only. Raises NotFoundError when it is absent
    and IntegrityError, naming the object, when it is damaged.
    """
    return read_file(store.local_path(key), key, columns, filters)


def read_file(
    path: Path, key: str, columns: list[str] | None = None, filters: "ds.Expression | None" = None
) -> pa.Table:
    """Like `read_table`, for a local file; `key` names it in errors."""
    try:
        if filters is not None:
            table = pq.read_table(
                path, columns=columns, filters=filters, use_threads=False, page_checksum_verification=True
            )
        else:
            check_whole(path, key)
            # Not read_table: it goes through pyarrow.dataset, which imports pandas (0.5 s at the first read).
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                table = file.read(columns=columns, use_threads=False)
            table = table.select(columns) if columns is not None else table
        return table.replace_schema_metadata(None)
    except FileNotFoundError:
        raise NotFoundError(f"{key} is not in the store") from None
    except IntegrityError:
        raise
    except (OSError, KeyError, pa.ArrowException) as error:
        raise IntegrityError(
            f"{key} is damaged ({type(error).__name__}); `ingot scrub` says who needs it and what makes it again"
        ) from error


def read_groups(
    store: Store, key: str, columns: list[str], wanted: "Callable[[pq.RowGroupMetaData], bool]"
) -> pa.Table:
    """The row groups of an object that `wanted` chooses by their metadata; checked like `read_table`."""
    path = store.local_path(key)
    try:
        check_whole(path, key)
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            groups = [i for i in range(file.num_row_groups) if wanted(file.metadata.row_group(i))]
            return file.read_row_groups(groups, columns=columns, use_threads=False).select(columns)
    except IntegrityError:
        raise
    except FileNotFoundError:
        raise NotFoundError(f"{key} is not in the store") from None
    except (OSError, KeyError, pa.ArrowException) as error:
        raise IntegrityError(
            f"{key} is damaged ({type(error).__name__}); `ingot scrub` says who needs it and what makes it again"
        ) from error


def column_names(store: Store, key: str) -> list[str]:
    """The columns of an object, from its footer."""
    try:
        return list(pq.read_schema(store.local_path(key)).names)
    except FileNotFoundError:  # removed after it was found
        raise NotFoundError(f"{key} is not in the store") from None
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, StorageError):
            raise
        raise IntegrityError(f"{key} is damaged ({type(error).__name__}); remove it and run again") from error


def check_object(store: Store, key: str) -> int:
    """Check every byte of an object that `write_table` wrote; returns its size.

    Raises NotFoundError when it is absent, IntegrityError when it is not what was written under this key.
    """
    path = store.local_path(key)
    if not _is_intact(path, key, else_=False):
        raise IntegrityError(
            f"{key} has other bytes than were written under that key; restore it from a backup, or remove it and run "
            "again to rebuild it from its inputs"
        )
    return path.stat().st_size


def check_whole(path: Path, key: str) -> None:
    """Raise IntegrityError unless every byte of a file is what was written under its key; once for a state of it.

    Page checksums leave page headers and the footer open: one flip in 3,000 was read back wrong without this.
    """
    status = path.stat()
    if not _is_intact_once(path, key, status.st_size, status.st_mtime_ns, status.st_ino):
        raise IntegrityError(
            f"{key} is damaged (other bytes than were written); `ingot scrub` says who needs it and what makes it again"
        )


@lru_cache(maxsize=8192)
def _is_intact_once(path: Path, key: str, size: int, mtime_ns: int, inode: int) -> bool:
    """Once for each state of a file: hashing costs about a tenth of decoding."""
    return _is_intact(path, key, else_=True)


def _is_intact(path: Path, key: str, *, else_: bool) -> bool:
    """Whether a file holds what was written under a key; `else_` where neither its name nor a seal tells."""
    name = key.rsplit("/", 1)[-1].removesuffix(".parquet")
    is_named = bool(_CONTENT_NAME.fullmatch(name))
    if is_named and name == sha256_file(path):
        return True
    place = _seal_place(path)
    if place is None:
        return False if is_named else else_
    with open(path, "rb") as file:
        file.seek(place)
        return file.read(len(_NO_SEAL)) == _seal_of(path, key, place)


def _set_seal(path: Path, key: str) -> None:
    place = _seal_place(path)
    assert place is not None, "the footer holds the seal's place"
    seal = _seal_of(path, key, place)
    with open(path, "rb+") as file:
        file.seek(place)
        file.write(seal)


def _seal_place(path: Path) -> int | None:
    """Where the seal's 64 digits stand in the file; None when it has none."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        file.seek(max(0, size - 8))
        length = int.from_bytes(file.read(4), "little")
        start = max(0, size - 8 - length)
        file.seek(start)
        # The last one: statistics, which may quote a document, come before the key-value metadata.
        found = file.read().rfind(_SEAL_PLACE)
    return None if found < 0 else start + found + len(_SEAL_PLACE)


def _seal_of(path: Path, key: str, place: int) -> bytes:
    digest = hashlib.sha256(key.encode() + b"\0")
    with open(path, "rb") as file:
        digest.update(file.read(place))
        digest.update(_NO_SEAL)
        file.seek(place + len(_NO_SEAL))
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest().encode()


def num_rows(store: Store, key: str) -> int:
    """Number of rows of an object, from its footer."""
    try:
        return int(pq.read_metadata(store.local_path(key)).num_rows)
    except FileNotFoundError:  # removed after it was found
        raise NotFoundError(f"{key} is not in the store") from None
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, StorageError):
            raise
        raise IntegrityError(f"{key} is damaged ({type(error).__name__}); remove it and run again") from error
