"""The source snapshot of a run: every open occurrence, and the documents they amount to (CONTRACTS 1, 2).

Reads documents/ without their text, unit by unit. What comes out is a function of the open occurrences alone: not
of runs, units or the order of sources in the recipe.
"""

import hashlib
import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline.acquire import SourceSnapshot
from datasets_pipeline.dedup.ids import id_bytes, id_keys
from datasets_pipeline.document_access import document_facts, occurrence_facts
from datasets_pipeline.licence_order import strictness
from datasets_pipeline.sources.base import ACCESS_FACTS
from ingot import registry
from ingot.config import NamedConfig
from ingot.parquet import read_table
from ingot.schemas import DOC_ID, DOCUMENTS
from ingot.storage import Store

_COLUMNS = [name for name in DOCUMENTS.names if name != "text"]
# What of an occurrence shapes a version; the rest of the columns says where its text lies.
_IDENTITY = (
    "source", "uri", "start", "end", "doc_id", "licence", "licence_evidence", "stated_date", "media_type", "language",
    "family", "version", "source_class", "extractor", "metadata", *ACCESS_FACTS,
)  # fmt: skip
#: The order in which the first of a document's occurrences is the primary one.
OCCURRENCE_ORDER = ("source_rank", "source", "uri", "start", "doc_id")


@dataclass(frozen=True)
class OpenUnit:
    """The rows of one unit that a source of the recipe has open."""

    number: int
    """Position among the units of a run; workers and tables name a unit by it."""
    unit: str
    kind: str
    config: Mapping[str, Any] = field(repr=False)
    """The source's configuration, as its own Config reads it."""
    ranges: np.ndarray = field(repr=False)
    """int64 [m, 2]: (first row, number of rows), ascending, neighbouring ones joined."""

    @property
    def rows(self) -> np.ndarray:
        """int64 [n]: the open rows of documents/<unit>.parquet."""
        parts = [np.arange(first, first + num) for first, num in self.ranges.tolist()]
        return np.concatenate([np.empty(0, np.int64), *parts])


def open_units(store: Store, entries: Sequence[NamedConfig], snapshots: Sequence[SourceSnapshot]) -> list[OpenUnit]:
    """What the snapshots have open, by source in recipe order, then by unit."""
    found: list[OpenUnit] = []
    for entry, snapshot in zip(entries, snapshots, strict=True):
        columns = ["state", "outcome", "unit", "first_row", "num_rows"]
        table = read_table(store, snapshot.record_key, columns=columns)
        is_open = pc.and_(pc.equal(table["state"], "open"), pc.equal(table["outcome"], "read"))
        table = table.filter(pc.and_(is_open, pc.is_valid(table["unit"])))
        units = table["unit"].combine_chunks().dictionary_encode()
        order = np.argsort(units.indices.to_numpy(), kind="stable")
        code = units.indices.to_numpy()[order]
        places = np.column_stack([table["first_row"].to_numpy()[order], table["num_rows"].to_numpy()[order]])
        config = entry.config.model_dump(mode="json")
        for name, number in sorted((str(name), i) for i, name in enumerate(units.dictionary.to_pylist())):
            start, stop = np.searchsorted(code, number), np.searchsorted(code, number, side="right")
            found.append(OpenUnit(len(found), name, entry.name, config, _joined(places[start:stop])))
    return found


def _joined(ranges: np.ndarray) -> np.ndarray:
    """Ascending (first, number) pairs with those that touch made one."""
    ranges = ranges[np.argsort(ranges[:, 0], kind="stable")]
    ends = ranges[:, 0] + ranges[:, 1]
    opens = np.r_[True, ranges[1:, 0] != ends[:-1]]
    first = ranges[opens, 0]
    last = ends[np.r_[np.flatnonzero(opens)[1:] - 1, len(ranges) - 1]]
    return np.column_stack([first, last - first])


def occurrences_of(store: Store, unit: OpenUnit) -> pa.Table:
    """One row per open occurrence in a unit, in OCCURRENCE_ORDER, with `place` (the unit's number) and `row`."""
    config = registry.load("source", unit.kind).Config.model_validate(unit.config)
    rows = unit.rows
    table = read_table(store, f"documents/{unit.unit}.parquet", columns=_COLUMNS).take(pa.array(rows, pa.int64()))
    table = _with_source(table, config)
    table = table.append_column("place", pa.array(np.full(len(rows), unit.number, np.int32)))
    table = table.append_column("row", pa.array(rows, pa.int64()))
    return in_order(table)


def in_order(occurrences: pa.Table) -> pa.Table:
    """The occurrences in OCCURRENCE_ORDER."""
    return occurrences.sort_by([(name, "ascending") for name in OCCURRENCE_ORDER]).combine_chunks()


def _with_source(table: pa.Table, config: Any) -> pa.Table:
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
        "source": pa.repeat(pa.scalar(config.name, pa.string()), num),
        "source_rank": pa.repeat(pa.scalar(config.rank, pa.int64()), num),
        "source_class": pa.repeat(pa.scalar(config.source_class, pa.string()), num),
    }
    for name, column in added.items():
        table = table.append_column(name, column)
    return table


def identity_lines(occurrences: pa.Table) -> list[bytes]:
    """What of each occurrence shapes a version, as one line each, sorted."""
    return sorted(
        _spell(row).encode()
        for row in zip(*(_values(occurrences[name]) for name in _IDENTITY), strict=True)
    )


# As `ingot.digests.canonical_json` spells a list; a row is texts, whole numbers and nulls, so nothing is to be refused.
_spell = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False).encode


def _values(column: pa.ChunkedArray) -> list[Any]:
    return [value.hex() for value in column.to_pylist()] if column.type == DOC_ID else column.to_pylist()


def snapshot_digest(sorted_lines: Sequence[Iterable[bytes]]) -> str:
    """SHA-256 over the lines of all occurrences, merged from sorted parts: part (a) of what a version is made of."""
    digest = hashlib.sha256()
    between = b""
    for line in heapq.merge(*sorted_lines):
        digest.update(between + line)
        between = b"\n"
    return digest.hexdigest()


def distinct_documents(occurrences: pa.Table, ranks: Mapping[str, int]) -> pa.Table:
    """One row per doc_id, ascending: its primary occurrence, the strictest licence and class, how many places it has.

    occurrences are in OCCURRENCE_ORDER, all of each document's. ranks are those of classifications.
    """
    ids = id_keys(occurrences["doc_id"])
    by_id = np.argsort(ids, kind="stable")  # a document's occurrences stay in their order
    opens = _opens(ids[by_id])
    document = np.cumsum(opens) - 1
    first = by_id[opens]
    table = occurrences.take(pa.array(first))
    # The first occurrence with the strictest licence; its evidence goes with it.
    preferred = _strictest_first(occurrences["licence"])[by_id]
    strict_order = np.lexsort((np.arange(len(by_id)), preferred, document))
    strict = pa.array(by_id[strict_order[_opens(document[strict_order])]])
    for name in ("licence", "licence_evidence"):
        table = table.set_column(table.column_names.index(name), name, occurrences[name].take(strict))
    for name, column in document_facts(occurrences, id_bytes(ids[first]), ranks).items():
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, column)
        else:
            table = table.append_column(name, column)
    count = np.bincount(document, minlength=len(first)).astype(np.int32)
    return table.append_column("num_occurrences", pa.array(count)).combine_chunks()


def _strictest_first(licences: pa.ChunkedArray) -> np.ndarray:
    """int64 [n]: smaller for what `licence_order.strictest` prefers."""
    encoded = licences.combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    position = np.empty(len(names), np.int64)
    position[sorted(range(len(names)), key=lambda i: (-strictness(names[i]), names[i]))] = np.arange(len(names))
    return position[encoded.indices.to_numpy()]


def _opens(values: np.ndarray) -> np.ndarray:
    """bool [n]: True where a run of equal values begins."""
    opens = np.ones(len(values), bool)
    opens[1:] = values[1:] != values[:-1]
    return opens
