"""Near-duplicates of the shared documentation, whose similar pairs are all known: what bands find, what clusters say.

    python benchmarks/near_duplicates.py [--raw] [--peer PYTHON]

For each threshold the shape that the formula gives: the share of the pairs at or above it that share a band (before
verification), pairs compared, the adjusted Rand index of clusters against the known ones, seconds of processor time.
`--raw` runs the same shapes over the files of `raw_documents` that are text; there the pairs are those that a much
denser shape finds. `--peer` runs datatrove's MinHash with its own settings on the same documents, in a Python that has
datatrove 0.10.1, xxhash<4 and spaCy.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from datasets_pipeline.dedup import minhash
from datasets_pipeline.dedup.bands import BandShape, band_keys, band_shape
from datasets_pipeline.dedup.clusters import connected_components
from datasets_pipeline.dedup.edges import PairScores, buckets_from_keys, score_stars

DATA = Path(__file__).parents[2] / "shared" / "data"
_PEER = """
import sys
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets, MinhashDedupCluster
from datatrove.pipeline.readers import JsonlReader
from datatrove.utils.typeshelper import Languages
folder, config = sys.argv[1], MinhashConfig()
def run(*steps):
    LocalPipelineExecutor(list(steps), tasks=1, workers=1, logging_dir=folder + "/logs").run()
if __name__ == "__main__":
    run(JsonlReader(folder + "/in", text_key="text", id_key="n"),
        MinhashDedupSignature(folder + "/signatures", config=config, language=Languages.english))
    LocalPipelineExecutor([MinhashDedupBuckets(folder + "/signatures", folder + "/buckets", config=config)],
                          tasks=config.num_buckets, workers=1, logging_dir=folder + "/logs").run()
    run(MinhashDedupCluster(folder + "/buckets", folder + "/remove", config=config, save_cluster_id=True))
"""


def main() -> None:
    """Measure ours, and on request the peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", action="store_true", help="also cluster the texts of raw_documents")
    parser.add_argument("--peer", type=Path, help="a Python with datatrove")
    options = parser.parse_args()
    documents, pairs = known()
    texts = pa.array([document["text"] for document in documents], pa.large_string())
    begun = time.process_time()
    signatures = minhash.signatures(texts)
    num_bytes = sum(len(document["text"].encode()) for document in documents)
    print(f"{len(documents):,} documents, {num_bytes / 1e6:.1f} MB, signatures {time.process_time() - begun:.1f} s")
    for threshold, column in ((0.8, "cluster_080"), (0.7, "cluster_070")):
        shape = band_shape(threshold)
        recall = candidate_recall(signatures, pairs, threshold, shape)
        labels, found = clusters(texts, signatures, threshold, shape)
        truth = np.array([document[column] for document in documents])
        print(f"threshold {threshold}: {shape.bands} x {shape.rows}, candidate recall {recall:.4f}, "
              f"adjusted Rand index with {column} {adjusted_rand_index(labels, truth):.4f}; {found}")  # fmt: skip
    if options.raw:
        raw()
    if options.peer:
        peer(options.peer, documents, pairs)


def known() -> tuple[list[dict[str, Any]], np.ndarray]:
    """(documents by number, known pairs as rows of (a, b, jaccard))."""
    with tarfile.open(DATA / "near_duplicates" / "docs.tar.xz") as archive:
        member = archive.extractfile("docs.jsonl")
        assert member is not None
        documents = sorted((json.loads(line) for line in member), key=lambda document: document["n"])
    position = {document["n"]: row for row, document in enumerate(documents)}
    with gzip.open(DATA / "near_duplicates" / "pairs.csv.gz", "rt") as lines:
        next(lines)
        rows = [line.split(",")[:3] for line in lines]
    pairs = [(position[int(a)], position[int(b)], float(jaccard)) for a, b, jaccard in rows]
    return documents, np.array(pairs)


def candidate_recall(signatures: np.ndarray, pairs: np.ndarray, threshold: float, shape: BandShape) -> float:
    """Share of the known pairs at or above the threshold that share a band."""
    left, right = pairs[pairs[:, 2] >= threshold, :2].astype(np.int64).T
    keys = band_keys(signatures, shape)
    return float((keys[left] == keys[right]).any(axis=1).mean())


def clusters(
    texts: pa.Array, signatures: np.ndarray, threshold: float, shape: BandShape
) -> tuple[np.ndarray, str]:
    """(cluster of each document, what it took): bands, verified stars, components."""
    read: set[int] = set()

    def verify(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        read.update(left.tolist(), right.tolist())
        return minhash.jaccard_pairs(texts, left, right)

    begun = time.process_time()
    rows = np.flatnonzero(minhash.has_shingles(signatures))
    scores = PairScores(len(texts), verify)
    score_stars([buckets_from_keys(band_keys(signatures[rows], shape), rows)], scores, threshold=threshold)
    scored = scores.pairs()
    edges = scored.at_least(threshold)
    labels = connected_components(len(texts), edges.left, edges.right)
    num_bytes = sum(len(texts[row].as_buffer()) for row in read)
    took = (f"{len(scored):,} pairs verified, {len(edges):,} of them near-duplicates, {num_bytes / 1e6:.1f} MB of text "
            f"read for it, {time.process_time() - begun:.1f} s")  # fmt: skip
    return labels, took


def adjusted_rand_index(found: np.ndarray, truth: np.ndarray) -> float:
    """Hubert and Arabie 1985: 1 for equal partitions, about 0 for unrelated ones."""

    def pairs_in(counts: "Counter[Any]") -> float:
        return sum(num * (num - 1) / 2 for num in counts.values())

    together = pairs_in(Counter(zip(found.tolist(), truth.tolist(), strict=True)))
    a, b = pairs_in(Counter(found.tolist())), pairs_in(Counter(truth.tolist()))
    expected = a * b / (len(found) * (len(found) - 1) / 2)
    return (together - expected) / ((a + b) / 2 - expected)


def raw() -> None:
    """The same shapes over what is text in raw_documents: recall is against all pairs of buckets of a denser shape."""
    texts = pa.array(sorted(set(_raw_texts())), pa.large_string())
    signatures = minhash.signatures(texts)
    print(f"raw_documents: {len(texts):,} distinct texts")
    dense = BandShape(37, 3)
    for threshold in (0.8, 0.7):
        shape = band_shape(threshold)
        pairs = _pairs_of(signatures, dense)
        estimate = minhash.estimate_jaccard_pairs(signatures, pairs[:, 0], pairs[:, 1])
        close = pairs[estimate >= threshold - 0.15]
        jaccard = minhash.jaccard_pairs(texts, close[:, 0], close[:, 1])
        recall = candidate_recall(signatures, np.column_stack([close, jaccard]), threshold, shape)
        _, found = clusters(texts, signatures, threshold, shape)
        num = int((jaccard >= threshold).sum())
        print(f"  threshold {threshold}: {shape.bands} x {shape.rows}, candidate recall {recall:.4f} of {num:,} pairs; "
              f"{found}")  # fmt: skip


def _raw_texts() -> list[str]:
    texts = []
    for path in sorted((DATA / "raw_documents").glob("*.tar.xz")):
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and member.name.endswith((".md", ".html", ".txt", ".rst", ".adoc", ".asciidoc")):
                    file = archive.extractfile(member)
                    assert file is not None
                    texts.append(file.read().decode("utf-8", "replace"))
    return texts


def _pairs_of(signatures: np.ndarray, shape: BandShape) -> np.ndarray:
    """int64 [p, 2]: all pairs of documents that share a band, at most 2,000 to a bucket."""
    found: set[tuple[int, int]] = set()
    keys = band_keys(signatures, shape)
    for band in range(shape.bands):
        members: dict[int, list[int]] = defaultdict(list)
        for row, key in enumerate(keys[:, band].tolist()):
            members[key].append(row)
        for rows in members.values():
            found.update((a, b) for i, a in enumerate(rows[:64]) for b in rows[i + 1 : 64])
    return np.array(sorted(found), np.int64).reshape(-1, 2)


def peer(python: Path, documents: list[dict[str, Any]], pairs: np.ndarray) -> None:
    """datatrove's MinHash with its own settings (14 x 8, no verification) on the same documents."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "in").mkdir()
        with open(folder / "in" / "docs.jsonl", "w") as file:
            for row, document in enumerate(documents):
                file.write(json.dumps({"n": str(row), "text": document["text"]}) + "\n")
        (folder / "peer.py").write_text(_PEER)
        begun = time.perf_counter()
        children = subprocess.run([str(python), str(folder / "peer.py"), scratch], capture_output=True, text=True)
        seconds = time.perf_counter() - begun
        if children.returncode != 0:
            sys.exit(f"the peer failed: {children.stderr[-2000:]}")
        labels = np.arange(len(documents))
        for path in sorted((folder / "remove").rglob("*.clusters")):
            table = np.frombuffer(path.read_bytes(), np.dtype([("row", "<u4"), ("cluster", "<u4")]))
            labels[table["row"]] = len(documents) + table["cluster"].astype(np.int64)
    truth = np.array([document["cluster_080"] for document in documents])
    left, right = pairs[pairs[:, 2] >= 0.8, :2].astype(np.int64).T
    print(f"datatrove 0.10.1, 14 x 8: adjusted Rand index with cluster_080 {adjusted_rand_index(labels, truth):.4f}, "
          f"pairs at or above 0.8 in one cluster {float((labels[left] == labels[right]).mean()):.4f}; "
          f"{seconds:.0f} s of wall time")  # fmt: skip


if __name__ == "__main__":
    main()
