"""Runs of the whole data path over a corpus, with what each of them did."""

import copy
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from datasets_pipeline import curate as curate_module
from datasets_pipeline.acquire import SourceSnapshot
from datasets_pipeline.parallel import InProcessPool, Killed, Pool
from datasets_pipeline.worker_units import Done
from ingot import manifest, store_identity
from ingot.config import Recipe, parse_recipe
from ingot.ledger import Actor
from ingot.manifest import Manifest
from ingot.parquet import read_table
from ingot.refs import CorpusRef
from ingot.settings import Settings
from ingot.storage import Store
from tests.curation.pages import Corpus, recipe_of

SALT = "5a17" * 8
ACTOR = Actor("person", "a tester", "declared")


@dataclass(frozen=True)
class Night:
    """One run: what it named or published, and what each source's look counted."""

    ref: CorpusRef
    manifest: Manifest
    looks: tuple[SourceSnapshot, ...]

    @property
    def files(self) -> dict[str, dict[str, int]]:
        """Per source: seen, read, unchanged, quarantined, opened, gone, superseded."""
        return {look.source: look.counts for look in self.looks}

    @property
    def reasons(self) -> dict[str, dict[str, int]]:
        """Per source: quarantined files by reason."""
        return {look.source: look.reasons for look in self.looks}

    @property
    def digests(self) -> tuple[str, str, str]:
        """Content, root and identity digest."""
        return (self.ref.content_digest, self.ref.root_digest, self.ref.identity_digest)

    @property
    def opened(self) -> int:
        return sum(counts["opened"] for counts in self.files.values())


@dataclass
class Road:
    """A store and a home in a folder of their own; several roads may lead over one corpus."""

    corpus: Corpus
    folder: Path
    unit_bytes: int = 6000
    values: dict[str, Any] = field(default_factory=dict)
    """Recipe sections that replace those of the corpus."""

    def __post_init__(self) -> None:
        self.store = Store(str(self.folder / "store"), scratch_root=self.settings.scratch)

    @property
    def settings(self) -> Settings:
        return Settings.from_environment(
            {"INGOT_HOME": str(self.folder / "home"), "INGOT_UNIT_BYTES": str(self.unit_bytes)}
        )

    @property
    def recipe(self) -> Recipe:
        return parse_recipe(copy.deepcopy({**self.corpus.recipe, **self.values}))

    def run(self, pool: Pool | None = None) -> Night:
        """Curate once, in this process unless a pool is given; the store's salt is the same for all roads."""
        store_identity.initialise(self.store, salt=SALT)
        looks: list[SourceSnapshot] = []
        look = curate_module.acquire_source

        def remembered(*args: Any, **options: Any) -> SourceSnapshot:
            looks.append(look(*args, **options))
            return looks[-1]

        with patch.object(curate_module, "acquire_source", remembered):
            ref = curate_module.curate(self.store, self.recipe, self.settings, pool or InProcessPool(), actor=ACTOR)
        return Night(ref, manifest.read(self.store, ref.corpus, ref.version), tuple(looks))

    def decisions(self, night: Night) -> list[dict[str, Any]]:
        """Every decision row of a version."""
        return [
            row
            for part in night.manifest.identity.decisions
            for row in read_table(self.store, f"decisions/{part.sha256}.parquet").to_pylist()
        ]

    def outcomes(self, night: Night) -> dict[str, dict[str, Any]]:
        """The final row of each document, by `source:uri` of its primary occurrence."""
        finals = [row for row in self.decisions(night) if row["final"]]
        rows = {f"{row['source']}:{row['uri']}": row for row in finals}
        assert len(rows) == len(finals)
        return rows

    def shard_rows(self, night: Night, split: str | None = None) -> list[dict[str, Any]]:
        """Rows of a version's shards, in manifest order."""
        return [
            row
            for shard in night.manifest.identity.shards
            if split in (None, shard.split)
            for row in read_table(self.store, f"shards/{shard.sha256}.parquet").to_pylist()
        ]


class WatchingPool:
    """Another pool, with a count of the units each worker finished, by function; it can shuffle the units."""

    def __init__(self, pool: Pool, *, shuffle: int | None = None) -> None:
        self._pool, self._shuffle = pool, shuffle
        self.num_workers = pool.num_workers
        self.done: dict[str, Counter[str]] = {}

    def map(
        self,
        function: Callable[[Any], Any],
        units: Iterable[Any],
        *,
        split: Callable[[Any], Sequence[Any]] | None = None,
    ) -> Iterator[Done | Killed]:
        units = list(units)
        if self._shuffle is not None:
            random.Random(self._shuffle).shuffle(units)
        for item in self._pool.map(function, units, split=split):
            counted = self.done.setdefault(function.__name__, Counter())
            counted[item.worker if isinstance(item, Done) else "killed"] += 1
            yield item

    def renew(self) -> None:
        self._pool.renew()

    def modules(self) -> dict[str, list[str]]:
        return self._pool.modules()

    def num(self, function: str) -> int:
        """Units of a function that came back."""
        return sum(self.done.get(function, Counter()).values())


def small_road(folder: Path, documents: dict[str, dict[str, str]], **sections: Any) -> Road:
    """A road over a few hand-made documents, {source: {uri: text}}: no rules, nothing held out, unless told so."""
    corpus = Corpus(folder / "documents", recipe_of(folder / "documents", [{"name": name} for name in documents]))
    for source, pages in documents.items():
        for uri, text in pages.items():
            corpus.write(source, uri, text)
    return Road(corpus, folder / "road", values={"rules": [], "heldout": {"share": 0.0}, **sections})
