"""What a place must be able to do before it may hold a store: asked of the place itself (CONTRACTS 9).

Two runs may publish at the same moment, and of two writers exactly one must win; what was written must be read back at
once. A place that only says that it can do this is found out here: everything is done in a folder of its own, which is
removed. `ingot doctor storage` prints the answers.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ingot.errors import RecipeError

NUM_RACERS = 8
NUM_TIMED = 9


@dataclass(frozen=True)
class Probe:
    """One power of a place: whether it has it, what was seen, and what follows when it has not."""

    name: str
    ok: bool
    found: str
    follows: str = ""
    needed: bool = True
    """Without it the place is refused; else the lack costs something that `follows` says."""

    @property
    def mark(self) -> str:
        """`ok`, `FAIL`, or `note` for a lack that one can live with."""
        return "ok" if self.ok else "FAIL" if self.needed else "note"


@dataclass(frozen=True)
class Diagnosis:
    """What a place can do, and whether it may hold a store."""

    root: str
    probes: tuple[Probe, ...]

    @property
    def mode(self) -> Literal["many_writers", "refused"]:
        """There is no mode between: a place where two runs could both publish one version is never written to."""
        return "refused" if self.refusals else "many_writers"

    @property
    def refusals(self) -> tuple[Probe, ...]:
        """The lacks for which the place is refused."""
        return tuple(probe for probe in self.probes if probe.needed and not probe.ok)


def probe(root: str) -> Diagnosis:
    """Try a place, a local folder or s3://bucket/prefix, in a folder of its own that is removed afterwards.

    What cannot be done is a probe that failed, never an exception; RecipeError for an address that is no store's.
    """
    root = root.removeprefix("file://")
    if root.startswith("s3://"):
        from ingot.store_probe_s3 import probe_s3

        return Diagnosis(root.rstrip("/"), tuple(probe_s3(root)))
    if "://" in root:
        raise RecipeError(
            f"a store at {root.partition('://')[0]}:// is not known; give a local path or s3://bucket/prefix"
        )
    from ingot.store_probe_local import probe_local

    return Diagnosis(root, tuple(probe_local(Path(root))))


def count_winners(take: Callable[[int], bool]) -> int:
    """How many of some threads at once believe that they took what one may take."""
    with ThreadPoolExecutor(NUM_RACERS) as threads:
        return list(threads.map(take, range(NUM_RACERS))).count(True)


def median_milliseconds(act: Callable[[], object]) -> float:
    """The median duration of some calls."""
    seen: list[float] = []
    for _ in range(NUM_TIMED):
        begun = time.perf_counter()
        act()
        seen.append(time.perf_counter() - begun)
    return 1000 * sorted(seen)[len(seen) // 2]


def race_probe(winners: int) -> Probe:
    """What a race says."""
    return Probe(
        "race for one name",
        winners == 1,
        f"{winners} of {NUM_RACERS} writers at once won",
        "two runs could both publish one version" if winners > 1 else "a version could not be published",
    )


def summary(refusals: Sequence[Probe]) -> str:
    """Why a place is refused, in one line."""
    return "; ".join(f"{probe.name}: {probe.follows or probe.found}" for probe in refusals)
