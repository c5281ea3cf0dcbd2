"""The feature table: every column, its Arrow type, what it counts, and in which unit.

Counts are integers; the rules divide. A ratio computed here would freeze one rule's reading of it.
Denominators are columns like any other: see `meaning` for which quotient a published rule takes.
"""

from dataclasses import dataclass

import pyarrow as pa

#: Raised whenever any stored number could differ: segmentation, character classes, word lists, counting.
FEATURE_VERSION = "2"

#: FineWeb's definition of a short line, in characters; part of what `num_short_lines` counts.
SHORT_LINE_CHARS = 30
#: n-grams of these many words are counted.
NGRAM_SIZES = (2, 3, 4, 5, 6, 7, 8, 9, 10)
#: Of those, the sizes that Gopher's published rules judge.
TOP_NGRAM_SIZES = (2, 3, 4)
DUPLICATE_NGRAM_SIZES = (5, 6, 7, 8, 9, 10)
#: Longer documents are counted in stretches, so that memory stays bounded and time linear: lines, paragraphs and
#: n-grams of a stretch are compared with each other, and the counts of all stretches are added.
STRETCH_WORDS = 1 << 18
STRETCH_LINES = 1 << 18
#: A run of characters without whitespace is split into words in pieces of at most this many characters.
MAX_PIECE_CHARS = 1 << 16
#: A tag is at most this long, in bytes; a '<' without '>' that near, and before the next '<', is text.
MAX_TAG_BYTES = 1000


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
    _count("num_alphanumeric", "character", "letters and numbers of any script (what str.isalnum accepts)"),
    _count("num_ascii_alphanumeric", "character", "A to Z, a to z, 0 to 9"),
    _count("num_plain_marks", "character", "newline ? ! , . (NeMo's alphanumeric: these and num_ascii_alphanumeric)"),
    _count("num_blanks", "character", "space, tab, newline, carriage return, backspace (NeMo's white space)"),
    _count("num_parentheses", "character", "( ) [ ] { } ⟨ ⟩ (as NeMo lists them)"),
    _count("num_markdown_chars", "character", "signs of Markdown: # * _ ` ~ | >"),
    _count("num_opening_braces", "character", "'{' (C4 drops a page that holds one)"),
    _count("num_closing_braces", "character", "'}'"),
    _count("num_semicolons", "character", "';'"),
    _count("num_equals_signs", "character", "'='"),
    _count("num_hashes", "character", "'#'"),
    _count("num_ellipses", "occurrence", "'...' (not overlapping) and '…'"),
    _count("num_urls", "occurrence", "'://' after an ASCII letter"),
    _count("num_url_chars", "character", "in web addresses: 'http://' or 'https://' and what NeMo lets follow"),
    _count(
        "num_tag_chars",
        "character",
        f"in tags and comments of HTML and XML: from '<' before a letter, '/', '!' or '?' to '>' within "
        f"{MAX_TAG_BYTES} bytes; a comment ends at '-->'",
    ),
    _count("num_hidden_chars", "character", "between the tags of script and style elements"),
    _count("num_xml_headers", "occurrence", "'<?xml version=' in the first 100 characters: 0 or 1"),
    # lines ended by any Unicode line break (str.splitlines), as Gopher quality reads them
    _count("num_text_lines", "line", "split at every Unicode line break; no line after the last break"),
    _count("num_bullet_lines", "line", "of num_text_lines: '•' or '-' is the first that is not whitespace"),
    _count("num_ellipsis_lines", "line", "of num_text_lines: '...' or '…' is the last that is not whitespace"),
    _count(
        "num_c4_lines",
        "line",
        "of num_text_lines: the last that is not whitespace is one of . ? ! \" ' and the line does not end in '...'",
    ),
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
    _count("num_duplicate_content_lines", "line", "of num_content_lines: the same line stood before"),
    _count("duplicate_content_line_chars", "character", "in those duplicate content lines"),
    # the same lines, as NeMo reads them (its sentences) and as rules for source code do
    _count("num_unended_lines", "line", "of num_content_lines: the last that is not whitespace is none of . ? ! \" '"),
    _count("num_nemo_bullet_lines", "line", "of num_content_lines: begins with one of NeMo's bullets, '-' is none"),
    _count("num_nemo_ellipsis_lines", "line", "of num_content_lines: ends with one of NeMo's ellipses or 'read more'"),
    _count("longest_line_chars", "character", "in the longest line between \\n"),
    _count("num_comment_lines", "line", "of num_content_lines: begins with # // /* * -- ; % <!-- after blanks"),
    _count("comment_line_chars", "character", "in those comment lines, blanks at either end left out"),
    _count("num_blank_line_breaks", "occurrence", "of two \\n, not overlapping: NeMo's paragraphs are one more"),
    _count(
        "num_boilerplate_phrases",
        "occurrence",
        "of C4's and NeMo's phrases, any case: terms of use; privacy policy or overview; cookie policy; "
        "privacy & (or and) cookies policy; use, uses, use of cookies; necessary cookies are absolutely essential; "
        "without changing your cookie settings",
    ),
    _count("num_boilerplate_paragraphs", "paragraph", "between two \\n, with such a phrase or 'lorem ipsum' in it"),
    _count("num_lorem_ipsum", "occurrence", "of 'lorem ipsum', any case"),
    # runs of characters that are not whitespace, what str.split calls words, as C4 and NeMo read them
    _count("num_runs", "run", "of characters that are not whitespace; they hold num_chars - num_whitespace characters"),
    _count("longest_run_chars", "character", "in the longest run"),
    _count("num_alpha_runs", "run", "with at least one letter"),
    _count("num_symbol_runs", "run", "an ellipsis by NeMo's list, or more than half of it are groups of '#'"),
    _count("num_stop_word_runs", "run", "that are a stop word of the document's language, written as listed"),
    _count(
        "num_sentences",
        "sentence",
        "ends of sentences: a run that ends in sentence-ending marks, before quotes and closing brackets; in scripts "
        "without spaces each such mark",
    ),
    # words: segmentation is documented in chunk_kernels.py
    _count("num_words", "word", "all words; punctuation that was split off is a word"),
    _count("num_non_symbol_words", "word", "words with at least one character that is not punctuation"),
    _count("non_symbol_word_chars", "character", "in num_non_symbol_words: the quotient is the mean word length"),
    _count("num_alpha_words", "word", "words with at least one letter"),
    _count("num_stop_words", "word", "stop words of the document's language, any case"),
    _count("num_keywords", "word", "key words of common programming languages (stop_words.KEYWORDS)"),
    _count("num_distinct_stop_words", "word type", "listed stop words that occur, written as listed"),
    _count("num_distinct_stop_words_any_case", "word type", "listed stop words that occur in any case"),
    # repeated n-grams of words
    *(
        _count(
            f"top_{n}_gram_chars",
            "character",
            f"length of the most frequent {n}-gram (joined by spaces, the earliest of equals) times its count",
        )
        for n in NGRAM_SIZES
    ),
    *(
        _count(
            f"duplicate_{n}_gram_chars",
            "character",
            f"in {n}-grams (joined by nothing) that stood before; after a hit the scan skips {n} words",
        )
        for n in NGRAM_SIZES
    ),
)

COLUMNS: tuple[FeatureColumn, ...] = LABEL_COLUMNS + COUNT_COLUMNS


def feature_schema() -> pa.Schema:
    """Schema of `compute_features`, without doc_id; no column is nullable.

    Unit and meaning are kept in this module and in the docs, not in the stored metadata, so that
    a better sentence does not change the bytes of a feature file.
    """
    return pa.schema([pa.field(c.name, c.type, nullable=False) for c in COLUMNS])
