"""The longest verbatim overlap is found exactly, against a search by brute force."""

import random

import pytest

from evaluation.overlap import Overlap, OverlapFinder, longest_overlaps
from evaluation.suites.heldout import EvalDocument


def brute_force(sample: bytes, documents: list[tuple[str, bytes]], min_bytes: int) -> tuple[int, str] | None:
    """(length, doc_id) of the longest common stretch; the smallest doc_id of equally long ones."""
    for length in range(len(sample), min_bytes - 1, -1):
        for doc_id, text in sorted(documents):
            if any(sample[begin : begin + length] in text for begin in range(len(sample) - length + 1)):
                return length, doc_id
    return None


@pytest.mark.parametrize("alphabet", [b"ab", b"abcdefgh"])
@pytest.mark.parametrize("min_bytes", [16, 17, 32])
def test_overlaps_equal_those_found_by_brute_force(alphabet: bytes, min_bytes: int) -> None:
    draw = random.Random(len(alphabet) * min_bytes)
    for _ in range(25):
        documents = [(f"{number:02x}", bytes(draw.choices(alphabet, k=draw.randrange(0, 300)))) for number in range(5)]
        samples = []
        for _ in range(3):
            sample = bytes(draw.choices(alphabet, k=draw.randrange(0, 80)))
            source = draw.choice(documents)[1]
            begin = draw.randrange(0, max(1, len(source)))
            samples.append(sample[:20] + source[begin : begin + draw.randrange(0, 70)] + sample[20:])
        for sample, found in zip(samples, longest_overlaps(samples, documents, min_bytes=min_bytes), strict=True):
            expected = brute_force(sample, documents, min_bytes)
            assert (found.num_bytes, found.doc_id) == expected if found else expected is None
            if found:
                text = dict(documents)[found.doc_id]
                end = found.num_bytes
                assert sample[found.sample_start :][:end] == text[found.document_start :][:end]


def test_planted_passages_of_real_text_are_traced_and_unplanted_text_is_not(
    split: tuple[list[EvalDocument], list[tuple[str, str]]],
) -> None:
    training = [(doc_id, text.encode()) for doc_id, text in split[1]]
    doc_id, text = training[123]
    samples = [
        b"QQ#" + text[200:241] + b"#QQ",
        b"QQ#" + text[200:231] + b"#QQ",  # 31 bytes: below the limit
        b"Es war einmal mitten im Winter, und die Schneeflocken fielen wie Federn vom Himmel.",
        text,
        b"",
    ]
    found = longest_overlaps(samples, training, min_bytes=32)
    assert found[0] == Overlap(doc_id, 41, 3, 200)
    assert found[1] is None and found[2] is None and found[4] is None
    assert found[3] == Overlap(doc_id, len(text), 0, 0)
    assert longest_overlaps(samples, training[::-1], min_bytes=32) == found


def test_text_of_one_repeated_byte_stays_exact_and_fast() -> None:
    finder = OverlapFinder([b"-" * 500, b"-" * 40 + b"x"], min_bytes=32)
    finder.add("b", b"-" * 200_000)
    finder.add("a", b"y" + b"-" * 600)
    assert [(found.doc_id, found.num_bytes) for found in finder.results() if found] == [("a", 500), ("a", 40)]


def test_a_limit_below_a_word_is_refused() -> None:
    with pytest.raises(ValueError, match="min_bytes=8"):
        OverlapFinder([b"x"], min_bytes=8)
