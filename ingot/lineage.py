"""Answers about documents and models, from manifests, decisions, acquisition records and the ledger.

Imports neither Prefect nor MLflow nor torch: these answers must outlive all of them.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ingot import adopted, ledger, lookup, manifest, model_versions, overrides
from ingot.cleaned import cleaned_against
from ingot.digests import digest_of, sha256_file, sha256_hex
from ingot.errors import IntegrityError, NotFoundError
from ingot.manifest import Identity, Manifest
from ingot.storage import Store

_OCCURRENCE_COLUMNS = ["uri", "start", "end", "media_type", "licence", "licence_evidence", "stated_date",
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
            places = range(row["first_row"], row["first_row"] + row["num_rows"])
            found = lookup.rows_at(store, f"documents/{row['unit']}.parquet", places, ["doc_id"])
            ids += [document["doc_id"].hex() for document in found]
    return list(dict.fromkeys(ids)), rows


def _files_matching(store: Store, query: str) -> list[dict[str, Any]]:
    """Acquisition rows that a file or a uri means: the closest kind of match that any source has."""
    path = Path(query).expanduser()
    for match in (_of_this_file, _of_these_bytes) if path.is_file() else (_at_uri, _at_end_of_uri):
        if found := [row for record in _newest_records(store) for row in match(store, record, query)]:
            return found
    return []


def _documents_at(store: Store, query: str) -> Iterator[str]:
    """Ids of documents at a place inside a file, as answers print it: a row, an attachment, a member, a page."""
    source, _, uri = query.partition(":")
    for unit in units_named(store):
        key = f"documents/{unit}.parquet"
        rows = lookup.rows_with(store, key, "uri", sorted({query, uri.strip()}))
        for row, document in zip(rows, lookup.rows_at(store, key, rows, ["uri", "doc_id"]), strict=True):
            owner = _owner(store, unit, row)
            if owner is not None and (document["uri"] == query or owner["source"] == source):
                yield document["doc_id"].hex()


@dataclass(frozen=True)
class _Record:
    """The newest acquisition record of a source."""

    source: str
    key: str


def _newest_records(store: Store) -> list[_Record]:
    newest: dict[str, str] = {}
    for key in store.list("acquisition/"):
        if key.endswith(".json"):
            newest[key.rsplit("/", 1)[0]] = key
    return [
        _Record(prefix.split("/")[1], f"{prefix}/{store.read_record(key)['record']}.parquet")
        for prefix, key in sorted(newest.items())
    ]


def _rows_of(store: Store, record: _Record, rows: Sequence[int]) -> list[dict[str, Any]]:
    return [{"source": record.source, **row} for row in lookup.rows_at(store, record.key, rows)]


def units_named(store: Store) -> list[str]:
    """Every unit of documents that a newest acquisition record names, sorted."""
    return sorted({unit for record in _newest_records(store) for unit in lookup.distinct(store, record.key, "unit")})


def _owner(store: Store, unit: str, row: int) -> dict[str, Any] | None:
    """Acquisition row of the file that a row of a unit was read from."""

    def holds_it(files: pa.Table) -> pa.ChunkedArray:
        place = lookup.constant(row, pa.int64())
        after = pc.add(files["first_row"], files["num_rows"])
        inside = pc.and_(pc.less_equal(files["first_row"], place), pc.greater(after, place))
        return pc.and_(pc.equal(files["unit"], lookup.constant(unit, pa.string())), inside)

    for record in _newest_records(store):
        columns = ["unit", "first_row", "num_rows"]
        rows = lookup.rows_that(store, record.key, columns, holds_it, within={"unit": unit})
        if rows:
            return _rows_of(store, record, rows[:1])[0]
    return None


def _at_uri(store: Store, record: _Record, query: str) -> list[dict[str, Any]]:
    source, _, uri = query.partition(":")
    names = {query, uri} if source == record.source else {query}
    return _rows_of(store, record, lookup.rows_with(store, record.key, "uri", sorted(names)))


def _at_end_of_uri(store: Store, record: _Record, query: str) -> list[dict[str, Any]]:
    rows = lookup.rows_that(store, record.key, ["uri"], lambda files: pc.ends_with(files["uri"], "/" + query))
    return _rows_of(store, record, rows)


def _of_this_file(store: Store, record: _Record, query: str) -> list[dict[str, Any]]:
    """Rows that were read from this very file; a like-named file is none."""
    path = Path(query).expanduser()
    names = list(dict.fromkeys((os.path.abspath(path), str(path.resolve()))))
    ends = {name.split("/", depth)[depth] for name in names for depth in range(1, name.count("/") + 1)}
    rows = _rows_of(store, record, lookup.rows_with(store, record.key, "uri", sorted(ends)))
    return [row for row in rows if any(_was_read_from(row, name) for name in names)]


def _was_read_from(row: dict[str, Any], name: str) -> bool:
    end = "/" + row["uri"]
    # A source is a folder above the file, or the file itself.
    places = (name.removesuffix(end), name) if name.endswith(end) else ()
    return any(row["place_digest"] in _place_digests(place) for place in places)


def _of_these_bytes(store: Store, record: _Record, query: str) -> list[dict[str, Any]]:
    digest = digest_of({"content": sha256_file(Path(query).expanduser()), "attributes": {}})
    return _rows_of(store, record, lookup.rows_with(store, record.key, "digest", [digest]))


@lru_cache(maxsize=1024)
def _place_digests(root: str) -> frozenset[str]:
    """Digests of a local place in every way a recipe may spell it."""
    home = str(Path.home())
    spellings = [root, f"file://{root}"]
    if root == home or root.startswith(home + "/"):
        spellings.append("~" + root.removeprefix(home))
    return frozenset(sha256_hex((spelling + end).encode()) for spelling in spellings for end in ("", "/"))


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


def latest_decisions(store: Store, doc_id: str, wanted: tuple[str, int] | None = None) -> list[dict[str, Any]]:
    """What the newest version of each corpus that knows a document decided about it, as in `DocumentTrace.versions`.

    wanted: ask this (corpus, version) alone. Raises what `trace_document` raises for a document nobody knows.
    """
    answers: list[dict[str, Any]] = []
    for corpus in manifest.corpora(store) if wanted is None else [wanted[0]]:
        numbers = manifest.versions_of(store, corpus)[::-1] if wanted is None else [wanted[1]]
        for number in numbers:
            try:
                found = _in_version(store, manifest.read(store, corpus, number), number, bytes.fromhex(doc_id), {})
            except (NotFoundError, IntegrityError):
                continue  # damaged: an older version may still know it
            if found is not None:
                answers.append(found)
                break
    if not answers:
        trace_document(store, doc_id)
    return answers


def _occurrences(store: Store, doc_id: bytes) -> Iterator[dict[str, Any]]:
    for unit in units_named(store):
        key = f"documents/{unit}.parquet"
        rows = lookup.rows_with(store, key, "doc_id", [doc_id])
        for row, record in zip(rows, lookup.rows_at(store, key, rows, _OCCURRENCE_COLUMNS), strict=True):
            owner = _owner(store, unit, row)
            if owner is not None:
                yield {"source": owner["source"], "state": owner["state"], "first_seen": owner["first_seen"], **record}


def decision_rows(store: Store, identity: Identity, doc_id: bytes) -> list[dict[str, Any]]:
    """All decision rows of a document in one version, the final one first."""
    found: list[dict[str, Any]] = []
    wanted = doc_id.hex()
    for entry in identity.decisions:
        if entry.first_doc_id <= wanted <= entry.last_doc_id:
            key = f"decisions/{entry.sha256}.parquet"
            rows = lookup.rows_with(store, key, "doc_id", [doc_id])
            found += lookup.rows_at(store, key, rows)
    return sorted(found, key=lambda row: row["verdict_order"])


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
        answer |= _shard_place(store, found.identity, doc_id, final, shard_rows)
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
    store: Store, identity: Identity, doc_id: bytes, final: dict[str, Any], shard_rows: dict[str, int | None]
) -> dict[str, Any]:
    """The shard, row and split of a document that a version holds.

    Shards are sorted by source and uri of the primary occurrence, which the final decision names.
    """
    within = {name: final[name] for name in ("source", "uri")}
    split = "train" if final["outcome"] == "kept" else "heldout"
    for shard in identity.shards:
        if shard.split != split:
            continue
        place = f"{shard.sha256} {final['source']} {final['uri']}"
        if place not in shard_rows:
            rows = lookup.rows_with(store, f"shards/{shard.sha256}.parquet", "doc_id", [doc_id], within=within)
            shard_rows[place] = rows[0] if rows else None
        row = shard_rows[place]
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
            trained = [row for row in version.corpora if row["root_digest"] in trained_with]
            measured = version.evidence.get("corpus_root_digest", "") in measured_with
            role = "trained on it" if trained else "measured with it" if measured else None
            if role is not None:
                models.append(
                    {
                        "model": name,
                        "version": version.version,
                        "role": role,
                        "corpus": trained[0]["corpus"] if trained else version.details.get("corpus"),
                        "corpora": [row["corpus"] for row in trained],
                        "champion": version.version == champion,
                        "checkpoint": version.checkpoint_key,
                    }
                )
    return models


def trace_model(store: Store, query: str) -> dict[str, Any]:
    """Run, recipe, code revision, corpus, sources with document counts, licences, gate and promotion.

    `adopted/NAME` asks about a model from outside: what it is, who said so, and that its data is not known.
    """
    if query.startswith(adopted.PREFIX):
        return trace_adopted(store, query)
    model = model_versions.resolve(store, query)
    entries = ledger.read(store)
    found = [(row, manifest.read(store, *manifest.find(store, row["corpus"])).identity) for row in model.corpora]
    subject_entries = [entry for entry in entries if entry.subject == model.subject]
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
        "base_model": model.base_model,
        "adopted": adopted.origin_of(model, entries),
        "corpora": [
            {
                "corpus": row["corpus"],
                "root_digest": identity.root_digest,
                "content_digest": identity.content_digest,
                "documents": identity.accounting["kept"],
                "classification": manifest.classification_of(identity),
                "tokens": row["num_tokens"],
                "tokens_read": row["tokens_read"],
                "epochs": row["epochs"],
            }
            for row, identity in found
        ],
        "cleaned_against": [row for _, identity in found for row in cleaned_against(identity)],
        "sources": [
            {"source": name, "corpus": row["corpus"], **numbers, "tokens": row["tokens"].get("source", {}).get(name, 0)}
            for row, identity in found
            for name, numbers in identity.statistics["source"].items()
        ],
        "licences": sorted(
            (
                {"licence": name, "documents": numbers["kept"], "bytes": numbers["kept_bytes"],
                 "tokens": model.tokens_of("licence").get(name, 0)}
                for name, numbers in manifest.summed([identity.statistics["licence"] for _, identity in found]).items()
                if numbers["kept"]
            ),
            key=lambda row: -row["bytes"],
        ),
        "ledger": [
            {"sequence": e.sequence, "time": e.time, "verb": e.verb, "by": e.actor.id, "kind": e.actor.kind,
             "established_by": e.actor.established_by, "details": _short(e.details)}
            for e in subject_entries
        ],
    }  # fmt: skip


def trace_adopted(store: Store, query: str) -> dict[str, Any]:
    """What is known of an adopted model: its facts and files, the records about it, and the models begun from it."""
    entries = ledger.read(store)
    found = adopted.find(store, query, entries)
    heirs = [
        version.subject.removeprefix("model ")
        for name in model_versions.names(entries)
        for version in model_versions.versions_of(store, name, entries)
        if version.details.get("adopted_base") == found.checkpoint_key
    ]
    return {
        "kind": "adopted model",
        **found.facts,
        "files": store.read_json(f"{found.checkpoint_key}/manifest.json")["files"],
        "models": heirs,
        "ledger": [
            {"sequence": e.sequence, "time": e.time, "verb": e.verb, "by": e.actor.id, "kind": e.actor.kind,
             "established_by": e.actor.established_by, "details": e.details}
            for e in entries if e.subject == found.subject
        ],
    }  # fmt: skip


def _short(details: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in details.items() if key not in ("recipe", "model", "version", "tokens")}
