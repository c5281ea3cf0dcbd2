"""NeMo Curator's heuristic filters: ours beside a plain Python reading of its published definitions."""

import re
from collections import Counter
from collections.abc import Callable

import pytest

from datasets_pipeline.features.stop_words import STOP_WORDS
from datasets_pipeline.rules import nemo_heuristics
from tests.features.feature_rows import features_of
from tests.features.real_documents import real_documents
from tests.features.test_other_filters import ADDRESS, BULLETS, ELLIPSES, END_MARKS, PHRASES
from tests.rules.verdict_rows import reasons, rows

PROSE = "The road to the old mill goes along the river and through the wood, and we have walked it with friends. "


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def _boilerplate(text: str) -> float:
    parts = [part.lower() for part in text.split("\n\n")]
    if any("lorem ipsum" in part for part in parts):
        return 1.0
    return sum(any(phrase in part for phrase in PHRASES) for part in parts) / len(parts)


def _symbols(text: str) -> float:
    words = text.split()
    return sum(w in ELLIPSES or len(re.findall("#+", w)) / len(w) > 0.5 for w in words) / len(words) if words else 1.0


def _share(pattern: str) -> Callable[[str], float]:
    return lambda text: len(re.findall(pattern, text)) / len(text) if text else 1.0


def _of_lines(holds: Callable[[str], bool]) -> Callable[[str], float]:
    return lambda text: sum(map(holds, _lines(text))) / len(_lines(text)) if _lines(text) else 1.0


def _mean(text: str) -> float:
    return sum(map(len, text.split())) / len(text.split()) if text.split() else 0.0


# name: whether a text is kept. Those that differ by definition (paragraphs, n-grams) have tests of their own.
KEEPS: dict[str, Callable[[str], bool]] = {
    "alpha_numeric": lambda t: (1 - _share("[a-zA-Z0-9\n?!,.]")(t) if t else 1.0) <= 0.25,
    "symbol_to_word": lambda t: _symbols(t) <= 0.1,
    "numbers_ratio": lambda t: _share(r"\d")(t) <= 0.15,
    "urls_ratio": lambda t: (sum(map(len, ADDRESS.findall(t))) / len(t) if t else 1.0) <= 0.2,
    "white_space": lambda t: _share("[\t\n\r\b ]")(t) <= 0.25,
    "parentheses_ratio": lambda t: _share(r"[{}⟨⟩\[\]()]")(t) <= 0.1,
    "boilerplate_string_ratio": lambda t: _boilerplate(t) <= 0.4,
    "repeated_lines": lambda t: not _lines(t) or len(set(_lines(t))) / len(_lines(t)) >= 0.7,
    "word_count": lambda t: 50 <= len(t.split()) <= 100_000,
    "punctuation": lambda t: _of_lines(lambda s: not s.strip().endswith(END_MARKS))(t) <= 0.85,
    "words_without_alphabets": lambda t: sum(any(c.isalpha() for c in w) for w in t.split()) >= 0.8 * len(t.split()),
    "common_english_words": lambda t: sum(w in STOP_WORDS["en"] for w in t.split()) >= 2,
    "mean_word_length": lambda t: 3 <= _mean(t) <= 10,
    "max_word_length": lambda t: max(map(len, t.split()), default=1001) <= 1000,
    "ellipsis": lambda t: _of_lines(lambda s: s.strip().lower().endswith(ELLIPSES))(t) <= 0.3,
    "bullet_ratio": lambda t: _of_lines(lambda s: s.strip().startswith(BULLETS))(t) <= 0.9,
}
FIELDS = {
    "alpha_numeric": ["max_non_alpha_numeric_to_text_ratio"], "symbol_to_word": ["max_symbol_to_word_ratio"],
    "numbers_ratio": ["max_number_to_text_ratio"], "urls_ratio": ["max_url_to_text_ratio"],
    "white_space": ["max_white_space_ratio"], "parentheses_ratio": ["max_parentheses_ratio"],
    "boilerplate_string_ratio": ["max_boilerplate_string_ratio"], "repeated_lines": ["max_repeated_line_fraction"],
    "word_count": ["min_words", "max_words"], "punctuation": ["max_num_sentences_without_endmark_ratio"],
    "words_without_alphabets": ["min_words_with_alphabets"], "common_english_words": ["min_num_common_words"],
    "mean_word_length": ["min_mean_word_length", "max_mean_word_length"], "max_word_length": ["max_word_length"],
    "ellipsis": ["max_num_lines_ending_with_ellipsis_ratio"], "bullet_ratio": ["max_bullet_lines_ratio"],
}  # fmt: skip
MADE_UP = [
    PROSE * 4, "word", PROSE + "# " * 40, PROSE + "12345 " * 60, PROSE + "https://a.b/c " * 20, PROSE + "     \n" * 60,
    PROSE * 3 + "()[]{} " * 30, "We use cookies.\n\nTerms of use.\n\n" + PROSE, "Lorem ipsum\n\n" * 2 + PROSE * 9,
    "a line of it\n" * 30, PROSE.replace(".", "") + "\nno end of it" * 20, "a b c d " * 40,
    "incomprehensibilities " * 60,
    PROSE * 3 + "x" * 1001, (PROSE.strip() + "...\n") * 2 + PROSE, "• a point of it\n" * 20,
    "the of " * 30 + "5 6 7 8 " * 40,
    "WORT UND WORT " * 40,
]  # fmt: skip


@pytest.mark.parametrize("name", KEEPS)
def test_a_filter_keeps_what_its_definition_keeps(name: str) -> None:
    texts = MADE_UP + [text for text in real_documents(language="en") if len(text) < 30_000][:150]
    assert not {text: 1 for text in texts if not text.split()}
    features = features_of(texts)
    everything = nemo_heuristics.Thresholds.model_fields
    only = {field: None for field in everything if field not in FIELDS[name]}
    found = reasons(nemo_heuristics, features, **only)
    different = [text[:60] for text, reason in zip(texts, found, strict=True) if (reason is None) != KEEPS[name](text)]
    assert not different
    assert set(found) == {None, name}, "no text shows this filter"


def test_repeated_paragraphs_and_ngrams_are_dropped() -> None:
    features = features_of(["\n\n".join([PROSE] * 8 + ["Another paragraph."]), PROSE * 3 + "red car " * 60 + "."])
    lines_off = {"max_repeated_line_fraction": None, "max_repeated_lines_char_ratio": None}
    assert reasons(nemo_heuristics, features, **lines_off)[0] == "repeated_paragraphs"
    assert reasons(nemo_heuristics, features)[1] == "repeating_top_2grams"


def test_reasons_stand_in_the_published_order() -> None:
    found = Counter(reasons(nemo_heuristics, features_of(MADE_UP)))
    assert len(found) >= 8
    assert reasons(nemo_heuristics, features_of(["#### " * 3])) == ["alpha_numeric"]
    assert reasons(nemo_heuristics, features_of([""])) == ["alpha_numeric"]


def test_other_languages_count_their_own_letters_words_and_ends() -> None:
    polish = "Żółć i źdźbło są w książce, którą czytał dziś na ławce. „Czy to jest dobre?”\n" * 3
    text = polish + "\n".join(f"Linia {k} o rzece i o lesie." for k in range(12))
    off = {"max_repeated_line_fraction": None, "max_repeated_lines_char_ratio": None, "dup_10_gram": None}
    off |= {f"dup_{n}_gram": None for n in range(5, 10)} | {f"top_{n}_gram": None for n in (2, 3, 4)}
    assert reasons(nemo_heuristics, features_of([text], "pl"), **off) == [None]
    # The control: read as English it has too few of its letters and none of its words.
    assert reasons(nemo_heuristics, features_of([text], "en"), **off)[0] is not None
    for language, media in (("ja", "text/plain"), ("fi", "text/plain"), ("en", "text/x-python")):
        assert rows(nemo_heuristics.judge(nemo_heuristics.Config(), features_of(["x"], language, media)))[0][3] is True
