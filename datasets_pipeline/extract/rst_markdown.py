"""A docutils tree as Markdown. One recursive walk; only what a reader of the page sees is written."""

import re
from typing import Any

from datasets_pipeline.extract import markdown_writing as md

_MAX_SUBSTITUTED = 10_000  # characters a substitution may stand for; a page that multiplies them is hostile
_MAX_SUBSTITUTION_DEPTH = 4
_UNSEEN = frozenset({
    "comment", "target", "substitution_definition", "pending", "raw", "meta", "decoration", "label", "colspec",
})  # fmt: skip
_ADMONITIONS = frozenset({
    "attention", "caution", "danger", "error", "hint", "important", "note", "tip", "warning",
})  # fmt: skip
_BACKTICK_RUN = re.compile("`+")


def to_markdown(document: Any) -> str:
    """Markdown of a parsed document."""
    return _Writer(document).blocks(document, 0)


class _Writer:
    def __init__(self, document: Any) -> None:
        self._substitutions = {name.lower(): definition for name, definition in document.substitution_defs.items()}
        self._auto_references = self._auto_notes = 0
        self._substituting = 0

    # --- blocks ------------------------------------------------------------------------------------

    def blocks(self, node: Any, level: int) -> str:
        """The children of a node as blocks."""
        return md.joined([self.block(child, level) for child in node.children])

    def block(self, node: Any, level: int) -> str:
        """One block; level is the depth of the section it stands in."""
        name = node.tagname
        if name in _UNSEEN:
            return ""
        if name in _ADMONITIONS:
            return md.quoted(md.joined([f"**{name.capitalize()}**", self.blocks(node, level)]))
        write = getattr(self, f"_{name}", None)
        if write is not None:
            return str(write(node, level))
        if _is_inline(node):
            return self.inline(node)
        return self.blocks(node, level) if node.children else node.astext()

    def _section(self, node: Any, level: int) -> str:
        return self.blocks(node, level + 1)

    def _title(self, node: Any, level: int) -> str:
        return md.heading(self.inline(node), level)

    def _subtitle(self, node: Any, level: int) -> str:
        return md.heading(self.inline(node), level + 1)

    def _rubric(self, node: Any, level: int) -> str:
        return f"**{md.one_line(self.inline(node))}**"

    def _paragraph(self, node: Any, level: int) -> str:
        return self.inline(node)

    def _caption(self, node: Any, level: int) -> str:
        return self.inline(node)

    def _transition(self, node: Any, level: int) -> str:
        return "---"

    def _literal_block(self, node: Any, level: int) -> str:
        return md.fenced(node.astext(), _language(node))

    def _doctest_block(self, node: Any, level: int) -> str:
        return md.fenced(node.astext(), "pycon")

    def _math_block(self, node: Any, level: int) -> str:
        return f"$$\n{node.astext()}\n$$"

    def _image(self, node: Any, level: int) -> str:
        return str(node.get("alt") or "")

    def _block_quote(self, node: Any, level: int) -> str:
        return md.quoted(self.blocks(node, level))

    def _attribution(self, node: Any, level: int) -> str:
        return f"-- {self.inline(node)}"

    def _admonition(self, node: Any, level: int) -> str:
        return md.quoted(self._titled(node, level))

    def _topic(self, node: Any, level: int) -> str:
        return self._titled(node, level)

    def _sidebar(self, node: Any, level: int) -> str:
        return md.quoted(self._titled(node, level))

    def _titled(self, node: Any, level: int) -> str:
        parts = []
        for child in node.children:
            titles = child.tagname in ("title", "subtitle")
            parts.append(f"**{md.one_line(self.inline(child))}**" if titles else self.block(child, level))
        return md.joined(parts)

    def _system_message(self, node: Any, level: int) -> str:
        # docutils gives up on a block and keeps it here as it was written: nothing of it may be lost.
        return md.joined([child.astext() for child in node.children if child.tagname == "literal_block"])

    # --- lists -------------------------------------------------------------------------------------

    def _bullet_list(self, node: Any, level: int) -> str:
        return md.listed([self.blocks(item, level) for item in node.children])

    def _enumerated_list(self, node: Any, level: int) -> str:
        return md.listed([self.blocks(item, level) for item in node.children], start=int(node.get("start", 1)))

    def _definition_list(self, node: Any, level: int) -> str:
        return md.joined([self._definition_list_item(item, level) for item in node.children])

    def _definition_list_item(self, node: Any, level: int) -> str:
        term = [self.inline(child) for child in node.children if child.tagname in ("term", "classifier")]
        definitions = [self.blocks(child, level) for child in node.children if child.tagname == "definition"]
        return "\n".join([" : ".join(term), *(md.prefixed(text, ": ", "  ") for text in definitions if text)])

    def _field_list(self, node: Any, level: int) -> str:
        return "\n".join(self._field(field, level) for field in node.children)

    def _field(self, node: Any, level: int) -> str:
        name, body = self.inline(node.children[0]), self.blocks(node.children[1], level)
        return md.prefixed(f"{name}: {body}" if body else name, "", "  ")

    def _option_list(self, node: Any, level: int) -> str:
        items = []
        for item in node.children:
            options, description = item.children
            names = ", ".join(f"`{option.astext()}`" for option in options.children)
            items.append(f"{names}: {self.blocks(description, level)}")
        return md.listed(items)

    def _line_block(self, node: Any, level: int) -> str:
        lines = []
        for child in node.children:
            nested = child.tagname == "line_block"
            lines.append(md.prefixed(self._line_block(child, level), "  ", "  ") if nested else self.inline(child))
        return "\n".join(lines)

    # --- notes and tables --------------------------------------------------------------------------

    def _footnote(self, node: Any, level: int) -> str:
        label = node.children[0].astext() if node.children and node.children[0].tagname == "label" else ""
        if not label:
            self._auto_notes += 1
            label = next(iter(node.get("names", [])), "") or str(self._auto_notes)
        return md.prefixed(self.blocks(node, level), f"[^{label}]: ", "    ")

    def _citation(self, node: Any, level: int) -> str:
        return self._footnote(node, level)

    def _table(self, node: Any, level: int) -> str:
        parts = []
        for child in node.children:
            if child.tagname == "title":
                parts.append(self.inline(child))
            elif child.tagname == "tgroup":
                header = _rows_of(child, "thead")
                rows = [self._cells(row, level) for row in [*header, *_rows_of(child, "tbody")]]
                parts.append(md.table(rows, len(header)))
            else:
                parts.append(self.block(child, level))
        return md.joined(parts)

    def _cells(self, row: Any, level: int) -> list[str]:
        cells = []
        for entry in row.children:
            cells += [self.blocks(entry, level), *[""] * min(int(entry.get("morecols", 0)), 100)]
        return cells

    # --- inline ------------------------------------------------------------------------------------

    def inline(self, node: Any) -> str:
        """The inline children of a node as text with Markdown marks."""
        return "".join(self._inline_of(child) for child in node.children)

    def _inline_of(self, node: Any) -> str:
        name = node.tagname
        if name == "#text":
            return str(node.astext())
        if name in ("literal", "option_string"):
            return _code_span(node.astext())
        if name == "math":
            return f"${node.astext()}$"
        if name == "emphasis":
            return _marked(self.inline(node), "*")
        if name == "strong":
            return _marked(self.inline(node), "**")
        if name in ("footnote_reference", "citation_reference"):
            return f"[^{self._reference_label(node)}]"
        if name == "substitution_reference":
            return self._substituted(node)
        if name == "image":
            return str(node.get("alt") or "")
        if name in ("raw", "system_message"):
            return ""
        return self.inline(node) if node.children else str(node.astext())

    def _reference_label(self, node: Any) -> str:
        if node.astext():
            return str(node.astext())
        if node.get("refname"):
            return str(node["refname"])
        self._auto_references += 1
        return str(self._auto_references)

    def _substituted(self, node: Any) -> str:
        name = node.astext()
        definition = self._substitutions.get(name.lower())
        if definition is None or self._substituting >= _MAX_SUBSTITUTION_DEPTH:
            return str(name)
        self._substituting += 1
        try:
            text = self.inline(definition)
        finally:
            self._substituting -= 1
        return text if 0 < len(text) <= _MAX_SUBSTITUTED else str(name)


def _language(node: Any) -> str:
    if node.get("language"):
        return str(node["language"])
    return next((name for name in node.get("classes", []) if name != "code"), "")


def _rows_of(tgroup: Any, part: str) -> list[Any]:
    return [row for child in tgroup.children if child.tagname == part for row in child.children]


def _is_inline(node: Any) -> bool:
    return any(child.tagname == "#text" for child in node.children)


def _code_span(text: str) -> str:
    text = md.one_line(text) if "\n" in text else text
    longest = max((len(run) for run in _BACKTICK_RUN.findall(text)), default=0)
    marks = "`" * (longest + 1)
    blank = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{marks}{blank}{text}{blank}{marks}" if text else ""


def _marked(text: str, mark: str) -> str:
    return f"{mark}{text}{mark}" if text.strip() else text
