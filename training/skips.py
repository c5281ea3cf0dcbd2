"""Data that a run passed by: from an update on, every later update reads so many steps of data further on.

A skip is (update, steps): updates are numbered as they were made, and their data comes in one order from the sampler.
So which data an update read, and which no update read, stay arithmetic.
"""

from collections.abc import Iterator, Sequence

Skip = tuple[int, int]


def data_step(update: int, skips: Sequence[Skip]) -> int:
    """The step of data that update number `update` reads (both 0-based)."""
    return update + sum(steps for first, steps in skips if update >= first)


def data_ranges(num_updates: int, skips: Sequence[Skip]) -> Iterator[tuple[int, int]]:
    """The steps of data that the first num_updates updates read, as ranges [first, end) in order."""
    bounds = sorted({0, num_updates, *(first for first, _ in skips if first < num_updates)})
    for first, end in zip(bounds, bounds[1:], strict=False):
        moved = data_step(first, skips) - first
        yield first + moved, end + moved
