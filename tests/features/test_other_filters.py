"""Numbers that C4, NeMo's heuristics and filters of source code need, against their definition in Python."""

import re
from collections.abc import Callable

import pytest

from datasets_pipeline.features.stop_words import KEYWORDS, STOP_WORDS
from tests.features.feature_rows import features_of, row_of
from tests.features.real_documents import labelled_documents
from tests.features.reference_words import reference_words

# The lists as NeMo Curator (Apache-2.0) has them in its constants; its long phrases hold one of the short ones.
PHRASES = (
    "terms of use", "privacy policy", "cookie policy", "uses cookies", "privacy overview", "use of cookies",
    "use cookies", "privacy & cookies policy", "privacy and cookies policy",
    "necessary cookies are absolutely essential", "without changing your cookie settings",
)  # fmt: skip
END_MARKS = (".", "?", "!", '"', "'")
ELLIPSES = ("...", "[...]", "…", "(...)", "[…]", "-»", "read more..", "read more")
BULLETS = tuple("•‣⁃⁌⁍∙○●◘◦⦾⦿")
ADDRESS = re.compile(r"http[s]?://(?:[a-zA-Z]|[0-9]|[$-_@.&+]|[!*\(\),]|(?:%[0-9a-fA-F][0-9a-fA-F]))+")
COMMENTS = ("#", "//", "/*", "*", "--", ";", "%", "<!--")

STRANGE = [
    "<!-- <?xml version='1.0'?> -->",
    "<style>a <?xml version=",
    "", " ", "\n", "\n\n", "\n\n\n", "a\n\n\n\nb", "\r\n\r\nx.\r\ny...\r\n", "…",
    "... … [...] (...) […] -» ##a #a#", "# ## #x", "🎉" * 30, "漢字かな。交じり文！？です。", "e\u0301\u0301" * 10,
    "\u2028a.\u2029b\x85c\x0bd\x1ce",
    "x" * 70_000 + " y",
    "⟨a⟩ {b} [c] (d); e=f | `g` ~ *h* _i_ > j", "see http://a.b/c?d=e~f, xhttps://ä http:// https://a:80/http://b http://",
    "We use cookies. TERMS OF USE\nof privacy policy and privacy overview\n\n\nlorem ipsum\n\nCookie policy",
    "uses  cookies",
    "This site uses cookies\nuse of cookies\n\n privacy & cookies policy\n\nwithout changing your cookie settings, you",
    "Necessary cookies are absolutely essential.\n\n\n\nreuse cookies\n\nthe terms of used cars\n\nLorem Ipsum",
    "• one\n ‣ two\n- three\nread more\nRead More..\n \u3000\nlast [...]\n  (…)",
    "  // c\n/* d */\n * e\n# f\n-- g\n; h\n% i\n<!-- j -->\n- k\n/ l\n< m\n<!-\n\t#\ttail  \n",
    'He said "stop." Then (she left!) and: e.g. this? Yes…\n3.14 is. "x"',
    "\n<?xml version='1.0'?>\n<a/>", "x" * 86 + "<?xml version=", "é" * 87 + "<?xml version=",
    "½ ² Ⅷ ٣ ① a1", "\b\t\r x",
]  # fmt: skip


def _content_lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def _repeated(lines: list[str]) -> int:
    return len(lines) - len(set(lines))


def _is_symbol_run(run: str) -> bool:
    return run in ELLIPSES or len(re.findall("#+", run)) / len(run) > 0.5


def _phrases(text: str) -> int:
    # A phrase that is the end of a longer one (`use cookies` of no other) is counted once: none overlap.
    return sum(text.lower().count(phrase) for phrase in PHRASES)


def _boilerplate_paragraphs(text: str) -> int:
    paragraphs = [part.lower() for part in text.split("\n\n")]
    return sum(any(phrase in part for phrase in (*PHRASES, "lorem ipsum")) for part in paragraphs)


DEFINITIONS: dict[str, Callable[[str], int]] = {
    "num_alphanumeric": lambda t: sum(c.isalnum() for c in t),
    "num_ascii_alphanumeric": lambda t: len(re.findall("[a-zA-Z0-9]", t)),
    "num_plain_marks": lambda t: len(re.findall("[\n?!,.]", t)),
    "num_blanks": lambda t: sum(c in "\t\n\r\b " for c in t),
    "num_parentheses": lambda t: len(re.findall(r"{|}|⟨|⟩|\[|\]|\(|\)", t)),
    "num_markdown_chars": lambda t: sum(c in "#*_`~|>" for c in t),
    "num_opening_braces": lambda t: t.count("{"),
    "num_closing_braces": lambda t: t.count("}"),
    "num_semicolons": lambda t: t.count(";"),
    "num_equals_signs": lambda t: t.count("="),
    "num_url_chars": lambda t: sum(map(len, ADDRESS.findall(t))),
    "num_xml_headers": lambda t: int("<?xml version=" in t[:100]),
    "num_c4_lines": lambda t: sum(
        s.strip().endswith(END_MARKS) and not s.strip().endswith("...") for s in t.splitlines()
    ),
    "num_duplicate_content_lines": lambda t: _repeated(_content_lines(t)),
    "num_unended_lines": lambda t: sum(not s.strip().endswith(END_MARKS) for s in _content_lines(t)),
    "num_nemo_bullet_lines": lambda t: sum(s.strip().startswith(BULLETS) for s in _content_lines(t)),
    "num_nemo_ellipsis_lines": lambda t: sum(s.strip().lower().endswith(ELLIPSES) for s in _content_lines(t)),
    "longest_line_chars": lambda t: max(map(len, t.split("\n"))),
    "num_comment_lines": lambda t: sum(s.strip().startswith(COMMENTS) for s in _content_lines(t)),
    "comment_line_chars": lambda t: sum(len(s.strip()) for s in _content_lines(t) if s.strip().startswith(COMMENTS)),
    "num_blank_line_breaks": lambda t: t.count("\n\n"),
    "num_boilerplate_phrases": _phrases,
    "num_boilerplate_paragraphs": _boilerplate_paragraphs,
    "num_lorem_ipsum": lambda t: t.lower().count("lorem ipsum"),
    "num_runs": lambda t: len(t.split()),
    "longest_run_chars": lambda t: max(map(len, t.split()), default=0),
    "num_alpha_runs": lambda t: sum(any(c.isalpha() for c in run) for run in t.split()),
    "num_symbol_runs": lambda t: sum(_is_symbol_run(run) for run in t.split()),
    "num_stop_word_runs": lambda t: sum(run in STOP_WORDS["en"] for run in t.split()),
    "num_keywords": lambda t: sum(word in KEYWORDS for word in reference_words(t)),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_number_is_what_its_definition_in_python_gives(name: str) -> None:
    texts = STRANGE + [text for _, text in labelled_documents(limit=200)]
    define, got = DEFINITIONS[name], features_of(texts)[name].to_pylist()
    wrong = [k for k, text in enumerate(texts) if got[k] != define(text)]
    assert not wrong, [(k, got[k], define(texts[k])) for k in wrong[:5]]
    assert any(got), "no text shows this number"


def test_tags_comments_and_scripts_are_told_from_text() -> None:
    page = '<p class="a b">Text &lt; 3 < 4</p><!-- a <b> note --><br/><script>if (a < b) {}</script> end'
    row = row_of(page)
    tags = '<p class="a b">', "</p>", "<!-- a <b> note -->", "<br/>", "<script>", "</script>"
    assert row["num_tag_chars"] == sum(map(len, tags))
    assert row["num_hidden_chars"] == len("if (a < b) {}")
    assert row_of("a <b and c < d, <3 <é> <b")["num_tag_chars"] == 0
    assert row_of("<style>ü é")["num_hidden_chars"] == 3
    assert row_of("<script src='x'/>text")["num_hidden_chars"] == 0
    assert row_of("<!-- never closed")["num_tag_chars"] == len("<!-- never closed")


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? Four", 3),
        ('He said "stop." (Then he left.)', 2),
        ("Wait... what?!", 2),
        ("Version 3.14 of a.b is out", 0),
        ("これは文です。次の文！終わり", 2),
        ("नमस्ते। फिर मिलेंगे।", 2),
        ("", 0),
    ],
)
def test_ends_of_sentences_are_counted_by_their_marks(text: str, sentences: int) -> None:
    assert row_of(text)["num_sentences"] == sentences


def test_key_words_and_stop_words_share_a_word() -> None:
    row = row_of("for und new für de return", "de")
    assert (row["num_keywords"], row["num_stop_words"], row["num_stop_word_runs"]) == (3, 2, 2)
    assert row_of("para return uma", "pt")["num_distinct_stop_words"] == 2
