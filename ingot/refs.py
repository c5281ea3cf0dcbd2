"""Refs: the small frozen values that stages and tasks pass to each other instead of data."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Ref(BaseModel):
    """Base of all refs: immutable, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ObjectRef(Ref):
    """One immutable object in the store."""

    key: str
    sha256: str
    bytes: int
    rows: int


class CorpusRef(Ref):
    """A published corpus version, e.g. `handbook@12`."""

    corpus: str
    version: int
    manifest_key: str
    identity_digest: str
    content_digest: str
    root_digest: str
    num_documents: int
    num_heldout: int
    num_bytes: int
    reused: bool = False
    """True when the run changed nothing and named an existing version."""

    @property
    def name(self) -> str:
        """`<corpus>@<version>`."""
        return f"{self.corpus}@{self.version}"


class TokenShard(Ref):
    """The tokens of one shard: ids in `bin_key`, document offsets in `idx_key`."""

    bin_key: str
    bin_sha256: str
    idx_key: str
    idx_sha256: str
    shard_sha256: str
    num_tokens: int
    num_documents: int
    dtype: Literal["uint16", "uint32"]


class TokensRef(Ref):
    """The token shards of one split of a corpus version, in manifest order."""

    corpus: str
    corpus_root_digest: str
    tokenizer_digest: str
    tokenizer_key: str
    vocab_size: int
    split: str
    shards: tuple[TokenShard, ...]
    num_tokens: int
    num_documents: int
    num_bytes: int


class CheckpointRef(Ref):
    """A verified checkpoint of a training stage."""

    fingerprint: str
    step: int
    key: str
    manifest_sha256: str
    tokens_seen: int
    num_parameters: int
    reused: bool = False


class EvaluationRef(Ref):
    """A stored evaluation of one checkpoint on one suite."""

    digest: str
    key: str
    checkpoint_fingerprint: str
    checkpoint_step: int
    suite: str
    bits_per_byte: float
    num_documents: int


class VerdictRef(Ref):
    """What the gate said about a candidate."""

    model: str
    version: int
    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE", "FIRST"]
    reason: str
    key: str
