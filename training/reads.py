"""Which documents made a checkpoint, and how often each was read: over all corpora of its mixture and all stages.

Everything follows from the manifests of a checkpoint and of those it started from (their sampler records), and
from the `.idx` files of the tokens: index arithmetic, no text, no torch. Costs 8 bytes of memory for each window of
a corpus. A stage counts from where it started: what a run read after the checkpoint that another started from is
not in the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingot import manifest
from ingot.errors import NotFoundError
from ingot.refs import TokensRef
from ingot.storage import Store
from training.batches import Sampler, ShardReads, data_digest, shard_reads
from training.checkpoints import CheckpointManifest, read_manifest
from training.mixtures import SamplerPart, read_sampler
from training.skips import data_ranges


@dataclass(frozen=True)
class CorpusReads:
    """What one stage read of one corpus version: its rows [first_row, end_row) of that corpus."""

    corpus: str
    data_digest: str
    order: SamplerPart
    sequence_length: int
    first_row: int
    end_row: int

    @property
    def tokens_read(self) -> int:
        """Input tokens read, repeats included."""
        return (self.end_row - self.first_row) * self.sequence_length

    @property
    def epochs(self) -> float:
        """How many times the corpus was read."""
        return (self.end_row - self.first_row) / self.order.num_windows

    def times(self) -> NDArray[np.int64]:
        """How often each window was read."""
        return self.order.times_read(self.end_row) - self.order.times_read(self.first_row)


@dataclass(frozen=True)
class StageReads:
    """What one stage of a checkpoint's history read."""

    checkpoint: str
    """Key of the checkpoint at which the next stage, or the one asked about, stands."""
    step: int
    corpora: tuple[CorpusReads, ...]


def history_of(store: Store, key: str, *, step: int | None = None) -> list[StageReads]:
    """The stages that led to a checkpoint, the oldest first: its start, that one's start, and so on.

    step asks about an earlier or later step of the checkpoint's own run; None is where the checkpoint stands.

    A start whose manifest has no sampler record (weights from elsewhere) ends the walk: what it was trained on is
    not known.
    """
    stages: list[StageReads] = []
    next_key: str | None = key
    while next_key is not None:
        found = read_manifest(store, next_key)
        if not found.sampler:
            break
        done = found.step if step is None or stages else step
        stages.append(StageReads(next_key, done, tuple(_corpora(found, done))))
        next_key = found.start
    return stages[::-1]


def _corpora(found: CheckpointManifest, step: int) -> Iterator[CorpusReads]:
    sampler = read_sampler(found.sampler)
    T = sampler.sequence_length
    if isinstance(sampler, Sampler):
        order = SamplerPart(found.corpus, found.data_digest, sampler.seed, sampler.num_windows, 1, None)
        for first, end in data_ranges(step, sampler.skipped):
            rows = sampler.rows_per_step
            yield CorpusReads(found.corpus, found.data_digest, order, T, first * rows, end * rows)
        return
    for part, (first, end) in zip(sampler.parts, sampler.rows_read(step), strict=True):
        yield CorpusReads(part.corpus, part.data_digest, part, T, first, end)


def corpora_read(stages: list[StageReads]) -> dict[str, dict[str, float]]:
    """By corpus version {tokens_read, epochs} over all stages, the last stage's corpora first."""
    found: dict[str, dict[str, float]] = {}
    for stage in reversed(stages):
        for part in stage.corpora:
            row = found.setdefault(part.corpus, {"tokens_read": 0, "epochs": 0.0})
            row["tokens_read"] += part.tokens_read
            row["epochs"] += part.epochs
    return found


class TokenLists:
    """The token files that runs recorded, by corpus version; looked up once."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @cached_property
    def _keys(self) -> list[str]:
        return [key for key in self._store.list("tokens/") if key.endswith(".json")]

    def find(self, corpus: str, digest: str) -> TokensRef:
        """The token set of a corpus version that has this data digest; NotFoundError when it is gone."""
        name, number = manifest.find(self._store, corpus)
        root = manifest.read(self._store, name, number).identity.root_digest
        for key in self._keys:
            if key.rsplit("/", 1)[1].startswith(f"{root}."):
                tokens = TokensRef.model_validate({"corpus": corpus, **self._store.read_record(key)})
                if data_digest(tokens) == digest:
                    return tokens
        raise NotFoundError(
            f"the token files of {corpus} that were read are gone; `ingot train` with its recipe makes them again"
        )


def documents_read(
    store: Store,
    key: str,
    *,
    step: int | None = None,
    only: str | None = None,
    lists: TokenLists | None = None,
) -> Iterator[tuple[str, ShardReads]]:
    """(corpus version, documents of one of its shards) for everything a checkpoint and its starts read.

    Readings of all stages are added up, so a shard comes once for each corpus version and tokenization. step is as
    in `history_of`; `only` is the SHA-256 of one shard; lists saves looking them up again. Raises NotFoundError when
    token files are gone.
    """
    lists, stages = lists or TokenLists(store), history_of(store, key, step=step)
    sets: dict[tuple[str, str], list[CorpusReads]] = {}
    for part in (part for stage in stages for part in stage.corpora):
        sets.setdefault((part.corpus, part.data_digest), []).append(part)
    for (corpus, digest), read in sets.items():
        tokens = lists.find(corpus, digest)
        if only is not None and all(shard.shard_sha256 != only for shard in tokens.shards):
            continue
        each = [shard_reads(store, tokens, part.times(), part.sequence_length, only=only) for part in read]
        for shards in zip(*each, strict=True):
            yield corpus, _added(shards)


def _added(shards: tuple[ShardReads, ...]) -> ShardReads:
    windows = np.sum([shard.windows for shard in shards], axis=0)
    tokens = np.sum([shard.tokens for shard in shards], axis=0)
    return ShardReads(shards[0].shard_sha256, windows, tokens, shards[0].num_tokens)


def document_reads(
    store: Store, key: str, places: list[tuple[str, int]], *, lists: TokenLists | None = None
) -> dict[str, Any]:
    """How often a checkpoint read the document at places [(shard SHA-256, row)].

    {times, tokens, windows, corpora}: times is tokens read by tokens of the document; a text that stands in
    several corpora of the checkpoint is counted in each, by name in `corpora`.
    """
    lists = lists or TokenLists(store)
    told: dict[str, Any] = {"times": 0.0, "tokens": 0, "windows": 0, "corpora": {}}
    for shard, row in dict.fromkeys(places):
        for corpus, reads in documents_read(store, key, only=shard, lists=lists):
            times = int(reads.tokens[row]) / max(1, int(reads.num_tokens[row]))
            told["times"] += times
            told["tokens"] += int(reads.tokens[row])
            told["windows"] += int(reads.windows[row])
            told["corpora"][corpus] = told["corpora"].get(corpus, 0.0) + times
    return told
