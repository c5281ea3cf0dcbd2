"""FineWeb's quality heuristics: lines that end as sentences do, short lines, repeated lines, lists.

Rules of Penedo et al. 2024 (arXiv:2406.17557), section 3.6; thresholds, reason strings, order and
counting are those of datatrove's FineWebQualityFilter. They were tuned on English web pages; documentation full
of lists and code breaks several of them, so scope the rule (`when`) to what resembles a web page. A
line ends as a sentence when its last character is one of datatrove's sentence ends in any script, so the
rule is valid in the languages whose words are separated by spaces; elsewhere, and on code and
tables, it abstains. What a short line is (30 characters) is part of the stored feature, not an option.
"""

from typing import Annotated

import numpy as np
import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from datasets_pipeline.features.stop_words import STOP_WORD_LANGUAGES
from datasets_pipeline.rules.applicability import LanguageThresholds, by_language_code, in_languages, is_prose
from datasets_pipeline.rules.verdicts import Check, Verdicts, above, column, first_failing, ratio

VERSION = "1"
KIND = "threshold"
LANGUAGES = STOP_WORD_LANGUAGES
"""Languages whose words are separated by spaces; `per_language` can add others."""


class Thresholds(BaseModel):
    """One complete set of thresholds; null switches a check off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    line_punct_thr: float | None = Field(
        default=0.12, gt=0, le=1, description="Smallest share of lines that end as a sentence does (published)."
    )
    line_punct_exclude_zero: bool = Field(
        default=False, description="Let a document pass in which no line at all ends as a sentence does (published)."
    )
    short_line_thr: float | None = Field(
        default=0.67, gt=0, le=1, description="Largest share of lines of at most 30 characters (published)."
    )
    char_duplicates_ratio: float | None = Field(
        default=0.01, gt=0, le=1, description="Largest share of characters in lines that stood before (published)."
    )
    new_line_ratio: float | None = Field(
        default=0.3, gt=0, description="Most line breaks per word; above it, the text is a list (published)."
    )


class Config(Thresholds):
    """Options of `- rule: fineweb_quality`."""

    per_language: Annotated[dict[str, Thresholds], AfterValidator(by_language_code)] = Field(
        default_factory=dict,
        description="A complete other set of thresholds for a language code; what is not given in it is the "
        "published value.",
    )


def judge(config: Config, features: pa.Table) -> Verdicts:
    """One verdict a row; documents in other languages, code and tables are abstained from."""
    limit = LanguageThresholds(features, config, config.per_language)
    lines = column(features, "num_content_lines")
    newlines = column(features, "num_newlines")
    ends = ratio(column(features, "num_terminal_lines"), lines)
    excused = (ends == 0) & (limit["line_punct_exclude_zero"] == 1)
    repeated = ratio(column(features, "duplicate_content_line_chars"), column(features, "num_chars") - newlines)
    few_ends = limit["line_punct_thr"]
    checks = [
        Check("empty", lines == 0, lines, np.full(len(lines), np.nan)),
        Check("line_punct_ratio", (ends < few_ends) & ~excused, ends, few_ends),
        above("short_line_ratio", ratio(column(features, "num_short_lines"), lines), limit["short_line_thr"]),
        above("char_dup_ratio", repeated, limit["char_duplicates_ratio"]),
        above("list_ratio", ratio(newlines, column(features, "num_words")), limit["new_line_ratio"]),
    ]
    judged = in_languages(features, {*LANGUAGES, *config.per_language}) & is_prose(features)
    return first_failing(checks, judged)
