"""Tokenizers that came with an adopted model: looked at, and put into the store beside those trained here.

Text is always encoded with the tokenizer.json alone and without the tokens that its post-processor would add: token
files hold the text of a document and the tokenizer's own end token, nothing else (`docs/decisions/022`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datasets_pipeline.tokens import TokenizerRef
from ingot.digests import canonical_json, sha256_hex
from ingot.errors import DataError
from ingot.storage import Store

_SAMPLE = "Grüße, 42 Äpfel;\n\n\tdef f(x):  return x**2  # Москва, 東京, עברית 🙂"
_NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")


@dataclass(frozen=True)
class ForeignTokenizer:
    """A tokenizer.json and what must be known to use it."""

    body: bytes
    settings: bytes
    """tokenizer_config.json as it is written beside checkpoints: it loads the tokenizer.json as it is."""
    vocab_size: int
    """One more than its largest id."""
    eos_id: int
    round_trips: bool
    """Whether a sample of scripts, digits, blanks and code came back as it was."""

    @property
    def digest(self) -> str:
        """Of the tokenizer.json."""
        return sha256_hex(self.body)


def read_tokenizer(
    body: bytes, settings: Mapping[str, Any], model_config: Mapping[str, Any], *, chat_template: str | None = None
) -> ForeignTokenizer:
    """The tokenizer of a tokenizer.json; settings are its tokenizer_config.json, model_config its model's config.json.

    Raises DataError when it cannot be read or names no end token.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(body.decode())
    except Exception as error:  # the library raises Exception itself
        raise DataError(
            f"tokenizer.json cannot be read ({str(error)[:120]}); save it again with save_pretrained"
        ) from None
    ids = tokenizer.get_vocab(with_added_tokens=True)
    if not ids:
        raise DataError("tokenizer.json has no entries; save the tokenizer again with save_pretrained")
    eos = _end_token(ids, settings, model_config)
    kept = {name: _content(settings[name]) for name in _NAMED if settings.get(name)} | {"eos_token": eos}
    template = chat_template or settings.get("chat_template")
    if isinstance(template, str):
        kept["chat_template"] = template
    config = {
        **{name: token for name, token in kept.items() if name == "chat_template" or token in ids},
        # The class that takes a tokenizer.json as it is; others build parts of it anew.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1 << 30,
    }
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    back = tokenizer.decode(tokenizer.encode(_SAMPLE, add_special_tokens=False).ids, skip_special_tokens=False)
    return ForeignTokenizer(body, canonical_json(config), max(ids.values()) + 1, ids[eos], back == _SAMPLE)


def _end_token(ids: Mapping[str, int], settings: Mapping[str, Any], model_config: Mapping[str, Any]) -> str:
    """The token that ends a document: the tokenizer's, else the first that the model's config names."""
    named = _content(settings.get("eos_token"))
    if named in ids:
        return str(named)
    given = model_config.get("eos_token_id")
    wanted = given[0] if isinstance(given, list) and given else given
    by_id = {index: token for token, index in ids.items()}
    if isinstance(wanted, int) and wanted in by_id:
        return by_id[wanted]
    raise DataError(
        f"the tokenizer has no end token (tokenizer_config.json: eos_token {named!r}, config.json: eos_token_id "
        f"{given!r}); write the token that ends a document as eos_token into tokenizer_config.json"
    )


def _content(token: Any) -> str | None:
    """A token as text, which older files write as a mapping."""
    value = token.get("content") if isinstance(token, Mapping) else token
    return value if isinstance(value, str) else None


def put_tokenizer(store: Store, tokenizer: ForeignTokenizer) -> TokenizerRef:
    """Put it under its own digest, the record last; a second time finds it."""
    key = "tokenizers/" + sha256_hex(canonical_json([tokenizer.digest, sha256_hex(tokenizer.settings)]))
    reused = store.exists(f"{key}/manifest.json")
    if not reused:
        store.put_bytes(f"{key}/tokenizer.json", tokenizer.body, overwrite=True)
        store.put_bytes(f"{key}/tokenizer_config.json", tokenizer.settings, overwrite=True)
        record = {
            "digest": tokenizer.digest,
            "config_digest": sha256_hex(tokenizer.settings),
            "vocab_size": tokenizer.vocab_size,
            "eos_id": tokenizer.eos_id,
            "corpus": "",  # learnt elsewhere
        }
        store.put_if_absent(f"{key}/manifest.json", record)
    return TokenizerRef(key, tokenizer.digest, tokenizer.vocab_size, reused=reused, eos_id=tokenizer.eos_id)


def settings_of(store: Store, tokenizer: TokenizerRef) -> dict[str, Any]:
    """The tokenizer_config.json of a tokenizer in the store."""
    values: dict[str, Any] = json.loads(store.read_bytes(f"{tokenizer.key}/tokenizer_config.json"))
    return values
