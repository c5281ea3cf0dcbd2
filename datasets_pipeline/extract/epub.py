"""EPUB: the chapters of a book in the order of its spine, as one document.

Title, language and date are those of the package document. Chapters go through the HTML extractor; a chapter that
cannot be read is a reject and its siblings are kept. A book whose text is encrypted (DRM) is `encrypted`; obfuscated
fonts are not text. EPUB 3.3 and Open Container Format; EPUB 2 is read the same way.
"""

import posixpath
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from datasets_pipeline.extract import html, office_xml
from datasets_pipeline.extract.children import child_uri
from datasets_pipeline.extract.containers import EPUB
from datasets_pipeline.extract.office_xml import local_name
from datasets_pipeline.extract.office_zip import OfficeZip
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.sources.base import ExtractedDocument, ExtractionError, ExtractionResult, Reject

VERSION = "1"
MEDIA_TYPES = (EPUB,)
LIBRARIES = ("lxml", "selectolax")

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_FONT_OBFUSCATION = frozenset({"http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC"})
_PAGE_TYPES = frozenset({"application/xhtml+xml", "text/html", "text/x-oeb1-document"})
# In XML `<title/>` is empty; an HTML parser would take the rest of the chapter for the title.
_CLOSED = re.compile(rb"<([A-Za-z][A-Za-z0-9:]*)((?:\s[^<>]*)?)/>")
_VOID = frozenset(b"area base br col embed hr img input link meta source track wbr".split())


def extract(data: bytes, uri: str, media_type: str, options: ExtractOptions) -> ExtractionResult:
    """The book as one document, and a reject for each chapter that could not be read. Raises ExtractionError."""
    book = OfficeZip(data, uri)
    _refuse_encrypted(book)
    package_name = _package_name(book)
    package = office_xml.parse(book.read_xml(package_name))
    whole_pages = options.model_copy(update={"html": "all"})  # a book has no navigation; its notes are asides
    texts: list[str] = []
    rejects: list[Reject] = []
    for name in _chapters(package, posixpath.dirname(package_name)):
        try:
            texts.append(_chapter(book, name, whole_pages))
        except ExtractionError as error:
            rejects.append(Reject(0, len(data), error.reason, _place(uri, name), error.message))
    if rejects and not any(texts):
        raise ExtractionError(rejects[0].reason, f"{uri}: none of its {len(rejects)} chapters can be read")
    document = ExtractedDocument(
        text="\n\n".join(filter(None, texts)),
        start=0,
        end=len(data),
        media_type=media_type,
        extractor="epub",
        extractor_version=VERSION,
        **office_xml.stated(**_properties(package)),
    )
    return ExtractionResult([document], rejects)


def _chapter(book: OfficeZip, name: str, options: ExtractOptions) -> str:
    page = _CLOSED.sub(_opened, book.read_page(name))
    if not page.strip():
        return ""
    (document,) = html.extract(page, f"{book.uri}!/{name}", "text/html", options).documents
    return document.text.strip()


def _opened(found: re.Match[bytes]) -> bytes:
    name, attributes = found.groups()
    return found.group(0) if name.lower() in _VOID else b"<" + name + attributes + b"></" + name + b">"


def _package_name(book: OfficeZip) -> str:
    root = office_xml.parse(book.read_xml(_CONTAINER))
    paths = [element.get("full-path") or "" for element in root.iter() if local_name(element) == "rootfile"]
    name = next((path for path in paths if path in book), None)
    if name is None:
        raise ExtractionError("parser_error", f"{book.uri}: the book does not say where its package document is")
    return name


def _chapters(package: Any, folder: str) -> Iterator[str]:
    """Names of the pages in the order of the spine, each once; tables of contents are left out."""
    items = {element.get("id"): element for element in package.iter() if local_name(element) == "item"}
    seen: set[str] = set()
    for reference in (element for element in package.iter() if local_name(element) == "itemref"):
        item = items.get(reference.get("idref"))
        if item is None or item.get("media-type") not in _PAGE_TYPES or "nav" in (item.get("properties") or "").split():
            continue
        name = posixpath.normpath(posixpath.join(folder, unquote(urlsplit(item.get("href") or "").path)))
        if name not in seen:
            seen.add(name)
            yield name


def _properties(package: Any) -> dict[str, str | None]:
    values: dict[str, str] = {}
    for element in package.iter():
        name, value = local_name(element), (element.text or "").strip()
        if name == "meta" and element.get("property") == "dcterms:modified":
            name = "modified"
        if name in ("title", "language", "date", "modified") and value:
            values.setdefault(name, value)
    # The date of publication says how old the text is; `modified` is the day the file was made.
    return {"title": values.get("title"), "language": values.get("language"),
            "changed": values.get("date") or values.get("modified")}  # fmt: skip


def _refuse_encrypted(book: OfficeZip) -> None:
    if _ENCRYPTION not in book:
        return
    for element in office_xml.parse(book.read_xml(_ENCRYPTION)).iter():
        if local_name(element) == "EncryptionMethod" and element.get("Algorithm") not in _FONT_OBFUSCATION:
            # The method of the key (EncryptedKey) tells the same: there is a key one has to own.
            raise ExtractionError(
                "encrypted", f"{book.uri}: its text is encrypted (DRM); exclude it, or buy it without"
            )


def _place(uri: str, name: str) -> str:
    try:
        return child_uri(uri, name)
    except ExtractionError:
        return uri
