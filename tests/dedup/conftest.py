"""Real documents with known near-duplicates, and small corpora made on the spot."""

import csv
import gzip
import json
import tarfile
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from datasets_pipeline.dedup import minhash
from datasets_pipeline.dedup.clusters import ORDER_SCHEMA
from datasets_pipeline.dedup.edges import Verify

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "near_duplicates"
# Half of the families: small enough for a few seconds, whole clusters stay together.
MAX_FAMILIES_SHARE = 0.5


@dataclass(frozen=True)
class GroundTruth:
    """Documents, and every pair with exact Jaccard >= 0.5 among them (rows of `texts`)."""

    texts: pa.Array
    doc_ids: pa.Array
    families: list[str]
    versions: list[str]
    languages: list[str]
    clusters_080: np.ndarray
    left: np.ndarray
    right: np.ndarray
    jaccard: np.ndarray


def doc_ids_of(texts: list[str]) -> pa.Array:
    return pa.array([blake2b(text.encode(), digest_size=16).digest() for text in texts], pa.binary(16))


def order_table(num: int, **columns: list) -> pa.Table:
    """An order table in which nothing is preferred, with the named columns replaced."""
    values = {
        "source_rank": [100] * num,
        "stated_date": [None] * num,
        "family": [None] * num,
        "version": [None] * num,
        "language": ["en"] * num,
        "quality": [None] * num,
        "length": [0] * num,
    } | columns
    return pa.table(values, schema=ORDER_SCHEMA)


def verifier(texts: pa.Array) -> Verify:
    """A callback that reads the texts; without a cache."""
    return lambda left, right: minhash.jaccard_pairs(texts, left, right)


@pytest.fixture(scope="session")
def truth() -> GroundTruth:
    if not DATA.is_dir():
        pytest.skip(f"shared data is absent: {DATA} does not exist")
    with tarfile.open(DATA / "docs.tar.xz") as archive:
        member = next(m for m in archive.getmembers() if m.name.endswith("docs.jsonl"))
        documents = [json.loads(line) for line in archive.extractfile(member)]
    documents = [d for d in documents if _drawn(d["family"])]
    row_of = {document["n"]: row for row, document in enumerate(documents)}
    with gzip.open(DATA / "pairs.csv.gz", "rt") as lines:
        pairs = [(int(r["a"]), int(r["b"]), float(r["jaccard"])) for r in csv.DictReader(lines)]
    pairs = [(row_of[a], row_of[b], j) for a, b, j in pairs if a in row_of and b in row_of]
    left, right, jaccard = (np.array(column) for column in zip(*pairs, strict=True))
    return GroundTruth(
        texts=pa.array([d["text"] for d in documents], pa.large_string()),
        # The same text stands at several places in this set, so ids are made of the places.
        doc_ids=doc_ids_of([d["id"] for d in documents]),
        families=[d["family"] for d in documents],
        versions=[d["version"] for d in documents],
        languages=[d["lang"] for d in documents],
        clusters_080=np.array([d["cluster_080"] for d in documents]),
        left=left,
        right=right,
        jaccard=jaccard,
    )


@pytest.fixture(scope="session")
def truth_signatures(truth: GroundTruth) -> np.ndarray:
    return minhash.signatures(truth.texts)


def _drawn(family: str) -> bool:
    return blake2b(family.encode(), digest_size=1).digest()[0] < 256 * MAX_FAMILIES_SHARE


def generated_texts(num: int, seed: int, num_originals: int = 12) -> list[str]:
    """Distinct texts in groups of edits of a few originals, each edit changing up to seven words of 150."""
    random = np.random.default_rng(seed)
    words = [f"word{i}" for i in range(4000)]
    originals = [random.choice(words, 150) for _ in range(num_originals)]
    texts = []
    for i in range(num):
        edited = originals[int(random.integers(num_originals))].copy()
        changes = int(random.integers(0, 8))
        edited[random.integers(0, len(edited), changes)] = random.choice(words, changes)
        texts.append(" ".join(edited) + f" {i}")
    return texts
