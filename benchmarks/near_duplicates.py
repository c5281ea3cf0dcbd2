"""The shared near-duplicate documents, and peers that run in a Python of their own, for benchmarks.

A peer is a script that reads a list of texts from its standard input, says its versions, then answers each `NAME` it
is sent with the processor seconds of one run; so rounds of ours and theirs can be interleaved in one benchmark.
"""

import json
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

DOCUMENTS = Path(__file__).resolve().parents[2] / "shared" / "data" / "near_duplicates" / "docs.tar.xz"

PEER_LOOP = """
def serve(runs, versions):
    print(json.dumps(versions), flush=True)
    for name in sys.stdin:
        begun = time.process_time()
        runs[name.strip()]()
        print(time.process_time() - begun, flush=True)
"""


def labelled_texts(path: Path = DOCUMENTS, megabytes: float | None = None) -> list[tuple[str, str]]:
    """(language tag, text) of every k-th document, so that all sources are in, up to about `megabytes`."""
    rows = [json.loads(line) for line in _lines(path)]
    every = max(1, round(sum(len(row["text"]) for row in rows) / 1e6 / megabytes)) if megabytes else 1
    return [(row.get("lang") or "und", row["text"]) for row in rows[::every]]


def _lines(path: Path) -> Iterator[bytes]:
    if path.suffix == ".jsonl":
        yield from path.open("rb")
        return
    with tarfile.open(path) as archive:
        for member in archive:
            yield from archive.extractfile(member) or ()


def num_megabytes(texts: Sequence[str]) -> float:
    """Size in UTF-8."""
    return sum(len(text.encode()) for text in texts) / 1e6


class Peer:
    """A peer's process with its texts loaded."""

    def __init__(self, python: str, script: str, texts: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [python, "-c", PEER_LOOP + script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._send(json.dumps(list(texts)))
        self.versions: dict[str, str] = json.loads(self._answer())

    def seconds(self, name: str) -> float:
        """Processor time of one run over all texts."""
        self._send(name)
        return float(self._answer())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer ended with code {self._process.wait()}; see its error above")
        return line
