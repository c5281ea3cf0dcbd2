"""Recipes: what to do, checked key by key; `ingot.recipe_files` reads them from YAML.

An unknown or wrong key is refused with its path, the value and the nearest known name, before anything
is started. Values are typed by their schema before they are hashed, so `1` and `1.0` of a float field
are one value.
"""

import math
import re
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ingot import registry
from ingot.digests import digest_of, without_none
from ingot.errors import RecipeError
from ingot.overrides import RULE as OVERRIDE_RULE
from ingot.overrides import Override
from ingot.recipe_errors import Refused, explain, validate

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
"""What a corpus or a model may be called."""

RESERVED_RULE_IDS = ("analysis", "edits", "dedup.near", "heldout", OVERRIDE_RULE)
"""Decisions that no rule of a recipe takes stand under these names in the records."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Scope(_Section):
    """Where a rule applies; a document outside it is not judged by the rule."""

    source: list[str] | str | None = Field(default=None, description="Source names.")
    language: list[str] | str | None = Field(default=None, description="ISO 639-1 codes.")
    media: list[str] | str | None = Field(default=None, description="Media types, e.g. text/markdown.")

    @model_validator(mode="after")
    def _can_match(self) -> "Scope":
        for field, names in self.named().items():
            if not names:
                raise Refused("an empty list, which no document can match; name one, or leave it out", field)
            for name in names:
                if field == "language" and not re.fullmatch(r"[a-z]{2,3}", name):
                    raise Refused(f"{name!r} is no language code; write ISO 639 in lower case: en, de, pt", field)
                if field == "media" and not re.fullmatch(r"[^/\s]+/[^/\s]+", name):
                    raise Refused(f"{name!r} is no media type; write one such as text/markdown", field)
        return self

    def named(self) -> dict[str, list[str]]:
        """What is restricted, and to which names."""
        given = {"source": self.source, "language": self.language, "media": self.media}
        return {key: [value] if isinstance(value, str) else value for key, value in given.items() if value is not None}


class RuleEntry(BaseModel):
    """One `- rule: <name>` of a recipe; `config` is the rule's own, checked by the rule."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    rule: str
    id: str
    when: Scope | None
    config: Any


class HeldOut(_Section):
    """The share of documents that no model trains on, for evaluation."""

    share: float = Field(default=0.02, ge=0.0, le=0.5, description="Share of eligible documents drawn.")


class NearDedup(_Section):
    """Near-duplicate policy."""

    threshold: float = Field(default=0.8, ge=0.5, le=1.0, description="Jaccard of word 5-grams from which two are one.")
    keep_translations: bool = Field(default=True, description="Same family in another language is never a duplicate.")
    newest_version_only: bool = Field(default=False, description="Of a versioned page, keep only the newest version.")
    prefer_newest: bool = Field(
        default=False, description="Prefer the newest stated date when choosing the one to keep."
    )


class Dedup(_Section):
    """Deduplication; exact copies always collapse, because a text has one id."""

    near: NearDedup | None = Field(default_factory=NearDedup, description="Null turns near-duplicates off.")


class ShardLayout(_Section):
    """How a corpus version is cut into shards."""

    max_shard_bytes: int = Field(default=64 << 20, ge=1024, description="Bytes of text after which a shard is cut.")
    cut_bits: int = Field(default=12, ge=0, le=32, description="A shard ends after one document in 2^cut_bits.")


class Bounds(_Section):
    """Between which shares something must lie."""

    min: float = Field(default=0.0, ge=0.0, le=1.0, description="The least.")
    max: float = Field(default=1.0, ge=0.0, le=1.0, description="The most.")

    @model_validator(mode="after")
    def _in_order(self) -> "Bounds":
        if self.min > self.max:
            raise Refused(f"{self.min:g} is above max ({self.max:g}), which nothing can meet; swap them", "min")
        return self


def _always(config: Any) -> bool:
    return True


class Expectations(_Section):
    """What a version must hold to be published; one that does not is put under `held/` and changes nothing."""

    min_documents: int = Field(default=1, ge=0, description="Documents kept and held out, at the least.")
    max_lost_share: float = Field(
        default=0.5, ge=0.0, le=1.0,
        description="Share of a source's documents that may be gone since the last version (asked from 100 on).",
    )  # fmt: skip
    max_growth: float = Field(
        default=10.0, gt=1.0, description="So many times a source's documents of the last version (asked from 100 on)."
    )
    max_drop_rate: dict[str, float] = Field(
        default_factory=dict, description="By rule id: share of the documents it judges that it may drop, e.g. 0.3."
    )
    languages: dict[str, Bounds] = Field(
        default_factory=dict, description="By language code: its share of the documents kept, e.g. {de: {min: 0.2}}."
    )
    max_duplicate_rate: float | None = Field(
        default=None, ge=0.0, le=1.0, description="Share of places whose text stands elsewhere too, or nearly so."
    )
    max_hits_per_document: dict[str, float] = Field(
        default_factory=dict, description="By id of a rule that edits: places it finds per document, e.g. {pii: 0.5}."
    )
    min_bytes: int | None = Field(default=None, ge=0, description="Bytes of text kept, before edits.")
    min_tokens: int | None = Field(
        default=None, ge=0, description="Tokens of text kept, before edits, at bytes_per_token bytes each."
    )
    max_tokens: int | None = Field(default=None, ge=0, description="As min_tokens, at the most.")
    bytes_per_token: float = Field(
        default=4.0, gt=0.0,
        description="For min_tokens and max_tokens, because a version is judged before it is tokenized; about 4 for "
        "English prose and a large vocabulary, and `ingot plan` tells that of tokens that exist.",
    )  # fmt: skip
    max_drift: float | None = Field(
        default=None, gt=0.0,
        description="Population stability index of each stored distribution against the last version: below 0.1 is no "
        "change, above 0.25 a large one (asked from 100 documents on).",
    )  # fmt: skip
    max_share_change: float | None = Field(
        default=None, gt=0.0, le=1.0,
        description="By how much the share of a language or source among the documents kept may differ from the last "
        "version's (asked from 100 documents on).",
    )  # fmt: skip

    @model_validator(mode="after")
    def _can_be_met(self) -> "Expectations":
        if self.min_tokens is not None and self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise Refused(
                f"{self.min_tokens:,} is above max_tokens ({self.max_tokens:,}), which nothing can meet; swap them",
                "min_tokens",
            )
        for field, most in (("max_drop_rate", 1.0), ("max_hits_per_document", None)):
            for rule, value in getattr(self, field).items():
                if value < 0 or (most is not None and value > most):
                    raise Refused(f"{value:g} is no {'share' if most else 'number of places'}; give one from 0 on",
                                  f"{field}.{rule}")  # fmt: skip
        for language in self.languages:
            if not re.fullmatch(r"[a-z]{2,3}", language):
                raise Refused(f"{language!r} is no language code; write ISO 639: en, de, und", f"languages.{language}")
        return self


class TokenizerConfig(_Section):
    """The byte-level BPE tokenizer trained on the corpus version's training split, or one that is taken over."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, serialize_by_alias=True)

    vocab_size: int = Field(default=4096, ge=258, le=1 << 20, description="Entries, special tokens included.")
    max_training_bytes: int = Field(default=64 << 20, ge=1024, description="Bytes of text the merges are learnt from.")
    characters: Literal[True] | None = Field(
        default=None,
        description="True: no entry is longer than a character, so that a hole can begin and end anywhere (rare "
        "characters stay several bytes); unset: entries are pieces of words, which makes texts shorter.",
    )
    infill_lengths: int | None = Field(
        default=None,
        ge=0,
        le=256,
        description="Reserves the tokens of infilling, with one to state each length of a hole from 1 to so many "
        "characters; unset: none are reserved, because a model that never sees them only pays for them.",
    )

    from_: str | None = Field(
        default=None,
        alias="from",
        min_length=1,
        description="Take the tokenizer of an adopted model (adopted/base-1b) or of a model version (mini/3) over as "
        "it is; unset: one is trained on the corpus, whose words it then knows best.",
    )
    extend: str | None = Field(
        default=None,
        min_length=1,
        description="Take one over and add pieces learnt on the corpus; a model that starts with it gets their rows.",
    )
    add: int | None = Field(
        default=None, ge=1, le=1 << 20, description="Pieces to add at most, with `extend`; it has no default."
    )

    @model_validator(mode="after")
    def _says_one_thing(self) -> "TokenizerConfig":
        name = "from" if self.from_ is not None else "extend"
        if self.from_ is not None and self.extend is not None:
            raise Refused("from and extend both name a tokenizer; keep one", "extend")
        if self.extend is not None and self.add is None:
            raise Refused("extend says nothing of how many pieces; write e.g. add: 2000", "add")
        if self.extend is None and self.add is not None:
            raise Refused(f"add {self.add} belongs to extend; write extend: adopted/NAME, or take it out", "add")
        if self.from_ is not None or self.extend is not None:
            of_training = {"vocab_size", "characters", "infill_lengths"}
            of_training |= {"max_training_bytes"} if self.from_ is not None else set()
            if given := sorted(of_training & self.model_fields_set):
                told = ", ".join(given)
                raise Refused(f"{told} is of a tokenizer trained here, {name} takes one over; take it out", given[0])
        return self

    @model_validator(mode="after")
    def _has_room(self) -> "TokenizerConfig":
        least = 257 + (0 if self.infill_lengths is None else 3 + self.infill_lengths)
        if self.vocab_size < least:
            message = f"{self.vocab_size} has no room for 256 bytes and the special tokens; the least is {least}"
            raise Refused(message, "vocab_size")
        return self


class GateSection(_Section):
    """What a candidate must show before it may be promoted."""

    min_documents: int = Field(default=30, ge=2, description="Documents held out for both models, at the least.")
    margin_bits_per_byte: float = Field(default=0.01, ge=-8, le=8, description="So much worse is still accepted.")
    alpha: float = Field(default=0.05, gt=0.0, lt=0.5, description="1 - level of the two-sided interval.")


class Evaluate(_Section):
    """Suites a model is measured with."""

    suites: list[str] = Field(default_factory=lambda: ["heldout"], description="Suite names; the gate asks the first.")
    options: dict[str, dict[str, Any]] = Field(default_factory=dict, description="Options per suite.")
    gate: GateSection = Field(default_factory=GateSection)

    @model_validator(mode="after")
    def _suites_are_known(self) -> "Evaluate":
        if not self.suites:
            raise Refused("an empty list, so nothing would be measured; write [heldout]", "suites")
        for index, name in enumerate(self.suites):
            _module("suite", name, f"suites.{index}")
            if name in self.suites[:index]:
                raise Refused(f"suite {name!r} is named twice; keep one", f"suites.{index}")
        for name, options in self.options.items():
            module = _module("suite", name, "options")
            if name not in self.suites:
                raise Refused(f"suite {name!r} is not one of `suites`; add it there or take its options out", "options")
            validate(module.Config, options, f"options.{name}")
        return self


class Retrain(_Section):
    """When a newly published corpus version starts a retrain by itself; at least one of the two."""

    min_new_tokens: int | None = Field(default=None, gt=0, description="Tokens not in the newest model's corpus.")
    max_age_days: float | None = Field(default=None, gt=0, description="Age of the newest model, with new data there.")

    @model_validator(mode="after")
    def _says_when(self) -> "Retrain":
        if self.min_new_tokens is None and self.max_age_days is None:
            raise Refused("says neither min_new_tokens nor max_age_days; give one, or leave the section out")
        return self


class Recipe(BaseModel):
    """A recipe as read: every section with its defaults filled in."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    corpus: str = Field(pattern=NAME_PATTERN, description="Name of the corpus.")
    model: str | None = Field(
        default=None, pattern=NAME_PATTERN, description="Name of the model; the corpus's when absent."
    )
    seed: int = Field(default=0, ge=0, description="Where all randomness starts.")
    sources: list[Any] = Field(min_length=1)
    classifications: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Classes of documents from the most open to the strictest; unset: public, internal, confidential, "
        "secret. A class that is not named is stricter than all that are.",
    )
    rules: list[Any] = Field(default_factory=list)
    overrides: list[Override] | None = Field(
        default=None, description="What a person decided about single documents; applied last, against the rules."
    )
    dedup: Dedup = Field(default_factory=Dedup)
    heldout: HeldOut = Field(default_factory=HeldOut)
    expectations: Expectations = Field(default_factory=Expectations)
    shards: ShardLayout = Field(default_factory=ShardLayout)
    tokenizer: TokenizerConfig = Field(default_factory=TokenizerConfig)
    train: list[Any] = Field(default_factory=list)
    evaluate: Evaluate = Field(default_factory=Evaluate)
    approval: Literal["four_eyes"] | None = Field(
        default=None, description="four_eyes: who asked for a model may not approve it; unset: may."
    )
    retrain: Retrain | None = Field(default=None, description="When new data starts a retrain; unset: only people do.")

    @property
    def model_name(self) -> str:
        """The registered model's name."""
        return self.model or self.corpus

    @field_validator("sources", mode="before")
    @classmethod
    def _sources(cls, entries: Any) -> list[Any]:
        return [_named_entry(e, "source", "folder", i) for i, e in enumerate(_entries(entries, "sources"))]

    @field_validator("classifications")
    @classmethod
    def _classes_differ(cls, names: list[str] | None) -> list[str] | None:
        plain = [" ".join(name.lower().split()) for name in names or ()]
        if "" in plain or "unknown" in plain or len(set(plain)) < len(plain):
            raise Refused("names a class twice, an empty one, or `unknown`, which is no class; list each class once")
        return plain if names is not None else None

    @field_validator("rules", mode="before")
    @classmethod
    def _rules(cls, entries: Any) -> list[Any]:
        return [_rule_entry(e, i) for i, e in enumerate(_entries(entries, "rules"))]

    @field_validator("train", mode="before")
    @classmethod
    def _train(cls, entries: Any) -> list[Any]:
        return [_named_entry(e, "stage", "pretrain", i) for i, e in enumerate(_entries(entries, "train"))]

    @model_validator(mode="after")
    def _unique_names(self) -> "Recipe":
        for what, ids in (
            ("sources", [s.config.name for s in self.sources]),
            ("rules", [r.id for r in self.rules]),
        ):
            twice = sorted({i for i in ids if ids.count(i) > 1})
            if twice:
                remedy = "give each an 'id'" if what == "rules" else "give each its own 'name'"
                raise Refused(f"{', '.join(twice)} appears twice; {remedy}", what)
        return self

    @model_validator(mode="after")
    def _scopes_name_sources(self) -> "Recipe":
        known = sorted(source.config.name for source in self.sources)
        for index, rule in enumerate(self.rules):
            for name in rule.when.named().get("source", []) if rule.when else []:
                if name not in known:
                    place = f"rules.{index} (rule {rule.rule}).when.source"
                    raise Refused(f"{name!r} is no source of this recipe; its sources: {', '.join(known)}", place)
        for index, override in enumerate(self.overrides or []):
            if override.source is not None and override.source not in known:
                message = f"{override.source!r} is no source of this recipe; its sources: {', '.join(known)}"
                raise Refused(message, f"overrides.{index}.source")
        return self

    @model_validator(mode="after")
    def _expectations_name_rules(self) -> "Recipe":
        known = [rule.id for rule in self.rules]
        for field in ("max_drop_rate", "max_hits_per_document"):
            for name in getattr(self.expectations, field):
                if name not in known:
                    told = ", ".join(known) or "none"
                    raise Refused(f"{name!r} is no rule of this recipe; its rules: {told}", f"expectations.{field}")
        for rule in self.rules:
            module = registry.load("rule", rule.rule)
            # What a rule's options make impossible it says in `edits` and `drops`: such an expectation never fires.
            edits = module.KIND == "span" and getattr(module, "edits", _always)(rule.config)
            if rule.id in self.expectations.max_hits_per_document and not edits:
                place = f"expectations.max_hits_per_document.{rule.id}"
                message = f"rule {rule.rule} finds no places in a text to edit, with its options; name one such as pii"
                raise Refused(message, place)
            if rule.id in self.expectations.max_drop_rate and not getattr(module, "drops", _always)(rule.config):
                place = f"expectations.max_drop_rate.{rule.id}"
                message = f"rule {rule.rule} drops nothing with its options; ask with max_hits_per_document"
                raise Refused(message, place)
        return self

    @model_validator(mode="after")
    def _stages_can_run(self) -> "Recipe":
        """What a stage can say of its options only when it knows the vocabulary: its `check`, else its `plan`."""
        takes_over = bool(self.train) and getattr(self.train[0].config, "start", None) is not None
        for index, stage in enumerate(self.train):
            module = registry.load("stage", stage.name)
            start = getattr(stage.config, "start", None)
            has_shape = getattr(stage.config, "model", start) is not None
            if index and start is not None:
                place = f"train.{index} (stage {stage.name}).start"
                raise Refused("a later stage starts from the one before it; take it out, or make it the first", place)
            if not index and start is None and (getattr(module, "NEEDS_START", False) or not has_shape):
                place = f"train.{index} (stage {stage.name})"
                other = "put a stage before it" if has_shape or getattr(module, "NEEDS_START", False) else "a model"
                raise Refused(f"the first stage has nothing to start from; write 'start: mini/3', or {other}", place)
            reserves = takes_over or self.tokenizer.infill_lengths is not None
            if getattr(module, "NEEDS_INFILL_TOKENS", False) and not reserves:
                message = "unset, and the stage writes tokens around holes that it reserves; set it, for example to 20"
                raise Refused(f"stage {stage.name}: {message}", "tokenizer.infill_lengths")
            check = getattr(module, "check", None) or getattr(module, "plan", None)
            if check is not None:
                try:
                    check(stage.config, self.tokenizer.vocab_size)
                except ValueError as error:
                    raise Refused(str(error), f"train.{index} (stage {stage.name})") from None
        return self


class NamedConfig(BaseModel):
    """A source or stage by name, with its checked configuration."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    kind: Literal["source", "stage"]
    name: str
    config: Any


def _module(kind: str, name: str, place: str) -> ModuleType:
    """The module behind a name, refused with its place in the recipe when there is none."""
    try:
        return registry.load(kind, name)
    except RecipeError as error:
        raise Refused(str(error), place) from None


def _entries(value: Any, section: str) -> list[Any]:
    if not isinstance(value, list):
        raise Refused(f"{section} is {type(value).__name__}; write a list, one '- ' entry each")
    return value


def _named_entry(entry: Any, kind: Literal["source", "stage"], example: str, index: int) -> NamedConfig:
    if isinstance(entry, NamedConfig):
        return entry
    if not isinstance(entry, Mapping) or not isinstance(entry.get(kind), str):
        raise Refused(f"{_what_it_is(entry)}; write '- {kind}: {example}' with its options below", str(index))
    values = {key: value for key, value in entry.items() if key != kind}
    module = _module(kind, entry[kind], str(index))
    config = validate(module.Config, values, f"{index} ({kind} {entry[kind]})")
    return NamedConfig(kind=kind, name=entry[kind], config=config)


def _what_it_is(entry: Any) -> str:
    """An entry in words, by its keys only: a value may hold a password."""
    if isinstance(entry, Mapping):
        return f"an entry has the keys {', '.join(map(str, entry)) or 'none'}"
    return f"an entry is a {type(entry).__name__}"


def _rule_entry(entry: Any, index: int) -> RuleEntry:
    if isinstance(entry, RuleEntry):
        return entry
    if not isinstance(entry, Mapping) or not isinstance(entry.get("rule"), str):
        raise Refused(f"{_what_it_is(entry)}; write '- rule: language' with its options below", str(index))
    values = {key: value for key, value in entry.items() if key not in ("rule", "id", "when")}
    name = entry["rule"]
    module = _module("rule", name, str(index))
    place = f"{index} (rule {name})"
    rule_id = str(entry.get("id") or name)
    if rule_id in RESERVED_RULE_IDS:
        raise Refused(f"{rule_id!r} is a name of Ingot's own decisions; give another id", f"{place}.id")
    when = validate(Scope, entry["when"], f"{place}.when") if entry.get("when") is not None else None
    config = validate(module.Config, values, place)
    # An empty scope is none: `when: {}` is the same recipe as no `when`.
    return RuleEntry(rule=name, id=rule_id, when=when if when != Scope() else None, config=config)


def parse_rule(values: Mapping[str, Any]) -> RuleEntry:
    """One rule as a version's manifest states it; raises RecipeError when this Ingot cannot read it."""
    try:
        return _rule_entry(dict(values), 0)
    except (ValueError, LookupError) as error:
        raise RecipeError(f"rule {values.get('id') or values.get('rule')!r} cannot be read: {error}") from None


def parse_recipe(values: Mapping[str, Any]) -> Recipe:
    """Check a recipe given as plain values; raises RecipeError naming the first wrong key."""
    for path, number in _numbers(values, ""):
        if not math.isfinite(number):
            raise RecipeError(f"{path}: {number} is not a number a recipe may hold; give a finite one or leave it out")
    try:
        return Recipe.model_validate(dict(values))
    except ValidationError as error:
        raise RecipeError(explain(error, Recipe)) from None


def _numbers(value: Any, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _numbers(item, f"{path}.{index}")


def resolved(value: Any) -> Any:
    """A recipe section as plain JSON values with its defaults, without what is unset."""
    if isinstance(value, NamedConfig):
        return {value.kind: value.name, **resolved(value.config)}
    if isinstance(value, RuleEntry):
        when = {"when": resolved(value.when)} if value.when else {}
        return {"rule": value.rule, "id": value.id, **when, **resolved(value.config)}
    if isinstance(value, Recipe):
        fields = {name: getattr(value, name) for name in Recipe.model_fields}
        return {name: resolved(field) for name, field in fields.items() if field is not None}
    if isinstance(value, BaseModel):
        return without_none(value.model_dump(mode="json"))
    if isinstance(value, list | tuple):
        return [resolved(item) for item in value]
    return value


def without_places(value: Any) -> Any:
    """Plain recipe values without any `uri`: a place is not part of an identity, what stands there is."""
    if isinstance(value, Mapping):
        return {key: without_places(item) for key, item in value.items() if key != "uri"}
    return [without_places(item) for item in value] if isinstance(value, list) else value


def recipe_digest(recipe: Recipe) -> str:
    """SHA-256 of the resolved recipe without places (a uri) and resources (a stage's gpus)."""
    values = resolved(recipe)
    values["train"] = [{k: v for k, v in stage.items() if k != "gpus"} for stage in values["train"]]
    values["sources"], values["rules"] = without_places(values["sources"]), without_places(values["rules"])
    return digest_of(values)


def recipe_json_schema() -> dict[str, Any]:
    """The JSON Schema of a recipe, with the options of every known source, rule and stage."""
    schema = Recipe.model_json_schema()
    definitions = schema.setdefault("$defs", {})
    for section, kind in (("sources", "source"), ("rules", "rule"), ("train", "stage")):
        choices = []
        for name in registry.names(kind):
            entry = registry.load(kind, name).Config.model_json_schema()
            definitions.update(entry.pop("$defs", {}))
            entry.setdefault("properties", {})[kind] = {"const": name}
            entry["required"] = [kind, *entry.get("required", [])]
            if kind == "rule":
                entry["properties"]["id"] = {"type": "string"}
                entry["properties"]["when"] = {"$ref": "#/$defs/Scope"}
            definitions[f"{kind}_{name}"] = entry
            choices.append({"$ref": f"#/$defs/{kind}_{name}"})
        schema["properties"][section]["items"] = {"oneOf": choices}
    definitions["Scope"] = Scope.model_json_schema()
    return schema
