"""Confluence's storage format (XHTML with ac: and ri: elements) as Markdown.

Macros keep their words: code as a fence, panels as quotes under their title, any other as its body. Links are
their text or the title they point to, users are left out, pictures are their file name.
"""

import re
from html import entities, unescape
from typing import Any

from datasets_pipeline.extract import markdown_writing as md

LIBRARIES = ("lxml",)

_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]{1,31});")
_XML_ENTITIES = frozenset({"amp", "lt", "gt", "quot", "apos"})
_OPEN = '<root xmlns:ac="http://a" xmlns:ri="http://r" xmlns:at="http://t">'  # the export declares none of them
_BLOCKS = frozenset({
    "p", "div", "section", "ul", "ol", "table", "pre", "blockquote", "hr", "h1", "h2", "h3", "h4", "h5", "h6",
    "structured-macro", "macro", "task-list", "layout", "layout-section", "layout-cell", "rich-text-body", "dl",
})  # fmt: skip
_CODE_MACROS = frozenset({"code", "noformat", "plantuml", "mermaid", "html", "latex", "style", "markdown"})
_PANELS = frozenset({"info", "note", "warning", "tip", "panel", "expand", "excerpt-include", "ui-expand"})
_UNSEEN_MACROS = frozenset({
    "toc", "children", "pagetree", "recently-updated", "attachments", "anchor", "contentbylabel", "gallery",
    "livesearch", "include", "excerpt-include", "profile", "detailssummary", "toc-zone-index", "viewpdf", "view-file",
})  # fmt: skip
_INLINE_MACROS = frozenset({"status", "jira", "anchor"})
_MAX_DEPTH = 200


def to_markdown(storage: str) -> str:
    """Markdown of the body of one page. Raises ValueError when it is no markup at all."""
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, recover=True, huge_tree=False, remove_comments=True,
        remove_pis=True,
    )  # fmt: skip
    source = _ENTITY.sub(_plain_entity, storage).replace("<!DOCTYPE", "&lt;!DOCTYPE")
    root = etree.fromstring(f"{_OPEN}{source}</root>".encode("utf-8", "replace"), parser)
    if root is None:
        raise ValueError("not storage format")
    return _blocks(root, 0)


def _plain_entity(found: re.Match[str]) -> str:
    name = found.group(1)
    known = name not in _XML_ENTITIES and name in entities.name2codepoint
    return unescape(found.group()) if known else found.group() if name in _XML_ENTITIES else f"&amp;{name};"


def _name(node: Any) -> str:
    return node.tag.rpartition("}")[2].lower() if isinstance(node.tag, str) else ""


def _attribute(node: Any, name: str) -> str:
    return next((value for key, value in node.attrib.items() if key.rpartition("}")[2].rpartition(":")[2] == name), "")


def _blocks(node: Any, depth: int) -> str:
    """The content of an element as blocks: runs of words between block elements are paragraphs."""
    parts: list[str] = []
    words: list[str] = [node.text or ""]

    def flush() -> None:
        lines = [md.one_line(line) for line in "".join(words).split("\n\ue000")]
        parts.append("\n".join(line for line in lines if line))
        words.clear()

    for child in node:
        if _name(child) in _BLOCKS and _attribute(child, "name").lower() not in _INLINE_MACROS:
            flush()
            parts.append(_block(child, depth + 1))
        else:
            words.append(_inline(child, depth + 1))
        words.append(child.tail or "")
    flush()
    return md.joined(parts)


def _block(node: Any, depth: int) -> str:
    name = _name(node)
    if depth > _MAX_DEPTH:
        return md.one_line("".join(node.itertext()))
    if name in ("structured-macro", "macro"):
        return _macro(node, depth)
    if name[0] == "h" and name[1:].isdigit():
        return md.heading(_inlines(node, depth), int(name[1:])) if _inlines(node, depth).strip() else ""
    if name in ("ul", "ol"):
        items = [_blocks(item, depth) for item in node if _name(item) in ("li", "ul", "ol")]
        return md.listed([item for item in items if item], start=1 if name == "ol" else None)
    if name == "task-list":
        return md.listed([item for item in (_task(task, depth) for task in node if _name(task) == "task") if item])
    if name == "pre":
        return md.fenced("".join(node.itertext()))
    if name == "blockquote":
        return md.quoted(_blocks(node, depth))
    if name == "hr":
        return "---"
    if name == "table":
        return _table(node, depth)
    return _blocks(node, depth)


def _task(node: Any, depth: int) -> str:
    body = next((_blocks(child, depth) for child in node if _name(child) == "task-body"), "")
    done = any(_name(child) == "task-status" and (child.text or "").strip() == "complete" for child in node)
    return f"[{'x' if done else ' '}] {body}" if body else ""


def _table(node: Any, depth: int) -> str:
    rows: list[list[str]] = []
    header = 0
    for row in node.iter():
        if _name(row) != "tr" or _owner(row, "table") is not node:
            continue
        cells = [cell for cell in row if _name(cell) in ("td", "th")]
        if not rows and cells and all(_name(cell) == "th" for cell in cells):
            header = 1
        rows.append([_blocks(cell, depth + 1) for cell in cells])
    return md.table(rows, header)


def _owner(node: Any, name: str) -> Any:
    parent = node.getparent()
    while parent is not None and _name(parent) != name:
        parent = parent.getparent()
    return parent


def _macro(node: Any, depth: int) -> str:
    name = _attribute(node, "name").lower()
    parameters = {
        _attribute(child, "name").lower(): "".join(child.itertext()).strip()
        for child in node
        if _name(child) == "parameter"
    }
    title = parameters.get("title", "")
    bodies = [child for child in node if _name(child) in ("rich-text-body", "plain-text-body")]
    if name in _UNSEEN_MACROS:
        return ""
    if name == "status":
        return title
    if name == "jira":
        return parameters.get("key", "")
    plain = [body for body in bodies if _name(body) == "plain-text-body"]
    if plain:
        code = "".join("".join(body.itertext()) for body in plain)
        language = parameters.get("language", parameters.get("", "")) if name == "code" else ""
        if name not in _CODE_MACROS:
            return md.joined([title, code])
        return md.joined([title, md.fenced(code, language.lower())]) if code.strip() else ""
    content = md.joined([_blocks(body, depth) for body in bodies])
    if name in _PANELS:
        return md.quoted(md.joined([f"**{md.one_line(title)}**" if title else "", content])) if content else ""
    return md.joined([title, content])


def _inlines(node: Any, depth: int) -> str:
    parts = [node.text or ""]
    for child in node:
        parts += [_inline(child, depth + 1), child.tail or ""]
    return "".join(parts)


def _inline(node: Any, depth: int) -> str:
    name = _name(node)
    if depth > _MAX_DEPTH or not name:
        return "".join(node.itertext()) if name else ""
    if name == "br":
        return "\n\ue000"
    if name in ("strong", "b"):
        return _marked(_inlines(node, depth), "**")
    if name in ("em", "i"):
        return _marked(_inlines(node, depth), "*")
    if name in ("code", "tt"):
        return _marked(_inlines(node, depth), "`")
    if name == "link":
        shown = "".join(
            _inlines(child, depth) for child in node if _name(child) in ("link-body", "plain-text-link-body")
        )
        targets = (_attribute(child, key) for child in node for key in ("content-title", "filename"))
        return shown or next((target for target in targets if target), "")
    if name == "image":
        shown = _attribute(node, "alt") or next(
            (_attribute(c, "filename") for c in node if _attribute(c, "filename")), ""
        )
        return f" {shown} " if shown else ""
    if name == "img":
        return _attribute(node, "alt")
    if name in ("structured-macro", "macro"):
        return f" {md.one_line(_macro(node, depth))} "
    if name in (
        "parameter",
        "emoticon",
        "placeholder",
        "user",
        "page",
        "attachment",
        "task-id",
        "task-status",
        "style",
        "script",
    ):
        return ""
    if name == "time":
        return _attribute(node, "datetime")
    return _inlines(node, depth)


def _marked(text: str, mark: str) -> str:
    inner = text.strip()
    if not inner or "\n" in inner:
        return text
    before, _, after = text.partition(inner)
    return f"{before}{mark}{inner}{mark}{after}"
