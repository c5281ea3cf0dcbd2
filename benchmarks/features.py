"""Speed of the feature pass on one core, and beside datatrove's three filters with --peer.

    python benchmarks/features.py [DOCS.jsonl | DOCS.tar.xz] [--peer] [--megabytes 8]

Prints MB of UTF-8 per second of CPU time, best of several passes, and the ratio to datatrove. Both sides
compute the numbers behind Gopher quality, Gopher repetition and FineWeb quality; ours adds the rest of the
features. datatrove splits words with spaCy when it is installed; without it, with `str.split`, which is
faster than what it does as shipped, so the ratio printed is then too small, and the output says so.
Without a file the shared documentation collection is used.
"""

import argparse
import json
import tarfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa

from datasets_pipeline.features import compute_features

DEFAULT = Path(__file__).parents[2] / "shared" / "data" / "near_duplicates" / "docs.tar.xz"
PEER_MEGABYTES = 2.0


def main() -> None:
    """Read documents, warm up, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", nargs="?", type=Path, default=DEFAULT)
    parser.add_argument("--peer", action="store_true", help="also run datatrove's filters on a part of the documents")
    parser.add_argument("--megabytes", type=float, default=8.0, help="how much text to measure on")
    options = parser.parse_args()
    if not options.documents.is_file():
        parser.error(f"{options.documents} does not exist; name a JSONL file with a 'text' field, or a tar.xz of one")

    texts = _texts(options.documents, options.megabytes)
    column = pa.array(texts, pa.large_string())
    media = pa.array(["text/plain"] * len(texts))
    size = sum(len(text.encode()) for text in texts) / 1e6
    stated, unknown = pa.array(["en"] * len(texts)), pa.nulls(len(texts), pa.string())
    print(f"{len(texts):,} documents, {size:.1f} MB")
    ours = size / _best_seconds(lambda: compute_features(column, media, stated), passes=5)
    print(f"features, language stated    {ours:8.2f} MB/s/core")
    detected = size / _best_seconds(lambda: compute_features(column, media, unknown), passes=3)
    print(f"features, language detected  {detected:8.2f} MB/s/core")
    if options.peer:
        part, used = [], 0.0
        for text in texts:
            if used > PEER_MEGABYTES:
                break
            part.append(text)
            used += len(text.encode()) / 1e6
        filters, words = _datatrove()
        theirs = used / _best_seconds(lambda: _run(filters, part), passes=1)
        print(f"datatrove, three filters     {theirs:8.2f} MB/s/core ({used:.1f} MB, {words})")
        print(f"ratio                        {ours / theirs:8.1f} x (language detected: {detected / theirs:.1f} x)")


def _texts(path: Path, megabytes: float) -> list[str]:
    """Every k-th document, so that all sources are in, up to about `megabytes`."""
    rows = [json.loads(line)["text"] for line in _lines(path)]
    total = sum(map(len, rows)) / 1e6
    return rows[:: max(1, round(total / megabytes))]


def _lines(path: Path) -> Iterator[bytes]:
    if path.suffix == ".jsonl":
        yield from path.open("rb")
        return
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member)
            yield from file or ()


def _best_seconds(run: Callable[[], Any], *, passes: int) -> float:
    """CPU seconds of this process for the fastest pass, after one to warm up (compile, load, cache)."""
    if passes > 1:
        run()
    seconds = []
    for _ in range(passes):
        started = time.process_time()
        run()
        seconds.append(time.process_time() - started)
    return min(seconds)


def _datatrove() -> tuple[list[Any], str]:
    from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
    from datatrove.utils import word_tokenizers

    words = "words by spaCy"
    if find_spec("spacy") is None:
        words = "words by str.split, because spaCy is not installed"

        class Split:
            word_tokenize = staticmethod(str.split)

        word_tokenizers.load_word_tokenizer = lambda language: Split()
    return [GopherQualityFilter(), GopherRepetitionFilter(), FineWebQualityFilter()], words


def _run(filters: list[Any], texts: list[str]) -> None:
    from datatrove.data import Document

    for text in texts:
        document = Document(text=text, id="")
        for each in filters:
            each.filter(document)


if __name__ == "__main__":
    main()
