"""Keep documents whose licence is admitted.

- rule: licence
  allow: [public_domain, permissive, CC-BY-SA-4.0]
  deny: [Apache-1.1]

Names are SPDX identifiers, `GPL-*` for all that begin so, or the classes of licence_classes.py. Of a text that stands
in several places the strictest licence is judged. Of an expression with OR one admitted choice is enough. A licence
that is not stated is `unknown`, and admitted only where `allow` names it or there is no `allow`.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from datasets_pipeline.extract.licences import UNKNOWN as NOT_SPDX
from datasets_pipeline.extract.licences import spdx_of
from datasets_pipeline.licence_classes import CLASSES, Names, is_admitted, licence_class
from datasets_pipeline.rules.verdicts import Check, Verdicts, first_failing

VERSION = "2"
KIND = "threshold"
LANGUAGES = None
"""Valid everywhere."""


class Config(BaseModel):
    """Options of `- rule: licence`; null does not ask."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allow: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Identifiers and classes of which the licence must be one."
    )
    deny: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Identifiers and classes that are dropped, whatever `allow` says."
    )

    @field_validator("allow", "deny")
    @classmethod
    def _names(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return tuple(sorted({_plain_name(name) for name in names})) if names is not None else None

    @model_validator(mode="after")
    def _asks_something(self) -> "Config":
        if self.allow is None and self.deny is None:
            raise ValueError("asks nothing; give allow, deny or both")
        return self


def _plain_name(name: str) -> str:
    word = name.strip()
    if not word:
        raise ValueError(f"an empty name is no licence; write an SPDX identifier, GPL-* or one of {', '.join(CLASSES)}")
    if word in CLASSES or word.endswith("*") or word.startswith("LicenseRef-"):
        return word
    spdx = spdx_of(word)
    return word if spdx == NOT_SPDX else spdx


def judge(config: Config, features: pa.Table) -> Verdicts:
    """Reasons licence_denied, licence_unknown (not stated, not allowed), licence_not_allowed."""
    licences = features["licence"].combine_chunks().dictionary_encode()
    names = licences.dictionary.to_pylist()
    rows = licences.indices.to_numpy(zero_copy_only=False)
    denied = [config.deny is not None and not is_admitted(n, lambda m: not _is_named(m, config.deny)) for n in names]
    allowed = [config.allow is None or is_admitted(n, lambda m: _admits(config, m)) for n in names]
    none = np.full(len(features), np.nan)
    is_unknown = pc.equal(features["licence"], "unknown").to_numpy(zero_copy_only=False)
    refused = ~np.array(allowed, bool)[rows] if names else np.zeros(0, bool)
    checks = [
        Check("licence_denied", np.array(denied, bool)[rows] if names else refused, none, none),
        Check("licence_unknown", refused & is_unknown, none, none),
        Check("licence_not_allowed", refused, none, none),
    ]
    return first_failing(checks, np.ones(len(features), bool))


def _admits(config: Config, names: Names) -> bool:
    return _is_named(names, config.allow) and not _is_named(names, config.deny)


def _is_named(names: Names, listed: tuple[str, ...] | None) -> bool:
    return any(
        word in (name, licence_class(name)) or (word.endswith("*") and name.startswith(word[:-1]))
        for name in names
        for word in listed or ()
    )
