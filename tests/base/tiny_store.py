"""A small but complete store, built through the real API: every kind of durable object is in it."""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ingot import ledger, manifest, model_versions, store_identity
from ingot.digests import canonical_json, digest_of, sha256_hex
from ingot.ledger import Actor
from ingot.manifest import DecisionsEntry, Identity, Manifest, ShardEntry
from ingot.parquet import write_table
from ingot.refs import TokenShard, TokensRef
from ingot.schemas import ACQUISITION, DECISIONS, DOCUMENTS, SCHEMA_VERSION, SHARDS
from ingot.storage import Store

SALT = "5a" * 16
ACTOR = Actor("person", "maria", "declared")
EXTRACTION = "e" * 16
RECIPE = {"corpus": "handbook", "model": "mini", "seed": 0}
TEXTS = {
    "guide/install.md": "Install the press, level it, and let the oil warm up for ten minutes.",
    "guide/install-copy.md": "Install the press, level it, and let the oil warm up for nine minutes.",
    "guide/safety.md": "Nobody reaches into the press while the green lamp is on.",
    "blog/first-week.md": "The first week with the new press: what went well and what broke.",
    "guide/cleaning.md": "Clean the rollers every evening; solvent stays in its cabinet.",
}
OUTCOMES = {
    "guide/install.md": "kept",
    "guide/install-copy.md": "dropped",
    "guide/safety.md": "heldout",
    "blog/first-week.md": "kept",
    "guide/cleaning.md": "kept",
}
FIRST_NIGHT = tuple(TEXTS)[:4]
SECOND_NIGHT = tuple(TEXTS)
MEDIA = '{"media_type":"text/markdown"}'


def doc_id(uri: str) -> bytes:
    return hashlib.blake2b(TEXTS[uri].encode(), digest_size=16).digest()


@dataclass(frozen=True)
class TinyStore:
    """Where it lies, and the ledger head that was kept elsewhere."""

    root: Path
    sources: Path
    witness: str

    @property
    def store(self) -> Store:
        return Store(str(self.root))


def build(root: Path, sources: Path, *, store: Store | None = None) -> TinyStore:
    """Two nights of one source, two versions of a corpus, two of a model, one gate."""
    store = store or Store(str(root))
    for uri, text in TEXTS.items():
        (sources / uri).parent.mkdir(parents=True, exist_ok=True)
        (sources / uri).write_text(text)
    store_identity.initialise(store, salt=SALT)
    units: dict[str, tuple[str, int]] = {}
    versions = []
    for night, uris in enumerate((FIRST_NIGHT, SECOND_NIGHT), start=1):
        look = _acquire(store, sources, uris, units, night)
        publish(store, uris, night, {"sources": {"wiki": {"record": look}}})
        versions.append(train(store, night))
    _gate(store, versions[-1])
    sequence, head = ledger.head(store)
    return TinyStore(root, sources, f"{sequence}:{head}")


def _acquire(
    store: Store, sources: Path, uris: tuple[str, ...], units: dict[str, tuple[str, int]], night: int
) -> str:
    new = [uri for uri in uris if uri not in units]
    unit = sha256_hex("\n".join(new).encode())[:32]
    rows = [
        {
            "doc_id": doc_id(uri), "text": TEXTS[uri], "uri": uri, "start": 0, "end": len(TEXTS[uri]),
            "media_type": "text/markdown", "licence": "internal", "language": None, "extractor": "markdown",
            "extractor_version": "1", "metadata": "{}",
        }
        for uri in new
    ]  # fmt: skip
    write_table(store, pa.Table.from_pylist(rows, schema=DOCUMENTS), "documents", key=f"documents/{unit}.parquet")
    units |= {uri: (unit, row) for row, uri in enumerate(new)}
    records = [
        {
            "uri": uri, "digest": digest_of({"content": sha256_hex(TEXTS[uri].encode()), "attributes": {}}),
            "state": "open", "outcome": "read", "reason": None, "retry": False, "unit": units[uri][0],
            "first_row": units[uri][1], "num_rows": 1, "num_rejects": 0, "size": len(TEXTS[uri]), "mtime_ns": 1,
            "attributes_digest": digest_of({}), "place_digest": sha256_hex(str(sources).encode()),
            "first_seen": "2026-01-01T02:00:00+00:00",
        }
        for uri in sorted(uris)
    ]  # fmt: skip
    prefix = f"acquisition/wiki/{EXTRACTION}"
    written = write_table(store, pa.Table.from_pylist(records, schema=ACQUISITION), prefix)
    assert store.put_if_absent(f"{prefix}/{night:012d}.json", {"record": written.sha256, "rows": len(records)})
    return written.key


def publish(store: Store, uris: tuple[str, ...], number: int, provenance: dict[str, Any] | None = None) -> None:
    """A version of `handbook` that holds these texts, and its ledger record."""
    shards = [
        _shard(store, split, [uri for uri in sorted(uris) if OUTCOMES[uri] == outcome])
        for split, outcome in (("train", "kept"), ("heldout", "heldout"))
    ]
    rows = sorted((_decision(uri) for uri in uris), key=lambda row: row["doc_id"])
    decisions = write_table(store, pa.Table.from_pylist(rows, schema=DECISIONS), "decisions")
    counts = {name: sum(OUTCOMES[uri] == name for uri in uris) for name in ("kept", "heldout", "dropped")}
    numbers = {
        "documents": len(uris), "bytes": sum(len(TEXTS[uri]) for uri in uris), "kept": counts["kept"],
        "kept_bytes": sum(len(TEXTS[uri]) for uri in uris if OUTCOMES[uri] == "kept"), "heldout": counts["heldout"],
    }  # fmt: skip
    identity = Identity(
        manifest_version=manifest.MANIFEST_VERSION,
        corpus="handbook",
        snapshot_digest=sha256_hex(repr(uris).encode()),
        recipe=RECIPE,
        tombstones_digest=digest_of([]),
        versions={"schema": str(SCHEMA_VERSION)},
        content_digest=manifest.content_digest(
            (doc_id(uri), "train", hashlib.sha256(TEXTS[uri].encode()).digest()) for uri in uris
        ),
        root_digest=manifest.root_digest(shards),
        shards=shards,
        decisions=[
            DecisionsEntry(
                sha256=decisions.sha256, rows=len(rows), bytes=decisions.bytes,
                first_doc_id=rows[0]["doc_id"].hex(), last_doc_id=rows[-1]["doc_id"].hex(),
            )
        ],
        accounting={"occurrences": len(uris), "documents": len(uris), **counts, "dropped.duplicate": counts["dropped"]},
        statistics={
            "source": {"wiki": numbers}, "licence": {"internal": numbers}, "language": {"en": numbers},
            "media_type": {"text/markdown": numbers}, "rules": {}, "edits": {"documents": 0, "spans": {}},
            "waterfall": [["near_duplicate", "duplicate", counts["dropped"]]],
        },
    )  # fmt: skip
    assert manifest.publish(store, identity, {"writer": "test", **(provenance or {})}, number)
    found = manifest.read(store, "handbook", number)
    ledger.append(
        store, actor=ACTOR, verb="published", subject=f"handbook@{number}", subject_digest=found.identity_digest,
        evidence={
            "manifest": digest_of(store.read_json(manifest.key_of("handbook", number))),
            "root_digest": identity.root_digest,
        },
        attempt=found.identity_digest, details={"documents": counts["kept"]},
    )  # fmt: skip


def _shard(store: Store, split: Any, uris: list[str]) -> ShardEntry:
    rows = [
        {
            "doc_id": doc_id(uri), "text": TEXTS[uri], "text_sha256": hashlib.sha256(TEXTS[uri].encode()).digest(),
            "source": "wiki", "uri": uri, "language": "en", "licence": "internal", "parents": [], "metadata": MEDIA,
            "schema_version": SCHEMA_VERSION,
        }
        for uri in uris
    ]  # fmt: skip
    written = write_table(store, pa.Table.from_pylist(rows, schema=SHARDS), "shards")
    return ShardEntry(
        sha256=written.sha256, split=split, rows=len(rows), bytes=written.bytes,
        text_bytes=sum(len(TEXTS[uri]) for uri in uris), first_uri=uris[0], list_digest=digest_of(uris),
    )  # fmt: skip


def _decision(uri: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "doc_id": doc_id(uri), "verdict_order": 0, "final": True, "outcome": OUTCOMES[uri], "source": "wiki",
        "uri": uri, "language": "en", "licence": "internal", "media_type": "text/markdown",
        "num_bytes": len(TEXTS[uri]), "num_occurrences": 1,
    }  # fmt: skip
    if OUTCOMES[uri] == "dropped":
        row |= {
            "rule": "near_duplicate", "reason": "duplicate", "score": 0.875, "threshold": 0.8,
            "other_doc_id": doc_id("guide/install.md"),
        }  # fmt: skip
    if OUTCOMES[uri] == "heldout":
        row |= {"rule": "heldout", "reason": "heldout"}
    return row


def train(store: Store, number: int) -> model_versions.ModelVersion:
    """A version of `mini` with a checkpoint of its own, trained on a version of `handbook`."""
    found = manifest.read(store, "handbook", number)
    tokens = tokenize(store, found)
    fingerprint = sha256_hex(f"pretrain {number}".encode())
    key = f"checkpoints/{fingerprint}/00000012"
    files = {
        "config.json": b'{"model_type":"llama"}',
        "model.safetensors": bytes(range(64)) + bytes([number]) * 64,
        "optimizer.safetensors": bytes([number, 7]) * 50,
        "state.json": canonical_json({"step": 12, "sampler": {"seed": number}}),
    }
    for name, data in files.items():
        store.put_bytes(f"{key}/{name}", data)
    record = {
        "kind": "checkpoint",
        "fingerprint": fingerprint,
        "step": 12,
        "tokenizer_digest": tokens.tokenizer_digest,
        "data_digest": data_digest(tokens),
        "files": [{"name": name, "size": len(data), "sha256": sha256_hex(data)} for name, data in files.items()],
    }
    assert store.put_if_absent(f"{key}/manifest.json", record)
    run = {
        "run_key": fingerprint, "name": f"mini {number}", "experiment": "training", "start_time_ms": 1_780_000_000_000,
        "datasets": [{"name": f"handbook@{number}", "digest": found.identity.root_digest, "context": "pretrain"}],
    }  # fmt: skip
    assert store.put_if_absent(f"runs/{fingerprint}.json", run)
    return model_versions.register(
        store, "mini",
        checkpoint_fingerprint=fingerprint, checkpoint_key=key,
        checkpoint_digest=sha256_hex(store.read_bytes(f"{key}/manifest.json")),
        evidence={
            "corpus_identity": found.identity_digest, "corpus_root_digest": found.identity.root_digest,
            "tokenizer": tokens.tokenizer_digest, "recipe": digest_of(RECIPE),
        },
        details={
            "corpus": f"handbook@{number}", "run": fingerprint, "recipe_digest": digest_of(RECIPE), "recipe": RECIPE,
            "tokens_seen": 2 * tokens.num_tokens, "num_parameters": 1000,
            "code": {"version": "0", "commit": "", "dirty": "false"}, "num_tokens": tokens.num_tokens,
            "tokens_key": f"tokens/{tokens.tokenizer_digest}/{found.identity.root_digest}.train.json",
            "tokens": {"source": {"wiki": tokens.num_tokens}, "licence": {"internal": tokens.num_tokens}},
        },
        actor=ACTOR,
    )  # fmt: skip


def data_digest(tokens: TokensRef) -> str:
    """As `training.batches` has it, which would import torch."""
    names = ("corpus_root_digest", "tokenizer_digest", "split")
    shards = [[shard.bin_sha256, shard.num_tokens] for shard in tokens.shards]
    return digest_of({**{name: getattr(tokens, name) for name in names}, "shards": shards})


def tokenize(store: Store, found: Manifest) -> TokensRef:
    """Token files of a version: ten tokens a text."""
    root = found.identity.root_digest
    folder = "tokenizers/" + sha256_hex(root.encode())
    tokenizer = json.dumps({"model": {"type": "BPE", "corpus": root}}).encode()
    settings = canonical_json({"eos_token": "<|endoftext|>", "corpus": root})
    store.put_bytes(f"{folder}/tokenizer.json", tokenizer)
    store.put_bytes(f"{folder}/tokenizer_config.json", settings)
    digest = sha256_hex(tokenizer)
    record = {"digest": digest, "config_digest": sha256_hex(settings), "vocab_size": 300, "corpus": root}
    assert store.put_if_absent(f"{folder}/manifest.json", record)
    shards = []
    for shard in found.identity.shards:
        if shard.split == "train":
            base = f"tokens/{digest}/{shard.sha256}"
            ids = np.arange(10 * shard.rows, dtype="<u2").tobytes()
            offsets = np.arange(0, 10 * shard.rows + 1, 10, dtype="<u8").tobytes()
            store.put_bytes(f"{base}.bin", ids)
            store.put_bytes(f"{base}.idx", offsets)
            shards.append(
                TokenShard(
                    bin_key=f"{base}.bin", bin_sha256=sha256_hex(ids), idx_key=f"{base}.idx",
                    idx_sha256=sha256_hex(offsets), shard_sha256=shard.sha256, num_tokens=10 * shard.rows,
                    num_documents=shard.rows, dtype="uint16",
                )
            )  # fmt: skip
    tokens = TokensRef(
        corpus="", corpus_root_digest=root, tokenizer_digest=digest, tokenizer_key=folder, vocab_size=300,
        split="train", shards=tuple(shards), num_tokens=sum(s.num_tokens for s in shards),
        num_documents=sum(s.num_documents for s in shards), num_bytes=1,
    )  # fmt: skip
    body = tokens.model_dump(mode="json", exclude={"corpus"})
    assert store.put_if_absent(f"tokens/{digest}/{root}.train.json", body)
    return tokens


def _gate(store: Store, version: model_versions.ModelVersion) -> None:
    evaluation = digest_of({"suite": "heldout", "checkpoint": version.evidence["checkpoint"]})
    num_bytes, bits = len(TEXTS["guide/safety.md"]), 2.4
    nats = bits * num_bytes * math.log(2)
    measured = {
        "suite": "heldout", "version": "1", "bits_per_byte": bits,
        "documents": [{"doc_id": doc_id("guide/safety.md").hex(), "source": "wiki", "bytes": num_bytes, "nats": nats}],
        "baselines": {"xz": {"bits_per_byte": 3.1, "training_bytes": 100, "note": "LZMA2"}},
    }  # fmt: skip
    assert store.put_if_absent(f"evaluations/{evaluation}.json", measured)
    verdict = {
        "kind": "verdict", "model": version.name, "version": version.version, "champion": None, "verdict": "FIRST",
        "evaluation": evaluation, "champion_evaluation": None, "reason": "no champion yet", "suite": "heldout",
        "suite_version": "1", "num_documents": 1, "num_bytes": num_bytes, "candidate_bits_per_byte": bits,
        "champion_bits_per_byte": None, "difference": None, "low": None, "high": None, "p_value": None,
        "baselines": [
            {"baseline": "xz", "bits_per_byte": 3.1, "difference": bits - 3.1, "low": -0.9, "high": -0.5,
             "p_value": 0.01, "beats": "yes"}
        ],
        "config": {"min_documents": 30, "margin_bits_per_byte": 0.01, "alpha": 0.05},
    }  # fmt: skip
    assert store.put_if_absent(f"evaluations/{digest_of(verdict)}.json", verdict)
    ledger.append(
        store, actor=ACTOR, verb="gated", subject=version.subject, subject_digest=version.evidence["checkpoint"],
        evidence={"verdict": digest_of(verdict), "evaluation": evaluation}, attempt=digest_of(verdict),
        details={
            "model": version.name, "version": version.version, "verdict": "FIRST", "reason": "no champion yet",
            "champion": None, "bits_per_byte": bits,
        },
    )  # fmt: skip
