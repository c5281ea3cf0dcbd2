"""XML of office files: parsed without entities, network or depth, and what a file states about itself."""

from typing import Any

from datasets_pipeline.extract.office_zip import OfficeZip
from datasets_pipeline.extract.stated import iso_date, iso_language
from datasets_pipeline.normalize import normalize_text

VERSION = "1"
LIBRARIES = ("lxml",)

_DC = "{http://purl.org/dc/elements/1.1/}"
_TITLE_CHARACTERS = 300


def parse(part: bytes) -> Any:
    """The root element. Raises lxml's XMLSyntaxError, also for nesting beyond 256 levels."""
    from lxml import etree

    return etree.fromstring(part, etree.XMLParser(**_SAFE))


def local_name(element: Any) -> str:
    """The name without its namespace; empty for comments and processing instructions."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def ooxml_properties(office: OfficeZip) -> dict[str, Any]:
    """`title`, `language` and `stated_date` by docProps/core.xml, as keywords of `stated`; people are left out."""
    if "docProps/core.xml" not in office:
        return {}
    root = parse(office.read_xml("docProps/core.xml"))
    terms = "{http://purl.org/dc/terms/}"
    changed = root.findtext(terms + "modified") or root.findtext(terms + "created")
    return {"title": root.findtext(_DC + "title"), "language": root.findtext(_DC + "language"), "changed": changed}


def odf_properties(office: OfficeZip) -> dict[str, Any]:
    """The same by meta.xml of an OpenDocument file."""
    if "meta.xml" not in office:
        return {}
    root = parse(office.read_xml("meta.xml"))
    created = ".//{urn:oasis:names:tc:opendocument:xmlns:meta:1.0}creation-date"
    changed = root.findtext(f".//{_DC}date") or root.findtext(created)
    return {
        "title": root.findtext(f".//{_DC}title"),
        "language": root.findtext(f".//{_DC}language"),
        "changed": changed,
    }


def stated(title: str | None = None, language: str | None = None, changed: str | None = None) -> dict[str, Any]:
    """stated_date, language and metadata of an ExtractedDocument."""
    words = " ".join(normalize_text(title or "").split())[:_TITLE_CHARACTERS]
    return {
        "stated_date": iso_date(changed),
        "language": iso_language(language),
        "metadata": {"title": words} if words else {},
    }


_SAFE: dict[str, Any] = {
    "resolve_entities": False, "load_dtd": False, "no_network": True, "huge_tree": False, "remove_comments": True,
    "remove_pis": True,
}  # fmt: skip
