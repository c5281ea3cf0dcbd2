"""Speed of MinHash signatures, MB of text per second and core, beside datatrove's first dedup stage.

    python benchmarks/minhash.py [--texts FILE.jsonl[.gz]] [--megabytes 8]

Runs interleaved, seven pairs, CPU time of one thread. datatrove's stage is measured twice: with its own
word tokenizer where that is installed (as shipped), and with `str.split` in its place, because nearly all
of its time is spent finding words. Without --texts made-up English-like text is used. Takes about 30 s.
"""

import argparse
import gzip
import json
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from datasets_pipeline.dedup import minhash

NUM_PAIRS = 7
# The peer is 50 to 500 times slower: it gets this share of the texts, so that the pairs fit a minute.
PEER_SHARE = 1 / 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", help="JSON lines with a 'text' field, plain or .gz")
    parser.add_argument("--megabytes", type=float, default=8.0, help="text to sign in each run")
    arguments = parser.parse_args()
    texts = read_texts(arguments.texts, arguments.megabytes) if arguments.texts else made_up(arguments.megabytes)
    column = pa.array(texts, pa.large_string())
    few = texts[: max(1, round(len(texts) * PEER_SHARE))]
    num_bytes, few_bytes = byte_length(texts), byte_length(few)
    print(f"{len(texts):,} texts, {num_bytes / 1e6:.1f} MB, {minhash.NUM_PERMUTATIONS} permutations, one thread")

    minhash.signatures(column[:1])  # compile
    peers = datatrove_signers()
    ours: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(NUM_PAIRS):
        ours.append(rate(lambda: minhash.signatures(column), num_bytes))
        for name, sign in peers.items():
            theirs[name].append(rate(lambda sign=sign: [sign(text) for text in few], few_bytes))
    print(f"ours                      {statistics.median(ours):8.2f} MB/s")
    for name, rates in theirs.items():
        ratios = sorted(a / b for a, b in zip(ours, rates, strict=True))
        print(
            f"{name:25s} {statistics.median(rates):8.2f} MB/s   ratio {statistics.median(ratios):.0f}"
            f" (lowest {ratios[0]:.0f})"
        )
    if not peers:
        print("datatrove is not installed: no ratio")
    left = np.arange(len(texts) - 1)
    verified = rate(lambda: minhash.jaccard_pairs(column, left, left + 1), num_bytes)
    print(f"exact similarity          {verified:8.2f} MB/s of text read")


def datatrove_signers() -> dict[str, Callable[[str], object]]:
    """datatrove's signature of one text, with free words and, where its tokenizer is here, as shipped."""
    try:
        from datatrove.pipeline.dedup import minhash as peer
    except ImportError:
        return {}
    shipped = peer.load_word_tokenizer
    signers: dict[str, Callable[[str], object]] = {}
    for name, load in (
        ("datatrove, str.split", lambda language: SplitAtSpaces()),
        ("datatrove, as shipped", shipped),
    ):
        peer.load_word_tokenizer = load
        try:
            stage = peer.MinhashDedupSignature(output_folder=tempfile.gettempdir())  # nothing is written
            stage.get_shingles("one two three four five six")
        except ImportError as error:
            print(f"{name}: {error}")
        else:
            signers[name] = lambda text, stage=stage: stage.get_signature(stage.get_shingles(text))
    peer.load_word_tokenizer = shipped
    return signers


class SplitAtSpaces:
    """The cheapest possible word tokenizer in place of datatrove's."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()


def rate(work: Callable[[], object], num_bytes: int) -> float:
    """MB/s of CPU time."""
    started = time.process_time()
    work()
    return num_bytes / 1e6 / (time.process_time() - started)


def read_texts(path: str, megabytes: float) -> list[str]:
    """Texts from the top of the file, up to the given size."""
    texts: list[str] = []
    size = 0
    with gzip.open(path, "rt") if path.endswith(".gz") else open(path, encoding="utf-8") as lines:
        for line in lines:
            if size >= megabytes * 1e6:
                break
            texts.append(json.loads(line)["text"])
            size += len(texts[-1].encode())
    return texts


def made_up(megabytes: float) -> list[str]:
    """Texts of 4 kB with word lengths and frequencies like those of English."""
    random = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    vocabulary = np.array(["".join(random.choice(letters, length)) for length in random.integers(1, 11, 20_000)])
    weights = 1 / np.arange(1, len(vocabulary) + 1)
    weights /= weights.sum()
    return [" ".join(random.choice(vocabulary, 700, p=weights)) for _ in range(round(megabytes * 1e6 / 4000))]


def byte_length(texts: list[str]) -> int:
    return sum(len(text.encode()) for text in texts)


if __name__ == "__main__":
    main()
