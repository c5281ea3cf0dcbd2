"""ODT and ODP: content.xml brought to plain HTML, and that to Markdown.

Headings, lists, tables, text boxes, notes and alternative texts of pictures are kept; page headers and footers,
comments and deleted text are left out. Slides stand under their titles, with their notes. OpenDocument 1.3 part 3.
"""

from typing import Any

from datasets_pipeline.extract import office_html, office_xml
from datasets_pipeline.extract.containers import ODP, ODT
from datasets_pipeline.extract.office_xml import local_name
from datasets_pipeline.extract.office_zip import OfficeZip
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.sources.base import ExtractedDocument, ExtractionError, ExtractionResult

VERSION = "1"
MEDIA_TYPES = (ODT, ODP)
LIBRARIES = ("lxml",)

_SKIPPED = frozenset(
    {"tracked-changes", "annotation", "annotation-end", "forms", "sequence-decls", "variable-decls",
     "user-field-decls", "settings", "table-column", "table-columns", "table-header-columns", "covered-table-cell",
     "event-listeners", "note-citation", "date-time-decl", "footer-decl", "header-decl"}
)  # fmt: skip
_AS_HTML = {"list-item": "li", "list-header": "li", "table": "table", "table-row": "tr", "table-cell": "td",
            "line-break": "br", "title": "p", "desc": "p"}  # fmt: skip
_NO_LIST = ("", 0)
_SPANS = {"number-columns-spanned": "colspan", "number-rows-spanned": "rowspan"}


def extract(data: bytes, uri: str, media_type: str, options: ExtractOptions) -> ExtractionResult:
    """The text or the presentation as one document. Raises ExtractionError."""
    office = OfficeZip(data, uri)
    if "META-INF/manifest.xml" in office and b"encryption-data" in office.read_xml("META-INF/manifest.xml"):
        raise ExtractionError("encrypted", f"{uri}: protected by a password; take the protection off, or exclude it")
    styles = office_xml.parse(office.read_xml("styles.xml")) if "styles.xml" in office else ()
    document = ExtractedDocument(
        text=_Reader(styles, office_xml.parse(office.read_xml("content.xml"))).markdown(),
        start=0,
        end=len(data),
        media_type=media_type,
        extractor="odf",
        extractor_version=VERSION,
        **office_xml.stated(**office_xml.odf_properties(office)),
    )
    return ExtractionResult([document])


class _Reader:
    """Carries what is looked up on the way (styles) and what is collected for the end (notes)."""

    def __init__(self, styles: Any, content: Any) -> None:
        self._content = content
        self._parents: dict[str, str] = {}
        self._numbered: set[tuple[str, str]] = set()  # (style, level) of lists with numbers
        self._notes: list[Any] = []
        for element in (*(styles.iter() if len(styles) else ()), *content.iter()):
            name = _attribute(element, "name")
            if local_name(element) == "style":
                self._parents[name] = _attribute(element, "parent-style-name")
            elif local_name(element) == "list-level-style-number":
                self._numbered.add((_attribute(element.getparent(), "name"), _attribute(element, "level")))

    def markdown(self) -> str:
        from lxml import etree

        root = etree.Element("div")
        body = next((child for child in self._content if local_name(child) == "body"), ())
        for child in body:
            self._read_children(child, root, _NO_LIST)
        for number, note in enumerate(self._notes, 1):  # grows while notes hold notes
            block = etree.SubElement(root, "div")
            self._read_children(note, block, _NO_LIST)
            first = block[0] if len(block) else block
            first.text = f"[^{number}]: {first.text or ''}"
        return office_html.render(root)

    # around: style and level of the list that is being read
    def _read_children(self, source: Any, target: Any, around: tuple[str, int]) -> None:
        _append(target, source.text)
        for child in source:
            self._read(child, target, around)
            _append(target, child.tail)

    def _read(self, element: Any, target: Any, around: tuple[str, int]) -> None:
        from lxml import etree

        name = local_name(element)
        if name in _SKIPPED or not name:
            return
        if name in ("s", "tab"):
            _append(target, " ")
        elif name == "note":
            self._notes += [child for child in element if local_name(child) == "note-body"]
            _append(target, f"[^{len(self._notes)}]")
        elif name == "list":
            style = _attribute(element, "style-name") or around[0]  # an inner list is in the style around it
            inside = (style, around[1] + 1)
            tag = "ol" if (style, str(inside[1])) in self._numbered else "ul"
            self._read_children(element, etree.SubElement(target, tag), inside)
        elif name == "notes":
            if "".join(element.itertext()).strip():
                etree.SubElement(target, "p").text = "Notes:"
                self._read_children(element, target, _NO_LIST)
        elif name in ("h", "p"):
            self._read_children(element, etree.SubElement(target, self._block(element)), around)
        elif name in _AS_HTML:
            made = etree.SubElement(target, _AS_HTML[name])
            for key, attribute in _SPANS.items():
                if value := _attribute(element, key):
                    made.set(attribute, value)
            self._read_children(element, made, around)
        else:
            self._read_children(element, target, around)

    def _block(self, element: Any) -> str:
        """h1 to h6 for headings, titles of documents and of slides; else p."""
        if local_name(element) == "h":
            level = _attribute(element, "outline-level")
            return f"h{min(max(int(level), 1), 6)}" if level.isascii() and level.isdigit() else "h1"
        if any(_attribute(around, "class") == "title" for around in element.iterancestors() if _is_frame(around)):
            return "h2"
        style = _attribute(element, "style-name")
        return "h1" if "Title" in (style, self._parents.get(style)) else "p"


def _is_frame(element: Any) -> bool:
    return local_name(element) == "frame"


def _attribute(element: Any, name: str) -> str:
    """The value of an attribute by its name without namespace; the vocabularies share none that we ask for."""
    return next((str(value) for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")


def _append(target: Any, text: str | None) -> None:
    if not text:
        return
    if len(target):
        target[-1].tail = (target[-1].tail or "") + text
    else:
        target.text = (target.text or "") + text
