"""The edits between two texts, as spans that give the second exactly."""

import random
import time

import pytest

from datasets_pipeline.edits import Span, apply_spans, merge_spans
from datasets_pipeline.rules.text_difference import difference


def spans_between(before: str, after: str) -> list[Span]:
    found = difference(before, after, "x")
    spans = [Span(start=a, end=b, kind=kind, replacement=text, keyed_hash=None) for a, b, kind, text in found]
    assert all(span["start"] < span["end"] for span in spans)
    assert all(one["end"] <= two["start"] for one, two in zip(spans, spans[1:], strict=False))
    return spans


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("same", "same"), ("a b c", "a c"), ("a c", "a b c"), ("abc", "xabc"), ("abc", "abcx"), ("a", "xay"),
        ("ab", ""), ("ä ö ü", "ä o ü"), ("one\ntwo\nthree\n", "one\nthree"), ("x\n" * 50, "x\n" * 20), ("aa", "a"),
        ("a", "aaaa"),
        ("😀 mail a@b.org, and c@d.org.", "😀 mail <E>, and <E>."), ("ab", "ba"), ("a\nb", "x\na\ny\nb\nz"),
    ],
)  # fmt: skip
def test_the_spans_give_the_other_text(before: str, after: str) -> None:
    assert apply_spans(before, merge_spans([spans_between(before, after)])) == after.strip()


def test_what_did_not_change_is_not_covered() -> None:
    before = "A first line.\nWrite to anna@firm.org today.\nA last line."
    spans = spans_between(before, before.replace("anna@firm.org", "<EMAIL>"))
    covered = [before[span["start"] : span["end"]] for span in spans]
    assert not any("Write" in text or "today" in text for text in covered)


def test_random_edits_are_found() -> None:
    source = random.Random(7)
    words = ["ä", "be", "c d", "\n", "\n\n", "😀", "end.", " ", "wort"]
    for _ in range(400):
        parts = [source.choice(words) for _ in range(source.randrange(1, 30))]
        edited = [p for p in parts if source.random() > 0.2]
        for _ in range(source.randrange(4)):
            edited.insert(source.randrange(len(edited) + 1), source.choice(words))
        before, after = "x" + "".join(parts).rstrip(), "".join(edited)
        assert apply_spans(before, spans_between(before, after)) == after.strip()


def test_long_texts_without_anything_in_common_take_bounded_time() -> None:
    before = "\n".join(f"line {k} of one" for k in range(20_000))
    after = "\n".join(f"row {k * 7} in another" for k in range(20_000))
    start = time.process_time()
    assert apply_spans(before, spans_between(before, after)) == after
    assert time.process_time() - start < 10


def test_repeated_lines_and_words_take_bounded_time() -> None:
    start = time.process_time()
    for end, num in (("\n", 1000), (" ", 500)):
        before, after = f"a{end}" * num + "z", f"b{end}a{end}" * (num // 2) + "z"
        assert apply_spans(before, spans_between(before, after)) == after
    assert time.process_time() - start < 3  # 10 s when each may start a match
