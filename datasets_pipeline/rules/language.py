"""Keep documents in the wanted languages.

The language is the source's statement where there is one (its score is 1), else the detector's guess.
"""

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator

from datasets_pipeline.features.language import UNKNOWN, normalize_language
from datasets_pipeline.rules.applicability import in_languages
from datasets_pipeline.rules.verdicts import Check, Verdicts, below, column, first_failing

VERSION = "1"
KIND = "threshold"
LANGUAGES = None
"""Valid everywhere."""


class Config(BaseModel):
    """Options of `- rule: language`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keep: tuple[str, ...] = Field(
        min_length=1,
        description="Languages to keep, as ISO 639 codes such as en or de; a region (pt-BR) is ignored.",
    )
    min_score: float | None = Field(
        default=0.65,
        gt=0,
        le=1,
        description="Smallest probability at which a detected language is believed; 0.65 as in FineWeb. "
        "null believes every guess.",
    )
    keep_unknown: bool = Field(
        default=False,
        description="Keep documents whose language is neither stated nor detectable (no letters in them).",
    )

    @field_validator("keep")
    @classmethod
    def _known_codes(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        codes = {tag: normalize_language(tag) for tag in tags}
        for tag, code in codes.items():
            if code == UNKNOWN:
                raise ValueError(f"{tag!r} is not a language code; write an ISO 639 code such as en, de or pt")
        return tuple(sorted(set(codes.values())))


def judge(config: Config, features: pa.Table) -> Verdicts:
    """Reasons language_unknown, language_not_kept, language_score_too_low; the score is the detector's."""
    score = column(features, "language_score")
    none = np.full(len(score), np.nan)
    unknown = in_languages(features, [UNKNOWN])
    kept = in_languages(features, config.keep)
    min_score = np.full(len(score), np.nan if config.min_score is None else config.min_score)
    checks = [
        Check("language_unknown", unknown & (not config.keep_unknown), score, none),
        Check("language_not_kept", ~kept & ~unknown, score, none),
        below("language_score_too_low", np.where(unknown, np.nan, score), min_score),
    ]
    return first_failing(checks, np.ones(len(score), dtype=bool))
