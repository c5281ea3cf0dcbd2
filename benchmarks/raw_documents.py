"""Acquisition of the shared raw documents (8,140 files), beside what other tools find in them.

    python benchmarks/raw_documents.py [--sources docling-tests,eips] [--cache FOLDER] [--json FILE]

Prints: agreement in both ways with tests/real/expected_failures.tsv; the share of the words of another tool's text that
ours has, per file type; the language of pages whose path states one, by the model alone; files and bytes a second; and
the seconds of a second run with nothing changed. Needs poppler-utils, LibreOffice (with calc) and maildrop (Debian).
Exits 1 when a difference is not in tests/real/known_differences.tsv, or one of that list no longer occurs.
"""

import argparse
import gzip
import json
import re
import statistics
import sys
import tarfile
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from expected_failures import LIST, RAW
from reference_tools import reference

from datasets_pipeline import looks
from datasets_pipeline.acquire import acquire, units_of
from datasets_pipeline.features import compute_features
from datasets_pipeline.parallel import open_pool
from datasets_pipeline.sources import folder as folder_source
from ingot.config import NamedConfig
from ingot.parquet import read_table
from ingot.storage import Store

_WORD = re.compile(r"\w+")
_LOW = 0.8
_KNOWN = LIST.with_name("known_differences.tsv")


def main() -> None:
    """Read everything, then compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", help="names of sources, separated by commas (default: all)")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "ingot-reference")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    chosen = options.sources.split(",") if options.sources else None
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for archive in sorted(RAW.glob("*.tar.xz")):
            if chosen is None or archive.name.split(".")[0] in chosen:
                with tarfile.open(archive) as members:
                    members.extractall(root / "raw", filter="data")
        found = _read(root)
        result = {
            **found["speed"],
            "agreement": _agreement(found, chosen),
            "recall": _recall(root / "raw", found["texts"], options.cache),
            "language": _languages(found["texts"]),
        }
    if options.json:
        options.json.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    sys.exit(0 if _are_as_known(_differences(result), chosen) else 1)


def _read(root: Path) -> dict[str, Any]:
    """Both runs of ours: texts by file, quarantined files with reasons, speed."""
    store = Store(str(root / "store"), scratch_root=root / "scratch")
    place = str(root / "raw")
    entry = NamedConfig(
        kind="source", name="folder", config=folder_source.Config(name="raw", uri=place, max_file_bytes=1 << 30)
    )
    seconds = []
    with open_pool(2, scratch=root / "scratch") as pool:
        for day in (1, 2):
            begun = time.perf_counter()
            snapshot = acquire(
                store, entry, pool, place=place, unit_bytes=32 << 20, now=f"2026-01-0{day}T02:00:00+00:00"
            )
            seconds.append(time.perf_counter() - begun)
            if day == 1:
                first = snapshot
    texts: dict[str, list[str]] = defaultdict(list)
    for unit, _ in units_of(store, [first]):
        for row in read_table(store, f"documents/{unit}.parquet", columns=["uri", "text"]).to_pylist():
            texts[row["uri"].split("!/")[0]].append(row["text"])
    refused = {q.uri: q.reason for q in looks.quarantined(store, looks.last_look(store, "raw")) if q.whole_file}
    size = sum(path.stat().st_size for path in (root / "raw").rglob("*") if path.is_file())
    files = first.counts["seen"]
    print(f"{files:,} files, {size / 1e6:.0f} MB: {first.counts['read']:,} read, {first.counts['quarantined']} "
          f"quarantined {first.reasons}")  # fmt: skip
    print(f"first run {seconds[0]:.1f} s ({files / seconds[0]:.0f} files/s, {size / 1e6 / seconds[0]:.1f} MB/s), "
          f"second run with nothing changed {seconds[1]:.2f} s ({100 * seconds[1] / seconds[0]:.1f} %)")  # fmt: skip
    speed = {"files": files, "bytes": size, "first_seconds": seconds[0], "second_seconds": seconds[1]}
    return {"texts": {uri: "\n\n".join(parts) for uri, parts in texts.items()}, "refused": refused, "speed": speed}


def _agreement(found: dict[str, Any], chosen: list[str] | None) -> dict[str, Any]:
    lines = [line.split("\t") for line in LIST.read_text().splitlines()[1:]]
    expected = {path: reason for path, reason, _ in lines if chosen is None or path.split("/")[0] in chosen}
    refused = found["refused"]
    unexpected = {uri: reason for uri, reason in sorted(refused.items()) if uri not in expected}
    readable = {uri: reason for uri, reason in sorted(expected.items()) if uri not in refused}
    other = {
        uri: (reason, expected[uri])
        for uri, reason in sorted(refused.items())
        if uri in expected and reason not in expected[uri].split("|")
    }
    print(f"expected to fail {len(expected)}, failed {len(refused)}; both {len(expected.keys() & refused.keys())}")
    for title, rows in (
        ("failed and not expected", unexpected), ("expected and read", readable), ("for another reason", other)
    ):  # fmt: skip
        print(f"  {title}: {len(rows)}")
        for uri, reason in rows.items():
            print(f"    {reason}  {uri}")
    return {"unexpected": unexpected, "readable": readable, "other_reason": other}


def _recall(raw: Path, texts: dict[str, str], cache: Path) -> dict[str, Any]:
    """Share of another tool's words (as a multiset) that our text has, per type."""
    shares: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for uri, text in texts.items():
        path = raw / uri
        known = reference(path, cache)
        wanted = Counter(_WORD.findall(known.text.lower()))
        if wanted:
            have = Counter(_WORD.findall(text.lower()))
            shares[path.suffix.lower()].append(((wanted & have).total() / wanted.total(), uri))
    print("words of another tool's text that ours has, by type: files, median, lowest, files below 80 %")
    result = {}
    for ending, rows in sorted(shares.items()):
        low = sorted(row for row in rows if row[0] < _LOW)
        median, lowest = statistics.median(share for share, _ in rows), min(rows)[0]
        print(f"  {ending:10} {len(rows):6,}  {median:.3f}  {lowest:.3f}  {len(low)}")
        for share, uri in low[:40]:
            print(f"      {share:.3f}  {uri}")
        result[ending] = {"files": len(rows), "median": median, "lowest": lowest, "low": [uri for _, uri in low]}
    return result


def _differences(result: dict[str, Any]) -> set[tuple[str, str]]:
    """(path, kind) of each file of which ours and the other tools say different things."""
    agreement, recall = result["agreement"], result["recall"]
    return {
        *((uri, "unexpected") for uri in agreement["unexpected"]),
        *((uri, "read") for uri in agreement["readable"]),
        *((uri, "reason") for uri in agreement["other_reason"]),
        *((uri, "words") for of_type in recall.values() for uri in of_type["low"]),
    }


def _are_as_known(found: set[tuple[str, str]], chosen: list[str] | None) -> bool:
    """Whether the differences are those that the list explains, for the chosen sources; prints the others."""
    lines = (line.split("\t") for line in _KNOWN.read_text().splitlines()[1:])
    known = {(path, kind) for path, kind, _ in lines if chosen is None or path.split("/")[0] in chosen}
    print(f"differences {len(found)}, explained in {_KNOWN.name} {len(found & known)}")
    for title, rows in (("not explained", found - known), ("explained, and no longer there", known - found)):
        for uri, kind in sorted(rows):
            print(f"  {title}: {kind}  {uri}")
    return found == known


def _languages(texts: dict[str, str]) -> dict[str, Any]:
    """How often the model alone finds the language that a page's path states."""
    with gzip.open(RAW / "manifest.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    stated = {f"{row['source']}/{row['path']}": row["lang"][:2] for row in rows if row.get("lang")}
    pages = [(uri, text) for uri, text in texts.items() if uri in stated and len(text.split()) >= 20]
    if not pages:
        return {}
    kinds = pa.array(["text/markdown"] * len(pages))
    found = compute_features(
        pa.array([text for _, text in pages], pa.large_string()), kinds, pa.nulls(len(pages), pa.string())
    )
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for (uri, _), language in zip(pages, found["language"].to_pylist(), strict=True):
        total[stated[uri]] += 1
        right[stated[uri]] += language == stated[uri]
    print(f"language right on {right.total():,} of {total.total():,} pages with a path language "
          f"({100 * right.total() / total.total():.2f} %, goal 98)")  # fmt: skip
    print("  " + ", ".join(f"{name} {right[name]}/{total[name]}" for name in sorted(total)))
    return {"right": right.total(), "pages": total.total(), "by_language": {n: [right[n], total[n]] for n in total}}


if __name__ == "__main__":
    main()
