"""What nothing names any more: leftovers of runs that were killed, held back or overtaken (CONTRACTS 9).

Kept is everything that can be reached from a manifest, a registered model, a checkpoint, the newest look at a source or
the ledger; and everything younger than 48 hours, named or not, because a run at work names what it made only at its
end (what it finds instead of making is renewed, `Store.reuse`). Objects are listed before records are read, so what is
named meanwhile is seen to be named. When a record cannot be read nothing is taken: what it names is not known.
History, evaluations, reports and areas that this version does not know are never touched.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ingot import ledger
from ingot.digests import digest_of
from ingot.garbage_names import Names, read_names
from ingot.storage import Store
from ingot.stored import Found, Upload
from ingot.verify import naming

MIN_AGE = timedelta(hours=48)
_LISTED_KEYS = 1000
_TEMPORARY = ".tmp/"
_KEPT_TEMPORARY = ".tmp/conditional-put"  # asks the service whether it honours If-None-Match


@dataclass(frozen=True)
class Garbage:
    """What may be removed, and the moment before which nobody may have touched it."""

    objects: tuple[Found, ...]
    uploads: tuple[Upload, ...]
    num_young: int
    """Unnamed objects that are too young: perhaps a run is about to name them."""
    before: datetime

    @property
    def bytes(self) -> int:
        """Bytes of objects and of uploaded parts."""
        return sum(found.bytes for found in self.objects) + sum(upload.bytes for upload in self.uploads)

    def by_area(self) -> dict[str, tuple[int, int]]:
        """(number, bytes) by the folder things lie in; `uploads` are parts that nobody ended."""
        numbers, sizes = _sums((found.key.split("/", 1)[0], found.bytes) for found in self.objects)
        uploads = {"uploads": (len(self.uploads), sum(upload.bytes for upload in self.uploads))} if self.uploads else {}
        return {area: (numbers[area], sizes[area]) for area in sorted(numbers)} | uploads


@dataclass(frozen=True)
class Collected:
    """What was removed."""

    objects: int
    uploads: int
    bytes: int
    num_kept: int
    """Objects that somebody renewed meanwhile."""


def find_garbage(store: Store) -> Garbage:
    """What nothing names, and is old enough; IntegrityError when a record cannot be read."""
    before = store.now() - MIN_AGE
    listed = list(store.find())
    uploads = [upload for upload in store.uploads() if upload.last_used < before]
    with naming("a record"):
        names = read_names(store, {found.key: found.modified < before for found in listed})
    unnamed = [found for found in listed if _is_unnamed(found.key, names)]
    old = sorted((found for found in unnamed if found.modified < before), key=_order)
    return Garbage(tuple(old), tuple(uploads), len(unnamed) - len(old), before)


def _is_unnamed(key: str, names: Names) -> bool:
    if key.startswith(_TEMPORARY):
        return key != _KEPT_TEMPORARY
    return names.knows(key) and not names.holds(key)


def _order(found: Found) -> tuple[bool, str]:
    # Records first: a kill in between leaves things that nothing names, not names of things that are gone.
    return not found.key.endswith(".json"), found.key


def collect(store: Store, garbage: Garbage, *, actor: ledger.Actor) -> Collected:
    """Remove it, except what was touched since; the ledger record comes first, so nothing goes unrecorded."""
    recorded = [found for found in garbage.objects if not found.key.startswith(_TEMPORARY)]
    if recorded:
        _record(store, recorded, garbage.by_area(), actor)
    taken = [found for found in garbage.objects if store.delete_if_untouched(found.key, garbage.before)]
    for upload in garbage.uploads:
        store.abort_upload(upload)
    parts = sum(upload.bytes for upload in garbage.uploads)
    return Collected(
        objects=len(taken),
        uploads=len(garbage.uploads),
        bytes=sum(found.bytes for found in taken) + parts,
        num_kept=len(garbage.objects) - len(taken),
    )


def _record(
    store: Store, objects: list[Found], areas: Mapping[str, tuple[int, int]], actor: ledger.Actor
) -> ledger.Entry:
    keys = sorted(found.key for found in objects)
    details: dict[str, Any] = {
        "objects": len(keys),
        "bytes": sum(found.bytes for found in objects),
        "areas": {area: list(sums) for area, sums in areas.items()},
        "keys": keys[:_LISTED_KEYS],
    }
    return ledger.append(
        store,
        actor=actor,
        verb="deleted",
        subject="unnamed objects",
        subject_digest=digest_of(keys),
        evidence={"keys": digest_of(keys)},
        attempt=digest_of(sorted([found.key, found.modified.isoformat()] for found in objects)),
        details=details,
    )


def _sums(pairs: Iterable[tuple[str, int]]) -> tuple[Counter[str], Counter[str]]:
    numbers: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for area, size in pairs:
        numbers[area] += 1
        sizes[area] += size
    return numbers, sizes
