"""Which of two versions of a page is newer, by the names their publisher gave them."""

import re

import numpy as np

_NUMBERS = re.compile(r"\d+(?:[._-]\d+)*")
# Names for what comes before a release, in the order they are published.
_STAGES = {"dev": 0, "snapshot": 0, "alpha": 1, "a": 1, "beta": 2, "b": 2, "preview": 2, "rc": 3, "cr": 3}
_STAGE = re.compile(r"[._-]?(dev|snapshot|alpha|beta|preview|rc|cr|a|b)[._-]?(\d*)(?![a-z])", re.IGNORECASE)
_RELEASE = 4

VersionKey = tuple[tuple[int, ...], int, int]


def version_key(version: str) -> VersionKey | None:
    """A key that sorts versions from old to new; None when the name has no number to go by.

    The first run of numbers counts, with trailing zeros ignored (v1.0 = v1), then whether it is a
    pre-release: 2.9 < 2.10-rc1 < 2.10; dates (2024-01-15) work too. "latest" or "legacy" give None:
    nothing is called old on the strength of a word.
    """
    numbers = _NUMBERS.search(version)
    if numbers is None:
        return None
    parts = [int(part) for part in re.split(r"[._-]", numbers.group())]
    while len(parts) > 1 and parts[-1] == 0:
        parts.pop()
    stage = _STAGE.match(version, numbers.end())
    if stage is None:
        return tuple(parts), _RELEASE, 0
    return tuple(parts), _STAGES[stage.group(1).lower()], int(stage.group(2) or 0)


def version_ranks(versions: list[str | None]) -> np.ndarray:
    """int64 [n]: equal for equal versions, larger for newer ones, -1 where they cannot be compared."""
    keys = {version: version_key(version) for version in set(versions) if version}
    ordered = sorted({key for key in keys.values() if key is not None})
    rank_of_key = {key: rank for rank, key in enumerate(ordered)}
    rank_of = {version: rank_of_key[key] for version, key in keys.items() if key is not None}
    return np.array([rank_of.get(version, -1) if version else -1 for version in versions], dtype=np.int64)
