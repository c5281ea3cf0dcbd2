"""What is wrong with a recipe, in words: the path of the first fault, the value, and what to write.

Pydantic says what its types expect; a person wants to know what to type. No message shows a secret.
"""

import json
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from ingot.errors import RecipeError

_SECRET_KEY = re.compile(r"passw|secret|credential|token$|api_?key|access_?key", re.IGNORECASE)
# How pydantic names the branch of a union in a path, e.g. `language.list[str]`: nothing a recipe holds.
_BRANCH = re.compile(r"^(?:(?:list|tuple|set|dict)\[.*\]|str|int|float|bool|function-.*|constrained-.*)$")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_YAML_WORDS = "YAML reads no, off, yes and on as true or false"


class Refused(ValueError):
    """A refusal whose message is complete; `place` is where, below the field that is checked."""

    def __init__(self, message: str, place: str = "") -> None:
        super().__init__(message)
        self.place = place


def validate(model: type[BaseModel], values: Any, where: str) -> Any:
    """The values as the model; Refused with the whole path when they are not."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        path, message = _first_fault(error, model)
        raise Refused(message, _joined(where, path)) from None


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first fault: its path, the value, and what to write instead."""
    path, message = _first_fault(error, model)
    return f"{path}: {message}" if path else message


def _first_fault(error: ValidationError, model: type[BaseModel]) -> tuple[str, str]:
    """(path, what is wrong there and what to write)."""
    fault = error.errors(include_url=False)[0]
    parts = [part for part in fault["loc"] if not (isinstance(part, str) and _BRANCH.match(part))]
    path = ".".join(map(str, parts))
    if fault["type"] == "extra_forbidden":
        key = str(parts[-1])
        known = _fields_at(model, parts[:-1])
        near = get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return path, f"unknown key (value {shown(path, fault['input'])}); {hint}known: {', '.join(known)}"
    if fault["type"] == "missing":
        return path, "required and not given"
    inner = fault.get("ctx", {}).get("error")
    if isinstance(inner, Refused):
        return _joined(path, inner.place), str(inner)
    if isinstance(inner, RecipeError):
        return path, str(inner)
    words = _in_words(fault, path, _is_nullable(model, parts))
    whole = isinstance(fault["input"], Mapping | BaseModel)  # of a check across keys: the message names the values
    return path, words if whole and inner else f"{words} (value {shown(path, fault['input'])})"


def _joined(path: str, place: str) -> str:
    return ".".join(part for part in (path, place) if part)


def _in_words(fault: Mapping[str, Any], path: str, nullable: bool) -> str:
    """What to write instead; pydantic's own sentence where that is clear."""
    kind, value = fault["type"], fault["input"]
    if kind in ("list_type", "tuple_type", "string_type") and isinstance(value, bool):
        return f'{_YAML_WORDS}; write the word in quotes: "no"' + (", or null for none" if nullable else "")
    if value is False and nullable:
        return "false is no value here; write null to turn it off"
    if kind in ("list_type", "tuple_type"):
        return f"write a list: [{_as_yaml(path, value)}]"
    if kind == "string_type" and isinstance(value, int | float):
        return f'this is a number to YAML; write it in quotes: "{value}"'
    if kind == "string_pattern_mismatch":
        return allowed_characters(fault["ctx"]["pattern"])
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return "write its options below it, one 'name: value' a line" + (", or null to turn it off" if nullable else "")
    return str(fault["msg"]).removeprefix("Value error, ")


def allowed_characters(pattern: str) -> str:
    """A name's pattern in words, e.g. `^[a-z0-9][a-z0-9_-]{0,62}$`; the pattern itself when it is another kind."""
    parts = re.fullmatch(r"\^(\[[^]]+\]|\\w)\[([^]]+)\](?:\{0,(\d+)\}|\*)\$", pattern)
    if parts is None:
        return f"write what matches {pattern}"
    first, rest, most = parts.groups()
    length = f", at most {int(most) + 1} characters" if most else ""
    return f"allowed are {_spelled(rest)}, the first one of {_spelled(first)}{length}"


def _spelled(characters: str) -> str:
    words = {r"\w": "letters digits _", " ": "blank"}
    return " ".join(words.get(part, part) for part in re.findall(r"\\w|\w-\w|.", characters.strip("[]")))


def _as_yaml(path: str, value: Any) -> str:
    if _SECRET_KEY.search(path.rsplit(".", 1)[-1]) or not isinstance(value, str | int | float) or "://" in str(value):
        return "..."
    return str(value) if _PLAIN.fullmatch(str(value)) else json.dumps(value, ensure_ascii=False)


def shown(path: str, value: Any) -> str:
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
        options = get_args(field.annotation) or (field.annotation,)
        current = next((a for a in options if hasattr(a, "model_fields")), field.annotation)
    fields = getattr(current, "model_fields", {})
    return sorted(field.alias or name for name, field in fields.items())


def _is_nullable(model: type[BaseModel], path: Sequence[Any]) -> bool:
    """True when the field at the path may be null."""
    current: Any = model
    annotation: Any = None
    for part in path:
        field = getattr(current, "model_fields", {}).get(part)
        if field is None:
            return False
        annotation = field.annotation
        options = get_args(annotation) or (annotation,)
        current = next((a for a in options if hasattr(a, "model_fields")), annotation)
    return get_origin(annotation) in (Union, UnionType) and type(None) in get_args(annotation)
