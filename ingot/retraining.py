"""When new data starts a retrain: what a published corpus version asks for, and whether it is time (pure).

A recipe's section `retrain` stands in the provenance of every version published under it, with the recipe's place.
`judge` reads that, the ledger and the shards that differ; it starts nothing. Who starts one, by an event or by
looking, uses `run_parameters` and `idempotency_key`, so that both together start one, and then `record_started`: a
corpus version (by its root digest) starts at most one retrain of a model, for good. Takes milliseconds where no
shard differs; else it reads the ids and text lengths of those that do.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingot import ledger, manifest, model_versions
from ingot.config import Recipe
from ingot.manifest import Manifest, ShardEntry
from ingot.model_versions import ModelVersion
from ingot.parquet import read_table
from ingot.storage import Store

PUBLISHED_EVENT = "ingot.corpus.published"
"""Prefect's event of a new corpus version; its resource is `ingot.corpus.<name>`."""
DEPLOYMENT = "retrain model/retrain"
"""Prefect's name of what is run when one is due."""
BY_EVENT = "new data (event)"
BY_POLL = "new data (poll)"
"""Who asked for a retrain that new data started: never a person."""


@dataclass(frozen=True)
class Due:
    """A retrain that should be started now."""

    model: str
    corpus: str
    """`handbook@12`."""
    root_digest: str
    recipe: str
    overrides: tuple[str, ...]
    """Changes the recipe was curated with, each `path=value`."""
    reason: str
    new_documents: int
    new_tokens: int
    is_exact: bool
    """True when the tokens were counted; False when they are estimated from bytes."""
    age_days: float


@dataclass(frozen=True)
class Judgement:
    """Whether a retrain is due, why or why not, and when time alone may change that (None: only new data can)."""

    due: Due | None
    why: str
    look_again: datetime | None = None


def asked_by(recipe: Recipe, place: str, overrides: Mapping[str, str] | None) -> dict[str, Any]:
    """What a version's provenance says about retrains; empty when the recipe has no such section."""
    if recipe.retrain is None:
        return {}
    return {
        "retrain": {
            **recipe.retrain.model_dump(mode="json"),
            "model": recipe.model_name,
            "recipe": place,
            "overrides": [f"{path}={value}" for path, value in (overrides or {}).items()],
        }
    }


def judge(store: Store, corpus: str, now: datetime) -> Judgement:
    """Whether the newest version of a corpus should start a retrain at `now`. Raises NotFoundError without one."""
    name, number = manifest.find(store, corpus)
    found = manifest.read(store, name, number)
    version, root = f"{name}@{number}", found.identity.root_digest
    asks = found.provenance.get("retrain")
    if not asks:
        return Judgement(None, f"{version} asks for no retrain")
    model = str(asks["model"])
    versions = model_versions.versions_of(store, model, ledger.read(store))
    if not versions:
        return Judgement(None, f"model {model} has no version yet; a person trains the first one")
    trained = [v for v in versions if v.evidence.get("corpus_root_digest") == root]
    if trained:
        return Judgement(None, f"{model}/{trained[-1].version} was trained on {version}")
    if store.exists(_key(model, root)):
        return Judgement(None, f"a retrain of {model} was started for {version} before")
    newest = versions[-1]
    new = new_data(store, found, newest)
    if not new.documents:
        return Judgement(None, f"{version} has no document that {model}/{newest.version} was not trained on")
    registered = datetime.fromisoformat(newest.registered.time)
    age = (now - registered) / timedelta(days=1)
    enough, too_old = asks.get("min_new_tokens"), asks.get("max_age_days")
    counted = f"{new.words} in {new.documents:,} documents that {model}/{newest.version} was not trained on"
    if enough is not None and new.tokens >= enough:
        reason = f"{counted}; {enough:,} are enough"
    elif too_old is not None and age >= too_old:
        reason = f"{model}/{newest.version} is {age:.1f} days old ({too_old:g} are the most), and there are {counted}"
    else:
        wanted = [f"{enough:,} are enough"] if enough is not None else []
        wanted += [f"or {too_old:g} days of age; it has {age:.1f}"] if too_old is not None else []
        again = registered + timedelta(days=too_old) if too_old is not None else None
        return Judgement(None, f"{counted}: {', '.join(wanted)}", again)
    due = Due(
        model, version, root, str(asks["recipe"]), tuple(asks.get("overrides", ())), reason,
        new.documents, new.tokens, new.is_exact, age,
    )  # fmt: skip
    return Judgement(due, reason)


def idempotency_key(due: Due) -> str:
    """The key under which the server starts this retrain once, whoever asks how often."""
    return f"retrain-{due.model}-{due.root_digest}"


def run_parameters(due: Due, asked_by: str) -> dict[str, Any]:
    """What the deployment `retrain` is started with."""
    return {
        "recipe": due.recipe,
        "corpus": due.corpus,
        "overrides": list(due.overrides),
        "requested_by": asked_by,
    }


def record_started(store: Store, due: Due, *, flow_run_id: str, asked_by: str, now: datetime) -> None:
    """Note for good that this corpus version has had its retrain; the server's memory may be deleted."""
    record = {
        "kind": "retrain",
        "model": due.model,
        "corpus": due.corpus,
        "root_digest": due.root_digest,
        "reason": due.reason,
        "new_tokens": due.new_tokens,
        "flow_run": flow_run_id,
        "asked_by": asked_by,
        "time": now.isoformat(timespec="seconds"),
    }
    store.put_if_absent(_key(due.model, due.root_digest), record)


def _key(model: str, root_digest: str) -> str:
    return f"retrains/{model}/{root_digest}.json"


@dataclass(frozen=True)
class NewData:
    """What a corpus version has that a model was not trained on."""

    documents: int
    text_bytes: int
    tokens: int
    is_exact: bool

    @property
    def words(self) -> str:
        """The tokens in words."""
        return f"{self.tokens:,} new tokens" if self.is_exact else f"about {self.tokens:,} new tokens (from bytes)"


def new_data(store: Store, found: Manifest, model: ModelVersion) -> NewData:
    """Training documents of a version that are not in the model's; tokens counted where they were tokenized,
    else estimated by the model's own tokens per byte."""
    corpus, number = manifest.find(store, model.details["corpus"])
    base = manifest.read(store, corpus, number)
    fresh = _fresh_shards(found, base)
    old = _doc_ids(store, _fresh_shards(base, found))
    counts = _recorded_counts(store, found)
    documents = text_bytes = tokens = 0
    exact = all(shard.sha256 in counts for shard in fresh)
    for shard in fresh:
        table = read_table(store, f"shards/{shard.sha256}.parquet", columns=["doc_id", "text"])
        is_new = pc.invert(pc.is_in(table["doc_id"], value_set=old))
        documents += pc.sum(is_new).as_py() or 0
        text_bytes += pc.sum(pc.binary_length(table["text"].filter(is_new))).as_py() or 0
        if exact:
            offsets = np.frombuffer(store.read_bytes(counts[shard.sha256]), dtype="<u8").astype(np.int64)
            tokens += int(np.diff(offsets)[is_new.to_numpy()].sum())
    if not exact:
        tokens = math.ceil(text_bytes * _tokens_per_byte(base, model))
    return NewData(documents, text_bytes, tokens, exact)


def document_changes(store: Store, new: Manifest, old: Manifest) -> tuple[int, int]:
    """(documents only in `new`, documents only in `old`) of the training splits."""
    ours, theirs = _doc_ids(store, _fresh_shards(new, old)), _doc_ids(store, _fresh_shards(old, new))
    added = len(ours) - (pc.sum(pc.is_in(ours, value_set=theirs)).as_py() or 0)
    removed = len(theirs) - (pc.sum(pc.is_in(theirs, value_set=ours)).as_py() or 0)
    return added, removed


def _fresh_shards(found: Manifest, other: Manifest) -> list[ShardEntry]:
    """Training shards of a version that the other does not have: a shared one holds the same documents."""
    known = {shard.sha256 for shard in other.identity.shards if shard.split == "train"}
    return [s for s in found.identity.shards if s.split == "train" and s.sha256 not in known]


def _doc_ids(store: Store, shards: Sequence[ShardEntry]) -> pa.Array:
    columns = [read_table(store, f"shards/{s.sha256}.parquet", columns=["doc_id"])["doc_id"] for s in shards]
    chunks = [chunk for column in columns for chunk in column.chunks]
    return pa.concat_arrays(chunks) if chunks else pa.array([], type=pa.binary(16))


def _recorded_counts(store: Store, found: Manifest) -> dict[str, str]:
    """Key of the token offsets by shard, where the version was tokenized; empty where it was not."""
    end = f"/{found.identity.root_digest}.train.json"
    lists = sorted(key for key in store.list("tokens/") if key.endswith(end))
    if not lists:
        return {}
    return {shard["shard_sha256"]: shard["idx_key"] for shard in store.read_record(lists[-1])["shards"]}


def _tokens_per_byte(base: Manifest, model: ModelVersion) -> float:
    text_bytes = sum(shard.text_bytes for shard in base.identity.shards if shard.split == "train")
    return int(model.details["num_tokens"]) / max(1, text_bytes)
