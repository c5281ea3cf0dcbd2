"""Recipe files: found by path, folder or name, read from YAML, changed with `--set path=value`.

`ingot.config` says what a recipe may hold; this is how its text becomes values.
"""

import os
import re
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from ingot.config import Recipe, parse_recipe
from ingot.errors import NotFoundError, RecipeError
from ingot.overrides import in_force
from ingot.recipe_errors import shown


def load_recipe(
    path: str | Path, overrides: Mapping[str, str] | None = None, *, today: date | None = None
) -> Recipe:
    """Read a recipe file and apply overrides such as {"train.0.tokens": "200_000"}.

    A bare name is looked up among the shipped recipes and in `$INGOT_WORKSPACE/recipes`. A source's
    relative uri is relative to the recipe file's folder, wherever the process was started. Of the section `overrides`
    what ended before today is left out.
    """
    file = find_recipe(path)
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"recipe {file} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise RecipeError(f"recipe {file} cannot be read ({type(error).__name__}); check its rights") from None
    values = apply_overrides(read_values(text, f"recipe {file}"), overrides or {})
    recipe = parse_recipe(_with_absolute_places(values, file.parent))
    held = in_force(recipe.overrides or [], today or date.today())
    return recipe.model_copy(update={"overrides": held or None})


def find_recipe(path: str | Path) -> Path:
    """The absolute path of the file that a recipe's path, folder or name means; NotFoundError when none."""
    name = str(path)
    given = Path(name).expanduser()
    if given.is_dir() and (given / "recipe.yaml").is_file():
        return given.absolute() / "recipe.yaml"
    if given.is_file():
        return given.absolute()
    shipped = Path(__file__).resolve().parent.parent / "recipes"
    workspace = os.environ.get("INGOT_WORKSPACE")
    for folder in [*([Path(workspace).absolute() / "recipes"] if workspace else []), shipped]:
        for candidate in (folder / name, folder / f"{name}.yaml"):
            if candidate.is_file():
                return candidate
    known = ", ".join(sorted(p.stem for p in shipped.glob("*.yaml")))
    raise NotFoundError(f"recipe {name!r} does not exist; give a file, or one of: {known}")


def read_values(text: str, what: str) -> dict[str, Any]:
    """A recipe's text as plain values; RecipeError, naming `what`, when it is not a YAML mapping."""
    try:
        values = yaml.load(text, Loader=_loader())
    except RecipeError as error:
        raise RecipeError(f"{what}: {error}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{what} is not YAML: {_yaml_problem(error)}; mend it there") from None
    except ValueError:
        # A number that YAML's own rules take for one and Python does not; its message holds the value.
        raise RecipeError(f"{what} is not YAML: a value is not the number it looks like; quote it") from None
    if not isinstance(values, Mapping):
        raise RecipeError(f"{what} holds {type(values).__name__}; write 'corpus:', 'sources:' and the rest")
    return dict(values)


def _yaml_problem(error: yaml.YAMLError) -> str:
    """The parser's words and the line; never the line itself nor a name from it, which may be a password."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "context", None) or "it has a character YAML forbids"
    problem = re.sub(r"'(?!<)[^']{2,}'|\"[^\"]{2,}\"", "(not shown)", str(problem))
    return f"line {mark.line + 1}: {problem}" if mark is not None else problem


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


def _with_absolute_places(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The values with every relative uri of a source or rule made absolute; URLs, `~` and `${NAME}` stay as written."""
    sections = {name: values[name] for name in ("sources", "rules") if name in values}
    return {**values, **{name: _absolute(section, folder) for name, section in sections.items()}}


def _absolute(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_absolute(item, folder) for item in value]
    if not isinstance(value, Mapping):
        return value
    found = {key: _absolute(item, folder) for key, item in value.items()}
    uri = value.get("uri")
    if isinstance(uri, str) and uri and "://" not in uri and not uri.startswith(("/", "~", "${")):
        found["uri"] = os.path.normpath(folder / uri)
    return found


def apply_overrides(values: dict[str, Any], overrides: Mapping[str, str]) -> dict[str, Any]:
    """Set dotted paths to YAML values; list entries by index or by the name of a source, rule or stage."""
    for path, text in overrides.items():
        try:
            value = yaml.load(text, Loader=_loader()) if isinstance(text, str) else text
        except yaml.YAMLError:
            raise RecipeError(f"--set {path}: {shown(path, text)} is not a YAML value; quote it") from None
        _set(values, path.split("."), value, path)
    return values


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested values by the path that overrides name them by: `train.0.tokens` -> 200000."""
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        items = [(str(index), item) for index, item in enumerate(value)]
    else:
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, item in items:
        found |= flat(item, f"{prefix}.{key}" if prefix else key)
    return found


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
            raise RecipeError(f"--set {path}: {where} is {shown(where, node)} and has nothing below it")


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
