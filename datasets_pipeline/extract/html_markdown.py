"""From the reduced HTML that resiliparse renders to plain Markdown.

The input holds only headings, paragraphs, lists, `pre` and `br`; every `<` of the text is escaped, and
outside `pre` a line end is the end of a block or of a table row (cells are separated by tabs). One pass,
linear, no recursion.
"""

import re
from html import unescape

_TAG = re.compile(r"<(/?)(h[1-6]|p|ul|ol|li|pre|br|a)\b[^<>]*>")
_FENCES = re.compile(r"^`{3,}", re.MULTILINE)


def to_markdown(minimal_html: str) -> str:
    """Markdown text of resiliparse's `minimal_html` rendering."""
    writer = _Writer()
    position = 0
    for tag in _TAG.finditer(minimal_html):
        if tag.start() < position:
            continue
        writer.text(minimal_html[position : tag.start()])
        position = tag.end()
        closing, name = tag.group(1) == "/", tag.group(2)
        if name == "pre" and not closing:
            end = minimal_html.find("</pre>", position)
            end = len(minimal_html) if end < 0 else end
            writer.code(unescape(minimal_html[position:end]))
            position = min(end + len("</pre>"), len(minimal_html))
        else:
            writer.tag(name, closing)
    writer.text(minimal_html[position:])
    return writer.finish()


class _Writer:
    """Collects output. Breaks and markers wait until words come, so that nothing empty is written."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._break = 0  # line ends that are due before the next words
        self._marker = ""  # list bullet or heading signs that are due before the next words
        self._lists: list[int | None] = []  # one per open list: the last number, None for bullets
        self._heading = False

    def text(self, escaped: str) -> None:
        for index, line in enumerate(escaped.split("\n")):
            if index and not self._heading:
                self._due(1)
            if not line or line.isspace():
                continue
            if "\t" in line:
                cells = (" ".join(cell.split()) for cell in line.split("\t"))
                words = " | ".join(cell for cell in cells if cell)
            else:
                words = " ".join(line.split())
            if "&" in words:
                words = unescape(words)
            if words:
                self._open_line()
                self._parts.append(words)

    def code(self, code: str) -> None:
        if not code.strip():
            return
        longest = max((len(fence) for fence in _FENCES.findall(code)), default=2)
        fence = "`" * (longest + 1)
        self._due(2)
        self._open_line(indent="")  # code keeps its own columns
        self._parts.append(f"{fence}\n{code.strip(chr(10))}\n{fence}")
        self._due(2)

    def tag(self, name: str, closing: bool) -> None:
        if name[0] == "h":
            self._due(2)
            self._marker = "" if closing else self._marker + "#" * int(name[1]) + " "
            self._heading = not closing
        elif name in ("ul", "ol"):
            self._list(None if name == "ul" else 0, closing)
        elif name == "li":
            self._due(1)
            self._marker = "" if closing else self._bullet()
        elif name == "br" and not self._heading:
            self._due(1)
        elif name == "p":
            self._due(1 if self._lists else 2)

    def finish(self) -> str:
        return "".join(self._parts)

    def _due(self, line_ends: int) -> None:
        self._break = max(self._break, line_ends)

    def _open_line(self, indent: str | None = None) -> None:
        """Write what is due before words: the break, then a marker or the item's indent."""
        opens_line = self._break > 0 or not self._parts
        if self._parts:
            self._parts.append("\n" * self._break or " ")
        if opens_line:
            self._parts.append(self._marker or ("  " * len(self._lists) if indent is None else indent))
        self._break, self._marker = 0, ""

    def _list(self, counter: int | None, closing: bool) -> None:
        if not closing:
            self._due(1 if self._lists else 2)
            self._lists.append(counter)
            return
        if self._lists:
            self._lists.pop()
        self._due(1 if self._lists else 2)

    def _bullet(self) -> str:
        indent = "  " * max(len(self._lists) - 1, 0)
        if not self._lists or self._lists[-1] is None:
            return indent + "- "
        self._lists[-1] += 1
        return f"{indent}{self._lists[-1]}. "
