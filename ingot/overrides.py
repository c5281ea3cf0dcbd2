"""Overrides of a recipe: what a person decided about single documents, against the rules (CONTRACTS 4).

overrides:
  - {uri: "legal/**", source: handbook, action: drop, reason: asked by legal, author: anna, until: 2027-01-31}

They are applied last. The day is compared when a recipe is loaded, once for a run: what has ended is left out with a
message, what holds is part of the version's identity, without the day on which it will end.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ingot.digests import digest_of, without_none

logger = logging.getLogger(__name__)

RULE = "override"
"""The rule under which overrides stand in the decisions."""


class Override(BaseModel):
    """One decision of a person about the documents of one id, or of the places that a pattern names."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    id: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$", description="Id of one document.")
    uri: str | None = Field(default=None, min_length=1, description="Glob on the uri of the primary place: legal/**.")
    source: str | None = Field(default=None, description="Only documents of this source; needs uri.")
    action: Literal["keep", "drop"] = Field(description="keep what rules drop, or drop what they keep.")
    reason: str = Field(
        pattern=r"^\w[\w .:/-]{0,119}$",
        description="Why: letters, digits, blanks and . : / - of up to 120; it stands in the decisions.",
    )
    author: str = Field(min_length=1, max_length=120, description="Who decided it.")
    until: date | None = Field(default=None, description="Last day on which it holds; unset: until it is taken out.")

    @model_validator(mode="after")
    def _names_documents(self) -> "Override":
        if (self.id is None) == (self.uri is None):
            raise ValueError("give either the id of a document or a uri pattern")
        if self.source is not None and self.uri is None:
            raise ValueError("a source restricts a uri pattern; an id needs none")
        if self.uri is not None and (self.uri.startswith("/") or ".." in self.uri.split("/")):
            raise ValueError(f"uri {self.uri!r} is relative to its source; write e.g. legal/** or **/*.md")
        return self

    @property
    def values(self) -> dict[str, Any]:
        """What is part of a version's identity: everything but the day of its end."""
        return without_none(self.model_dump(mode="json", exclude={"until"}))  # type: ignore[no-any-return]

    @property
    def digest(self) -> str:
        """Stands in the decisions as `config_digest`."""
        return digest_of(self.values)


def in_force(overrides: Sequence[Override], today: date) -> list[Override]:
    """Those that have not ended; each that has is named in the log."""
    held = []
    for number, override in enumerate(overrides):
        if override.until is not None and override.until < today:
            logger.warning(
                "override %d (%s, by %s) ended on %s and is ignored; take it out of the recipe, or give it a later day",
                number, override.id or override.uri, override.author, override.until,
            )  # fmt: skip
        else:
            held.append(override)
    return held


def values_of(overrides: Sequence[Override]) -> list[dict[str, Any]]:
    """The recipe values of overrides, in their order: the first that matches a document decides."""
    return [override.values for override in overrides]


def find(recipe: Mapping[str, Any], config_digest: str | None) -> dict[str, Any] | None:
    """The override behind a decision's config_digest, from the recipe values of a manifest; None when there is none."""
    return next((dict(entry) for entry in recipe.get("overrides") or () if digest_of(entry) == config_digest), None)
