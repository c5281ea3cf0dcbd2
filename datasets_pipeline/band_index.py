"""Where bands of signatures are indexed: `history/<signature version>-<bands>x<rows>/`, shared by all corpora.

Segments of (band, key, doc_id), sorted, each of at most 131,072 documents; a cache of a pure function of texts. A run
adds segments for documents that the index does not hold and merges small ones when they have become many. Buckets are
found for one range of keys of one band at a time, in workers, which return ids of shared keys only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datasets_pipeline.analyse import features_key, unpack_signatures
from datasets_pipeline.dedup.bands import BandShape, history_segment
from datasets_pipeline.dedup.edges import Buckets
from datasets_pipeline.dedup.ids import id_array, id_keys
from datasets_pipeline.dedup.minhash import SIGNATURE_VERSION
from datasets_pipeline.dedup.numbers import numbers_where, order_by_group
from datasets_pipeline.judged_parts import Judged
from datasets_pipeline.parallel import Pool, finish_all
from datasets_pipeline.snapshot import OpenUnit
from ingot.errors import NotFoundError
from ingot.parquet import num_rows, read_groups, read_table, write_table
from ingot.schemas import HISTORY
from ingot.storage import Store

_SEGMENT_DOCUMENTS = 1 << 17
# Below half of the most a segment is small; a night adds one.
_MAX_SMALL_SEGMENTS = 16
# Keys of one task, about: 24 bytes each while it works.
_KEYS_PER_TASK = 1 << 21
_KEY_SPACE = 1 << 64


@dataclass(frozen=True)
class SegmentUnit:
    """Documents to index: the units they lie in, with their rows there."""

    store: Store
    shape: BandShape
    places: tuple[tuple[str, np.ndarray], ...] = field(repr=False)


@dataclass(frozen=True)
class MergeUnit:
    """Segments to make one of."""

    store: Store
    prefix: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class BucketUnit:
    """A range of keys [low, high) of one band."""

    store: Store
    keys: tuple[str, ...] = field(repr=False)
    band: int
    low: int
    high: int


def index_prefix(shape: BandShape) -> str:
    """Folder of the band index of a shape."""
    return f"history/{SIGNATURE_VERSION}-{shape.bands}x{shape.rows}"


def index_documents(
    store: Store, shape: BandShape, judged: Judged, units: Sequence[OpenUnit], pool: Pool
) -> tuple[str, ...]:
    """Add what the index does not hold yet, merge what is small; keys of segments that hold all documents.

    Raises NotFoundError when a run beside this one merged segments meanwhile; ask again.
    """
    prefix = index_prefix(shape)
    is_new = _indexed(store, store.list(f"{prefix}/"), judged.doc_id)
    np.logical_not(is_new, out=is_new)
    is_new &= judged.has_words
    new = numbers_where(is_new)
    del is_new
    tasks = (SegmentUnit(store, shape, places) for places in _grouped(judged, units, new))
    for _ in finish_all(pool, write_segment, tasks, "indexing signatures"):
        pass
    _merge_small(store, prefix, shape, pool)
    keys = tuple(store.list(f"{prefix}/"))
    # A folder is not listed in one moment: a segment removed and the one made of it may both be missing in a list.
    if not _indexed(store, keys, judged.doc_id)[judged.has_words].all():
        raise NotFoundError(f"{prefix}/ was listed while its segments were merged; run again")
    return keys


def write_segment(unit: SegmentUnit) -> None:
    """Index some documents; runs in a worker."""
    ids, signatures = [], []
    for name, rows in unit.places:
        table = read_table(unit.store, features_key(name), columns=["doc_id", "signature"]).take(pa.array(rows))
        ids.append(table["doc_id"].combine_chunks())
        signatures.append(unpack_signatures(table["signature"]))
    segment = history_segment(pa.concat_arrays(ids), np.concatenate(signatures), unit.shape)
    write_table(unit.store, segment.cast(HISTORY), index_prefix(unit.shape))


def merge_segments(unit: MergeUnit) -> None:
    """Make one segment of several, then remove them; runs in a worker."""
    try:
        table = pa.concat_tables([read_table(unit.store, key) for key in unit.keys])
    except NotFoundError:  # a run beside this one merges them
        return
    ids = id_keys(table["doc_id"])
    band, key = table["band"].to_numpy(), table["key"].to_numpy()
    order = np.lexsort((ids, key, band))
    band, key, ids = band[order], key[order], ids[order]
    once = np.ones(len(ids), bool)
    once[1:] = (band[1:] != band[:-1]) | (key[1:] != key[:-1]) | (ids[1:] != ids[:-1])
    columns = [pa.array(band[once]), pa.array(key[once]), id_array(ids[once])]
    merged = write_table(unit.store, pa.table(columns, schema=HISTORY), unit.prefix)
    for old in unit.keys:
        if old != merged.key:
            unit.store.delete(old)


def buckets(
    store: Store, shape: BandShape, keys: tuple[str, ...], judged: Judged, eligible: np.ndarray, pool: Pool
) -> Iterator[Buckets]:
    """Buckets of the eligible documents, members being their numbers; each range of keys once."""
    rows = sum(num_rows(store, key) for key in keys)
    ranges = max(1, -(-rows // (shape.bands * _KEYS_PER_TASK)))
    bounds = [_KEY_SPACE * i // ranges for i in range(ranges + 1)]
    tasks = [
        BucketUnit(store, keys, band, low, high)
        for band in range(shape.bands)
        for low, high in zip(bounds, bounds[1:], strict=False)
    ]
    for _, (sizes, found) in finish_all(pool, shared_keys, tasks, "looking for shared bands"):
        ids = np.frombuffer(found, "S16")
        label = np.repeat(np.arange(len(sizes)), sizes)
        at = np.minimum(np.searchsorted(judged.doc_id, ids), len(judged.doc_id) - 1)
        inside = (judged.doc_id[at] == ids) & eligible[at]
        label, member = label[inside], at[inside]
        shared = np.bincount(label, minlength=1)[label] > 1
        yield Buckets(label[shared], member[shared])


def shared_keys(unit: BucketUnit) -> tuple[np.ndarray, bytes]:
    """(sizes int32 of the buckets with two documents or more, their ids sorted in each); runs in a worker."""

    def may_hold(group: pq.RowGroupMetaData) -> bool:
        band, key = group.column(0).statistics, group.column(1).statistics
        if band.min > unit.band or band.max < unit.band:
            return False
        return band.min != band.max or not (key.min >= unit.high or key.max < unit.low)

    found_keys, found_ids = [np.empty(0, np.uint64)], [np.empty(0, "S16")]
    for segment in unit.keys:
        table = read_groups(unit.store, segment, ["band", "key", "doc_id"], may_hold)
        key = table["key"].to_numpy()
        mine = (table["band"].to_numpy() == unit.band) & (key >= np.uint64(unit.low))
        mine &= key <= np.uint64(unit.high - 1)
        found_keys.append(key[mine])
        found_ids.append(id_keys(table["doc_id"])[mine])
    key = np.concatenate(found_keys)
    ids = np.concatenate(found_ids)
    if len(key) == 0:  # no document has a word
        return np.empty(0, np.int32), b""
    order = np.argsort(key, kind="stable")
    key = key[order]
    same = key[1:] == key[:-1]
    shared = np.r_[False, same] | np.r_[same, False]
    key, ids = key[shared], ids[order[shared]]
    order = np.lexsort((ids, key))
    key, ids = key[order], ids[order]
    # Two runs at the same time may each have added a document: it is one member of its bucket.
    once = np.ones(len(key), bool)
    once[1:] = (key[1:] != key[:-1]) | (ids[1:] != ids[:-1])
    key, ids = key[once], ids[once]
    starts = np.flatnonzero(np.r_[np.ones(min(len(key), 1), bool), key[1:] != key[:-1]])
    return np.diff(np.r_[starts, len(key)]).astype(np.int32), ids.tobytes()


def _indexed(store: Store, keys: Sequence[str], doc_ids: np.ndarray) -> np.ndarray:
    """bool [n]: which of some documents (S16, ascending) segments hold, one segment in memory at a time.

    Each document has one key in every band, so the first band tells.
    """
    found = np.zeros(len(doc_ids), bool)
    if len(doc_ids) == 0:
        return found
    for key in keys:
        table = read_groups(store, key, ["band", "doc_id"], lambda group: group.column(0).statistics.min == 0)
        ids = id_keys(table.filter(pc.equal(table["band"], 0))["doc_id"])
        at = np.minimum(np.searchsorted(doc_ids, ids), len(doc_ids) - 1)
        found[at[doc_ids[at] == ids]] = True
    return found


def _grouped(
    judged: Judged, units: Sequence[OpenUnit], new: np.ndarray
) -> Iterator[tuple[tuple[str, np.ndarray], ...]]:
    """Documents by unit, about as many in each group as a segment holds."""
    group: list[tuple[str, np.ndarray]] = []
    size = 0
    for number, members in by_unit(judged, new):
        rows = judged.row[members]
        for start in range(0, len(rows), _SEGMENT_DOCUMENTS):
            piece = rows[start : start + _SEGMENT_DOCUMENTS]
            if group and size + len(piece) > _SEGMENT_DOCUMENTS:
                yield tuple(group)
                group, size = [], 0
            group.append((units[number].unit, piece))
            size += len(piece)
    if group:
        yield tuple(group)


def by_unit(judged: Judged, documents: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(number of a unit, the documents whose primary occurrence lies in it), ascending."""
    place = judged.place[documents]
    order, starts = order_by_group(place, int(place.max(initial=-1)) + 1)
    del place
    for number in np.flatnonzero(np.diff(starts)).tolist():
        yield number, documents[order[starts[number] : starts[number + 1]]]


def _merge_small(store: Store, prefix: str, shape: BandShape, pool: Pool) -> None:
    most = _SEGMENT_DOCUMENTS * shape.bands
    sizes = {key: num_rows(store, key) for key in store.list(f"{prefix}/")}
    small = sorted((key for key, size in sizes.items() if size < most // 2), key=lambda key: (sizes[key], key))
    if len(small) <= _MAX_SMALL_SEGMENTS:
        return
    groups: list[list[str]] = [[]]
    total = 0
    for key in small:
        if groups[-1] and total + sizes[key] > most:
            groups.append([])
            total = 0
        groups[-1].append(key)
        total += sizes[key]
    tasks = [MergeUnit(store, prefix, tuple(group)) for group in groups if len(group) > 1]
    for _ in finish_all(pool, merge_segments, tasks, "merging segments of the index"):
        pass


