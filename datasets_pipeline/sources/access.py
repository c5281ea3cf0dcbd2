"""Who may use a document, for what and how long: what a recipe says of a whole source or of its folders.

A document's own statement (a column, a metadata sidecar) comes first, then the first folder rule whose glob
matches, then the source's default. The last two are looked up when a version is decided and not when files
are read, so that a changed rule opens no file (`datasets_pipeline/snapshot.py`).
"""

import re
from collections.abc import Sequence
from datetime import date
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from datasets_pipeline.sources.globs import is_included
from ingot.errors import RecipeError


class AccessFacts(BaseModel):
    """The five facts; null means that nothing is stated."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    classification: str | None = Field(
        default=None,
        min_length=1,
        description="How confidential documents are: public, internal, confidential, secret.",
    )
    audience: str | None = Field(
        default=None, min_length=1, description="Who they are for: one group, or several with commas between."
    )
    owner: str | None = Field(default=None, min_length=1, description="Who answers for them.")
    purpose: str | None = Field(
        default=None,
        min_length=1,
        description="What they may be used for: one purpose, or several with commas between.",
    )
    retain_until: str | None = Field(default=None, description="The last day they may be kept, YYYY-MM-DD.")

    @field_validator("classification", "audience", "owner", "purpose")
    @classmethod
    def _says_something(cls, value: str | None) -> str | None:
        if value is not None and not value.strip(" ,\t\n"):
            raise RecipeError("says nothing but blanks; write a word, or leave it out")
        return value

    @field_validator("retain_until", mode="before")
    @classmethod
    def _is_a_day(cls, value: Any) -> str | None:
        if value is None:
            return None
        try:
            return date.fromisoformat(str(value)).isoformat()
        except ValueError:
            raise RecipeError("is not a day; write YYYY-MM-DD, e.g. 2030-12-31") from None


class FolderRule(AccessFacts):
    """What holds for the files that one glob matches."""

    path: str = Field(
        min_length=1,
        description="Glob on the path relative to the uri, as in `include`; documents inside a file (attachments, "
        "members) follow the file.",
    )

    @field_validator("path")
    @classmethod
    def _glob_can_match(cls, glob: str) -> str:
        is_included("", (glob,), ())  # raises RecipeError for a pattern that cannot be compiled
        return glob


def first_match(folders: Sequence[FolderRule], uri: str) -> FolderRule | None:
    """The first rule whose glob matches a document's place, or the place of a file that it lies in."""
    places = [uri, *(uri[: found.start()] for found in re.finditer("!/", uri))]
    return next((rule for rule in folders if any(is_included(place, (rule.path,), ()) for place in places)), None)


def plain_words(stated: str) -> str:
    """A stated fact as it is compared and stored: lower case, single blanks, several values sorted with commas."""
    values = {" ".join(value.lower().split()) for value in re.split(r"[,;]", stated)} - {""}
    return ", ".join(sorted(values))
