"""What a recipe starts from: the one place where the names of starts are resolved in the store."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datasets_pipeline.tokenizer_sources import named_tokenizer, taken_over
from datasets_pipeline.tokens import TokenizerRef, find_tokenizer
from ingot import adopted, ledger, model_versions, registry
from ingot.config import Recipe
from ingot.digests import sha256_hex
from ingot.errors import IntegrityError, NotFoundError, RecipeError
from ingot.refs import CheckpointRef
from ingot.storage import Store
from training.checkpoints import checkpoint_ref, key_of, list_steps, read_manifest
from training.starts import StartFrom


@dataclass(frozen=True)
class Start:
    """A checkpoint that a recipe's first stage starts from, and what is taken over from it."""

    name: str
    """How it is told: `mini/3`, `adopted/base`, or the checkpoint's key."""
    checkpoint: CheckpointRef
    tokenizer: TokenizerRef
    config: Mapping[str, Any]
    """The config of the run that made it."""
    learning_rate: float
    """Peak rate of that run."""


def find_start(store: Store, recipe: Recipe) -> Start | None:
    """Where the recipe's first stage starts; None for fresh weights.

    Raises NotFoundError for what is not there, RecipeError for a recipe that asks for another tokenizer.
    """
    wanted: StartFrom | None = getattr(recipe.train[0].config, "start", None) if recipe.train else None
    if wanted is None:
        return None
    ref = checkpoint_ref(store, _key(store, wanted))
    name = _name_of(store, ref)
    tokenizer = find_tokenizer(store, read_manifest(store, ref.key).tokenizer_digest)
    if tokenizer is None:
        raise NotFoundError(f"the tokenizer of start {name} is not in {store.root}; restore it from a backup")
    _check_tokenizer(store, recipe, name, tokenizer)
    state = _state(store, ref.key)
    return Start(name, ref, tokenizer, state["config"], float(state["learning_rate"]))


def _check_tokenizer(store: Store, recipe: Recipe, name: str, tokenizer: TokenizerRef) -> None:
    """A recipe with a start may name the start's own tokenizer, and extend it; no other."""
    if "tokenizer" not in recipe.model_fields_set:
        return
    named = recipe.tokenizer.from_ or recipe.tokenizer.extend
    if named is None or named_tokenizer(store, named).digest != tokenizer.digest:
        raise RecipeError(
            f"tokenizer: the recipe starts from {name}, whose tokenizer of {tokenizer.vocab_size:,} entries it takes "
            f"over; take the section out, or extend it: {{extend: {name}, add: 2000}}"
        )
    if recipe.tokenizer.extend is not None and getattr(recipe.train[0].config, "schedule", None) == "decay_only":
        raise RecipeError(
            "tokenizer.extend: a decay_only branch goes on with the trunk's optimizer, which has nothing for new "
            "pieces; take schedule out, or extend"
        )


def _key(store: Store, wanted: StartFrom) -> str:
    if wanted.checkpoint is not None:
        return wanted.checkpoint
    if wanted.adopted is not None:
        return adopted.find(store, wanted.adopted).checkpoint_key
    if wanted.model is not None:
        version = model_versions.resolve(store, wanted.model)
        return version.checkpoint_key if wanted.at is None else _before_decay(store, version.checkpoint_fingerprint)
    assert wanted.run is not None, "a start names one thing"
    known = sorted({key.split("/")[1].removesuffix(".json") for key in store.list("runs/")})
    found = [run for run in known if run.startswith(wanted.run)]
    if len(found) != 1:
        what = "no run begins" if not found else f"{len(found)} runs begin"
        raise NotFoundError(f"start: {what} with {wanted.run}; `ingot trace model NAME/VERSION` tells its run")
    if wanted.at is not None:
        return _before_decay(store, found[0])
    steps = list_steps(store, found[0])
    if not steps:
        raise NotFoundError(f"start: run {wanted.run} left no checkpoint; name another one")
    return key_of(found[0], steps[0])


def _before_decay(store: Store, run: str) -> str:
    for step in list_steps(store, run):
        if read_manifest(store, key_of(run, step)).milestone == "before_decay":
            return key_of(run, step)
    raise NotFoundError(
        f"run {run[:12]} has no checkpoint before its decay; `decay: wsd` keeps one where the warm-up ends before it"
    )


def _name_of(store: Store, checkpoint: CheckpointRef) -> str:
    """The model version that a checkpoint is registered as, or what it was adopted as; else its key."""
    entries = ledger.read(store)
    base = adopted.with_key(checkpoint.key, entries)
    if base is not None:
        return base.subject
    registered = [entry for entry in entries if entry.verb == "registered"]
    same = (e for e in registered if e.evidence.get("checkpoint") == checkpoint.manifest_sha256)
    entry = next(same, None)
    return f"{entry.details['model']}/{entry.details['version']}" if entry else checkpoint.key


def _state(store: Store, key: str) -> dict[str, Any]:
    """What a checkpoint says of the run that made it; IntegrityError when it is not what its manifest lists."""
    listed = {file.name: file.sha256 for file in read_manifest(store, key).files}
    data = store.read_bytes(f"{key}/state.json")
    if sha256_hex(data) != listed.get("state.json"):
        raise IntegrityError(f"{key}/state.json differs from its manifest; restore the checkpoint from a backup")
    state: dict[str, Any] = json.loads(data)
    if "config" not in state:
        raise RecipeError(f"{key} was written before checkpoints said what to take over; start from a newer one")
    return state


def given_tokenizer(store: Store, recipe: Recipe, start: Start | None) -> TokenizerRef | None:
    """The tokenizer that the recipe uses as it is; None where one is trained or extended on its corpus."""
    if recipe.tokenizer.extend is not None:
        return None
    return start.tokenizer if start else taken_over(store, recipe.tokenizer)


def vocabulary_size(store: Store, recipe: Recipe, start: Start | None) -> int:
    """Entries of the tokenizer that the recipe's stages will have; the most of one that is extended."""
    base = start.tokenizer if start else None
    if base is None and (name := recipe.tokenizer.from_ or recipe.tokenizer.extend):
        base = named_tokenizer(store, name)
    return (base or recipe.tokenizer).vocab_size + (recipe.tokenizer.add or 0)


def begun(recipe: Recipe, start: Start | None) -> Recipe:
    """The recipe with what its stages take over from where they start filled in; a stage starts from the one before."""
    vocab_size = (start.tokenizer.vocab_size if start else recipe.tokenizer.vocab_size) + (recipe.tokenizer.add or 0)
    before = (start.config, start.learning_rate) if start else None
    stages = []
    for entry in recipe.train:
        module, config = registry.load("stage", entry.name), entry.config
        if before is not None and hasattr(module, "take_over"):
            config = module.take_over(config, before[0], vocab_size=vocab_size, learning_rate=before[1])
        if getattr(config, "model", None) is not None:
            before = (config.model_dump(mode="json"), before[1] if before else 0.0)
        stages.append(entry.model_copy(update={"config": config}))
    return recipe.model_copy(update={"train": stages})
