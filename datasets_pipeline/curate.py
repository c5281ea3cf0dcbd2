"""The data path top to bottom, without an orchestrator: sources in, a published corpus version out.

Flows run the same steps as Prefect tasks; this is how they read in one place, and how a notebook, a
test or a machine without a server runs them.
"""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datasets_pipeline.acquire import SourceSnapshot, acquire, units_of
from datasets_pipeline.analyse import analyse
from datasets_pipeline.decide import decide
from datasets_pipeline.parallel import Pool
from datasets_pipeline.publish import publish_corpus
from datasets_pipeline.sources.places import local_place
from ingot import store_identity
from ingot.config import NamedConfig, Recipe
from ingot.errors import RecipeError
from ingot.ledger import Actor
from ingot.refs import CorpusRef
from ingot.settings import Settings, expand_place
from ingot.storage import Store

Progress = Callable[[str, int, int], None]


def curate(
    store: Store,
    recipe: Recipe,
    settings: Settings,
    pool: Pool,
    *,
    actor: Actor,
    now: datetime | None = None,
    provenance: Mapping[str, Any] | None = None,
    on_progress: Progress | None = None,
) -> CorpusRef:
    """Turn the recipe's sources into a published corpus version."""
    now = now or datetime.now(UTC)
    snapshots = [
        acquire_source(store, entry, settings, pool, now=now, on_progress=on_progress) for entry in recipe.sources
    ]
    analyse(store, units_of(store, snapshots), recipe.rules, pool, on_progress=on_progress)
    salt = bytes.fromhex(store_identity.initialise(store, now=now))
    decided = decide(store, recipe, snapshots, pool, salt=salt)
    return publish_corpus(
        store,
        recipe,
        decided,
        pool,
        salt=salt,
        actor=actor,
        provenance={**run_provenance(now), "sources": source_counts(snapshots), **(provenance or {})},
        on_progress=on_progress,
    )


def acquire_source(
    store: Store,
    entry: NamedConfig,
    settings: Settings,
    pool: Pool,
    *,
    now: datetime,
    on_progress: Progress | None = None,
) -> SourceSnapshot:
    """Bring the store up to date with one source; RecipeError when its place may not be read."""
    place = expand_place(entry.config.uri, settings.environ)
    check_source_root(place, settings.source_roots)
    return acquire(
        store,
        entry,
        pool,
        place=place,
        unit_bytes=settings.unit_bytes,
        now=now.isoformat(timespec="seconds"),
        jail=settings.jail,
        on_progress=on_progress,
    )


def check_source_root(place: str, roots: tuple[Path, ...] | None) -> None:
    """Refuse a local place outside INGOT_SOURCE_ROOTS."""
    local = local_place(place)
    if roots is None or local is None:
        return
    path = local.resolve()
    if not any(path == root or root in path.parents for root in roots):
        raise RecipeError(
            f"source {path} lies outside INGOT_SOURCE_ROOTS ({':'.join(map(str, roots))}); "
            "move it below one of them or add its folder to the setting"
        )


def source_counts(snapshots: list[SourceSnapshot]) -> dict[str, Any]:
    """What each source's look gave, for a version's provenance."""
    return {s.source: {"record": s.record_key, "files": s.counts, "quarantined": s.reasons} for s in snapshots}


def run_provenance(now: datetime) -> dict[str, Any]:
    """Who wrote a version, when and with which code; never hashed."""
    from ingot.revision import code_revision

    return {"time": now.isoformat(timespec="seconds"), "host": os.uname().nodename, "code": code_revision()}
