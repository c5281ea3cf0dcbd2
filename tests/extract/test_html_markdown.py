"""From well-formed HTML to Markdown: blocks, lists, rows, code; no input makes the compiled loop write astray."""

import random

import numpy as np
import pytest

from datasets_pipeline.extract import html_kernel, html_markdown
from datasets_pipeline.extract.html_markdown import to_markdown


@pytest.mark.parametrize(
    ("html", "markdown"),
    [
        ("a <b>bold</b><i> word</i>\n<a href=\"x\">link</a>", "a bold word link"),
        ("<div>one</div><div>two</div><p>three</p><p>four</p>", "one\ntwo\n\nthree\n\nfour"),
        ("<h2>Head <code>x</code><br>more</h2>text", "## Head x more\n\ntext"),
        ("<ul><li>a<ul><li><p>b</p></li></ul></li><li></li><li>c</li></ul>d", "- a\n  - b\n- c\n\nd"),
        ("<ol><li>a</li><li>b<ol><li>c</li></ol></li><li>d</li></ol>", "1. a\n2. b\n  1. c\n3. d"),
        ("<ol>" + "<li>x</li>" * 11 + "</ol>", "\n".join(f"{number}. x" for number in range(1, 12))),
        ("<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>", "a | b\n1 | 2"),
        ("<table><tr><td><p>a</p></td><td><div>b</div></td></tr><tr><td>c</td><td></td><td>d</td></tr></table>",
         "a | b\nc | d"),
        ("<table><tr><td><p>a</p><p>b</p></td><td>c</td></tr></table>", "a\n\nb\n\nc"),
        ("<table><tr><td>a<table><tr><td>x</td><td>y</td></tr></table></td><td>b</td></tr></table>", "a\n\nx | y\n\nb"),
        ("<p>x</p><pre class=\"a>b\">\nif a &lt; b:\n  <b>go</b>()<br>end</pre><p>y</p>",
         "x\n\n```\nif a < b:\n  go()\nend\n```\n\ny"),
        ("<pre>```\ninside\n```</pre>", "````\n```\ninside\n```\n````"),
        ("<pre> \n </pre>words", "words"),
        ("<p title=\"a > b\">x</p><!-- <p>not</p> --><p>y&nbsp;&amp;&quot;z&amp;lt;</p>", "x\n\ny &\"z&lt;"),
        ("<p>a\u00a0\u2003b\u3000c</p><p-card>d</p-card>", "a b c\n\nd"),
        ("<p>see <img src=\"x\" alt=\"a chart\"> here<img alt=\"\"><img src=\"y\"></p>", "see a chart here"),
        ("<blockquote><p>said</p></blockquote>then<hr>end", "said\n\nthen\n\nend"),
        ("Grüße, 世界 &lt;p&gt;", "Grüße, 世界 <p>"),
        ('<p class="x"">first</p><p>second "quoted"</p>', 'first\n\nsecond "quoted"'),
        ('<p class="x" "="">first</p><p>second</p><img alt="y" "=""> end', "first\n\nsecond\n\ny end"),
        ('<pre>a <!-- say "hi --> b<!-- x > y -->c<!-- </pre> -->d</pre>e', "```\na  bcd\n```\n\ne"),
        ("<xmp><b>shown</b></xmp>", "shown"),
        ("", ""),
        ("<", ""),
    ],
)  # fmt: skip
def test_blocks_lists_rows_and_code(html: str, markdown: str) -> None:
    assert to_markdown(html) == markdown


def test_unseen_elements_leave_with_all_that_is_in_them() -> None:
    page = "a<nav>x<div>y<nav>z</nav></div>w</nav>b<script>if (a<b) '</nav><p>'</script><p>c</p><navy>d</navy><nav>e"
    assert to_markdown(page, frozenset({"nav"})) == "ab\n\nc\n\nd"
    assert to_markdown("a<style>p > b { }</style>b") == "ab"
    code = "<pre>x = 1<button>Copy <b>it</b></button><style>.a{color:red}</style>\ny</pre>"
    assert to_markdown(code, frozenset({"button"})) == "```\nx = 1\ny\n```"


def junk(rng: random.Random) -> str:
    """Tags in any order, never closed as they should be, entities cut off, all kinds of white space."""
    tags = ("p", "div", "ul", "ol", "li", "table", "tr", "td", "th", "pre", "h1", "h6", "br", "b", "blockquote", "!--",
            "script")  # fmt: skip
    parts = []
    for _ in range(rng.randrange(1, 60)):
        kind = rng.randrange(4)
        if kind < 2:
            slash, rest = rng.choice(("", "", "/")), rng.choice(("", "", ' a="x"', ' a=">', " ", "/"))
            parts.append(f"<{slash}{rng.choice(tags)}{rest}{rng.choice(('>', '>', '>', ''))}")
        elif kind == 2:
            odd = ("&lt;", "&l", "&nbsp;", "&nbsp", "\u2003", "\u2028", "```", "\n", " ", "-->", "\0")
            parts.append(rng.choice(odd))
        else:
            parts.append(rng.choice(("word", "ü", "世", "x")))
    return "".join(parts)


def test_no_input_makes_the_loop_read_or_write_outside_of_its_arrays() -> None:
    names, kinds, factor = html_markdown._tags(frozenset({"div", "b"}))
    rng = random.Random(3)
    pages = [junk(rng) for _ in range(400)]
    pages += ["<ul><li>x" * 300, "<table><tr><td>x" * 300, "<ol><li>" * 300 + "x", "<h6>" * 300 + "x"]
    pages.append("<pre>" + "`" * 500)
    for page in pages:
        data = np.frombuffer(page.encode(), np.uint8)
        out = np.zeros(3 * len(data) + html_kernel.BYTES_A_TAG * (page.count("<") + 1), np.uint8)
        # The same code run by Python, whose arrays refuse a place behind their end.
        with np.errstate(over="ignore"):  # the place of a name is a product modulo 2^64
            size = html_kernel.write_markdown.py_func(data, names, kinds, factor, out)
        assert size <= len(out)
        assert to_markdown(page, frozenset({"div", "b"})) == out[:size].tobytes().decode("utf-8", "replace")
