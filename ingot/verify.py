"""Check that the store is what its records say: ledger, manifests, then every byte they name.

Reports the first thing that is wrong, by name. Caches (features, history) are checked for damage only:
losing them costs time.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ingot import ledger, manifest
from ingot.digests import digest_of, sha256_file, sha256_hex
from ingot.errors import IngotError, IntegrityError, NotFoundError
from ingot.ledger import Entry
from ingot.parquet import read_table
from ingot.storage import Store


@dataclass(frozen=True)
class Report:
    """What was checked, when nothing was wrong."""

    ledger_records: int
    corpus_versions: int
    objects: int
    bytes: int
    notes: tuple[str, ...]


def verify(
    store: Store, *, witness: str | None = None, on_progress: Callable[[str, int, int], None] | None = None
) -> Report:
    """Check everything; raises IntegrityError naming the first thing that is wrong.

    witness is a ledger head kept elsewhere: with it a cut or rewritten ledger is found too.
    """
    entries = list(ledger.check(store))
    if witness:
        ledger.check_witness(entries, witness)
    notes: list[str] = []
    num_versions = _check_manifests(store, entries, notes)
    checks = list(_objects(store, entries))
    total = 0
    for number, (key, check) in enumerate(checks, start=1):
        try:
            total += check()
        except NotFoundError as error:
            raise IntegrityError(f"{key} is missing; restore it from a backup") from error
        except IntegrityError:
            raise
        except (IngotError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise IntegrityError(f"{key} is damaged ({type(error).__name__}); restore it from a backup") from error
        if on_progress is not None:
            on_progress("verify", number, len(checks))
    return Report(len(entries), num_versions, len(checks), total, tuple(notes))


def _check_manifests(store: Store, entries: Sequence[Entry], notes: list[str]) -> int:
    recorded = {entry.subject: entry for entry in entries if entry.verb == "published"}
    count = 0
    for corpus in manifest.corpora(store):
        numbers = manifest.versions_of(store, corpus)
        if numbers != list(range(1, len(numbers) + 1)):
            raise IntegrityError(f"corpus {corpus} has versions {numbers}; one in between is missing")
        for number in numbers:
            manifest.read(store, corpus, number)
            entry = recorded.pop(f"{corpus}@{number}", None)
            if entry is None:
                notes.append(f"{corpus}@{number} has no ledger record; the next `ingot curate` writes it")
            elif entry.evidence["manifest"] != digest_of(store.read_json(manifest.key_of(corpus, number))):
                raise IntegrityError(f"manifest {corpus}@{number} is not the one ledger record {entry.sequence} names")
            count += 1
    for subject, entry in recorded.items():
        raise IntegrityError(f"{subject} is missing, but ledger record {entry.sequence} says it was published")
    return count


_Check = tuple[str, Callable[[], int]]


def _objects(store: Store, entries: Sequence[Entry]) -> Iterator[_Check]:
    seen: set[str] = set()
    for corpus in manifest.corpora(store):
        for number in manifest.versions_of(store, corpus):
            identity = manifest.read(store, corpus, number).identity
            named = [("shards", s.sha256, s.bytes) for s in identity.shards]
            named += [("decisions", d.sha256, d.bytes) for d in identity.decisions]
            for area, sha256, size in named:
                key = f"{area}/{sha256}.parquet"
                if key not in seen:
                    seen.add(key)
                    yield key, lambda k=key, d=sha256, n=size: _check_bytes(store, k, d, n)  # type: ignore[misc]
    yield from _token_objects(store)
    yield from _tokenizer_objects(store)
    yield from _checkpoint_objects(store, entries)
    for key in store.list("evaluations/"):
        yield key, lambda k=key: _check_evaluation(store, k)  # type: ignore[misc]
    for key in store.list("documents/"):
        yield key, lambda k=key: _check_documents(store, k)  # type: ignore[misc]
    for area in ("acquisition", "features", "spans", "history", "quarantine"):
        for key in store.list(f"{area}/"):
            if key.endswith(".parquet"):
                yield key, lambda k=key: _check_readable(store, k)  # type: ignore[misc]


def _token_objects(store: Store) -> Iterator[_Check]:
    for key in store.list("tokens/"):
        if not key.endswith(".json"):
            continue
        for shard in store.read_record(key)["shards"]:
            for kind in ("bin", "idx"):
                name, digest = shard[f"{kind}_key"], shard[f"{kind}_sha256"]
                yield name, lambda k=name, d=digest: _check_bytes(store, k, d, None)  # type: ignore[misc]


def _tokenizer_objects(store: Store) -> Iterator[_Check]:
    for key in store.list("tokenizers/"):
        if key.endswith("/manifest.json"):
            folder, record = key.rsplit("/", 1)[0], store.read_record(key)
            name = f"{folder}/tokenizer.json"
            yield name, lambda k=name, d=record["digest"]: _check_bytes(store, k, d, None)  # type: ignore[misc]


def _checkpoint_objects(store: Store, entries: Sequence[Entry]) -> Iterator[_Check]:
    for entry in entries:
        if entry.verb == "registered":
            key = f"{entry.details['checkpoint_key']}/manifest.json"
            yield key, lambda k=key, e=entry: _check_registered(store, k, e)  # type: ignore[misc]
    for key in store.list("checkpoints/"):
        if key.endswith("/manifest.json"):
            folder = key.rsplit("/", 1)[0]
            for file in store.read_record(key)["files"]:
                name = f"{folder}/{file['name']}"
                yield name, lambda k=name, f=file: _check_bytes(store, k, f["sha256"], f["size"])  # type: ignore[misc]


def _check_registered(store: Store, key: str, entry: Entry) -> int:
    data = store.read_bytes(key)
    if sha256_hex(data) != entry.evidence["checkpoint"]:
        raise IntegrityError(f"{key} is not the checkpoint that ledger record {entry.sequence} registered")
    return len(data)


def _check_bytes(store: Store, key: str, sha256: str, size: int | None) -> int:
    path = store.local_path(key)
    actual = path.stat().st_size
    if size is not None and actual != size:
        raise IntegrityError(f"{key} has {actual} bytes, recorded are {size}; restore it or run again to rebuild it")
    if sha256_file(path) != sha256:
        raise IntegrityError(f"{key} has other bytes than recorded; restore it or delete it and run again")
    return actual


def _check_evaluation(store: Store, key: str) -> int:
    data = store.read_bytes(key)
    if sha256_hex(data) != key.rsplit("/", 1)[1].removesuffix(".json"):
        raise IntegrityError(f"{key} has other bytes than its name says; evaluate again")
    return len(data)


def _check_documents(store: Store, key: str) -> int:
    table = read_table(store, key, columns=["doc_id", "text"])
    for doc_id, text in zip(table["doc_id"].to_pylist(), table["text"].to_pylist(), strict=True):
        if hashlib.blake2b(text.encode(), digest_size=16).digest() != doc_id:
            raise IntegrityError(f"{key}: the text of document {doc_id.hex()} is not the one its id names")
    return store.size(key) or 0


def _check_readable(store: Store, key: str) -> int:
    read_table(store, key)
    return store.size(key) or 0
