"""Which part of a mixture serves a row: exact shares at any prefix, by arithmetic, with nothing remembered.

Parts take turns in a period that repeats, one turn for each unit of weight. The turns are those of Tijdeman
1980 (The chairman assignment problem, Discrete Mathematics 32): after any number of rows every part is less
than one row away from its share. A part that reached its limit leaves; from there on the others take turns by
their own weights, so its share goes to them in proportion.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import gcd, lcm

import numpy as np
from numpy.typing import NDArray

MAX_PERIOD = 100_000
"""Turns of one period at most: its table is made in under a second and takes 0.8 MB a part."""


@lru_cache(maxsize=32)
def take_turns(weights: tuple[int, ...]) -> NDArray[np.int64]:
    """The part of each turn of one period, which has sum(weights) turns; ties go to the first part."""
    num_parts, period = len(weights), sum(weights)
    if num_parts == 1:
        return np.zeros(period, dtype=np.int64)
    slack = 2 * num_parts - 2
    common = lcm(*weights)
    urgency = [common // weight for weight in weights]
    counts = [0] * num_parts
    turns = np.empty(period, dtype=np.int64)
    for turn in range(1, period + 1):
        # A part may be served once it is 1 / slack behind its share; of these the one with the nearest deadline.
        ready = [i for i in range(num_parts) if slack * (weights[i] * turn - period * counts[i]) >= period]
        chosen = min(ready, key=lambda i: (slack - 1 + slack * counts[i]) * urgency[i])
        counts[chosen] += 1
        turns[turn - 1] = chosen
    return turns


@dataclass(frozen=True)
class _Phase:
    """Rows between two departures."""

    first_row: int
    counts: NDArray[np.int64]
    """Rows that each part had served before."""
    period: NDArray[np.int64]
    """Rows of each part in one period; 0 for one that has left."""
    turns: NDArray[np.int64]
    before: NDArray[np.int64]
    """[turn, part]: rows of the part in a period before the turn."""

    def counts_at(self, row: int) -> NDArray[np.int64]:
        """Rows each part has served below `row`."""
        periods, turn = divmod(row - self.first_row, len(self.turns))
        return self.counts + periods * self.period + self.before[turn]

    def row_after(self, part: int, count: int) -> int:
        """The row after the one with which the part has served `count` rows in all."""
        periods, rest = divmod(count - int(self.counts[part]) - 1, int(self.period[part]))
        turn = int(np.flatnonzero(self.turns == part)[rest])
        return self.first_row + periods * len(self.turns) + turn + 1


class Shares:
    """The turns of several parts, from integer weights and the rows that each can serve at most (None: endless)."""

    def __init__(self, weights: Sequence[int], limits: Sequence[int | None]) -> None:
        self._limits = list(limits)
        self._phases: list[_Phase] = []
        self.num_rows: int | None = None
        """Rows that all parts together can serve; None when there is no end."""
        row, counts = 0, np.zeros(len(weights), dtype=np.int64)
        while True:
            active = [i for i, limit in enumerate(limits) if limit is None or counts[i] < limit]
            if not active:
                self.num_rows = row
                return
            phase = _phase(row, counts, weights, active)
            self._phases.append(phase)
            ends = [phase.row_after(i, limit) for i in active if (limit := limits[i]) is not None]
            if not ends:
                return
            row = min(ends)
            counts = phase.counts_at(row)

    def served(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each row the part that serves it, and how many rows the part has served before."""
        parts, counts = np.empty_like(rows), np.empty_like(rows)
        for phase, end in self._bounds():
            inside = (rows >= phase.first_row) if end is None else (rows >= phase.first_row) & (rows < end)
            periods, turn = np.divmod(rows[inside] - phase.first_row, len(phase.turns))
            part = phase.turns[turn]
            parts[inside] = part
            counts[inside] = phase.counts[part] + periods * phase.period[part] + phase.before[turn, part]
        return parts, counts

    def counts_at(self, row: int) -> NDArray[np.int64]:
        """Rows that each part serves below `row`."""
        self._check(row)
        return next(phase for phase in reversed(self._phases) if phase.first_row <= row).counts_at(row)

    def row_of_end(self, part: int) -> int | None:
        """The row from which on a part has nothing left; None for one without a limit."""
        limit = self._limits[part]
        if limit is None:
            return None
        phase = next(p for p in reversed(self._phases) if p.counts[part] < limit)
        return phase.row_after(part, limit)

    def _bounds(self) -> list[tuple[_Phase, int | None]]:
        ends = [*(phase.first_row for phase in self._phases[1:]), self.num_rows]
        return list(zip(self._phases, ends, strict=True))

    def _check(self, row: int) -> None:
        if row < 0 or (self.num_rows is not None and row > self.num_rows):
            raise ValueError(f"row {row} is outside the {self.num_rows} rows of the mixture; check the checkpoint")


def _phase(row: int, counts: NDArray[np.int64], weights: Sequence[int], active: list[int]) -> _Phase:
    common = gcd(*(weights[i] for i in active))
    reduced = tuple(weights[i] // common for i in active)
    turns = np.array(active, dtype=np.int64)[take_turns(reduced)]
    period = np.zeros(len(weights), dtype=np.int64)
    period[active] = reduced
    one_hot = np.zeros((len(turns), len(weights)), dtype=np.int64)
    one_hot[np.arange(len(turns)), turns] = 1
    before = np.concatenate([np.zeros((1, len(weights)), dtype=np.int64), np.cumsum(one_hot, axis=0)])
    return _Phase(row, counts, period, turns, before)
