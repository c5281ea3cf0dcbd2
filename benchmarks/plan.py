"""How near `ingot plan` comes on real files: its prediction beside the run itself, by stage.

    python benchmarks/plan.py [--files 150] [--sources helm-docs cncf-glossary eips]

Prints, for a sample of so many files a source, the relative error of documents, drops, bytes, store, tokens, processor
time by stage and peak memory, and the memory that `decide` took for a document.
"""

import argparse
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets_pipeline.acquire import units_of  # noqa: E402
from datasets_pipeline.analyse import analyse  # noqa: E402
from datasets_pipeline.curate import acquire_source, run_provenance, source_counts  # noqa: E402
from datasets_pipeline.decide import decide  # noqa: E402
from datasets_pipeline.insight.plan import plan  # noqa: E402
from datasets_pipeline.insight.process_meter import Meter, tree_bytes  # noqa: E402
from datasets_pipeline.parallel import open_pool  # noqa: E402
from datasets_pipeline.publish import publish_corpus  # noqa: E402
from ingot import manifest, store_identity  # noqa: E402
from ingot.ledger import Actor  # noqa: E402
from ingot.storage import Store  # noqa: E402
from tests.insight.test_plan import road_of  # noqa: E402


def main() -> None:
    """Plan, run, compare."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--files", type=int, default=150)
    options.add_argument("--workers", type=int, default=0)
    options.add_argument("--sources", nargs="+", default=["helm-docs", "cncf-glossary", "eips"])
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        road = road_of(Path(name), arguments.sources)
        with open_pool(arguments.workers, scratch=Path(name) / "pool") as pool:
            found = plan(
                road.store, road.recipe, road.settings, pool, now=datetime.now(UTC), at_least=arguments.files
            )
            cpu, peak, per_document, last = run(road.store, road.recipe, road.settings, pool)
    books, statistics = last.identity.accounting, last.identity.statistics
    waterfall = Counter({f"{rule}: {reason}": num for rule, reason, num in statistics["waterfall"]})
    drops = {k: num for k, num in waterfall.items() if not k.startswith(("dedup", "heldout"))}
    print(f"{found.files_read} of {found.files} files, {found.bytes_read:,} of {found.bytes:,} bytes")
    show("documents", found.documents, books["documents"])
    show("let through by the rules", found.passed, books["documents"] - sum(drops.values()))
    for reason, num in sorted(drops.items(), key=lambda item: -item[1])[:6]:
        show(reason, found.drops.get(reason, 0), num)
    for stage, seconds in cpu.items():
        show(f"processor seconds: {stage}", found.cpu_seconds[stage], seconds)
    show("processor seconds", sum(found.cpu_seconds.values()), sum(cpu.values()))
    show("peak memory in MB", found.peak_bytes / 1e6, peak / 1e6)
    print(f"decide took {per_document:,.0f} bytes of memory a document")


def run(store: Store, recipe: Any, settings: Any, pool: Any) -> tuple[dict[str, float], int, float, manifest.Manifest]:
    """The real run, stage by stage: processor seconds, peak memory, memory of decide per document, the version."""
    now, cpu, peak = datetime.now(UTC), {}, 0
    salt = bytes.fromhex(store_identity.initialise(store))
    with Meter() as meter:
        snapshots = [acquire_source(store, entry, settings, pool, now=now) for entry in recipe.sources]
    cpu["acquire"], peak = meter.cost.cpu_seconds, max(peak, meter.cost.peak_bytes)
    with Meter() as meter:
        analyse(store, units_of(store, snapshots), recipe.rules, pool)
    cpu["analyse"], peak = meter.cost.cpu_seconds, max(peak, meter.cost.peak_bytes)
    before = tree_bytes()
    with Meter() as meter:
        decided = decide(store, recipe, snapshots, pool, salt=salt)
    cpu["decide"], peak = meter.cost.cpu_seconds, max(peak, meter.cost.peak_bytes)
    per_document = (meter.cost.peak_bytes - before) / decided.accounting["documents"]
    with Meter() as meter:
        ref = publish_corpus(
            store, recipe, decided, pool, salt=salt, actor=Actor.current(),
            provenance={**run_provenance(now), "sources": source_counts(snapshots)},
        )  # fmt: skip
    cpu["publish"], peak = meter.cost.cpu_seconds, max(peak, meter.cost.peak_bytes)
    return cpu, peak, per_document, manifest.read(store, ref.corpus, ref.version)


def show(what: str, predicted: float, measured: float) -> None:
    """One line: predicted, measured, by how much it is off."""
    off = (predicted - measured) / max(1e-9, abs(measured))
    print(f"{what:48} {predicted:14,.1f} {measured:14,.1f} {off:+8.1%}")


if __name__ == "__main__":
    main()
