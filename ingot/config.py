"""Recipes: what to do. Read from YAML, overridden with `--set path=value`, checked key by key.

An unknown or wrong key is refused with its path, the value and the nearest known name. Values are
typed by their schema before they are hashed, so `1` and `1.0` of a float field are one value.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ingot import registry
from ingot.digests import digest_of, without_none
from ingot.errors import NotFoundError, RecipeError

_NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Scope(_Section):
    """Where a rule applies; a document outside it is not judged by the rule."""

    source: list[str] | str | None = Field(default=None, description="Source names.")
    language: list[str] | str | None = Field(default=None, description="ISO 639-1 codes.")
    media: list[str] | str | None = Field(default=None, description="Media types, e.g. text/markdown.")


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


class TokenizerConfig(_Section):
    """The byte-level BPE tokenizer trained on the corpus version's training split."""

    vocab_size: int = Field(default=4096, ge=258, le=1 << 20, description="Entries, special tokens included.")
    max_training_bytes: int = Field(default=64 << 20, ge=1024, description="Bytes of text the merges are learnt from.")


class GateSection(_Section):
    """What a candidate must show before it may be promoted."""

    min_documents: int = Field(default=30, ge=2, description="Documents held out for both models, at the least.")
    margin_bits_per_byte: float = Field(default=0.01, ge=-8, le=8, description="So much worse is still accepted.")
    alpha: float = Field(default=0.05, gt=0.0, lt=0.5, description="1 - level of the two-sided interval.")


class Evaluate(_Section):
    """Suites a model is measured with."""

    suites: list[str] = Field(default_factory=lambda: ["heldout"], description="Suite names.")
    options: dict[str, dict[str, Any]] = Field(default_factory=dict, description="Options per suite.")
    gate: GateSection = Field(default_factory=GateSection)


class Recipe(BaseModel):
    """A recipe as read: every section with its defaults filled in."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    corpus: str = Field(pattern=_NAME, description="Name of the corpus.")
    model: str | None = Field(default=None, pattern=_NAME, description="Name of the model; the corpus's when absent.")
    seed: int = Field(default=0, ge=0, description="Where all randomness starts.")
    sources: list[Any] = Field(min_length=1)
    rules: list[Any] = Field(default_factory=list)
    dedup: Dedup = Field(default_factory=Dedup)
    heldout: HeldOut = Field(default_factory=HeldOut)
    shards: ShardLayout = Field(default_factory=ShardLayout)
    tokenizer: TokenizerConfig = Field(default_factory=TokenizerConfig)
    train: list[Any] = Field(default_factory=list)
    evaluate: Evaluate = Field(default_factory=Evaluate)

    @property
    def model_name(self) -> str:
        """The registered model's name."""
        return self.model or self.corpus

    @field_validator("sources", mode="before")
    @classmethod
    def _sources(cls, entries: Any) -> list[Any]:
        return [_named_entry(e, "source", "folder", i) for i, e in enumerate(_entries(entries, "sources"))]

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
                raise _Refused(f"{what}: {', '.join(twice)} appears twice; {remedy}")
        return self


class NamedConfig(BaseModel):
    """A source or stage by name, with its checked configuration."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    kind: Literal["source", "stage"]
    name: str
    config: Any


class _Refused(ValueError):
    """A refusal whose message is already complete."""


def _entries(value: Any, section: str) -> list[Any]:
    if not isinstance(value, list):
        raise _Refused(f"{section} is {type(value).__name__}; write a list, one '- ' entry each")
    return value


def _named_entry(entry: Any, kind: Literal["source", "stage"], example: str, index: int) -> NamedConfig:
    if isinstance(entry, NamedConfig):
        return entry
    if not isinstance(entry, Mapping) or not isinstance(entry.get(kind), str):
        raise _Refused(f"{index}: {_what_it_is(entry)}; write '- {kind}: {example}' with its options below")
    values = {key: value for key, value in entry.items() if key != kind}
    module = registry.load(kind, entry[kind])
    config = _validate(module.Config, values, f"{index} ({kind} {entry[kind]})")
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
        raise _Refused(f"{index}: {_what_it_is(entry)}; write '- rule: language' with its options below")
    values = {key: value for key, value in entry.items() if key not in ("rule", "id", "when")}
    name = entry["rule"]
    module = registry.load("rule", name)
    place = f"{index} (rule {name})"
    when = _validate(Scope, entry["when"], f"{place}.when") if entry.get("when") is not None else None
    config = _validate(module.Config, values, place)
    # An empty scope is none: `when: {}` is the same recipe as no `when`.
    return RuleEntry(rule=name, id=str(entry.get("id") or name), when=when if when != Scope() else None, config=config)


def _validate(model: type[BaseModel], values: Any, where: str) -> Any:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _Refused(_explain(error, model, where)) from None


def _explain(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """The first fault: its path, the value, and what to write instead."""
    fault = error.errors(include_url=False)[0]
    path = ".".join([where, *(str(part) for part in fault["loc"])]).strip(".")
    if fault["type"] == "extra_forbidden":
        key = str(fault["loc"][-1])
        known = _fields_at(model, fault["loc"][:-1])
        near = get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"{path}: unknown key (value {_shown(path, fault['input'])}); {hint}known: {', '.join(known)}"
    if fault["type"] == "missing":
        return f"{path}: required and not given"
    inner = fault.get("ctx", {}).get("error")
    if isinstance(inner, _Refused | RecipeError):
        if str(inner)[:1].isdecimal():
            return f"{path}.{inner}"
        return f"{path}: {inner}" if path else str(inner)
    return f"{path}: {fault['msg']} (value {_shown(path, fault['input'])})"


_SECRET_KEY = re.compile(r"passw|secret|credential|token$|api_?key|access_?key", re.IGNORECASE)


def _shown(path: str, value: Any) -> str:
    """A refused value as a message may show it: secrets masked, long ones cut."""
    if _SECRET_KEY.search(path.rsplit(".", 1)[-1]):
        return "not shown"
    if isinstance(value, Mapping):
        return f"a mapping of {', '.join(map(str, value)) or 'nothing'}"
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in value):
        return f"a list of {len(value)}"
    text = re.sub(r"(://)[^/@\s]*@", r"\1***@", repr(value))
    return text if len(text) <= 200 else f"{text[:200]}..."


def _fields_at(model: type[BaseModel], path: Sequence[Any]) -> list[str]:
    current: Any = model
    for part in path:
        field = getattr(current, "model_fields", {}).get(part)
        if field is None:
            continue
        current = next(
            (a for a in getattr(field.annotation, "__args__", (field.annotation,)) if hasattr(a, "model_fields")),
            field.annotation,
        )
    return sorted(getattr(current, "model_fields", {}))


def parse_recipe(values: Mapping[str, Any]) -> Recipe:
    """Check a recipe given as plain values; raises RecipeError naming the first wrong key."""
    for path, number in _numbers(values, ""):
        if not math.isfinite(number):
            raise RecipeError(f"{path}: {number} is not a number a recipe may hold; give a finite one or leave it out")
    try:
        return Recipe.model_validate(dict(values))
    except ValidationError as error:
        raise RecipeError(_explain(error, Recipe, "")) from None


def _numbers(value: Any, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _numbers(item, f"{path}.{index}")


def load_recipe(path: str | Path, overrides: Mapping[str, str] | None = None) -> Recipe:
    """Read a recipe file and apply overrides such as {"train.0.tokens": "200_000"}.

    A bare name is looked up among the shipped recipes and in `$INGOT_WORKSPACE/recipes`.
    """
    file = _find_recipe(str(path))
    try:
        values = yaml.load(file.read_text(), Loader=_loader())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {file} is not YAML: {error}; mend the line it names") from None
    if not isinstance(values, Mapping):
        raise RecipeError(f"recipe {file} holds {type(values).__name__}; write 'corpus:', 'sources:' and the rest")
    return parse_recipe(apply_overrides(dict(values), overrides or {}))


def _find_recipe(name: str) -> Path:
    path = Path(name).expanduser()
    if path.is_dir() and (path / "recipe.yaml").is_file():
        return path / "recipe.yaml"
    if path.is_file():
        return path
    shipped = Path(__file__).resolve().parent.parent / "recipes"
    folders = [Path(os.environ["INGOT_WORKSPACE"]) / "recipes"] if os.environ.get("INGOT_WORKSPACE") else []
    for folder in [*folders, shipped]:
        for candidate in (folder / name, folder / f"{name}.yaml"):
            if candidate.is_file():
                return candidate
    known = ", ".join(sorted(p.stem for p in shipped.glob("*.yaml")))
    raise NotFoundError(f"recipe {name!r} does not exist; give a file, or one of: {known}")


@lru_cache(maxsize=1)
def _loader() -> type[yaml.SafeLoader]:
    """Safe YAML that refuses a key written twice and keeps dates as text."""

    class Loader(yaml.SafeLoader):
        pass

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
        seen: list[Any] = []
        for key_node, _ in node.value:
            key = loader.construct_object(key_node)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise RecipeError(f"key {key!r} is written twice, again at line {line}; keep one")
            seen.append(key)
        return loader.construct_mapping(node, deep=True)

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda loader, node: str(node.value))
    return Loader


def apply_overrides(values: dict[str, Any], overrides: Mapping[str, str]) -> dict[str, Any]:
    """Set dotted paths to YAML values; list entries by index or by the name of a source, rule or stage."""
    for path, text in overrides.items():
        try:
            value = yaml.load(text, Loader=_loader()) if isinstance(text, str) else text
        except yaml.YAMLError:
            raise RecipeError(f"--set {path}: {_shown(path, text)} is not a YAML value; quote it") from None
        _set(values, path.split("."), value, path)
    return values


def _set(node: Any, parts: list[str], value: Any, path: str) -> None:
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(node, list):
            index = _index(node, part, path)
            if last:
                node[index] = value
            else:
                node = node[index]
        elif isinstance(node, dict):
            if last:
                node[part] = value
            else:
                node = node.setdefault(part, {})
        else:
            where = ".".join(parts[:depth])
            raise RecipeError(f"--set {path}: {where} is {_shown(where, node)} and has nothing below it")


def _index(node: list[Any], part: str, path: str) -> int:
    if part.isdecimal() and int(part) < len(node):
        return int(part)
    labels = [_label(entry) for entry in node]
    if part in labels:
        return labels.index(part)
    raise RecipeError(f"--set {path}: no entry {part!r}; there are {len(node)}: {', '.join(filter(None, labels))}")


def _label(entry: Any) -> str:
    keys = ("id", "name", "rule", "stage", "source")
    return next((str(entry[key]) for key in keys if key in entry), "") if isinstance(entry, dict) else ""


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


def recipe_digest(recipe: Recipe) -> str:
    """SHA-256 of the resolved recipe without places (a source's uri is a place)."""
    values = resolved(recipe)
    values["sources"] = [{k: v for k, v in source.items() if k != "uri"} for source in values["sources"]]
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
