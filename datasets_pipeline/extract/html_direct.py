"""A page as it is found to the well-formed HTML that html_markdown reads, without a parser where that is safe.

Most pages close what they open, or leave out only the end tags that may be left out. Of those the loop of
html_direct_kernel says what a parser's tree would say, several times as fast; of all others it says nothing, and lexbor
parses them. Tests hold both against each other on real and on damaged pages.
"""

import functools
from html.entities import html5
from typing import Any

from datasets_pipeline.extract import html_markdown


def well_formed(page: str, unseen: frozenset[str], *, without_marked: bool) -> bytes | None:
    """The body of a page as html_markdown's loop reads it; None where that takes a parser.

    unseen: elements to leave out besides scripts; it has all of whose content the standard has rules of its own
    (select, svg, textarea). without_marked: elements that are hidden, or surroundings by their role, are left out too.
    """
    import numpy as np

    from datasets_pipeline.extract.html_direct_kernel import BYTES_SPARE, GIVEN_UP, write_well_formed

    try:
        data = page.encode()
    except UnicodeEncodeError:
        return None
    out = np.empty(len(data) + len(data) // 4 + BYTES_SPARE, np.uint8)
    tables = (*_tags(unseen), *_entities())
    size = write_well_formed(np.frombuffer(data, np.uint8), *tables, without_marked, out)  # type: ignore[call-arg]
    return None if size == GIVEN_UP else out[:size].tobytes()


@functools.cache
def machine_code() -> tuple[str, str] | None:
    """(folder, name) of the compiled loops, compiled now if they are not yet: where they lie, and numba's name for it.

    For a process that may not write beside them; None where numba does not say, and such a process compiles for itself.
    """
    from datasets_pipeline.extract import html_direct_kernel
    from datasets_pipeline.extract.html_opening import stated_by

    stated_by("<title>words</title>")
    html_markdown.markdown_of(well_formed("<p>words</p>", frozenset(), without_marked=True) or b"")
    try:
        from numba.core.caching import _CacheLocator

        name = _CacheLocator.get_suitable_cache_subpath(html_direct_kernel.__file__)  # of the folder: one for all
        compiled: Any = html_direct_kernel.write_well_formed
        return compiled._cache.cache_path, name
    except (ImportError, AttributeError):  # private to numba
        return None


@functools.cache
def _tags(unseen: frozenset[str]):  # type: ignore[no-untyped-def]
    """The table that the loop looks tags up in."""
    import numpy as np

    from datasets_pipeline.extract import html_direct_kernel as kernel

    does = {
        kernel.PHRASE: "b big code em font i s small span strong strike sub sup tt u var",
        kernel.ANCHOR: "a",
        kernel.INLINE: "audio canvas datalist legend video",
        kernel.NOSCRIPT: "noscript",
        kernel.MATH_TEXT: "mi mn mo ms mtext",
        kernel.BLOCK: "article aside blockquote center details dir dl fieldset figcaption figure footer header hgroup "
        "main menu nav ol section summary ul",
        kernel.DIVISION: "address div",
        kernel.PARAGRAPH: "p",
        kernel.HEADING: "h1 h2 h3 h4 h5 h6",
        kernel.PRE: "pre",
        kernel.ITEM: "li",
        kernel.TERM: "dd dt",
        kernel.FORM: "form",
        kernel.BUTTON: "button",
        kernel.OBJECT: "object",
        kernel.TABLE: "table",
        kernel.SECTION: "tbody tfoot thead",
        kernel.ROW: "tr",
        kernel.COLUMNS: "colgroup",
        kernel.COLUMN: "col",
        kernel.CELL: "td th",
        kernel.CAPTION: "caption",
        kernel.BREAK: "br",
        kernel.RULE: "hr",
        kernel.VOID: "area embed input param source track wbr",
        kernel.META: "base link meta",
        kernel.IMAGE: "img",
        kernel.RAW: "iframe noembed",
        kernel.RAW_IN_HEAD: "noframes script style",
        kernel.TITLE: "title",
        kernel.TEXTAREA: "textarea",
        kernel.SELECT: "select",
        kernel.OPTION: "optgroup option",
        kernel.SVG: "svg",
        kernel.MATH: "math",
        kernel.HTML: "html",
        kernel.HEAD: "head",
        kernel.BODY: "body",
        kernel.HARD: "annotation-xml applet basefont bgsound command dialog foreignobject frame frameset image isindex "
        "keygen listing marquee nobr plaintext rb rp rt rtc ruby search selectedcontent template xmp",
    }
    numbers = {html_markdown.number_of(name): (kind, name) for kind, all_of in does.items() for name in all_of.split()}
    factor = html_markdown.factor_for(numbers)
    names, tails, written = (np.zeros(4096, np.uint64) for _ in range(3))
    classes, is_unseen = np.zeros(4096, np.uint8), np.zeros(4096, np.bool_)
    for number, (kind, name) in numbers.items():
        place = html_markdown.place_of(number, factor)
        names[place], classes[place] = number, kind
        tails[place] = int.from_bytes(name.encode()[7:], "little")
        written[place], is_unseen[place] = html_markdown.number_of(html_markdown.short_name(name)), name in unseen
    return names, tails, classes, written, is_unseen, np.uint64(factor)


@functools.cache
def _entities():  # type: ignore[no-untyped-def]
    """Names of at most seven letters, each at its place or the next that is free, and the characters they stand for."""
    import numpy as np

    factor = int(_tags(frozenset())[-1])
    names, codes = np.zeros(4096, np.uint64), np.zeros(4096, np.int64)
    for name, characters in html5.items():
        if not name.endswith(";") or len(name) > 8:
            continue
        number = html_markdown.number_of(name[:-1])
        place = html_markdown.place_of(number, factor)
        while names[place]:
            place = (place + 1) % 4096
        names[place] = number
        codes[place] = (ord(characters) if len(characters) == 1 else 0) + ((name[:-1] in html5) << 32)
    return names, codes
