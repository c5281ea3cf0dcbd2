"""Answers about documents and models, from manifests, decisions, acquisition records and the ledger.

Imports neither Prefect nor MLflow nor torch: these answers must outlive all of them.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ingot import ledger, manifest, model_versions, overrides
from ingot.digests import digest_of, sha256_file, sha256_hex
from ingot.errors import IntegrityError, NotFoundError
from ingot.manifest import Identity, Manifest
from ingot.parquet import read_table
from ingot.storage import Store

_OCCURRENCE_COLUMNS = ["doc_id", "uri", "start", "end", "media_type", "licence", "licence_evidence", "stated_date",
                       "language", "family", "version", "extractor", "extractor_version"]  # fmt: skip


@dataclass(frozen=True)
class DocumentTrace:
    """Everything known of one document; ids and numbers only, no text."""

    doc_id: str
    occurrences: list[dict[str, Any]]
    versions: list[dict[str, Any]]
    """Per corpus version: outcome, rule, reason, score, threshold, other document, shard and row, edits."""
    models: list[dict[str, Any]]
    files: list[dict[str, Any]] = field(default_factory=list)
    """Acquisition records that led here, when a uri or file was asked for."""
    unreadable: list[str] = field(default_factory=list)
    """Corpus versions whose decisions are damaged, so that nothing is known of the document in them."""


def find_documents(store: Store, query: str) -> tuple[list[str], list[dict[str, Any]]]:
    """(document ids, acquisition rows) that an id, a uri or a file means; NotFoundError when none does."""
    lowered = query.lower()
    if len(lowered) == 32 and all(c in "0123456789abcdef" for c in lowered):
        return [lowered], []
    rows = list(_files_matching(store, query))
    if not rows and not Path(query).expanduser().is_file() and (inside := list(_documents_at(store, query))):
        return inside, []
    if not rows:
        hint = "; this one is a file here, so write SOURCE:URI for a uri" if Path(query).expanduser().is_file() else ""
        raise NotFoundError(
            f"no document is known by {query!r} in {store.root}; give a document id (32 hex digits), a uri as a "
            f"source lists it (or its end), or a file that was read{hint}"
        )
    ids: list[str] = []
    for row in rows:
        if row["unit"] is not None:
            table = read_table(store, f"documents/{row['unit']}.parquet", columns=["doc_id"])
            column = table["doc_id"].slice(row["first_row"], row["num_rows"])
            ids += [doc_id.hex() for doc_id in column.to_pylist()]
    return list(dict.fromkeys(ids)), rows


def _files_matching(store: Store, query: str) -> Iterator[dict[str, Any]]:
    path = Path(query).expanduser()
    matches = _file_matches(path) if path.is_file() else _uri_matches(query)
    candidates = [(rank, row) for row in acquisition_rows(store) if (rank := matches(row)) is not None]
    best = min((rank for rank, _ in candidates), default=0)
    yield from (row for rank, row in candidates if rank == best)


def _documents_at(store: Store, query: str) -> Iterator[str]:
    """Ids of documents at a place inside a file, as answers print it: a row, an attachment, a member, a page."""
    source, _, uri = query.partition(":")
    names = {query, uri.strip()}
    for unit, files in _files_by_unit(store).items():
        table = read_table(store, f"documents/{unit}.parquet", columns=["uri", "doc_id"])
        for row in pc.indices_nonzero(pc.is_in(table["uri"], pa.array(sorted(names)))).to_pylist():
            owner = next((f for f in files if f["first_row"] <= row < f["first_row"] + f["num_rows"]), None)
            place = table["uri"][row].as_py()
            if owner is not None and (place == query or owner["source"] == source):
                yield table["doc_id"][row].as_py().hex()


def _files_by_unit(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Rows of the acquisition records, by the unit that their documents lie in."""
    by_unit: dict[str, list[dict[str, Any]]] = {}
    for row in acquisition_rows(store):
        if row["unit"] is not None:
            by_unit.setdefault(row["unit"], []).append(row)
    return dict(sorted(by_unit.items()))


def _uri_matches(query: str) -> Callable[[dict[str, Any]], int | None]:
    source, _, uri = query.partition(":")

    def rank(row: dict[str, Any]) -> int | None:
        if row["uri"] == query or (row["source"] == source and row["uri"] == uri):
            return 0
        return 1 if row["uri"].endswith("/" + query) else None

    return rank


def _file_matches(path: Path) -> Callable[[dict[str, Any]], int | None]:
    """Ranks rows that were read from this very file, then rows of the same bytes; a like-named file is neither."""
    digest = digest_of({"content": sha256_file(path), "attributes": {}})
    names = list(dict.fromkeys((os.path.abspath(path), str(path.resolve()))))

    def rank(row: dict[str, Any]) -> int | None:
        end = "/" + row["uri"]
        for name in names:
            # A source is a folder above the file, or the file itself.
            places = (name.removesuffix(end), name) if name.endswith(end) else ()
            if any(row["place_digest"] in _place_digests(place) for place in places):
                return 0
        return 1 if row["digest"] == digest else None

    return rank


@lru_cache(maxsize=1024)
def _place_digests(root: str) -> frozenset[str]:
    """Digests of a local place in every way a recipe may spell it."""
    home = str(Path.home())
    spellings = [root, f"file://{root}"]
    if root == home or root.startswith(home + "/"):
        spellings.append("~" + root.removeprefix(home))
    return frozenset(sha256_hex((spelling + end).encode()) for spelling in spellings for end in ("", "/"))


def acquisition_rows(store: Store) -> Iterator[dict[str, Any]]:
    """The newest record of every source, one row a file version, with its source's name."""
    newest: dict[str, str] = {}
    for key in store.list("acquisition/"):
        if key.endswith(".json"):
            newest[key.rsplit("/", 1)[0]] = key
    for prefix, key in sorted(newest.items()):
        record = store.read_record(key)
        for row in read_table(store, f"{prefix}/{record['record']}.parquet").to_pylist():
            yield {"source": prefix.split("/")[1], **row}


def trace_document(store: Store, doc_id: str) -> DocumentTrace:
    """Where a document stands, what was decided about it in every version, who was trained on it."""
    wanted = bytes.fromhex(doc_id)
    occurrences = list(_occurrences(store, wanted))
    versions: list[dict[str, Any]] = []
    shard_rows: dict[str, int | None] = {}
    unreadable: list[str] = []
    failure: Exception | None = None
    for corpus in manifest.corpora(store):
        for number in manifest.versions_of(store, corpus):
            try:
                found = _in_version(store, manifest.read(store, corpus, number), number, wanted, shard_rows)
            except (NotFoundError, IntegrityError) as error:
                # Damage of one version hides nothing of the others.
                unreadable.append(f"{corpus}@{number}")
                failure = error
                continue
            if found is not None:
                versions.append(found)
    if not occurrences and not versions and failure is not None:
        raise failure
    if not occurrences and not versions:
        raise NotFoundError(f"document {doc_id} is not known in {store.root}; check the id")
    return DocumentTrace(doc_id, occurrences, versions, _models_trained_on(store, versions), unreadable=unreadable)


def _occurrences(store: Store, doc_id: bytes) -> Iterator[dict[str, Any]]:
    for unit, files in _files_by_unit(store).items():
        table = read_table(store, f"documents/{unit}.parquet", columns=_OCCURRENCE_COLUMNS)
        rows = pc.indices_nonzero(pc.equal(table["doc_id"], doc_id)).to_pylist()
        for row in rows:
            record = table.slice(row, 1).to_pylist()[0]
            owner = next((f for f in files if f["first_row"] <= row < f["first_row"] + f["num_rows"]), None)
            if owner is not None:
                del record["doc_id"]
                yield {"source": owner["source"], "state": owner["state"], "first_seen": owner["first_seen"], **record}


def decision_rows(store: Store, identity: Identity, doc_id: bytes) -> list[dict[str, Any]]:
    """All decision rows of a document in one version, the final one first."""
    rows: list[dict[str, Any]] = []
    wanted = doc_id.hex()
    for entry in identity.decisions:
        if entry.first_doc_id <= wanted <= entry.last_doc_id:
            table = read_table(store, f"decisions/{entry.sha256}.parquet", filters=pc.field("doc_id") == doc_id)
            rows += table.to_pylist()
    return sorted(rows, key=lambda row: row["verdict_order"])


def _in_version(
    store: Store, found: Manifest, number: int, doc_id: bytes, shard_rows: dict[str, int | None]
) -> dict[str, Any] | None:
    rows = decision_rows(store, found.identity, doc_id)
    if not rows:
        return None
    final = rows[0]
    answer: dict[str, Any] = {
        "corpus": found.identity.corpus,
        "version": number,
        "root_digest": found.identity.root_digest,
        "outcome": final["outcome"],
        "rule": final["rule"],
        "reason": final["reason"],
        "score": final["score"],
        "threshold": final["threshold"],
        "other_doc_id": final["other_doc_id"].hex() if final["other_doc_id"] else None,
        "uri": final["uri"],
        "source": final["source"],
        "licence": final["licence"],
        "language": final["language"],
        "verdicts": [_verdict(row) for row in rows[1:]],
    }
    if any(row["rule"] == overrides.RULE for row in rows):
        digest = next(row["config_digest"] for row in rows[1:] if row["rule"] == overrides.RULE)
        answer["override"] = overrides.find(found.identity.recipe, digest)
    if final["outcome"] in ("kept", "heldout"):
        answer |= _shard_place(store, found.identity, doc_id, shard_rows)
    if answer["other_doc_id"]:
        other = decision_rows(store, found.identity, bytes.fromhex(answer["other_doc_id"]))
        answer["other_uri"] = other[0]["uri"] if other else None
    return answer


def _verdict(row: dict[str, Any]) -> dict[str, Any]:
    kept = {name: row[name] for name in ("outcome", "rule", "reason", "score", "threshold", "config_digest")}
    if row["other_doc_id"]:
        kept["other_doc_id"] = row["other_doc_id"].hex()
    if row["spans"]:
        kept["spans"] = row["spans"]
    return kept


def _shard_place(
    store: Store, identity: Identity, doc_id: bytes, shard_rows: dict[str, int | None]
) -> dict[str, Any]:
    for shard in identity.shards:
        if shard.sha256 not in shard_rows:
            column = read_table(store, f"shards/{shard.sha256}.parquet", columns=["doc_id"])["doc_id"]
            row = pc.index(column, doc_id).as_py()
            shard_rows[shard.sha256] = row if row >= 0 else None
        row = shard_rows[shard.sha256]
        if row is not None:
            return {"shard": shard.sha256, "row": row, "split": shard.split}
    return {}


def _models_trained_on(store: Store, versions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    trained_with = {v["root_digest"]: v for v in versions if v["outcome"] == "kept"}
    measured_with = {v["root_digest"]: v for v in versions if v["outcome"] == "heldout"}
    entries = ledger.read(store)
    models: list[dict[str, Any]] = []
    for name in model_versions.names(entries):
        champion = model_versions.champion_version(entries, name)
        for version in model_versions.versions_of(store, name, entries):
            root = version.evidence.get("corpus_root_digest", "")
            role = "trained on it" if root in trained_with else "measured with it" if root in measured_with else None
            if role is not None:
                models.append(
                    {
                        "model": name,
                        "version": version.version,
                        "role": role,
                        "corpus": version.details.get("corpus"),
                        "champion": version.version == champion,
                    }
                )
    return models


def trace_model(store: Store, query: str) -> dict[str, Any]:
    """Run, recipe, code revision, corpus, sources with document counts, licences, gate and promotion."""
    model = model_versions.resolve(store, query)
    entries = ledger.read(store)
    corpus, number = manifest.find(store, model.details["corpus"])
    identity = manifest.read(store, corpus, number).identity
    subject_entries = [entry for entry in entries if entry.subject == model.subject]
    counts = model.details.get("tokens", {})
    return {
        "model": model.name,
        "version": model.version,
        "aliases": model_versions.aliases_of(store, model, entries),
        "checkpoint": model.checkpoint_key,
        "checkpoint_digest": model.evidence["checkpoint"],
        "run": model.details.get("run"),
        "recipe_digest": model.details.get("recipe_digest"),
        "recipe": model.details.get("recipe"),
        "code": model.details.get("code"),
        "base_model": "none: trained from scratch",
        "corpora": [
            {
                "corpus": f"{corpus}@{number}",
                "root_digest": identity.root_digest,
                "content_digest": identity.content_digest,
                "documents": identity.accounting["kept"],
                "classification": manifest.classification_of(identity),
                "tokens": model.details.get("num_tokens"),
            }
        ],
        "sources": [
            {"source": name, **row, "tokens": counts.get("source", {}).get(name, 0)}
            for name, row in identity.statistics["source"].items()
        ],
        "licences": [
            {"licence": name, "documents": row["kept"], "bytes": row["kept_bytes"],
             "tokens": counts.get("licence", {}).get(name, 0)}
            for name, row in sorted(identity.statistics["licence"].items(), key=lambda item: -item[1]["kept_bytes"])
            if row["kept"]
        ],  # fmt: skip
        "ledger": [
            {"sequence": e.sequence, "time": e.time, "verb": e.verb, "by": e.actor.id, "kind": e.actor.kind,
             "established_by": e.actor.established_by, "details": _short(e.details)}
            for e in subject_entries
        ],  # fmt: skip
    }


def _short(details: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in details.items() if key not in ("recipe", "model", "version", "tokens")}
