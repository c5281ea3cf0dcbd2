"""Word segmentation: worked examples, and agreement of the compiled kernel with its Python twin."""

import pytest

from datasets_pipeline.features.characters import SYMBOLS, TERMINAL_PUNCTUATION
from tests.features.feature_rows import features_of
from tests.features.real_documents import real_documents
from tests.features.reference_words import reference_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, world!", ["Hello", ",", "world", "!"]),
        ("I don't think we'll", ["I", "do", "n't", "think", "we", "'ll"]),
        ("the dog's (small) tail.", ["the", "dog", "'s", "(", "small", ")", "tail", "."]),
        ("e.g. the U.S. and so on...", ["e.g.", "the", "U.S.", "and", "so", "on", "..."]),
        ("see https://example.com/a-b?c=d, please", ["see", "https://example.com/a-b?c=d", ",", "please"]),
        ("mail someone@example.org now", ["mail", "someone@example.org", "now"]),
        ("path/to/file-name", ["path", "/", "to", "/", "file", "-", "name"]),
        ("10GB of 5% and 3.14", ["10", "GB", "of", "5", "%", "and", "3.14"]),
        ("done.Next a,b 1-2", ["done", ".", "Next", "a", ",", "b", "1", "-", "2"]),
        ("well--known — dash", ["well", "--", "known", "—", "dash"]),
        ("## **bold**", ["#", "#", "*", "*", "bold", "*", "*"]),
        ("日本語 and 한국어", ["日", "本", "語", "and", "한국어"]),
        ("ภาษา", ["ภ", "า", "ษ", "า"]),
        ("x🎉y 🎉🎉", ["x", "🎉", "y", "🎉", "🎉"]),
        ("--- -- -", ["---", "--", "-"]),
        ("", []),
        (" \u00a0\u3000\n", []),
    ],
)
def test_a_text_is_split_as_documented(text: str, words: list[str]) -> None:
    assert reference_words(text) == words
    assert features_of([text])["num_words"].to_pylist() == [len(words)]


def test_the_kernel_splits_every_chunk_of_real_text_as_the_python_twin_does() -> None:
    chunks = sorted({chunk for text in real_documents(limit=600) for chunk in text.split()})[::2]
    _compare_with_twin(chunks)


def test_the_kernel_agrees_with_the_twin_on_text_made_of_separators() -> None:
    pieces = ["a", "B", "é", "1", ".", "..", ",", "-", "--", "/", "'", "'s", "n't", "(", ")", "@", ":", "日", "ั", "🎉"]
    pieces += ["+", "GB"]
    chunks = ["".join((a, b, c, d)) for a in pieces for b in pieces for c in pieces for d in pieces[::3]]
    _compare_with_twin(chunks)


def _compare_with_twin(chunks: list[str]) -> None:
    symbols = set(SYMBOLS) | set(TERMINAL_PUNCTUATION)
    features = features_of(chunks)
    columns = ("num_words", "num_non_symbol_words", "non_symbol_word_chars", "num_alpha_words")
    ours = list(zip(*(features[name].to_pylist() for name in columns), strict=True))
    different = []
    for chunk, row in zip(chunks, ours, strict=True):
        words = reference_words(chunk)
        real = [word for word in words if not set(word) <= symbols]
        letters = sum(any(c.isalpha() for c in word) for word in words)
        if row != (len(words), len(real), sum(map(len, real)), letters):
            different.append(chunk)
    assert not different, f"{len(different)} of {len(chunks)} chunks differ, first: {different[:5]!r}"


def test_the_symbol_lists_are_those_of_datatrove() -> None:
    published = pytest.importorskip("datatrove.utils.text")
    assert set(SYMBOLS) | set(TERMINAL_PUNCTUATION) == published.PUNCTUATION_SET
    assert set(TERMINAL_PUNCTUATION) == published.TERMINAL_PUNCTUATION
