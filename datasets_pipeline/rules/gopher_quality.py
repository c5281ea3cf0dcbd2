"""Gopher's quality heuristics: length, word shape, symbols, bullets, stop words, with thresholds per language.

Rules of Rae et al. 2021 (arXiv:2112.11446), appendix A; thresholds, reason strings and the order of the
checks are those of datatrove's GopherQualityFilter, with which verdicts on English are compared by test.
Stop words are listed per language (`features/stop_words.py`); elsewhere, and on code and tables, the rule
abstains. datatrove's names are kept even where they mislead: `gopher_enough_stop_words` means too few.
"""

from typing import Annotated

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from datasets_pipeline.features.stop_words import STOP_WORD_LANGUAGES
from datasets_pipeline.rules.applicability import (
    LanguageThresholds,
    by_language_code,
    in_languages,
    is_prose,
    with_language_thresholds,
)
from datasets_pipeline.rules.verdicts import Verdicts, above, below, column, first_failing, ratio

VERSION = "3"
KIND = "threshold"
LANGUAGES = STOP_WORD_LANGUAGES
"""Languages with a stop-word list; `per_language` can add others without that check."""


LANGUAGE_THRESHOLDS: dict[str, dict[str, float]] = {
    "de": {"max_non_alpha_words_ratio": 0.78},
    "es": {"max_non_alpha_words_ratio": 0.81},
    "fr": {"max_non_alpha_words_ratio": 0.81},
    "it": {"max_non_alpha_words_ratio": 0.82},
    "nl": {"max_non_alpha_words_ratio": 0.79},
    "pl": {"max_non_alpha_words_ratio": 0.77, "max_symbol_word_ratio": 0.11},
    "pt": {"max_non_alpha_words_ratio": 0.81},
    "ru": {"max_non_alpha_words_ratio": 0.76},
    "tr": {"max_non_alpha_words_ratio": 0.78},
    "uk": {"max_non_alpha_words_ratio": 0.76},
    "vi": {"max_non_alpha_words_ratio": 0.84},
}
"""What differs from the published thresholds in a language: where words are long or articles few there are more signs
to a word. Such that as many pages are lost as of their English originals: of a glossary, for German, Dutch and Polish
of an office suite's help (which gives es, fr, it and pt what the glossary does, within 0.01), for Ukrainian of software
documentation, by the median. benchmarks/rules_by_language.py prints what is kept."""


class Thresholds(BaseModel):
    """One complete set of thresholds; null switches a check off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_doc_words: int | None = Field(
        default=50, ge=1, description="Fewest words that are not punctuation alone (published)."
    )
    max_doc_words: int | None = Field(
        default=100_000, ge=1, description="Most words that are not punctuation alone (published)."
    )
    min_avg_word_length: float | None = Field(
        default=3, gt=0, description="Smallest mean length of those words, in characters (published)."
    )
    max_avg_word_length: float | None = Field(
        default=10, gt=0, description="Largest mean length of those words, in characters (published)."
    )
    max_symbol_word_ratio: float | None = Field(
        default=0.1, gt=0, description="Most '#', and most ellipses, per word (published)."
    )
    max_bullet_lines_ratio: float | None = Field(
        default=0.9, gt=0, le=1, description="Largest share of lines that start with a bullet (published)."
    )
    max_ellipsis_lines_ratio: float | None = Field(
        default=0.3, gt=0, le=1, description="Largest share of lines that end with an ellipsis (published)."
    )
    max_non_alpha_words_ratio: float | None = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Smallest share of words with a letter (published; datatrove's name, which says the opposite).",
    )
    min_stop_words: int | None = Field(
        default=2, ge=1, description="Fewest different stop words of the document's language (published)."
    )
    stop_words_any_case: bool = Field(
        default=False,
        description="Count THE and The as the; datatrove does not, and drops text in capitals, "
        "so neither does the default.",
    )


class Config(Thresholds):
    """Options of `- rule: gopher_quality`."""

    per_language: Annotated[dict[str, Thresholds], AfterValidator(by_language_code)] = Field(
        default_factory=dict,
        description="A complete other set of thresholds for a language code; what is not given in it is the "
        "published value. A language without a stop-word list is judged only with min_stop_words null.",
    )

    @model_validator(mode="after")
    def _stop_words_exist(self) -> "Config":
        for language, thresholds in self.per_language.items():
            if language not in LANGUAGES and thresholds.min_stop_words is not None:
                raise ValueError(
                    f"per_language {language!r} has no stop-word list; set its min_stop_words to null, "
                    f"or use one of {', '.join(LANGUAGES)}"
                )
        return self


def judge(config: Config, features: pa.Table) -> Verdicts:
    """One verdict a row; documents in other languages, code and tables are abstained from."""
    limit = LanguageThresholds(features, config, with_language_thresholds(config, LANGUAGE_THRESHOLDS))
    words = column(features, "num_words")
    real_words = column(features, "num_non_symbol_words")
    mean_length = ratio(column(features, "non_symbol_word_chars"), real_words)
    lines = column(features, "num_text_lines")
    stop_words = column(features, "num_distinct_stop_words")
    any_case = limit["stop_words_any_case"] == 1
    stop_words[any_case] = column(features, "num_distinct_stop_words_any_case")[any_case]
    checks = [
        below("gopher_short_doc", real_words, limit["min_doc_words"]),
        above("gopher_long_doc", real_words, limit["max_doc_words"]),
        below("gopher_below_avg_threshold", mean_length, limit["min_avg_word_length"]),
        above("gopher_above_avg_threshold", mean_length, limit["max_avg_word_length"]),
        above("gopher_too_many_hashes", ratio(column(features, "num_hashes"), words), limit["max_symbol_word_ratio"]),
        above(
            "gopher_too_many_ellipsis", ratio(column(features, "num_ellipses"), words), limit["max_symbol_word_ratio"]
        ),
        above(
            "gopher_too_many_bullets",
            ratio(column(features, "num_bullet_lines"), lines),
            limit["max_bullet_lines_ratio"],
        ),
        above(
            "gopher_too_many_end_ellipsis",
            ratio(column(features, "num_ellipsis_lines"), lines),
            limit["max_ellipsis_lines_ratio"],
        ),
        below(
            "gopher_below_alpha_threshold",
            ratio(column(features, "num_alpha_words"), words),
            limit["max_non_alpha_words_ratio"],
        ),
        below("gopher_enough_stop_words", stop_words, limit["min_stop_words"]),
    ]
    judged = in_languages(features, {*LANGUAGES, *config.per_language}) & is_prose(features)
    return first_failing(checks, judged)
