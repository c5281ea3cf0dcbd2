"""Which tokenizer a recipe means: trained on its corpus, taken over by name, or extended on the corpus."""

from datasets_pipeline.tokenizer_growth import extended
from datasets_pipeline.tokens import (
    TokenizerRef,
    find_tokenizer,
    known_tokenizer,
    tokenizer_key,
    train_tokenizer,
    training_text,
)
from ingot import adopted, ledger, model_versions
from ingot.config import TokenizerConfig
from ingot.crashpoints import crashpoint
from ingot.digests import fingerprint, sha256_hex
from ingot.errors import NotFoundError
from ingot.manifest import Manifest
from ingot.storage import Store

GROWTH_VERSION = "1"


def named_tokenizer(store: Store, name: str) -> TokenizerRef:
    """The tokenizer of `adopted/base` or of a model version; NotFoundError when the store has it no more."""
    if name.startswith(adopted.PREFIX):
        digest = adopted.find(store, name, ledger.read(store)).tokenizer_digest
    else:
        digest = model_versions.resolve(store, name).evidence["tokenizer"]
    found = find_tokenizer(store, digest)
    if found is None:
        raise NotFoundError(f"the tokenizer of {name} is not in {store.root}; restore it from a backup")
    return found


def taken_over(store: Store, config: TokenizerConfig) -> TokenizerRef | None:
    """The tokenizer that is used as it is; None where one is made on the corpus."""
    return named_tokenizer(store, config.from_) if config.from_ is not None else None


def made_on(store: Store, manifest: Manifest, config: TokenizerConfig, *, lender: Store | None = None) -> TokenizerRef:
    """The tokenizer of a corpus version: trained on it, or another one extended on it; taken over where it says so.

    lender is the store that holds what is taken over, when it is another one; its files are copied first.
    """
    name = config.from_ or config.extend
    if name is None:
        return train_tokenizer(store, manifest, config)
    base = named_tokenizer(lender or store, name)
    if lender is not None:
        copy_tokenizer(base, lender, store)
    return base if config.extend is None else _extended_on(store, manifest, base, config)


def copy_tokenizer(tokenizer: TokenizerRef, lender: Store, borrower: Store) -> None:
    """Put the files of a tokenizer into another store, under the same key."""
    for key in lender.list(f"{tokenizer.key}/"):
        borrower.put_bytes(key, lender.read_bytes(key))


def find_made(store: Store, manifest: Manifest, config: TokenizerConfig) -> TokenizerRef | None:
    """The same where it is there already; None where it has to be made."""
    if config.from_ is not None:
        return named_tokenizer(store, config.from_)
    if config.extend is not None:
        return known_tokenizer(store, _key(manifest, named_tokenizer(store, config.extend), config))
    return known_tokenizer(store, tokenizer_key(manifest, config))


def _extended_on(store: Store, manifest: Manifest, base: TokenizerRef, config: TokenizerConfig) -> TokenizerRef:
    """Put the extended tokenizer, the record last; a second time finds it."""
    key = _key(manifest, base, config)
    known = known_tokenizer(store, key)
    if known is not None:
        return known
    assert config.add is not None, "extend says how many"
    old = store.read_bytes(f"{base.key}/tokenizer.json")
    body = extended(old, training_text(store, manifest, config.max_training_bytes), add=config.add)
    settings = store.read_bytes(f"{base.key}/tokenizer_config.json")
    store.put_bytes(f"{key}/tokenizer.json", body, overwrite=True)
    store.put_bytes(f"{key}/tokenizer_config.json", settings, overwrite=True)
    crashpoint("tokenizer.manifest.before", key)
    digest, vocab_size = sha256_hex(body), _vocab_size(body)
    record = {
        "digest": digest,
        "config_digest": sha256_hex(settings),
        "vocab_size": vocab_size,
        "eos_id": base.eos_id,
        "corpus": manifest.identity.root_digest,
        # What a model needs to grow with it (training/grown_vocabulary.py).
        "extends": base.digest,
        "first_new_id": _vocab_size(old),
    }
    store.put_if_absent(f"{key}/manifest.json", record)
    crashpoint("tokenizer.manifest.after", key)
    return TokenizerRef(key, digest, vocab_size, reused=False, eos_id=base.eos_id)


def _vocab_size(body: bytes) -> int:
    from tokenizers import Tokenizer

    return 1 + max(Tokenizer.from_str(body.decode()).get_vocab(with_added_tokens=True).values())


def _key(manifest: Manifest, base: TokenizerRef, config: TokenizerConfig) -> str:
    import tokenizers

    return "tokenizers/" + fingerprint(
        "tokenizer.extend",
        GROWTH_VERSION,
        values={"add": config.add, "max_training_bytes": config.max_training_bytes},
        inputs={"corpus": manifest.identity.root_digest, "base": base.digest},
        versions={"tokenizers": tokenizers.__version__},
    )
