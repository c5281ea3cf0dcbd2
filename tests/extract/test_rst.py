"""reStructuredText as Markdown: what a reader of the page sees is kept, whatever Sphinx adds to the language."""

import random
import sysconfig
from pathlib import Path

import pytest

from datasets_pipeline.extract import ExtractOptions, extract
from datasets_pipeline.extract.rst import lost_words, render
from datasets_pipeline.sources.base import ExtractionError

PAGE = """\
=====
Guide
=====

:Date: 2024-03-05

Intro with *emphasis*, **strong**, ``code``, `a link <https://example.org>`_ and |name|. [1]_

.. |name| replace:: a substitution
.. _label: https://example.org/hidden
.. a comment that nobody sees

Part
====

* one

  more of one
* two

  1. inner
  2. inner two

term
   its definition

.. code-block:: python
   :linenos:
   :emphasize-lines: 1

   x = 1

Shell::

    $ ls

.. note:: Mind the gap.

   Second paragraph.

.. image:: picture.png
   :alt: A picture of words

===== =====
Name  Value
===== =====
a     1
b     2|3
===== =====

.. [1] The footnote.

>>> 1 + 1
2
"""


def document(text: str):
    result = extract(text.encode(), "page.rst", None, ExtractOptions())
    assert len(result.documents) == 1 and not result.rejects
    return result.documents[0]


def test_a_page_becomes_markdown_with_its_structure():
    found = document(PAGE)
    assert found.text == (
        "# Guide\n\nDate: 2024-03-05\n\n"
        "Intro with *emphasis*, **strong**, `code`, a link and a substitution. [^1]\n\n"
        "## Part\n\n"
        "- one\n\n  more of one\n- two\n\n  1. inner\n  2. inner two\n\n"
        "term\n: its definition\n\n"
        "```python\nx = 1\n```\n\nShell:\n\n```\n$ ls\n```\n\n"
        "> **Note**\n>\n> Mind the gap.\n>\n> Second paragraph.\n\n"
        "A picture of words\n\n"
        "| Name | Value |\n| --- | --- |\n| a | 1 |\n| b | 2\\|3 |\n\n"
        "[^1]: The footnote.\n\n"
        "```pycon\n>>> 1 + 1\n2\n```"
    )
    assert (found.stated_date, found.metadata["title"], found.media_type) == ("2024-03-05", "Guide", "text/x-rst")
    assert "hidden" not in found.text and "nobody" not in found.text and "markup" not in found.metadata


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("See :ref:`the guide <guide>` and :func:`~os.path.join`.", "See the guide and `os.path.join`."),
        ("Read :doc:`/intro`, press :kbd:`Ctrl+C`, not :pep:`8`.", "Read /intro, press `Ctrl+C`, not PEP 8."),
        (".. versionadded:: 3.2\n   The flag.", "Added in version 3.2: The flag."),
        (".. deprecated:: 1.0 Use the other.", "Deprecated since version 1.0: Use the other."),
        (".. seealso:: Another page.", "> **See also**\n>\n> Another page."),
        (".. my-own:: An argument\n   :option: 1\n\n   Its content.", "An argument\n\nIts content."),
        (".. autoclass:: pkg.Thing\n   :members:\n\n   More.", "`pkg.Thing`\n\nMore."),
        (".. py:function:: f(a, b)\n\n   Does it.\n\n   :param a: first", "`f(a, b)`\n\nDoes it.\n\nparam a: first"),
        (".. toctree::\n   :maxdepth: 2\n\n   intro\n   The end <end>", "- intro\n- The end"),
        (".. raw:: html\n\n   <b>seen</b><script>not()</script>", "seen"),
        (".. math:: a^2", "$$\na^2\n$$"),
        (".. code-block::\n   :caption: Run\n\n   go", "Run\n\n```\ngo\n```"),
    ],
)  # fmt: skip
def test_what_docutils_does_not_know_keeps_its_words(source, expected):
    assert render(source + "\n").text == expected


def test_nothing_outside_of_the_text_is_read(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret words")
    for source in (
        f".. include:: {secret}", f".. literalinclude:: {secret}", f".. csv-table:: t\n   :file: {secret}",
        f".. raw:: html\n   :file: {secret}", f".. raw:: html\n   :url: file://{secret}",
        f".. figure:: {secret}\n   :figwidth: image", ".. date::", "|d|\n\n.. |d| date:: %Y",
    ):  # fmt: skip
        text = render(f"Words.\n\n{source}\n").text
        assert "secret words" not in text and "20" not in text.replace(str(tmp_path), ""), source


def test_what_a_document_registers_ends_with_it():
    first = render(".. role:: mine\n\n.. default-role:: strong\n\n:mine:`a` `b`\n")
    assert first.text == "a **b**"
    assert render("`b` and :mine:`a`\n").text == "b and a"
    assert render(".. own:: words\n").text == "words"
    from docutils.parsers.rst import directives, roles

    assert "own" not in directives._directives and "mine" not in roles._roles


def test_a_text_the_parser_loses_words_of_stays_as_it_was_written(monkeypatch):
    from datasets_pipeline.extract import rst_markdown

    text = "Title\n=====\n\n" + "words of the page " * 20
    monkeypatch.setattr(rst_markdown, "to_markdown", lambda tree: "words")
    found = document(text)
    assert found.text == text
    assert (found.metadata["markup"], found.metadata["markup_cause"]) == ("as written", "words lost")


def test_a_malformed_table_or_directive_is_kept_as_written():
    text = "Before.\n\n=== ===\n a   b c d\n=== ===\nlong cell text\n\nAfter.\n\n.. list-table:: T\n\n   words alone\n"
    found = render(text).text
    for word in ("Before", "long", "cell", "alone", "After"):
        assert word in found


@pytest.mark.parametrize(
    "source",
    [
        "* " * 3000 + "deep", "> " * 3000, "`" * 20_000, "|a " * 1500, "*a " * 1500, "[" * 10_000,
        ".. note::\n" * 2000, "\x00\x01 words", "a\n" + "=" * 60_000,
        ".. |a| replace:: |b| |b|\n.. |b| replace:: |a| |a|\n\n|a| words\n",
        "\n".join(f".. |s{i}| replace:: " + f"|s{i + 1}| " * 9 for i in range(12)) + "\n\n|s0| words\n",
        "\n".join("  " * i + f"* item {i}\n" for i in range(150)),
    ],
)  # fmt: skip
def test_hostile_markup_is_read_or_kept_and_never_explodes(source):
    found = render(source)
    assert len(found.text) <= 40 * len(source) + 100_000
    if found.kept_because is None:
        num_words, num_lost = lost_words(source, found.text)
        assert num_lost <= max(3, 0.05 * num_words)


@pytest.mark.parametrize("mark", ["*a ", "`a ", "|a ", "a_ "])
def test_a_paragraph_of_marks_that_nothing_closes_is_not_parsed(mark):
    found = render(mark * 20_000)
    assert found.kept_because == "too many marks" and found.text == mark * 20_000


def test_cut_and_damaged_pages_give_a_document_or_a_reason():
    data = PAGE.encode()
    generator = random.Random(7)
    for _ in range(60):
        damaged = bytearray(data[: generator.randrange(1, len(data))])
        for _ in range(8):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        try:
            (found,) = extract(bytes(damaged), "page.rst", None, ExtractOptions()).documents
        except ExtractionError:
            continue
        assert found.text


def test_real_pages_of_this_environment_keep_their_words():
    pages = sorted(Path(sysconfig.get_paths()["purelib"]).rglob("*.rst"))[:40]
    if not pages:
        pytest.skip("no .rst file is installed here")
    kept = 0
    for page in pages:
        text = page.read_text("utf-8", "replace")
        found = render(text)
        num_words, num_lost = lost_words(text, found.text)
        assert num_lost <= max(3, 0.05 * num_words), page
        kept += found.kept_because is None
    assert kept >= 0.9 * len(pages)
