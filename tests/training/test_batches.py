from pathlib import Path

import numpy as np
import pytest

from ingot.errors import DataError, IntegrityError
from ingot.storage import Store
from tests.training.conftest import tokens_ref, write_shard
from training.batches import Sampler, TokenStream, documents_by_step, permute, sampler_for


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 15, 16, 17, 64, 65, 1000, 4096, 100_003])
def test_the_shuffle_is_a_bijection(size: int) -> None:
    shuffled = permute(np.arange(size), size=size, seed=1, epoch=0)
    assert np.array_equal(np.sort(shuffled), np.arange(size))


def test_the_shuffle_depends_on_seed_and_epoch_and_on_nothing_else() -> None:
    first = permute(np.arange(1000), size=1000, seed=1, epoch=0)
    assert np.array_equal(first, permute(np.arange(1000), size=1000, seed=1, epoch=0))
    assert not np.array_equal(first, permute(np.arange(1000), size=1000, seed=2, epoch=0))
    assert not np.array_equal(first, permute(np.arange(1000), size=1000, seed=1, epoch=1))
    one_by_one = [permute(np.array([i]), size=1000, seed=1, epoch=0)[0] for i in range(50)]
    assert one_by_one == list(first[:50])


def test_the_shuffle_never_changes_between_releases() -> None:
    # A checkpoint's order is arithmetic on these numbers; a new order needs a new SAMPLER_KIND.
    assert permute(np.arange(8), size=100, seed=7, epoch=3).tolist() == [6, 75, 21, 34, 94, 73, 98, 40]


def test_the_shuffle_looks_random() -> None:
    size = 10_000
    shuffled = permute(np.arange(size), size=size, seed=0, epoch=0)
    correlation = np.corrcoef(np.arange(size), shuffled)[0, 1]
    assert abs(correlation) < 0.03  # three standard deviations of a random order
    neighbours = np.corrcoef(shuffled[:-1], shuffled[1:])[0, 1]
    assert abs(neighbours) < 0.03


def test_a_shuffle_of_a_trillion_windows_needs_no_memory() -> None:
    size = 10**12
    shuffled = permute(np.arange(1000) + size - 1000, size=size, seed=0, epoch=0)
    assert len(np.unique(shuffled)) == 1000 and shuffled.min() >= 0 and shuffled.max() < size


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 5, 8, 11])
def test_the_ranks_of_any_world_share_the_same_global_order(num_ranks: int) -> None:
    sampler = Sampler(seed=3, num_windows=37, sequence_length=8, rows_per_step=8)
    for step in range(12):
        shares = [sampler.rank_windows(step, rank=rank, num_ranks=num_ranks) for rank in range(num_ranks)]
        assert np.array_equal(np.concatenate(shares), sampler.windows(step))


def test_every_epoch_reads_each_window_once() -> None:
    sampler = Sampler(seed=3, num_windows=37, sequence_length=8, rows_per_step=8)
    order = np.concatenate([sampler.windows(step) for step in range(37)])  # eight whole epochs
    for epoch in order.reshape(8, 37):
        assert np.array_equal(np.sort(epoch), np.arange(37))


def test_a_sampler_resumed_from_its_record_at_any_step_reads_the_same_windows() -> None:
    sampler = Sampler(seed=3, num_windows=37, sequence_length=8, rows_per_step=8)
    uninterrupted = [sampler.windows(step).tolist() for step in range(20)]
    for start in range(20):
        resumed = Sampler.from_record(sampler.record())
        assert [resumed.windows(step).tolist() for step in range(start, 20)] == uninterrupted[start:]


def test_a_sampler_of_another_kind_is_refused() -> None:
    with pytest.raises(DataError, match="sampler kind 'python-random' is unknown"):
        Sampler.from_record({"kind": "python-random"})


def documents(rng: np.random.Generator, count: int) -> list[list[int]]:
    return [[*rng.integers(1, 100, size=rng.integers(0, 40)).tolist(), 0] for _ in range(count)]


def test_windows_cover_the_stream_across_shard_borders(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = [documents(rng, 9), documents(rng, 1), documents(rng, 14)]
    shards = tuple(write_shard(tmp_path, f"{n:064x}", part) for n, part in enumerate(parts))
    stream = TokenStream(Store(str(tmp_path)), tokens_ref(shards, vocab_size=100))
    everything = [token for part in parts for document in part for token in document]
    assert stream.num_tokens == len(everything)
    windows = np.arange((len(everything) - 1) // 16)
    ids = stream.read_windows(windows, 16)
    assert ids[:, :-1].flatten().tolist() == everything[: len(windows) * 16]
    assert ids[:, 1:].flatten().tolist() == everything[1 : len(windows) * 16 + 1]


def test_documents_by_step_agrees_with_reading_every_window(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    parts = [documents(rng, 30), documents(rng, 7), documents(rng, 22)]
    shards = tuple(write_shard(tmp_path, f"{n:064x}", part) for n, part in enumerate(parts))
    tokens = tokens_ref(shards, vocab_size=100)
    sampler = sampler_for(tokens, seed=5, sequence_length=16, rows_per_step=4)
    owner = np.concatenate([[row] * len(d) for row, d in enumerate(d for part in parts for d in part)])
    for step in (0, 1, 5, 9, 40):
        windows, inputs = np.zeros(59, dtype=int), np.zeros(59, dtype=int)
        for number in range(step):
            for window in sampler.windows(number):
                windows[np.unique(owner[window * 16 : window * 16 + 17])] += 1
                np.add.at(inputs, owner[window * 16 : window * 16 + 16], 1)
        reads = list(documents_by_step(Store(str(tmp_path)), tokens, sampler.record(), step))
        assert [read.shard_sha256 for read in reads] == [shard.shard_sha256 for shard in shards]
        assert np.concatenate([read.windows for read in reads]).tolist() == windows.tolist()
        assert np.concatenate([read.tokens for read in reads]).tolist() == inputs.tolist()


def test_a_stream_shorter_than_a_window_is_refused_with_a_remedy(tmp_path: Path) -> None:
    tokens = tokens_ref((write_shard(tmp_path, "0" * 64, [[1, 2, 0]]),), vocab_size=100)
    with pytest.raises(DataError, match="3 tokens, fewer than one window of 17; add documents or lower"):
        sampler_for(tokens, seed=0, sequence_length=16, rows_per_step=1)


def test_a_changed_token_file_is_refused(tmp_path: Path) -> None:
    tokens = tokens_ref((write_shard(tmp_path, "0" * 64, [[1, 2, 3, 0]] * 10),), vocab_size=100)
    path = tmp_path / tokens.shards[0].bin_key
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="differs from what was recorded"):
        TokenStream(Store(str(tmp_path)), tokens)
    path.write_bytes(data[:-2])
    with pytest.raises(IntegrityError, match="78 bytes where 80 were recorded"):
        TokenStream(Store(str(tmp_path)), tokens)


def test_a_token_outside_the_vocabulary_is_refused(tmp_path: Path) -> None:
    tokens = tokens_ref((write_shard(tmp_path, "0" * 64, [[1, 200, 3, 0]] * 10),), vocab_size=100)
    with pytest.raises(DataError, match="token id 200 is outside the vocabulary of 100"):
        TokenStream(Store(str(tmp_path)), tokens).read_windows(np.array([0]), 16)
