"""C4's line rules: lines that are no sentences go, and pages of which too little is left.

Rules of Raffel et al. 2020 (arXiv:1910.10683), section 2.2; names, thresholds, reason strings and their order are those
of datatrove's C4QualityFilter, and the text after the edits is the one it leaves, byte for byte, on English text whose
sentences are counted alike (benchmarks/rule_parity.py). FineWeb's setting is `filter_no_terminal_punct: false`.

A span rule: what is taken out are spans of the stored text, and changing an option reads the text again. A line ends as
a sentence in English by the five published marks; in other languages also by any script's sentence ends and closing
quotes. Phrases of policies stand per language in c4_words.py. In languages without spaces between words, and on code
and tables, the rule abstains. Not built: datatrove's `split_paragraph: False`.
"""

from functools import lru_cache
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from datasets_pipeline.features.stop_words import STOP_WORD_LANGUAGES
from datasets_pipeline.rules.applicability import LanguageThresholds, by_language_code, in_languages, is_prose
from datasets_pipeline.rules.c4_words import ABBREVIATIONS, POLICY_PHRASES
from datasets_pipeline.rules.verdicts import Check, Verdicts, below, column, first_failing
from ingot.schemas import SPAN

VERSION = "1"
KIND = "span"
LANGUAGES = STOP_WORD_LANGUAGES
"""Languages whose words are separated by spaces; `per_language` can add others."""
READS_LANGUAGE = True

SPAN_KINDS = ("c4_line", "c4_citation", "c4_line_break")


class Thresholds(BaseModel):
    """One complete set of thresholds; null switches a check off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    remove_citations: bool = Field(default=True, description="Take out [1], [edit] and [citation needed] (published).")
    filter_no_terminal_punct: bool = Field(
        default=True,
        description="Take out lines that do not end as a sentence does (published); false as in FineWeb.",
    )
    min_num_sentences: int | None = Field(
        default=5, ge=1, description="Fewest sentences that must be left, else the document is dropped (published)."
    )
    min_words_per_line: int | None = Field(
        default=3, ge=1, description="Take out lines with fewer words between white space (published)."
    )
    max_word_length: int | None = Field(
        default=1000, ge=1, description="Take out lines with a longer word, in characters (published)."
    )
    filter_lorem_ipsum: bool = Field(default=True, description="Drop documents with 'lorem ipsum' (published).")
    filter_javascript: bool = Field(default=True, description="Take out lines that name JavaScript (published).")
    filter_curly_bracket: bool = Field(
        default=True, description="Drop documents with '{' (published); on documentation with code, set it to false."
    )
    filter_policy: bool = Field(
        default=True, description="Take out lines about cookies and terms of use, in its language (published)."
    )


class Config(Thresholds):
    """Options of `- rule: c4_quality`."""

    per_language: Annotated[dict[str, Thresholds], AfterValidator(by_language_code)] = Field(
        default_factory=dict,
        description="A complete other set of thresholds for a language code; what is not given in it is the "
        "published value.",
    )


def find_spans(config: Config, documents: pa.Table, key: bytes) -> pa.Table:
    """spans (deletions, and a newline where lines were separated by another sign) and the counts of c4_kernels.COUNTS.

    Documents that the rule drops are not edited; lines after the one that drops a document are not counted.
    """
    from datasets_pipeline.features.characters import character_classes
    from datasets_pipeline.rules import c4_kernels

    text = documents["text"].combine_chunks().cast(pa.large_string())
    _, offset_buffer, data_buffer = text.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[text.offset : text.offset + len(text) + 1] if len(text) else [0]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else np.zeros(0, np.uint8)
    languages = sorted({*LANGUAGES, *config.per_language})
    rows = np.full(len(text), -1, np.int64)
    judged = _judged(config, documents)
    found = pc.index_in(documents["language"], value_set=pa.array(languages, pa.string()))
    rows[judged] = found.to_numpy(zero_copy_only=False)[judged].astype(np.int64)
    counts, firsts, spans = c4_kernels.edit_lines(
        data, np.asarray(offsets, np.int64), rows, _options(config, languages), character_classes(),
        c4_kernels.mark_table(), *_word_tables(tuple(languages)),
    )  # fmt: skip
    columns: dict[str, Any] = {"spans": _span_array(firsts, spans)}
    columns |= {name: counts[:, index] for index, name in enumerate(c4_kernels.COUNTS)}
    return pa.table(columns)


def judge(config: Config, features: pa.Table, found: pa.Table) -> Verdicts:
    """Reasons lorem_ipsum, curly_bracket (the one that stands first), too_few_sentences: sentences left, fewest."""
    limit = LanguageThresholds(features, config, config.per_language)
    none = np.full(len(features), np.nan)
    checks = [
        Check("lorem_ipsum", column(found, "has_lorem_ipsum") > 0, none, none),
        Check("curly_bracket", column(found, "has_curly_bracket") > 0, none, none),
        below("too_few_sentences", column(found, "num_sentences"), limit["min_num_sentences"]),
    ]
    return first_failing(checks, _judged(config, features))


def _judged(config: Config, table: pa.Table) -> np.ndarray:
    return in_languages(table, {*LANGUAGES, *config.per_language}) & is_prose(table)


def _options(config: Config, languages: list[str]) -> np.ndarray:
    """int64 [languages, options]; -1 switches a number off."""
    from datasets_pipeline.rules.c4_kernels import OPTIONS

    table = np.empty((len(languages), len(OPTIONS)), np.int64)
    for row, language in enumerate(languages):
        thresholds = config.per_language.get(language, config)
        for index, name in enumerate(OPTIONS):
            value = language == "en" if name == "english_line_ends" else getattr(thresholds, name)
            table[row, index] = -1 if value is None else int(value)
    return table


@lru_cache(maxsize=8)
def _word_tables(languages: tuple[str, ...]) -> tuple[np.ndarray, ...]:
    """(first bytes, phrases, their bounds, those of each language, abbreviations, those of each language)."""
    from datasets_pipeline.rules.c4_kernels import abbreviation_key

    starts = np.zeros(256, np.uint8)
    for character, bit in (("l", 1), ("j", 2), ("{", 4)):
        starts[[ord(character), ord(character.upper())]] |= bit
    phrases: list[bytes] = []
    keys: list[int] = []
    phrase_ranges, key_ranges = [], []
    for language in languages:
        # Letters beyond ASCII are compared as they stand, so a phrase in capitals is one of its own.
        listed = [p.encode() for phrase in POLICY_PHRASES.get(language, ()) for p in _spellings(phrase)]
        phrase_ranges.append((len(phrases), len(phrases) + len(listed)))
        phrases += listed
        words = [abbreviation_key(word) for word in ABBREVIATIONS.get(language, "").split()]
        key_ranges.append((len(keys), len(keys) + len(words)))
        keys += words
    for phrase in phrases:
        starts[[phrase[0], ord(chr(phrase[0]).upper())]] |= 8
    return (
        starts,
        np.frombuffer(b"".join(phrases), np.uint8),
        np.cumsum([0, *map(len, phrases)]),
        np.array(phrase_ranges),
        np.array(keys, np.uint64),
        np.array(key_ranges),
    )


def _spellings(phrase: str) -> list[str]:
    """The phrase, and where it has letters beyond ASCII those in capitals, the rest in small letters."""
    capitals = "".join(c if c.isascii() else c.upper() for c in phrase)
    return [phrase] if capitals == phrase else [phrase, capitals]


def _span_array(firsts: np.ndarray, spans: np.ndarray) -> pa.Array:
    kinds = pa.array(SPAN_KINDS).take(pa.array(spans[:, 2]))
    breaks = spans[:, 2] == SPAN_KINDS.index("c4_line_break")
    values = pa.StructArray.from_arrays(
        [
            pa.array(spans[:, 0].astype(np.int32)),
            pa.array(spans[:, 1].astype(np.int32)),
            kinds,
            pa.array(np.where(breaks, "\n", ""), pa.string(), mask=~breaks),
            pa.nulls(len(spans), pa.string()),
        ],
        fields=list(SPAN),
    )
    return pa.ListArray.from_arrays(pa.array(firsts.astype(np.int32)), values)
