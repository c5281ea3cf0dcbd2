"""Shingles, signatures and exact similarity: their definition, and that nothing else influences them."""

import re

import numpy as np
import pyarrow as pa
import pytest

from datasets_pipeline.dedup import minhash, minhash_kernels
from datasets_pipeline.dedup.characters import GAP, MARK, SINGLE, WORD, character_class
from ingot.errors import DataError
from tests.dedup.conftest import GroundTruth, generated_texts

# Where the shared data's words (Python's \w+, lower-cased) are not ours: combining marks, joiners, and
# scripts without spaces.
OTHER_WORDS = re.compile("[\u0300-\u036f\u0483-\u0489\u064b-\u0670\u0900-\u0fff\u200c\u200d\u3005-\u9fff]")


def python_jaccard(a: str, b: str) -> float:
    sets = []
    for text in (a, b):
        words = re.findall(r"\w+", text.lower())
        sets.append({tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_a_five_word_change_costs_five_shingles() -> None:
    assert minhash.jaccard("one two three four five six", "one two three four five seven") == pytest.approx(
        1 / 3
    )


def test_case_and_punctuation_do_not_matter() -> None:
    assert minhash.jaccard("The cat; sat ON (the) mat!", "the CAT sat on the mat") == 1.0
    assert minhash.jaccard("Die STRASSE über die Brücke führt", "die straße ÜBER die BRÜCKE führt") == 1.0


def test_a_short_document_is_one_shingle_of_all_its_words() -> None:
    text = pa.array(["one two three four", "four three two one", "one two three", "", "?!"])
    rows, counts = minhash.signatures_and_counts(text)
    assert counts.tolist() == [1, 1, 1, 0, 0]
    assert minhash.has_shingles(rows).tolist() == [True, True, True, False, False]
    assert minhash.jaccard("one two three four", "One, two, three, four.") == 1.0
    assert minhash.jaccard("one two three four", "one two three") == 0.0


def test_texts_without_words_do_not_resemble_each_other() -> None:
    assert minhash.jaccard("?!", "?!") == 0.0


def test_scripts_without_spaces_are_shingled_at_letters() -> None:
    _, counts = minhash.signatures_and_counts(
        pa.array(["机器学习的数据集", "ที่ประชุม", "서울 시내 버스 노선 안내"])
    )
    assert counts.tolist() == [4, 2, 1]  # 8 letters; 6 letters under their marks; 5 Korean words
    assert minhash.jaccard("机器学习的数据集", "机器学习的数据表") == pytest.approx(3 / 5)


def test_a_mark_continues_a_word_and_does_not_begin_one() -> None:
    _, counts = minhash.signatures_and_counts(
        pa.array(["हिन्दी में पाँच शब्द हैं", "⚠\ufe0f one two three four ⚠\ufe0f five"])
    )
    assert counts.tolist() == [1, 1]
    assert [character_class(c) for c in "\u093f\ufe0f a_9ก๑語"] == [
        MARK,
        GAP,
        GAP,
        WORD,
        WORD,
        WORD,
        SINGLE,
        WORD,
        SINGLE,
    ]


def test_words_of_ascii_are_the_same_beside_other_scripts() -> None:
    words = "alpha beta gamma delta epsilon zeta eta theta"
    assert minhash.jaccard(words, words + " — ☃") == 1.0


def test_similarity_equals_a_plain_python_count() -> None:
    texts = (
        generated_texts(12, seed=5, num_originals=2) + ["Große Äpfel, ÄPFEL und größere ΟΔΟΣ-Σχέδια " * 3] * 2
    )
    left, right = np.triu_indices(len(texts), k=1)
    expected = [python_jaccard(texts[a], texts[b]) for a, b in zip(left, right, strict=True)]
    assert minhash.jaccard_pairs(pa.array(texts), left, right) == pytest.approx(expected, abs=1e-12)


def test_no_pairs_need_no_texts() -> None:
    assert minhash.jaccard_pairs(pa.array(["a"]), np.array([], int), np.array([], int)).shape == (0,)


def test_a_null_text_is_refused_by_count() -> None:
    with pytest.raises(DataError, match="1 of 2 texts are null"):
        minhash.signatures(pa.array(["a", None]))


def test_damaged_utf8_is_read_as_gaps_and_stays_inside_its_document() -> None:
    damaged = [
        b"one two \xff three \xe4\xb8 four five",
        b"six seven \xf0\x9f",
        b"\x80",
        b"one two three four five",
    ]
    text = pa.array(damaged, pa.large_binary()).view(pa.large_string())
    rows, counts = minhash.signatures_and_counts(text)
    assert counts.tolist() == [1, 1, 0, 1]
    assert (rows[0] == rows[3]).all()


def test_signatures_do_not_depend_on_batches_order_or_string_type() -> None:
    texts = generated_texts(60, seed=1) + ["", "短い文書です", "x " * 5000, "Ünïcödé " * 40, "b"]
    whole = minhash.signatures(pa.array(texts, pa.large_string()))
    assert (minhash.signatures(pa.array(texts, pa.string())) == whole).all()
    chunks = pa.chunked_array(
        [pa.array(texts[:1]), pa.array([], pa.string()), pa.array(texts[1:40]), pa.array(texts[40:])]
    )
    assert (minhash.signatures(chunks) == whole).all()
    assert (minhash.signatures(pa.array(["before", *texts]).slice(1)) == whole).all()
    order = np.random.default_rng(0).permutation(len(texts))
    assert (minhash.signatures(pa.array(texts).take(pa.array(order))) == whole[order]).all()


def test_a_text_longer_than_a_chunk_has_the_minima_of_all_its_shingles() -> None:
    text = " ".join(f"w{i}" for i in range(minhash_kernels.CHUNK_SHINGLES * 2 + 4))
    rows, counts = minhash.signatures_and_counts(pa.array([text]))
    assert counts[0] == minhash_kernels.CHUNK_SHINGLES * 2
    words = text.split()
    halves = [" ".join(words[:1400]), " ".join(words[1396:])]
    assert (rows[0] == minhash.signatures(pa.array(halves)).min(axis=0)).all()


def test_signatures_of_this_version_never_change() -> None:
    rows, counts = minhash.signatures_and_counts(
        pa.array(["The quick brown fox jumps over the lazy dog.", "Straße 数据 नमस्ते"])
    )
    assert minhash.SIGNATURE_VERSION.startswith("1-unicode")
    assert counts.tolist() == [5, 1]
    assert rows[:, [0, 55, 111]].tolist() == GOLDEN


GOLDEN = [[827618371, 1794267110, 1732350396], [1564782383, 1634056110, 706628824]]


def test_hash_functions_are_unbiased_and_independent_of_each_other() -> None:
    """Mean and variance of the estimator on random sets, as binomial as 112 independent draws."""
    random = np.random.default_rng(7)
    size, trials = 200, 1500
    for similarity in (0.2, 0.5, 0.8):
        common = round(2 * size * similarity / (1 + similarity))
        exact = common / (2 * size - common)
        agree = np.empty((trials, minhash.NUM_PERMUTATIONS))
        for trial in range(trials):
            hashes = random.integers(0, 2**64, 2 * size - common, dtype=np.uint64)
            agree[trial] = _minima(hashes[:size]) == _minima(hashes[size - common :])
        estimate = agree.mean(axis=1)
        variance = exact * (1 - exact) / minhash.NUM_PERMUTATIONS
        assert abs(estimate.mean() - exact) < 4 * np.sqrt(variance / trials)
        assert 0.85 < estimate.var() / variance < 1.15
        each = abs(agree.mean(axis=0) - exact) / np.sqrt(exact * (1 - exact) / trials)
        assert each.max() < 4.5  # no hash function is off by itself


def _minima(hashes: np.ndarray) -> np.ndarray:
    minima = np.full(minhash.NUM_PERMUTATIONS, minhash.EMPTY_MINIMUM)
    low, high = hashes.astype(np.uint32), (hashes >> np.uint64(32)).astype(np.uint32)
    minhash_kernels.fold_minima(low, high, len(hashes), *minhash.permutation_constants(), minima)
    return minima


def test_exact_similarity_agrees_with_the_shared_data(truth: GroundTruth) -> None:
    differs = np.array([bool(OTHER_WORDS.search(text)) for text in truth.texts.to_pylist()])
    comparable = ~(differs[truth.left] | differs[truth.right])
    assert comparable.mean() > 0.8
    left, right = truth.left[comparable], truth.right[comparable]
    ours = minhash.jaccard_pairs(truth.texts, left, right)
    assert np.abs(ours - truth.jaccard[comparable]).max() <= 1e-4


def test_the_estimate_is_close_to_the_truth_on_real_documents(
    truth: GroundTruth, truth_signatures: np.ndarray
) -> None:
    exact = minhash.jaccard_pairs(truth.texts, truth.left, truth.right)
    error = minhash.estimate_jaccard_pairs(truth_signatures, truth.left, truth.right) - exact
    assert np.abs(error).mean() < 0.03
    assert abs(error.mean()) < 0.01  # versions of a page share shingles, so pairs are not independent
