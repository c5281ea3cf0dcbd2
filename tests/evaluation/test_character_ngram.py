"""The character n-gram that is measured beside our models, and may help them."""

import numpy as np
import pytest

from evaluation.character_ngram import CharacterNgram
from evaluation.infilling import Hole


def test_the_ngram_gives_probabilities_and_prefers_what_it_has_read() -> None:
    model = CharacterNgram([("dis manibus sacrum. ", 1), ("dis manibus. ", 2)], order=6)
    for context in ("", "dis manib", "zzzz"):
        assert model.probabilities(model.encode(context)).sum() == pytest.approx(1.0)
    after = model.probabilities(model.encode("dis mani"))
    assert model.letters[int(np.argmax(after))] == "b"


def test_the_ngram_counts_a_text_as_often_as_it_is_told() -> None:
    for weights, expected in (((3, 2), "b"), ((2, 3), "c")):
        model = CharacterNgram([("ab", weights[0]), ("ac", weights[1])], order=2)
        assert model.letters[int(model.probabilities(model.encode("a")).argmax())] == expected


def test_the_ngram_fills_a_hole_with_what_fits_behind_it_too() -> None:
    model = CharacterNgram([("the cat sat. the cot sank. ", 3), ("the cat ", 2)], order=6)
    assert model.propose(Hole("the c", "t sank", 1), beam=10)[0] == "o"
    assert model.propose(Hole("the c", "t sat", 1), beam=10)[0] == "a"
    assert all(len(text) == 3 for text in model.propose(Hole("the ", " s", 3), beam=5))
    assert model.propose(Hole("the ", " s"), beam=5) == []


def test_a_filling_is_ranked_by_its_score() -> None:
    model = CharacterNgram([("the cat sat. the cot sank. ", 3), ("the cat ", 2)], order=6)
    hole = Hole("the ", " sat", 3)
    scores = [model.score(hole, text) for text in model.propose(hole, beam=8)]
    assert scores == sorted(scores, reverse=True) and len(scores) == 8
