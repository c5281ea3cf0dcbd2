"""Personal data and secrets: precision and recall per kind, false alarms on real text, speed; beside Presidio.

    python benchmarks/pii.py [--presidio PYTHON] [--names FOLDER] [--megabytes 20]

Labelled texts: those of shared/data/pii, and made-up ones with checksummed numbers (pii_made_up.py, fixed seed) for the
kinds that those lack. A hit is a span that overlaps a labelled one of its kind; in a set without labels of a kind, hits
are only counted. --presidio names the Python of an environment with presidio-analyzer; without a language model it runs
its pattern recognizers (pii_presidio.py). --names is a local token-classification model; names are measured only with
one. Real text: the shared documentation, in which whatever is found is counted by kind; --sample prints some of it.
Speed is processor time of one core, the median of seven runs.
"""

import argparse
import gzip
import json
import random
import statistics
import subprocess
import tarfile
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pii_made_up import made_up

from datasets_pipeline.rules import pii

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
NUM_RUNS = 7
KINDS = {
    "EMAIL_ADDRESS": "email", "IP_ADDRESS": "ip_address", "PHONE_NUMBER": "phone", "IBAN_CODE": "bank_account",
    "CREDIT_CARD": "payment_card", "US_SSN": "national_id", "UK_NHS": "national_id", "UK_NINO": "national_id",
    "ES_NIF": "national_id", "ES_NIE": "national_id", "IT_FISCAL_CODE": "national_id", "PL_PESEL": "national_id",
    "DE_TAX_ID": "national_id", "PERSON": "person", "PER": "person", "person": "person",
}  # fmt: skip
Spans = list[tuple[int, int, str]]
"""(start, end, kind) in characters."""


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presidio", help="Python with presidio-analyzer")
    parser.add_argument("--names", help="folder of a local model of names")
    parser.add_argument("--megabytes", type=float, default=20.0, help="real text to read")
    parser.add_argument("--sample", type=int, default=0, help="print so many hits of each kind in real text")
    options = parser.parse_args()
    if not (DATA / "pii").is_dir():
        parser.error(f"{DATA / 'pii'} does not exist; the labelled texts are needed")
    config = pii.Config(reserved=True, names=pii.Names(uri=options.names) if options.names else None)
    for name in ("presidio_synth", "sec_filings", "wnut17", "btc", "wikigold", "made up"):
        rows = made_up() if name == "made up" else read_labelled(DATA / "pii" / f"{name}.jsonl.gz")
        labelled = [[(a, b, KINDS.get(kind, kind)) for a, b, kind in row["spans"]] for row in rows]
        texts = [row["text"] for row in rows]
        size = sum(len(text.encode()) for text in texts) / 1e6
        print(f"\n{name}: {len(texts):,} texts, {size:.2f} MB")
        kinds = [kind for kind in pii.KINDS if kind != "person" or options.names]
        print_scores("ours", labelled, find(texts, config), kinds)
        if options.presidio:
            for threshold, spans, title in presidio(options.presidio, texts):
                print_scores(f"{title}, score >= {threshold}", labelled, spans, kinds)
    texts = real_texts(options.megabytes)
    measure_real(texts, options.sample, options.presidio)


def read_labelled(path: Path) -> list[dict[str, Any]]:
    """Rows with text and spans."""
    with gzip.open(path, "rt") as lines:
        return [json.loads(line) for line in lines]


def find(texts: Sequence[str], config: pii.Config) -> list[Spans]:
    """What the rule finds in each text."""
    found = pii.find_spans(config, pa.table({"text": pa.array(texts, pa.large_string())}), bytes(32))
    rows: list[Spans] = []
    for text, spans in zip(texts, found["spans"].to_pylist(), strict=True):
        data = text.encode()
        rows.append([(len(data[: s["start"]].decode()), len(data[: s["end"]].decode()), s["kind"]) for s in spans])
    return rows


def presidio(python: str, texts: Sequence[str]) -> Iterable[tuple[float, list[Spans], str]]:
    """(threshold, its spans, its name) as shipped, and without what it is not sure of."""
    with tempfile.TemporaryDirectory() as folder:
        given, answer = Path(folder, "texts.json"), Path(folder, "spans.json")
        given.write_text(json.dumps(texts))
        script = Path(__file__).with_name("pii_presidio.py")
        command = [python, str(script), str(given), str(answer), ",".join(pii.Config().countries)]
        subprocess.run(
            command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={"PATH": "/usr/bin"}
        )
        result = json.loads(answer.read_text())
    title = f"presidio {result['version']} ({result['seconds']:.1f} s)"
    for threshold in (0.0, 0.4):
        yield (
            threshold,
            [
                [(a, b, KINDS.get(kind, kind)) for a, b, kind, score in row if score >= threshold]
                for row in result["spans"]
            ],
            title,
        )


def print_scores(title: str, labelled: Sequence[Spans], found: Sequence[Spans], kinds: Iterable[str]) -> None:
    """Per kind: labelled, found, precision, recall, and how many have exactly the labelled borders."""
    print(f"  {title}")
    for kind in kinds:
        wanted = [[span for span in row if span[2] == kind] for row in labelled]
        hits = [[span for span in row if span[2] == kind] for row in found]
        num_wanted, num_hits = sum(map(len, wanted)), sum(map(len, hits))
        if not num_wanted and not num_hits:
            continue
        right = sum(any(overlaps(hit, w) for w in row) for row, mine in zip(wanted, hits, strict=True) for hit in mine)
        met = sum(any(overlaps(hit, w) for hit in mine) for row, mine in zip(wanted, hits, strict=True) for w in row)
        exact = sum(w in mine for row, mine in zip(wanted, hits, strict=True) for w in row)
        if not num_wanted:
            print(f"    {kind:13} not labelled here, found {num_hits}")
            continue
        precision = f"{right / num_hits:.3f}" if num_hits else "  -  "
        recall = f"{met / num_wanted:.3f}"
        counts = f"labelled {num_wanted:5} found {num_hits:5}"
        print(f"    {kind:13} {counts} precision {precision} recall {recall} exact {exact}")


def overlaps(left: tuple[int, int, str], right: tuple[int, int, str]) -> bool:
    """Whether two spans share a character."""
    return left[0] < right[1] and right[0] < left[1]


def real_texts(megabytes: float) -> dict[str, list[str]]:
    """Documentation, as text: distinct pages of the near-duplicate collection, and text files of the raw documents."""
    limit = megabytes * 1e6
    pages: dict[str, None] = {}
    size = 0
    with tarfile.open(DATA / "near_duplicates" / "docs.tar.xz") as archive:
        for member in archive:
            for line in archive.extractfile(member) or ():
                text = json.loads(line)["text"]
                if size < limit and text not in pages:
                    pages[text] = None
                    size += len(text)
            if size >= limit:
                break
    raw: dict[str, None] = {}
    for path in sorted((DATA / "raw_documents").glob("*.tar.xz")):
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(
                    (".md", ".html", ".txt", ".rst", ".eml", ".csv", ".json", ".xml")
                ):
                    raw[archive.extractfile(member).read().decode("utf-8", "ignore")] = None  # type: ignore[union-attr]
    chosen, size = [], 0
    for text in random.Random(1).sample(list(raw), len(raw)):
        if size < limit:
            chosen.append(text)
            size += len(text)
    return {"near_duplicates": list(pages), "raw_documents": chosen}


def measure_real(collections: dict[str, list[str]], num_shown: int, python: str | None) -> None:
    """Hits per MB of real text, some of them, and speed there and on prose without numbers."""
    for name, texts in collections.items():
        size = sum(len(text.encode()) for text in texts) / 1e6
        found = find(texts, pii.Config())
        counts = Counter(kind for row in found for _, _, kind in row)
        print(f"\n{name}: {len(texts):,} texts, {size:.1f} MB, {speed(texts):.0f} MB/s/core")
        print("  ours, per MB:    " + ", ".join(f"{kind} {n / size:.2f} ({n})" for kind, n in sorted(counts.items())))
        if python:
            part = [text for text in texts[: len(texts) // 20] if len(text) < 200_000]
            part_size = sum(len(text.encode()) for text in part) / 1e6
            mine = Counter(kind for row in find(part, pii.Config(reserved=True)) for _, _, kind in row)
            rates = ", ".join(f"{kind} {n / part_size:.2f}" for kind, n in sorted(mine.items()))
            print(f"  ours with reserved on {part_size:.1f} MB, per MB: {rates}")
            for threshold, spans, title in presidio(python, part):
                theirs = Counter(kind for row in spans for _, _, kind in row)
                print(
                    f"  {title} on {part_size:.1f} MB, score >= {threshold}, per MB: "
                    + ", ".join(f"{kind} {n / part_size:.2f}" for kind, n in sorted(theirs.items()))
                )
        shown: dict[str, set[str]] = defaultdict(set)
        order = random.Random(2).sample(range(len(texts)), len(texts))
        for row in order if num_shown else ():
            for start, end, kind in found[row]:
                hit = texts[row][start:end]
                if len(shown[kind]) < num_shown and hit not in shown[kind]:
                    shown[kind].add(hit)
                    print(f"  {kind:13} {texts[row][max(0, start - 40) : start]!r} {hit[:80]!r}")
    words = " ".join(" ".join(text.split()) for text in collections["near_duplicates"])
    clean = "".join(c for c in words[:20_000_000] if not c.isdigit() and c != "@")
    pages = [clean[start : start + 8000] for start in range(0, len(clean), 8000)]
    print(f"\nprose without digits and @: {len(clean) / 1e6:.1f} M characters, {speed(pages):.0f} MB/s/core")


def speed(texts: Sequence[str]) -> float:
    """MB of UTF-8 a second of processor time."""
    table = pa.table({"text": pa.array(texts, pa.large_string())})
    pii.find_spans(pii.Config(), table.slice(0, 10), bytes(32))
    seconds = []
    for _ in range(NUM_RUNS):
        started = time.process_time()
        pii.find_spans(pii.Config(), table, bytes(32))
        seconds.append(time.process_time() - started)
    return sum(len(text.encode()) for text in texts) / 1e6 / statistics.median(seconds)


if __name__ == "__main__":
    main()
