"""Bringing a model in from outside: its folder is checked, put into the store as a checkpoint, and named in the ledger.

The checkpoint's fingerprint is the digest of its files, so the same bytes are one checkpoint; a `state.json` says what
a stage that starts there takes over, as in the checkpoints of our own runs. `docs/decisions/022`.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_pipeline.extract.licences import spdx_of
from datasets_pipeline.foreign_tokenizer import ForeignTokenizer, put_tokenizer, read_tokenizer
from ingot import adopted, ledger
from ingot.adopted import Adopted
from ingot.config import NAME_PATTERN
from ingot.digests import digest_of, fingerprint
from ingot.errors import BusyError, DataError, RecipeError
from ingot.ledger import Actor, Entry, LedgerMoved
from ingot.refs import CheckpointRef
from ingot.storage import Store
from training.adopted_shape import AdoptedShape, load_model, shape_of
from training.checkpoints import CheckpointManifest, key_of, save_checkpoint, verify_checkpoint
from training.foreign_files import Taken, read_json, size_of, take_in
from training.optimizers import default_learning_rate

VERSION = "1"
_MAX_RACES = 100
_MAX_ORIGIN = 500
_LICENCE_REF = re.compile(r"LicenseRef-[A-Za-z0-9.-]{1,80}")


@dataclass(frozen=True)
class Facts:
    """What a person says of a model that nobody can see in its files."""

    name: str
    licence: str
    origin: str
    tokens: int | None = None
    """Tokens its makers say it was trained on."""


@dataclass(frozen=True)
class Adoption:
    """How an adoption ended."""

    model: Adopted
    existed: bool
    """True when the same bytes were there under this name."""
    corrected: bool
    """True when what is said of them was changed by this."""
    num_files: int
    num_bytes: int
    left_out: tuple[str, ...]
    round_trips: bool


def adopt_model(store: Store, path: Path, facts: Facts, *, actor: Actor) -> Adoption:
    """Bring the model of a local Hugging Face folder in, or find that it is there.

    Raises DataError for a folder that is refused, RecipeError for facts that are none, and for a name that other
    bytes have, or bytes that have another name.
    """
    facts = _checked(facts)
    with store.scratch(f"{adopted.PREFIX}{facts.name}", size_of(path)) as folder:
        taken = take_in(path, folder)
        config = read_json(folder / "config.json")
        shape = shape_of(config)
        load_model(str(folder), names_only=True)
        tokenizer = _tokenizer_of(folder, config)
        if tokenizer.vocab_size > shape.vocabulary_rows:
            raise DataError(
                f"the tokenizer has ids up to {tokenizer.vocab_size - 1:,}, the embedding {shape.vocabulary_rows:,} "
                "rows; adopt the tokenizer and the weights that belong together"
            )
        # Before the files are stored, so that a refused model leaves none; _record asks again, for it may have moved.
        _check_name(ledger.read(store), facts, _key_of(taken))
        checkpoint = _store(store, folder, taken, shape, tokenizer)
        put_tokenizer(store, tokenizer)
    entry, existed, corrected = _record(store, facts, checkpoint, shape, tokenizer, actor)
    model = adopted.all_of([entry])[facts.name]
    return Adoption(
        model, existed, corrected, len(taken.sha256), taken.num_bytes, taken.left_out, tokenizer.round_trips
    )


def _checked(facts: Facts) -> Facts:
    """The facts with the licence as SPDX writes it."""
    if not re.fullmatch(NAME_PATTERN, facts.name):
        raise RecipeError(
            f"--name {facts.name[:80]!r} cannot be a name; use small letters, digits, '-' and '_', e.g. base-1b"
        )
    licence = spdx_of(facts.licence)
    if licence == "unknown" and facts.licence != "unknown" and not _LICENCE_REF.fullmatch(facts.licence):
        raise RecipeError(
            f"--licence {facts.licence[:80]!r} is no SPDX licence; write e.g. Apache-2.0, LicenseRef-NAME for one that "
            "SPDX does not list, or unknown"
        )
    origin = " ".join(facts.origin.split())
    if not origin.isprintable():
        odd = next(character for character in origin if not character.isprintable())
        raise RecipeError(f"--origin holds the invisible character U+{ord(odd):04X}; type it again without")
    if not origin or len(origin) > _MAX_ORIGIN:
        raise RecipeError(f"--origin has {len(origin):,} characters; say in 1 to {_MAX_ORIGIN} where it comes from")
    if re.search(r"://[^/\s]*:[^/\s]*@", origin):
        raise RecipeError("--origin holds a URL with a password, and the ledger keeps it for ever; leave it out")
    if facts.tokens is not None and facts.tokens <= 0:
        raise RecipeError(f"--tokens {facts.tokens} is no number of tokens; leave it out when it is not known")
    return Facts(facts.name, facts.licence if licence == "unknown" else licence, origin, facts.tokens)


def _tokenizer_of(folder: Path, config: dict[str, Any]) -> ForeignTokenizer:
    settings_file, template = folder / "tokenizer_config.json", folder / "chat_template.jinja"
    return read_tokenizer(
        (folder / "tokenizer.json").read_bytes(),
        read_json(settings_file) if settings_file.is_file() else {},
        config,
        chat_template=template.read_text(encoding="utf-8", errors="replace") if template.is_file() else None,
    )


def _key_of(taken: Taken) -> str:
    """Where the files belong: the same ones lie at the same place."""
    return key_of(fingerprint("adopt", VERSION, values={}, inputs=taken.sha256, versions={}), 0)


def _check_name(entries: Sequence[Entry], facts: Facts, key: str) -> Adopted | None:
    """What is known under the name; RecipeError when other bytes have it, or these have another."""
    known = adopted.all_of(entries).get(facts.name)
    other = adopted.with_key(key, entries)
    if known is not None and known.checkpoint_key != key:
        raise RecipeError(
            f"{known.subject} is another model ({known.architecture}, {known.num_parameters:,} parameters, "
            f"checkpoint {known.checkpoint_digest[:12]}); a name keeps its bytes: give another --name"
        )
    if other is not None and other.name != facts.name:
        raise RecipeError(
            f"these bytes are there as {other.subject} (ledger record {other.entry.sequence}); use that name"
        )
    return known


def _store(
    store: Store, folder: Path, taken: Taken, shape: AdoptedShape, tokenizer: ForeignTokenizer
) -> CheckpointRef:
    """The files as the checkpoint of step 0 of a run that nobody here made."""
    key = _key_of(taken)
    if store.exists(f"{key}/manifest.json"):
        return verify_checkpoint(store, key)[1]
    state = {
        "step": 0,
        "tokens": 0,
        "config": {"model": shape.model_dump(mode="json")},
        "learning_rate": default_learning_rate(shape.num_non_embedding_parameters),
    }
    (folder / "state.json").write_text(json.dumps(state, sort_keys=True))
    manifest = CheckpointManifest(
        kind="adopted",
        fingerprint=key.split("/")[1],
        step=0,
        total_steps=0,
        tokens_seen=0,
        num_parameters=shape.num_parameters(0),
        milestone="final",
        files=(),
        recipe_digest="",
        data_digest="",
        tokenizer_digest=tokenizer.digest,
        corpus="",
        start=None,
        sampler={},
        environment={},
        exact=False,
    )
    return save_checkpoint(store, folder, manifest)


def _record(
    store: Store,
    facts: Facts,
    checkpoint: CheckpointRef,
    shape: AdoptedShape,
    tokenizer: ForeignTokenizer,
    actor: Actor,
) -> tuple[Entry, bool, bool]:
    """(the record that holds now, whether the name was there, whether facts about it were changed)."""
    for _ in range(_MAX_RACES):
        entries = ledger.read(store)
        known = _check_name(entries, facts, checkpoint.key)
        if known is not None and (known.licence, known.origin, known.tokens) == (
            facts.licence, facts.origin, facts.tokens
        ):  # fmt: skip
            return known.entry, True, False
        details = {
            "name": facts.name,
            "licence": facts.licence,
            "origin": facts.origin,
            "tokens": facts.tokens,
            "architecture": shape.architecture,
            "num_parameters": checkpoint.num_parameters,
            "checkpoint_key": checkpoint.key,
        }
        try:
            entry = ledger.append(
                store,
                actor=actor,
                verb="adopted",
                subject=adopted.PREFIX + facts.name,
                subject_digest=checkpoint.manifest_sha256,
                evidence={"checkpoint": checkpoint.manifest_sha256, "tokenizer": tokenizer.digest},
                # A correction is a record of its own, also one back to what was said before.
                attempt=digest_of({**details, "corrects": known.entry.sequence if known else 0}),
                details=details,
                after=len(entries),
            )
        except LedgerMoved:
            continue  # another adoption may have taken the name
        return entry, known is not None, known is not None
    raise BusyError(f"{adopted.PREFIX}{facts.name}: the ledger is busy; adopt again")
