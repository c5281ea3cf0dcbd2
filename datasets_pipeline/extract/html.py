"""HTML: what a reader of the page sees, as plain Markdown (headings, lists, code, table rows).

Three traps, each seen in real documentation:

- Whole pages inside `<script type="text/x-handlebars-template">` or `<template>`: such elements are
  opened before parsing; real scripts stay out.
- A parser that returns nothing for a large page without an error: the words that came out are weighed
  against the characters between the tags, and `parser_returned_nothing` is an error of the file.
- Tags 200,000 deep: a parser looks through all open elements at every tag, so the time is their square. Beyond 2,000
  levels a page is read without its structure.

Server-side includes (`<!--#include -->`) are not resolved: what they include is a file of its own.
A compiled loop reads the pages that are well-formed enough (html_direct), lexbor (by selectolax) parses all others;
`benchmarks/html_pages.py` says how fast all of it is.
"""

import re
from collections.abc import Sequence
from html import unescape
from typing import Any

from datasets_pipeline.extract.decoding import decode
from datasets_pipeline.extract.html_direct import well_formed
from datasets_pipeline.extract.html_markdown import markdown_of, to_markdown
from datasets_pipeline.extract.html_opening import stated_by
from datasets_pipeline.extract.licences import UNKNOWN, spdx_of, spdx_of_header
from datasets_pipeline.extract.media_types import HTML
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.extract.stated import iso_date, iso_language
from datasets_pipeline.sources.base import ExtractedDocument, ExtractionError, ExtractionResult

VERSION = "2"
MEDIA_TYPES = (HTML, "application/xhtml+xml")
LIBRARIES = ("selectolax",)

# What surrounds the content of a page; `header` is not here because articles keep their title in one.
_SURROUNDINGS = frozenset({"nav", "footer", "aside", "dialog"})
_MARKED_SURROUNDINGS = "[role=navigation],[role=banner],[role=contentinfo],[role=search],[hidden]"
# Two expressions that each begin with a word are ten times as fast as one of both.
_MARKS = (re.compile(r"role\s*=\s*[\"']?\s*(?:navigation|banner|contentinfo|search)"), re.compile(r"hidden[\s=>/]"))
# What no reader of a page sees, or only works: controls of forms, players, pictures made of code.
_NEVER_READ = frozenset({
    "head", "svg", "noscript", "frameset", "object", "video", "audio", "canvas", "textarea", "select", "datalist",
    "button",
})  # fmt: skip
# Below this share of the characters between the tags the text is gone, not reduced: stripped navigation
# leaves 20 % of the worst page of the Kafka site.
_MIN_TEXT_SHARE = 0.05
_MIN_CONTENT_SHARE = 0.1
_MIN_INPUT_CHARACTERS = 500

# [^<>]* instead of .*? keeps every expression linear on hostile input.
_TAG = re.compile(r"<[^<>]*>")
_SCRIPT_OPEN = re.compile(r"<[sS][cC][rR][iI][pP][tT]\b([^<>]*)>")  # twice as fast as with IGNORECASE
_SCRIPT_CLOSE = re.compile(r"</script[^<>]*>", re.IGNORECASE)
_TEMPLATE_TYPE = re.compile(
    r"type\s*=\s*[\"']?\s*text/(?:x-handlebars|x-template|html|ng-template|x-mustache)", re.IGNORECASE
)
_TEMPLATE = re.compile(r"<(/?)[tT][eE][mM][pP][lL][aA][tT][eE]\b")
_TEMPLATE_WORDS = ("text/html", "text/x-", "text/ng-", "TEXT/HTML", "TEXT/X-", "TEXT/NG-")
_UNSEEN = tuple(
    (re.compile(f"<{name}\\b", re.IGNORECASE), re.compile(f"</{name}\\b[^<>]*>", re.IGNORECASE))
    for name in ("script", "style", "svg", "head")
)
_OPENING = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
# Elements that the next one of their kind closes, and those that hold nothing: many of them are not deep.
_NEVER_DEEP = frozenset({
    "p", "li", "td", "th", "tr", "dt", "dd", "option", "br", "hr", "img", "input", "meta", "link", "area", "base",
    "col", "source", "track", "wbr", "embed", "param",
})  # fmt: skip
_MAX_DEPTH = 2000
_NOT_YET_SLOW = 100_000
"""Characters of a page that takes a second at the most, however deep it is."""
_STRUCTURE = re.compile(r"</?(?!(?:script|style|svg|head|title|pre)\b)[a-zA-Z][^<>]*>", re.IGNORECASE)
_CHARSET = re.compile(rb"<meta\b[^<>]{0,300}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)
_DATE_NAMES = (
    "article:modified_time", "article:published_time", "last-modified", "datemodified", "date", "dc.date",
    "dcterms.modified", "dcterms.date", "datepublished", "pubdate",
)  # fmt: skip
_LICENCE_NAMES = ("license", "licence", "dc.rights", "dcterms.license", "dcterms.rights")


def extract(data: bytes, uri: str, media_type: str, options: ExtractOptions) -> ExtractionResult:
    """The visible text of a page as one document."""
    declared = _CHARSET.search(data[:4096])
    decoded = decode(
        data,
        uri,
        declared=declared.group(1).decode("ascii") if declared else options.encoding,
        max_odd_share=options.max_odd_share,
    )
    stated = stated_by(decoded.text)
    licence, evidence = _stated_licence(stated.named, stated.opening)
    document = ExtractedDocument(
        text=text_of_page(decoded.text, uri, options.html),
        start=0,
        end=len(data),
        media_type=HTML,
        extractor="html",
        extractor_version=VERSION,
        licence=licence,
        licence_evidence=evidence,
        stated_date=next((day for name in _DATE_NAMES if (day := iso_date(stated.named.get(name)))), None),
        language=iso_language(stated.language),
        metadata=decoded.metadata | ({"title": stated.title} if stated.title else {}),
    )
    return ExtractionResult([document])


def text_of_page(page: str, uri: str, which: str, left_out: Sequence[str] = ()) -> str:
    """The page as Markdown; all of it when its surroundings held nearly everything (a page that is one <aside>).

    left_out: CSS selectors of elements to leave out besides. Raises ExtractionError parser_returned_nothing.
    """
    direct = _read_directly(page, which) if which != "main" and not left_out else None
    if direct is None:
        page = _open_templates(page)
    text = _render(page, which, left_out) if direct is None else direct
    # There are not more characters between the tags than in the page; counting them takes longer than reading it.
    opening = text[: len(page) // 2]
    if len(opening) - opening.count(" ") - opening.count("\n") >= _MIN_CONTENT_SHARE * len(page):
        return text
    num_between_tags = _num_characters_between_tags(page)
    if which != "all" and _num_visible(text) < _MIN_CONTENT_SHARE * num_between_tags:
        text = _render(page, "all", left_out)
    if (
        not left_out
        and num_between_tags >= _MIN_INPUT_CHARACTERS
        and _num_visible(text) < _MIN_TEXT_SHARE * num_between_tags
    ):
        raise ExtractionError(
            "parser_returned_nothing",
            f"{uri}: the HTML parser gave {len(text):,} characters of about {num_between_tags:,} that stand "
            "between the tags; open the page in a browser, and exclude it if it is only an application",
        )
    return text


def _read_directly(page: str, which: str) -> str | None:
    """What _render gives of the page with its templates open, without a parser; None where that is not sure."""
    if _is_deep(page):
        return None
    unseen = _NEVER_READ if which == "all" else _NEVER_READ | _SURROUNDINGS
    body = well_formed(page, unseen, without_marked=which != "all")
    return None if body is None else markdown_of(body)


def _render(page: str, which: str, left_out: Sequence[str]) -> str:
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(_STRUCTURE.sub("<br>", page) if _is_deep(page) else page)
    without = [*left_out]
    if which != "all" and any(mark.search(page) for mark in _MARKS):
        without.append(_MARKED_SURROUNDINGS)
    if without:
        # The innermost first: taking an element out takes what is in it.
        for element in reversed(tree.css(",".join(without))):
            element.decompose()
    part = _main_part(tree) if which == "main" else tree.body or tree.root
    unseen = _NEVER_READ if which == "all" else _NEVER_READ | _SURROUNDINGS
    return to_markdown(part.html or "", unseen) if part is not None else ""


def _main_part(tree: Any) -> Any:
    """The element that the page itself names as its main part; its body where it names none, or several."""
    for selector in ("main", "[role=main]", "article"):
        found = tree.css(selector)
        if len(found) == 1:
            return found[0]
    return tree.body or tree.root


def _open_templates(page: str) -> str:
    """Template elements as blocks, so that the words in them are read; other scripts as they were."""
    if "<template" in page or "<TEMPLATE" in page or "<Template" in page:
        page = _TEMPLATE.sub(r"<\1div", page)
    if not any(word in page for word in _TEMPLATE_WORDS):
        return page
    parts, position = [], 0
    for opening in _SCRIPT_OPEN.finditer(page):
        if opening.start() < position or not _TEMPLATE_TYPE.search(opening.group(1)):
            continue
        closing = _SCRIPT_CLOSE.search(page, opening.end())
        end = closing.start() if closing else len(page)
        parts += [page[position : opening.start()], "<div>", page[opening.end() : end], "</div>"]
        position = closing.end() if closing else len(page)
    return "".join([*parts, page[position:]])


def _num_characters_between_tags(page: str) -> int:
    """Characters that are neither tags, comments, scripts, styles nor white space: what a reader may see."""
    page = _without(page, re.compile("<!--"), re.compile("-->"))
    for opening, closing in _UNSEEN:
        page = _without(page, opening, closing)
    return _num_visible(unescape(_TAG.sub(" ", page)))


def _num_visible(text: str) -> int:
    return len("".join(text.split()))


def _without(page: str, opening: re.Pattern[str], closing: re.Pattern[str]) -> str:
    """The page without every stretch from an opening to the next closing; an open end stays."""
    parts, position = [], 0
    while (start := opening.search(page, position)) is not None:
        end = closing.search(page, start.end())
        if end is None:
            break
        parts.append(page[position : start.start()])
        position = end.end()
    return "".join([*parts, page[position:]])


def _is_deep(page: str) -> bool:
    """Whether more than _MAX_DEPTH elements are open at once: about, by counting, then exactly where that says so."""
    if len(page) < _NOT_YET_SLOW:
        return False
    about, step = 0, len(page) // 16 + 1
    for start in range(0, len(page), step):
        about += page.count("<", start, start + step) - 2 * page.count("</", start, start + step)
        if about > _MAX_DEPTH:
            break
    else:
        return False
    depth = deepest = 0
    for closing, name in _OPENING.findall(page):
        if name.lower() not in _NEVER_DEEP:
            depth += -1 if closing else 1
            deepest = max(deepest, depth)
    return deepest > _MAX_DEPTH


def _stated_licence(named: dict[str, str], text: str) -> tuple[str | None, str | None]:
    for name in _LICENCE_NAMES:
        if name in named and (found := spdx_of(named[name])) != UNKNOWN:
            return found, f"HTML {name}"
    return spdx_of_header(text) or (None, None)
