"""From a plan to the shards of a corpus version (CONTRACTS 7).

The rows of each split stand in the order of their primary occurrence and are cut after a document
whose hash ends in `cut_bits` zero bits, or at `max_shard_bytes`. The cut depends on the documents
alone, so a changed page changes one shard and leaves its neighbours as they were; a chunk equal to
one of the parent version reuses that shard without reading any text.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from datasets_pipeline.edits import EDITS_VERSION, apply_spans, edit_digest
from datasets_pipeline.parallel import Killed, Pool
from ingot.config import ShardLayout
from ingot.crashpoints import crashpoint
from ingot.errors import DataError, IntegrityError
from ingot.manifest import ShardEntry, Split
from ingot.parquet import WRITER_VERSION, read_table, write_table
from ingot.schemas import SCHEMA_VERSION, SHARDS, SPAN
from ingot.storage import Store

PLAN = pa.schema(
    [
        pa.field("doc_id", pa.binary(16), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("licence", pa.string(), nullable=False),
        pa.field("metadata", pa.string(), nullable=False),
        pa.field("spans", pa.list_(SPAN), nullable=False),
        pa.field("num_bytes", pa.int64(), nullable=False),  # of the stored text
        pa.field("unit", pa.string(), nullable=False),  # where the text lies; a place, not identity
        pa.field("row", pa.int64(), nullable=False),
    ]
)


@dataclass(frozen=True)
class ShardUnit:
    """The rows of one shard, for a worker to write."""

    store: Store
    split: Split
    rows: tuple[dict[str, Any], ...]
    list_digest: str


@dataclass(frozen=True)
class WrittenShard:
    """A shard's manifest entry with the content rows of its documents."""

    entry: ShardEntry
    content: tuple[tuple[bytes, str, bytes], ...]
    """(doc_id, split, sha256 of the edited text)."""


def write_shards(
    store: Store,
    plan: pa.Table,
    layout: ShardLayout,
    parent: Mapping[str, ShardEntry],
    pool: Pool,
    *,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> tuple[list[WrittenShard], dict[str, int]]:
    """Write the shards of a plan, in manifest order; returns them with counts of written and reused.

    parent maps list digests of earlier shards to their entries. on_progress is told of documents.
    """
    units = [unit for split in ("train", "heldout") for unit in _chunks(store, plan, split, layout)]
    written: dict[int, WrittenShard] = {}
    missing: list[tuple[int, ShardUnit]] = []
    for index, unit in enumerate(units):
        entry = parent.get(unit.list_digest)
        if entry is not None and store.size(f"shards/{entry.sha256}.parquet") == entry.bytes:
            written[index] = WrittenShard(entry, _content_rows(store, entry))
        else:
            missing.append((index, unit))
    positions = {unit.list_digest: index for index, unit in missing}
    finished, total = 0, sum(len(unit.rows) for _, unit in missing)
    for done in pool.map(write_shard, [unit for _, unit in missing]):
        if isinstance(done, Killed):
            raise DataError(
                f"writing the shard from {done.unit.rows[0]['uri']} killed its worker; give workers more memory "
                "or set shards.max_shard_bytes lower, then run again"
            )
        written[positions[done.unit.list_digest]] = done.result
        finished += len(done.unit.rows)
        if on_progress is not None:
            on_progress("write", finished, total)
    counts = {"shards": len(units), "written": len(missing), "reused": len(units) - len(missing)}
    return [written[index] for index in range(len(units))], counts


def _chunks(store: Store, plan: pa.Table, split: Split, layout: ShardLayout) -> Iterator[ShardUnit]:
    rows = [row for row in plan.to_pylist() if row["split"] == split]
    mask = (1 << layout.cut_bits) - 1
    chunk: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += row["num_bytes"]
        if size >= layout.max_shard_bytes or _hash64(row["doc_id"]) & mask == 0:
            yield _unit(store, split, chunk)
            chunk, size = [], 0
    if chunk:
        yield _unit(store, split, chunk)


def _unit(store: Store, split: Split, rows: Sequence[dict[str, Any]]) -> ShardUnit:
    # The writer's versions are in it: a shard of an older library must not stand in for one of this run.
    versions = (str(SCHEMA_VERSION), WRITER_VERSION, pa.__version__, EDITS_VERSION)
    digest = hashlib.sha256("\t".join([*versions, split]).encode() + b"\n")
    for row in rows:
        # Every column of the shard is in the list: a moved page has the same text but another uri.
        fields = (row["doc_id"].hex(), edit_digest(row["spans"]), row["source"], row["uri"], row["language"],
                  row["licence"], row["metadata"])  # fmt: skip
        digest.update("\x1f".join(fields).encode() + b"\n")
    return ShardUnit(store, split, tuple(rows), digest.hexdigest())


def _hash64(doc_id: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(doc_id, digest_size=8, person=b"ingot-cut").digest(), "little")


def write_shard(unit: ShardUnit) -> WrittenShard:
    """Write one shard; runs in a worker. Raises IntegrityError when a text is not what its id says."""
    texts = _read_texts(unit)
    rows: list[dict[str, Any]] = []
    for row in unit.rows:
        text = apply_spans(texts[row["doc_id"]], row["spans"])
        rows.append(
            {
                "doc_id": row["doc_id"],
                "text": text,
                "text_sha256": hashlib.sha256(text.encode()).digest(),
                "source": row["source"],
                "uri": row["uri"],
                "language": row["language"],
                "licence": row["licence"],
                "parents": [],
                "metadata": row["metadata"],
                "schema_version": SCHEMA_VERSION,
            }
        )
    written = write_table(unit.store, pa.Table.from_pylist(rows, schema=SHARDS), "shards")
    crashpoint("shards.unit.after", written.key)
    entry = ShardEntry(
        sha256=written.sha256,
        split=unit.split,
        rows=len(rows),
        bytes=written.bytes,
        text_bytes=sum(len(row["text"].encode()) for row in rows),
        first_uri=rows[0]["uri"],
        list_digest=unit.list_digest,
    )
    return WrittenShard(entry, tuple((row["doc_id"], unit.split, row["text_sha256"]) for row in rows))


def _read_texts(unit: ShardUnit) -> dict[bytes, str]:
    """The stored text of every row, verified against its id."""
    places: dict[str, list[dict[str, Any]]] = {}
    for row in unit.rows:
        places.setdefault(row["unit"], []).append(row)
    texts: dict[bytes, str] = {}
    for name, rows in places.items():
        table = read_table(unit.store, f"documents/{name}.parquet", columns=["doc_id", "text"])
        picked = table.take(pa.array([row["row"] for row in rows], pa.int64()))
        for row, doc_id, text in zip(rows, picked["doc_id"].to_pylist(), picked["text"].to_pylist(), strict=True):
            if doc_id != row["doc_id"] or hashlib.blake2b(text.encode(), digest_size=16).digest() != doc_id:
                raise IntegrityError(
                    f"documents/{name}.parquet row {row['row']} is not document {row['doc_id'].hex()}; "
                    "delete that unit and its acquisition record, then run again"
                )
            texts[doc_id] = text
    return texts


def _content_rows(store: Store, entry: ShardEntry) -> tuple[tuple[bytes, str, bytes], ...]:
    table = read_table(store, f"shards/{entry.sha256}.parquet", columns=["doc_id", "text_sha256"])
    return tuple(
        (doc_id, entry.split, digest)
        for doc_id, digest in zip(table["doc_id"].to_pylist(), table["text_sha256"].to_pylist(), strict=True)
    )
