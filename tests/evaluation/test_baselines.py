"""Baselines: exact on cases worked by hand, sensible on real text."""

import lzma
import math
import random
from collections import Counter

import pytest

from evaluation.baselines import ngram_nats, unigram_nats, xz_nats, xz_together_nats, xz_trained_nats
from evaluation.suites.heldout import EvalDocument
from evaluation.training_sample import TrainingSample
from ingot.errors import DataError

LN256 = math.log(256)


def test_unigram_costs_are_the_smoothed_frequencies_of_the_training_bytes() -> None:
    nats = unigram_nats([b"aab"], [b"a", b"ab", b"z"])
    expected = [math.log(259 / 3), math.log(259 / 3) + math.log(259 / 2), math.log(259)]
    assert nats == pytest.approx(expected)


def test_ngram_costs_follow_the_kneser_ney_recursion_written_out() -> None:
    training, document, order = [b"abab", b"ac", b"abc"], b"abz", 3

    def grams(length: int) -> Counter[bytes]:
        """The grams of this length that end in a byte of a document."""
        padded = [b"\xff\xff" + text for text in training]
        return Counter(text[end - length : end] for text in padded for end in range(3, len(text) + 1) if end >= length)

    def probability(context: bytes, byte: bytes, k: int) -> float:
        lower = 1 / 256 if k == 0 else probability(context[1:], byte, k - 1)
        # Below the longest context: how many different bytes were seen before.
        counts = grams(k + 1) if k == order - 1 else Counter(gram[1:] for gram in grams(k + 2))
        followers = {gram[k:]: count for gram, count in counts.items() if gram[:k] == context}
        if not followers:
            return lower
        once, twice = (sum(count == number for count in counts.values()) for number in (1, 2))
        discount = min(0.95, max(0.1, once / (once + 2 * twice)))
        seen = max(followers.get(byte, 0) - discount, 0.0)
        return (seen + discount * len(followers) * lower) / sum(followers.values())

    padded = b"\xff\xff" + document
    expected = -sum(
        math.log(probability(padded[place - 2 : place], padded[place : place + 1], order - 1)) for place in (2, 3, 4)
    )
    assert ngram_nats(training, [document], order=order) == pytest.approx([expected])


def test_ngram_probabilities_of_all_bytes_sum_to_one() -> None:
    training = [b"to be or not to be", b"that is the question"]
    for context in (b"", b"t", b"to b", b"zzz"):
        before = ngram_nats(training, [context or b"x"], order=4)[0] if context else 0.0
        costs = ngram_nats(training, [context + bytes([byte]) for byte in range(255)], order=4)
        total = sum(math.exp(before - cost) for cost in costs)
        # 0xFF never stands in UTF-8 and has the small rest.
        assert 0.98 < total < 1.0


def test_a_document_costs_the_same_whatever_stands_beside_it_and_without_training_text_eight_bits() -> None:
    training, documents = [b"the cat", b"the dog"], [b"the cow", b"a", b"dog the"]
    together = ngram_nats(training, documents, order=5)
    assert together == [ngram_nats(training, [document], order=5)[0] for document in documents]
    assert together == ngram_nats(training[::-1], documents, order=5)
    assert ngram_nats([], [b"abc"], order=5) == pytest.approx([3 * LN256])
    assert unigram_nats([], [b"abc"]) == pytest.approx([3 * LN256])


def test_an_order_beyond_eight_bytes_is_refused() -> None:
    with pytest.raises(DataError, match="order=9"):
        ngram_nats([b"a"], [b"a"], order=9)


def test_xz_after_the_training_text_is_the_growth_of_one_stream() -> None:
    random.seed(0)
    words = [bytes(random.choices(b"abcdefgh", k=6)) for _ in range(300)]
    training = [b" ".join(random.choices(words, k=4000)), b" ".join(random.choices(words, k=4000))]
    documents = [b" ".join(random.choices(words, k=60)), training[0][5000:6000], b"x"]
    prefix = b"".join(training)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 16}]

    def size(data: bytes) -> int:
        return len(lzma.compress(data, lzma.FORMAT_RAW, filters=filters))

    expected = [(size(prefix + document) - size(prefix)) * LN256 for document in documents]
    assert xz_trained_nats(training, documents) == pytest.approx(expected)
    # What stands in the training text word for word costs almost nothing.
    assert expected[1] < 40 * LN256 < xz_nats(documents)[1]


def test_xz_needs_no_training_text_and_handles_its_absence() -> None:
    documents = [b"abcabcabcabc" * 20, b"xyz"]
    assert xz_together_nats(documents) < sum(xz_nats(documents))
    trained = xz_trained_nats([], documents)
    assert trained is not None and trained[0] <= xz_nats(documents)[0]


def test_on_real_text_better_models_of_text_cost_less(
    split: tuple[list[EvalDocument], list[tuple[str, str]]],
) -> None:
    heldout = [document.text.encode() for document in split[0]]
    training = [text.encode() for _, text in split[1]]
    scale = 1 / math.log(2) / sum(map(len, heldout))
    unigram = sum(unigram_nats(training, heldout)) * scale
    orders = {order: sum(ngram_nats(training, heldout, order=order)) * scale for order in (1, 2, 3, 5)}
    xz, together = sum(xz_nats(heldout)) * scale, xz_together_nats(heldout) * scale
    trained = sum(xz_trained_nats(training, heldout) or []) * scale
    assert 4.6 < unigram < 5.0 and orders[1] == pytest.approx(unigram, abs=0.1)
    assert orders[1] > orders[2] > orders[3] > orders[5] > 1.5
    assert unigram > xz > together > trained > orders[5]


def test_a_training_sample_is_the_same_in_any_order_and_within_its_bytes() -> None:
    documents = [(f"{number:032x}", bytes([65 + number % 26]) * (100 + number % 7 * 50)) for number in range(200)]
    expected: list[bytes] = []
    for _, text in documents:  # already in order of doc_id
        if sum(map(len, expected)) + len(text) > 5_000:
            break
        expected.append(text)
    for seed in range(4):
        random.Random(seed).shuffle(documents)
        sample = TrainingSample(5_000)
        for doc_id, text in documents:
            sample.add(doc_id, text)
        assert sample.texts() == expected
        assert sample.describe()["num_bytes"] == sum(map(len, expected))
        assert sample.describe()["num_documents_seen"] == 200


def test_a_document_larger_than_the_sample_is_cut_instead_of_emptying_it() -> None:
    sample = TrainingSample(1_000)
    sample.add("00", b"x" * 5_000)
    sample.add("01", b"y")
    assert sample.texts() == [b"x" * 1_000]
