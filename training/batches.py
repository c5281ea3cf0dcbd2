"""Batches: memory-mapped token shards as one endless, shuffled, reproducible stream of windows.

# B rows of a step, T sequence length, W windows of the stream

The shards of a TokensRef, in manifest order, are one virtual stream of tokens. Window w holds the T+1
tokens from w*T on (the last one is only a target, and the first input of window w+1). Position p of a
run reads window `permute(p mod W)` of epoch `p div W`, where the permutation is computed from (seed,
epoch) by a Feistel network, so nothing is stored, any position is found at once, and the global order
is the same for every number of ranks. "Which documents by step n" is therefore arithmetic too.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingot.digests import digest_of, sha256_file
from ingot.errors import DataError, IntegrityError
from ingot.refs import MixtureRef, TokenShard, TokensRef
from ingot.storage import Store
from training.skips import Skip, data_ranges, data_step

SAMPLER_KIND = "feistel-windows/1"
SKIPPING_KIND = "feistel-windows/2"
"""The same order with data that was passed by, which an older version must not overlook."""
_ROUNDS = 8
_DTYPES: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}


def permute(indices: NDArray[np.int64], *, size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Where each index in [0, size) goes under the shuffle of this (seed, epoch): a bijection.

    A balanced Feistel network over the next power of four, walked until the result is inside
    (format-preserving encryption by cycle walking, Black and Rogaway 2002). Fewer than four walks on
    average; memory does not grow with size.
    """
    half_bits = max(2, ((size - 1).bit_length() + 1) // 2)
    half, mask = np.uint64(half_bits), np.uint64((1 << half_bits) - 1)
    key_bytes = hashlib.blake2b(f"{SAMPLER_KIND}:{seed}:{epoch}".encode(), digest_size=8 * _ROUNDS).digest()
    keys = np.frombuffer(key_bytes, dtype="<u8")
    values = indices.astype(np.uint64)
    outside = np.arange(len(values))
    while len(outside):
        left, right = values[outside] >> half, values[outside] & mask
        for key in keys:
            left, right = right, left ^ (_mix(right + key) & mask)
        values[outside] = (left << half) | right
        outside = outside[values[outside] >= size]
    return values.astype(np.int64)


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of splitmix64 (Steele, Lea and Flood 2014); wraps modulo 2^64."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


@dataclass(frozen=True)
class Sampler:
    """Which windows every step reads. Its record in a checkpoint is enough to tell."""

    seed: int
    num_windows: int
    sequence_length: int
    rows_per_step: int
    skipped: tuple[Skip, ...] = ()
    """Data that the run passed by when it went back to a checkpoint."""

    def windows(self, step: int) -> NDArray[np.int64]:
        """The B windows of update number `step` (0-based), in global order."""
        first = data_step(step, self.skipped) * self.rows_per_step
        return self._at(np.arange(first, first + self.rows_per_step, dtype=np.int64))

    def rank_windows(self, step: int, *, rank: int, num_ranks: int) -> NDArray[np.int64]:
        """This rank's consecutive share of a step; the shares of all ranks make up `windows(step)`."""
        bounds = [self.rows_per_step * index // num_ranks for index in (rank, rank + 1)]
        return self.windows(step)[bounds[0] : bounds[1]]

    def rank_positions(self, step: int, *, rank: int, num_ranks: int) -> NDArray[np.int64]:
        """Where in the run's endless order the windows of `rank_windows` stand, counted from 0."""
        bounds = [self.rows_per_step * index // num_ranks for index in (rank, rank + 1)]
        return data_step(step, self.skipped) * self.rows_per_step + np.arange(bounds[0], bounds[1], dtype=np.int64)

    def times_read(self, num_steps: int) -> NDArray[np.int64]:
        """How often each of the W windows was read by the first num_steps updates."""
        times = np.zeros(self.num_windows, dtype=np.int64)
        for first, end in data_ranges(num_steps, self.skipped):
            times += self._times_in_order(end) - self._times_in_order(first)
        return times

    def _times_in_order(self, num_steps: int) -> NDArray[np.int64]:
        """The same for a run that passes nothing by."""
        epochs, rest = divmod(num_steps * self.rows_per_step, self.num_windows)
        times = np.full(self.num_windows, epochs, dtype=np.int64)
        opened = permute(np.arange(rest, dtype=np.int64), size=self.num_windows, seed=self.seed, epoch=epochs)
        times[opened] += 1
        return times

    def record(self) -> dict[str, Any]:
        """The JSON form kept in state.json and in the checkpoint's manifest."""
        skipped = {"skipped": [list(skip) for skip in self.skipped]} if self.skipped else {}
        return {
            "kind": SKIPPING_KIND if self.skipped else SAMPLER_KIND,
            **skipped,
            "seed": self.seed,
            "num_windows": self.num_windows,
            "sequence_length": self.sequence_length,
            "rows_per_step": self.rows_per_step,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Sampler":
        """Read a record back; raises DataError for a kind this version does not know."""
        if record.get("kind") not in (SAMPLER_KIND, SKIPPING_KIND):
            raise DataError(
                f"sampler kind {record.get('kind')!r} is unknown; this version reads {SAMPLER_KIND} and "
                f"{SKIPPING_KIND}, use the version of Ingot that wrote the checkpoint"
            )
        skipped = tuple((update, steps) for update, steps in record.get("skipped", ()))
        return cls(record["seed"], record["num_windows"], record["sequence_length"], record["rows_per_step"], skipped)

    def _at(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        epochs = positions // self.num_windows
        result = np.empty_like(positions)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            indices = positions[chosen] % self.num_windows
            result[chosen] = permute(indices, size=self.num_windows, seed=self.seed, epoch=int(epoch))
        return result


def sampler_for(tokens: TokensRef, *, seed: int, sequence_length: int, rows_per_step: int) -> Sampler:
    """The sampler over a token set; DataError when it does not fill one window."""
    num_tokens = sum(shard.num_tokens for shard in tokens.shards)
    num_windows = (num_tokens - 1) // sequence_length
    if num_windows < 1:
        raise DataError(
            f"{tokens.corpus} split {tokens.split} has {num_tokens} tokens, fewer than one window of "
            f"{sequence_length + 1}; add documents or lower train.sequence_length"
        )
    return Sampler(seed, num_windows, sequence_length, rows_per_step)


def data_digest(tokens: TokensRef | MixtureRef) -> str:
    """What a run's data is: corpus, tokenizer, split, order and length of the shards; of a mixture all its parts."""
    if isinstance(tokens, MixtureRef):
        return digest_of({"parts": [data_digest(part) for part in tokens.parts]})
    return digest_of(
        {
            "corpus_root_digest": tokens.corpus_root_digest,
            "tokenizer_digest": tokens.tokenizer_digest,
            "split": tokens.split,
            "shards": [[shard.bin_sha256, shard.num_tokens] for shard in tokens.shards],
        }
    )


class TokenStream:
    """The shards of a token set as one memory-mapped stream of ids.

    verify reads every file once and compares its SHA-256 (about 1 GB/s). Raises IntegrityError when a
    file is not what its ref says, and DataError for an id outside the vocabulary.
    """

    def __init__(self, store: Store, tokens: TokensRef, *, verify: bool = True) -> None:
        self.vocab_size = tokens.vocab_size
        self._maps = [_map_shard(store, shard, verify=verify) for shard in tokens.shards]
        self._starts = np.cumsum([0, *(shard.num_tokens for shard in tokens.shards)])

    @property
    def num_tokens(self) -> int:
        """Tokens of all shards, ends of documents included."""
        return int(self._starts[-1])

    def read(self, start: int, count: int) -> NDArray[np.int64]:
        """`count` ids from stream position `start`, across shard borders."""
        ids = np.empty(count, dtype=np.int64)
        done = 0
        shard = int(np.searchsorted(self._starts, start, side="right")) - 1
        while done < count:
            offset = start + done - int(self._starts[shard])
            part = self._maps[shard][offset : offset + count - done]
            ids[done : done + len(part)] = part
            done += len(part)
            shard += 1
        return ids

    def read_windows(self, windows: NDArray[np.int64], sequence_length: int) -> NDArray[np.int64]:
        """The windows' ids, shape [len(windows), T+1]."""
        ids = np.stack([self.read(int(w) * sequence_length, sequence_length + 1) for w in windows])
        if ids.max() >= self.vocab_size:
            raise DataError(
                f"token id {ids.max()} is outside the vocabulary of {self.vocab_size}; the token shards were made "
                "by another tokenizer, tokenize again"
            )
        return ids


def _map_shard(store: Store, shard: TokenShard, *, verify: bool) -> NDArray[Any]:
    dtype = _DTYPES[shard.dtype]
    path: Path = store.local_path(shard.bin_key)
    if path.stat().st_size != shard.num_tokens * dtype.itemsize:
        raise IntegrityError(
            f"{shard.bin_key} has {path.stat().st_size:,} bytes where {shard.num_tokens * dtype.itemsize:,} were "
            "recorded; delete it and tokenize again"
        )
    if verify:
        _check_bytes(path, shard.bin_key, shard.bin_sha256)
    return np.memmap(path, dtype=dtype, mode="r") if shard.num_tokens else np.empty(0, dtype=dtype)


def _check_bytes(path: Path, key: str, sha256: str) -> None:
    if sha256_file(path) != sha256:
        raise IntegrityError(f"{key} differs from what was recorded; delete it and tokenize again")


@dataclass(frozen=True)
class ShardReads:
    """Which documents of one shard a run has read. Arrays run over the shard's rows."""

    shard_sha256: str
    windows: NDArray[np.int64]
    """Windows read that touch the row's document, each reading counted; 0 means never read."""
    tokens: NDArray[np.int64]
    """Input tokens read from the document, each reading counted, its end token included."""
    num_tokens: NDArray[np.int64]
    """Tokens of the document, its end token included; tokens / num_tokens is how many times it was read."""


def documents_by_step(store: Store, tokens: TokensRef, sampler: dict[str, Any], step: int) -> Iterator[ShardReads]:
    """Which documents the first `step` updates read and how often, shard by shard in manifest order.

    sampler is the record of a checkpoint on one token set (`state.json` or the manifest); `training.reads` answers for
    mixtures and for what a checkpoint started from. Needs the `.idx` files only;
    costs 8 bytes of memory per window of the stream and no torch.
    """
    drawn = Sampler.from_record(sampler)
    return shard_reads(store, tokens, drawn.times_read(step), drawn.sequence_length)


def shard_reads(
    store: Store, tokens: TokensRef, times: NDArray[np.int64], sequence_length: int, *, only: str | None = None
) -> Iterator[ShardReads]:
    """The documents of a token set by how often each of its windows was read; `only` is one shard's SHA-256."""
    T, num_windows = sequence_length, len(times)
    # read_before[w] = readings of windows below w; the tail after the last whole window is never read.
    read_before = np.concatenate([[0], np.cumsum(times)])

    def inputs_before(position: NDArray[np.int64]) -> NDArray[np.int64]:
        position = np.minimum(position, num_windows * T)
        window, inside = position // T, position % T
        partly = np.where(inside > 0, times[np.minimum(window, num_windows - 1)] * inside, 0)
        return read_before[window] * T + partly

    shard_start = 0
    for shard in tokens.shards:
        if only is None or shard.shard_sha256 == only:
            bounds = _read_offsets(store, shard) + shard_start
            starts, ends = bounds[:-1], bounds[1:]
            # A window also holds one token past its inputs, so a document starting there was touched.
            first = np.clip(-(-starts // T) - 1, 0, num_windows)
            last = np.clip((ends - 1) // T + 1, 0, num_windows)
            touched = np.where(ends > starts, read_before[np.maximum(last, first)] - read_before[first], 0)
            yield ShardReads(shard.shard_sha256, touched, inputs_before(ends) - inputs_before(starts), ends - starts)
        shard_start += shard.num_tokens


def _read_offsets(store: Store, shard: TokenShard) -> NDArray[np.int64]:
    path = store.local_path(shard.idx_key)
    _check_bytes(path, shard.idx_key, shard.idx_sha256)
    offsets = np.fromfile(path, dtype="<u8").astype(np.int64)
    sound = len(offsets) == shard.num_documents + 1 and offsets[0] == 0 and offsets[-1] == shard.num_tokens
    if not sound or (np.diff(offsets) < 0).any():
        raise IntegrityError(
            f"{shard.idx_key} does not describe {shard.num_documents:,} documents of {shard.num_tokens:,} tokens; "
            "delete it and tokenize again"
        )
    return offsets
