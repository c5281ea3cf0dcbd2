"""Occurrences and documents as whole tables."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline.acquire import SourceSnapshot, open_files
from datasets_pipeline.document_access import document_facts, occurrence_facts
from datasets_pipeline.licence_order import strictest
from datasets_pipeline.sources.base import ACCESS_FACTS
from ingot.config import NamedConfig
from ingot.digests import canonical_json
from ingot.parquet import read_table
from ingot.schemas import DOCUMENTS
from ingot.storage import Store

_COLUMNS = [name for name in DOCUMENTS.names if name != "text"]
# What of an occurrence shapes a version; the rest of the columns says where its text lies.
_IDENTITY = (
    "source", "uri", "start", "end", "doc_id", "licence", "licence_evidence", "stated_date", "media_type", "language",
    "family", "version", "source_class", "extractor", "metadata", *ACCESS_FACTS,
)  # fmt: skip


def open_occurrences(store: Store, entries: Sequence[NamedConfig], snapshots: Sequence[SourceSnapshot]) -> pa.Table:
    """One row per open occurrence, sorted by (source rank, source, uri, start), with its place in the store."""
    tables: list[pa.Table] = []
    for entry, snapshot in zip(entries, snapshots, strict=True):
        by_unit: dict[str, list[tuple[int, int]]] = {}
        for file in open_files(store, snapshot):
            by_unit.setdefault(file.unit, []).append((file.first_row, file.num_rows))
        for unit, ranges in sorted(by_unit.items()):
            table = read_table(store, f"documents/{unit}.parquet", columns=_COLUMNS)
            rows = pa.array([row for first, num in sorted(ranges) for row in range(first, first + num)], pa.int64())
            tables.append(_with_source(table.take(rows), entry.config, unit, rows))
    if not tables:
        empty = _with_source(
            DOCUMENTS.empty_table().drop_columns(["text"]), entries[0].config, "", pa.array([], pa.int64())
        )
        return empty
    return pa.concat_tables(tables).sort_by(
        [("source_rank", "ascending"), ("source", "ascending"), ("uri", "ascending"), ("start", "ascending"),
         ("doc_id", "ascending")]
    ).combine_chunks()  # fmt: skip


def _with_source(table: pa.Table, config: Any, unit: str, rows: pa.Array) -> pa.Table:
    num = len(table)
    stated = table["licence"]
    table = table.set_column(
        table.column_names.index("licence"), "licence", pc.fill_null(stated, config.licence).cast(pa.string())
    )
    evidence = pc.if_else(
        pc.and_(pc.is_null(stated), pa.scalar(config.licence != "unknown")),
        pa.scalar("recipe"),
        table["licence_evidence"],
    )
    table = table.set_column(
        table.column_names.index("licence_evidence"), "licence_evidence", evidence.cast(pa.string())
    )
    for name, column in occurrence_facts(table, config).items():
        table = table.set_column(table.column_names.index(name), name, column)
    added = {
        "source": pa.array([config.name] * num, pa.string()),
        "source_rank": pa.array([config.rank] * num, pa.int64()),
        "source_class": pa.array([config.source_class] * num, pa.string()),
        "unit": pa.array([unit] * num, pa.string()),
        "row": rows,
    }
    for name, column in added.items():
        table = table.append_column(name, column)
    return table


def snapshot_digest(occurrences: pa.Table) -> str:
    """SHA-256 over the sorted occurrences: part (a) of what a version is a function of."""
    lines = sorted(
        canonical_json([value.hex() if isinstance(value, bytes) else value for value in row])
        for row in zip(*(occurrences[name].to_pylist() for name in _IDENTITY), strict=True)
    )
    return hashlib.sha256(b"\n".join(lines)).hexdigest()


def distinct_documents(occurrences: pa.Table, ranks: Mapping[str, int]) -> pa.Table:
    """One row per doc_id, ascending: its primary occurrence, the strictest licence and class, how many places it has.

    The primary occurrence is the smallest (source rank, source, uri, start). ranks are those of classifications.
    """
    ids = occurrences["doc_id"].to_pylist()
    licences = occurrences["licence"].to_pylist()
    first: dict[bytes, int] = {}
    stated: dict[bytes, dict[str, int]] = {}
    count: dict[bytes, int] = {}
    for row, doc_id in enumerate(ids):
        first.setdefault(doc_id, row)
        stated.setdefault(doc_id, {}).setdefault(licences[row], row)
        count[doc_id] = count.get(doc_id, 0) + 1
    order = sorted(first)
    table = occurrences.take(pa.array([first[doc_id] for doc_id in order], pa.int64()))
    # The first occurrence with the strictest licence; its evidence goes with it.
    strict = pa.array([stated[d][strictest(list(stated[d]))] for d in order], pa.int64())
    for name in ("licence", "licence_evidence"):
        table = table.set_column(table.column_names.index(name), name, occurrences[name].take(strict))
    for name, column in document_facts(occurrences, order, ranks).items():
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, column)
        else:
            table = table.append_column(name, column)
    return table.append_column("num_occurrences", pa.array([count[d] for d in order], pa.int32())).combine_chunks()
