"""entities.xml of a Confluence XML export: its current pages and attachments, read as a stream of objects."""

import io
import re
from dataclasses import dataclass, field
from typing import Any

from datasets_pipeline.sources.base import ExtractionError

# Exports hold control characters that XML forbids; as blanks they cost nothing, as faults the whole space.
_CONTROLS = bytes(byte for byte in range(0x20) if byte not in b"\t\n\r")
_BLANKED = bytes.maketrans(_CONTROLS, b" " * len(_CONTROLS))
_PROLOG = re.compile(
    rb"(?s)\A(?:\xef\xbb\xbf)?\s*(?:<\?xml.{0,200}?\?>\s*)?(?:<!--.{0,2000}?-->\s*)*<hibernate-generic\b"
)
_BLOCK_BYTES = 1 << 20


@dataclass
class Page:
    """One page or blog post. date: as the export writes it. is_current: neither a draft, nor trash, nor history."""

    id: str
    title: str
    space: str
    date: str
    is_current: bool
    parent: str = ""
    body: str = field(default="", repr=False)


@dataclass(frozen=True)
class Attachment:
    """One attachment of a page: its bytes lie at `attachments/<page>/<id>/<version>`."""

    id: str
    page: str
    name: str
    version: str


@dataclass
class Export:
    """What an export holds. spaces: (key, name) by id. is_cut: the XML ended or broke before its end."""

    pages: list[Page]
    attachments: list[Attachment]
    spaces: dict[str, tuple[str, str]]
    is_cut: bool


def read_entities(data: bytes, uri: str) -> Export:
    """The current pages, by title, and their attachments. Raises ExtractionError parser_error.

    Document types are refused and entities never expanded.
    """
    if not _PROLOG.match(data[:8192]):
        raise ExtractionError("parser_error", f"{uri}: no <hibernate-generic> opens it; name the zip of a space export")
    reader = _Reader()
    is_cut = _feed(data, reader)
    history = reader.history
    pages = [page for page in reader.pages.values() if page.is_current and page.id not in history]
    for page in pages:
        page.body = reader.bodies.get(page.id, "")
    current = {page.id for page in pages}
    newest: dict[tuple[str, str], Attachment] = {}
    for attachment in reader.attachments:
        key = attachment.page, attachment.name
        if attachment.page in current and attachment.id not in history:
            kept = newest.get(key)
            if kept is None or _number(attachment.version) >= _number(kept.version):
                newest[key] = attachment
    return Export(
        sorted(pages, key=lambda page: (page.space, page.title, page.id)),
        [newest[key] for key in sorted(newest)],
        reader.spaces,
        is_cut,
    )


def _feed(data: bytes, reader: "_Reader") -> bool:
    """Every whole object to the reader; True when the XML broke off."""
    from lxml import etree

    parser = etree.XMLPullParser(
        events=("end",), tag="object", resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    source = io.BytesIO(data)
    broken = False
    try:
        while block := source.read(_BLOCK_BYTES):
            parser.feed(block.translate(_BLANKED))
            for _, node in parser.read_events():
                reader.read(node)
                node.clear()
                while node.getprevious() is not None:
                    del node.getparent()[0]
        parser.close()
    except etree.XMLSyntaxError:
        broken = True
    return broken


class _Reader:
    """Objects by class, as far as they matter."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.bodies: dict[str, str] = {}
        self.attachments: list[Attachment] = []
        self.spaces: dict[str, tuple[str, str]] = {}
        self.history: set[str] = set()

    def read(self, node: Any) -> None:
        kind = node.get("class")
        number = _text(next((child for child in node if child.tag == "id"), None))
        values, links = _properties(node)
        if kind in ("Page", "BlogPost", "Attachment"):
            self.history |= _collection(node, "historicalVersions")
        if kind in ("Page", "BlogPost"):
            original = links.get("originalVersion") or values.get("originalVersion") or values.get("originalVersionId")
            is_current = values.get("contentStatus", "current") in ("", "current") and not original
            date = values.get("lastModificationDate") or values.get("creationDate", "")
            space, parent = links.get("space", ""), links.get("parent", "")
            self.pages[number] = Page(number, values.get("title", ""), space, date, is_current, parent)
        elif kind == "BodyContent" and links.get("content"):
            self.bodies[links["content"]] = values.get("body", "")
        elif kind == "Space":
            self.spaces[number] = values.get("key", ""), values.get("name", "")
        elif kind == "Attachment":
            page = links.get("containerContent") or links.get("content") or links.get("container") or ""
            original = links.get("originalVersion") or values.get("originalVersionId")
            name = values.get("title") or values.get("fileName", "")
            if page and name and not original:
                version = values.get("version") or values.get("attachmentVersion") or "1"
                self.attachments.append(Attachment(number, page, name, version))


def _properties(node: Any) -> tuple[dict[str, str], dict[str, str]]:
    """(text of plain properties, id of the object a property points to) by name."""
    values: dict[str, str] = {}
    links: dict[str, str] = {}
    for child in node:
        name = child.get("name") if child.tag == "property" else None
        if not name:
            continue
        identity = next((inner for inner in child if inner.tag == "id"), None)
        if identity is not None:
            links[name] = _text(identity)
        else:
            values[name] = (child.text or "") if name == "body" else _text(child)
    return values, links


def _collection(node: Any, name: str) -> set[str]:
    found = (child for child in node if child.tag == "collection" and child.get("name") == name)
    return {_text(inner) for collection in found for element in collection for inner in element if inner.tag == "id"}


def _text(node: Any) -> str:
    return (node.text or "").strip() if node is not None else ""


def _number(version: str) -> int:
    return int(version) if version.isdecimal() and len(version) < 10 else 0
