"""The split of the shared inscriptions: nothing of what is asked can be read in training."""

from collections import defaultdict
from typing import Any

import pytest

from benchmarks.ancient_texts import LANGUAGES, SHARED, HiddenSpan, hidden_spans, read_jsonl_gz, sides_of
from evaluation.infill_scores import plain_letters


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    if not SHARED.is_dir():
        pytest.skip(f"needs {SHARED.name} of the shared data beside the repository")
    return read_jsonl_gz(SHARED / "isicily.jsonl.gz")


def test_no_group_and_no_text_is_on_two_sides(rows: list[dict[str, Any]]) -> None:
    sides = sides_of(rows, test_share=0.3)
    assert set(sides.values()) == {"test", "development", "train"}
    of_group, of_text = defaultdict(set), defaultdict(set)
    for row in rows:
        of_group[row["group"]].add(sides[row["id"]])
        of_text[plain_letters(row["text"]).strip()].add(sides[row["id"]])
    assert all(len(found) == 1 for found in of_group.values())
    assert all(len(found) == 1 for found in of_text.values())
    texts = [plain_letters(row["text"]).strip() for row in rows]
    assert len(set(texts)) < len(texts) and len(of_group) < len(rows)  # there is something to get wrong
    share = sum(side == "test" for side in sides.values()) / len(sides)
    assert share == pytest.approx(0.3, abs=0.05)


def test_every_hole_is_of_one_side_and_fits_its_inscription(rows: list[dict[str, Any]]) -> None:
    sides = sides_of(rows, test_share=0.3)
    texts = {row["id"]: plain_letters(row["text"]) for row in rows}
    holes = list(hidden_spans(rows))
    for hole in holes:
        assert hole.language in LANGUAGES and hole.answer and hole.answer in hole.context
        assert (hole.prefix + hole.answer + hole.suffix).split() == texts[hole.id.split("#")[0]].split()
    asked = [hole for hole in holes if sides[hole.id.split("#")[0]] == "test"]
    read = {text for row, text in zip(rows, texts.values(), strict=True) if sides[row["id"]] == "train"}
    assert asked and not any(hole.prefix + hole.answer + hole.suffix in read for hole in asked)


def test_the_context_is_six_words_before_and_behind_and_what_the_hole_cut() -> None:
    words = [f"w{n}" for n in range(20)]
    hole = HiddenSpan("x#m", "la", "g", " ".join(words[:10]) + " vi", "t " + " ".join(words[10:]), "xi")
    assert hole.context == "w4 w5 w6 w7 w8 w9 vixit w10 w11 w12 w13 w14 w15"
