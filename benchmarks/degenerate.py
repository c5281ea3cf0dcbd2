"""Inputs that break what is tuned for ordinary pages: is the time linear in their size?

    python benchmarks/degenerate.py [--copies 1000000] [--near 100000] [--megabytes 200] [--empty 10000000]
                                    [--letters 50] [--case NAME ...]

Each case is curated at a quarter of its size and at its size, in one process, each in a new store. Printed is the
processor time of both without the seconds that any run takes (those of a corpus of one page), and their ratio: 4 when
the time is linear.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import chain, count, islice, repeat
from pathlib import Path

from benchmarks.large_corpus import SENTENCES_PER_DOCUMENT, real_sentences
from benchmarks.store_salt import SALT
from datasets_pipeline.curate import curate
from datasets_pipeline.parallel import InProcessPool
from ingot import manifest, store_identity
from ingot.config import parse_recipe
from ingot.errors import DataError
from ingot.ledger import Actor
from ingot.settings import Settings
from ingot.storage import Store

FILE_LINES = 20_000

Write = Callable[[Path, int], None]


def copies(folder: Path, num: int) -> None:
    """One page in `num` places."""
    _write_lines(folder, repeat(_page(0), num))


def near_copies(folder: Path, num: int) -> None:
    """Pages that differ from one another in a word or two of 500: one cluster."""
    words = _page(0).split(" ")
    drawn = random.Random(1)

    def changed(number: int) -> str:
        mine = list(words)
        mine[drawn.randrange(len(words))] = f"number{number}"
        return " ".join(mine)

    _write_lines(folder, (changed(number) for number in range(num)))


def one_document(folder: Path, megabytes: int) -> None:
    """One text of so many megabytes, of sentences."""
    sentences = real_sentences()
    drawn = random.Random(2)
    folder.mkdir(parents=True)
    with open(folder / "large.txt", "w") as file:
        written = 0
        while written < megabytes * 1_000_000:
            written += file.write(" ".join(drawn.choices(sentences, k=20)) + "\n")


def empty(folder: Path, num: int) -> None:
    """Records without a text, and one page, so that there is something to publish."""
    _write_lines(folder, chain([_page(1)], repeat("", num - 1)))


def ideographs(folder: Path, megabytes: int) -> None:
    """Texts of CJK ideographs alone, which are shingled letter by letter."""
    _letters(folder, megabytes, [chr(code) for code in range(0x4E00, 0x9FA5)])


def emoji(folder: Path, megabytes: int) -> None:
    """Texts of emoji alone, which hold no word."""
    _letters(folder, megabytes, [chr(code) for code in range(0x1F600, 0x1F64F)])


CASES: dict[str, tuple[Write, str]] = {
    "copies": (copies, "copies"),
    "near_copies": (near_copies, "near"),
    "one_document": (one_document, "megabytes"),
    "empty": (empty, "empty"),
    "ideographs": (ideographs, "letters"),
    "emoji": (emoji, "letters"),
}


def processor_seconds(write: Write, size: int, scratch: Path) -> tuple[float, dict[str, int]]:
    """(processor time of a run over a case, its accounting)."""
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name)
        write(folder / "in", size)
        source = "folder" if list((folder / "in").glob("*.txt")) else "jsonl"
        entry = {"source": source, "name": "in", "uri": str(folder / "in"), "max_file_bytes": 1 << 30}
        rules = [{"rule": "gopher_repetition"}, {"rule": "pii"}]
        recipe = parse_recipe(
            {"corpus": "odd", "sources": [entry], "rules": rules, "expectations": {"min_documents": 0}}
        )
        settings = Settings.from_environment({"INGOT_HOME": str(folder / "home")})
        store = Store(settings.store, scratch_root=settings.scratch)
        store_identity.initialise(store, salt=SALT)
        begun = _spent()
        try:
            ref = curate(store, recipe, settings, InProcessPool(), actor=Actor("person", "a benchmark", "declared"))
        except DataError as error:
            return _spent() - begun, {str(error)[:40]: 1}
        return _spent() - begun, manifest.read(store, ref.corpus, ref.version).identity.accounting


def _spent() -> float:
    import resource

    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _page(number: int) -> str:
    drawn = random.Random(number)
    return " ".join(drawn.choices(_sentences(), k=SENTENCES_PER_DOCUMENT))


@lru_cache(maxsize=1)
def _sentences() -> list[str]:
    return real_sentences()


def _letters(folder: Path, megabytes: int, letters: list[str]) -> None:
    drawn = random.Random(3)
    num = megabytes * 1_000_000 // (1000 * len(letters[0].encode()))
    _write_lines(folder, ("".join(drawn.choices(letters, k=1000)) for _ in range(num)))


def _write_lines(folder: Path, texts: Iterable[str]) -> None:
    folder.mkdir(parents=True)
    lines = iter(texts)
    for number in count():
        part = list(islice(lines, FILE_LINES))
        if not part:
            break
        path = folder / f"part-{number:05d}.jsonl"
        path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in part))


def main() -> None:
    """Run the cases that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=1_000_000)
    parser.add_argument("--near", type=int, default=100_000)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--empty", type=int, default=10_000_000)
    parser.add_argument("--letters", type=int, default=50, help="megabytes of ideographs and of emoji")
    parser.add_argument("--case", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--scratch", type=Path, default=Path("/var/tmp"))
    options = parser.parse_args()
    processor_seconds(copies, 1, options.scratch)  # compiles, reads tables
    floor, _ = processor_seconds(copies, 1, options.scratch)
    print(f"one page: {floor:.1f} s of processor time")
    linear = True
    for name in options.case:
        write, option = CASES[name]
        size = getattr(options, option)
        small, _ = processor_seconds(write, size // 4, options.scratch)
        large, books = processor_seconds(write, size, options.scratch)
        ratio = (large - floor) / max(small - floor, 0.01)
        linear &= ratio < 6
        told = ", ".join(f"{key} {num:,}" for key, num in books.items() if num and key != "occurrences")
        print(f"{name} {size:,}: {small:.1f} s at a quarter, {large:.1f} s, ratio {ratio:.1f}; {told}")
    sys.exit(0 if linear else 1)


if __name__ == "__main__":
    main()
