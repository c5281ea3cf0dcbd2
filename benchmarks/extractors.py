"""Files and bytes a second that one core turns into text, per type, beside MarkItDown.

    python benchmarks/extractors.py [--files 40] [--peer PYTHON] [--rounds 3]

Real files of ../shared/data/raw_documents, the same ones for both, chosen by a seed; each type is read in turns by both
sides, and the median of the rounds counts. Without the jail, which costs 0.3 ms a file on top. PYTHON is the
interpreter of an environment with `markitdown[docx,pptx,xlsx,xls,pdf,outlook]`; without it only ours are measured.
Where a side refuses a file, its time counts and the file is told.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from expected_failures import RAW  # noqa: E402

from datasets_pipeline.extract import ExtractOptions, extract  # noqa: E402
from datasets_pipeline.sources.base import ExtractionError  # noqa: E402

_TYPES = (".md", ".html", ".txt", ".eml", ".docx", ".pptx", ".xlsx", ".xls", ".pdf", ".odt", ".csv", ".ipynb",
          ".doc", ".rtf", ".png")  # fmt: skip
_SLOW = {".doc": 4, ".rtf": 4, ".png": 4}
"""Types that a converter or text recognition reads, at seconds a file: so many files are enough."""
_MAX_BYTES = 2 << 20
_PEER = """
import json, os, sys, time
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever a parser prints
from markitdown import MarkItDown
reader = MarkItDown(enable_plugins=False)
print("ready", file=answers, flush=True)
for line in sys.stdin:
    paths = json.loads(line)
    failed, size, begun = 0, 0, time.perf_counter()
    for path in paths:
        try:
            size += len(reader.convert_local(path).text_content.encode("utf-8", "replace"))
        except Exception:
            failed += 1
    print(json.dumps([time.perf_counter() - begun, failed, size]), file=answers, flush=True)
"""

Reader = Callable[[list[str]], tuple[float, int, int]]
"""Reads files; seconds, files refused, bytes of text."""


def main() -> None:
    """Choose the files, read them in turns, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=40, help="most files of a type")
    parser.add_argument("--peer", metavar="PYTHON", help="interpreter of an environment with MarkItDown")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        chosen = _files(Path(scratch), options.files)
        peer = _Peer(options.peer) if options.peer else None
        head = "type   files     MB   ours files/s   MB/s  refused"
        print(head + ("   MarkItDown files/s   MB/s  refused   ratio" if peer else ""))
        for suffix, paths in chosen.items():
            size = sum(Path(path).stat().st_size for path in paths) / 1e6
            sides: list[Reader] = [_ours, *([peer.read] if peer else [])]
            for side in sides:
                side(paths[:1])  # imports and first calls
            rounds = [[side(paths) for side in sides] for _ in range(options.rounds)]
            line = f"{suffix:6} {len(paths):5} {size:6.1f}"
            seconds = []
            for number in range(len(sides)):
                taken = statistics.median(measured[number][0] for measured in rounds)
                seconds.append(taken)
                line += f"   {len(paths) / taken:12.1f} {size / taken:6.2f}  {rounds[0][number][1]:7}"
            print(line + (f"   {seconds[1] / seconds[0]:5.1f}" if peer else ""), flush=True)


def _ours(paths: list[str]) -> tuple[float, int, int]:
    failed = size = 0
    options = ExtractOptions()
    begun = time.perf_counter()
    for path in paths:
        try:
            found = extract(Path(path).read_bytes(), path, None, options)
            size += sum(len(document.text) for document in found.documents)
        except ExtractionError:
            failed += 1
    return time.perf_counter() - begun, failed, size


class _Peer:
    def __init__(self, python: str) -> None:
        self._process = subprocess.Popen(
            [python, "-c", _PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._answer()

    def read(self, paths: list[str]) -> tuple[float, int, int]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(paths) + "\n")
        self._process.stdin.flush()
        seconds, failed, size = json.loads(self._answer())
        return float(seconds), int(failed), int(size)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("MarkItDown's process ended; is it installed in that environment?")
        return line


def _files(folder: Path, most: int) -> dict[str, list[str]]:
    for archive in sorted(RAW.glob("*.tar.xz")):
        with tarfile.open(archive) as members:
            for member in members:
                if member.isfile() and 0 < member.size <= _MAX_BYTES and Path(member.name).suffix.lower() in _TYPES:
                    members.extract(member, folder, filter="data")
    rng = random.Random(4)
    found = {}
    for suffix in _TYPES:
        paths = sorted(str(path) for path in folder.rglob("*") if path.is_file() and path.suffix.lower() == suffix)
        rng.shuffle(paths)
        if paths:
            found[suffix] = paths[: min(most, _SLOW.get(suffix, most))]
    return found


if __name__ == "__main__":
    main()
