"""A store of any size whose every answer is known beforehand: rows are generated, objects written by our own writers.

Three sources: `wiki` has a file a document, `tickets` JSON-lines files of 200 rows, `archive` copies of wiki pages.
Two versions of one corpus: the first lacks every fifth document. What happened to document i is arithmetic on i.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from datasets_pipeline.decision_rows import write_decisions
from datasets_pipeline.normalize import document_id
from ingot import ledger, manifest, model_versions, store_identity
from ingot.digests import digest_of, sha256_hex
from ingot.ledger import Actor
from ingot.manifest import Identity, ShardEntry
from ingot.parquet import read_table, write_table
from ingot.schemas import ACQUISITION, DECISIONS, DOCUMENTS, SCHEMA_VERSION, SHARDS, SPAN
from ingot.storage import Store

ACTOR = Actor("person", "maria", "declared")
TICKETS_A_FILE = 200
UNIT_BYTES = 32 << 20
SHARD_ROWS = 4096
"""What `shards.cut_bits` gives on average."""
COPY_EVERY = 50
SPANS = [{"start": 3, "end": 9, "kind": "email", "replacement": "<EMAIL>", "keyed_hash": None}]
FIRST_SEEN = "2026-01-01T02:00:00+00:00"


@dataclass
class PlantedStore:
    """Where it lies, and the truth about it."""

    root: Path
    sources: Path
    num_documents: int
    ids: list[bytes]
    shard_places: list[dict[int, tuple[str, int]]] = field(default_factory=list)
    """By version: {document: (shard, row)}."""
    root_digests: list[str] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return Store(str(self.root))

    @property
    def num_wiki(self) -> int:
        return self.num_documents * 4 // 5

    def source(self, i: int) -> str:
        return "wiki" if i < self.num_wiki else "tickets"

    def file(self, i: int) -> str:
        """Uri of the file that document i was read from."""
        if i < self.num_wiki:
            return f"section-{i // 1000:04}/page-{i:07}.md"
        return f"export-{(i - self.num_wiki) // TICKETS_A_FILE:05}.jsonl"

    def uri(self, i: int) -> str:
        """The document's own place."""
        return self.file(i) if i < self.num_wiki else f"{self.file(i)}/{i:07}"

    def is_copied(self, i: int) -> bool:
        return i < self.num_wiki and i % COPY_EVERY == 3

    def state(self, i: int) -> str:
        """Of the copy."""
        return "gone" if i % (2 * COPY_EVERY) == 3 else "open"

    def is_in(self, i: int, version: int) -> bool:
        return version == 2 or i % 5 != 0

    def outcome(
        self, i: int, version: int
    ) -> tuple[str, str | None, str | None, float | None, float | None, int | None]:
        """(outcome, rule, reason, score, threshold, other document); one in a hundred changes its fate in version 2."""
        kind = (i + (version if i % 100 == 7 else 0)) % 100
        other = i - i % 100 + 1
        if i % 100 == 1 or kind >= 40:
            return "kept", None, None, None, None, None
        if kind < 2:
            return "heldout", "heldout", None, None, None, None
        if kind < 20:
            return "dropped", "gopher_quality", "gopher_short_doc", float(kind), 50.0, None
        if kind < 32 and other < self.num_documents and self.is_in(other, version):
            return "dropped", "dedup.near", "near_duplicate", 0.8 + kind / 1000, 0.8, other
        return "dropped", "language", "language_not_kept", kind / 100, 0.65, None

    def is_edited(self, i: int) -> bool:
        return i % 20 == 5

    def occurrences(self, i: int) -> list[dict[str, Any]]:
        """Every place where document i stands, as `trace document` gives it, without what all have in common."""
        places = [{"source": self.source(i), "uri": self.uri(i), "state": "open"}]
        if self.is_copied(i):
            places.append({"source": "archive", "uri": f"old/page-{i:07}.md", "state": self.state(i)})
        return sorted(places, key=lambda place: place["source"])

    def decided(self, i: int, version: int) -> dict[str, Any] | None:
        """What version 1 or 2 decided about document i, as answers have it; None where it is not in it."""
        if not self.is_in(i, version):
            return None
        outcome, rule, reason, score, threshold, other = self.outcome(i, version)
        answer: dict[str, Any] = {
            "corpus": "handbook", "version": version, "root_digest": self.root_digests[version - 1], "outcome": outcome,
            "rule": rule, "reason": reason, "score": score, "threshold": threshold,
            "other_doc_id": None if other is None else self.ids[other].hex(), "uri": self.uri(i),
            "source": self.source(i), "licence": "CC-BY-4.0", "language": "en",
            "verdicts": _verdicts(self, i, version, plain=True),
        }  # fmt: skip
        if outcome != "dropped":
            shard, row = self.shard_places[version - 1][i]
            answer |= {"shard": shard, "row": row, "split": "train" if outcome == "kept" else "heldout"}
        if other is not None:
            answer["other_uri"] = self.uri(other)
        return answer

    def versions(self, i: int) -> list[dict[str, Any]]:
        return [found for version in (1, 2) if (found := self.decided(i, version)) is not None]

    def models(self, i: int) -> list[dict[str, Any]]:
        """The one model was trained on version 2."""
        outcome = self.outcome(i, 2)[0]
        if outcome == "dropped":
            return []
        role = "trained on it" if outcome == "kept" else "measured with it"
        corpora = ["handbook@2"] if outcome == "kept" else []
        return [{"model": "mini", "version": 1, "role": role, "corpus": "handbook@2", "corpora": corpora,
                 "champion": False, "checkpoint": "checkpoints/planted/00000001"}]  # fmt: skip


def build(folder: Path, num_documents: int, *, mean_bytes: int = 1000, files: Sequence[int] = ()) -> PlantedStore:
    """Write the store; the files of these wiki documents are written too, to be asked for by their path."""
    planted = PlantedStore(folder / "store", folder / "sources", num_documents, [])
    store = planted.store
    store_identity.initialise(store, salt="5a" * 16)
    texts = _Texts(mean_bytes)
    planted.ids = [document_id(texts[i]) for i in range(num_documents)]
    assert len(set(planted.ids)) == num_documents
    for i in files:
        path = planted.sources / "wiki" / planted.uri(i)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts[i])
    docs_a_unit = max(64, UNIT_BYTES // mean_bytes)
    wiki, tickets = range(planted.num_wiki), range(planted.num_wiki, num_documents)
    copied = [i for i in wiki if planted.is_copied(i)]
    for source, documents in (("wiki", wiki), ("tickets", tickets), ("archive", copied)):
        _acquire(planted, store, texts, source, documents, docs_a_unit, set(files))
    for version in (1, 2):
        _publish(planted, store, texts, version)
    _register(planted, store)
    return planted


def reopen(folder: Path, num_documents: int, *, mean_bytes: int = 1000) -> PlantedStore:
    """A store that `build` wrote with the same numbers; where its rows lie is found by reading every shard."""
    planted = PlantedStore(folder / "store", folder / "sources", num_documents, [])
    texts = _Texts(mean_bytes)
    planted.ids = [document_id(texts[i]) for i in range(num_documents)]
    numbers = {doc_id: i for i, doc_id in enumerate(planted.ids)}
    for version in (1, 2):
        identity = manifest.read(planted.store, "handbook", version).identity
        places: dict[int, tuple[str, int]] = {}
        for shard in identity.shards:
            rows = read_table(planted.store, f"shards/{shard.sha256}.parquet", ["doc_id"])["doc_id"].to_pylist()
            places |= {numbers[doc_id]: (shard.sha256, row) for row, doc_id in enumerate(rows)}
        planted.shard_places.append(places)
        planted.root_digests.append(identity.root_digest)
    return planted


class _Texts:
    """Text i: words from a fixed vocabulary with its number ahead; the same at any time."""

    def __init__(self, mean_bytes: int) -> None:
        random = np.random.default_rng(0)
        vocabulary = ["".join(random.choice(list("etaoinshrdlucmfw"), size)) for size in random.integers(2, 11, 5000)]
        self._text = " ".join(vocabulary[k] for k in random.integers(0, 5000, 1 << 20))
        self._mean = mean_bytes

    def __getitem__(self, i: int) -> str:
        start = i * 7919 % (len(self._text) - 3 * self._mean)
        size = self._mean // 2 + i * 31 % self._mean
        return f"Page {i}. {self._text[start : start + size]}".strip()


def _acquire(
    planted: PlantedStore,
    store: Store,
    texts: _Texts,
    source: str,
    documents: Sequence[int],
    docs_a_unit: int,
    real_files: set[int],
) -> None:
    rows: dict[str, list[Any]] = {name: [] for name in ACQUISITION.names}
    place = sha256_hex(str(planted.sources / source).encode())
    for first in range(0, len(documents), docs_a_unit):
        part = documents[first : first + docs_a_unit]
        unit = sha256_hex(f"{source} {first}".encode())[:32]
        uris = [f"old/page-{i:07}.md" if source == "archive" else planted.uri(i) for i in part]
        own = [texts[i] for i in part]
        num = len(part)
        columns: dict[str, Any] = {
            "doc_id": [planted.ids[i] for i in part], "text": own, "uri": uris, "start": [0] * num,
            "end": [len(text) for text in own], "media_type": ["text/markdown"] * num, "language": ["en"] * num,
            "licence": ["CC-BY-4.0"] * num, "extractor": ["markdown"] * num, "extractor_version": ["1"] * num,
            "metadata": ["{}"] * num,
        }  # fmt: skip
        write_table(store, _table(columns, DOCUMENTS, num), "documents", key=f"documents/{unit}.parquet")
        for name, uri, first_row, num_rows, i in _files(planted, source, part, uris):
            content = sha256_hex(texts[i].encode()) if i in real_files else sha256_hex(f"{name} {uri}".encode())
            state = planted.state(i) if source == "archive" else "open"
            values = (uri, digest_of({"content": content, "attributes": {}}), state, "read", None, False, unit, None,
                      first_row, num_rows, 0, 1000, 1, digest_of({}), place, FIRST_SEEN)  # fmt: skip
            for column, value in zip(rows, values, strict=True):
                rows[column].append(value)
    prefix = f"acquisition/{source}/{'e' * 16}"
    table = _table(rows, ACQUISITION, len(rows["uri"])).sort_by("uri")
    written = write_table(store, table, prefix)
    assert store.put_if_absent(f"{prefix}/{1:012d}.json", {"record": written.sha256, "rows": written.rows})


def _files(
    planted: PlantedStore, source: str, part: Sequence[int], uris: Sequence[str]
) -> Iterator[tuple[str, str, int, int, int]]:
    """(source, uri, first row, rows, first document) of each file, or of what a unit has of one."""
    if source != "tickets":
        yield from ((source, uri, row, 1, i) for row, (i, uri) in enumerate(zip(part, uris, strict=True)))
        return
    names = [planted.file(i) for i in part]
    starts = [row for row in range(len(part)) if row == 0 or names[row] != names[row - 1]]
    for row, after in zip(starts, [*starts[1:], len(part)], strict=True):
        yield source, names[row], row, after - row, part[row]


def _verdicts(planted: PlantedStore, i: int, version: int, *, plain: bool) -> list[dict[str, Any]]:
    """The rows behind the final one."""
    outcome, rule, reason, score, threshold, other = planted.outcome(i, version)
    rows: list[dict[str, Any]] = []
    if outcome == "dropped":
        row = {"outcome": "dropped", "rule": rule, "reason": reason, "score": score, "threshold": threshold,
               "config_digest": "c" * 64}  # fmt: skip
        if other is not None:
            row["other_doc_id"] = planted.ids[other].hex() if plain else planted.ids[other]
        rows.append(row)
    if planted.is_edited(i):
        rows.append({"outcome": "edited", "rule": "pii", "reason": None, "score": None, "threshold": None,
                     "config_digest": "d" * 64, "spans": SPANS})  # fmt: skip
    return rows


def _publish(planted: PlantedStore, store: Store, texts: _Texts, version: int) -> None:
    members = [i for i in range(planted.num_documents) if planted.is_in(i, version)]
    members.sort(key=lambda i: (planted.source(i), planted.uri(i)))
    outcomes = {i: planted.outcome(i, version) for i in members}
    places: dict[int, tuple[str, int]] = {}
    shards: list[ShardEntry] = []
    for split, outcome in (("train", "kept"), ("heldout", "heldout")):
        kept = [i for i in members if outcomes[i][0] == outcome]
        for first in range(0, len(kept), SHARD_ROWS):
            part = kept[first : first + SHARD_ROWS]
            shards.append(_shard(planted, store, texts, split, part))
            places |= {i: (shards[-1].sha256, row) for row, i in enumerate(part)}
    planted.shard_places.append(places)
    root = manifest.root_digest(shards)
    planted.root_digests.append(root)
    counts = {name: sum(row[0] == name for row in outcomes.values()) for name in ("kept", "heldout", "dropped")}
    numbers = {"documents": len(members), "bytes": 0, "kept": counts["kept"], "kept_bytes": 1, "heldout": 0}
    identity = Identity(
        manifest_version=manifest.MANIFEST_VERSION, corpus="handbook", snapshot_digest=sha256_hex(b"%d" % version),
        recipe={"corpus": "handbook", "seed": 0}, tombstones_digest=digest_of([]),
        versions={"schema": str(SCHEMA_VERSION)}, content_digest=sha256_hex(root.encode()), root_digest=root,
        shards=shards, decisions=write_decisions(store, _decisions(planted, members, outcomes, version)),
        accounting={"occurrences": len(members), "documents": len(members), **counts},
        statistics={
            "source": {"wiki": numbers}, "licence": {"CC-BY-4.0": numbers}, "language": {"en": numbers},
            "media_type": {"text/markdown": numbers}, "rules": {}, "edits": {"documents": 0, "spans": {}},
            "waterfall": [],
        },
    )  # fmt: skip
    assert manifest.publish(store, identity, {"writer": "test"}, version)
    found = manifest.read(store, "handbook", version)
    ledger.append(
        store, actor=ACTOR, verb="published", subject=f"handbook@{version}", subject_digest=found.identity_digest,
        evidence={"root_digest": root}, attempt=found.identity_digest,
    )  # fmt: skip


def _shard(planted: PlantedStore, store: Store, texts: _Texts, split: Any, part: Sequence[int]) -> ShardEntry:
    own = [texts[i] for i in part]
    num = len(part)
    columns: dict[str, Any] = {
        "doc_id": [planted.ids[i] for i in part], "text": own,
        "text_sha256": [hashlib.sha256(text.encode()).digest() for text in own],
        "source": [planted.source(i) for i in part], "uri": [planted.uri(i) for i in part], "language": ["en"] * num,
        "licence": ["CC-BY-4.0"] * num, "parents": [[]] * num, "metadata": ["{}"] * num,
        "schema_version": [SCHEMA_VERSION] * num,
    }  # fmt: skip
    written = write_table(store, _table(columns, SHARDS, num), "shards")
    return ShardEntry(
        sha256=written.sha256, split=split, rows=num, bytes=written.bytes, text_bytes=sum(map(len, own)),
        first_uri=planted.uri(part[0]), list_digest=digest_of([split, part[0], num]),
    )  # fmt: skip


def _decisions(
    planted: PlantedStore, members: Sequence[int], outcomes: dict[int, tuple[Any, ...]], version: int
) -> pa.Table:
    rows: dict[str, list[Any]] = {name: [] for name in DECISIONS.names}

    def add(**values: Any) -> None:
        for name, column in rows.items():
            column.append(values.get(name))

    for i in sorted(members, key=lambda i: planted.ids[i]):
        outcome, rule, reason, score, threshold, other = outcomes[i]
        add(
            doc_id=planted.ids[i], verdict_order=0, final=True, outcome=outcome, rule=rule, reason=reason, score=score,
            threshold=threshold, other_doc_id=None if other is None else planted.ids[other], source=planted.source(i),
            uri=planted.uri(i), language="en", licence="CC-BY-4.0", media_type="text/markdown", num_bytes=1000,
            num_occurrences=1 + planted.is_copied(i),
        )  # fmt: skip
        for order, verdict in enumerate(_verdicts(planted, i, version, plain=False), start=1):
            add(doc_id=planted.ids[i], verdict_order=order, final=False, **verdict)
    columns = {**rows, "spans": pa.array(rows["spans"], pa.list_(SPAN))}
    return _table(columns, DECISIONS, len(rows["doc_id"]))


def _register(planted: PlantedStore, store: Store) -> None:
    store.put_bytes("checkpoints/planted/00000001/manifest.json", b"{}")
    model_versions.register(
        store, "mini", checkpoint_fingerprint="planted", checkpoint_key="checkpoints/planted/00000001",
        checkpoint_digest=sha256_hex(b"{}"), evidence={"corpus_root_digest": planted.root_digests[1]},
        details={"corpus": "handbook@2"}, actor=ACTOR,
    )  # fmt: skip


def _table(columns: dict[str, Any], schema: pa.Schema, num: int) -> pa.Table:
    arrays = [pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(num, f.type) for f in schema]
    return pa.table(arrays, schema=schema)
