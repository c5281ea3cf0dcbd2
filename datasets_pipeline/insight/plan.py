"""What a curation will do and cost, from a sample of the files: read, analysed, judged and written in a scratch store.

The whole road is run three times: on a handful of files, which warms caches and compilers, on a quarter of the sample
and on all of it. Two sizes tell what is fixed and what grows. Copies cannot be seen in a sample (of two copies in a
thousand files one in a million pairs is drawn together), so their share is the newest version's, where there is one.
"""

import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from datasets_pipeline import tokens as token_files
from datasets_pipeline.acquire import SourceSnapshot, acquire, units_of
from datasets_pipeline.analyse import analyse
from datasets_pipeline.curate import check_source_root
from datasets_pipeline.decide import DecisionsRef, decide
from datasets_pipeline.heldout import EXCLUDED_REASON
from datasets_pipeline.insight.process_meter import Cost, Meter, available_bytes
from datasets_pipeline.insight.sample import AT_LEAST, SHARE, Draw, Kind, kind_of, totals
from datasets_pipeline.insight.version_tables import IN_VERSION, read_decisions
from datasets_pipeline.outcomes import HELDOUT_RULE, NEAR_RULE
from datasets_pipeline.parallel import Pool
from datasets_pipeline.publish import publish_corpus
from datasets_pipeline.tokenizer_sources import copy_tokenizer, made_on
from datasets_pipeline.tokens import TokenizerRef
from ingot import manifest, store_identity
from ingot.config import Expectations, Recipe
from ingot.ledger import Actor
from ingot.manifest import Manifest
from ingot.parquet import read_table
from ingot.settings import Settings, expand_place
from ingot.storage import Store

STAGES = ("acquire", "analyse", "decide", "publish")
_PARTS = {"a few files": 0.02, "a quarter of the sample": 0.25, "the sample": 1.0}
_SALT = "00" * 16
"""Of the sample: the store's own says which documents are held out, which a plan does not."""

# Measured with benchmarks/plan.py; a plan adds them for what a sample is too small to show.
DECIDE_BYTES_PER_DOCUMENT = 16_000
"""Memory of `decide` in the process that runs it, columns and signature included."""
WORKER_BYTES_PER_UNIT_BYTE = 8
"""Memory of a worker over the bytes of files it takes at a time."""
_MANY_DOCUMENTS = 2.0
"""Documents a file from which their number follows the bytes of a kind of file, not the number of files."""


@dataclass(frozen=True)
class Plan:
    """What is predicted; where the sample is everything, what was measured."""

    is_whole: bool
    """Every file was read: the numbers are those of the run, copies included."""
    files: int
    files_read: int
    bytes: int
    bytes_read: int
    documents: int
    drops: dict[str, int]
    """`rule: reason` that owns the drop -> documents."""
    passed: int
    """Documents that no rule drops."""
    duplicates: int | None
    """Documents dropped as near-duplicates; None when nothing says how many."""
    excluded: int | None
    """Documents dropped because they are much like one that is held out; None when nothing says how many."""
    heldout: int
    kept: int
    """Without duplicates where they are not known: at most."""
    kept_bytes: int
    tokens: int
    store_bytes: int
    """What the run adds to an empty store: documents, features, decisions, shards and the rest."""
    seconds: dict[str, float]
    """Wall time by stage, with the settings of now, on a machine as busy as now."""
    cpu_seconds: dict[str, float]
    peak_bytes: int
    """Memory of the run and all its workers at once."""
    available_bytes: int
    free_bytes: int | None
    """On the disk of the store; None for a remote one."""
    sources: dict[str, dict[str, int]]
    """By name: files, files_read, documents, passed."""
    quarantined: dict[str, int]
    """Files of the sample that could not be read, by reason, multiplied."""
    refusals: list[str]
    """What will not fit, with the remedy; empty when everything does."""


@dataclass(frozen=True)
class _Run:
    """One run over a sample."""

    draws: dict[str, Draw]
    snapshots: list[SourceSnapshot]
    decided: DecisionsRef
    published: Manifest
    costs: dict[str, Cost]

    @property
    def bytes(self) -> int:
        return totals(self.draws)[3]


def plan(
    store: Store,
    recipe: Recipe,
    settings: Settings,
    pool: Pool,
    *,
    now: datetime,
    share: float = SHARE,
    at_least: int = AT_LEAST,
    last: Manifest | None = None,
    tokenizer: TokenizerRef | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Plan:
    """Predict a curation of the recipe into this store; last is the newest version of its corpus.

    tokenizer counts the tokens where the recipe's stages take one over; None counts with the one the recipe describes.
    Works in a scratch store that is removed afterwards; nothing is written to `store`.
    """
    recipe = recipe.model_copy(update={"expectations": Expectations(min_documents=0)})
    run = partial(_run, recipe=recipe, settings=settings, pool=pool, now=now, share=share, at_least=at_least)

    def told(what: str, done: int) -> None:
        if on_progress is not None:
            on_progress(what, done, len(STAGES))

    with store.scratch("plan") as folder:
        for name, part in _PARTS.items():
            place = folder / str(part)
            scratch = Store(str(place / "store"), scratch_root=place / "scratch")
            found = run(scratch, part=part, on_stage=partial(told, f"stages over {name}"))
            if part < 1:
                quarter, small = found, _size_of(place / "store")
                shutil.rmtree(place)
        num_tokens = _tokens(store, scratch, recipe, tokenizer, found, pool)
        size = _size_of(place / "store")
        grows = _growing(small, size, quarter.bytes, found.bytes)
        return _predicted(store, recipe, settings, scratch, quarter, found, num_tokens, (size - grows, grows), last)


def _run(
    scratch: Store, *, recipe: Recipe, settings: Settings, pool: Pool, now: datetime, share: float, at_least: int,
    part: float, on_stage: Callable[[int], None],
) -> _Run:  # fmt: skip
    """The data path over a part of the sample, each stage measured; on_stage is told how many stages are done."""
    draws = {e.config.name: Draw(e.config.name, share, at_least, part) for e in recipe.sources}
    on_stage(0)
    costs: dict[str, Cost] = {}
    salt = bytes.fromhex(store_identity.initialise(scratch, salt=_SALT))
    with Meter() as meter:
        snapshots = []
        for entry in recipe.sources:
            place = expand_place(entry.config.uri, settings.environ)
            check_source_root(place, settings.source_roots)
            snapshots.append(
                acquire(
                    scratch, entry, pool, place=place, unit_bytes=settings.unit_bytes,
                    now=now.isoformat(timespec="seconds"), jail=settings.jail, choose=draws[entry.config.name],
                )
            )  # fmt: skip
    costs["acquire"] = meter.cost
    on_stage(1)
    with Meter() as meter:
        analyse(scratch, units_of(scratch, snapshots), recipe.rules, pool)
    costs["analyse"] = meter.cost
    on_stage(2)
    with Meter() as meter:
        decided = decide(scratch, recipe, snapshots, pool, salt=salt)
    costs["decide"] = meter.cost
    on_stage(3)
    with Meter() as meter:
        ref = publish_corpus(
            scratch, recipe, decided, pool, salt=salt, actor=Actor("service", "plan", "declared"),
            provenance={"sources": {s.source: {"record": s.record_key} for s in snapshots}},
        )  # fmt: skip
    costs["publish"] = meter.cost
    on_stage(4)
    return _Run(draws, snapshots, decided, manifest.read(scratch, ref.corpus, ref.version), costs)


def _predicted(
    store: Store, recipe: Recipe, settings: Settings, scratch: Store, quarter: _Run, run: _Run, num_tokens: float,
    size: tuple[int, int], last: Manifest | None,
) -> Plan:  # fmt: skip
    is_whole = all(draw.is_whole for draw in run.draws.values())
    files, total_bytes, files_read, bytes_read = totals(run.draws)
    rows = read_decisions(scratch, run.published.identity.decisions, verdicts=False).final.to_pylist()
    kinds = _Kinds(scratch, run)
    drops: dict[str, float] = defaultdict(float)
    sources: dict[str, dict[str, float]] = {name: defaultdict(float) for name in run.draws}
    documents = passed = passed_bytes = text_bytes = 0.0
    for row in rows:
        num, text = kinds.weights(row["source"], row["uri"])
        documents += num
        text_bytes += text * row["num_bytes"]
        sources[row["source"]]["documents"] += num
        is_dropped = row["outcome"] not in IN_VERSION and row["rule"] not in (NEAR_RULE, HELDOUT_RULE)
        if is_dropped:
            drops[f"{row['rule']}: {row['reason']}"] += num
            continue
        passed += num
        passed_bytes += text * row["num_bytes"]
        sources[row["source"]]["passed"] += num
    books = run.published.identity.accounting
    if is_whole:
        heldout, kept = float(books["heldout"]), float(books["kept"])
        waterfall = run.published.identity.statistics["waterfall"]
        excluded: float | None = float(sum(num for _, reason, num in waterfall if reason == EXCLUDED_REASON))
        duplicates: float | None = passed - heldout - kept - (excluded or 0.0)
    else:
        shares = _shares_dropped(last) if last is not None and recipe.dedup.near else None
        duplicates, excluded = (passed * share for share in shares) if shares else (None, None)
        left = passed - (duplicates or 0.0)
        heldout = left * recipe.heldout.share
        kept = max(0.0, left - heldout - (excluded or 0.0))
    kept_bytes = passed_bytes * kept / passed if passed else 0.0
    sampled_text = sum(row["num_bytes"] for row in rows)
    seconds, cpu = _times(quarter, run, total_bytes)
    peak = _peak(settings, run, round(documents), total_bytes)
    store_bytes = round(size[0] + size[1] * (text_bytes / sampled_text if sampled_text else 1))
    free = _free(store)
    return Plan(
        is_whole=is_whole,
        files=files, files_read=files_read, bytes=total_bytes, bytes_read=bytes_read,
        documents=round(documents),
        drops={name: round(num) for name, num in sorted(drops.items(), key=lambda item: -item[1])},
        passed=round(passed), duplicates=None if duplicates is None else round(duplicates),
        excluded=None if excluded is None else round(excluded),
        heldout=round(heldout), kept=round(kept), kept_bytes=round(kept_bytes), tokens=round(num_tokens * kept_bytes),
        store_bytes=store_bytes,
        seconds={name: round(value, 2) for name, value in seconds.items()},
        cpu_seconds={name: round(value, 2) for name, value in cpu.items()},
        peak_bytes=peak, available_bytes=available_bytes(), free_bytes=free,
        sources={
            name: {
                "files": sum(kind.files for kind in draw.kinds.values()),
                "files_read": sum(kind.drawn_files for kind in draw.kinds.values()),
                "documents": round(sources[name]["documents"]), "passed": round(sources[name]["passed"]),
            }
            for name, draw in run.draws.items()
        },
        quarantined=kinds.quarantined(),
        refusals=_refusals(peak, available_bytes(), store_bytes, free, settings),
    )  # fmt: skip


class _Kinds:
    """What a document of the sample stands for."""

    def __init__(self, scratch: Store, run: _Run) -> None:
        self._draws = run.draws
        self._files: dict[str, dict[str, Any]] = {}
        for snapshot in run.snapshots:
            table = read_table(scratch, snapshot.record_key, columns=["uri", "outcome", "reason", "num_rows"])
            self._files[snapshot.source] = {row["uri"]: row for row in table.to_pylist()}
        self._documents: Counter[tuple[str, str]] = Counter()
        for source, files in self._files.items():
            for uri, row in files.items():
                self._documents[source, kind_of(uri)] += row["num_rows"]

    def weights(self, source: str, uri: str) -> tuple[float, float]:
        """(documents, bytes) of all files for one of the sample's."""
        kind, name = self._kind(source, uri)
        per_file = self._documents[source, name] / max(1, kind.drawn_files)
        return (kind.by_bytes if per_file > _MANY_DOCUMENTS else kind.by_files), kind.by_bytes

    def _kind(self, source: str, uri: str) -> tuple[Kind, str]:
        kinds, place = self._draws[source].kinds, uri
        while place and place not in self._files[source]:
            place = place.rpartition("!/")[0] or place.rpartition("/")[0]
        name = kind_of(place or uri)
        return kinds.get(name) or _together(kinds), name

    def quarantined(self) -> dict[str, int]:
        """Files that could not be read, by reason."""
        counts: dict[str, float] = defaultdict(float)
        for source, files in self._files.items():
            for uri, row in files.items():
                if row["outcome"] == "quarantined":
                    counts[row["reason"] or "unknown"] += self._draws[source].kinds[kind_of(uri)].by_files
        return {reason: round(num) for reason, num in sorted(counts.items(), key=lambda item: -item[1])}


def _together(kinds: Mapping[str, Kind]) -> Kind:
    every = kinds.values()
    return Kind(
        sum(k.files for k in every), sum(k.bytes for k in every),
        sum(k.drawn_files for k in every), sum(k.drawn_bytes for k in every),
    )  # fmt: skip


def _shares_dropped(last: Manifest) -> tuple[float, float]:
    """Of the documents that the rules of the last version let through, the shares dropped as near-duplicates and for
    being much like one that is held out."""
    waterfall = last.identity.statistics["waterfall"]
    near = sum(num for rule, _, num in waterfall if rule == NEAR_RULE)
    excluded = sum(num for _, reason, num in waterfall if reason == EXCLUDED_REASON)
    passed = last.identity.accounting["documents"] - sum(
        num for rule, _, num in waterfall if rule not in (NEAR_RULE, HELDOUT_RULE)
    )
    return near / max(1, passed), excluded / max(1, passed)


def _times(quarter: _Run, run: _Run, total_bytes: int) -> tuple[dict[str, float], dict[str, float]]:
    """(wall, processor) seconds by stage: what the sample took, and the rest at the rate between the two sizes."""
    found: tuple[dict[str, float], dict[str, float]] = ({}, {})
    for stage in STAGES:
        for times, name in zip(found, ("seconds", "cpu_seconds"), strict=True):
            small, large = getattr(quarter.costs[stage], name), getattr(run.costs[stage], name)
            average = large / max(1, run.bytes)
            between = (large - small) / max(1, run.bytes - quarter.bytes)
            # Of little work the two sizes differ by noise: between a half and all of the sample's average rate.
            rate = min(max(between, average / 2), average)
            times[stage] = large + rate * (total_bytes - run.bytes)
    return found


def _peak(settings: Settings, run: _Run, documents: int, total_bytes: int) -> int:
    """The sample's peak, and what more documents and larger units take."""
    measured = max(cost.peak_bytes for cost in run.costs.values())
    workers = max(1, settings.workers)

    def unit(size: int) -> int:
        return min(settings.unit_bytes, max(size // (4 * workers), 1 << 20), size)

    more_of_units = workers * WORKER_BYTES_PER_UNIT_BYTE * (unit(total_bytes) - unit(run.bytes))
    more_documents = documents - run.decided.accounting["documents"]
    return measured + max(0, more_of_units) + max(0, more_documents) * DECIDE_BYTES_PER_DOCUMENT


def _refusals(peak: int, available: int, needed: int, free: int | None, settings: Settings) -> list[str]:
    found = []
    if peak > available:
        found.append(
            f"the run needs about {_gb(peak)} of memory, {_gb(available)} are available; set INGOT_WORKERS (now "
            f"{settings.workers}) or INGOT_UNIT_BYTES lower, split the sources over several corpora, or take a larger "
            "machine"
        )
    if free is not None and needed > free:
        found.append(
            f"the store needs about {_gb(needed)} more, {_gb(free)} are free; free space (`ingot gc --dry-run`), or "
            "put the store elsewhere with INGOT_STORE"
        )
    return found


def _gb(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"


def _free(store: Store) -> int | None:
    if not store.is_local:
        return None
    place = Path(store.root)
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _tokens(
    store: Store, scratch: Store, recipe: Recipe, tokenizer: TokenizerRef | None, run: _Run, pool: Pool
) -> float:
    """Tokens per byte of kept text, by this tokenizer, or by the one that the recipe makes of the sample."""
    if not run.published.identity.accounting["kept"]:
        return 0.0
    if tokenizer is not None:
        copy_tokenizer(tokenizer, store, scratch)
    else:
        tokenizer = made_on(scratch, run.published, recipe.tokenizer, lender=store)
    ref = token_files.tokenize(scratch, recipe.corpus, run.published, tokenizer, pool)
    kept = sum(row["kept_bytes"] for row in run.published.identity.statistics["source"].values())
    return ref.num_tokens / max(1, kept)


def _growing(small: int, large: int, small_bytes: int, large_bytes: int) -> int:
    """How much of what the sample left in its store grows with the sources; the rest is there for any sources."""
    between = (large - small) / max(1, large_bytes - small_bytes) * large_bytes
    return round(min(max(between, large / 2), large))


def _size_of(folder: Path) -> int:
    """Bytes of what a curation leaves in a store; tokens are not of it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sum(p.stat().st_size for p in files if p.relative_to(folder).parts[0] not in ("tokens", "tokenizers"))

