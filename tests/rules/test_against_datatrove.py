"""Our Gopher and FineWeb verdicts beside those of datatrove's own filters, reason by reason.

datatrove splits words with spaCy, which is not among our dependencies. Its filters get our Python word list
(tests/features/reference_words.py) through a stub tokenizer instead, so that formulas, order, thresholds,
reasons and n-gram quirks are compared on the same words; word segmentation itself has its own tests.
"""

from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from datasets_pipeline.rules import fineweb_quality, gopher_quality, gopher_repetition
from tests.features.feature_rows import features_of
from tests.features.real_documents import real_documents
from tests.features.reference_words import reference_words
from tests.rules.verdict_rows import reasons

NUM_DOCUMENTS = 300
PROSE = (
    "The road to the old mill goes along the river and through the wood, and we have walked it with friends in "
    "every season of the year. "
)

EDGE_CASES = {
    "empty": "",
    "blank": " \n \n",
    "one word": "word",
    "short": PROSE,
    "prose": PROSE * 3,
    "49 words": "word " * 49,
    "50 words": "word " * 50,
    "short words": "a b c d e " * 20,
    "long words": "incomprehensibilities " * 60,
    "hashes": (PROSE + "# " * 4) * 4,
    "ellipses": (PROSE + "... ") * 4 + "… " * 12,
    "bullets": "".join(f"- the word of line {k} and that\n" for k in range(20)),
    "other bullets": "".join(f"  • the word of line {k} and that\n" for k in range(20)),
    "ends with ellipsis": "".join(f"the words of line number {k} and that go on...\n" for k in range(20)),
    "numbers": "the 1234 5678 9012 3456 7890 of " * 20,
    "no stop words": " ".join(f"wort{chr(97 + k % 26)}{chr(97 + k // 26)}" for k in range(80)),
    "capitals": (PROSE * 3).upper(),
    "repeated paragraphs": "\n\n".join([PROSE, PROSE, "Something else entirely, with words of its own."] * 2),
    "repeated lines": "\n".join([f"{PROSE}{k}" for k in range(6)] + ["again and again"] * 4),
    "short repeated lines": "\n".join(["x"] * 30 + [PROSE]),
    "top 2-gram": "red car " * 10 + PROSE,
    "top 4-gram": "one two three four five " * 4 + PROSE * 1,
    "duplicate 10-grams": (PROSE + "Then it was over. ") * 2 + PROSE[:40],
    "joined differently": "a bc d e f ab c d e f " * 5,
    "no sentence ends": "\n".join(f"a line number {k} without an end of the sentence" for k in range(10)),
    "short lines": "\n".join(f"Line {k}." for k in range(30)),
    "list": "\n".join(f"Supercalifragilistic{k} expialidociousness." for k in range(60)),
    "windows line ends": ("The first line of it.\r\n\r\nThe second line with that.\r\n" * 10),
    "trailing blanks": "".join(f"The sentence number {k} has a blank after its end. \n" for k in range(9)),
    "cjk": "これは日本語の文章です。" * 40,
    "emoji": "🎉 🎊 " * 60,
    "mixed": PROSE + "これは日本語の文章です。" * 5 + "🎉🎊" * 10 + PROSE,
    "control characters": "\x00\x01 the \x7f of " * 30,
    "arabic": "هذا نص طويل باللغة العربية؟ " * 20,
}


@pytest.fixture
def filters(monkeypatch: pytest.MonkeyPatch) -> dict[ModuleType, Any]:
    """datatrove's filters with our words in spaCy's place."""
    text = pytest.importorskip("datatrove.utils.text")
    tokenizers = pytest.importorskip("datatrove.utils.word_tokenizers")
    published = pytest.importorskip("datatrove.pipeline.filters")

    class OurWords:
        word_tokenize = staticmethod(reference_words)

    monkeypatch.setattr(tokenizers, "load_word_tokenizer", lambda language: OurWords())
    text.split_into_parts.cache_clear()
    return {
        gopher_quality: published.GopherQualityFilter(),
        gopher_repetition: published.GopherRepetitionFilter(),
        fineweb_quality: published.FineWebQualityFilter(),
    }


def _published_reason(published: Any, text: str) -> str | None:
    from datatrove.data import Document

    try:
        answer = published.filter(Document(text=text, id="0"))
    except ZeroDivisionError:
        return "division by zero"
    return None if answer is True else answer[1]


def _differences(published: Any, rule: ModuleType, texts: list[str], name: Callable[[int], str]) -> list[str]:
    ours = reasons(rule, features_of(texts))
    theirs = [_published_reason(published, text) for text in texts]
    return [f"{name(k)}: datatrove {b}, we {a}" for k, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]


@pytest.mark.parametrize("rule", [gopher_quality, gopher_repetition, fineweb_quality])
def test_reasons_on_real_english_documents_are_datatroves(rule: ModuleType, filters: dict[ModuleType, Any]) -> None:
    # The long tail of documents costs datatrove minutes and shows nothing new.
    texts = [text for text in real_documents(language="en") if len(text) < 30_000][:NUM_DOCUMENTS]
    different = _differences(filters[rule], rule, texts, lambda k: "document")
    agreement = 1 - len(different) / len(texts)
    assert agreement >= 0.999, f"agreement {agreement:.4f}; classes of difference: {Counter(different)}"


@pytest.mark.parametrize("rule", [gopher_quality, gopher_repetition, fineweb_quality])
def test_reasons_on_edge_cases_are_datatroves(rule: ModuleType, filters: dict[ModuleType, Any]) -> None:
    names = list(EDGE_CASES)
    different = _differences(filters[rule], rule, list(EDGE_CASES.values()), lambda k: names[k])
    assert not different, "; ".join(different)


def test_the_edge_cases_reach_every_reason_but_the_rarest(filters: dict[ModuleType, Any]) -> None:
    features = features_of(list(EDGE_CASES.values()))
    reached = {r for rule in filters for r in reasons(rule, features) if r}
    assert reached >= {
        "gopher_short_doc", "gopher_below_avg_threshold", "gopher_above_avg_threshold", "gopher_too_many_hashes",
        "gopher_too_many_ellipsis", "gopher_too_many_bullets", "gopher_too_many_end_ellipsis",
        "gopher_below_alpha_threshold", "gopher_enough_stop_words",
        "empty", "dup_para_frac", "dup_line_frac", "top_2_gram", "top_4_gram", "duplicated_5_n_grams",
        "line_punct_ratio", "short_line_ratio", "char_dup_ratio", "list_ratio",
    }  # fmt: skip


def test_published_defaults_are_datatroves(filters: dict[ModuleType, Any]) -> None:
    quality, repetition, fineweb = (filters[r] for r in (gopher_quality, gopher_repetition, fineweb_quality))
    ours = gopher_quality.Config()
    for field in gopher_quality.Thresholds.model_fields:
        if field != "stop_words_any_case":
            assert getattr(ours, field) == getattr(quality, field), field
    limits = gopher_repetition.Config()
    for field in ("dup_line_frac", "dup_para_frac", "dup_line_char_frac", "dup_para_char_frac"):
        assert getattr(limits, field) == getattr(repetition, field), field
    assert all(getattr(limits, f"top_{n}_gram") == share for n, share in repetition.top_n_grams)
    assert all(getattr(limits, f"dup_{n}_gram") == share for n, share in repetition.dup_n_grams)
    web = fineweb_quality.Config()
    assert web.line_punct_thr == fineweb.line_punct_thr
    assert web.short_line_thr == fineweb.short_line_threshold
    assert web.char_duplicates_ratio == fineweb.char_duplicates_ratio
    assert web.new_line_ratio == fineweb.new_line_ratio
