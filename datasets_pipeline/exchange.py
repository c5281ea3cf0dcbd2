"""Rows that go from one set of work units to another: each table is written in parts, and read part by part.

A worker that has read a unit of the store writes what is to be known of it as one object, one record batch for each
part (a range of doc_ids, say); the worker that takes a part reads its batch of every such object. So a stage sorts or
joins a corpus of any size while one process holds one part. Only ids, numbers and short facts travel, never text.
Objects lie below `.tmp/` of the store, where every worker can read them and `ingot gc` finds what a killed run left.
"""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ingot.storage import Store

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass(frozen=True)
class Workplace:
    """A folder of the store for what one run passes between its workers."""

    store: Store
    folder: str

    def key(self, what: str, number: int) -> str:
        """Where the table of one unit lies."""
        return f"{self.folder}/{what}-{number:06d}"


@contextmanager
def workplace(store: Store, what: str) -> Iterator[Workplace]:
    """A new folder, emptied when the block ends."""
    place = Workplace(store, f".tmp/{what}-{uuid.uuid4().hex}")
    try:
        yield place
    finally:
        store.delete_folder(place.folder)


def write_parts(
    place: Workplace, what: str, number: int, table: pa.Table, part: np.ndarray, num_parts: int
) -> np.ndarray:
    """Write the rows of a table by the part they belong to (int [n]); returns the number of rows of each part."""
    order = np.argsort(part, kind="stable")
    sizes = np.bincount(part, minlength=num_parts)
    table = table.take(pa.array(order)).combine_chunks()
    with place.store.scratch(what, table.nbytes) as folder:
        path = folder / "parts.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema, options=_OPTIONS) as writer:
            start = 0
            for size in sizes.tolist():
                writer.write_batch(_batch(table.slice(start, size)))
                start += size
        place.store.put_file(place.key(what, number), path)
    return sizes


def read_part(place: Workplace, what: str, numbers: Sequence[int], part: int) -> pa.Table:
    """The rows of one part from the tables of several units, in the order of the numbers."""
    batches: list[pa.RecordBatch] = []
    schema: pa.Schema | None = None
    for number in numbers:
        with pa.memory_map(str(place.store.local_path(place.key(what, number)))) as source:
            reader = pa.ipc.open_file(source)
            schema = schema or reader.schema
            batch = reader.get_batch(part)
            if batch.num_rows:
                batches.append(batch)
    return pa.Table.from_batches(batches, schema=schema)


def _batch(table: pa.Table) -> pa.RecordBatch:
    if len(table) == 0:
        return pa.RecordBatch.from_pylist([], schema=table.schema)
    return table.combine_chunks().to_batches()[0]
