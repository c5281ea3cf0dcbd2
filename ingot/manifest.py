"""Corpus manifests: what a version consists of (identity, hashed) and how it came about (provenance).

`corpora/<name>/<n>.json` publishes a version by being there; readers use it, never a listing. A version that
breaches its recipe's expectations is put under `held/<name>/<n>.json` instead, n being the number it would have had.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ingot.crashpoints import crashpoint
from ingot.digests import digest_of, sha256_hex
from ingot.errors import IntegrityError, NotFoundError
from ingot.refs import CorpusRef
from ingot.storage import Store

MANIFEST_VERSION = 1
Split = Literal["train", "heldout"]


class ShardEntry(BaseModel):
    """One shard of a version, in manifest order."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    sha256: str
    split: Split
    rows: int
    bytes: int
    text_bytes: int
    first_uri: str
    list_digest: str
    """Digest of the rows' (doc_id, edit digest, split, columns): equal means the shard can be reused."""


class DecisionsEntry(BaseModel):
    """One decisions object of a version."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    sha256: str
    rows: int
    bytes: int
    first_doc_id: str
    last_doc_id: str


class Identity(BaseModel):
    """What the version is: a pure function of snapshot, recipe values, tombstones and versions."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    manifest_version: int
    corpus: str
    snapshot_digest: str
    recipe: dict[str, Any]
    tombstones_digest: str
    versions: dict[str, str]
    content_digest: str
    root_digest: str
    shards: list[ShardEntry]
    decisions: list[DecisionsEntry]
    accounting: dict[str, int]
    statistics: dict[str, Any]


class Manifest(BaseModel):
    """A manifest as stored."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    identity: Identity
    identity_digest: str
    provenance: dict[str, Any]
    """Writer, times, host, code revision, run ids, ledger head: never hashed."""


def identity_digest(identity: Identity) -> str:
    """SHA-256 of the identity: two versions with the same one are the same version."""
    return digest_of(identity.model_dump(mode="json"))


def content_digest(rows: Iterable[tuple[bytes, str, bytes]]) -> str:
    """SHA-256 over sorted (doc_id, split, sha256 of the edited text): equal on any machine."""
    return content_digest_in_order(sorted(rows))


def content_digest_in_order(rows: Iterable[tuple[bytes, str, bytes]]) -> str:
    """`content_digest` of rows that come sorted, one after the other."""
    digest = hashlib.sha256()
    for doc_id, split, text_sha256 in rows:
        digest.update(doc_id + split.encode() + b"\0" + text_sha256)
    return digest.hexdigest()


def root_digest(shards: Sequence[ShardEntry]) -> str:
    """SHA-256 over the ordered shard digests: equal for one lock file."""
    return sha256_hex("\n".join(shard.sha256 for shard in shards).encode())


def classification_of(identity: Identity) -> str:
    """The strictest class among a version's documents, in words; a model trained on it inherits it."""
    access = identity.statistics.get("access", {"strictest": "unknown", "unclassified": 0})
    if access["strictest"] == "unknown":
        return "not stated"
    more = f", {access['unclassified']:,} documents are unclassified" if access["unclassified"] else ""
    return f"{access['strictest']}{more}"


def summed(statistics: Sequence[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """Numbers by name of several versions added up; what stands in two of them is counted twice."""
    total: dict[str, dict[str, int]] = {}
    for one in statistics:
        for name, numbers in one.items():
            row = total.setdefault(name, {})
            for what, number in numbers.items():
                row[what] = row.get(what, 0) + number
    return total


def key_of(corpus: str, version: int) -> str:
    """Where the manifest of a version lies."""
    return f"corpora/{corpus}/{version}.json"


def versions_of(store: Store, corpus: str) -> list[int]:
    """Published version numbers, ascending."""
    names = [key.rsplit("/", 1)[1].removesuffix(".json") for key in store.list(f"corpora/{corpus}/")]
    return sorted(int(name) for name in names if name.isdecimal())


def corpora(store: Store) -> list[str]:
    """Names of the corpora of a store."""
    return sorted({key.split("/")[1] for key in store.list("corpora/")})


def read(store: Store, corpus: str, version: int) -> Manifest:
    """A version's manifest; NotFoundError when it was never published, IntegrityError when changed."""
    return _checked(store, key_of(corpus, version))


def _checked(store: Store, key: str) -> Manifest:
    record = store.read_record(key)
    try:
        manifest = Manifest.model_validate(record)
    except ValueError:
        raise IntegrityError(f"manifest {key} is not one this Ingot reads; use the Ingot that wrote it") from None
    if identity_digest(manifest.identity) != manifest.identity_digest:
        raise IntegrityError(f"manifest {key} was changed; restore it from a backup")
    return manifest


def find(store: Store, name: str) -> tuple[str, int]:
    """Resolve `handbook`, `handbook@latest` or `handbook@12` to (corpus, version)."""
    corpus, _, version = name.partition("@")
    known = versions_of(store, corpus)
    if not known:
        names = ", ".join(corpora(store)) or "none yet; run `ingot curate`"
        raise NotFoundError(f"corpus {corpus!r} does not exist in {store.root}; known: {names}")
    if version in ("", "latest"):
        return corpus, known[-1]
    if not version.isdigit() or int(version) not in known:
        is_held = version.isdigit() and store.exists(held_key(corpus, int(version)))
        hint = f"; it was held back: write {corpus}@held/{version}" if is_held else ""
        raise NotFoundError(f"{name} does not exist; {corpus} has versions {known[0]} to {known[-1]}{hint}")
    return corpus, int(version)


def read_named(store: Store, name: str) -> tuple[str, Manifest]:
    """(full name, manifest) of `handbook`, `handbook@12`, or `handbook@held/13` for one that was held back."""
    corpus, _, version = name.partition("@")
    if version.startswith("held/"):
        number = version.removeprefix("held/")
        known = [key.rsplit("/", 1)[1].removesuffix(".json") for key in store.list(f"held/{corpus}/")]
        if number not in known:
            told = ", ".join(f"{corpus}@held/{n}" for n in sorted(known, key=int)) or "none"
            raise NotFoundError(f"{name} does not exist; versions of {corpus} that were held back: {told}")
        return name, _checked(store, held_key(corpus, int(number)))
    found, known_number = find(store, name)
    return f"{found}@{known_number}", read(store, found, known_number)


def publish(store: Store, identity: Identity, provenance: Mapping[str, Any], version: int) -> bool:
    """Put the manifest of a version; False when somebody else has published that number."""
    body = {
        "identity": identity.model_dump(mode="json"),
        "identity_digest": identity_digest(identity),
        "provenance": dict(provenance),
    }
    key = key_of(identity.corpus, version)
    crashpoint("manifest.put.before", key)
    won = store.put_if_absent(key, body)
    crashpoint("manifest.put.after", key)
    return won


def hold(store: Store, identity: Identity, provenance: Mapping[str, Any], version: int) -> int:
    """Put the manifest of a version that may not be published; the number it has under `held/`.

    The same identity held again is the one that is there; another one under the number takes the next free one.
    """
    digest = identity_digest(identity)
    body = {"identity": identity.model_dump(mode="json"), "identity_digest": digest, "provenance": dict(provenance)}
    while not store.put_if_absent(held_key(identity.corpus, version), body):
        if store.read_record(held_key(identity.corpus, version))["identity_digest"] == digest:
            break
        version += 1
    return version


def held_key(corpus: str, version: int) -> str:
    """Where the manifest of a version that was held back lies."""
    return f"held/{corpus}/{version}.json"


def ref_of(manifest: Manifest, version: int, *, reused: bool = False) -> CorpusRef:
    """The ref that later stages take."""
    identity = manifest.identity
    train = [shard for shard in identity.shards if shard.split == "train"]
    return CorpusRef(
        corpus=identity.corpus,
        version=version,
        manifest_key=key_of(identity.corpus, version),
        identity_digest=manifest.identity_digest,
        content_digest=identity.content_digest,
        root_digest=identity.root_digest,
        num_documents=sum(shard.rows for shard in train),
        num_heldout=sum(shard.rows for shard in identity.shards if shard.split == "heldout"),
        num_bytes=sum(shard.text_bytes for shard in train),
        reused=reused,
    )
