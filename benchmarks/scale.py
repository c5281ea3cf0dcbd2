"""A generated corpus curated end to end: speed, seconds and memory of each stage, recall on the planted edits.

    python benchmarks/scale.py [--megabytes 200] [--workers 2] [--scratch FOLDER] [--keep]

Memory is the proportional set size (PSS: private pages, and a share of those that processes have in common) of the
process that runs the flow, its workers and the jails of their parsers, summed, looked at twice a second. A corpus of
the same size that is there already is used again.
"""

import argparse
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.large_corpus import planted_pairs, write_corpus
from benchmarks.store_salt import SALT
from datasets_pipeline.acquire import units_of
from datasets_pipeline.analyse import analyse
from datasets_pipeline.curate import acquire_source, run_provenance, source_counts
from datasets_pipeline.decide import decide
from datasets_pipeline.parallel import open_pool
from datasets_pipeline.publish import publish_corpus
from ingot import manifest, store_identity
from ingot.config import parse_recipe
from ingot.ledger import Actor
from ingot.parquet import read_table
from ingot.settings import Settings
from ingot.storage import Store

RULES: list[dict[str, Any]] = [
    {"rule": "language", "keep": ["en"]},
    {"rule": "length", "min_words": 20},
    {"rule": "gopher_quality", "max_non_alpha_words_ratio": 0.7},
    {"rule": "gopher_repetition"},
    {"rule": "pii", "policy": "redact"},
]


NIGHT = "The office keeps a list of what the boats bring and of who has asked for it during the week. " * 3


@dataclass
class Stage:
    """What one stage took."""

    seconds: float = 0.0
    peak: int = 0
    """Bytes of PSS of all processes together, at the most."""
    peak_main: int = 0
    processor: float = 0.0


@dataclass
class Watch:
    """Looks at the memory of this process and all below it while stages run."""

    looks: bool = True
    """Whether memory is looked at: that takes a tenth of a core, and processes wait meanwhile."""
    stages: dict[str, Stage] = field(default_factory=dict)
    _now: str | None = None
    _ended: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator["Watch"]:
        """Look twice a second until the block ends."""
        thread = threading.Thread(target=self._look_on, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and have what is seen counted as its own."""
        stage = self.stages[name] = Stage()
        self._now = name
        begun, spent = time.perf_counter(), _processor_seconds()
        yield
        self._look()
        stage.seconds, stage.processor = time.perf_counter() - begun, _processor_seconds() - spent
        self._now = None

    def _look_on(self) -> None:
        while not self._ended.wait(0.5):
            self._look()

    def _look(self) -> None:
        stage = self.stages.get(self._now or "")
        if stage is None or not self.looks:
            return
        main = proportional_bytes(os.getpid())
        children = psutil.Process().children(recursive=True)
        stage.peak = max(stage.peak, main + sum(proportional_bytes(child.pid) for child in children))
        stage.peak_main = max(stage.peak_main, main)


def proportional_bytes(pid: int) -> int:
    """PSS of a process; 0 when it has gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as lines:
            return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
    except OSError:
        return 0


def _processor_seconds() -> float:
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def recipe_values(folder: Path) -> dict[str, Any]:
    """A recipe over the files of a generated corpus."""
    return {
        "corpus": "generated",
        "sources": [{"source": "jsonl", "name": "generated", "uri": str(folder), "licence": "CC-BY-4.0"}],
        "rules": RULES,
    }


def run(
    folder: Path, home: Path, workers: int, *, unit_bytes: int | None = None, looks: bool = True
) -> tuple[Watch, Store, str]:
    """Curate a corpus in the store of a home; (what it took, the store, the version's name)."""
    values = {"INGOT_HOME": str(home), "INGOT_WORKERS": str(workers)}
    if unit_bytes is not None:
        values["INGOT_UNIT_BYTES"] = str(unit_bytes)
    settings = Settings.from_environment(values)
    recipe = parse_recipe(recipe_values(folder))
    store = Store(settings.store, scratch_root=settings.scratch)
    now = datetime.now(UTC)
    # First: whoever asks for the keys of a store without any gives it a salt of its own, and so another draw.
    salt = bytes.fromhex(store_identity.initialise(store, now=now, salt=SALT))
    watch = Watch(looks)
    numba = os.environ.get("NUMBA_CACHE_DIR")
    with (
        watch.running(),
        open_pool(workers, scratch=settings.scratch, numba_cache=Path(numba) if numba else None) as pool,
    ):
        with watch.stage("acquire"):
            looks = [acquire_source(store, entry, settings, pool, now=now) for entry in recipe.sources]
        with watch.stage("analyse"):
            analyse(store, units_of(store, looks), recipe.rules, pool)
        with watch.stage("decide"):
            decided = decide(store, recipe, looks, pool, salt=salt)
        with watch.stage("publish"):
            ref = publish_corpus(
                store,
                recipe,
                decided,
                pool,
                salt=salt,
                actor=Actor("person", "a benchmark", "declared"),
                provenance={**run_provenance(now), "sources": source_counts(looks)},
            )
    return watch, store, ref.name


def recall(store: Store, name: str, folder: Path) -> dict[str, tuple[int, int]]:
    """Planted pairs by similarity: (pairs of which not both are kept, pairs whose two texts no rule drops)."""
    corpus, version = manifest.find(store, name)
    kept: set[bytes] = set()
    near: set[bytes] = set()
    for part in manifest.read(store, corpus, version).identity.decisions:
        columns = ["doc_id", "final", "outcome", "rule"]
        table = read_table(store, f"decisions/{part.sha256}.parquet", columns=columns)
        for doc_id, final, outcome, rule in zip(*(table[c].to_pylist() for c in columns), strict=True):
            if final and outcome == "kept":
                kept.add(doc_id)
            elif final and (rule in ("dedup.near", "heldout")):
                near.add(doc_id)
    found: dict[str, tuple[int, int]] = {}
    let_through = kept | near
    for pair in planted_pairs(folder):
        if not {pair.left, pair.right} <= let_through:
            continue
        label = next((f">= {bound}" for bound in (0.9, 0.8, 0.7) if pair.jaccard >= bound), "below 0.7")
        hit, num = found.get(label, (0, 0))
        found[label] = hit + (not {pair.left, pair.right} <= kept), num + 1
    return dict(sorted(found.items(), reverse=True))


def main() -> None:
    """Generate, curate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--unit-bytes", type=int, default=None)
    parser.add_argument("--scratch", type=Path, default=Path("/var/tmp/ingot-scale"))
    parser.add_argument("--speed", action="store_true", help="time only, without looking at memory, which costs time")
    parser.add_argument("--again", action="store_true", help="then a night that brings ten documents")
    parser.add_argument("--keep", action="store_true", help="leave the store for a look")
    options = parser.parse_args()
    folder = options.scratch / f"corpus-{options.megabytes}"
    if not (folder / "planted.tsv").exists():
        shutil.rmtree(folder, ignore_errors=True)  # a killed start left half of it
        num, size = write_corpus(folder, options.megabytes * 1_000_000)
        (folder / "size.json").write_text(json.dumps({"documents": num, "bytes": size}))
    size = json.loads((folder / "size.json").read_text())
    home = options.scratch / f"home-{options.megabytes}-{options.workers}"
    shutil.rmtree(home, ignore_errors=True)
    watch, store, name = run(folder, home, options.workers, unit_bytes=options.unit_bytes, looks=not options.speed)
    print_stages(watch, size["bytes"] / 1e6, size["documents"], options.workers)
    corpus, version = manifest.find(store, name)
    identity = manifest.read(store, corpus, version).identity
    print(f"  {identity.accounting}; content {identity.content_digest[:12]}, root {identity.root_digest[:12]}")
    for label, (hit, num) in recall(store, name, folder).items():
        print(f"  planted pairs {label}: {hit:,} of {num:,} found ({hit / num:.4f})")
    if options.again:
        more = folder / "part-night.jsonl"
        more.write_text("".join(json.dumps({"text": f"Page {i} of a night. " + NIGHT}) + "\n" for i in range(10)))
        try:
            watch, *_ = run(folder, home, options.workers, unit_bytes=options.unit_bytes, looks=not options.speed)
        finally:
            more.unlink()
        print("a night that brings ten documents:")
        print_stages(watch, size["bytes"] / 1e6, size["documents"], options.workers)
    if not options.keep:
        shutil.rmtree(home, ignore_errors=True)


def print_stages(watch: Watch, megabytes: float, documents: int, workers: int) -> None:
    """What a run took, in all and by stage."""
    total = sum(stage.seconds for stage in watch.stages.values())
    spent = sum(stage.processor for stage in watch.stages.values())
    print(f"{documents:,} documents, {megabytes:,.0f} MB, {workers} workers: {total:.1f} s")
    print(f"  {megabytes / total:.2f} MB/s end to end, {megabytes / spent:.2f} MB per second of processor time")
    for stage_name, stage in watch.stages.items():
        each = f", {1e6 * stage.processor / documents:.0f} us of them a document"
        took = f"{stage.seconds:8.1f} s ({stage.processor:8.1f} s of processors{each})"
        peaks = f", peak of all processes {stage.peak / 1e6:7.0f} MB, of the flow's {stage.peak_main / 1e6:7.0f} MB"
        print(f"  {stage_name:8} {took}{peaks if watch.looks else ''}")
    if watch.looks:
        print(f"  peak of the sum of all processes (PSS): {max(s.peak for s in watch.stages.values()) / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
