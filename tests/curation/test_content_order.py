"""The content of a version in order, whatever order its shards come in."""

import hashlib
import random
from pathlib import Path

import numpy as np

from datasets_pipeline.content_order import ContentOrder


def test_documents_come_back_sorted_by_id_with_their_split_and_digest(tmp_path: Path) -> None:
    drawn = random.Random(3)
    rows = [(drawn.randbytes(16), drawn.choice(("train", "heldout")), drawn.randbytes(32)) for _ in range(5000)]
    # Ids and digests may end in zero bytes, which numpy's S16 hides.
    rows += [(bytes([high]) + bytes(15), "train", hashlib.sha256(b"x").digest()[:31] + b"\0") for high in range(256)]
    content = ContentOrder(tmp_path)
    for split in ("heldout", "train"):
        mine = [row for row in rows if row[1] == split]
        drawn.shuffle(mine)
        for first in range(0, len(mine), 700):
            piece = mine[first : first + 700]
            content.add(split, np.array([r[0] for r in piece], "S16"), np.array([r[2] for r in piece], "S32"))
    assert list(content.rows()) == sorted(rows)


def test_nothing_is_nothing(tmp_path: Path) -> None:
    assert list(ContentOrder(tmp_path).rows()) == []
