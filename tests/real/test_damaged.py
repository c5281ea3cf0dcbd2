"""Damaged files beside good ones: every good one is kept as it was, every other is accounted for."""

import random
from collections.abc import Iterator
from pathlib import Path

from datasets_pipeline import looks
from datasets_pipeline.acquire import acquire, units_of
from datasets_pipeline.parallel import InProcessPool
from datasets_pipeline.sources import folder
from datasets_pipeline.sources.base import REASONS
from ingot.config import NamedConfig
from ingot.parquet import read_table
from ingot.storage import Store
from tests.extract.real_documents import unpack

_SUFFIXES = (".docx", ".pptx", ".xlsx", ".odt", ".pdf", ".html", ".md", ".eml", ".csv")
_DAMAGED = 60


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes cut off, with flipped bits, or with a zeroed block."""
    kind = rng.randrange(3)
    place = rng.randrange(len(data))
    if kind == 0:
        return data[:place]
    if kind == 1:
        changed = bytearray(data)
        for _ in range(rng.randrange(1, 40)):
            changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    return data[:place] + bytes(min(4096, len(data) - place)) + data[place + 4096 :]


def documents_of(place: Path, store: Store) -> tuple[dict[str, set[bytes]], dict[str, int]]:
    """Ids by file, and the counts of the look."""
    config = folder.Config(name="real", uri=str(place), ocr_languages=None)
    entry = NamedConfig(kind="source", name="folder", config=config)
    now = "2026-01-01T02:00:00+00:00"
    look = acquire(store, entry, InProcessPool(), place=str(place), unit_bytes=1 << 22, now=now)
    found: dict[str, set[bytes]] = {}
    for unit, _ in units_of(store, [look]):
        for row in read_table(store, f"documents/{unit}.parquet", columns=["uri", "doc_id"]).to_pylist():
            found.setdefault(row["uri"].split("!/")[0], set()).add(row["doc_id"])
    return found, look.counts


def good_files(tmp_path: Path) -> Iterator[Path]:
    """Two small files of every type."""
    for source in ("docling-tests", "unstructured-examples"):
        root = unpack(source, tmp_path, suffixes=_SUFFIXES, limit=200, max_bytes=60_000)
        for suffix in _SUFFIXES:
            yield from sorted(root.rglob(f"*{suffix}"))[:2]


def test_damaged_files_cost_nothing_of_the_good_ones(tmp_path: Path) -> None:
    good, both = tmp_path / "good", tmp_path / "both"
    sources = list(good_files(tmp_path / "raw"))
    for number, path in enumerate(sources):
        for place in (good, both):
            place.mkdir(exist_ok=True)
            (place / f"good-{number}{path.suffix}").write_bytes(path.read_bytes())
    rng = random.Random(4)
    for number in range(_DAMAGED):
        path = rng.choice(sources)
        suffix = rng.choice(_SUFFIXES) if number % 6 == 0 else path.suffix  # some are wrongly named as well
        (both / f"bad-{number}{suffix}").write_bytes(damaged(path.read_bytes(), rng))
    alone, _ = documents_of(good, Store(str(tmp_path / "alone")))
    store = Store(str(tmp_path / "store"))
    found, counts = documents_of(both, store)
    assert len(alone) >= 15
    assert {uri: ids for uri, ids in found.items() if uri.startswith("good-")} == alone
    assert counts["seen"] == len(sources) + _DAMAGED == counts["read"] + counts["quarantined"]
    refused = [row for row in looks.quarantined(store, looks.last_look(store, "real")) if row.whole_file]
    assert len({row.uri for row in refused}) == counts["quarantined"] > 0
    assert all(row.reason in REASONS and row.detail for row in refused)
