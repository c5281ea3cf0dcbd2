"""MinHash signatures of 112 permutations, MB of text per second and core, beside other tools with --peer-python.

    python -m venv /tmp/peer
    /tmp/peer/bin/pip install datatrove==0.10.1 spacy tokenizers regex rensa datasketch text-dedup 'xxhash<4'
    python benchmarks/minhash.py --peer-python /tmp/peer/bin/python [--rounds 7] [--megabytes 8]

Each tool signs the same English documents from word 5-grams, as its documentation shows it and at its best: datatrove
with `str.split` in place of spaCy; rensa fed with 64-bit hashes made of one hash a word; datasketch and text-dedup
with xxHash instead of SHA-1. The peers get a part of the documents, since they are slower. Processor time; medians of
interleaved rounds. Last, how fast exact similarity is.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from near_duplicates import DOCUMENTS, Peer, labelled_texts, num_megabytes

from datasets_pipeline.dedup import minhash

_PEER = r"""
import json, re, sys, tempfile, time
from importlib.metadata import version
texts = json.loads(sys.stdin.readline())
import datasketch, numpy as np, rensa, xxhash
from datatrove.pipeline.dedup import minhash as trove
from text_dedup.minhash import embed_func
from text_dedup.utils import sha1_hash
PERMUTATIONS = 112

def trove_stage(load=None):
    shipped = trove.load_word_tokenizer
    if load is not None:
        trove.load_word_tokenizer = load
    stage = trove.MinhashDedupSignature(output_folder=tempfile.mkdtemp(), config=trove.MinhashConfig(num_buckets=14))
    trove.load_word_tokenizer = shipped
    return lambda: [stage.get_signature(stage.get_shingles(text)) for text in texts]

class Split:
    word_tokenize = staticmethod(str.split)

def ngrams(text):
    words = text.lower().split()
    return [" ".join(words[at : at + 5]) for at in range(max(1, len(words) - 4))]

def rensa_strings():
    for text in texts:
        sketch = rensa.RMinHash(num_perm=PERMUTATIONS, seed=42)
        sketch.update(ngrams(text))
        sketch.digest()

WEIGHTS = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F],
                   dtype=np.uint64)

def rensa_hashes():
    rows, bounds = [], [0]
    for text in texts:
        words = [xxhash.xxh64_intdigest(word) for word in text.lower().split()]
        hashes = np.array(words + [0] * max(0, 5 - len(words)), dtype=np.uint64)
        rows.append(sum(hashes[k : len(hashes) - 4 + k] * WEIGHTS[k] for k in range(5)))
        bounds.append(bounds[-1] + len(rows[-1]))
    rensa.RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate(rows), bounds, PERMUTATIONS, 42)

def sketch_updates():
    for text in texts:
        sketch = datasketch.MinHash(num_perm=PERMUTATIONS)
        for gram in ngrams(text):
            sketch.update(gram.encode())

def sketch_bulk():
    grams = ([gram.encode() for gram in ngrams(text)] for text in texts)
    datasketch.MinHash.bulk(grams, num_perm=PERMUTATIONS, hashfunc=xxhash.xxh32_intdigest)

def text_dedup(hash_func, dtype, prime, max_hash):
    random = np.random.RandomState(42)
    permutations = (random.randint(1, prime, size=PERMUTATIONS, dtype=dtype),
                    random.randint(0, prime, size=PERMUTATIONS, dtype=dtype))
    def run():
        for number, text in enumerate(texts):
            embed_func(text, number, num_perm=PERMUTATIONS, ngram_size=5, min_length=5,
                       hashranges=[(at, at + 8) for at in range(0, PERMUTATIONS, 8)], permutations=permutations,
                       hash_func=hash_func, dtype=dtype, max_hash=max_hash, modulo_prime=prime)
    return run

runs = {
    "datatrove, as shipped": trove_stage(), "datatrove, str.split": trove_stage(lambda language: Split()),
    "rensa, strings": rensa_strings, "rensa, hashes": rensa_hashes,
    "datasketch, as shipped": sketch_updates, "datasketch, bulk and xxHash": sketch_bulk,
    "text-dedup, as shipped": text_dedup(lambda data: sha1_hash(data, d=64), np.uint64, np.uint64((1 << 61) - 1),
                                         np.uint64((1 << 32) - 1)),
    "text-dedup, 32-bit xxHash": text_dedup(xxhash.xxh32_intdigest, np.uint32, np.uint32((1 << 32) - 5),
                                            np.uint32((1 << 32) - 1)),
}
np.seterr(over="ignore")
everything, texts = texts, texts[:2]
for run in runs.values():
    run()
texts = everything
names = "datatrove", "rensa", "datasketch", "text-dedup", "xxhash"
serve(runs, {"runs": list(runs), **{name: version(name) for name in names}})
"""


def main() -> None:
    """Rounds of all, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", nargs="?", type=Path, default=DOCUMENTS)
    parser.add_argument("--peer-python", help="Python of an environment with the tools above")
    parser.add_argument("--megabytes", type=float, default=8.0, help="how much text to measure on")
    parser.add_argument("--peer-megabytes", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    if not options.documents.is_file():
        parser.error(
            f"{options.documents} does not exist; name a JSONL file with 'text' and 'lang', or a tar.xz of one"
        )
    texts = _english(options.documents, options.megabytes)
    part = _english(options.documents, options.peer_megabytes)
    column, megabytes = pa.array(texts, pa.large_string()), num_megabytes(texts)
    print(f"{len(texts):,} English documents, {megabytes:.1f} MB, {minhash.NUM_PERMUTATIONS} permutations")

    minhash.signatures(column[:1])  # machine code on a first run
    peer = Peer(options.peer_python, _PEER, part) if options.peer_python else None
    versions = dict(peer.versions) if peer else {}
    ours: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in versions.pop("runs", ())}
    for _ in range(options.rounds):
        ours.append(megabytes / _seconds(lambda: minhash.signatures(column)))
        for name, rates in theirs.items():
            assert peer is not None
            rates.append(num_megabytes(part) / peer.seconds(name))
    print(f"{'ours':32s} {statistics.median(ours):8.2f} MB/s per core ({min(ours):.0f} to {max(ours):.0f})")
    if peer is not None:
        print(f"{len(part):,} of them, {num_megabytes(part):.2f} MB, for {versions}")
        peer.close()
    for name, rates in theirs.items():
        ratios = sorted(a / b for a, b in zip(ours, rates, strict=True))
        print(
            f"{name:32s} {statistics.median(rates):8.2f} MB/s per core, "
            f"ratio {statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})"
        )
    left = np.arange(len(texts) - 1)
    verified = megabytes / _seconds(lambda: minhash.jaccard_pairs(column, left, left + 1))
    print(f"{'exact similarity':32s} {verified:8.2f} MB/s of text read")


def _english(path: Path, megabytes: float) -> list[str]:
    return [text for language, text in labelled_texts(path, megabytes) if language == "en"]


def _seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
