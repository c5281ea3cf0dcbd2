"""A recipe is read key by key: what is wrong is named with its path, its value and what to write."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ingot import registry
from ingot.config import (
    Recipe,
    parse_recipe,
    recipe_digest,
    recipe_json_schema,
    resolved,
)
from ingot.errors import NotFoundError, RecipeError
from ingot.recipe_files import apply_overrides, find_recipe, flat, load_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
HOUSE_RULE = """
from pydantic import BaseModel, ConfigDict, Field
VERSION = "1"
KIND = "threshold"
class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    min_words: int = Field(default=50, description="Words a document needs.")
    ratio: float = Field(default=0.5, description="Share that must be letters.")
    since: str = Field(default="", description="A date.")
"""
YAML = """
corpus: handbook
sources:
  - source: folder
    name: wiki
    uri: /data/handbook
    include: ["**/*.md"]
    licence: internal
rules:
  - rule: house_style
    min_words: 40
  - rule: house_style
    id: strict
    when: {source: wiki, language: [en, de]}
    ratio: 0.9
tokenizer: {vocab_size: 1000}
train:
  - stage: pretrain
    model: {family: llama, layers: 2, width: 64}
    tokens: 600_000
"""


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An organisation's own rule and recipe, beside ours."""
    folder = tmp_path / "workspace"
    (folder / "rules").mkdir(parents=True)
    (folder / "recipes").mkdir()
    (folder / "rules/house_style.py").write_text(HOUSE_RULE)
    (folder / "recipes/handbook.yaml").write_text(YAML)
    monkeypatch.setenv("INGOT_WORKSPACE", str(folder))
    return folder


@pytest.fixture
def read(workspace: Path) -> Callable[..., Recipe]:
    """Load the recipe with overrides and, when given, other text."""

    def load(text: str = YAML, **overrides: str) -> Recipe:
        (workspace / "recipes/handbook.yaml").write_text(text)
        return load_recipe("handbook", {path.replace("__", "."): value for path, value in overrides.items()})

    return load


def values() -> dict[str, Any]:
    import yaml

    loaded: dict[str, Any] = yaml.safe_load(YAML)
    return loaded


def changed(path: str, value: Any) -> dict[str, Any]:
    """The recipe's values with one of them changed."""
    parts = path.split(".")
    result = node = values()
    for part in parts[:-1]:
        node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})  # type: ignore[unreachable]
    node[parts[-1]] = value
    return result


def test_a_recipe_is_read_with_every_default_filled_in(read: Callable[..., Recipe]) -> None:
    recipe = read()
    assert (recipe.corpus, recipe.model_name, recipe.seed) == ("handbook", "handbook", 0)
    assert recipe.heldout.share == 0.02
    assert recipe.dedup.near is not None and recipe.dedup.near.threshold == 0.8
    assert [entry.id for entry in recipe.rules] == ["house_style", "strict"]
    assert recipe.rules[0].config.min_words == 40 and recipe.rules[1].config.min_words == 50
    assert recipe.rules[1].when is not None and recipe.rules[1].when.language == ["en", "de"]
    assert recipe.train[0].config.tokens == 600_000
    assert recipe.evaluate.suites == ["heldout"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("corpos", "x", r"^corpos: unknown key \(value 'x'\); did you mean corpus\? known: approval, classific"),
        ("heldout.shar", 0.1, r"^heldout\.shar: unknown key \(value 0\.1\); did you mean share\? known: share$"),
        ("dedup.near.treshold", 1, r"^dedup\.near\.treshold: unknown key .* did you mean threshold\?"),
        ("sources.0.inclde", ["*"], r"^sources\.0 \(source folder\)\.inclde: unknown key .* did you mean include\?"),
        (
            "rules.1.min_word",
            3,
            r"^rules\.1 \(rule house_style\)\.min_word: unknown key \(value 3\); did you mean min_words\?",
        ),
        ("rules.1.when.lang", "en", r"^rules\.1 \(rule house_style\)\.when\.lang: unknown key"),
        (
            "train.0.model.width_",
            3,
            r"^train\.0 \(stage pretrain\)\.model\.width_: unknown key .* did you mean width\?",
        ),
        ("train.0.zzz", 3, r"^train\.0 \(stage pretrain\)\.zzz: unknown key \(value 3\); known: "),
        ("sources.0.source", "foldr", r"^sources\.0: source 'foldr' is unknown; did you mean folder\? known: .*folder"),
        ("rules.0.rule", "house_stile", r"^rules\.0: rule 'house_stile' is unknown; did you mean house_style\?"),
        ("train.0.stage", "pretrian", r"^train\.0: stage 'pretrian' is unknown; did you mean pretrain\?"),
    ],
)
def test_an_unknown_key_or_name_is_refused_with_its_path_and_the_nearest_one(
    path: str, value: Any, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_recipe(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("heldout.share", "much", r"^heldout\.share: .*valid number.* \(value 'much'\)"),
        ("heldout.share", 0.7, r"^heldout\.share: .*less than or equal to 0\.5 \(value 0\.7\)"),
        ("seed", 1.5, r"^seed: .*integer.* \(value 1\.5\)"),
        (
            "corpus",
            "Hand Book",
            r"^corpus: allowed are a-z 0-9 _ -, the first one of a-z 0-9, at most 63 characters "
            r"\(value 'Hand Book'\)$",
        ),
        ("tokenizer", 3, r"^tokenizer: .*\(value 3\)"),
        ("sources", {}, r"^sources: sources is dict; write a list"),
        ("sources", [], r"^sources: "),
        ("sources", ["/data"], r"^sources\.0: an entry is a str; write '- source: folder'"),
        ("rules", [{"name": "x"}], r"^rules\.0: an entry has the keys name; write '- rule: language'"),
        ("train.0.tokens", -1, r"^train\.0 \(stage pretrain\)\.tokens: .*\(value -1\)"),
        ("train.0.batch_tokens", 1000, r"^train\.0 \(stage pretrain\): .*not a multiple of sequence_length"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path_and_the_value(path: str, value: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_recipe(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("evaluate.suites", ["heldot"], r"^evaluate\.suites\.0: suite 'heldot' is unknown; did you mean heldout\?"),
        ("evaluate.suites", [], r"^evaluate\.suites: an empty list, .* write \[heldout\]"),
        ("evaluate.suites", ["heldout", "heldout"], r"^evaluate\.suites\.1: suite 'heldout' is named twice"),
        ("evaluate.options", {"heldot": {}}, r"^evaluate\.options: suite 'heldot' is unknown; did you mean heldout\?"),
        (
            "evaluate.options.heldout",
            {"max_document": 3},
            r"^evaluate\.options\.heldout\.max_document: unknown key .* did you mean max_documents\?",
        ),
        ("evaluate.options.heldout", {"max_documents": 0}, r"^evaluate\.options\.heldout\.max_documents: .*value 0"),
        ("rules.0.when.source", "wki", r"^rules\.0 \(rule house_style\)\.when\.source: 'wki' is no source .* wiki$"),
        ("rules.0.when.source", [], r"^rules\.0 \(rule house_style\)\.when\.source: an empty list"),
        ("rules.0.when.language", "english", r"\.when\.language: 'english' is no language code; write ISO 639"),
        ("rules.0.when.language", ["en", "EN"], r"\.when\.language: 'EN' is no language code"),
        ("rules.0.when.language", False, r'\.when\.language: YAML reads no, .* in quotes: "no"'),
        ("rules.0.when.media", "markdown", r"\.when\.media: 'markdown' is no media type; write .* text/markdown"),
        ("rules.0.id", "dedup.near", r"^rules\.0 \(rule house_style\)\.id: 'dedup\.near' is a name of Ingot's own"),
        ("rules.0.id", "heldout", r"give another id"),
        (
            "train.0.warmup_steps",
            147,
            r"^train\.0 \(stage pretrain\): .*warmup_steps 147 leaves nothing of 147 steps; lower it",
        ),
        ("sources.0.include", ["[x"], r"^sources\.0 \(source folder\)\.include: glob '\[x' opens a '\['"),
        ("sources.0.exclude", ["/abs/*"], r"^sources\.0 \(source folder\)\.exclude: glob '/abs/\*' cannot match"),
    ],
)
def test_a_mistake_that_would_show_after_minutes_is_refused_when_reading(path: str, value: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_recipe(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("rules", [{"rule": "language", "keep": "en"}], r"^rules\.0 \(rule language\)\.keep: write a list: \[en\]"),
        ("sources.0.include", "**/*.md", r'\.include: write a list: \["\*\*/\*\.md"\]'),
        ("rules", [{"rule": "language", "keep": [False]}], r'keep\.0: YAML reads no, .*.* quotes: "no"'),
        ("corpus", 2024, r'^corpus: this is a number to YAML; write it in quotes: "2024"'),
        ("sources.0.name", "my wiki", r"\.name: allowed are A-Z a-z 0-9 \. _ -, the first one of A-Z a-z 0-9 \("),
        (
            "overrides",
            [{"uri": "a", "action": "keep", "reason": "short, needed", "author": "a"}],
            r"^overrides\.0\.reason: allowed are letters digits _ blank \. : / -, the first one of letters",
        ),
        ("dedup.near", False, r"^dedup\.near: false is no value here; write null to turn it off \(value False\)$"),
        ("train.0.grad_clip", False, r"\.grad_clip: false is no value here; write null to turn it off"),
        ("tokenizer", False, r"^tokenizer: write its options below it, one 'name: value' a line \(value False\)$"),
    ],
)
def test_a_common_mistake_is_answered_with_what_to_write(path: str, value: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_recipe(changed(path, value))


def test_options_of_a_suite_are_read_and_a_source_that_is_there_may_be_named() -> None:
    recipe = changed("evaluate.options.heldout", {"max_documents": 7})
    recipe["rules"][0]["when"] = {"source": ["wiki"], "language": "gsw", "media": ["text/x-rst"]}
    assert parse_recipe(recipe).evaluate.options == {"heldout": {"max_documents": 7}}


@pytest.mark.parametrize(
    "line",
    ["password: [hunter2", "password: *hunter2", "password: !hunter2 x", 'password: "hunter2', "a: b: hunter2",
     "password: hunter2\x07", "password: %hunter2"],
)  # fmt: skip
def test_a_line_that_is_not_yaml_is_named_by_number_and_never_shown(read: Callable[..., Recipe], line: str) -> None:
    with pytest.raises(RecipeError, match=r"handbook\.yaml is not YAML: ") as caught:
        read("corpus: handbook\n" + line + "\n")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_a_yaml_fault_tells_its_line_and_the_problem(read: Callable[..., Recipe]) -> None:
    with pytest.raises(RecipeError, match=r"is not YAML: line 2: mapping values are not allowed here; mend it there$"):
        read("corpus: handbook\nsources: a: b\n")


@pytest.mark.parametrize(
    ("uri", "place"),
    [("docs", "{folder}/docs"), ("../docs/", "{parent}/docs"), ("./a b#1", "{folder}/a b#1"), ("/data", "/data"),
     ("~/docs", "~/docs"), ("${DOCS}/x", "${DOCS}/x"), ("s3://bucket/docs", "s3://bucket/docs")],
)  # fmt: skip
def test_a_relative_place_is_relative_to_the_recipes_folder(workspace: Path, uri: str, place: str) -> None:
    (workspace / "recipe.yaml").write_text(YAML.replace("/data/handbook", json.dumps(uri)))
    recipe = load_recipe(workspace)
    expected = place.replace("{folder}", str(workspace)).replace("{parent}", str(workspace.parent))
    assert recipe.sources[0].config.uri == expected


def test_an_empty_folder_with_a_recipes_name_does_not_hide_the_recipe(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "handbook").mkdir()
    monkeypatch.chdir(workspace)
    assert find_recipe("handbook") == workspace / "recipes/handbook.yaml"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("corpus", r"^corpus: required and not given"),
        ("sources", r"^sources: required and not given"),
        ("sources.0.uri", r"^sources\.0 \(source folder\)\.uri: required and not given"),
        ("train.0.tokens", r"^train\.0 \(stage pretrain\)\.tokens: required and not given"),
    ],
)
def test_what_is_missing_is_named(path: str, message: str) -> None:
    *parents, last = path.split(".")
    recipe = values()
    node: Any = recipe
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node[part]
    del node[last]
    with pytest.raises(RecipeError, match=message):
        parse_recipe(recipe)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("path", ["heldout.share", "rules.0.ratio", "train.0.learning_rate", "evaluate.gate.alpha"])
def test_a_number_that_is_not_finite_is_refused_everywhere(path: str, number: float) -> None:
    with pytest.raises(RecipeError, match=rf"^{path}: (nan|-?inf) is not a number a recipe may hold"):
        parse_recipe(changed(path, number))


@pytest.mark.parametrize("written", [".nan", ".inf", "-.inf"])
def test_yaml_spellings_of_nan_are_refused(read: Callable[..., Recipe], written: str) -> None:
    with pytest.raises(RecipeError, match=r"^heldout\.share: "):
        read(heldout__share=written)


def test_one_and_one_point_zero_of_a_float_field_are_one_recipe() -> None:
    digests = {recipe_digest(parse_recipe(changed("rules.0.ratio", value))) for value in (1, 1.0)}
    assert len(digests) == 1
    assert recipe_digest(parse_recipe(changed("rules.0.ratio", 0.5))) not in digests
    assert len({recipe_digest(parse_recipe(changed("dedup.near.threshold", value))) for value in (1, 1.0)}) == 1


def test_a_default_written_out_is_the_same_recipe() -> None:
    assert recipe_digest(parse_recipe(changed("heldout.share", 0.02))) == recipe_digest(parse_recipe(values()))
    assert recipe_digest(parse_recipe(changed("train.0.learning_rate", None))) == recipe_digest(parse_recipe(values()))


def test_an_empty_scope_is_no_scope_and_a_wrong_one_is_refused() -> None:
    assert recipe_digest(parse_recipe(changed("rules.0.when", {}))) == recipe_digest(parse_recipe(values()))
    scopes: tuple[Any, ...] = ([], "", 0, "en")
    for scope in scopes:
        with pytest.raises(RecipeError, match=r"^rules\.0 \(rule house_style\)\.when: "):
            parse_recipe(changed("rules.0.when", scope))


def test_a_rule_of_ours_is_overridden_by_its_name(read: Callable[..., Recipe]) -> None:
    recipe = read(
        YAML.replace("rules:\n", "rules:\n  - rule: gopher_quality\n"), rules__gopher_quality__min_doc_words="30"
    )
    assert (recipe.rules[0].rule, recipe.rules[0].config.min_doc_words) == ("gopher_quality", 30)


def test_the_place_of_a_source_is_not_part_of_the_recipe_digest_and_its_name_is() -> None:
    digest = recipe_digest(parse_recipe(values()))
    assert recipe_digest(parse_recipe(changed("sources.0.uri", "s3://elsewhere/handbook"))) == digest
    renamed = changed("sources.0.name", "intranet")
    renamed["rules"][1]["when"]["source"] = "intranet"
    assert recipe_digest(parse_recipe(renamed)) != digest


def test_a_rule_twice_needs_an_id_and_a_source_twice_a_name() -> None:
    recipe = values()
    del recipe["rules"][1]["id"]
    with pytest.raises(RecipeError, match=r"rules: house_style appears twice; give each an 'id'"):
        parse_recipe(recipe)
    recipe = values()
    recipe["sources"].append(copy.deepcopy(recipe["sources"][0]))
    with pytest.raises(RecipeError, match=r"sources: wiki appears twice; give each its own 'name'"):
        parse_recipe(recipe)


def test_overrides_reach_list_entries_by_index_and_by_name(read: Callable[..., Recipe]) -> None:
    recipe = read(
        train__0__tokens="200_000", rules__house_style__min_words="30", rules__strict__ratio="1",
        sources__wiki__licence="public", train__pretrain__model__layers="3", heldout__share="0.1",
        dedup__near="null", corpus="other",
    )  # fmt: skip
    assert recipe.train[0].config.tokens == 200_000 and recipe.train[0].config.model.layers == 3
    assert [entry.config.min_words for entry in recipe.rules] == [30, 50]
    assert recipe.rules[1].config.ratio == 1.0
    assert recipe.sources[0].config.licence == "public"
    assert (recipe.heldout.share, recipe.dedup.near, recipe.corpus) == (0.1, None, "other")


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        (
            "rules.strickt.ratio",
            "1",
            r"--set rules\.strickt\.ratio: no entry 'strickt'; there are 2: house_style, strict",
        ),
        ("train.7.tokens", "1", r"--set train\.7\.tokens: no entry '7'; there are 1: pretrain"),
        ("train.²", "1", r"no entry '²'"),
        ("corpus.name", "x", r"--set corpus\.name: corpus is 'handbook' and has nothing below it"),
        ("heldout.share", "[1", r"--set heldout\.share: '\[1' is not a YAML value; quote it"),
        ("heldout.shaer", "0.1", r"heldout\.shaer: unknown key \(value 0\.1\); did you mean share\?"),
    ],
)
def test_an_override_that_reaches_nothing_is_refused(workspace: Path, path: str, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("handbook", {path: text})


def test_an_override_may_make_a_section_that_was_not_written() -> None:
    assert apply_overrides({}, {"dedup.near.threshold": "0.9"}) == {"dedup": {"near": {"threshold": 0.9}}}


def test_a_key_written_twice_is_refused_with_its_line(read: Callable[..., Recipe]) -> None:
    with pytest.raises(RecipeError, match=r"key 'corpus' is written twice, again at line 20; keep one"):
        read(YAML.lstrip() + "corpus: other\n")
    with pytest.raises(RecipeError, match=r"key 'uri' is written twice, again at line 6"):
        read(YAML.lstrip().replace("    include:", "    uri: /other\n    include:"))


def test_a_date_stays_text(read: Callable[..., Recipe]) -> None:
    recipe = read(rules__house_style__since="2026-01-02")
    assert recipe.rules[0].config.since == "2026-01-02"
    recipe = read(YAML.replace("min_words: 40", "since: 2026-01-02T03:04:05Z"))
    assert recipe.rules[0].config.since == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "is not YAML"), ("just words", "holds str; write 'corpus:'"), ("", "holds NoneType"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"), ("a: !!set {x}", "corpus: required"),
    ],
)  # fmt: skip
def test_what_is_no_recipe_is_refused(read: Callable[..., Recipe], text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read(text)


def test_a_recipe_is_found_by_path_by_folder_and_by_name(workspace: Path) -> None:
    (workspace / "recipe.yaml").write_text(YAML.replace("handbook", "from-folder"))
    assert load_recipe(workspace).corpus == "from-folder"
    assert load_recipe("handbook").corpus == load_recipe(workspace / "recipes/handbook.yaml").corpus == "handbook"
    with pytest.raises(NotFoundError, match="recipe 'handbok' does not exist; give a file, or one of:"):
        load_recipe("handbok")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("sources.0.uri", "s3://me:hunter2@bucket/docs"), ("sources.0.password", "hunter2"),
        ("sources.0.uri", {"password": "hunter2"}), ("sources.0", {"uri": "s3://me:hunter2@bucket/docs"}),
        ("sources.0.api_key", "hunter2"), ("corpus", "postgres://me:hunter2@host/db"),
    ],
)  # fmt: skip
def test_a_refused_recipe_never_shows_a_password(path: str, value: Any) -> None:
    recipe = values()
    if path == "sources.0":
        recipe["sources"][0] = value
    else:
        recipe = changed(path, value)
    with pytest.raises(RecipeError) as caught:
        parse_recipe(recipe)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_a_resolved_recipe_reads_back_as_itself() -> None:
    recipe = parse_recipe(values())
    again = parse_recipe(resolved(recipe))
    assert recipe_digest(again) == recipe_digest(recipe)
    assert resolved(again) == resolved(recipe)


def test_the_json_schema_accepts_what_the_reader_accepts_and_refuses_what_it_refuses() -> None:
    schema = recipe_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(values())
    for path, value in (("heldout.shar", 1), ("train.0.tokens", "many"), ("sources.0.source", "foldr"), ("corpus", 3)):
        assert not validator.is_valid(changed(path, value)), path
    assert {f"source_{name}" for name in registry.names("source")} <= schema["$defs"].keys()
    assert "rule_house_style" in schema["$defs"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_read_and_fits_the_schema(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    monkeypatch.delenv("INGOT_WORKSPACE")
    load_recipe(path)
    jsonschema.Draft202012Validator(recipe_json_schema()).validate(yaml.safe_load(path.read_text()))


def test_a_rule_of_the_workspace_that_cannot_be_loaded_is_named(workspace: Path) -> None:
    (workspace / "rules/broken.py").write_text("class Config: pass\n1 / 0\n")
    with pytest.raises(RecipeError, match=r"rule 'broken' of the workspace cannot be loaded: division by zero"):
        parse_recipe({**values(), "rules": [{"rule": "broken"}]})


def test_a_rule_of_the_workspace_has_a_digest_and_one_of_ours_has_none(workspace: Path) -> None:
    digest = registry.own_digest("rule", "house_style")
    (workspace / "rules/house_style.py").write_text(HOUSE_RULE + "# changed\n")
    assert digest is not None and registry.own_digest("rule", "house_style") != digest
    assert registry.own_digest("source", "folder") is None


def test_nested_values_are_named_by_their_path() -> None:
    assert flat({"train": [{"tokens": 5, "model": {"width": 2}}], "none": None}) == {
        "train.0.tokens": 5, "train.0.model.width": 2, "none": None,
    }  # fmt: skip
