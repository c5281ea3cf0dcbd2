"""Read every object again and say which have other bytes than were written: bit rot (CONTRACTS 1).

The checks are those of `ingot verify`, which stops at the first damage; this goes on, says which versions and models
need what is damaged, and clears the way for the run that makes it again:

    removed    features, spans, history, plans, token files, looks at a source: caches, made again by the next run
    put aside  units of documents, and shards and decisions of the newest version of a corpus, below
               `quarantine/damaged/`: the next `ingot curate` makes them again, byte for byte
    left       everything else: only a backup has it
"""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ingot import ledger, manifest
from ingot.digests import digest_of
from ingot.errors import IngotError, IntegrityError, NotFoundError
from ingot.ledger import Entry
from ingot.storage import Store
from ingot.verify import Check, fresh, naming, records

SET_ASIDE = "quarantine/damaged"
LEFT, REMOVED, PUT_ASIDE = "left", "removed", "put aside"
_CACHES = ("features", "spans", "history", "plans", "acquisition", "tokens")
_RESTORE = "restore it from a backup"


@dataclass(frozen=True)
class Damage:
    """One object that is not what was written."""

    key: str
    problem: str
    versions: tuple[str, ...]
    """Corpus versions that name it, `handbook@12`."""
    models: tuple[str, ...]
    """Models that were made with it, `mini/3`."""
    done: str
    """`removed`, `put aside` or `left`."""
    remedy: str


@dataclass(frozen=True)
class Scrubbed:
    """What was read and what of it is damaged."""

    objects: int
    bytes: int
    num_named: int
    """Objects that records name; more than were read when only a sample was."""
    damages: tuple[Damage, ...]


def scrub(
    store: Store,
    *,
    actor: ledger.Actor,
    share: float = 1.0,
    is_touching: bool = True,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Scrubbed:
    """Check every object, or a random share of them.

    With is_touching False nothing is removed or put aside. Raises StorageError when the store cannot be read, and
    IntegrityError when it is the ledger that is damaged: without it nobody can say what was meant.
    """
    entries = ledger.read(store)
    problems: dict[str, str] = {}
    checks: dict[str, Check] = {}
    for record, names in records(store, entries):
        problem = _problem(record, lambda names=names: checks.update(names()))  # type: ignore[misc]
        # A look that is damaged is also an object of its own.
        if problem and not record.endswith("/"):
            problems[record] = problem
    chosen = [key for key in checks if share >= 1 or random.random() < share]
    total = 0

    def check(key: str) -> None:
        nonlocal total
        with fresh(store) as view:
            total += checks[key](view)

    for number, key in enumerate(chosen, start=1):
        problem = _problem(key, lambda key=key: check(key))  # type: ignore[misc]
        if problem:
            problems[key] = problem
        if on_progress is not None:
            on_progress("scrub", number, len(chosen))
    uses = _Uses(store, entries)
    planned = [_damage(key, problem, uses) for key, problem in sorted(problems.items())]
    if is_touching:
        _act(store, planned, actor)
    else:
        planned = [Damage(d.key, d.problem, d.versions, d.models, LEFT, d.remedy) for d in planned]
    return Scrubbed(len(chosen), total, len(checks), tuple(planned))


def _problem(key: str, act: Callable[[], object]) -> str | None:
    """What is wrong with an object, found by reading it; a store that cannot be read is an error."""
    try:
        with naming(key):
            act()
    except IntegrityError as damage:
        return "is missing" if isinstance(damage.__cause__, NotFoundError) else "has other bytes than were written"
    return None


class _Uses:
    """Which versions and models were made with an object."""

    def __init__(self, store: Store, entries: Sequence[Entry]) -> None:
        self.versions: dict[str, set[str]] = defaultdict(set)
        self.newest: dict[str, str] = {}
        """Corpus by the key of a shard or decisions object of its newest version."""
        self._models: dict[str, set[str]] = defaultdict(set)
        self._models_of_version: dict[str, set[str]] = defaultdict(set)
        for corpus in manifest.corpora(store):
            numbers = manifest.versions_of(store, corpus)
            for number in numbers:
                self._add_version(store, corpus, number, is_newest=number == numbers[-1])
        for entry in entries:
            if entry.verb == "registered":
                self._add_model(store, entry)
            elif entry.verb == "adopted":
                self._models[entry.details["checkpoint_key"]].add(entry.subject)

    def models(self, key: str) -> set[str]:
        """Models made with an object, or with a version that names it."""
        folder = key.rpartition("/")[0]
        of_versions = (self._models_of_version[version] for version in self.versions.get(key, ()))
        return set().union(self._models.get(key, ()), self._models.get(folder, ()), *of_versions)

    def _add_version(self, store: Store, corpus: str, number: int, *, is_newest: bool) -> None:
        name, key = f"{corpus}@{number}", manifest.key_of(corpus, number)
        self.versions[key].add(name)
        try:
            identity = manifest.read(store, corpus, number).identity
        except IngotError:
            return  # damaged, and told as such
        keys = [f"shards/{shard.sha256}.parquet" for shard in identity.shards]
        for key in [*keys, *(f"decisions/{part.sha256}.parquet" for part in identity.decisions)]:
            self.versions[key].add(name)
            if is_newest:
                self.newest[key] = corpus

    def _add_model(self, store: Store, entry: Entry) -> None:
        name = f"{entry.details['model']}/{entry.details['version']}"
        self._models[entry.details["checkpoint_key"]].add(name)
        if "adopted_base" in entry.details:
            self._models[entry.details["adopted_base"]].add(name)
        self._models_of_version[str(entry.details.get("corpus"))].add(name)
        for row in entry.details.get("corpora", ()):
            self._models_of_version[row["corpus"]].add(name)
        keys = {entry.details.get("tokens_key"), *(part["tokens_key"] for part in entry.details.get("mixture", ()))}
        for tokens in sorted(key for key in keys if key):
            self._add_tokens(store, tokens, name)

    def _add_tokens(self, store: Store, tokens: str, name: str) -> None:
        self._models[tokens].add(name)
        try:
            record = store.read_record(tokens)
        except IngotError:
            return
        for shard in record["shards"]:
            for kind in ("bin", "idx"):
                self._models[shard[f"{kind}_key"]].add(name)
        self._models[record["tokenizer_key"]].add(name)


def _damage(key: str, problem: str, uses: _Uses) -> Damage:
    versions, models = sorted(uses.versions.get(key, ())), sorted(uses.models(key))
    done, remedy = _remedy(key, uses)
    return Damage(key, problem, tuple(versions), tuple(models), done, remedy)


def _remedy(key: str, uses: _Uses) -> tuple[str, str]:
    area = key.split("/", 1)[0]
    if area == "tokens":
        return REMOVED, "the next `ingot train` makes it again"
    if area in _CACHES:
        return REMOVED, "the next `ingot curate` makes it again"
    if area == "quarantine" and not key.startswith(SET_ASIDE):
        return REMOVED, "`ingot quarantine retry` and the next `ingot curate` make it again"
    if area == "documents":
        again = "the next `ingot curate` with the same options reads its files again"
        return PUT_ASIDE, f"{again}; for files that are gone, {_RESTORE}"
    if key in uses.newest:
        again = f"the next `ingot curate` of {uses.newest[key]} makes it again, with the same sources and --set values"
        return PUT_ASIDE, f"{again}, else {_RESTORE}"
    if area == "checkpoints":
        return LEFT, f"{_RESTORE}; a run that goes on falls back to an older checkpoint by itself"
    return LEFT, _RESTORE


def _act(store: Store, damages: Sequence[Damage], actor: ledger.Actor) -> None:
    touched = [damage for damage in damages if damage.done != LEFT and store.exists(damage.key)]
    if not touched:
        return
    keys = sorted(damage.key for damage in touched)
    ledger.append(
        store, actor=actor, verb="deleted", subject="damaged objects", subject_digest=digest_of(keys),
        evidence={"keys": digest_of(keys)}, attempt=f"{digest_of(keys)}:{len(ledger.read(store))}",
        details={"objects": {damage.key: damage.done for damage in touched}, "set_aside": SET_ASIDE},
    )  # fmt: skip
    for damage in touched:
        if damage.done == PUT_ASIDE:
            # Not by its old name: nobody takes it for an object, and whoever wants to rescue something finds it.
            store.put_file(f"{SET_ASIDE}/{damage.key}.damaged", store.local_path(damage.key), overwrite=True)
        if damage.key.startswith("acquisition/") and damage.key.endswith(".parquet"):
            _remove_pointers(store, damage.key)
        store.delete(damage.key)


def _remove_pointers(store: Store, table: str) -> None:
    """Remove the numbered records that name a look: the one before is the newest then."""
    folder, _, name = table.rpartition("/")
    for key in store.list(f"{folder}/"):
        if key.endswith(".json"):
            try:
                record = store.read_record(key)["record"]
            except IngotError:
                continue  # damaged itself, and told as such
            if f"{record}.parquet" == name:
                store.delete(key)
