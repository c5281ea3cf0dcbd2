"""Values of a row as text: facts, template fields, keys, and keys as part of a place."""

import json
import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from string import Formatter
from typing import Any
from uuid import UUID

from datasets_pipeline.normalize import normalize_text
from ingot.errors import RecipeError

MAX_KEY_CHARACTERS = 200
"""A longer key is a text, not a name."""
# What would end or fold a path, and what could not be read back from one.
_NOT_IN_A_PLACE = re.compile(r"[%/\\!\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def stated(record: Mapping[str, Any], column: str | None) -> str | None:
    """A short fact as text: numbers and text, stripped; None for anything else or nothing."""
    value = record.get(column) if column else None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return normalize_text(str(value)) or None


def scalar(value: Any) -> str | int | float | None:
    """A metadata value that canonical JSON can hold; nested values become their JSON text."""
    if value is None or isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return normalize_text(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return value
    try:
        return normalize_text(json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return normalize_text(str(value))


def field_text(value: Any) -> str | None:
    """What a template writes for a value: nothing for nothing, ISO dates, JSON for lists; None for bytes."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else ""
    found = scalar(value)
    return "" if found is None else str(found)


def key_text(value: Any) -> str | None:
    """A key as text; 7, 7.0 and "7" are one key, as an export's change of type must not move its documents.

    None for what names nothing: null, a truth value, bytes, a list, blanks, NaN, or more than 200 characters.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, datetime | date):
        value = value.isoformat()
    if isinstance(value, UUID):
        value = str(value)
    if not isinstance(value, str | int | float | Decimal):
        return None
    text = normalize_text(str(value))
    return text if 0 < len(text) <= MAX_KEY_CHARACTERS else None


def key_place(file: str, key: str) -> str:
    """The place of a row or group below its file: `tickets.csv/4711`, with a slash in a key written %2F."""
    name = _NOT_IN_A_PLACE.sub(lambda found: "".join(f"%{byte:02X}" for byte in _bytes(found.group())), key)
    return f"{file}/{name.replace('.', '%2E') if name in ('.', '..') else name}"


def _bytes(character: str) -> bytes:
    return character.encode("utf-8", "surrogatepass")


def order_key(values: list[Any]) -> list[Any]:
    """Values of an order column, comparable: as numbers when every one is one, else as text; nothing comes last."""
    numbers = [_number(value) for value in values]
    if all(number is not None or _is_nothing(value) for number, value in zip(numbers, values, strict=True)):
        return [(number is None, number or Decimal(0)) for number in numbers]
    texts = [field_text(value) or "" for value in values]
    return [(not text, text) for text in texts]


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    text = str(value).strip()
    if not re.fullmatch(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", text):
        return None
    return Decimal(text)


def template_fields(template: str) -> tuple[str, ...]:
    """The columns of a template, each once. Raises RecipeError for anything but plain `{column}` fields."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise RecipeError(f"text_template: {error}; write {{column}} for a field and {{{{ for a brace") from None
    fields: list[str] = []
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if not name or name.isdigit() or spec or conversion or any(mark in name for mark in ".[]"):
            raise RecipeError(
                f"text_template: field {{{name}}} is not a plain column name; write {{column}}, without a dot, "
                "an index, a conversion or a format"
            )
        fields.append(name)
    if not fields:
        raise RecipeError("text_template names no column; write it such as '# {title}\\n\\n{body}'")
    return tuple(dict.fromkeys(fields))


def fill_template(template: str, record: Mapping[str, Any]) -> str | None:
    """The template with a row's values; empty when every field is, None when one of them is bytes."""
    pieces: list[str] = []
    said = False
    for literal, name, _, _ in Formatter().parse(template):
        pieces.append(literal)
        if name is None:
            continue
        text = field_text(record.get(name))
        if text is None:
            return None
        said = said or bool(normalize_text(text))
        pieces.append(text)
    return "".join(pieces) if said else ""
