"""Keep documents whose length is within bounds."""

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from datasets_pipeline.rules.verdicts import Check, Floats, Verdicts, above, below, column, first_failing

VERSION = "1"
KIND = "threshold"
LANGUAGES = None
"""Valid everywhere: in scripts without spaces every letter counts as a word."""


class Config(BaseModel):
    """Options of `- rule: length`; null switches a bound off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_words: int | None = Field(
        default=20,
        ge=1,
        description="Fewest words, punctuation not counted; below 20 a page is a title, a redirect or a stub.",
    )
    max_words: int | None = Field(
        default=None, ge=1, description="Most words, punctuation not counted; unlimited, long texts are good texts."
    )
    min_chars: int | None = Field(default=None, ge=1, description="Fewest characters (code points).")
    max_chars: int | None = Field(default=None, ge=1, description="Most characters (code points).")
    max_bytes: int | None = Field(
        default=None, ge=1, description="Most bytes of UTF-8; a bound on memory, not on quality."
    )

    @model_validator(mode="after")
    def _bounds_in_order(self) -> "Config":
        for low, high in (("min_words", "max_words"), ("min_chars", "max_chars")):
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                raise ValueError(f"{low} ({least}) is above {high} ({most}), which drops everything; swap them")
        return self


def judge(config: Config, features: pa.Table) -> Verdicts:
    """Reasons too_few_words, too_many_words, too_few_chars, too_many_chars, too_many_bytes, in this order."""
    words, chars = column(features, "num_non_symbol_words"), column(features, "num_chars")

    def bound(value: int | None) -> Floats:
        return np.full(len(words), np.nan if value is None else float(value))

    checks: list[Check] = [
        below("too_few_words", words, bound(config.min_words)),
        above("too_many_words", words, bound(config.max_words)),
        below("too_few_chars", chars, bound(config.min_chars)),
        above("too_many_chars", chars, bound(config.max_chars)),
        above("too_many_bytes", column(features, "num_bytes"), bound(config.max_bytes)),
    ]
    return first_failing(checks, np.ones(len(words), dtype=bool))
