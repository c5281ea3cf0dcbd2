"""The feature table: every column, its Arrow type, what it counts, and in which unit.

Counts are integers; the rules divide. A ratio computed here would freeze one rule's reading of it.
Denominators are columns like any other: see `meaning` for which quotient a published rule takes.
"""

from dataclasses import dataclass

import pyarrow as pa

#: Raised whenever any stored number could differ: segmentation, character classes, word lists, counting.
FEATURE_VERSION = "1"

#: FineWeb's definition of a short line, in characters; part of what `num_short_lines` counts.
SHORT_LINE_CHARS = 30
TOP_NGRAM_SIZES = (2, 3, 4)
DUPLICATE_NGRAM_SIZES = (5, 6, 7, 8, 9, 10)


@dataclass(frozen=True)
class FeatureColumn:
    """One column: `unit` is what a value of 1 stands for."""

    name: str
    type: pa.DataType
    unit: str
    meaning: str


def _count(name: str, unit: str, meaning: str) -> FeatureColumn:
    return FeatureColumn(name, pa.int64(), unit, meaning)


LABEL_COLUMNS: tuple[FeatureColumn, ...] = (
    FeatureColumn("media_type", pa.string(), "media type", "as the source or the extractor stated it"),
    FeatureColumn(
        "language",
        pa.string(),
        "ISO 639-1 code",
        "stated by the source, else detected; 'und' where neither is possible; "
        "a language without a two-letter code keeps its ISO 639-3 code",
    ),
    FeatureColumn(
        "language_score",
        pa.float64(),
        "probability",
        "the detector's, rounded to 4 decimals; 1.0 where the source stated the language, 0.0 for 'und'",
    ),
    FeatureColumn("language_stated", pa.bool_(), "flag", "the language is the source's statement, not a guess"),
)

#: In the order in which the kernels write them.
COUNT_COLUMNS: tuple[FeatureColumn, ...] = (
    # characters
    _count("num_bytes", "UTF-8 byte", "length of the text"),
    _count("num_chars", "code point", "length of the text; the repetition rules divide by it"),
    _count("num_newlines", "character", "U+000A"),
    _count("num_whitespace", "character", "Unicode whitespace, newlines included"),
    _count("num_digits", "character", "decimal digits of any script (category Nd)"),
    _count("num_uppercase", "character", "upper-case letters"),
    _count("num_letters", "character", "letters (what str.isalpha accepts)"),
    _count("num_symbol_chars", "character", "punctuation, as datatrove lists it"),
    _count("num_hashes", "character", "'#'"),
    _count("num_ellipses", "occurrence", "'...' (not overlapping) and '…'"),
    _count("num_urls", "occurrence", "'://' after an ASCII letter"),
    # lines ended by any Unicode line break (str.splitlines), as Gopher quality reads them
    _count("num_text_lines", "line", "split at every Unicode line break; no line after the last break"),
    _count("num_bullet_lines", "line", "of num_text_lines: '•' or '-' is the first that is not whitespace"),
    _count("num_ellipsis_lines", "line", "of num_text_lines: '...' or '…' is the last that is not whitespace"),
    # lines between runs of \n, as Gopher repetition reads them
    _count("num_lines", "line", "split at runs of \\n; a run at either end leaves one empty line there"),
    _count("num_duplicate_lines", "line", "of num_lines: the same line stood before"),
    _count("duplicate_line_chars", "character", "in those duplicate lines"),
    _count("num_paragraphs", "paragraph", "stripped text split at runs of two or more \\n"),
    _count("num_duplicate_paragraphs", "paragraph", "the same paragraph stood before"),
    _count("duplicate_paragraph_chars", "character", "in those duplicate paragraphs"),
    # lines with content, as FineWeb quality reads them
    _count("num_content_lines", "line", "split at \\n, those of whitespace alone left out"),
    _count("num_terminal_lines", "line", "of num_content_lines: the very last character ends a sentence"),
    _count("num_short_lines", "line", f"of num_content_lines: at most {SHORT_LINE_CHARS} characters"),
    _count("duplicate_content_line_chars", "character", "in content lines that stood before"),
    # words: segmentation is documented in chunk_kernels.py
    _count("num_words", "word", "all words; punctuation that was split off is a word"),
    _count("num_non_symbol_words", "word", "words with at least one character that is not punctuation"),
    _count("non_symbol_word_chars", "character", "in num_non_symbol_words: the quotient is the mean word length"),
    _count("num_alpha_words", "word", "words with at least one letter"),
    _count("num_stop_words", "word", "stop words of the document's language, any case"),
    _count("num_distinct_stop_words", "word type", "listed stop words that occur, written as listed"),
    _count("num_distinct_stop_words_any_case", "word type", "listed stop words that occur in any case"),
    # repeated n-grams of words
    *(
        _count(
            f"top_{n}_gram_chars",
            "character",
            f"length of the most frequent {n}-gram (joined by spaces, the earliest of equals) times its count",
        )
        for n in TOP_NGRAM_SIZES
    ),
    *(
        _count(
            f"duplicate_{n}_gram_chars",
            "character",
            f"in {n}-grams (joined by nothing) that stood before; after a hit the scan skips {n} words",
        )
        for n in DUPLICATE_NGRAM_SIZES
    ),
)

COLUMNS: tuple[FeatureColumn, ...] = LABEL_COLUMNS + COUNT_COLUMNS


def feature_schema() -> pa.Schema:
    """Schema of `compute_features`, without doc_id; no column is nullable.

    Unit and meaning are kept in this module and in the docs, not in the stored metadata, so that
    a better sentence does not change the bytes of a feature file.
    """
    return pa.schema([pa.field(c.name, c.type, nullable=False) for c in COLUMNS])
