"""Gopher's repetition heuristics: lines, paragraphs and n-grams that come again.

Thresholds of Rae et al. 2021 (arXiv:2112.11446), table A1; reason strings, order and counting are those of
datatrove's GopherRepetitionFilter, its n-gram quirks included (`features/ngram_kernels.py`): every share
of characters is taken of the whole text in code points. n-grams need words, so the rule abstains in
languages that are written without spaces or whose words it was not tried on, and on code and tables.
"""

from typing import Annotated

import numpy as np
import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from datasets_pipeline.features.columns import DUPLICATE_NGRAM_SIZES, TOP_NGRAM_SIZES
from datasets_pipeline.features.stop_words import STOP_WORD_LANGUAGES
from datasets_pipeline.rules.applicability import LanguageThresholds, by_language_code, in_languages, is_prose
from datasets_pipeline.rules.verdicts import Check, Verdicts, above, column, first_failing, ratio

VERSION = "1"
KIND = "threshold"
LANGUAGES = STOP_WORD_LANGUAGES
"""Languages whose words are separated by spaces; `per_language` can add others."""


def _share(default: float, what: str) -> float | None:
    return Field(default=default, gt=0, le=1, description=f"Largest share of {what} (published).")  # type: ignore[no-any-return]


class Thresholds(BaseModel):
    """One complete set of thresholds; null switches a check off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dup_line_frac: float | None = _share(0.30, "lines that stood before")
    dup_para_frac: float | None = _share(0.30, "paragraphs that stood before")
    dup_line_char_frac: float | None = _share(0.20, "characters in lines that stood before")
    dup_para_char_frac: float | None = _share(0.20, "characters in paragraphs that stood before")
    top_2_gram: float | None = _share(0.20, "characters in the most frequent 2-gram")
    top_3_gram: float | None = _share(0.18, "characters in the most frequent 3-gram")
    top_4_gram: float | None = _share(0.16, "characters in the most frequent 4-gram")
    dup_5_gram: float | None = _share(0.15, "characters in 5-grams that stood before")
    dup_6_gram: float | None = _share(0.14, "characters in 6-grams that stood before")
    dup_7_gram: float | None = _share(0.13, "characters in 7-grams that stood before")
    dup_8_gram: float | None = _share(0.12, "characters in 8-grams that stood before")
    dup_9_gram: float | None = _share(0.11, "characters in 9-grams that stood before")
    dup_10_gram: float | None = _share(0.10, "characters in 10-grams that stood before")


class Config(Thresholds):
    """Options of `- rule: gopher_repetition`."""

    per_language: Annotated[dict[str, Thresholds], AfterValidator(by_language_code)] = Field(
        default_factory=dict,
        description="A complete other set of thresholds for a language code; what is not given in it is the "
        "published value.",
    )


def judge(config: Config, features: pa.Table) -> Verdicts:
    """One verdict a row; documents in other languages, code and tables are abstained from."""
    limit = LanguageThresholds(features, config, config.per_language)
    chars = column(features, "num_chars")

    def share(name: str) -> np.ndarray:
        return ratio(column(features, name), chars)

    lines, paragraphs = column(features, "num_lines"), column(features, "num_paragraphs")
    dup_lines = ratio(column(features, "num_duplicate_lines"), lines)
    dup_paragraphs = ratio(column(features, "num_duplicate_paragraphs"), paragraphs)
    checks = [
        Check("empty", chars == 0, chars, np.full(len(chars), np.nan)),
        above("dup_para_frac", dup_paragraphs, limit["dup_para_frac"]),
        above("dup_para_char_frac", share("duplicate_paragraph_chars"), limit["dup_para_char_frac"]),
        above("dup_line_frac", dup_lines, limit["dup_line_frac"]),
        above("dup_line_char_frac", share("duplicate_line_chars"), limit["dup_line_char_frac"]),
        *(above(f"top_{n}_gram", share(f"top_{n}_gram_chars"), limit[f"top_{n}_gram"]) for n in TOP_NGRAM_SIZES),
        *(
            above(f"duplicated_{n}_n_grams", share(f"duplicate_{n}_gram_chars"), limit[f"dup_{n}_gram"])
            for n in DUPLICATE_NGRAM_SIZES
        ),
    ]
    judged = in_languages(features, {*LANGUAGES, *config.per_language}) & is_prose(features)
    return first_failing(checks, judged)
