"""C4's line rules: what is taken out, what is counted, and datatrove's own filter beside ours."""

import time
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from datasets_pipeline.edits import apply_spans
from datasets_pipeline.rules import c4_quality
from datasets_pipeline.rules.c4_words import ABBREVIATIONS
from ingot.schemas import SPAN
from tests.curation.road import small_road
from tests.features.real_documents import labelled_documents, real_documents
from tests.features.reference_words import reference_words
from tests.rules.verdict_rows import rows

FIVE = "The first line ends here. It has two sentences.\nIs this the third one? Yes! That was the fifth one of them.\n"


def judged(texts: list[str], language: str = "en", media: str = "text/plain", **options: Any) -> list[dict[str, Any]]:
    """Per text: reason, score, abstained, text after the edits, spans, and the rule's own counts."""
    num = len(texts)
    table = pa.table(
        {
            "doc_id": [bytes(16)] * num,
            "uri": ["x"] * num,
            "text": pa.array(texts, pa.large_string()),
            "language": pa.array([language] * num, pa.string()),
            "media_type": pa.array([media] * num, pa.string()),
        }
    )
    config = c4_quality.Config(**options)
    found = c4_quality.find_spans(config, table, bytes(32))
    assert found["spans"].type.value_type == SPAN
    verdicts = rows(c4_quality.judge(config, table, found))
    after = [apply_spans(text, spans) for text, spans in zip(texts, found["spans"].to_pylist(), strict=True)]
    return [
        {**counts, "reason": reason, "score": score, "abstained": abstained, "after": left}
        for counts, left, (reason, score, _, abstained) in zip(found.to_pylist(), after, verdicts, strict=True)
    ]


def test_a_page_of_sentences_is_left_as_it_is() -> None:
    [page] = judged([FIVE.strip()])
    assert (page["reason"], page["spans"], page["num_sentences"], page["num_kept_lines"]) == (None, [], 5, 2)


def test_each_reason_takes_its_lines_and_counts_them() -> None:
    text = (
        f"Home | About\n{FIVE}Two words.\n"
        "Please enable JavaScript in your browser now.\nThis site uses Cookies. Use of cookies is for you.\n"
        f"{'x' * 1001} is too long a word.\nWe go on... and on...\nA fact[12] that is known [citation needed].\n"
    )
    [page] = judged([text])
    assert page["after"] == FIVE + "A fact that is known ."
    assert {name: page[name] for name in page if name.startswith("num_")} == {
        "num_kept_lines": 3, "num_sentences": 6, "num_citations": 2, "num_too_long_word_lines": 1,
        "num_no_terminal_punct_lines": 2, "num_too_few_words_lines": 1, "num_javascript_lines": 1,
        "num_policy_lines": 1,
    }  # fmt: skip
    assert {span["kind"] for span in page["spans"]} == {"c4_line", "c4_citation"}


def test_the_reason_of_a_drop_is_what_stands_first_and_who_is_dropped_is_not_edited() -> None:
    pages = judged(
        [
            f"Menu\n{FIVE}Lorem IPSUM is what we write.\nfunction() {{ return. }}.",
            f"Menu\n{FIVE}function() {{ return. }}.\nLorem ipsum is what we write.",
            "Menu\nOnly one sentence is here.",
            "A line with lorem ipsum and no end\n" + FIVE,
        ]
    )
    assert [page["reason"] for page in pages] == ["lorem_ipsum", "curly_bracket", "too_few_sentences", None]
    assert [bool(page["spans"]) for page in pages] == [False, False, False, True]
    assert pages[2]["score"] == 1.0


def test_lines_that_no_newline_separates_are_joined_by_one() -> None:
    text = "A first line is here.\x85A second line\x0bA third line is here.\u2028A line."
    [page] = judged([text], min_num_sentences=1)
    assert page["after"] == "A first line is here.\nA third line is here."
    assert page["after"].encode().count(b"\n") == [s["kind"] for s in page["spans"]].count("c4_line_break") == 1


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One sentence without any end", 1), ("One is here. Two is here.", 2), ("Mr. Smith met Dr. Jones at noon.", 1),
        ("It costs 3.50 dollars. So what?", 2), ("Wait... what is that? Oh!", 2), ('He said "go." Then he went.', 2),
        ("Is it? (Yes.) No.", 3), ("See e.g. the U.S. office.", 1), ("Two blanks.  Then more.", 2),
        ("これは文です。 次の文です。 終わり。", 3), ("हम जाते हैं। वे आते हैं।", 2),
    ],
)  # fmt: skip
def test_sentences_are_counted_where_one_ends_and_another_begins(text: str, sentences: int) -> None:
    options: dict[str, Any] = {"min_words_per_line": 1, "min_num_sentences": 1, "filter_no_terminal_punct": False}
    assert judged([text], **options)[0]["num_sentences"] == sentences


def test_other_languages_end_lines_and_name_policies_in_their_own_way() -> None:
    german = "Er sagte: „Wir gehen jetzt nach Hause.“\nDie Datenschutzerklärung steht hier.\nDas ist z. B. so!"
    [page] = judged([german], "de", min_num_sentences=1)
    assert page["after"].splitlines() == [german.splitlines()[0], german.splitlines()[2]]
    assert page["num_policy_lines"] == 1
    assert judged([german], "en", min_num_sentences=1)[0]["num_no_terminal_punct_lines"] == 1
    assert judged(["LA POLITIQUE DE CONFIDENTIALITÉ EST ICI."], "fr")[0]["num_policy_lines"] == 1
    per_language = {"de": {"min_num_sentences": 9}}
    assert judged([german], "de", per_language=per_language)[0]["reason"] == "too_few_sentences"


def test_it_abstains_without_spaces_between_words_and_on_code() -> None:
    for language, media in (("ja", "text/plain"), ("und", "text/plain"), ("en", "text/x-python")):
        [page] = judged(["if (a) { b } lorem ipsum"], language, media)
        assert (page["abstained"], page["reason"], page["spans"], page["num_kept_lines"]) == (True, None, [], 0)


def test_a_row_is_the_same_alone_in_any_order_and_in_a_slice() -> None:
    texts = [text for _, text in labelled_documents(limit=60)]
    together = judged(texts)
    assert list(reversed(judged(texts[::-1]))) == together
    assert [judged([text])[0] for text in texts[:20]] == together[:20]
    labels = {"language": ["en"] * 60, "media_type": ["text/html"] * 60}
    table = pa.table({"text": pa.array(texts, pa.large_string()), **labels})
    part = c4_quality.find_spans(c4_quality.Config(), table.slice(7, 5), b"")
    assert part.to_pylist() == c4_quality.find_spans(c4_quality.Config(), table, b"").slice(7, 5).to_pylist()


def test_strange_texts_are_read_in_linear_time() -> None:
    start = time.process_time()
    judged(["", " ", *(piece * 300_000 for piece in ("[", "[1", "a. ", ".", "漢字。", "x\n"))])
    assert time.process_time() - start < 20


def test_a_word_of_signs_alone_is_read_in_linear_time() -> None:
    options = {"max_word_length": None, "min_words_per_line": None, "filter_no_terminal_punct": False}
    judged(["One. Two."], **options)
    start = time.process_time()
    judged(["(." * 250_000], **options)
    assert time.process_time() - start < 3


STRANGE = [
    "", "\n\n", "[1]", "[edit] A line with [12][13] marks. [2] [3]", "A[[1]2] b c.", "A [Edit] b c.", "a b c...[1]",
    "a b c.[1]..", "[٣] ٤ a b c.", "A line.\r\nB is a line.\rC is it.", "tab\tthen\u3000wide here.", "a\x1cb c d.",
    "Kept \u200b zero width here.", "one two three\"", "one two three'", "one two three”", "x" * 1000 + " a b.",
    "x" * 1001 + " a b.", "JAVASCRIPT is a word.", "We use COOKIES. Privacy Policy it is.", "LOREM ipsum dolor sit.",
    "lorem  ipsum dolor sit.", "a { b c", "a b { c.", "{ a b.", FIVE, FIVE * 3, "\ufeffA b c d.", "É è. À ù! 😀 ok?",
    "the end of it .  [1]  [2]", "f.e. a.b.c. x.y z.", "no. no. no. no. no. yes.", "a b c.\n\n\n  d e f.  \n\tg h i.",
]  # fmt: skip


def _sentences(text: str, language: str) -> list[str]:
    """As many strings as spaCy's sentencizer finds sentences on our words: an independent reading of its rule."""
    words: list[tuple[str, str]] = []
    at = 0
    for chunk in text.split():
        start = text.index(chunk, at)
        gap = text[at:start]
        if gap not in ("", " "):
            words.append((gap, ""))
        words += [(word, chunk) for word in reference_words(chunk)]
        at = start + len(chunk)
    if text[at:] not in ("", " "):
        words.append((text[at:], ""))
    count, closed = 1, False
    for index, (word, chunk) in enumerate(words):
        before = words[index - 1] if index else ("", "")
        if len(word) == 1 and word in c4_quality_ends():
            whole = chunk.strip("()[]\"',;:!?").startswith(before[0] + word)
            closed |= not (word == "." and before[1] == chunk and whole and before[0] in ABBREVIATIONS["en"].split())
        elif closed and not all(unicodedata.category(c)[0] == "P" for c in word):
            count, closed = count + 1, False
    return [text] * count


def c4_quality_ends() -> str:
    from datasets_pipeline.features.characters import TERMINAL_PUNCTUATION

    return TERMINAL_PUNCTUATION


@pytest.mark.parametrize(
    "options",
    [{}, {"filter_no_terminal_punct": False}, {"filter_curly_bracket": False, "remove_citations": False},
     {"min_num_sentences": None, "min_words_per_line": None, "max_word_length": None, "filter_policy": False,
      "filter_javascript": False, "filter_lorem_ipsum": False, "filter_no_terminal_punct": False}],
)  # fmt: skip
def test_reasons_and_text_are_datatroves(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    filters = pytest.importorskip("datatrove.pipeline.filters.c4_filters")
    from datatrove.data import Document

    monkeypatch.setattr(filters, "split_into_sentences", _sentences)
    published = filters.C4QualityFilter(**{name: -1 if value is None else value for name, value in options.items()})
    texts = [*STRANGE, *(text for text in real_documents(language="en") if len(text) < 30_000)][:300]
    different = []
    for text, ours in zip(texts, judged(texts, **options), strict=True):
        document = Document(text=text, id="0")
        answer = published.filter(document)
        theirs = None if answer is True else answer[1]
        after = document.text if answer is True else text
        if (theirs, after) != (ours["reason"], ours["after"]):
            different.append((text[:60], theirs, ours["reason"], ours["num_sentences"]))
    assert not different


def test_published_defaults_are_datatroves() -> None:
    filters = pytest.importorskip("datatrove.pipeline.filters.c4_filters")
    published, ours = filters.C4QualityFilter(), c4_quality.Config()
    for field in c4_quality.Thresholds.model_fields:
        assert getattr(ours, field) == getattr(published, field), field


def test_edits_of_the_rule_are_what_is_published(tmp_path: Path) -> None:
    text = f"Home | About\n{FIVE}Menu\n"
    pages = {"a.md": text, "b.md": "Home | About\nOne sentence is here.\n"}
    road = small_road(tmp_path, {"notes": pages, "raw": {"c.md": text + "Another end of it.\n"}})
    road.values["dedup"] = {"near": None}
    road.values["rules"] = [{"rule": "c4_quality", "when": {"source": "notes"}}]
    night = road.run()
    texts = {row["uri"]: row["text"] for row in road.shard_rows(night)}
    assert texts == {"a.md": FIVE.strip(), "c.md": text + "Another end of it."}
    outcomes = road.outcomes(night)
    assert outcomes["notes:b.md"]["reason"] == "too_few_sentences"
    assert night.manifest.identity.statistics["edits"] == {"documents": 1, "spans": {"c4_line": 2}}
