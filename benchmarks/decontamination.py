"""Decontamination beside datatrove's NGramsDecontFilter on the same files: recall, precision, MB/s per core.

    python -m venv /tmp/peer && /tmp/peer/bin/pip install datatrove==0.10.1 spacy regex 'xxhash<4'
    python benchmarks/decontamination.py [--peer-python /tmp/peer/bin/python] [--megabytes 30] [--rounds 7]

Items of GSM8K, MBPP and HumanEval (shared data, tasks) are planted into a third of the pages of the shared real
documents, one a page: as they are, the question or the answer alone, in capitals without punctuation, with other
numbers. A document is right when the item planted in it is found, or when nothing was planted and nothing is found.

The peer's indexer wants lighteval to start; its `compute_hashes` does not, so the index files are written with it, in
its own format, and the filter reads them. It is measured as shipped (12-grams of the answer and of question and answer
in a row, spaCy's words), with our settings (13, the question too), and so with `str.split` for spaCy, its best. It
gets a share of the pages, as it is many times slower. Processor time of one thread; medians, runs of Ingot before
and after each of the peer's.
"""

import argparse
import gzip
import json
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from datasets_pipeline.normalize import normalize_text
from datasets_pipeline.rules import decontamination

SHARED = Path(__file__).parents[2] / "shared" / "data"
ARCHIVES = ("helm-docs", "etcd-docs", "keda-docs", "cert-manager-docs", "eips", "18f-handbook", "kafka-site",
            "nist-800-63-4", "nist-800-63-3")  # fmt: skip
BENCHMARKS = {
    "gsm8k": ("gsm8k_train", "question", "answer"),
    "mbpp": ("mbpp_train_validation_fewshot", "text", "code"),
    "humaneval": ("humaneval", "prompt", "canonical_solution"),
}
WAYS = ("as it is", "question alone", "answer alone", "capitals, no punctuation", "other numbers")
# The peer gets every so many pages; no divisor of 3 times the ways, so that it sees all of them.
PEER_EVERY = 19

PEER = r"""
import json, sys, time, warnings
from pathlib import Path
warnings.filterwarnings("ignore")
import numpy as np
from datatrove.data import Document
from datatrove.pipeline.decont import n_grams
job = json.load(sys.stdin)
shipped = n_grams.load_word_tokenizer
class Split:
    def word_tokenize(self, text): return text.split()
if job["split"]:
    n_grams.load_word_tokenizer = lambda language: Split()
config = n_grams.NGramsDecontConfig(n_grams=job["n"], find_query_ngrams=job["query"])
indexer = object.__new__(n_grams.NGramsDecontIndexer)
indexer.__init__(job["folder"], config=config)
for name, items in job["items"].items():
    hashes = set()
    for question, answer in items:
        hashes.update(indexer.compute_hashes(answer, question))
    np.array(list(hashes), dtype=config.hash_config.np_descr).tofile(Path(job["folder"]) / f"{name}.index.hashes")
found = n_grams.NGramsDecontFilter(job["folder"], config=config)
found.filter(Document(text="warm up", id="0"))
documents = [Document(text=text, id=str(n)) for n, text in enumerate(job["texts"])]
seconds = []
for _ in range(job["rounds"]):
    started = time.process_time()
    verdicts = []
    for document in documents:
        verdict = found.filter(document)
        verdicts.append(None if verdict is True else document.metadata["contaminated_task"])
    seconds.append(time.process_time() - started)
print(json.dumps({"seconds": seconds, "verdicts": verdicts}))
"""


@dataclass(frozen=True)
class Page:
    text: str
    way: str | None
    item: tuple[str, int] | None
    """(benchmark, number from 1) of what was planted."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="Python of an environment with datatrove and spaCy")
    parser.add_argument("--megabytes", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    items = {name: read_items(*columns) for name, columns in BENCHMARKS.items()}
    pages = plant(real_pages(options.megabytes), items)
    few = pages[::PEER_EVERY]
    config = decontamination.Config(
        benchmarks=[
            {"name": name, "uri": str(SHARED / "tasks" / f"{file}.jsonl.gz"), "text": [question, answer]}
            for name, (file, question, answer) in BENCHMARKS.items()
        ]
    )
    started = time.process_time()
    index = decontamination._index_of(config)
    print(f"{len(pages):,} pages, {size_of([p.text for p in pages]):.1f} MB, {index.grams.num_grams:,} n-grams")
    print(f"index built in {time.process_time() - started:.1f} s, with what was not compiled yet")
    search(config, [page.text for page in pages[:20]])
    shapes = {} if options.peer_python is None else {
        "datatrove as shipped": {"n": 12, "query": False, "split": False},
        "datatrove 13, with questions": {"n": 13, "query": True, "split": False},
        "datatrove 13, str.split": {"n": 13, "query": True, "split": True},
    }  # fmt: skip
    rates: dict[str, list[float]] = {}
    measure_ours(config, pages, rates, options.rounds)
    for name, shape in shapes.items():
        texts = [page.text for page in few]
        seconds, verdicts = peer(options.peer_python, texts, items, {**shape, "rounds": options.rounds})
        rates[name] = [size_of(texts) / one for one in seconds]
        score(name, few, [None if verdict is None else {verdict} for verdict in verdicts])
        measure_ours(config, pages, rates, options.rounds)
    found = [{(item["benchmark"], item["item"]) for item in row} for row in search(config, [p.text for p in pages])]
    score("Ingot", pages, found, with_items=True)
    if shapes:
        score("Ingot, the peer's pages", few, found[::PEER_EVERY], with_items=True)
    ours = statistics.median(rates["Ingot, all pages"])
    for name, own in rates.items():
        ratio = "" if name.startswith("Ingot") else f"   ratio {ours / statistics.median(own):.0f}"
        print(f"{name:30s} {statistics.median(own):8.2f} MB/s ({min(own):.2f} to {max(own):.2f}){ratio}")


def measure_ours(config: decontamination.Config, pages: list[Page], rates: dict[str, list[float]], rounds: int) -> None:
    """Add rates over all pages and over those where nothing was planted."""
    every = [page.text for page in pages]
    clean = [page.text for page in pages if page.item is None]
    for _ in range(rounds):
        for name, texts in (("Ingot, all pages", every), ("Ingot, clean pages", clean)):
            column = pa.table({"text": pa.array(texts, pa.large_string())})
            started = time.process_time()
            decontamination.find_spans(config, column, bytes(32))
            rates.setdefault(name, []).append(size_of(texts) / (time.process_time() - started))


def search(config: decontamination.Config, texts: list[str]) -> list[list[dict[str, Any]]]:
    column = pa.array(texts, pa.large_string())
    return decontamination.find_spans(config, pa.table({"text": column}), bytes(32))["items"].to_pylist()


def peer(python: str, texts: list[str], items: dict[str, list[tuple[str, str]]], shape: dict[str, Any]) -> Any:
    """(processor seconds of each round of the filter alone, benchmark found by document or None)."""
    with tempfile.TemporaryDirectory() as folder:
        job = json.dumps({"folder": folder, "texts": texts, "items": items, **shape})
        done = subprocess.run([python, "-c", PEER], input=job, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the peer failed: {done.stderr[-500:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    return told["seconds"], told["verdicts"]


def score(name: str, pages: list[Page], found: list[Any], *, with_items: bool = False) -> None:
    """Recall by way of planting, and precision; with_items: the very item must be found, else one of its benchmark."""
    hit: Counter[str] = Counter()
    planted: Counter[str] = Counter()
    false = 0
    for page, answers in zip(pages, found, strict=True):
        if page.item is None:
            false += bool(answers)
            continue
        assert page.way is not None
        planted[page.way] += 1
        hit[page.way] += (page.item if with_items else page.item[0]) in (answers or set())
    told = ", ".join(f"{way} {hit[way]}/{planted[way]}" for way in WAYS)
    total = sum(hit.values())
    print(f"{name}: recall {total / sum(planted.values()):.4f} ({told}); precision {total / (total + false):.4f}")


def plant(pages: list[str], items: dict[str, list[tuple[str, str]]]) -> list[Page]:
    """An item in every third page, at the start of a line; items that are too short to look for are not planted."""
    draw = random.Random(5)
    planted: list[Page] = []
    for number, page in enumerate(pages):
        if number % 3:
            planted.append(Page(page, None, None))
            continue
        way = WAYS[number // 3 % len(WAYS)]
        while True:
            name = draw.choice(sorted(items))
            item = draw.randrange(len(items[name]))
            needle = changed(*items[name][item], way, draw)
            if len(needle.split()) >= 30:
                break
        at = page.rfind("\n", 0, draw.randrange(len(page))) + 1
        planted.append(Page(f"{page[:at]}\n{needle}\n\n{page[at:]}", way, (name, item + 1)))
    return planted


def changed(question: str, answer: str, way: str, draw: random.Random) -> str:
    if way == "question alone":
        return question
    if way == "answer alone":
        return answer
    both = f"{question}\n{answer}"
    if way == "capitals, no punctuation":
        return "".join(c if c.isalnum() or c.isspace() else " " for c in both).upper()
    if way == "other numbers":
        return "".join(str(draw.randrange(1, 10)) if c.isdecimal() else c for c in both)
    return both


def read_items(file: str, question: str, answer: str) -> list[tuple[str, str]]:
    with gzip.open(SHARED / "tasks" / f"{file}.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    return [(normalize_text(row[question]), normalize_text(row[answer])) for row in rows]


def real_pages(megabytes: float) -> list[str]:
    """Text files of the shared real documents, each text once, up to so many megabytes."""
    found: dict[str, None] = {}
    size = 0.0
    for archive in ARCHIVES:
        with tarfile.open(SHARED / "raw_documents" / f"{archive}.tar.xz") as files:
            for member in files:
                if member.isfile() and member.name.endswith((".md", ".html", ".txt")) and member.size < 1 << 20:
                    file = files.extractfile(member)
                    assert file is not None
                    text = normalize_text(file.read().decode("utf-8", "replace"))
                    if len(text) > 500 and text not in found and size < megabytes * 1e6:
                        found[text] = None
                        size += len(text.encode())
    pages = list(found)
    random.Random(1).shuffle(pages)
    return pages


def size_of(texts: list[str]) -> float:
    """Megabytes."""
    return sum(len(text.encode()) for text in texts) / 1e6


if __name__ == "__main__":
    main()
