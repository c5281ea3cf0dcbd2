"""HTML to text on one core, beside trafilatura on the same pages, in interleaved rounds.

    python -m venv /tmp/peer && /tmp/peer/bin/pip install trafilatura lxml_html_clean
    python benchmarks/html_pages.py --peer-python /tmp/peer/bin/python [--pages 200] [--rounds 5]

Prints MB of HTML a second of processor time for both, the median ratio of the rounds and its range. Pages are those of
the shared raw documents with at least 2 kB.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tarfile
import time
from pathlib import Path

from datasets_pipeline.extract import ExtractOptions, extract
from datasets_pipeline.sources.base import ExtractionError

RAW = Path(__file__).resolve().parents[2] / "shared" / "data" / "raw_documents"
_SOURCES = ("kafka-site", "docling-tests", "unstructured-examples")
_PEER = """
import json, sys, time
import trafilatura
pages = json.load(sys.stdin)
for page in pages[:5]:
    trafilatura.extract(page)
begun = time.process_time()
found = [bool(trafilatura.extract(page)) for page in pages]
print(json.dumps([time.process_time() - begun, found, trafilatura.__version__]))
"""


def main() -> None:
    """Rounds of both, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="Python of an environment with trafilatura")
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    pages = _pages(options.pages)
    if options.peer_python:
        # A page it finds nothing on costs it little: the comparison is on pages that both read.
        _, found_by_peer, _ = _peer(options.peer_python, pages)
        print(f"trafilatura finds text on {sum(found_by_peer)} of {len(pages)} pages; those are compared")
        pages = [page for page, found in zip(pages, found_by_peer, strict=True) if found]
    megabytes = sum(len(page.encode()) for page in pages) / 1e6
    print(f"{len(pages)} pages, {megabytes:.1f} MB")
    ratios, ours, found = [], [], 0
    _ours(pages[:3])  # imports, and machine code on a first run
    for _ in range(options.rounds):
        seconds, found = _ours(pages)
        ours.append(megabytes / seconds)
        if options.peer_python:
            peer, _, version = _peer(options.peer_python, pages)
            ratios.append(peer / seconds)
    print(f"ours: {statistics.median(ours):.1f} MB/s, text of {found} pages")
    if not ratios:
        print("no peer: --peer-python names the Python of an environment with trafilatura")
        sys.exit(0)
    print(f"trafilatura {version}: {megabytes / peer:.2f} MB/s")
    print(f"ratio: median {statistics.median(ratios):.1f}, {min(ratios):.1f} to {max(ratios):.1f}")


def _peer(python: str, pages: list[str]) -> tuple[float, list[bool], str]:
    """(seconds of processor time, which pages gave text, version) of trafilatura in an environment of its own."""
    done = subprocess.run([python, "-c", _PEER], input=json.dumps(pages), capture_output=True, text=True, check=True)
    seconds, found, version = json.loads(done.stdout)
    return seconds, found, version


def _ours(pages: list[str]) -> tuple[float, int]:
    options = ExtractOptions()
    found = 0
    begun = time.process_time()
    for page in pages:
        try:
            found += bool(extract(page.encode(), "page.html", None, options).documents)
        except ExtractionError:
            continue
    return time.process_time() - begun, found


def _pages(number: int) -> list[str]:
    pages = []
    for source in _SOURCES:
        with tarfile.open(RAW / f"{source}.tar.xz") as members:
            for member in members:
                file = members.extractfile(member) if member.isfile() and member.name.endswith(".html") else None
                if file is not None and member.size >= 2000:
                    pages.append(file.read().decode("utf-8", "replace"))
    step = max(1, len(pages) // number)
    return pages[::step][:number]


if __name__ == "__main__":
    main()
