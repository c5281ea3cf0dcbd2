"""A corpus whose every step is known beforehand: a dull text, and windows of a step's own making."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.training.conftest import VOCAB_SIZE, Place, tokens_ref, write_shard
from training.batches import Sampler

SEQUENCE, ROWS, WINDOWS = 32, 8, 240
"""As many windows as 30 steps of 8 read once."""
SAMPLER = Sampler(0, WINDOWS, SEQUENCE, ROWS)


@dataclass(frozen=True)
class Steps:
    """What each of 30 steps reads: [30, ROWS, SEQUENCE] ids. Windows begin with one id: none tells of another."""

    ids: NDArray[np.int64]

    def write(self, place: Place, name: str) -> Place:
        """The place with these steps as its tokens."""
        windows = np.empty((WINDOWS, SEQUENCE), dtype=np.int64)
        for step, rows in enumerate(self.ids):
            windows[SAMPLER.windows(step)] = rows
        shard = write_shard(place.root, name * 64, [[*windows.ravel().tolist(), 5]])
        return Place(place.root, tokens_ref((shard,), vocab_size=VOCAB_SIZE), run=f"run-{name}")


def dull_steps() -> Steps:
    """Text that is learnt within some steps: counting up from a random id below 32, modulo 32."""
    starts = np.random.default_rng(0).integers(0, 32, (30, ROWS, 1))
    ids = 8 + (starts + np.arange(SEQUENCE)) % 32
    ids[:, :, 0] = 5
    return Steps(ids)


def with_noise(steps: Steps, step: int) -> Steps:
    """The same, but one step reads noise."""
    ids = steps.ids.copy()
    ids[step, :, 1:] = np.random.default_rng(1).integers(40, VOCAB_SIZE - 1, (ROWS, SEQUENCE - 1))
    return Steps(ids)
