"""Exact token counts of a split by source, language, licence, medium and class: index arithmetic, no text read."""

import json
from collections import Counter

import numpy as np

from datasets_pipeline.classification_order import UNKNOWN
from ingot.parquet import read_table
from ingot.refs import TokensRef
from ingot.storage import Store

GROUPS = ("source", "language", "licence", "media_type", "classification")


def count_tokens(store: Store, tokens: TokensRef) -> dict[str, dict[str, int]]:
    """{group: {value: tokens}}; each document's end-of-text token counts as its own. Sums equal num_tokens."""
    counts: dict[str, Counter[str]] = {group: Counter() for group in GROUPS}
    for shard in tokens.shards:
        lengths = np.diff(np.fromfile(store.local_path(shard.idx_key), dtype="<u8").astype(np.int64)).tolist()
        columns = ["source", "language", "licence", "metadata"]
        rows = read_table(store, f"shards/{shard.shard_sha256}.parquet", columns=columns).to_pylist()
        for row, length in zip(rows, lengths, strict=True):
            metadata = json.loads(row["metadata"])
            row["media_type"] = metadata["media_type"]
            row["classification"] = metadata.get("classification", UNKNOWN)
            for group in GROUPS:
                counts[group][row[group]] += length
    return {group: dict(sorted(found.items())) for group, found in counts.items()}
