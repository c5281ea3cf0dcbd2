"""NeMo Curator's heuristic filters for English text, as one rule.

Filters, thresholds and their order are those of NVIDIA's `heuristic_filter_english_pipeline.yaml` (NeMo Curator,
Apache-2.0); a reason is the name of the filter that fails. Words are what stands between white space, sentences are
lines, paragraphs stand between blank lines, as there.

In other languages the checks keep their thresholds and change what they count: letters and numbers of any script, the
language's own stop words, every script's sentence ends. NVIDIA's file for other languages leaves out alpha_numeric,
words_without_alphabets and common_english_words; set them to null in `per_language` to do so too.

Known differences: n-gram shares are counted as Gopher's rule counts them (on split-off punctuation, without overlap);
paragraphs are separated by two or more newlines; blanks in empty lines count as characters of lines.
"""

from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from datasets_pipeline.features.columns import DUPLICATE_NGRAM_SIZES, TOP_NGRAM_SIZES
from datasets_pipeline.features.stop_words import STOP_WORD_LANGUAGES
from datasets_pipeline.rules.applicability import LanguageThresholds, by_language_code, in_languages, is_prose
from datasets_pipeline.rules.verdicts import Check, Floats, Verdicts, above, below, column, first_failing, ratio

VERSION = "1"
KIND = "threshold"
LANGUAGES = STOP_WORD_LANGUAGES
"""Languages whose words are separated by spaces and that have a stop-word list; `per_language` can add others."""


def _most(default: float, what: str) -> float | None:
    return Field(default=default, gt=0, description=f"{what} (published).")  # type: ignore[no-any-return]


class Thresholds(BaseModel):
    """One complete set of thresholds; null switches a check off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_non_alpha_numeric_to_text_ratio: float | None = _most(0.25, "Largest share of other signs than A-Z 0-9 ? ! , .")
    max_symbol_to_word_ratio: float | None = _most(0.1, "Largest share of words that are '#' or an ellipsis")
    max_number_to_text_ratio: float | None = _most(0.15, "Largest share of digits")
    max_url_to_text_ratio: float | None = _most(0.2, "Largest share of characters in web addresses")
    max_white_space_ratio: float | None = _most(0.25, "Largest share of white space")
    max_parentheses_ratio: float | None = _most(0.1, "Largest share of brackets")
    max_boilerplate_string_ratio: float | None = _most(0.4, "Largest share of paragraphs about cookies and terms")
    max_repeated_line_fraction: float | None = _most(0.7, "Smallest share of lines left when each stands once")
    max_repeated_paragraphs_ratio: float | None = _most(0.7, "Smallest share of paragraphs left when each stands once")
    max_repeated_lines_char_ratio: float | None = _most(0.8, "The same for lines, in characters")
    max_repeated_paragraphs_char_ratio: float | None = _most(0.8, "The same for paragraphs, in characters")
    min_words: int | None = _most(50, "Fewest words")  # type: ignore[assignment]
    max_words: int | None = _most(100_000, "Most words")  # type: ignore[assignment]
    max_num_sentences_without_endmark_ratio: float | None = _most(0.85, "Largest share of lines without an end mark")
    min_words_with_alphabets: float | None = _most(0.8, "Smallest share of words with a letter")
    min_num_common_words: int | None = _most(2, "Fewest stop words, repeated ones counted")  # type: ignore[assignment]
    min_mean_word_length: float | None = _most(3, "Smallest mean length of a word, in characters")
    max_mean_word_length: float | None = _most(10, "Largest mean length of a word, in characters")
    max_word_length: int | None = _most(1000, "Length of the longest word")  # type: ignore[assignment]
    max_num_lines_ending_with_ellipsis_ratio: float | None = _most(0.3, "Largest share of lines ending in an ellipsis")
    top_2_gram: float | None = _most(0.20, "Largest share of characters in the most frequent 2-gram")
    top_3_gram: float | None = _most(0.18, "Largest share of characters in the most frequent 3-gram")
    top_4_gram: float | None = _most(0.16, "Largest share of characters in the most frequent 4-gram")
    dup_5_gram: float | None = _most(0.15, "Largest share of characters in 5-grams that stood before")
    dup_6_gram: float | None = _most(0.14, "Largest share of characters in 6-grams that stood before")
    dup_7_gram: float | None = _most(0.13, "Largest share of characters in 7-grams that stood before")
    dup_8_gram: float | None = _most(0.12, "Largest share of characters in 8-grams that stood before")
    dup_9_gram: float | None = _most(0.11, "Largest share of characters in 9-grams that stood before")
    dup_10_gram: float | None = _most(0.10, "Largest share of characters in 10-grams that stood before")
    max_bullet_lines_ratio: float | None = _most(0.9, "Largest share of lines that begin with a bullet, '-' is none")


class Config(Thresholds):
    """Options of `- rule: nemo_heuristics`."""

    per_language: Annotated[dict[str, Thresholds], AfterValidator(by_language_code)] = Field(
        default_factory=dict,
        description="A complete other set of thresholds for a language code; what is not given in it is the "
        "published value.",
    )


def judge(config: Config, features: pa.Table) -> Verdicts:
    """One verdict a row, the reason being NeMo's name of a filter; abstains in other languages, on code and tables."""
    limit = LanguageThresholds(features, config, config.per_language)
    chars, words = column(features, "num_chars"), column(features, "num_runs")
    lines = column(features, "num_content_lines")
    is_english = pc.equal(features["language"], "en").to_numpy(zero_copy_only=False)
    letters = np.where(is_english, column(features, "num_ascii_alphanumeric"), column(features, "num_alphanumeric"))
    ended = lines - column(features, "num_unended_lines")
    ended = np.where(is_english, ended, np.maximum(ended, column(features, "num_terminal_lines")))
    boilerplate = ratio(column(features, "num_boilerplate_paragraphs"), column(features, "num_blank_line_breaks") + 1)
    paragraph_chars = chars - 2 * column(features, "num_blank_line_breaks")
    line_chars = chars - column(features, "num_newlines")

    def share(name: str) -> Floats:
        """Of all characters; 1 in an empty text, as NeMo has it."""
        return np.where(chars == 0, 1.0, ratio(column(features, name), chars))

    def left(lost: str, whole: Floats) -> Floats:
        """What is left of `whole` without the repetitions."""
        return 1 - ratio(column(features, lost), whole)

    others = np.where(chars == 0, 1.0, 1 - ratio(letters + column(features, "num_plain_marks"), chars))
    mean_length = ratio(chars - column(features, "num_whitespace"), words)
    checks = [
        above("alpha_numeric", others, limit["max_non_alpha_numeric_to_text_ratio"]),
        above(
            "symbol_to_word", ratio(column(features, "num_symbol_runs"), words), limit["max_symbol_to_word_ratio"]
        ),
        above("numbers_ratio", share("num_digits"), limit["max_number_to_text_ratio"]),
        above("urls_ratio", share("num_url_chars"), limit["max_url_to_text_ratio"]),
        above("white_space", share("num_blanks"), limit["max_white_space_ratio"]),
        above("parentheses_ratio", share("num_parentheses"), limit["max_parentheses_ratio"]),
        above(
            "boilerplate_string_ratio",
            np.where(column(features, "num_lorem_ipsum") > 0, 1.0, boilerplate),
            limit["max_boilerplate_string_ratio"],
        ),
        below("repeated_lines", left("num_duplicate_content_lines", lines), limit["max_repeated_line_fraction"]),
        below(
            "repeated_paragraphs",
            left("num_duplicate_paragraphs", column(features, "num_paragraphs")),
            limit["max_repeated_paragraphs_ratio"],
        ),
        below(
            "repeated_lines_char",
            left("duplicate_content_line_chars", line_chars),
            limit["max_repeated_lines_char_ratio"],
        ),
        below(
            "repeated_paragraphs_char",
            left("duplicate_paragraph_chars", paragraph_chars),
            limit["max_repeated_paragraphs_char_ratio"],
        ),
        *_both("word_count", words, limit["min_words"], limit["max_words"]),
        above("punctuation", 1 - ratio(ended, lines), limit["max_num_sentences_without_endmark_ratio"]),
        below(
            "words_without_alphabets",
            ratio(column(features, "num_alpha_runs"), words),
            limit["min_words_with_alphabets"],
        ),
        below("common_english_words", column(features, "num_stop_word_runs"), limit["min_num_common_words"]),
        *_both("mean_word_length", mean_length, limit["min_mean_word_length"], limit["max_mean_word_length"]),
        above("max_word_length", column(features, "longest_run_chars"), limit["max_word_length"]),
        above(
            "ellipsis",
            ratio(column(features, "num_nemo_ellipsis_lines"), lines),
            limit["max_num_lines_ending_with_ellipsis_ratio"],
        ),
        *(
            above(f"repeating_top_{n}grams", share(f"top_{n}_gram_chars"), limit[f"top_{n}_gram"])
            for n in TOP_NGRAM_SIZES
        ),
        *(
            above(f"repeating_dup_{n}gram", share(f"duplicate_{n}_gram_chars"), limit[f"dup_{n}_gram"])
            for n in DUPLICATE_NGRAM_SIZES
        ),
        above(
            "bullet_ratio", ratio(column(features, "num_nemo_bullet_lines"), lines), limit["max_bullet_lines_ratio"]
        ),
    ]
    judged = in_languages(features, {*LANGUAGES, *config.per_language}) & is_prose(features)
    return first_failing(checks, judged)


def _both(reason: str, score: Floats, least: Floats, most: Floats) -> list[Check]:
    return [below(reason, score, least), above(reason, score, most)]
