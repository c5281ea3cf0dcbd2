"""Globs over posix paths, with `**`: what include and exclude in a recipe mean.

`*` and `?` stay within one name, `[abc]`, `[a-z]` and `[!abc]` are one character, `**` as a whole
segment is any number of folders (also none). A pattern is matched against the whole relative path, so
`*.md` is the top folder only and `**/*.md` is everywhere; `docs/` means `docs/**`. Case matters.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from ingot.errors import RecipeError


def is_included(path: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """True when one include pattern matches the relative path and no exclude pattern does."""
    return any(_compiled(pattern).match(path) for pattern in include) and not any(
        _compiled(pattern).match(path) for pattern in exclude
    )


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
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
    return re.compile(expression + r"\Z", re.DOTALL)


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
            inside = segment[index:end]
            negated = inside.startswith("!")
            inside = inside[negated:].replace("\\", r"\\").replace("[", r"\[").replace("^", r"\^")
            expression += f"(?!/)[{'^' if negated else ''}{inside}]"
            index = end + 1
        else:
            expression += re.escape(character)
    try:
        re.compile(expression)
    except re.error as error:
        raise RecipeError(f"glob '{pattern}' is not a pattern ({error}); use *, **, ?, [a-z]") from error
    return expression
