"""2,000 damaged files beside 500 good ones through acquisition with its jail.

    python benchmarks/damaged_documents.py [--good 500] [--damaged 2000]

Good files are small real ones of every type; the damaged are made of them, seeded: cut off, bits flipped, a block
zeroed, some wrongly named. Prints whether every good one is kept with the same ids as without the bad ones, how the
others are accounted for, and the largest memory of a jailed process.
"""

import argparse
import random
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from expected_failures import RAW  # noqa: E402

from tests.real.test_damaged import damaged, documents_of  # noqa: E402

_SUFFIXES = (".docx", ".pptx", ".xlsx", ".odt", ".pdf", ".html", ".md", ".eml", ".csv", ".xls", ".ods", ".mdx")
_MAX_BYTES = 100_000


def main() -> None:
    """Make both folders, read them, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--good", type=int, default=500)
    parser.add_argument("--damaged", type=int, default=2000)
    options = parser.parse_args()
    rng = random.Random(4)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        sources = _small_files(root / "raw", options.good, rng)
        good, both = root / "good", root / "both"
        for place in (good, both):
            place.mkdir()
            for number, path in enumerate(sources):
                (place / f"good-{number}{path.suffix}").write_bytes(path.read_bytes())
        for number in range(options.damaged):
            path = rng.choice(sources)
            suffix = rng.choice(_SUFFIXES) if number % 6 == 0 else path.suffix
            (both / f"bad-{number}{suffix}").write_bytes(damaged(path.read_bytes(), rng))
        from ingot.storage import Store

        alone, _ = documents_of(good, Store(str(root / "alone")))
        memory = _Memory()
        begun = time.perf_counter()
        found, counts = documents_of(both, Store(str(root / "store")))
        seconds = time.perf_counter() - begun
        kept = {uri: ids for uri, ids in found.items() if uri.startswith("good-")}
        all_kept = "all" if kept == alone else "NOT all"
        print(f"{len(sources)} good files, {len(alone)} of them with documents: {all_kept} kept with the same ids")
        accounted = counts["seen"] == counts["read"] + counts["quarantined"] == len(sources) + options.damaged
        every, read = "every" if accounted else "NOT every", counts["read"] - len(alone)
        print(f"{options.damaged} damaged: {every} one accounted for, {read} of them still read, in {seconds:.0f} s")
        print(f"largest resident memory of a jailed process: {memory.end() / 1e6:.0f} MB")
        sys.exit(0 if kept == alone and accounted else 1)


class _Memory:
    """Looks every tenth of a second at the processes below this one."""

    def __init__(self) -> None:
        self._largest, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            for process in psutil.Process().children(recursive=True):
                try:
                    self._largest = max(self._largest, process.memory_info().rss)
                except psutil.Error:
                    continue

    def end(self) -> int:
        self._stop.set()
        self._thread.join()
        return self._largest


def _small_files(folder: Path, number: int, rng: random.Random) -> list[Path]:
    """So many files, those of the rarer types first."""
    for archive in sorted(RAW.glob("*.tar.xz")):
        with tarfile.open(archive) as members:
            for member in members:
                if member.isfile() and 200 < member.size <= _MAX_BYTES and member.name.endswith(_SUFFIXES):
                    members.extract(member, folder, filter="data")
    by_type = {suffix: sorted(folder.rglob(f"*{suffix}")) for suffix in _SUFFIXES}
    for files in by_type.values():
        rng.shuffle(files)
    chosen: list[Path] = []
    while len(chosen) < number and any(by_type.values()):
        for files in by_type.values():
            if files and len(chosen) < number:
                chosen.append(files.pop())
    return chosen


if __name__ == "__main__":
    main()
