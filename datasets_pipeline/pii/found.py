"""What a kind finds: where, what it is, and the one spelling of its value that all spellings of it share."""

from collections.abc import Iterable
from typing import NamedTuple

from datasets_pipeline.edits import severity


class Found(NamedTuple):
    """[start, end) in UTF-8 bytes of the text."""

    start: int
    end: int
    kind: str
    value: bytes
    """Normalised: blanks, case and punctuation that do not tell two of them apart are gone."""


def without_overlaps(found: Iterable[Found]) -> list[Found]:
    """Sorted, not overlapping: what lies inside another is part of it; of two that cross, or are equal, one remains.

    Crossing places become one from the first byte to the last, of the more severe kind, so that nothing is left over.
    """
    kept: list[Found] = []
    for place in sorted(found, key=lambda f: (f.start, -f.end, severity(f.kind), f.value)):
        if not kept or place.start >= kept[-1].end:
            kept.append(place)
        elif place.end > kept[-1].end:
            last = kept.pop()
            worse = min(last, place, key=lambda f: severity(f.kind))
            kept.append(Found(last.start, place.end, worse.kind, worse.value))
    return kept
