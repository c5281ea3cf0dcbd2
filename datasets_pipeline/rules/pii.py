"""Personal data and secrets, found as spans to redact or to pseudonymise, or as a reason to drop a document.

```yaml
- rule: pii
  policy: redact                              # for every kind that `policies` does not name
  policies: {email: pseudonymise, api_key: drop}
  credentials: pseudonym_key                  # INGOT_SECRET_PSEUDONYM_KEY, or a file: 32 characters or more
  names: {uri: models/ner}                    # a local token-classification model; none by default
```

What each kind takes for a hit, and what it leaves alone, stands in its file under `datasets_pipeline/pii/`. Everything
found carries a keyed hash of its normalized value, so that the same address can be recognised in two documents, and
never the value. Cost: one pass over the bytes (about 400 MB/s a core) where nothing looks like personal data, a few
microseconds for each number or key-like word that does; time is linear in any text. Names cost a model's pass.
"""

import hashlib
import hmac
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, model_validator

from datasets_pipeline.rules.verdicts import Check, Verdicts, first_failing
from ingot import credentials
from ingot.errors import RecipeError
from ingot.schemas import SPAN

VERSION = "4"
KIND = "span"
LANGUAGES = None
"""Valid everywhere: kinds that differ by country are chosen by `countries`."""
HASHES_VALUES = True

Kind = Literal[
    "email", "ip_address", "phone", "bank_account", "payment_card", "national_id", "api_key", "private_key", "password",
    "person",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)
Policy = Literal["redact", "pseudonymise", "drop"]
Country = Literal["US", "GB", "DE", "FR", "ES", "IT", "PT", "NL", "PL"]

MIN_KEY_CHARACTERS = 32
PSEUDONYM_DIGITS = 12
"""Hexadecimal: two of a million people share a token with a chance of 1 in 560."""


class Names(BaseModel):
    """Where the model that finds names of persons lies, and how it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str = Field(
        description="Folder with a Hugging Face token-classification model: config.json, tokenizer.json and weights "
        "as safetensors. Read offline; its digest is part of the version's identity, its place is not."
    )
    labels: tuple[str, ...] = Field(
        default=("PER", "PERSON"), min_length=1, description="The model's labels for persons, without B- and I-."
    )
    min_score: float = Field(
        default=0.5, ge=0, le=1, description="Smallest probability of a word's label, rounded to four decimals."
    )


class Config(BaseModel):
    """Options of `- rule: pii`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Policy = Field(
        default="redact",
        description="redact replaces what is found by its kind (<EMAIL>); pseudonymise by the kind and a token that is "
        "the same wherever the same value stands (<EMAIL_7f3a9c0b12d4>); drop drops documents that hold one.",
    )
    policies: dict[Kind, Policy] = Field(default={}, description="Another policy for single kinds, by kind.")
    credentials: str | None = Field(
        default=None,
        pattern=credentials.NAME_PATTERN,
        description="Name of the secret that pseudonyms are made with, 32 characters or more. Only an id of the key is "
        "part of a version's identity; another key gives other tokens.",
    )
    emails: bool = Field(default=True, description="Look for e-mail addresses.")
    ip_addresses: bool = Field(default=True, description="Look for IPv4 and IPv6 addresses.")
    phones: bool = Field(default=True, description="Look for telephone numbers.")
    bank_accounts: bool = Field(default=True, description="Look for IBANs with valid check digits.")
    payment_cards: bool = Field(default=True, description="Look for card numbers with a valid check digit.")
    national_ids: bool = Field(
        default=True, description="Look for identity, tax and social security numbers of `countries`."
    )
    api_keys: bool = Field(default=True, description="Look for keys and tokens of services.")
    private_keys: bool = Field(default=True, description="Look for private keys in PEM and OpenPGP armour.")
    passwords: bool = Field(default=True, description="Look for passwords in URLs.")
    names: Names | None = Field(default=None, description="Look for names of persons with a local model.")
    countries: tuple[Country, ...] = Field(
        default=("US", "GB", "DE", "FR", "ES", "IT", "PT", "NL", "PL"),
        description="Whose national telephone and identity numbers are looked for. A national telephone number that is "
        "valid in several is taken for one of the first of these.",
    )
    reserved: bool = Field(
        default=False,
        description="Also take what is an example or belongs to nobody: example domains, private, loopback and "
        "documentation IP ranges, test cards, fictional telephone numbers, placeholder keys and passwords.",
    )

    @model_validator(mode="after")
    def _has_a_key_for_pseudonyms(self) -> "Config":
        needs_key = "pseudonymise" in (self.policy, *self.policies.values())
        if needs_key and self.credentials is None:
            raise ValueError(
                "policy 'pseudonymise' needs a key; name a secret of 32 characters or more with `credentials: NAME`"
            )
        if self.credentials is not None and not needs_key:
            raise ValueError(
                f"credentials {self.credentials!r} are for policy 'pseudonymise', which no kind has; take them out"
            )
        return self

    def policy_of(self, kind: str) -> Policy:
        """What happens to a kind."""
        return self.policies.get(kind, self.policy)  # type: ignore[call-overload, no-any-return]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds that are looked for."""
        switches: dict[Kind, bool] = {
            "email": self.emails, "ip_address": self.ip_addresses, "phone": self.phones,
            "bank_account": self.bank_accounts, "payment_card": self.payment_cards, "national_id": self.national_ids,
            "api_key": self.api_keys, "private_key": self.private_keys, "password": self.passwords,
            "person": self.names is not None,
        }  # fmt: skip
        return tuple(kind for kind in KINDS if switches[kind])


def inputs(config: Config) -> dict[str, str]:
    """The id of the pseudonyms' key, the digest of the model of names, the release of the numbering plans."""
    found = {}
    if config.credentials is not None:
        found["pseudonym_key"] = hmac.digest(_key(config.credentials), b"ingot-pseudonym-key-id", hashlib.sha256).hex()[
            :16
        ]
    if config.names is not None:
        from datasets_pipeline.pii import name_model

        found["name_model"] = name_model.digest(config.names.uri)
    if config.phones:
        from datasets_pipeline.pii import phones

        found["phonenumbers"] = phones.library_version()
    return found


def drops(config: Config) -> bool:
    """Whether a kind that is looked for drops documents."""
    return any(config.policy_of(kind) == "drop" for kind in config.kinds)


def find_spans(config: Config, documents: pa.Table, key: bytes) -> pa.Table:
    """spans, list<SPAN> per row: sorted, not overlapping, in UTF-8 bytes of the text, empty where none is; and
    num_<kind>, int32, for every kind: how many of the spans are of it.

    key: of the hashes of what is found. Texts are not null.
    """
    # On first use: numba takes a second to import.
    from datasets_pipeline.pii.find import find_in_batch
    from datasets_pipeline.pii.found import Found, without_overlaps

    column = documents["text"].cast(pa.large_string()).combine_chunks()
    found: dict[int, list[Found]] = {}
    for row, places in find_in_batch(column, config.kinds, reserved=config.reserved, countries=config.countries):
        found[row] = places
    if config.names is not None:
        from datasets_pipeline.pii.names import find_names

        names = config.names
        for row, places in find_names(column, names.uri, labels=names.labels, min_score=names.min_score):
            found[row] = [*found.get(row, ()), *places]
    hash_of = partial(_keyed_hash, key)
    pseudonym_of = partial(_pseudonym, _key(config.credentials)) if config.credentials is not None else None
    spans: dict[int, list[tuple[int, int, str, str, str]]] = {}
    for row in sorted(found):
        spans[row] = [
            (
                place.start,
                place.end,
                place.kind,
                pseudonym_of(place.kind, place.value)
                if pseudonym_of is not None and config.policy_of(place.kind) == "pseudonymise"
                else f"<{place.kind.upper()}>",
                hash_of(place.kind, place.value),
            )
            for place in without_overlaps(found[row])
        ]
    return _as_table(spans, len(column))


def judge(config: Config, features: pa.Table, found: pa.Table) -> Verdicts:
    """Reason pii_found where a kind with policy drop was found: the score is how many, the threshold 0."""
    numbers = np.zeros(len(found), np.float64)
    for kind in config.kinds:
        if config.policy_of(kind) == "drop":
            numbers += pc.fill_null(found[f"num_{kind}"], 0).to_numpy().astype(np.float64)
    check = Check("pii_found", numbers > 0, numbers, np.zeros(len(numbers)))
    return first_failing([check], np.ones(len(numbers), dtype=bool))


def _key(name: str) -> bytes:
    secret = credentials.secret(name)
    if len(secret) < MIN_KEY_CHARACTERS:
        raise RecipeError(
            f"credential {name!r} has {len(secret)} characters; pseudonyms could be guessed with a short key: use at "
            f"least {MIN_KEY_CHARACTERS}, for example from `openssl rand -hex 32`"
        )
    return secret.encode()


def _keyed_hash(key: bytes, kind: str, value: bytes) -> str:
    return hmac.digest(key, kind.encode() + b"\0" + value, hashlib.sha256).hex()[:32]


def _pseudonym(key: bytes, kind: str, value: bytes) -> str:
    return f"<{kind.upper()}_{_keyed_hash(key, kind, value)[:PSEUDONYM_DIGITS]}>"


def _as_table(spans: dict[int, list[tuple[int, int, str, str, str]]], num_rows: int) -> pa.Table:
    lengths = np.zeros(num_rows + 1, dtype=np.int32)
    counts = {kind: np.zeros(num_rows, dtype=np.int32) for kind in KINDS}
    for row, members in spans.items():
        lengths[row + 1] = len(members)
        for _, _, kind, _, _ in members:
            counts[kind][row] += 1  # type: ignore[index]
    flat = [span for row in sorted(spans) for span in spans[row]]
    columns: list[list[Any]] = [list(column) for column in zip(*flat, strict=True)] or [[] for _ in SPAN]
    values = pa.StructArray.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, SPAN, strict=True)], fields=list(SPAN)
    )
    found = pa.ListArray.from_arrays(pa.array(np.cumsum(lengths, dtype=np.int32)), values)
    return pa.table({"spans": found, **{f"num_{kind}": pa.array(counts[kind]) for kind in KINDS}})
