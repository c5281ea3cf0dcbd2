"""The decisions of a corpus version as columns: what became of each document, and what each rule said.

Everything here works on whole columns; a million documents take about a second to read.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingot.manifest import DecisionsEntry
from ingot.parquet import read_table
from ingot.schemas import DECISIONS
from ingot.storage import Store

IN_VERSION = ("kept", "heldout")
"""Outcomes of documents that are in a version: trained on, or held out for evaluation."""
_ID_BYTES = 16
_FINAL = ["doc_id", "outcome", "rule", "reason", "score", "threshold", "other_doc_id", "source", "uri", "language",
          "licence", "media_type", "num_bytes", "num_occurrences"]  # fmt: skip


@dataclass(frozen=True)
class Decided:
    """Decisions of a version, or of some of its parts."""

    final: pa.Table
    """One row per document, ascending by doc_id."""
    verdicts: pa.Table
    """One row per verdict that was not passed, with the edits that span rules made."""


def read_decisions(
    store: Store, parts: Iterable[DecisionsEntry], *, spans: bool = False, verdicts: bool = True
) -> Decided:
    """Read parts of a version's decisions; the spans of edits, and verdicts at all, only when asked for."""
    more = ["config_digest", *(["spans"] if spans else [])] if verdicts else []
    wanted = ["final", "verdict_order", *_FINAL, *more]
    finals, others = [], []
    for part in parts:
        table = read_table(store, f"decisions/{part.sha256}.parquet", columns=wanted)
        finals.append(table.filter(table["final"]).select(_FINAL))
        if verdicts:
            others.append(table.filter(pc.invert(table["final"])).select(["verdict_order", *_FINAL[:7], *more]))
    empty = DECISIONS.empty_table()
    final = pa.concat_tables([empty.select(_FINAL), *finals], promote_options="permissive").combine_chunks()
    none = empty.select(["verdict_order", *_FINAL[:7], *more])
    return Decided(final, pa.concat_tables([none, *others], promote_options="permissive").combine_chunks())


def id_keys(doc_ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """doc_ids as numpy S16 [n], which compares like the 16 bytes do; a null is 16 zero bytes."""
    array = as_one(doc_ids)
    if array.null_count:
        array = pc.fill_null(array, pa.scalar(b"\0" * _ID_BYTES, array.type))
    if len(array) == 0:
        return np.empty(0, dtype=f"S{_ID_BYTES}")
    return np.frombuffer(array.buffers()[1], f"S{_ID_BYTES}", count=array.offset + len(array))[array.offset :]


def rows_of(sorted_ids: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """int64 [n]: the row of each id among ascending ones; -1 where it is none of them."""
    if len(sorted_ids) == 0:
        return np.full(len(ids), -1, np.int64)
    # Looked up in ascending order: in another one nearly every step is a cache miss, and it takes five times as long.
    order = np.argsort(ids)
    rows = np.empty(len(ids), np.int64)
    rows[order] = np.minimum(np.searchsorted(sorted_ids, ids[order]), len(sorted_ids) - 1)
    return np.where(sorted_ids[rows] == ids, rows, -1)


def is_one_of(column: pa.ChunkedArray, values: Sequence[str]) -> np.ndarray:
    """bool [n]: the value is one of these; null is none."""
    return as_numpy(pc.is_in(column, value_set=pa.array(values, pa.string())))


def as_one(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The column as one array."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def as_numpy(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The column as numpy, whatever its chunks."""
    return as_one(column).to_numpy(zero_copy_only=False)


def counts_by(names: pa.Array | pa.ChunkedArray, **of: np.ndarray) -> dict[str, dict[str, int]]:
    """Per distinct name the sum of each bool or integer column, by name."""
    encoded = as_one(names).dictionary_encode()
    labels, codes = encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False)
    sums = {
        what: np.bincount(codes, weights=values.astype(np.float64), minlength=len(labels)).astype(np.int64)
        for what, values in of.items()
    }
    return {
        label: {what: int(values[i]) for what, values in sums.items()}
        for label, i in sorted((label, i) for i, label in enumerate(labels))
    }
