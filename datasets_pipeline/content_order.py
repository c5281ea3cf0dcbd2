"""What a version's content digest is made of, in the order of doc_ids, on local disk while shards are being written.

A row is a document's id, the digest of its edited text and its split: 49 bytes, in one of 16 files by the first digit
of the id, so that one file at a time is sorted in memory.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ingot.manifest import Split

_FILES = 16
_ROW = np.dtype([("doc_id", "V16"), ("text_sha256", "V32"), ("split", "u1")])
_SPLITS: tuple[Split, ...] = ("train", "heldout")


class ContentOrder:
    """Rows as they come, read in order at the end."""

    def __init__(self, folder: Path) -> None:
        self._paths = [folder / f"content-{number:x}" for number in range(_FILES)]

    def add(self, split: Split, doc_id: np.ndarray, text_sha256: np.ndarray) -> None:
        """The documents of one shard: S16 and S32, [n] each."""
        rows = np.empty(len(doc_id), _ROW)
        rows["doc_id"], rows["text_sha256"] = doc_id.view("V16"), text_sha256.view("V32")
        rows["split"] = _SPLITS.index(split)
        first_digit = doc_id.view(np.uint8).reshape(-1, 16)[:, 0] >> 4
        for number in np.unique(first_digit).tolist():
            with open(self._paths[number], "ab") as file:
                file.write(rows[first_digit == number].tobytes())

    def rows(self) -> Iterator[tuple[bytes, str, bytes]]:
        """(doc_id, split, SHA-256 of the edited text) of all documents, ascending by doc_id."""
        for path in self._paths:
            data = path.read_bytes() if path.exists() else b""
            starts = range(0, len(data), _ROW.itemsize)
            for row in sorted(data[start : start + _ROW.itemsize] for start in starts):
                yield row[:16], _SPLITS[row[48]], row[16:48]
