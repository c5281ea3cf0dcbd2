"""Check that the store is what its records say: ledger, manifests, then every byte they name.

What is checked against what: the ledger against a head kept elsewhere, and approvals in it against their
SSH signatures; manifests, checkpoints, verdicts and evaluations against the ledger; shards, decisions,
tokens and checkpoint files against those; units of documents against the acquisition records, their own
seal, and the ids of their texts. Reports the first thing that is wrong, by name. Caches (features,
history, plans) are checked for damage only: losing them costs time.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from ingot import approval, ledger, lineage, manifest, signatures, store_identity
from ingot.digests import digest_of, sha256_file
from ingot.errors import IngotError, IntegrityError, NotFoundError, StorageError
from ingot.ledger import Entry
from ingot.parquet import check_object, read_table
from ingot.storage import Store

CACHES = ("acquisition", "features", "spans", "history", "quarantine", "plans", "runs", "retrains", "held")


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

    witness is a ledger head kept elsewhere: with it a cut or rewritten ledger is found too. Raises
    StorageError when the store itself cannot be read.
    """
    with naming("the ledger"):
        entries = list(ledger.check(store))
        if witness:
            ledger.check_witness(entries, witness)
    notes: list[str] = []
    with naming("an approval"):
        _check_signatures(entries, notes)
    with naming("a manifest"):
        num_versions = _check_manifests(store, entries, notes)
    checks: dict[str, Check] = {}
    for record, names in records(store, entries):
        with naming(record):
            checks |= names()
    total = 0
    for number, (key, check) in enumerate(checks.items(), start=1):
        with naming(key), fresh(store) as view:
            total += check(view)
        if on_progress is not None:
            on_progress("verify", number, len(checks))
    return Report(len(entries), num_versions, len(checks), total, tuple(notes))


def named_keys(store: Store) -> list[str]:
    """The keys of every object that ledger, manifests and records name; nothing but those is read."""
    return list({key: None for _, names in records(store, ledger.read(store)) for key, _ in names()})


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Whatever goes wrong while a thing is checked is damage, unless the store cannot be read at all."""
    try:
        yield
    except NotFoundError as error:
        raise IntegrityError(f"{what} is missing ({error}); restore it from a backup") from error
    except StorageError:
        raise
    except (IngotError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityError(f"{what} is damaged ({type(error).__name__}); restore it from a backup") from error


@contextmanager
def fresh(store: Store) -> Iterator[Store]:
    """The store without its cache of remote objects: what is checked is what the service holds now."""
    if store.is_local:
        yield store
        return
    with store.scratch() as folder:
        yield store.with_scratch(folder)


def _check_signatures(entries: Sequence[Entry], notes: list[str]) -> None:
    signed = [entry for entry in entries if approval.is_signed(entry)]
    if signed and not signatures.available():
        notes.append(
            f"{len(signed)} records rest on SSH signatures, which were not checked: ssh-keygen is not installed "
            "(Debian package openssh-client)"
        )
        return
    for entry in signed:
        approval.check_record(entries, entry)


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
    for entry in entries:
        if entry.verb == "held_back":
            corpus, _, held = entry.subject.partition("@")
            key = manifest.held_key(corpus, int(held))
            if entry.evidence["manifest"] != digest_of(store.read_json(key)):
                raise IntegrityError(f"{key} is not what ledger record {entry.sequence} held back")
    return count


Check = Callable[[Store], int]
"""Checks one object and returns its bytes."""
Names = Callable[[], Iterator[tuple[str, Check]]]
"""Reads a record and gives each object that it names, with what it must be."""


def records(store: Store, entries: Sequence[Entry]) -> Iterator[tuple[str, Names]]:
    """Every record of the store, by key, and every cache: what is damaged is found when its names are asked for."""
    if entries or store.exists(store_identity.STORE_KEY):
        yield store_identity.STORE_KEY, _itself(store_identity.STORE_KEY, _record)
    for corpus in manifest.corpora(store):
        for number in manifest.versions_of(store, corpus):
            yield manifest.key_of(corpus, number), partial(_version_objects, store, corpus, number)
    for key in store.list("tokens/"):
        if key.endswith(".json"):
            yield key, partial(_token_objects, store, key)
    for area, named in (("tokenizers", _tokenizer_objects), ("checkpoints", _checkpoint_objects)):
        for key in store.list(f"{area}/"):
            if key.endswith("/manifest.json"):
                yield key, partial(named, store, key)
    for key in store.list("evaluations/"):
        yield key, _itself(key, _evaluation)
    yield "acquisition/", partial(_units, store)
    for key in store.list("documents/"):
        yield key, _itself(key, _documents)
    for key in store.list("images/"):
        yield key, _itself(key, _named_by_its_bytes)
    for area in CACHES:
        for key in store.list(f"{area}/"):
            if key.endswith(".parquet"):
                yield key, _itself(key, _merged_table if area == "history" else _table)
            elif key.endswith(".json") and area not in ("features", "spans", "history"):
                yield key, _itself(key, _record)
    for entry in entries:
        yield ledger.key_of(entry.sequence), partial(_named_by, entry)


def _itself(key: str, check: Callable[[str], Check]) -> Names:
    return lambda: iter([(key, check(key))])


def _version_objects(store: Store, corpus: str, number: int) -> Iterator[tuple[str, Check]]:
    identity = manifest.read(store, corpus, number).identity
    for shard in identity.shards:
        key = f"shards/{shard.sha256}.parquet"
        yield key, _content(key, shard.sha256, shard.bytes)
    for part in identity.decisions:
        key = f"decisions/{part.sha256}.parquet"
        yield key, _content(key, part.sha256, part.bytes)


def _named_by(entry: Entry) -> Iterator[tuple[str, Check]]:
    """What a ledger record says must be there."""
    if entry.verb == "registered":
        key = f"{entry.details['checkpoint_key']}/manifest.json"
        yield key, _content(key, entry.evidence["checkpoint"], None)
        if entry.details.get("tokens_key"):
            key = str(entry.details["tokens_key"])
            yield key, _record(key)
        for part in entry.details.get("mixture", ()):
            yield part["tokens_key"], _record(part["tokens_key"])
        if entry.details.get("run"):
            key = f"runs/{entry.details['run']}.json"
            yield key, _record(key)
    if entry.verb == "adopted":
        key = f"{entry.details['checkpoint_key']}/manifest.json"
        yield key, _content(key, entry.evidence["checkpoint"], None)
    if entry.verb == "gated":
        for name in ("verdict", "evaluation"):
            if name in entry.evidence:
                key = f"evaluations/{entry.evidence[name]}.json"
                yield key, _evaluation(key)


def _token_objects(store: Store, key: str) -> Iterator[tuple[str, Check]]:
    tokens = store.read_record(key)
    for shard in tokens["shards"]:
        for kind in ("bin", "idx"):
            yield shard[f"{kind}_key"], _content(shard[f"{kind}_key"], shard[f"{kind}_sha256"], None)
    # The record is required here and read below, where its folder is listed.
    yield f"{tokens['tokenizer_key']}/manifest.json", _record(f"{tokens['tokenizer_key']}/manifest.json")


def _tokenizer_objects(store: Store, key: str) -> Iterator[tuple[str, Check]]:
    folder, record = key.rsplit("/", 1)[0], store.read_record(key)
    for name, field in (("tokenizer.json", "digest"), ("tokenizer_config.json", "config_digest")):
        yield f"{folder}/{name}", _content(f"{folder}/{name}", record[field], None)


def _checkpoint_objects(store: Store, key: str) -> Iterator[tuple[str, Check]]:
    folder = key.rsplit("/", 1)[0]
    for file in store.read_record(key)["files"]:
        yield f"{folder}/{file['name']}", _content(f"{folder}/{file['name']}", file["sha256"], file["size"])


def _units(store: Store) -> Iterator[tuple[str, Check]]:
    """Units of documents that an acquisition record names."""
    for key in (f"documents/{unit}.parquet" for unit in lineage.units_named(store)):
        yield key, _documents(key)


def _table(key: str) -> Check:
    return lambda view: check_object(view, key)


def _merged_table(key: str) -> Check:
    """A segment of an index, which a run beside this one may replace by one made of several."""

    def check(view: Store) -> int:
        try:
            return check_object(view, key)
        except (NotFoundError, FileNotFoundError):
            return 0

    return check


def _named_by_its_bytes(key: str) -> Check:
    return _content(key, key.rpartition("/")[2], None)


def _content(key: str, sha256: str, size: int | None) -> Check:
    def check(view: Store) -> int:
        path = view.local_path(key)
        actual = path.stat().st_size
        if size is not None and actual != size:
            raise IntegrityError(
                f"{key} has {actual} bytes, recorded are {size}; restore it or run again to rebuild it"
            )
        if sha256_file(path) != sha256:
            raise IntegrityError(f"{key} has other bytes than recorded; restore it or delete it and run again")
        return actual

    return check


def _record(key: str) -> Check:
    def check(view: Store) -> int:
        view.read_record(key)
        return view.size(key) or 0

    return check


def _evaluation(key: str) -> Check:
    def check(view: Store) -> int:
        record = view.read_record(key)
        name = key.rsplit("/", 1)[1].removesuffix(".json")
        # A verdict's name is its digest and the ledger holds it; an evaluation is named by its inputs.
        if record.get("kind") == "verdict" and digest_of(record) != name:
            raise IntegrityError(f"{key} has other bytes than its name says; restore it from a backup")
        return view.size(key) or 0

    return check


def _documents(key: str) -> Check:
    def check(view: Store) -> int:
        size = check_object(view, key)
        table = read_table(view, key, columns=["doc_id", "text"])
        for doc_id, text in zip(table["doc_id"].to_pylist(), table["text"].to_pylist(), strict=True):
            if hashlib.blake2b(text.encode(), digest_size=16).digest() != doc_id:
                raise IntegrityError(f"{key}: the text of document {doc_id.hex()} is not the one its id names")
        return size

    return check
