"""Which documents made a checkpoint and how often, through mixtures and starts, against reading every window."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingot import manifest
from ingot.errors import NotFoundError
from ingot.manifest import Identity, ShardEntry
from ingot.refs import MixtureRef, TokensRef
from ingot.storage import Store
from tests.training.conftest import tokens_ref, write_shard
from training import reads
from training.batches import Sampler, data_digest
from training.checkpoints import CheckpointManifest, save_checkpoint
from training.data_parts import DataPart
from training.mixtures import MixtureSampler, sampler_of

T = 8


class Books:
    """A store of corpora whose documents' token places are known, and checkpoints that read them."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, Store(str(root))
        self.sets: dict[str, TokensRef] = {}
        self.owners: dict[str, np.ndarray] = {}

    def add(self, name: str, sizes: list[int], *, cut: int) -> TokensRef:
        rng = np.random.default_rng(len(self.sets))
        documents = [[*rng.integers(1, 99, size=size - 1).tolist(), 0] for size in sizes]
        digits = f"{len(self.sets) + 1}"
        shards = tuple(
            write_shard(self.root, f"{digits}{n}".rjust(64, "0"), part)
            for n, part in enumerate((documents[:cut], documents[cut:]))
        )
        tokens = tokens_ref(shards, vocab_size=100)
        root = self._publish(name, tokens)
        tokens = tokens.model_copy(update={"corpus": name, "corpus_root_digest": root})
        self.store.put_if_absent(f"tokens/play/{root}.train.json", tokens.model_dump(mode="json", exclude={"corpus"}))
        self.sets[name] = tokens
        self.owners[name] = np.repeat(np.arange(len(sizes)), sizes)
        return tokens

    def _publish(self, name: str, tokens: TokensRef) -> str:
        """A manifest that lists the shards; returns its root digest."""
        corpus, _, number = name.partition("@")
        shards = [
            ShardEntry(sha256=s.shard_sha256, split="train", rows=s.num_documents, bytes=1, text_bytes=1, first_uri="",
                       list_digest="") for s in tokens.shards
        ]  # fmt: skip
        root = manifest.root_digest(shards)
        identity = Identity(
            manifest_version=manifest.MANIFEST_VERSION, corpus=corpus, snapshot_digest="", recipe={},
            tombstones_digest="", versions={}, content_digest="", root_digest=root, shards=shards, decisions=[],
            accounting={}, statistics={},
        )  # fmt: skip
        assert manifest.publish(self.store, identity, {}, int(number))
        return root

    def checkpoint(self, name: str, data: Any, sampler: Any, step: int, *, start: str | None = None) -> str:
        made = CheckpointManifest(
            fingerprint=name * 64, step=step, total_steps=step, tokens_seen=0, num_parameters=1, milestone="final",
            files=(), recipe_digest="r", data_digest=data_digest(data), tokenizer_digest=data.tokenizer_digest,
            corpus=data.corpus, start=start, sampler=sampler.record(), environment={}, exact=True,
        )  # fmt: skip
        with self.store.scratch() as folder:
            return save_checkpoint(self.store, folder, made).key

    def counted(self, *stages: tuple[Any, Any, int]) -> dict[str, tuple[list[int], list[int]]]:
        """(windows, tokens) read of each document by corpus, by reading every window of every step."""
        told = {name: (np.zeros(o.max() + 1, int), np.zeros(o.max() + 1, int)) for name, o in self.owners.items()}
        for data, sampler, steps in stages:
            sets = data.parts if isinstance(data, MixtureRef) else (data,)
            names = [(s.corpus, w) for s in sets for w in range((s.num_tokens - 1) // T)]
            for step in range(steps):
                for number in sampler.windows(step):
                    name, window = names[number]
                    windows, tokens = told[name]
                    windows[np.unique(self.owners[name][window * T : window * T + T + 1])] += 1
                    np.add.at(tokens, self.owners[name][window * T : window * T + T], 1)
        return {name: (w.tolist(), t.tolist()) for name, (w, t) in told.items() if t.any()}

    def answered(self, key: str, **asked: int) -> dict[str, tuple[list[int], list[int]]]:
        told: dict[str, tuple[list[int], list[int]]] = {}
        for corpus, shard in reads.documents_read(self.store, key, **asked):
            windows, tokens = told.setdefault(corpus, ([], []))
            windows += shard.windows.tolist()
            tokens += shard.tokens.tolist()
        return told


@pytest.fixture
def books(tmp_path: Path) -> Books:
    found = Books(tmp_path)
    rng = np.random.default_rng(5)
    for name, count in (("new@1", 30), ("old@3", 22), ("notes@2", 9)):
        found.add(name, rng.integers(1, 25, size=count).tolist(), cut=count // 3)
    return found


def order(data: Any, *parts: DataPart, steps: int = 40) -> Any:
    return sampler_of(data, parts, seed=2, sequence_length=T, rows_per_step=4, total_steps=steps)


def mixture(books: Books) -> tuple[MixtureRef, MixtureSampler]:
    data = MixtureRef(parts=tuple(books.sets.values()))
    parts = (DataPart(corpus="this", weight=5), DataPart(corpus="old@3", weight=3, max_epochs=0.5),
             DataPart(corpus="notes@2", weight=2))  # fmt: skip
    return data, order(data, *parts)


@pytest.mark.parametrize("step", [0, 1, 3, 7, 12, 40])
def test_the_documents_of_a_mixture_at_any_step_are_those_of_its_windows(books: Books, step: int) -> None:
    data, sampler = mixture(books)
    answered = books.answered(books.checkpoint("a", data, sampler, step))
    counted = books.counted((data, sampler, step))
    assert {name: told for name, told in answered.items() if any(told[1])} == counted
    assert sum(sum(tokens) for _, tokens in answered.values()) == step * 4 * T


def test_a_checkpoint_that_started_from_another_counts_what_that_one_read_too(books: Books) -> None:
    old = books.sets["old@3"]
    first, (data, second) = order(old), mixture(books)
    start = books.checkpoint("a", old, first, 23)
    key = books.checkpoint("b", data, second, 17, start=start)
    assert books.answered(key) == books.counted((old, first, 23), (data, second, 17))
    stages = reads.history_of(books.store, key)
    assert [(stage.checkpoint, stage.step) for stage in stages] == [(start, 23), (key, 17)]
    told = reads.corpora_read(stages)
    assert list(told) == ["new@1", "old@3", "notes@2"]
    assert sum(row["tokens_read"] for row in told.values()) == (23 + 17) * 4 * T
    windows = (old.num_tokens - 1) // T
    rows = 23 * 4 + int(0.5 * windows)  # the mixture reads the old corpus up to its cap
    assert told["old@3"]["epochs"] == pytest.approx(rows / windows)


def test_any_earlier_step_of_a_run_is_answered_from_a_later_checkpoint(books: Books) -> None:
    old = books.sets["old@3"]
    first, (data, second) = order(old), mixture(books)
    key = books.checkpoint("b", data, second, 30, start=books.checkpoint("a", old, first, 5))
    for step in (0, 4, 11):
        answered = books.answered(key, step=step)
        counted = books.counted((old, first, 5), (data, second, step))
        assert {name: told for name, told in answered.items() if any(told[1])} == counted


def test_a_stage_that_begins_inside_a_mixture_counts_from_there(books: Books) -> None:
    data, whole = mixture(books)
    later = MixtureSampler(whole.parts, T, 4, first_row=9 * 4)
    assert [later.windows(step).tolist() for step in range(5)] == [whole.windows(9 + s).tolist() for s in range(5)]
    start = books.checkpoint("a", data, whole, 9)
    key = books.checkpoint("b", data, later, 11, start=start)
    assert books.answered(key) == books.answered(books.checkpoint("c", data, whole, 20))


@pytest.mark.parametrize("step", [1, 6, 7, 25])
def test_data_that_a_run_passed_by_counts_as_read_by_nobody(books: Books, step: int) -> None:
    old = books.sets["old@3"]
    sampler = replace(order(old), skipped=((6, 4), (20, 3)))
    key = books.checkpoint("a", old, sampler, step)
    assert books.answered(key) == books.counted((old, sampler, step))
    assert reads.corpora_read(reads.history_of(books.store, key))["old@3"]["tokens_read"] == step * 4 * T


def test_one_document_is_asked_for_by_its_shard_and_row(books: Books) -> None:
    data, sampler = mixture(books)
    key = books.checkpoint("a", data, sampler, 30)
    shard = books.sets["old@3"].shards[1]
    row = 6
    told = reads.document_reads(books.store, key, [(shard.shard_sha256, row), (shard.shard_sha256, row)])
    windows, tokens = books.counted((data, sampler, 30))["old@3"]
    document = books.sets["old@3"].shards[0].num_documents + row
    length = int((books.owners["old@3"] == document).sum())
    assert (told["tokens"], told["windows"]) == (tokens[document], windows[document])
    assert told["times"] == pytest.approx(tokens[document] / length) and list(told["corpora"]) == ["old@3"]
    nowhere = reads.document_reads(books.store, key, [("e" * 64, 0)])
    assert nowhere == {"times": 0.0, "tokens": 0, "windows": 0, "corpora": {}}


def test_weights_from_elsewhere_end_the_history(books: Books) -> None:
    old = books.sets["old@3"]
    sampler = order(old)
    foreign = books.checkpoint("a", old, type("Nothing", (), {"record": lambda self: {}})(), 1)
    key = books.checkpoint("b", old, sampler, 5, start=foreign)
    assert [stage.checkpoint for stage in reads.history_of(books.store, key)] == [key]
    assert isinstance(sampler, Sampler)
    assert books.answered(key) == books.counted((old, sampler, 5))


def test_token_files_that_are_gone_are_said_to_be(books: Books) -> None:
    data, sampler = mixture(books)
    key = books.checkpoint("a", data, sampler, 5)
    books.store.delete(f"tokens/play/{books.sets['notes@2'].corpus_root_digest}.train.json")
    with pytest.raises(NotFoundError, match="token files of notes@2 that were read are gone"):
        books.answered(key)
