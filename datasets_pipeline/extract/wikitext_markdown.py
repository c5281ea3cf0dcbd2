"""Wikitext as Markdown through mwparserfromhell: headings, lists, tables, code, links as their words.

Templates are dropped or leave the words of their parameters; references, categories, pictures (their captions
stay), comments and magic words are dropped. Nothing is expanded or fetched.
"""

import re
from collections.abc import Callable
from typing import Any

from datasets_pipeline.extract import markdown_writing as md

LIBRARIES = ("mwparserfromhell",)

_ITEM = "\ue001"  # a letter of the private use area before each list mark, until lines are known
_ITEM_LINE = re.compile(f"^(?:{_ITEM}[*#:;])+")
_MAGIC_WORD = re.compile(r"__[A-Z]{3,40}__")
_BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
_MAX_LIST_DEPTH = 8
_DROPPED = frozenset({
    "ref", "references", "gallery", "timeline", "imagemap", "score", "templatedata", "templatestyles", "script",
    "style", "mapframe", "maplink", "graph", "section", "indicator", "inputbox", "categorytree", "hiero",
})  # fmt: skip
_FENCED = frozenset({"pre", "source", "syntaxhighlight"})
_BLOCKS = frozenset({"p", "div", "center", "li", "ul", "ol", "dl", "blockquote", "poem"})
_PICTURE_OPTION = re.compile(
    r"(?:thumb(?:nail)?|frame(?:d|less)?|border|left|right|center|none|upright(?:=.*)?|\d*x?\d+px|alt=.*|link=.*|lang=.*"
    r"|page=.*|class=.*|mini(?:atur)?|links|rechts|zentriert|hochkant(?:=.*)?|vignette|gauche|droite|miniatura(?:deimagen)?"
    r"|baseline|middle|sub|super|top|text-top|bottom|text-bottom)\Z",
    re.IGNORECASE,
)
_INTERWIKI = re.compile(r"[a-z]{2,3}(?:-[a-z]{2,10}){0,2}\Z|simple\Z")
_FILES = frozenset({"file", "image", "media"})
_CATEGORIES = frozenset({"category"})


def to_markdown(
    wikitext: str,
    *,
    keep_template_words: bool = False,
    file_names: frozenset[str] = _FILES,
    category_names: frozenset[str] = _CATEGORIES,
) -> str:
    """Markdown of one page. file_names, category_names: the wiki's own names of these namespaces, lower case."""
    import mwparserfromhell

    code = mwparserfromhell.parse(wikitext.replace(_ITEM, "\ufffd"), skip_style_tags=False)
    writer = _Writer(keep_template_words, _FILES | file_names, _CATEGORIES | category_names)
    return _with_lists(_MAGIC_WORD.sub("", writer.render(code)))


class _Writer:
    def __init__(self, keep_template_words: bool, files: frozenset[str], categories: frozenset[str]) -> None:
        self._keep_template_words = keep_template_words
        self._files, self._categories = files, categories
        self._by_node: dict[str, Callable[[Any], str]] = {
            "Text": lambda node: str(node.value),
            "Heading": lambda node: f"\n\n{md.heading(self.render(node.title), node.level)}\n\n",
            "Tag": self._tag,
            "Wikilink": self._wikilink,
            "ExternalLink": lambda node: (self.render(node.title).strip() if node.title else "") or str(node.url),
            "Template": self._template,
            "HTMLEntity": lambda node: str(node.normalize()),
            "Argument": lambda node: self.render(node.default) if node.default is not None else "",
        }

    def render(self, code: Any) -> str:
        """The nodes of a piece of wikitext, one after the other."""
        if code is None:
            return ""
        return "".join(self._by_node.get(type(node).__name__, lambda _: "")(node) for node in code.nodes)

    def _tag(self, node: Any) -> str:
        name = str(node.tag).strip().lower()
        mark = str(node.wiki_markup or "")
        if mark in ("*", "#", ":", ";"):
            return f"{_ITEM}{mark}"
        if name in _DROPPED:
            return ""
        if name in ("b", "strong"):
            return _marked(self.render(node.contents), "**")
        if name in ("i", "em"):
            return _marked(self.render(node.contents), "*")
        if name == "br":
            return "\n"
        if name == "hr":
            return "\n\n---\n\n"
        if name == "nowiki":
            return str(node.contents or "")
        if name in ("math", "chem", "ce"):
            return f"${str(node.contents or '').strip()}$"
        if name in _FENCED:
            language = next((str(a.value) for a in node.attributes if str(a.name).strip() == "lang"), "")
            return f"\n\n{md.fenced(str(node.contents or ''), language.strip())}\n\n"
        if name in ("code", "tt", "kbd", "samp"):
            return _marked(md.one_line(self.render(node.contents)), "`")
        if name == "table":
            return f"\n\n{self._table(node)}\n\n"
        content = self.render(node.contents)
        if name == "blockquote":
            return f"\n\n{md.quoted(content.strip())}\n\n" if content.strip() else ""
        return f"\n{content}\n" if name in _BLOCKS else content

    def _wikilink(self, node: Any) -> str:
        target = str(node.title).strip()
        shown = self.render(node.text) if node.text is not None else ""
        prefix, colon, _ = target.partition(":")
        prefix = prefix.strip().lower()
        if colon and prefix in self._files:
            options = [part.strip() for part in shown.split("|")]
            caption = options[-1] if options and not _PICTURE_OPTION.match(options[-1]) else ""
            return f"\n\n{caption}\n\n" if caption else ""
        if colon and (prefix in self._categories or _INTERWIKI.match(prefix)):
            return ""
        return shown.strip() or target.removeprefix(":").replace("_", " ")

    def _template(self, node: Any) -> str:
        if not self._keep_template_words or str(node.name).lstrip().startswith("#"):
            return ""
        words = [self.render(param.value).strip() for param in node.params]
        return " ".join(word for word in words if word)

    def _table(self, node: Any) -> str:
        rows: list[list[str]] = [[]]
        kinds: list[set[str]] = [set()]
        caption = ""
        for child in node.contents.nodes if node.contents is not None else []:
            name = str(getattr(child, "tag", "")).strip().lower()
            if name == "tr":
                rows.append([])
                kinds.append(set())
            cells = child.contents.nodes if name == "tr" and child.contents is not None else [child]
            for cell in cells:
                kind = str(getattr(cell, "tag", "")).strip().lower()
                if kind not in ("td", "th"):
                    continue
                source = str(cell)
                text = md.one_line(_with_lists(self.render(cell.contents)))
                if source.startswith("|+"):
                    caption = text.removeprefix("+").strip()
                    continue
                rows[-1].append(text)
                kinds[-1].add(kind)
        filled = [(row, kind) for row, kind in zip(rows, kinds, strict=True) if any(row)]
        has_header = bool(filled) and filled[0][1] == {"th"}
        return md.joined([caption, md.table([row for row, _ in filled], int(has_header))])


def _with_lists(text: str) -> str:
    """Lines that begin with list marks as Markdown lists; runs of blank lines as one."""
    lines: list[str] = []
    counters = [0] * (_MAX_LIST_DEPTH + 1)
    was_item = False
    for line in text.split("\n"):
        marks = _ITEM_LINE.match(line)
        if marks is None:
            if was_item and line.strip():
                lines.append("")
            counters = [0] * len(counters)
            was_item = False
            lines.append(line.replace(_ITEM, "").rstrip())
            continue
        kinds = marks.group().replace(_ITEM, "")[:_MAX_LIST_DEPTH]
        words = line[marks.end() :].replace(_ITEM + ":", "\n: ").replace(_ITEM, "").strip()
        depth = len(kinds)
        if not was_item and lines and lines[-1].strip():
            lines.append("")
        was_item = True
        if not words:
            continue
        counters[depth + 1 :] = [0] * (len(counters) - depth - 1)
        counters[depth] = counters[depth] + 1 if kinds[-1] == "#" else 0
        marker = {"*": "- ", "#": f"{counters[depth]}. ", ":": "", ";": ""}[kinds[-1]]
        lines.append(md.prefixed(words, "  " * (depth - 1) + marker, "  " * (depth - 1)))
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


def _marked(text: str, mark: str) -> str:
    inner = text.strip()
    if not inner or "\n" in inner:
        return text
    start = text[: len(text) - len(text.lstrip())]
    return f"{start}{mark}{inner}{mark}{text[len(start) + len(inner) :]}"
