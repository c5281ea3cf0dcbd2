"""Mixtures: several token sets as one stream of windows, by weight, each with its own shuffle and its caps.

# B rows of a step, T sequence length, W windows of a part

Which part serves the row at global position p is arithmetic (`training/shares.py`), and so is its window: the
part's n-th row reads window `permute(n mod W)` of the part's epoch `n div W`, under a seed of the part's own. So
the order is the same for every number of ranks and is found at once at any step, as for one token set. The windows of
all parts are numbered through: those of the first part, then those of the second.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingot.errors import DataError, RecipeError
from ingot.refs import MixtureRef, TokensRef, parts_of
from ingot.storage import Store
from training.batches import SAMPLER_KIND, SKIPPING_KIND, Sampler, TokenStream, data_digest, permute, sampler_for
from training.data_parts import OWN, DataPart, integer_weights
from training.shares import Shares
from training.skips import Skip

MIXTURE_KIND = "mixture/1"


@dataclass(frozen=True)
class SamplerPart:
    """One token set of a mixture, as the order of windows knows it."""

    corpus: str
    data_digest: str
    seed: int
    num_windows: int
    weight: int
    max_rows: int | None
    """Rows it serves at most; None: no bound."""

    def windows(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """The window of each of the part's own rows."""
        epochs, indices = np.divmod(counts, self.num_windows)
        result = np.empty_like(counts)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            result[chosen] = permute(indices[chosen], size=self.num_windows, seed=self.seed, epoch=int(epoch))
        return result

    def times_read(self, num_rows: int) -> NDArray[np.int64]:
        """How often each window was read by the part's first num_rows rows."""
        as_one = Sampler(self.seed, self.num_windows, sequence_length=1, rows_per_step=1)
        return as_one.times_read(num_rows)


@dataclass(frozen=True)
class MixtureSampler:
    """Which windows of all parts every step reads. Its record in a checkpoint is enough to tell."""

    parts: tuple[SamplerPart, ...]
    sequence_length: int
    rows_per_step: int
    first_row: int = 0
    """Position of the mixture at which the stage begins; above 0 when it goes on where another run stood."""

    @property
    def skipped(self) -> tuple[Skip, ...]:
        """What the run passed by: nothing, a mixture's order has no place for it."""
        return ()

    @cached_property
    def shares(self) -> Shares:
        """The turns of the parts."""
        return Shares([part.weight for part in self.parts], [part.max_rows for part in self.parts])

    @property
    def num_windows(self) -> int:
        """Windows of all parts."""
        return sum(part.num_windows for part in self.parts)

    def windows(self, step: int) -> NDArray[np.int64]:
        """The B windows of update number `step` (0-based), in global order, numbered through all parts."""
        first = self.first_row + step * self.rows_per_step
        served, counts = self.shares.served(np.arange(first, first + self.rows_per_step, dtype=np.int64))
        windows, offset = np.empty_like(counts), 0
        for number, part in enumerate(self.parts):
            chosen = served == number
            windows[chosen] = offset + part.windows(counts[chosen])
            offset += part.num_windows
        return windows

    def rank_windows(self, step: int, *, rank: int, num_ranks: int) -> NDArray[np.int64]:
        """This rank's consecutive share of a step; the shares of all ranks make up `windows(step)`."""
        bounds = [self.rows_per_step * index // num_ranks for index in (rank, rank + 1)]
        return self.windows(step)[bounds[0] : bounds[1]]

    def rank_positions(self, step: int, *, rank: int, num_ranks: int) -> NDArray[np.int64]:
        """Where in the mixture's endless order the windows of `rank_windows` stand, counted from 0."""
        bounds = [self.rows_per_step * index // num_ranks for index in (rank, rank + 1)]
        return self.first_row + step * self.rows_per_step + np.arange(bounds[0], bounds[1], dtype=np.int64)

    def rows_read(self, num_steps: int) -> list[tuple[int, int]]:
        """Of each part its own rows [first, end) that the first num_steps updates read."""
        first = self.shares.counts_at(self.first_row)
        end = self.shares.counts_at(self.first_row + num_steps * self.rows_per_step)
        return [(int(a), int(b)) for a, b in zip(first, end, strict=True)]

    def record(self) -> dict[str, Any]:
        """The JSON form kept in state.json and in the checkpoint's manifest."""
        return {
            "kind": MIXTURE_KIND,
            "sequence_length": self.sequence_length,
            "rows_per_step": self.rows_per_step,
            "first_row": self.first_row,
            "parts": [vars(part).copy() for part in self.parts],
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "MixtureSampler":
        """Read a record back; raises DataError for a kind this version does not know."""
        if record.get("kind") != MIXTURE_KIND:
            raise DataError(
                f"sampler kind {record.get('kind')!r} is unknown; this version reads {SAMPLER_KIND} and "
                f"{MIXTURE_KIND}, use the version of Ingot that wrote the checkpoint"
            )
        parts = tuple(SamplerPart(**part) for part in record["parts"])
        return cls(parts, record["sequence_length"], record["rows_per_step"], record["first_row"])


def part_seed(seed: int, number: int) -> int:
    """The seed of a part's own shuffle, so that two corpora of one size are not read in one order."""
    key = f"{MIXTURE_KIND}:{seed}:{number}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=6).digest(), "little")


def sampler_of(
    data: TokensRef | MixtureRef,
    parts: Sequence[DataPart],
    *,
    seed: int,
    sequence_length: int,
    rows_per_step: int,
    total_steps: int,
) -> Sampler | MixtureSampler:
    """The order of a stage's windows: that of one token set, or of a mixture.

    parts belong to the token sets in order; none for one token set without caps. Raises RecipeError, with the
    numbers, when the caps leave fewer rows than the stage asks for, and DataError for a set below one window.
    """
    sets = parts_of(data)
    given = list(parts) or [DataPart(corpus=OWN)]
    if len(given) != len(sets):
        raise DataError(f"{len(sets)} token sets ({data.corpus}) for {len(given)} entries of data; tokenize them all")
    weights = integer_weights(given)
    samplers = [sampler_for(s, seed=seed, sequence_length=sequence_length, rows_per_step=rows_per_step) for s in sets]
    mixed = MixtureSampler(
        tuple(
            SamplerPart(
                corpus=tokens.corpus,
                data_digest=data_digest(tokens),
                seed=part_seed(seed, number),
                num_windows=sampler.num_windows,
                weight=weight,
                max_rows=_max_rows(part, sampler.num_windows, sequence_length),
            )
            for number, (part, tokens, sampler, weight) in enumerate(zip(given, sets, samplers, weights, strict=True))
        ),
        sequence_length,
        rows_per_step,
    )
    check_budget(mixed, total_steps)
    return samplers[0] if len(sets) == 1 else mixed


def _max_rows(part: DataPart, num_windows: int, sequence_length: int) -> int | None:
    bounds = []
    if part.max_epochs is not None:
        bounds.append(int(part.max_epochs * num_windows))
    if part.max_tokens is not None:
        bounds.append(part.max_tokens // sequence_length)
    if bounds and min(bounds) < 1:
        raise RecipeError(
            f"the caps of {part.corpus} leave less than one window of {sequence_length} tokens (an epoch is "
            f"{num_windows:,}); raise max_epochs or max_tokens, or leave the corpus out"
        )
    return min(bounds) if bounds else None


def check_budget(sampler: MixtureSampler, total_steps: int) -> None:
    """Raise RecipeError, with the numbers of every part, when the caps leave fewer rows than total_steps read."""
    end, T = sampler.shares.num_rows, sampler.sequence_length
    wanted = sampler.first_row + total_steps * sampler.rows_per_step
    if end is None or wanted <= end:
        return
    told = "; ".join(
        f"{part.corpus} {part.max_rows * T:,} ({part.max_rows / part.num_windows:.3g} epochs of "
        f"{part.num_windows * T:,})" for part in sampler.parts if part.max_rows is not None
    )  # fmt: skip
    possible = (end - sampler.first_row) // sampler.rows_per_step * sampler.rows_per_step * T
    raise RecipeError(
        f"train.tokens asks for {total_steps * sampler.rows_per_step * T:,} tokens and the caps of its corpora leave "
        f"{(end - sampler.first_row) * T:,}: {told}. Lower tokens to {possible:,}, or raise max_epochs or max_tokens"
    )


def reading_plan(sampler: MixtureSampler, total_steps: int) -> list[str]:
    """One line a part: how much of it the stage reads, and where it ends before the others."""
    lines, T = [], sampler.sequence_length
    for number, ((first, end), part) in enumerate(zip(sampler.rows_read(total_steps), sampler.parts, strict=True)):
        rows = end - first
        share, epochs = rows / (total_steps * sampler.rows_per_step), rows / part.num_windows
        left = sampler.shares.row_of_end(number)
        leaves = "" if left is None or end < (part.max_rows or 0) else (
            f", none after step {-(-(left - sampler.first_row) // sampler.rows_per_step):,}, as its cap says"
        )  # fmt: skip
        lines.append(f"{part.corpus}: {rows * T:,} tokens, {share:.1%} of the stage, {epochs:.2f} epochs{leaves}")
    return lines


class MixtureStream:
    """The token sets of a mixture as one stream of windows, numbered as `MixtureSampler` numbers them."""

    def __init__(self, store: Store, data: MixtureRef, *, sequence_length: int, verify: bool = True) -> None:
        self.vocab_size = data.vocab_size
        self._streams = [TokenStream(store, tokens, verify=verify) for tokens in data.parts]
        sizes = [(stream.num_tokens - 1) // sequence_length for stream in self._streams]
        self._starts = np.cumsum([0, *sizes])
        self._sequence_length = sequence_length

    def read_windows(self, windows: NDArray[np.int64], sequence_length: int) -> NDArray[np.int64]:
        """The windows' ids, shape [len(windows), T+1], in the order asked for."""
        assert sequence_length == self._sequence_length, "windows are numbered by the sequence length"
        parts = np.searchsorted(self._starts, windows, side="right") - 1
        ids = np.empty((len(windows), sequence_length + 1), dtype=np.int64)
        for number in np.unique(parts):
            chosen = parts == number
            own = windows[chosen] - self._starts[number]
            ids[chosen] = self._streams[number].read_windows(own, sequence_length)
        return ids


def open_stream(
    store: Store, data: TokensRef | MixtureRef, *, sequence_length: int, verify: bool = True
) -> TokenStream | MixtureStream:
    """The stream of a stage's data: of one token set, or of a mixture."""
    if isinstance(data, MixtureRef):
        return MixtureStream(store, data, sequence_length=sequence_length, verify=verify)
    return TokenStream(store, data, verify=verify)


def read_sampler(record: dict[str, Any]) -> Sampler | MixtureSampler:
    """The sampler of a checkpoint's record; DataError for a kind this version does not know."""
    is_plain = record.get("kind") in (SAMPLER_KIND, SKIPPING_KIND)
    return Sampler.from_record(record) if is_plain else MixtureSampler.from_record(record)
