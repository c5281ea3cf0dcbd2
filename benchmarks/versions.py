"""Versions of the Kafka and etcd documentation fed as nights: is the newest text of every page what is kept?

    python benchmarks/versions.py [--nights 20]

The last 20 of 23 versions of Kafka's site and, beside them, the 9 of etcd's, each for two or three nights. Every night
replaces the pages where they stand, as a publisher does. Prints what the last night kept and dropped, how many of its
documents were a page's earlier text, and whether that night alone in a new store gives the same version.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ingot.storage import Store  # noqa: E402
from tests.real.test_versions import feed, texts, versions  # noqa: E402


def main() -> None:
    """Feed the nights, compare the last one with itself alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        nights = versions(options.nights, folder / "versions")
        begun = time.perf_counter()
        last, alone = feed(nights, folder)
        seconds = time.perf_counter() - begun
        kept = texts(Store(str(folder / "fed")), last)
    newest = {row["doc_id"] for row in alone.pages.values()}
    outcomes = Counter(row["reason"] or row["outcome"] for row in last.pages.values())
    told = ", ".join(f"{name} {num}" for name, num in outcomes.most_common())
    looks = last.published.provenance["sources"].values()
    reasons = sum((Counter(look["quarantined"]) for look in looks), Counter())
    without = ", ".join(f"{reason} {num}" for reason, num in reasons.most_common()) or "none"
    print(f"{options.nights} nights in {seconds:.0f} s; the last one: {sum(look['files']['seen'] for look in looks)} "
          f"files, without text: {without}; documents: {told}")  # fmt: skip
    print(f"{len(kept)} documents are kept, {len(kept - newest)} of them an earlier text of a page")
    dropped = [row for row in last.pages.values() if row["outcome"] == "dropped"]
    behind = sum(row["other_doc_id"] not in newest for row in dropped)
    print(f"{len(dropped)} pages are dropped as near-duplicates, {behind} of them of an earlier text")
    same = last.published.identity_digest == alone.published.identity_digest
    print(f"the last night alone in a new store gives {'the same version' if same else 'ANOTHER version'}")
    sys.exit(0 if same and kept <= newest and not behind else 1)


if __name__ == "__main__":
    main()
