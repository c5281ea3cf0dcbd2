"""A page read without a parser says what lexbor's tree says, or nothing; whatever is wrong with it."""

import random
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest

from datasets_pipeline.extract import html, html_direct, html_direct_kernel
from datasets_pipeline.extract.html_markdown import markdown_of

RAW = Path(__file__).resolve().parents[3] / "shared" / "data" / "raw_documents"
TAGS = [
    "p", "p", "p", "div", "div", "span", "b", "i", "a", "a", "ul", "ol", "li", "li", "dl", "dt", "dd", "table",
    "tr", "td", "th", "tbody", "thead", "caption", "colgroup", "col", "h1", "h2", "pre", "br", "hr", "img", "input",
    "form", "button", "select", "option", "textarea", "title", "script", "style", "noscript", "svg", "math", "mi",
    "legend", "fieldset", "video", "object", "section", "article", "nav", "aside", "footer", "header", "main",
    "blockquote", "address", "iframe", "head", "body", "html", "code", "font", "dialog", "template", "xmp",
    "center", "foreignobject", "desc", "x-y", "noframes", "noembed", "image", "nobr", "rt", "meta", "link",
    "annotation-xml", "frameset",
]  # fmt: skip
ATTRIBUTES = (
    *[""] * 12, " hidden", " role=navigation", ' role="banner"', " HIDDEN", ' class="x"', " id='y'", ' alt="pic"',
    " alt=", ' alt="a&amp;b&nbsp;c"', " alt='q\"q'", ' data-x="<b>"', ' title="</pre>"', ' a="x""', " =x", "/", " /",
    ' title="<img alt=z"', ' type="text/html"', " type=text/x-template", ' role="search" role="x"', " x=a/b", ' ="x',
    ' a=b"c', " href=x>y", " b='\n>'", ' alt="&copy=1"',
)  # fmt: skip
TEXTS = (
    "x", "word", "two words", " ", "\n", "\r\n", "\r", "&amp;", "&lt;", "&nbsp;", "&nbsp", "&copy 1", "&copyx", "&#65;",
    "&#x42;", "&#150;", "&#0;", "&#xD800;", "&#13;", "&#10", "&bogus;", "&b", "&", "& ", "<", "< ", "<3", "\xa0",
    "\u2003", "\0", "\x0b", "\x0c", "ü", "世", "&hellip;", "&rightarrow;", "&notit;", "&acE;", "&ltx", "```", "-->",
    "]]>", '"', "'", "=", "&#160;", "&AMP", "\x85", "&Tab;", "&ampnbsp;", "&amp;lt;",
)  # fmt: skip
ODD = (
    "<!-- c -->", "<!-->", "<!--->", "<!-- <b> -->", "<!--a--!>", "<!-- x", "<!doctype html>", "<?php x ?>", "</>",
    "</ x>", "<![CDATA[ x ]]>", "<!x>", '<!-- <img alt="-->" -->', '<!-- <script type="text/html"> -->',
    "<!-- </script> -->", "<script>", "</script>", "<script>a<b</script>", "<script><!-- <script> --></script>",
    "<style>a{}</style>", "<title>t</title>", "<textarea><p>", "</p>", "</br>", "<p/>", "<svg/>",
    "<svg><path/></svg>", "<math><mi>x</mi></math>", '<script type="text/x-handlebars-template"><p>in</p>',
    "<select><option>a<option>b</select>", "<svg><style>a</style></svg>", "<p\0>", "<p", "</p ", "<K,V>",
    '<img-x alt="y">', "<scriptx>", "<templatex>", "</body>", "</html>", "<body>", "<html>", '<a title="',
    "<noscript><img alt=n></noscript>", "<!---", "<table><tr><td>", "</table>", "</td>", "</tr>", "<blockquxyz>",
    "</form>", "</a>", "</b>", "</legend>", "</h3>", "</button>", "<form>", "<legend>", "<button>",
)  # fmt: skip


def real_pages(sources: tuple[str, ...], least_bytes: int = 0) -> list[str]:
    pages = []
    for source in sources:
        if not (RAW / f"{source}.tar.xz").exists():
            pytest.skip("the shared raw documents are not there")
        with tarfile.open(RAW / f"{source}.tar.xz") as members:
            for member in members:
                file = members.extractfile(member) if member.isfile() and member.name.endswith(".html") else None
                if file is not None and member.size >= least_bytes:
                    pages.append(file.read().decode("utf-8", "replace"))
    return pages


def tag(rng: random.Random, names: list[str]) -> str:
    name = rng.choice(names)
    name = rng.choice((name, name, name, name, name.upper(), name.title()))
    if rng.random() < 0.5:
        return f"<{name}{rng.choice(ATTRIBUTES)}>"
    return f"</{name}{rng.choice(('', '', '', ' ', '/', ' x'))}>"


def made(rng: random.Random) -> str:
    """A small page of tags that have rules of their own, in an order that nobody would write."""
    names = rng.sample(TAGS, rng.randrange(2, 8)) if rng.random() < 0.8 else TAGS
    head = "<!DOCTYPE html><html><head><title>T</title></head><body>"
    opening = rng.choice(("", "", "<!doctype html>", head, "<body>"))
    parts = []
    for _ in range(rng.randrange(1, 30)):
        kind = rng.random()
        parts.append(tag(rng, names) if kind < 0.6 else rng.choice(TEXTS) if kind < 0.88 else rng.choice(ODD))
    return opening + "".join(parts)


def damaged(rng: random.Random, page: str) -> str:
    """A piece of a page with tags dropped, doubled or swapped, quotes and entities broken, cut anywhere."""
    start = rng.randrange(max(len(page) - 3000, 1))
    parts = re.findall(r"<[^<>]*>|[^<]+|<", page[start : start + rng.randrange(300, 3000)])
    for _ in range(rng.choice((1, 1, 2, 3, 6, 20))):
        if not parts:
            break
        i, j, kind = rng.randrange(len(parts)), rng.randrange(len(parts)), rng.randrange(9)
        if kind == 0:
            del parts[i]
        elif kind == 1:
            parts.insert(i, parts[j])
        elif kind == 2:
            parts[i], parts[j] = parts[j], parts[i]
        elif kind == 3:
            parts[i] = parts[i].replace('"', rng.choice(("", "'")), rng.choice((1, -1)))
        elif kind == 4:
            parts[i] = parts[i][: rng.randrange(len(parts[i]) + 1)]
        elif kind == 5:
            parts[i] = parts[i].replace(";", "", 1)
        elif kind == 6:
            parts[i] = parts[i].swapcase()
        elif kind == 7:
            parts.insert(i, rng.choice(ODD + TEXTS))
        else:
            parts.insert(i, tag(rng, TAGS))
    return "".join(parts)


def read_directly(page: str, which: str = "content") -> str | None:
    return html._read_directly(page, which)


def by_parser(page: str, which: str = "content") -> str:
    return html._render(html._open_templates(page), which, ())


def test_most_real_pages_are_read_without_a_parser_and_say_the_same() -> None:
    pages = real_pages(("docling-tests", "unstructured-examples", "kafka-site"))[::4]
    num_direct = 0
    for page in pages:
        direct = read_directly(page)
        if direct is not None:
            num_direct += 1
            assert direct == by_parser(page)
    print(f"{num_direct} of {len(pages)} pages are read directly")
    assert num_direct >= 0.9 * len(pages)


def test_damaged_and_nasty_pages_say_what_the_parser_says_or_nothing() -> None:
    rng = random.Random(11)
    pages = [made(rng) for _ in range(6000)]
    real = real_pages(("docling-tests", "unstructured-examples"), 2000) if RAW.exists() else []
    pages += [damaged(rng, rng.choice(real)) for _ in range(1500) if real]
    num_direct = 0
    for number, page in enumerate(pages):
        which = "all" if number % 3 == 0 else "content"
        direct = read_directly(page, which)
        if direct is not None:
            num_direct += 1
            assert direct == by_parser(page, which), page
    assert num_direct >= 0.1 * len(pages)


@pytest.mark.parametrize(
    ("page", "markdown"),
    [
        ("<TITLE>t</TITLE><P>one<P>two<UL><LI>a<LI>b</UL>", "one\n\ntwo\n\n- a\n- b"),
        ("<table><tr><td>a<td>b<tr><td>c</table>", "a | b\nc"),
        ("<p>x<div hidden>y</div><span role='search'>z</span>w<b>v", "x\n\nwv"),
        ("<script type='text/x-handlebars-template'><p>in</p></script>out", "in\n\nout"),
        ("<script>'<p>'</script><style>p{}</style><!-- <p> --><p>&Auml;&#8364;&#150;&lt b&gt;", "Ä€–< b>"),
        ("<h1>a</h2>b</br>c</p>d<svg><path/></svg>e", "# a\n\nb\nc\n\nde"),
        ("<b><p>x</b>y</p></i>z<img alt='p &amp; q'>", "xy\n\nz p & q"),
    ],
)
def test_what_may_be_left_out_is_put_in(page: str, markdown: str) -> None:
    assert read_directly(page) == markdown == by_parser(page)


@pytest.mark.parametrize(
    "page",
    ["<table>x<tr><td>y</table>", "<p><button><p>x</button>", "<template><p>x</template>", "<p", "<!-- x", "a\0b",
     "<div>" * 300, "<a title='<img'>x</a>", "<plaintext>x", "<table><tr><td><object></td>x", "<frameset>",
     "<p ROLE=banner>x", "<li><u><li><form>x</form>y", "<form><p><u></p>x</form>y",
     "<b role=navigation><ol><b></ol><i></i></b>x"],
)  # fmt: skip
def test_what_takes_the_repairs_of_a_parser_is_left_to_it(page: str) -> None:
    assert read_directly(page) is None or read_directly(page) == by_parser(page)


@pytest.mark.parametrize(
    "part",
    ["<div>", "<p>", "<ul><li>", "<b>", "<a>", "</div>", "<table><tr><td>", "&", "<!--", "<script>", "<img ", "<a b='",
     "<svg>", "<li>", "<!-- <img -->", "&lt", "<form>", "<legend><b>", "<td>", "<p></b>"],
)  # fmt: skip
def test_time_is_linear_and_the_output_stays_in_its_array(part: str) -> None:
    page = part * (400_000 // len(part))
    unseen = html._NEVER_READ | html._SURROUNDINGS
    body = html_direct.well_formed(page, unseen, without_marked=True)
    assert body is None or len(body) <= len(page) + len(page) // 4 + html_direct_kernel.BYTES_SPARE


def test_no_input_makes_the_loop_read_or_write_outside_of_its_arrays() -> None:
    tables = html_direct._tags(html._NEVER_READ | html._SURROUNDINGS)
    rng = random.Random(5)
    pages = [made(rng) for _ in range(300)]
    pages += ["&" * 300, "<" * 300, "<p>" * 300, "<table>" * 300, "<td>" * 90, "<img alt='" + "&" * 300 + "'>"]
    pages += ["<table><tr><td>" * 100, "", "<", "</", "<!", "<!-", "<!--", "&#", "&#x", "<a", "<a b", "<a b=", "<a b='"]
    pages += ["<script", "<script>"]
    for page in pages:
        data = np.frombuffer(page.encode(), np.uint8)
        out = np.zeros(len(data) + len(data) // 4 + html_direct_kernel.BYTES_SPARE, np.uint8)
        # The same code run by Python, whose arrays refuse a place behind their end.
        with np.errstate(over="ignore"):  # the place of a name is a product modulo 2^64
            size = html_direct_kernel.write_well_formed.py_func(data, *tables, *html_direct._entities(), True, out)
        assert size <= len(out)
        body = html_direct.well_formed(page, html._NEVER_READ | html._SURROUNDINGS, without_marked=True)
        assert body == (None if size < 0 else out[:size].tobytes())
        assert body is None or isinstance(markdown_of(body), str)
