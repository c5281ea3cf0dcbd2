"""Keep documents that may be used: by classification, audience, owner, purpose and retention.

- rule: access
  classification: [public, internal]
  purpose: [training]
  as_of: 2026-11-27

A text that stands in several places is admitted only when each of them is: a secret page that somebody copied into
a public folder stays secret. What is stated nowhere is `unknown`, and admitted only where a list names `unknown`.
"""

from collections.abc import Collection, Sequence
from datetime import date

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from datasets_pipeline.classification_order import UNKNOWN
from datasets_pipeline.document_access import VALUES_OF_PLACES
from datasets_pipeline.rules.verdicts import Bools, Check, Verdicts, first_failing

VERSION = "1"
KIND = "threshold"
LANGUAGES = None
"""Valid everywhere."""
BINDING = True
"""No override keeps what this rule drops."""


class Config(BaseModel):
    """Options of `- rule: access`; null does not ask."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classification: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Classes that are admitted, e.g. [public, internal]."
    )
    audience: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Groups of which a place must name one."
    )
    owner: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Owners of which a place must name one."
    )
    purpose: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Purposes of which a place must name one."
    )
    as_of: date | None = Field(
        default=None,
        description="Documents that may be kept until a day before this one are dropped. A day of the recipe and not "
        "today, because the same recipe over the same documents must give the same version.",
    )

    @field_validator("classification", "audience", "owner", "purpose")
    @classmethod
    def _plain_words(cls, words: tuple[str, ...] | None) -> tuple[str, ...] | None:
        plain = {" ".join(word.lower().split()) for word in words or ()}
        if "" in plain:
            raise ValueError("an empty word admits nothing; write one, or take it out")
        return tuple(sorted(plain)) if words is not None else None

    @model_validator(mode="after")
    def _asks_something(self) -> "Config":
        if all(getattr(self, name) is None for name in Config.model_fields):
            raise ValueError("asks nothing; give classification, audience, owner, purpose or as_of")
        return self


def judge(config: Config, features: pa.Table) -> Verdicts:
    """Reasons <fact>_not_admitted and <fact>_unknown for each list, then retention_not_a_day and retention_over."""
    num = len(features)
    none = np.full(num, np.nan)
    checks: list[Check] = []
    for name, column in VALUES_OF_PLACES.items():
        admitted = getattr(config, name)
        if admitted is not None:
            refused, unknown = _not_admitted(features[column].to_pylist(), admitted, whole=name == "classification")
            checks += [
                Check(f"{name}_not_admitted", refused, none, none),
                Check(f"{name}_unknown", unknown, none, none),
            ]
    if config.as_of is not None:
        odd, over = _retention(features["retain_until"].to_pylist(), config.as_of)
        checks += [Check("retention_not_a_day", odd, none, none), Check("retention_over", over, none, none)]
    return first_failing(checks, np.ones(num, dtype=bool))


def _not_admitted(rows: Sequence[Sequence[str]], admitted: Collection[str], *, whole: bool) -> tuple[Bools, Bools]:
    """(a place states something else, a place states nothing) by row; whole: a value is one word, no list."""
    refused, unknown = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    for row, places in enumerate(rows):
        for place in places:
            words = [place] if whole else place.split(", ")
            if not any(word in admitted for word in words):
                (unknown if place == UNKNOWN else refused)[row] = True
    return refused, unknown


def _retention(days: Sequence[str | None], as_of: date) -> tuple[Bools, Bools]:
    """(no day that one could compare, over before as_of) by row; what states nothing is kept."""
    odd, over = np.zeros(len(days), bool), np.zeros(len(days), bool)
    for row, day in enumerate(days):
        if day is None:
            continue
        try:
            over[row] = date.fromisoformat(day) < as_of
        except ValueError:
            odd[row] = True
    return odd, over
