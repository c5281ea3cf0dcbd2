"""reStructuredText as Markdown, through docutils' parser.

The words that come out are weighed against the words that went in. Where the parser fails, or more than 5 % of
the words are gone, the text is kept as it was written and the metadata says so (`markup`: `as written`, with
the cause). docutils reads about 0.2 MB a second, so texts over 1 MB are kept as written too.
"""

import re
from collections import Counter
from dataclasses import dataclass

from datasets_pipeline.extract.decoding import decode
from datasets_pipeline.extract.licences import spdx_of_header
from datasets_pipeline.extract.media_types import RESTRUCTURED_TEXT
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.extract.stated import iso_date
from datasets_pipeline.normalize import normalize_text
from datasets_pipeline.sources.base import ExtractedDocument, ExtractionResult

VERSION = "1"
MEDIA_TYPES = (RESTRUCTURED_TEXT,)
LIBRARIES = ("docutils",)

_MAX_CHARACTERS = 1 << 20
# 60 kB of `*a *a *a` in one paragraph are 1.2e9 and take 45 s; no block of 2,700 real pages reaches 1e6.
_MAX_COST = 30_000_000
_SMALL_BLOCK = 4096
_START = re.compile(r"(?:^|[\s'\"(\[{<-])[*`|\[](?=\S)|\w_\b")
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_MAX_LOST_SHARE = 0.05
_MAX_LOST_WORDS = 3  # of a text so short that 5 % are less than these
_WORD = re.compile(r"[^\W_]+")
_OPTION = re.compile(r"^[ \t]+:[\w-]+:(?:[ \t].*)?$")
_MARK = re.compile(r"^[ \t]*\.\.(?:[ \t]+(.*))?$")
_DIRECTIVE = re.compile(r"(?:\|[^|]*\|[ ]+)?([\w+:.-]*\w)[ ]?::(?:[ \t]+(.*))?$")
_NOTE = re.compile(r"\[[^\]\n]{1,80}\](?:[ \t]|$)")
_UNSEEN_BLOCK = re.compile(
    r"raw|include|index|meta|contents|highlight|default-role|role|title|image|figure|literalinclude|currentmodule"
    r"|py:currentmodule|sectionauthor|codeauthor|tabularcolumns|date|sectnum|testsetup|testcleanup|unicode|replace|class"
)
_TARGET_IN_ROLE = re.compile(r"[ \n]*<[^<>`\n]*>`")
_ENTRY_TARGET = re.compile(r"(?m)(?<=\S)[ ]+<[^<>\s]+>[ ]*$")
_ROLE = re.compile(r":[A-Za-z][\w+:.-]*:`|`:[A-Za-z][\w+:.-]*:")
_SUBSTITUTION = re.compile(r"\|[^|\s][^|\n]*\|_{0,2}")
_TITLE = re.compile(r"# (.{1,300})(?:\n|\Z)")
_DATE_FIELD = re.compile(r"(?im)^:(?:date|last-modified|updated|created):[ \t]*([^\n]{1,40})$")


@dataclass(frozen=True)
class Rendered:
    """Markdown of a text, or the text itself with the cause why it was kept (None: it was not)."""

    text: str
    kept_because: str | None


def extract(data: bytes, uri: str, media_type: str, options: ExtractOptions) -> ExtractionResult:
    """The text as Markdown, or as written, as one document."""
    decoded = decode(data, uri, declared=options.encoding, max_odd_share=options.max_odd_share)
    rendered = render(decoded.text)
    licence, evidence = spdx_of_header(decoded.text) or (None, None)
    title = _TITLE.match(rendered.text) if rendered.kept_because is None else None
    date = _DATE_FIELD.search(decoded.text[:4096])
    metadata = dict(decoded.metadata)
    if title:
        metadata["title"] = normalize_text(title.group(1))
    if rendered.kept_because:
        metadata |= {"markup": "as written", "markup_cause": rendered.kept_because}
    document = ExtractedDocument(
        text=rendered.text,
        start=0,
        end=len(data),
        media_type=media_type,
        extractor="rst",
        extractor_version=VERSION,
        licence=licence,
        licence_evidence=evidence,
        stated_date=iso_date(date.group(1)) if date else None,
        metadata=metadata,
    )
    return ExtractionResult([document])


def render(text: str) -> Rendered:
    """reStructuredText as Markdown; the text itself when that would lose words. Never raises."""
    from datasets_pipeline.extract.rst_directives import parse
    from datasets_pipeline.extract.rst_markdown import to_markdown

    text = text.replace("\x00", "\ufffd")
    if len(text) > _MAX_CHARACTERS:
        return Rendered(text, "too large")
    if any(_cost(block) > _MAX_COST for block in _BLANK_LINE.split(text)):
        return Rendered(text, "too many marks")
    try:
        markdown = to_markdown(parse(text))
    except Exception as error:  # RecursionError of deep nesting among them; the words are there all the same
        return Rendered(text, type(error).__name__)
    num_words, num_lost = lost_words(text, markdown)
    if num_lost > max(_MAX_LOST_WORDS, _MAX_LOST_SHARE * num_words):
        return Rendered(text, "words lost")
    return Rendered(markdown, None)


def _cost(block: str) -> int:
    """Characters docutils looks at when no mark of a paragraph is closed: each is searched for to the end."""
    return len(block) * len(_START.findall(block)) if len(block) > _SMALL_BLOCK else 0


def lost_words(text: str, markdown: str) -> tuple[int, int]:
    """(words a reader of the page would see, those of them that the Markdown lacks)."""
    expected, found = Counter(_WORD.findall(visible(text))), Counter(_WORD.findall(markdown))
    return expected.total(), (expected - found).total()


def visible(text: str) -> str:
    """The text without comments, targets, options, labels and names of directives and roles: by line, no parser."""
    kept: list[str] = []
    hidden_beyond: int | None = None  # lines indented more than this belong to something unseen
    for line in text.expandtabs(8).splitlines():
        indent = len(line) - len(line.lstrip())
        if hidden_beyond is not None:
            if not line.strip() or indent > hidden_beyond:
                continue
            hidden_beyond = None
        mark = _MARK.match(line)
        if mark is None:
            if not _OPTION.match(line):
                kept.append(line)
            continue
        rest = mark.group(1) or ""
        directive = _DIRECTIVE.match(rest)
        if directive and not _UNSEEN_BLOCK.fullmatch(directive.group(1).lower()) and not rest.startswith("|"):
            kept.append(directive.group(2) or "")
        elif _NOTE.match(rest):
            kept.append(rest)
        else:
            hidden_beyond = indent
    shown = _ENTRY_TARGET.sub("", "\n".join(kept))
    shown = _ROLE.sub("`", _TARGET_IN_ROLE.sub("`", shown))
    return _SUBSTITUTION.sub(" ", shown)
