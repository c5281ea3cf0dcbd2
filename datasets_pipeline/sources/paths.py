"""What the path of a file states about it: the family, version and language of a page, by a pattern of the recipe."""

import re2
from pydantic import BaseModel, Field, field_validator

from datasets_pipeline.extract.stated import iso_language
from ingot.errors import RecipeError

_PATTERN_GROUPS = frozenset({"family", "version", "language"})


class PathStatements(BaseModel):
    """The option of sources whose files have paths that say something."""

    path_pattern: str | None = Field(
        default=None,
        description="Regular expression (RE2: linear time, no look-around) searched in the relative path; its named "
        "groups family, version and language are what the path states about a page. Null: the path states nothing.",
    )

    @field_validator("path_pattern")
    @classmethod
    def _pattern_has_known_groups(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        try:
            groups = set(re2.compile(pattern).groupindex)
        except re2.error as error:
            raise RecipeError(
                f"path_pattern is no regular expression that RE2 reads ({error}); it has no look-around and no back-"
                "references, because paths are chosen by others; mend it or leave it out"
            ) from error
        if not groups or groups - _PATTERN_GROUPS:
            raise RecipeError(
                f"path_pattern has the named groups {sorted(groups)}; use one or more of {sorted(_PATTERN_GROUPS)}, "
                "e.g. '^(?P<version>[^/]+)/(?P<family>.+)$'"
            )
        return pattern


def stated_by_path(pattern: str | None, uri: str) -> dict[str, str]:
    """The attributes that a path gives by a `path_pattern`; none without one."""
    found = re2.search(pattern, uri) if pattern else None
    stated = {name: value for name, value in found.groupdict().items() if value} if found else {}
    if "language" in stated:
        language = iso_language(stated.pop("language"))
        stated |= {"language": language} if language else {}
    return stated
