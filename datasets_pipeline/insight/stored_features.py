"""Features of a published version's documents, found again through its acquisition records; reads no text.

Rows are those of each document's primary occurrence, because language and medium, and with them a few features, are
the occurrence's. Only the columns that the asking rules read are loaded.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline.acquire import SourceSnapshot
from datasets_pipeline.analyse import feature_version, features_key, spans_key
from datasets_pipeline.document_access import RULE_COLUMNS
from datasets_pipeline.insight.version_tables import as_numpy, as_one, id_keys, rows_of
from datasets_pipeline.snapshot import distinct_documents, in_order, occurrences_of, open_units
from ingot import registry
from ingot.config import NamedConfig, RuleEntry
from ingot.errors import DataError, NotFoundError
from ingot.manifest import Manifest
from ingot.parquet import column_names, read_table
from ingot.storage import Store

_ALWAYS = ("failed", "language", "media_type")
_OF_PLACES = {"licence", "metadata", *RULE_COLUMNS}
"""Columns that are not features: they are put together from every place at which a document stands."""


class StoredFeatures:
    """The features of a version's documents, rows as in its final decisions."""

    def __init__(self, store: Store, name: str, manifest: Manifest, final: pa.Table) -> None:
        """final: `Decided.final` of the version. NotFoundError when features or records are not there any more."""
        stored, ours = manifest.identity.versions["features"], feature_version()
        if stored != ours:
            raise NotFoundError(
                f"{name} was made with the features {stored}, this Ingot computes {ours}; run `ingot curate` first"
            )
        self._store, self._name, self._final = store, name, final
        self._snapshots = snapshots_of(name, manifest)
        self.units, self.rows = self._places()
        """The unit (index into unit_names) and the row in it of each document."""

    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        ids = id_keys(self._final["doc_id"])
        files = {snapshot.source: open_rows(self._store, snapshot) for snapshot in self._snapshots}
        self.unit_names = sorted({unit for of_source in files.values() for unit in of_source})
        number = {unit: index for index, unit in enumerate(self.unit_names)}
        found: list[tuple[np.ndarray, ...]] = []
        for source, by_unit in files.items():
            for unit, taken in by_unit.items():
                table = read_table(self._store, f"documents/{unit}.parquet", columns=["doc_id", "uri", "start"])
                table = table.take(pa.array(taken))
                document = rows_of(ids, id_keys(table["doc_id"]))
                known = np.flatnonzero(document >= 0)
                final = self._final.select(["source", "uri"]).take(pa.array(document[known]))
                mine = pc.and_(
                    pc.equal(final["source"], source), pc.equal(final["uri"], table["uri"].take(pa.array(known)))
                )
                known = known[as_numpy(mine)]
                starts = as_numpy(table["start"])[known]
                found.append((document[known], starts, np.full(len(known), number[unit]), taken[known]))
        document, starts, units, rows = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.lexsort((starts, document))
        document, units, rows = document[order], units[order], rows[order]
        first = np.ones(len(document), bool)
        first[1:] = document[1:] != document[:-1]
        if int(first.sum()) != len(self._final):
            missing = len(self._final) - int(first.sum())
            raise NotFoundError(
                f"{missing:,} documents of {self._name} are not where its acquisition records say; run `ingot curate`"
            )
        return units[first], rows[first]

    def table(self, columns: set[str] | None, sources: Sequence[NamedConfig], ranks: dict[str, int]) -> pa.Table:
        """These columns (None: all) with `failed`, language, medium, source and uri.

        sources and ranks are the recipe's: they say what a place states about access.
        """
        if columns is None or columns & _OF_PLACES:
            return self._whole(sources, ranks)
        wanted = sorted({*_ALWAYS, *columns} - {"source", "uri"})
        tables, positions = [], []
        for unit, members in self.by_unit():
            tables.append(self._read(unit, wanted).take(pa.array(self.rows[members])))
            positions.append(members)
        order = np.empty(len(self.rows), np.int64)
        order[np.concatenate(positions)] = np.arange(len(self.rows))
        table = pa.concat_tables(tables).combine_chunks().take(pa.array(order))
        return table.append_column("source", self._final["source"]).append_column("uri", self._final["uri"])

    def signatures(self) -> Iterator[tuple[np.ndarray, pa.ChunkedArray]]:
        """(documents, their signatures), unit by unit."""
        for unit, members in self.by_unit():
            yield members, self._read(unit, ["signature"])["signature"].take(pa.array(self.rows[members]))

    def by_unit(self) -> Iterator[tuple[str, np.ndarray]]:
        """(unit, documents in it)."""
        order = np.argsort(self.units, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(self.units[order])) + 1):
            if len(members):
                yield self.unit_names[self.units[members[0]]], members

    def found(self, span_digest: str) -> pa.Table:
        """What a span rule found in each document: `spans`, and numbers of its own."""
        tables, positions = [], []
        for unit, members in self.by_unit():
            table = read_table(self._store, spans_key(span_digest, unit)).drop_columns(["doc_id"])
            tables.append(table.take(pa.array(self.rows[members])))
            positions.append(members)
        order = np.empty(len(self.rows), np.int64)
        order[np.concatenate(positions)] = np.arange(len(self.rows))
        return pa.concat_tables(tables).combine_chunks().take(pa.array(order))

    def _read(self, unit: str, columns: list[str]) -> pa.Table:
        try:
            return read_table(self._store, features_key(unit), columns=columns)
        except NotFoundError:
            raise NotFoundError(
                f"features of unit {unit} of {self._name} are not in the store any more; `ingot curate` computes them"
            ) from None

    def _whole(self, sources: Sequence[NamedConfig], ranks: dict[str, int]) -> pa.Table:
        entries = {entry.config.name: entry for entry in sources}
        known = [snapshot for snapshot in self._snapshots if snapshot.source in entries]
        units = open_units(self._store, [entries[s.source] for s in known], known)
        tables = [occurrences_of(self._store, unit) for unit in units]
        documents = distinct_documents(in_order(pa.concat_tables(tables)), ranks) if tables else None
        ids = id_keys(documents["doc_id"]) if documents is not None else np.empty(0, "S16")
        rows = rows_of(ids, id_keys(self._final["doc_id"]))
        if (rows < 0).any():
            raise DataError(
                f"a rule asks what the places of documents state, and {int((rows < 0).sum()):,} documents of "
                f"{self._name} are of sources that the recipe does not name; put them back, or run `ingot curate`"
            )
        assert documents is not None
        documents = documents.take(pa.array(rows))
        features = self._features_at([unit.unit for unit in units], documents)
        for name in ("source", "uri", "licence", "metadata", *RULE_COLUMNS):
            features = features.append_column(name, documents[name])
        return features.combine_chunks()

    def _features_at(self, units: Sequence[str], documents: pa.Table) -> pa.Table:
        """The features of documents at their `place` (index into units) and `row`, without signatures."""
        place, row = as_numpy(documents["place"]), as_numpy(documents["row"])
        order = np.argsort(place, kind="stable")
        tables = []
        for members in np.split(order, np.flatnonzero(np.diff(place[order])) + 1):
            key = features_key(units[place[members[0]]])
            names = [name for name in column_names(self._store, key) if name != "signature"]
            tables.append(read_table(self._store, key, columns=names).take(pa.array(row[members])))
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return pa.concat_tables(tables).combine_chunks().take(pa.array(back))


def open_rows(store: Store, snapshot: SourceSnapshot) -> dict[str, np.ndarray]:
    """Rows of each unit that hold documents of the files of a snapshot, as `acquire.open_files` names them."""
    table = read_table(store, snapshot.record_key, columns=["state", "outcome", "unit", "first_row", "num_rows"])
    is_open = pc.and_(pc.equal(table["state"], "open"), pc.equal(table["outcome"], "read"))
    table = table.filter(pc.and_(is_open, pc.is_valid(table["unit"]))).combine_chunks()
    encoded = as_one(table["unit"]).dictionary_encode()
    first, num = as_numpy(table["first_row"]), as_numpy(table["num_rows"])
    files = np.argsort(as_numpy(encoded.indices), kind="stable")
    codes, first, num = as_numpy(encoded.indices)[files], first[files], num[files]
    rows = np.repeat(first - (np.cumsum(num) - num), num) + np.arange(int(num.sum()))
    unit_of_row = np.repeat(codes, num)
    return {
        unit: rows[np.searchsorted(unit_of_row, code) : np.searchsorted(unit_of_row, code, side="right")]
        for code, unit in enumerate(encoded.dictionary.to_pylist())
    }


def snapshots_of(name: str, manifest: Manifest) -> list[SourceSnapshot]:
    """The looks at the sources that a version was made from."""
    sources: dict[str, Any] = manifest.provenance.get("sources", {})
    if not sources:
        raise NotFoundError(f"{name} does not say which looks at its sources it was made from; run `ingot curate`")
    return [SourceSnapshot(source, told["record"], {}, {}) for source, told in sources.items()]


def columns_read(rule: RuleEntry, example: pa.Table) -> set[str] | None:
    """The columns that a threshold rule asks for, tried on no rows; None when it looks at the table in another way.

    example: a table with every column a rule may ask for.
    """
    asked = _Asked(example.slice(0, 0))
    try:
        registry.load("rule", rule.rule).judge(rule.config, asked)
    except Exception:  # whatever a rule does on no rows, on all columns it will do as always
        return None
    return None if asked.looked_otherwise else asked.names


class _Asked:
    """A table of features that remembers which columns were asked for."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.names: set[str] = set()
        self.looked_otherwise = False

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        self.names.add(name)
        return self._table[name]

    def __len__(self) -> int:
        return len(self._table)

    def __getattr__(self, name: str) -> Any:
        if name != "num_rows":
            self.looked_otherwise = True
        return getattr(self._table, name)
