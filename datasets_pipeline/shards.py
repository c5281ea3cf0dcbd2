"""From a plan to the shards of a corpus version (CONTRACTS 7).

The rows of each split stand in the order of their primary occurrence and are cut after a document
whose hash ends in `cut_bits` zero bits, or at `max_shard_bytes`. The cut depends on the documents
alone, so a changed page changes one shard and leaves its neighbours as they were; a chunk equal to
one of the parent version reuses that shard without reading any text.

Workers read the plan, write shards and return ids and digests, which this process passes on.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline.content_order import ContentOrder
from datasets_pipeline.dedup.ids import id_keys
from datasets_pipeline.edits import EDITS_VERSION, apply_spans, edit_digest
from datasets_pipeline.parallel import Killed, Pool, finish_all
from ingot.config import ShardLayout
from ingot.crashpoints import crashpoint
from ingot.errors import DataError, IntegrityError
from ingot.manifest import ShardEntry, Split
from ingot.parquet import WRITER_VERSION, read_table, write_table
from ingot.refs import ObjectRef
from ingot.schemas import SCHEMA_VERSION, SHARDS
from ingot.storage import Store

_SPLITS: tuple[Split, ...] = ("train", "heldout")


@dataclass(frozen=True)
class OutlineUnit:
    """One object of the plan, to be looked at for cuts."""

    store: Store
    number: int
    key: str
    mask: int


@dataclass(frozen=True)
class ShardUnit:
    """The rows of one shard: of each object of the plan, the rows of the split from the first to before the last."""

    store: Store
    number: int
    split: Split
    pieces: tuple[tuple[str, int, int], ...]
    num_rows: int
    list_digest: str = ""


@dataclass(frozen=True)
class WrittenShard:
    """A shard's manifest entry with the content of its documents."""

    entry: ShardEntry
    doc_id: np.ndarray = field(repr=False)
    """S16 [n]"""
    text_sha256: np.ndarray = field(repr=False)
    """S32 [n], of the edited text."""


def write_shards(
    store: Store,
    plan: Sequence[ObjectRef],
    layout: ShardLayout,
    parent: Mapping[str, ShardEntry],
    pool: Pool,
    content: ContentOrder,
    *,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> tuple[list[ShardEntry], dict[str, int]]:
    """Write the shards of a plan; returns their entries in manifest order, with counts of written and reused.

    parent maps list digests of earlier shards to their entries. content is told of every document, on_progress of
    documents written.
    """
    units = _cut(store, plan, layout, pool)
    digests = [""] * len(units)
    for unit, digest in finish_all(pool, list_digest, units, "looking for shards that are there already"):
        digests[unit.number] = digest
    units = [ShardUnit(u.store, u.number, u.split, u.pieces, u.num_rows, digests[u.number]) for u in units]
    entries: dict[int, ShardEntry] = {}
    missing: list[ShardUnit] = []
    for unit in units:
        entry = parent.get(unit.list_digest)
        if entry is not None and store.size(f"shards/{entry.sha256}.parquet") == entry.bytes:
            entries[unit.number] = entry
            content.add(entry.split, *_content_of(store, entry))
        else:
            missing.append(unit)
    finished, total = 0, sum(unit.num_rows for unit in missing)
    for done in pool.map(write_shard, missing):
        if isinstance(done, Killed):
            raise DataError(
                f"writing shard {done.unit.number} of {len(units)} killed its worker; give workers more memory "
                "or set shards.max_shard_bytes lower, then run again"
            )
        found: WrittenShard = done.result
        entries[done.unit.number] = found.entry
        content.add(found.entry.split, found.doc_id, found.text_sha256)
        finished += done.unit.num_rows
        if on_progress is not None:
            on_progress("write", finished, total)
    counts = {"shards": len(units), "written": len(missing), "reused": len(units) - len(missing)}
    return [entries[number] for number in range(len(units))], counts


def _cut(store: Store, plan: Sequence[ObjectRef], layout: ShardLayout, pool: Pool) -> list[ShardUnit]:
    """The shards of the training split, then those held out."""
    mask = (1 << layout.cut_bits) - 1
    tasks = [OutlineUnit(store, number, part.key, mask) for number, part in enumerate(plan)]
    outlines: list[Any] = [None] * len(plan)
    for task, found in finish_all(pool, outline, tasks, "reading the plan"):
        outlines[task.number] = found
    units: list[ShardUnit] = []
    for split in _SPLITS:
        pieces: list[tuple[str, int, int]] = []
        size = num_rows = 0
        for part, (splits, sizes, cuts) in zip(plan, outlines, strict=True):
            start = rows_here = 0
            rows = np.flatnonzero(splits == _SPLITS.index(split))
            for row, num_bytes, is_cut in zip(rows.tolist(), sizes[rows].tolist(), cuts[rows].tolist(), strict=True):
                size += num_bytes
                rows_here += 1
                if is_cut or size >= layout.max_shard_bytes:
                    pieces.append((part.key, start, row + 1))
                    units.append(ShardUnit(store, len(units), split, tuple(pieces), num_rows + rows_here))
                    pieces, size, num_rows, start, rows_here = [], 0, 0, row + 1, 0
            if rows_here:
                pieces.append((part.key, start, len(splits)))
                num_rows += rows_here
        if pieces:
            units.append(ShardUnit(store, len(units), split, tuple(pieces), num_rows))
    return units


def outline(unit: OutlineUnit) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(split int8 into _SPLITS, bytes of stored text int64, whether a shard ends there bool) of each row."""
    table = read_table(unit.store, unit.key, columns=["doc_id", "split", "num_bytes"])
    split = pc.index_in(table["split"], value_set=pa.array(_SPLITS)).to_numpy().astype(np.int8)
    cuts = np.array([_hash64(doc_id) & unit.mask == 0 for doc_id in table["doc_id"].to_pylist()], bool)
    return split, table["num_bytes"].to_numpy(), cuts


def _rows_of(unit: ShardUnit) -> pa.Table:
    parts = [_plan_part(unit.store, key).slice(start, stop - start) for key, start, stop in unit.pieces]
    table = pa.concat_tables(parts)
    return table.filter(pc.equal(table["split"], unit.split))


@lru_cache(maxsize=1)
def _plan_part(store: Store, key: str) -> pa.Table:
    return read_table(store, key)


def list_digest(unit: ShardUnit) -> str:
    """Digest of every column of a shard's rows, the text by its id and its edits; runs in a worker."""
    # The writer's versions are in it: a shard of an older library must not stand in for one of this run.
    versions = (str(SCHEMA_VERSION), WRITER_VERSION, pa.__version__, EDITS_VERSION)
    digest = hashlib.sha256("\t".join([*versions, unit.split]).encode() + b"\n")
    rows = _rows_of(unit)
    # Every column of the shard is in the list: a moved page has the same text but another uri.
    columns = [rows[name].to_pylist() for name in ("source", "uri", "language", "licence", "metadata")]
    for doc_id, spans, *fields in zip(rows["doc_id"].to_pylist(), rows["spans"].to_pylist(), *columns, strict=True):
        digest.update("\x1f".join((doc_id.hex(), edit_digest(spans), *fields)).encode() + b"\n")
    return digest.hexdigest()


def _hash64(doc_id: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(doc_id, digest_size=8, person=b"ingot-cut").digest(), "little")


def write_shard(unit: ShardUnit) -> WrittenShard:
    """Write one shard; runs in a worker. Raises IntegrityError when a text is not what its id says."""
    rows = _rows_of(unit).combine_chunks()
    texts, digests, num_bytes = _texts(unit.store, rows)
    table = pa.table(
        {
            "doc_id": rows["doc_id"],
            "text": texts,
            "text_sha256": pa.array(digests, pa.binary(32)),
            "source": rows["source"],
            "uri": rows["uri"],
            "language": rows["language"],
            "licence": rows["licence"],
            "parents": pa.array([[]] * len(rows), SHARDS.field("parents").type),
            "metadata": rows["metadata"],
            "schema_version": pa.repeat(pa.scalar(SCHEMA_VERSION, pa.int16()), len(rows)),
        },
        schema=SHARDS,
    )
    written = write_table(unit.store, table, "shards")
    crashpoint("shards.unit.after", written.key)
    entry = ShardEntry(
        sha256=written.sha256,
        split=unit.split,
        rows=len(rows),
        bytes=written.bytes,
        text_bytes=num_bytes,
        first_uri=rows["uri"][0].as_py(),
        list_digest=unit.list_digest,
    )
    return WrittenShard(entry, id_keys(rows["doc_id"]).copy(), np.array(digests, "S32"))


def _texts(store: Store, rows: pa.Table) -> tuple[pa.Array, list[bytes], int]:
    """(edited text of each row, its SHA-256, bytes of all); the stored text is verified against its id first."""
    places = rows["unit"].combine_chunks().dictionary_encode()
    code, at, wanted = places.indices.to_numpy(), rows["row"].to_numpy(), rows["doc_id"].to_pylist()
    spans = rows["spans"].combine_chunks()
    has_spans = pc.greater(pc.list_value_length(spans), 0).to_numpy(zero_copy_only=False)
    parts: list[pa.Array] = []
    members_of_parts: list[np.ndarray] = []
    digests: list[bytes] = [b""] * len(rows)
    num_bytes = 0
    for number, name in enumerate(places.dictionary.to_pylist()):
        members = np.flatnonzero(code == number)
        table = read_table(store, f"documents/{name}.parquet", columns=["doc_id", "text"])
        picked = table.take(pa.array(at[members], pa.int64()))
        edited: list[str] = []
        for row, doc_id, text in zip(members.tolist(), picked["doc_id"].to_pylist(), picked["text"], strict=True):
            data = bytes(text.as_buffer())
            if doc_id != wanted[row] or hashlib.blake2b(data, digest_size=16).digest() != doc_id:
                raise IntegrityError(
                    f"documents/{name}.parquet row {at[row]} is not document {wanted[row].hex()}; "
                    "delete that unit and its acquisition record, then run again"
                )
            if has_spans[row]:
                edited.append(apply_spans(data.decode(), spans[row].as_py()))
                data = edited[-1].encode()
            digests[row] = hashlib.sha256(data).digest()
            num_bytes += len(data)
        column = picked["text"].combine_chunks()
        if edited:
            mask = pa.array(has_spans[members])
            column = pc.replace_with_mask(column, mask, pa.array(edited, pa.large_string()))
        parts.append(column)
        members_of_parts.append(members)
        del table, picked, column
    found = np.concatenate(members_of_parts)
    texts = pa.chunked_array(parts)
    if not (found[1:] > found[:-1]).all():  # else the units follow each other as the rows do
        order = np.empty(len(rows), np.int64)
        order[found] = np.arange(len(rows))
        texts = texts.take(pa.array(order))
    del parts
    return texts.combine_chunks(), digests, num_bytes


def _content_of(store: Store, entry: ShardEntry) -> tuple[np.ndarray, np.ndarray]:
    """(doc_id S16, SHA-256 of the edited text S32) of a shard's documents."""
    table = read_table(store, f"shards/{entry.sha256}.parquet", columns=["doc_id", "text_sha256"])
    digests = table["text_sha256"].combine_chunks()
    data = np.frombuffer(digests.buffers()[1], "S32", count=digests.offset + len(digests))[digests.offset :]
    return id_keys(table["doc_id"]), data
