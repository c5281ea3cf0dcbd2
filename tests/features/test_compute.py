"""The feature pass: counts by hand, every shape of input, and independence of batch and order."""

import re
import time
from collections import Counter

import pyarrow as pa
import pytest

from datasets_pipeline.features import COLUMNS, FEATURE_VERSION, compute_features, feature_schema
from datasets_pipeline.features.columns import MAX_PIECE_CHARS, NGRAM_SIZES, STRETCH_WORDS
from ingot.digests import canonical_json, sha256_hex
from ingot.errors import DataError
from tests.features.feature_rows import features_of, row_of
from tests.features.real_documents import real_documents
from tests.features.reference_words import reference_words

STRANGE = [
    "",
    " ",
    "\n",
    "\n\n\n",
    "\n\na\n\n",
    "a",
    "\r\n\r\nx\r\ny\r\n",
    "…",
    "...\n…\n. . .",
    "🎉" * 300,
    "👩‍👩‍👧‍👦 " * 50,
    "漢字かな交じり文。" * 200,
    "\ufeff\u200b\u200d\x00\x01",
    "e\u0301\u0301" * 100,
    "\u2028a\u2029b\x85c\x0bd\x1ce",
    "x" * 100_000,
    "a b " * 50_000,
    "the same line\n" * 500,
    "para one\n\npara one\n\npara two",
    "\U0010ffff\U000e0100",
]


def test_every_column_is_there_with_its_type_and_without_nulls() -> None:
    table = features_of(STRANGE)
    assert table.schema == feature_schema()
    assert table.column_names == [column.name for column in COLUMNS]
    assert all(table[name].null_count == 0 for name in table.column_names)
    assert all(column.meaning and column.unit for column in COLUMNS)


def test_characters_are_code_points_and_bytes_are_utf8() -> None:
    row = row_of("Größe 12 é 漢 🎉 #…\n")
    assert (row["num_chars"], row["num_bytes"], row["num_newlines"]) == (18, len("Größe 12 é 漢 🎉 #…\n".encode()), 1)
    assert (row["num_digits"], row["num_uppercase"], row["num_letters"]) == (2, 1, 7)
    assert (row["num_hashes"], row["num_ellipses"], row["num_whitespace"]) == (1, 1, 6)


def test_character_and_line_counts_equal_their_definition_in_python() -> None:
    texts = STRANGE + real_documents(limit=150)
    features = features_of(texts)
    expected = {
        "num_chars": len,
        "num_bytes": lambda t: len(t.encode()),
        "num_newlines": lambda t: t.count("\n"),
        "num_whitespace": lambda t: sum(c.isspace() for c in t),
        "num_digits": lambda t: sum(c.isdecimal() for c in t),
        "num_uppercase": lambda t: sum(c.isupper() for c in t),
        "num_letters": lambda t: sum(c.isalpha() for c in t),
        "num_hashes": lambda t: t.count("#"),
        "num_ellipses": lambda t: t.count("...") + t.count("…"),
        "num_urls": lambda t: len(re.findall("[A-Za-z]://", t)),
        "num_text_lines": lambda t: len(t.splitlines()),
        "num_bullet_lines": lambda t: sum(s.lstrip().startswith(("•", "-")) for s in t.splitlines()),
        "num_ellipsis_lines": lambda t: sum(s.rstrip().endswith(("...", "…")) for s in t.splitlines()),
        "num_lines": lambda t: len(re.split("\n+", t)) if t else 0,
        "num_paragraphs": lambda t: len(re.split("\n{2,}", t.strip())) if t else 0,
        "num_content_lines": lambda t: sum(bool(s.strip()) for s in t.split("\n")),
        "num_short_lines": lambda t: sum(bool(s.strip()) and len(s) <= 30 for s in t.split("\n")),
    }
    for name, define in expected.items():
        got = features[name].to_pylist()
        wrong = [k for k, text in enumerate(texts) if got[k] != define(text)]
        assert not wrong, f"{name}: differs for texts {wrong[:5]}: {[got[k] for k in wrong[:5]]}"


def test_the_most_frequent_ngram_is_the_earliest_of_equals() -> None:
    row = row_of("aa bb aa bb cccccc dddddd cccccc dddddd")
    # `aa bb` and `cccccc dddddd` come twice each; the first one counts, with its space.
    assert row["top_2_gram_chars"] == 2 * len("aa bb")
    assert row_of("long first word")["top_2_gram_chars"] == len("long first")
    assert row_of("one")["top_2_gram_chars"] == 0


def test_duplicate_ngrams_are_the_same_words_and_the_scan_skips_what_it_counted() -> None:
    five = "alpha beta gamma delta epsilon"
    assert row_of(f"{five} {five} {five}")["duplicate_5_gram_chars"] == 2 * len(five.replace(" ", ""))
    # The same characters in other words are another n-gram (datatrove takes them for one).
    assert row_of("a bc d e f ab c d e f")["duplicate_5_gram_chars"] == 0


def _python_ngrams(words: list[str], size: int) -> tuple[int, int]:
    """(top n-gram characters, duplicate n-gram characters) as datatrove computes them, on tuples of words."""
    grams = [tuple(words[at : at + size]) for at in range(len(words) - size + 1)]
    counts = Counter(grams)
    top = max(counts, key=lambda gram: counts[gram], default=())
    seen: set[tuple[str, ...]] = set()
    duplicate, at = 0, 0
    while at < len(grams):
        if grams[at] in seen:
            duplicate += len("".join(grams[at]))
            at += size
        else:
            seen.add(grams[at])
            at += 1
    return len(" ".join(top)) * counts[top], duplicate


def test_ngram_counts_of_every_size_equal_their_definition_in_python() -> None:
    texts = [text for text in STRANGE if len(text) < 5000] + real_documents(limit=60)
    texts += ["a b a b a b a b c a b a b", "x " * 40, "one two three " * 9 + "four", "p q r s t u v w x y " * 2 + "p q"]
    features = features_of(texts)
    for row, text in enumerate(texts):
        words = reference_words(text)
        for size in NGRAM_SIZES:
            got = tuple(features[f"{kind}_{size}_gram_chars"][row].as_py() for kind in ("top", "duplicate"))
            assert got == _python_ngrams(words, size), (row, size)


def test_a_document_beyond_a_stretch_is_counted_stretch_by_stretch() -> None:
    stretch = "".join(f"w{number} same words\n" for number in range(STRETCH_WORDS // 3)) + "end\n"
    assert len(stretch.split()) == STRETCH_WORDS
    once, twice = row_of(stretch), row_of(stretch * 2)
    for name in ("num_words", "num_runs", "num_letters", *(f"duplicate_{size}_gram_chars" for size in NGRAM_SIZES)):
        assert twice[name] == 2 * once[name], name
    assert twice["top_2_gram_chars"] == 2 * once["top_2_gram_chars"] == 2 * len("same words") * (STRETCH_WORDS // 3)
    assert once["num_duplicate_lines"] == 0 and 0 < twice["num_duplicate_lines"] < STRETCH_WORDS // 3 + 2
    long_run = row_of("é" * (3 * MAX_PIECE_CHARS + 5) + " x")
    assert (long_run["num_words"], long_run["num_runs"]) == (5, 2)
    assert long_run["longest_run_chars"] == 3 * MAX_PIECE_CHARS + 5


def test_a_row_does_not_depend_on_batch_order_or_chunks() -> None:
    texts = STRANGE + real_documents(limit=80)
    whole = features_of(texts)
    reverse = features_of(texts[::-1])
    assert reverse.take(pa.array(range(len(texts) - 1, -1, -1))).equals(whole)
    one_by_one = pa.concat_tables([features_of([text]) for text in texts])
    assert one_by_one.equals(whole)
    chunked = pa.chunked_array([pa.array(texts[:7], pa.large_string()), pa.array(texts[7:], pa.large_string())])
    labels = pa.array(["text/plain"] * len(texts)), pa.array(["en"] * len(texts))
    assert compute_features(chunked, *labels).equals(whole)
    sliced = pa.array(["before", *texts, "after"], pa.large_string()).slice(1, len(texts))
    assert compute_features(sliced, *labels).equals(whole)
    assert compute_features(pa.array(texts, pa.string()), *labels).equals(whole)


def test_no_documents_give_no_rows() -> None:
    assert features_of([]).equals(feature_schema().empty_table())
    empty = pa.chunked_array([], pa.large_string())
    strings = pa.chunked_array([], pa.string())
    assert compute_features(empty, strings, strings).num_rows == 0


def test_wrong_columns_are_refused_without_showing_text() -> None:
    text = pa.array(["secret", None], pa.large_string())
    labels = pa.array(["text/plain"] * 2)
    with pytest.raises(DataError, match="1 nulls") as refused:
        compute_features(text, labels, labels)
    assert "secret" not in str(refused.value)
    with pytest.raises(DataError, match="differ in length"):
        compute_features(text, labels.slice(1), labels)


@pytest.mark.parametrize(
    "unit",
    ["a.b@", "((((", "....", "]].", "'s", "a-", "日", "\n", "x y ", "http://a", "a.a.", "-a@b.", "🎉", "```\n<"]
    + ["<a", "<!-- ", "<script>", "use cookies ", "privacy policy\n", "http://", ")", "a\n\n", "# "],
)
def test_time_grows_with_the_length_alone(unit: str) -> None:
    features_of([unit], language=None)
    started = time.process_time()
    features_of([unit * (1_000_000 // len(unit))], language=None)
    assert time.process_time() - started < 4


def test_stop_words_are_counted_as_listed_and_in_any_case() -> None:
    row = row_of("The cat and THE dog have TO be with the rest of That")
    assert row["num_distinct_stop_words"] == 6  # and have be with the of
    assert row["num_distinct_stop_words_any_case"] == 8
    assert row["num_stop_words"] == 10
    german = row_of("Für die Prüfung ist ÜBER und nicht FÜR", "de")
    assert (german["num_distinct_stop_words"], german["num_distinct_stop_words_any_case"]) == (4, 5)
    assert row_of("the and of", "fi")["num_stop_words"] == 0


def test_stored_numbers_change_only_with_the_feature_version() -> None:
    # A change here without a new FEATURE_VERSION would mix two kinds of numbers in one store.
    table = features_of([text for text in STRANGE if len(text) < 5000], "en")
    columns = {name: table[name].to_pylist() for name in table.column_names}
    assert FEATURE_VERSION == "2"
    assert sha256_hex(canonical_json(columns)) == "23ebc7c81cbea6ecf43fccd7f0fb3b7a7a8bc008991332b63d53add8753ce4c9"
