"""doc_ids as numbers: the order of their 16 bytes, and draws from a keyed hash of them."""

import numpy as np
import pyarrow as pa

from ingot.errors import DataError

DOC_ID_BYTES = 16


def id_words(doc_ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """uint64 [n, 2]: each doc_id as two big-endian words, so that row order is byte order.

    Raises DataError when the column is not binary(16) or holds a null.
    """
    if doc_ids.type != pa.binary(DOC_ID_BYTES) or doc_ids.null_count:
        raise DataError(
            f"dedup: doc_ids are {doc_ids.type} with {doc_ids.null_count} nulls; pass a column of"
            f" fixed_size_binary[{DOC_ID_BYTES}] without nulls"
        )
    if isinstance(doc_ids, pa.ChunkedArray):
        doc_ids = doc_ids.combine_chunks()
    data = doc_ids.buffers()[1]
    if data is None or len(doc_ids) == 0:
        return np.empty((0, 2), dtype=np.uint64)
    words = np.frombuffer(data, dtype=">u8", count=2 * len(doc_ids), offset=DOC_ID_BYTES * doc_ids.offset)
    return words.reshape(-1, 2).astype(np.uint64)


def order_by_id(doc_ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """int64 [n]: positions of the documents in ascending order of doc_id.

    Raises DataError when a doc_id comes twice: exact copies are collapsed before.
    """
    words = id_words(doc_ids)
    order = np.lexsort((words[:, 1], words[:, 0]))
    in_order = words[order]
    repeated = (in_order[1:] == in_order[:-1]).all(axis=1)
    if repeated.any():
        first = in_order[int(np.argmax(repeated))]
        raise DataError(
            f"dedup: {int(repeated.sum())} doc_ids come more than once, the first is"
            f" {int(first[0]):016x}{int(first[1]):016x}; collapse exact copies before near-duplicates"
        )
    return order.astype(np.int64)


def inverse(order: np.ndarray) -> np.ndarray:
    """The inverse permutation: inverse(order)[order[i]] == i."""
    positions = np.empty(len(order), dtype=np.int64)
    positions[order] = np.arange(len(order), dtype=np.int64)
    return positions


def id_keys(doc_ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Document ids as numpy S16, which compares like the 16 bytes do."""
    array = doc_ids.combine_chunks() if isinstance(doc_ids, pa.ChunkedArray) else doc_ids
    if len(array) == 0:
        return np.empty(0, dtype="S16")
    return np.frombuffer(array.buffers()[1], "S16", count=array.offset + len(array))[array.offset :]


def id_array(keys: np.ndarray) -> pa.Array:
    """The inverse of `id_keys`."""
    data = pa.py_buffer(np.ascontiguousarray(keys).tobytes())
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(keys), [None, data])


def id_bytes(keys: np.ndarray) -> list[bytes]:
    """Document ids as bytes; numpy's own conversion drops zero bytes at the end."""
    data = np.ascontiguousarray(keys).tobytes()
    return [data[i : i + 16] for i in range(0, len(data), 16)]
