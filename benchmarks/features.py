"""Speed of the feature pass on one core, by language: stated, and detected.

    python benchmarks/features.py [DOCS.jsonl | DOCS.tar.xz] [--megabytes 8] [--rounds 5]

Prints MB of UTF-8 per second of processor time, median of several rounds. Without a file the shared documentation
collection is used. Beside another tool: documents_to_decisions.py.
"""

import argparse
import statistics
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
from near_duplicates import DOCUMENTS, labelled_texts, num_megabytes

from datasets_pipeline.features import COLUMNS, compute_features


def main() -> None:
    """Read documents, warm up, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", nargs="?", type=Path, default=DOCUMENTS)
    parser.add_argument("--megabytes", type=float, default=8.0, help="how much text to measure on")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if not options.documents.is_file():
        parser.error(
            f"{options.documents} does not exist; name a JSONL file with 'text' and 'lang', or a tar.xz of one"
        )
    rows = labelled_texts(options.documents, options.megabytes)
    print(f"{len(rows):,} documents, {num_megabytes([text for _, text in rows]):.1f} MB, {len(COLUMNS)} columns")
    commonest = [language for language, _ in Counter(language for language, _ in rows).most_common(6)]
    for name, chosen, stated in (
        ("all, language detected", None, False),
        ("all, language stated", None, True),
        *((f"{language}, stated", language, True) for language in commonest),
    ):
        texts = [text for language, text in rows if chosen in (None, language)]
        languages = [language if stated else None for language, _ in rows if chosen in (None, language)]
        print(f"{name:24s} {_rate(texts, languages, options.rounds):8.2f} MB/s per core")


def _rate(texts: list[str], languages: list[str | None], rounds: int) -> float:
    """Median MB/s of processor time, after one round to warm up (compile, load, cache)."""
    columns = (
        pa.array(texts, pa.large_string()),
        pa.array(["text/plain"] * len(texts)),
        pa.array(languages, pa.string()),
    )
    seconds = []
    for _ in range(rounds + 1):
        begun = time.process_time()
        compute_features(*columns)
        seconds.append(time.process_time() - begun)
    return num_megabytes(texts) / statistics.median(seconds[1:])


if __name__ == "__main__":
    main()
