"""Globs over posix paths, with `**`: what include and exclude in a recipe mean.

`*` and `?` stay within one name, `[abc]`, `[a-z]` and `[!abc]` are one character, `**` as a whole
segment is any number of folders (also none). A pattern is matched against the whole relative path, so
`*.md` is the top folder only and `**/*.md` is everywhere; `docs/` means `docs/**`. Case matters. They run on RE2, in
linear time: names of files and addresses are chosen by others.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import re2

from ingot.errors import RecipeError


def is_included(path: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """True when one include pattern matches the relative path and no exclude pattern does."""
    return any(_compiled(pattern).fullmatch(path) for pattern in include) and not any(
        _compiled(pattern).fullmatch(path) for pattern in exclude
    )


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Any:
    if not pattern or pattern.startswith("/") or ".." in pattern.split("/"):
        raise RecipeError(
            f"glob '{pattern}' cannot match: patterns are relative to the source's uri; write e.g. '**/*.md'"
        )
    segments = (pattern + "**" if pattern.endswith("/") else pattern).split("/")
    expression = ""
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment == "**":
            if index and segments[index - 1] == "**":
                continue  # `**/**` is `**`; keeping both would make the expression backtrack
            expression += ".+" if last else "(?:[^/]+/)*"
        else:
            expression += _segment(segment, pattern) + ("" if last else "/")
    if segments[-1] == "**" and len(segments) > 1 and segments[-2] == "**":
        expression += ".+"
    return re2.compile(f"(?s:{expression})")


def _segment(segment: str, pattern: str) -> str:
    """One path segment as a regular expression."""
    expression, index = "", 0
    while index < len(segment):
        character = segment[index]
        index += 1
        if character == "*":
            if not expression.endswith("[^/]*"):
                expression += "[^/]*"
        elif character == "?":
            expression += "[^/]"
        elif character == "[":
            end = segment.find("]", index + 1 + (segment[index : index + 1] == "!"))
            if end < 0:
                raise RecipeError(f"glob '{pattern}' opens a '[' that nothing closes; write '[[]' for the character")
            expression += _one_of(segment[index:end], pattern)
            index = end + 1
        else:
            expression += re2.escape(character)
    return expression


def _one_of(inside: str, pattern: str) -> str:
    """A class of characters as a regular expression; `/` is in none, whatever a range spans."""
    negated = inside.startswith("!")
    inside, parts = inside[negated:], "/" if negated else ""
    index = 0
    while index < len(inside):
        low = high = inside[index]
        if inside[index + 1 : index + 2] == "-" and index + 2 < len(inside):
            high = inside[index + 2]
            index += 2
        index += 1
        if low > high:
            raise RecipeError(f"glob '{pattern}' is not a pattern ({low}-{high} runs backwards); use *, **, ?, [a-z]")
        spans = [(low, high)] if negated or not low <= "/" <= high else [(low, "."), ("0", high)]
        parts += "".join(f"{re2.escape(a)}-{re2.escape(b)}" for a, b in spans if a <= b)
    return f"[{'^' if negated else ''}{parts}]" if parts else "[^\\x00-\\x{10FFFF}]"
