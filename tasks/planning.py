"""The plan of a retrain: what is reused, what runs and why, about how long, what the gate will compare.

`plan_retrain` only reads: fingerprints are computed as the run will compute them and looked up in the store; times
come from the metrics of earlier runs and from what the caller knows of earlier tasks. Takes well under a second, so
the plan is there before torch is imported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from datasets_pipeline.tokenizer_sources import find_made
from datasets_pipeline.tokens import find_tokens_by
from ingot import ledger, manifest, model_versions, retraining
from ingot.config import NamedConfig, Recipe, resolved
from ingot.ledger import Entry
from ingot.manifest import Manifest
from ingot.model_versions import ModelVersion
from ingot.parquet import read_table
from ingot.recipe_files import flat
from ingot.refs import CheckpointRef, CorpusRef, MixtureRef, TokensRef
from ingot.revision import code_revision
from ingot.storage import Store
from tasks.evaluation import champion_options, evaluation_digest
from tasks.mixtures import known_data
from tasks.starts import begun, find_start, given_tokenizer, vocabulary_size
from tasks.training import public_recipe, stage_fingerprint, with_seed
from training import history
from training.checkpoints import checkpoint_ref, list_steps, read_manifest

NO_HISTORY = "not known: no earlier run"
_MAX_COUNTED = 1_000_000  # held-out documents whose ids are compared for a plan; more would take seconds
_READ_SECTIONS = ("seed", "tokenizer", "train", "evaluate")
_SHORT = 12


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlanStep(_Part):
    """One step of the road."""

    name: str
    reused: bool
    why: str
    seconds: float | None = None
    """About how long; 0 for what is reused, None when nothing is known."""
    basis: str = ""
    """What the seconds rest on."""


class Plan(_Part):
    """What a retrain will do."""

    recipe: str
    model: str
    corpus: str
    steps: tuple[PlanStep, ...]
    newest: str | None
    """The newest version of the model, which `changes` are told against; None for the first."""
    changes: tuple[str, ...]
    gate: str
    approver: str
    """Who may approve the candidate, in words."""
    requested_by: str

    @property
    def known_seconds(self) -> float:
        """The sum of what is known."""
        return sum(step.seconds or 0.0 for step in self.steps)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Steps whose time is not known."""
        return tuple(step.name for step in self.steps if step.seconds is None)

    @property
    def reuses_everything(self) -> bool:
        """Whether there is nothing to train or measure."""
        return all(step.reused for step in self.steps)


@dataclass(frozen=True)
class _Known:
    """What the planning of every step looks at."""

    store: Store
    recipe: Recipe
    corpus: CorpusRef
    found: Manifest
    entries: Sequence[Entry]
    versions: Sequence[ModelVersion]
    seconds: Mapping[str, float]
    changes: tuple[str, ...]
    vocab_size: int

    @property
    def champion(self) -> ModelVersion | None:
        number = model_versions.champion_version(self.entries, self.recipe.model_name)
        return next((v for v in self.versions if v.version == number), None)

    def runs(self, name: str, why: str, task: str) -> PlanStep:
        """A step that runs, with the time the task took when it ran last."""
        seconds = self.seconds.get(task)
        basis = NO_HISTORY if seconds is None else "as the last one took"
        return PlanStep(name=name, reused=False, why=why, seconds=seconds, basis=basis)


def plan_retrain(
    store: Store,
    recipe: Recipe,
    corpus: CorpusRef,
    *,
    place: str,
    requested_by: str = "",
    seconds: Mapping[str, float] | None = None,
) -> Plan:
    """What training `recipe` on `corpus` will reuse and run.

    place is how the recipe was named; seconds are what the tasks tokenize, evaluate and gate took when they ran
    last, by name, where the caller knows.
    """
    entries = ledger.read(store)
    start = find_start(store, recipe)
    recipe = begun(recipe, start)
    versions = model_versions.versions_of(store, recipe.model_name, entries)
    found = manifest.read(store, corpus.corpus, corpus.version)
    newest = versions[-1] if versions else None
    changes = _changes(store, recipe, corpus, found, newest) if newest else ()
    vocab_size = vocabulary_size(store, recipe, start)
    known = _Known(store, recipe, corpus, found, entries, versions, seconds or {}, changes, vocab_size)
    tokenizer = given_tokenizer(store, recipe, start) or find_made(store, found, recipe.tokenizer)
    tokens = find_tokens_by(store, corpus.name, found, tokenizer) if tokenizer else None
    stages, checkpoint = _plan_stages(known, tokens, start.checkpoint if start else None)
    version = _registered(known, checkpoint)
    steps = (_plan_tokens(known, tokens), *stages, _plan_register(recipe, version), *_plan_measures(known, version))
    return Plan(
        recipe=place,
        model=recipe.model_name,
        corpus=corpus.name,
        steps=steps,
        newest=f"{newest.name}/{newest.version}" if newest else None,
        changes=changes,
        gate=_gate_words(known, version),
        approver=_approver(recipe, requested_by),
        requested_by=requested_by,
    )


def _plan_tokens(known: _Known, tokens: TokensRef | None) -> PlanStep:
    if tokens is None:
        return known.runs("tokenize", f"{known.corpus.name} has no token files of this tokenizer yet", "tokenize")
    why = f"token files of {known.corpus.name} are there ({tokens.num_tokens:,} tokens)"
    return PlanStep(name="tokenize", reused=True, why=why, seconds=0.0)


def _plan_stages(
    known: _Known, tokens: TokensRef | None, checkpoint: CheckpointRef | None
) -> tuple[list[PlanStep], CheckpointRef | None]:
    """The steps of the recipe's stages, and the last checkpoint when it is there already; given is the start's."""
    steps: list[PlanStep] = []
    is_known = tokens is not None
    for number, given in enumerate(known.recipe.train):
        entry = with_seed(given, known.recipe)
        name = f"train.{number} {entry.name}"
        if not is_known or tokens is None:
            before = "the stage before it runs" if number else _why_train(known, number)
            steps.append(_timed(known, entry, name, before, done=0))
            checkpoint = None
            continue
        data = known_data(known.store, entry, tokens)
        if data is None:
            is_known, checkpoint = False, None
            steps.append(_timed(known, entry, name, "a corpus of its mixture has no token files yet", done=0))
            continue
        step, checkpoint = _plan_stage(known, entry, name, number, data, checkpoint)
        is_known = checkpoint is not None
        steps.append(step)
    return steps, checkpoint


def _plan_stage(
    known: _Known,
    entry: NamedConfig,
    name: str,
    number: int,
    data: TokensRef | MixtureRef,
    start: CheckpointRef | None,
) -> tuple[PlanStep, CheckpointRef | None]:
    digest = stage_fingerprint(entry, known.recipe, data, start)
    steps = list_steps(known.store, digest)
    if not steps:
        return _timed(known, entry, name, _why_train(known, number), done=0), None
    ref = checkpoint_ref(known.store, f"checkpoints/{digest}/{steps[0]:08d}")
    made = read_manifest(known.store, ref.key)
    if made.step < made.total_steps:
        why = f"continues at step {made.step:,} of {made.total_steps:,}, which an earlier start left"
        return _timed(known, entry, name, why, done=made.tokens_seen), None
    ended = history.run_of(known.store, ref.key)
    when = f" finished on {ended.finished:%Y-%m-%d %H:%M} UTC" if ended else ""
    why = f"same fingerprint: checkpoint of run {digest[:_SHORT]}{when}"
    return PlanStep(name=name, reused=True, why=why, seconds=0.0), ref


def _timed(known: _Known, entry: NamedConfig, name: str, why: str, *, done: int) -> PlanStep:
    """A stage that runs, with the time its tokens take at the speed of the newest run of its shape."""
    earlier = history.newest_of_shape(known.store, known.entries, resolved(entry), known.vocab_size)
    total = getattr(entry.config, "tokens", None)
    if earlier is None or total is None:
        basis = "not known: no earlier run of this shape"
        return PlanStep(name=name, reused=False, why=why, basis=basis)
    seconds = earlier.start_seconds + max(0, total - done) / earlier.tokens_per_second
    basis = (
        f"{max(0, total - done):,} tokens at {earlier.tokens_per_second:,.0f} tokens/s, as run "
        f"{earlier.fingerprint[:_SHORT]} of {earlier.finished:%Y-%m-%d}"
    )
    if earlier.start_seconds:
        basis += f", and {earlier.start_seconds:.0f} s to start"
    return PlanStep(name=name, reused=False, why=why, seconds=seconds, basis=basis)


def _why_train(known: _Known, number: int) -> str:
    """What a stage's fingerprint depends on and has changed."""
    if not known.versions:
        return f"{known.recipe.model_name} has no version yet"
    mine = [c for c in known.changes if c.startswith(("corpus ", "seed ", "tokenizer.", f"train.{number}."))]
    if mine:
        return "changed: " + "; ".join(mine)
    newest = known.versions[-1]
    return f"no checkpoint of this fingerprint, though nothing changed since {newest.name}/{newest.version}: other code"


def _registered(known: _Known, checkpoint: CheckpointRef | None) -> ModelVersion | None:
    """The version that the checkpoint is registered as."""
    if checkpoint is None:
        return None
    same = (v for v in known.versions if v.evidence.get("checkpoint") == checkpoint.manifest_sha256)
    return next(same, None)


def _plan_register(recipe: Recipe, version: ModelVersion | None) -> PlanStep:
    if version is None:
        why = f"the ledger gives the next number of {recipe.model_name}"
        return PlanStep(name="register", reused=False, why=why, seconds=0.0, basis="a ledger record")
    why = f"registered as {version.name}/{version.version} on {_day(version.registered)}"
    return PlanStep(name="register", reused=True, why=why, seconds=0.0)


def _plan_measures(known: _Known, version: ModelVersion | None) -> list[PlanStep]:
    """One step a suite, and the gate."""
    steps = []
    for suite in known.recipe.evaluate.suites:
        name = f"evaluate {suite}"
        options = known.recipe.evaluate.options.get(suite, {})
        held_out = f"{known.corpus.num_heldout:,} documents held out of {known.corpus.name}"
        if version is None:
            steps.append(known.runs(name, f"a new model, measured on {held_out}", "evaluate"))
            continue
        digest = evaluation_digest(version.evidence["checkpoint"], known.corpus, suite, options)
        if known.store.exists(f"evaluations/{digest}.json"):
            why = f"{version.name}/{version.version} was measured on {held_out}"
            steps.append(PlanStep(name=name, reused=True, why=why, seconds=0.0))
        else:
            steps.append(
                known.runs(name, f"{version.name}/{version.version} was not yet measured on these", "evaluate")
            )
    return [*steps, _plan_gate(known, version)]


def _plan_gate(known: _Known, version: ModelVersion | None) -> PlanStep:
    champion = known.champion
    if champion is None or (version is not None and version.version == champion.version):
        why = "decides from the numbers; no other model to measure"
        return PlanStep(name="gate", reused=version is not None and _was_gated(known, version), why=why, seconds=0.0)
    suite = known.recipe.evaluate.suites[0]
    both = _held_out_for_both(known, champion)
    if both is not None:
        digest = evaluation_digest(
            champion.evidence["checkpoint"], known.corpus, suite, champion_options(known.recipe, suite), only=both
        )
        if not both or known.store.exists(f"evaluations/{digest}.json"):
            reused = version is not None and _was_gated(known, version)
            why = f"the numbers of {champion.name}/{champion.version} on these documents are there"
            return PlanStep(name="gate", reused=reused, why=why, seconds=0.0)
    return known.runs("gate", f"measures the champion {champion.name}/{champion.version} on the same documents", "gate")


def _was_gated(known: _Known, version: ModelVersion) -> bool:
    """Whether the version's newest verdict was against the champion of now."""
    champion = known.champion
    gated = [e for e in known.entries if e.verb == "gated" and e.subject == version.subject]
    if champion is not None and champion.version == version.version:
        return bool(gated)
    return bool(gated) and gated[-1].details.get("champion") == (champion.version if champion else None)


def _gate_words(known: _Known, version: ModelVersion | None) -> str:
    """What the gate will compare."""
    recipe, champion, corpus = known.recipe, known.champion, known.corpus
    gate, candidate = recipe.evaluate.gate, f"{version.name}/{version.version}" if version else "the candidate"
    if champion is None:
        return (
            f"FIRST: {recipe.model_name} has no champion, so {candidate} is set beside the baselines on "
            f"{corpus.num_heldout:,} documents held out of {corpus.name}"
        )
    against = f"{champion.name}/{champion.version} (champion)"
    if version is not None and version.version == champion.version:
        return f"{against} is what this recipe gives: its standing verdict holds"
    both = _held_out_for_both(known, champion)
    count = f"{len(both):,} documents" if both is not None else "the documents"
    words = (
        f"{candidate} against {against} on {count} held out for both {corpus.name} and "
        f"{champion.details['corpus']}; at most {gate.margin_bits_per_byte:g} bits per byte worse passes "
        f"({1 - gate.alpha:.0%} interval)"
    )
    if both is not None and len(both) < gate.min_documents:
        words += f"; fewer than {gate.min_documents} documents are not judged: the verdict will be INCONCLUSIVE"
    return words


def _held_out_for_both(known: _Known, champion: ModelVersion) -> frozenset[str] | None:
    """Ids of the documents held out of both corpus versions; None when there are too many to count here."""
    name, number = manifest.find(known.store, champion.details["corpus"])
    theirs = manifest.read(known.store, name, number)
    if known.corpus.num_heldout + manifest.ref_of(theirs, number).num_heldout > _MAX_COUNTED:
        return None
    return _held_out(known.store, known.found) & _held_out(known.store, theirs)


def _held_out(store: Store, found: Manifest) -> frozenset[str]:
    shards = [f"shards/{s.sha256}.parquet" for s in found.identity.shards if s.split == "heldout"]
    tables = [read_table(store, key, columns=["doc_id"]) for key in shards]
    return frozenset(doc_id.hex() for table in tables for doc_id in table["doc_id"].to_pylist())


def _approver(recipe: Recipe, requested_by: str) -> str:
    if recipe.approval == "four_eyes":
        return f"a person other than {requested_by or 'the one who asks'} (four eyes)"
    return "any named person"


def _changes(store: Store, recipe: Recipe, corpus: CorpusRef, found: Manifest, newest: ModelVersion) -> tuple[str, ...]:
    """What differs from the model's newest version: corpus, values of the recipe, code."""
    changes = []
    before = str(newest.details["corpus"])
    if newest.evidence.get("corpus_root_digest") != corpus.root_digest:
        name, number = manifest.find(store, before)
        added, removed = retraining.document_changes(store, found, manifest.read(store, name, number))
        changes.append(f"corpus {before} -> {corpus.name} (+{added:,} documents, -{removed:,})")
    old, new = flat(newest.details.get("recipe") or {}), flat(public_recipe(recipe))
    for path in sorted(old.keys() | new.keys()):
        if path.split(".")[0] in _READ_SECTIONS and old.get(path) != new.get(path):
            changes.append(f"{path} {_value(old, path)} -> {_value(new, path)}")
    code = (newest.details.get("code") or {}).get("commit", "")
    now = code_revision()["commit"]
    if code != now:
        changes.append(f"code {code[:_SHORT] or 'unknown'} -> {now[:_SHORT] or 'unknown'}")
    return tuple(changes)


def _value(values: Mapping[str, Any], path: str) -> str:
    if path not in values:
        return "unset"
    value = values[path]
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _day(entry: Entry) -> str:
    return f"{datetime.fromisoformat(entry.time):%Y-%m-%d}"
