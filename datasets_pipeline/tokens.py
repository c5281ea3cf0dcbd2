"""Train a byte-level BPE tokenizer on a corpus version and turn its shards into token files.

`tokens/<tokenizer digest>-<versions>/<shard sha256>.bin` holds token ids, little endian, with EOS after every
document and nothing else; `.idx` holds the start of each document, and the total, as uint64. Packing
and mixing are index arithmetic when reading. A shard that did not change is not tokenized again.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets_pipeline.parallel import Killed, Pool
from ingot import infill_tokens
from ingot.config import TokenizerConfig
from ingot.crashpoints import crashpoint
from ingot.digests import canonical_json, fingerprint, sha256_file, sha256_hex, without_none
from ingot.errors import DataError, IntegrityError
from ingot.manifest import Manifest, Split
from ingot.parquet import read_table
from ingot.refs import TokenShard, TokensRef
from ingot.storage import Store

TOKENIZER_VERSION = "1"
TOKENS_VERSION = "1"
END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 0
_ENCODE_BATCH = 256


@dataclass(frozen=True)
class TokenizerRef:
    """A trained tokenizer: its folder in the store, and the SHA-256 of its tokenizer.json."""

    key: str
    digest: str
    vocab_size: int
    reused: bool
    eos_id: int = END_OF_TEXT_ID
    """The id that ends a document in token files; one that was learnt elsewhere brings its own."""


def train_tokenizer(store: Store, manifest: Manifest, config: TokenizerConfig) -> TokenizerRef:
    """Learn merges from the training split, in manifest order, up to `max_training_bytes` of text.

    Raises DataError when the training split is empty.
    """
    import tokenizers

    key = tokenizer_key(manifest, config)
    known = known_tokenizer(store, key)
    if known is not None:
        return known
    # Worker threads of the library would only compete with the run's own processes.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = _pre_tokenizer(config)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        special_tokens=[END_OF_TEXT, *_infill_tokens(config)],
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(training_text(store, manifest, config.max_training_bytes), trainer)
    body = tokenizer.to_str(pretty=False).encode()
    digest = sha256_hex(body)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_OF_TEXT,
        "bos_token": END_OF_TEXT,
        "model_max_length": 1 << 30,
        "clean_up_tokenization_spaces": False,
    }
    store.put_bytes(f"{key}/tokenizer.json", body, overwrite=True)
    config_body = canonical_json(settings)
    store.put_bytes(f"{key}/tokenizer_config.json", config_body, overwrite=True)
    crashpoint("tokenizer.manifest.before", key)
    record = {
        "digest": digest,
        "config_digest": sha256_hex(config_body),
        "vocab_size": tokenizer.get_vocab_size(),
        "corpus": manifest.identity.root_digest,
    }
    store.put_if_absent(f"{key}/manifest.json", record)
    crashpoint("tokenizer.manifest.after", key)
    return TokenizerRef(key, digest, tokenizer.get_vocab_size(), reused=False)


def _pre_tokenizer(config: TokenizerConfig) -> Any:
    """Merges stay within what this cuts: words, or single characters."""
    from tokenizers import Regex, pre_tokenizers

    if not config.characters:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    each = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    return pre_tokenizers.Sequence([each, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _infill_tokens(config: TokenizerConfig) -> list[str]:
    return [] if config.infill_lengths is None else infill_tokens.names(config.infill_lengths)


def tokenizer_key(manifest: Manifest, config: TokenizerConfig) -> str:
    """The folder of the tokenizer that a config trains on a corpus version."""
    import tokenizers

    return "tokenizers/" + fingerprint(
        "tokenizer",
        TOKENIZER_VERSION,
        values=without_none(config.model_dump(mode="json")),
        inputs={"corpus": manifest.identity.root_digest},
        versions={"tokenizers": tokenizers.__version__},
    )


def known_tokenizer(store: Store, key: str) -> TokenizerRef | None:
    """The tokenizer in a folder; None when none was finished there."""
    if not store.exists(f"{key}/manifest.json"):
        return None
    record = store.read_json(f"{key}/manifest.json")
    eos_id = record.get("eos_id", END_OF_TEXT_ID)
    return TokenizerRef(key, record["digest"], record["vocab_size"], reused=True, eos_id=eos_id)


def find_tokens_by(
    store: Store, name: str, manifest: Manifest, tokenizer: TokenizerRef, *, split: Split = "train"
) -> TokensRef | None:
    """The token files an earlier run recorded for a corpus version `name`; None when it has to be tokenized.

    The tokenizer may be another corpus's.
    """
    key = f"{folder_of(tokenizer.digest)}/{manifest.identity.root_digest}.{split}.json"
    if not store.exists(key):
        return None
    ref = TokensRef.model_validate({"corpus": name, **store.read_record(key)})
    # The same text under another setting of `tokenizer` may give the same files; the key is this setting's.
    ref = ref.model_copy(update={"tokenizer_key": tokenizer.key})
    whole = all(store.exists(shard.bin_key) and store.exists(shard.idx_key) for shard in ref.shards)
    return ref if whole else None


def tokenizer_of(tokens: TokensRef) -> TokenizerRef:
    """The tokenizer that made token files, for those of another corpus."""
    return TokenizerRef(
        tokens.tokenizer_key, tokens.tokenizer_digest, tokens.vocab_size, reused=True, eos_id=tokens.eos_id
    )


def find_tokenizer(store: Store, digest: str) -> TokenizerRef | None:
    """The tokenizer of a digest, which a model records; None where it is not in the store."""
    for key in store.list("tokenizers/"):
        folder, _, name = key.rpartition("/")
        if name == "manifest.json" and (found := known_tokenizer(store, folder)) and found.digest == digest:
            return found
    return None


def training_text(store: Store, manifest: Manifest, max_bytes: int) -> Iterator[str]:
    """Texts of the training split in manifest order, up to so many bytes; DataError when there is none."""
    left = max_bytes
    for shard in manifest.identity.shards:
        if shard.split != "train":
            continue
        for text in read_table(store, f"shards/{shard.sha256}.parquet", columns=["text"])["text"].to_pylist():
            if left <= 0:
                return
            left -= len(text.encode())
            yield text
    if left == max_bytes:
        raise DataError(
            f"corpus {manifest.identity.corpus} has no training documents; every document was dropped or held out: "
            "see its data card, then loosen the rules or add sources"
        )


@dataclass(frozen=True)
class TokenizeUnit:
    """One shard to tokenize, for a worker."""

    store: Store
    shard_sha256: str
    tokenizer_key: str
    tokenizer_digest: str
    dtype: str
    eos_id: int = END_OF_TEXT_ID


def tokenize(
    store: Store,
    name: str,
    manifest: Manifest,
    tokenizer: TokenizerRef,
    pool: Pool,
    *,
    split: Split = "train",
    on_progress: Callable[[str, int, int], None] | None = None,
) -> TokensRef:
    """Token files of a split of a corpus version `name`, in manifest order; on_progress is told of documents."""
    shards = [shard for shard in manifest.identity.shards if shard.split == split]
    dtype = "uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32"
    units = [TokenizeUnit(store, s.sha256, tokenizer.key, tokenizer.digest, dtype, tokenizer.eos_id) for s in shards]
    done = _tokenize_all(units, pool, on_progress, num_documents=sum(shard.rows for shard in shards))
    recorded = _recorded(store, tokenizer.digest, manifest.identity.root_digest, split)
    made = [(unit, done[unit.shard_sha256]) for unit in units]
    damaged = [unit for unit, shard in made if recorded.get(unit.shard_sha256, shard) != shard]
    for unit in damaged:
        # What stands there is not what was recorded of it: it is made again, never taken for the truth.
        store.delete(done[unit.shard_sha256].bin_key)
        store.delete(done[unit.shard_sha256].idx_key)
    done |= _tokenize_all(damaged, pool)
    for unit in damaged:
        if done[unit.shard_sha256] != recorded[unit.shard_sha256]:
            raise IntegrityError(
                f"{done[unit.shard_sha256].bin_key} differs from its record also when it is made again; "
                "run `ingot verify` to see what else was changed"
            )
    token_shards = tuple(done[shard.sha256] for shard in shards)
    ref = TokensRef(
        corpus=name,
        corpus_root_digest=manifest.identity.root_digest,
        tokenizer_digest=tokenizer.digest,
        tokenizer_key=tokenizer.key,
        vocab_size=tokenizer.vocab_size,
        split=split,
        shards=token_shards,
        num_tokens=sum(shard.num_tokens for shard in token_shards),
        num_documents=sum(shard.num_documents for shard in token_shards),
        num_bytes=sum(shard.text_bytes for shard in shards),
        eos_id=tokenizer.eos_id,
    )
    key = tokens_manifest_key(ref)
    crashpoint("tokens.manifest.before", key)
    store.put_if_absent(key, ref.model_dump(mode="json", exclude={"corpus"}))
    crashpoint("tokens.manifest.after", key)
    return ref


def _tokenize_all(
    units: Sequence[TokenizeUnit],
    pool: Pool,
    on_progress: Callable[[str, int, int], None] | None = None,
    *,
    num_documents: int = 0,
) -> dict[str, TokenShard]:
    done: dict[str, TokenShard] = {}
    finished = 0
    for item in pool.map(tokenize_shard, units):
        if isinstance(item, Killed):
            raise DataError(f"tokenizing shard {item.unit.shard_sha256} killed its worker; give workers more memory")
        done[item.unit.shard_sha256] = item.result
        finished += item.result.num_documents
        if on_progress is not None:
            on_progress("tokenize", finished, num_documents)
    return done


def _recorded(store: Store, tokenizer_digest: str, root_digest: str, split: str) -> dict[str, TokenShard]:
    """What an earlier run recorded of these token files, by shard."""
    key = f"{folder_of(tokenizer_digest)}/{root_digest}.{split}.json"
    if not store.exists(key):
        return {}
    return {shard["shard_sha256"]: TokenShard.model_validate(shard) for shard in store.read_record(key)["shards"]}


def folder_of(tokenizer_digest: str) -> str:
    """Where a tokenizer's token files lie; another encoding or library version writes beside, not over, them."""
    import tokenizers

    return f"tokens/{tokenizer_digest}-{TOKENS_VERSION}-{tokenizers.__version__}"


def tokens_manifest_key(ref: TokensRef) -> str:
    """Where the list of a split's token files lies."""
    return f"{folder_of(ref.tokenizer_digest)}/{ref.corpus_root_digest}.{ref.split}.json"


def tokenize_shard(unit: TokenizeUnit) -> TokenShard:
    """Write the token files of one shard unless they are there; runs in a worker."""
    base = f"{folder_of(unit.tokenizer_digest)}/{unit.shard_sha256}"
    if not (unit.store.reuse(f"{base}.bin") and unit.store.reuse(f"{base}.idx")):
        _write_tokens(unit, base)
    offsets = np.fromfile(unit.store.local_path(f"{base}.idx"), dtype="<u8")
    return TokenShard(
        bin_key=f"{base}.bin",
        bin_sha256=sha256_file(unit.store.local_path(f"{base}.bin")),
        idx_key=f"{base}.idx",
        idx_sha256=sha256_file(unit.store.local_path(f"{base}.idx")),
        shard_sha256=unit.shard_sha256,
        num_tokens=int(offsets[-1]),
        num_documents=len(offsets) - 1,
        dtype="uint16" if unit.dtype == "uint16" else "uint32",
    )


def _write_tokens(unit: TokenizeUnit, base: str) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(unit.store.read_bytes(f"{unit.tokenizer_key}/tokenizer.json").decode())
    # A text that spells the end-of-text token is text like any other; it must not forge a document end.
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    texts = read_table(unit.store, f"shards/{unit.shard_sha256}.parquet", columns=["text"])["text"].to_pylist()
    offsets = np.zeros(len(texts) + 1, dtype="<u8")
    # A token stands for a byte of text at least.
    most = sum(len(text.encode()) + 1 for text in texts) * np.dtype(unit.dtype).itemsize + offsets.nbytes
    with unit.store.scratch(base, most) as folder:
        ids_path, offsets_path = folder / "tokens.bin", folder / "tokens.idx"
        with open(ids_path, "wb") as file:
            for start in range(0, len(texts), _ENCODE_BATCH):
                batch = texts[start : start + _ENCODE_BATCH]
                # What a foreign tokenizer would put around a text (a BOS) is not the text.
                for row, encoding in enumerate(tokenizer.encode_batch(batch, add_special_tokens=False), start):
                    ids = np.asarray(
                        [*encoding.ids, unit.eos_id], dtype=f"<{unit.dtype[0]}{int(unit.dtype[4:]) // 8}"
                    )
                    file.write(ids.tobytes())
                    offsets[row + 1] = offsets[row] + len(ids)
        offsets_path.write_bytes(offsets.tobytes())  # tofile does not say that the disk is full
        crashpoint("tokens.put.before", base)
        unit.store.put_file(f"{base}.bin", ids_path)
        crashpoint("tokens.put.between", base)
        unit.store.put_file(f"{base}.idx", offsets_path)
        crashpoint("tokens.put.after", base)
