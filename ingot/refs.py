"""Refs: the small frozen values that stages and tasks pass to each other instead of data."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator


class Ref(BaseModel):
    """Base of all refs: immutable, no unknown fields."""

    # Built when first used: an answer needs few of these, and starts sooner.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


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
    eos_id: int = 0
    """The id after each document; 0 of tokenizers trained here, an adopted one has its own."""


class MixtureRef(Ref):
    """The token sets that one stage reads together, all made by one tokenizer; how much of each is the recipe's."""

    parts: tuple[TokensRef, ...]

    @model_validator(mode="after")
    def _one_tokenizer(self) -> "MixtureRef":
        digests = {part.tokenizer_digest for part in self.parts}
        if len(digests) != 1:
            told = ", ".join(f"{part.corpus} {part.tokenizer_digest[:12]}" for part in self.parts)
            raise ValueError(f"a mixture of {len(digests)} tokenizers ({told}); tokenize all of it with one")
        return self

    @property
    def corpus(self) -> str:
        """The names of all corpus versions, e.g. `handbook@5 + old_handbook@3`."""
        return " + ".join(part.corpus for part in self.parts)

    @property
    def tokenizer_digest(self) -> str:
        """SHA-256 of the tokenizer."""
        return self.parts[0].tokenizer_digest

    @property
    def tokenizer_key(self) -> str:
        """Folder of the tokenizer in the store."""
        return self.parts[0].tokenizer_key

    @property
    def vocab_size(self) -> int:
        """Entries of the tokenizer."""
        return self.parts[0].vocab_size

    @property
    def eos_id(self) -> int:
        """The id after each document."""
        return self.parts[0].eos_id

    @property
    def num_tokens(self) -> int:
        """Tokens of all parts, each counted once."""
        return sum(part.num_tokens for part in self.parts)


def parts_of(data: TokensRef | MixtureRef) -> tuple[TokensRef, ...]:
    """The token sets of a stage's data: one, or those of a mixture."""
    return data.parts if isinstance(data, MixtureRef) else (data,)


def own_tokens(data: TokensRef | MixtureRef, corpus: CorpusRef) -> TokensRef:
    """Of a stage's data the token set of the recipe's own corpus."""
    return next(part for part in parts_of(data) if part.corpus == corpus.name)


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
