"""Space exports of Confluence: HTML (a folder or zip of pages) and XML (the zip with entities.xml).

    - name: intranet
      source: confluence
      uri: /exports/confluence     # a zip, a folder of zips, or an unpacked HTML export

A page is named `<space>/<title>` (XML) or by its path in the export (HTML). Only current versions are read: no
drafts, no trash, no history, no comments; who wrote a page is left out. Attachments are documents of their own.
"""

import importlib.metadata
import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html import unescape

from pydantic import Field

from datasets_pipeline import extract
from datasets_pipeline.extract.children import extract_child
from datasets_pipeline.extract.media_types import HTML
from datasets_pipeline.extract.stated import iso_date
from datasets_pipeline.extract.zips import ZipMembers
from datasets_pipeline.normalize import normalize_text
from datasets_pipeline.sources import files
from datasets_pipeline.sources.base import (
    MEBIBYTE,
    ExtractedDocument,
    ExtractionError,
    ExtractionResult,
    FileContent,
    FileEntry,
    Reject,
    SourceConfig,
    with_stated_attributes,
)
from datasets_pipeline.sources.confluence_entities import Export, Page, read_entities
from datasets_pipeline.sources.globs import is_included

VERSION = "1"

_ENTITIES = "entities.xml"
_DESCRIPTORS = frozenset({"exportDescriptor.properties"})
_ATTACHMENT_OF_XML = re.compile(r"(?:^|/)attachments/\d+/\d+/\d+\Z")
_TAG = re.compile(r"<[^<>]*>")
# Parameters, users and tables of contents of a page are markup too; the text is gone when less than this is left.
_MIN_TEXT_SHARE, _MIN_CHARACTERS = 0.3, 500
_MAIN = re.compile(r"<div\b[^<>]*\bid=[\"']main-content[\"'][^<>]*>", re.IGNORECASE)
_AFTER_MAIN = re.compile(r"<div\b[^<>]*\b(?:class=[\"']pageSection\b|id=[\"']footer[\"'])", re.IGNORECASE)
_TITLE = re.compile(r"<span\b[^<>]*\bid=[\"']title-text[\"'][^<>]*>([^<>]{1,500})</span>", re.IGNORECASE)
_CRUMBS = re.compile(r"<ol\b[^<>]*\bid=[\"']breadcrumbs[\"'][^<>]*>((?:(?!</ol>).){0,20000})</ol>", re.I | re.S)
_CRUMB = re.compile(r"<a\b[^<>]*>([^<>]{1,500})</a>", re.IGNORECASE)
_METADATA = re.compile(
    r"<div\b[^<>]*\bclass=[\"']page-metadata[\"'][^<>]*>((?:(?!</div>).){0,5000})</div>", re.I | re.S
)
_DATE = re.compile(r"\bon\s+([A-Z][a-z]{2})[a-z]*\.?\s+(\d{1,2}),\s+(\d{4})")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Config(SourceConfig, extract.ExtractOptions):
    """One space export, or a folder of them."""

    exclude: tuple[str, ...] = Field(
        default=("**/index.html", "**/styles/**", "**/images/**", "**/exportDescriptor.properties"),
        description="Globs of files that are left out, also inside of a zip; by default what the export adds itself.",
    )
    attachments: bool = Field(default=True, description="Whether attachments are read too.")
    max_file_bytes: int = Field(
        default=1024 * MEBIBYTE, ge=1, description="Bytes from which an export is too_large; it is held in memory."
    )
    max_decompressed_bytes: int = Field(
        default=4096 * MEBIBYTE, ge=1, description="Bytes after decompression from which an export is too_large."
    )


def list_files(config: Config, skipped: Counter[str] | None = None) -> Iterator[FileEntry]:
    """Zips, entities.xml, pages and attachments, sorted; nameless attachments of an unpacked XML export are counted."""
    skipped = skipped if skipped is not None else Counter()
    for entry in files.list_tree(config.uri, config.include, config.exclude, skipped):
        if _ATTACHMENT_OF_XML.search(entry.uri):
            skipped["attachment_of_unpacked_xml"] += 1
        elif config.attachments or "/attachments/" not in f"/{entry.uri}":
            yield entry


def read_file(config: Config, entry: FileEntry) -> FileContent:
    """The bytes of one file, at most config.max_file_bytes."""
    return files.read_file(config.uri, entry, config.max_file_bytes)


def extract_file(config: Config, entry: FileEntry, data: bytes) -> ExtractionResult:
    """The pages and attachments of one file. Raises ExtractionError for the file as a whole."""
    if not data:
        raise ExtractionError("empty", f"{entry.uri}: the file is empty (0 bytes)")
    name = posixpath.basename(entry.uri)
    if name == _ENTITIES:
        result = _xml_export(data, entry.uri, None, config)
    elif name.lower().endswith(".zip") and "/attachments/" not in f"/{entry.uri}":
        result = _zip_export(data, entry.uri, config)
    elif name.lower().endswith((".html", ".htm")):
        result = _html_page(data, entry.uri, config)
    else:
        result = extract.extract(data, entry.uri, None, config)
    return with_stated_attributes(result, entry.attributes)


def extraction_version(config: Config) -> dict[str, str]:
    """What besides the bytes and the attributes shapes the extracted documents."""
    own = {"attachments", "max_file_bytes", "max_decompressed_bytes", "include", "exclude"}
    chosen = config.model_dump(mode="json", include=own)
    return {
        "source.confluence": VERSION,
        "lxml": importlib.metadata.version("lxml"),
        **{f"option.{name}": str(value) for name, value in sorted(chosen.items())},
    } | extract.extraction_version(config)


# --- XML -----------------------------------------------------------------------------------------


def _zip_export(data: bytes, uri: str, config: Config) -> ExtractionResult:
    members = ZipMembers(data, uri, config.max_decompressed_bytes)
    if _ENTITIES in members.names:
        return _xml_export(members.read(_ENTITIES), uri, members, config)
    documents: list[ExtractedDocument] = []
    rejects: list[Reject] = []
    wanted = [name for name in members.names if is_included(name.lstrip("/") or "-", ("**",), config.exclude)]
    for number, name in enumerate(wanted):
        is_attachment = "/attachments/" in f"/{name}"
        if is_attachment and not config.attachments:
            continue
        try:
            content = members.read(name)
            if name.lower().endswith((".html", ".htm")) and not is_attachment:
                part = _html_page(content, name, config)
                part = ExtractionResult(
                    [replace(d, uri=d.uri or name, start=number, end=number + 1) for d in part.documents], part.rejects
                )
            else:
                part = extract_child(content, uri, name, None, config, number, number + 1)
        except ExtractionError as error:
            if error.reason == "too_large":
                raise
            part = ExtractionResult([], [Reject(number, number + 1, error.reason, name, error.message)])
        documents += part.documents
        rejects += part.rejects
    if not documents and not rejects:
        raise ExtractionError("parser_returned_nothing", f"{uri}: neither entities.xml nor a page is in it")
    return ExtractionResult(documents, rejects)


def _xml_export(data: bytes, uri: str, members: ZipMembers | None, config: Config) -> ExtractionResult:
    export = read_entities(data, uri)
    titles = {page.id: page.title for page in export.pages}
    documents: list[ExtractedDocument] = []
    rejects: list[Reject] = []
    for number, page in enumerate(export.pages):
        found = _stored_page(page, number, export, titles)
        if isinstance(found, Reject):
            rejects.append(found)
        elif found is not None:
            documents.append(found)
    if members is not None and config.attachments:
        for part in _attachments(export, members, uri, config):
            documents += part.documents
            rejects += part.rejects
    if export.is_cut:
        rejects.append(Reject(len(export.pages), len(export.pages), "parser_error", None, "entities.xml breaks off"))
    if not documents and not rejects:
        raise ExtractionError("parser_returned_nothing", f"{uri}: no current page with words is in it")
    return ExtractionResult(documents, rejects)


def _stored_page(page: Page, number: int, export: Export, titles: dict[str, str]) -> ExtractedDocument | Reject | None:
    from datasets_pipeline.extract.markdown_writing import heading, joined
    from datasets_pipeline.extract.storage_markdown import to_markdown

    key, name = export.spaces.get(page.space, ("", ""))
    failure, body = "", ""
    if not page.body.strip():
        return None  # a page that only holds others is no fault
    try:
        body = to_markdown(page.body.replace("]] >", "]]>"))  # CDATA inside of CDATA, as the export writes it
    except Exception as error:  # one page that cannot be read is one reject
        failure = type(error).__name__
    if failure:
        return Reject(number, number + 1, "parser_error", _place(page, key), failure)
    if _num_visible(body) < _MIN_TEXT_SHARE * _num_visible(_TAG.sub(" ", page.body)) - _MIN_CHARACTERS:
        return Reject(number, number + 1, "parser_returned_nothing", _place(page, key))
    if not normalize_text(body):
        return None
    return ExtractedDocument(
        text=joined([heading(page.title, 1) if page.title else "", body]),
        start=number,
        end=number + 1,
        media_type="text/x-confluence-storage",
        extractor="confluence_xml",
        extractor_version=VERSION,
        stated_date=iso_date(page.date),
        metadata=_facts(page.title, key or name, [titles[page.parent]] if page.parent in titles else []),
        uri=_place(page, key),
    )


def _num_visible(text: str) -> int:
    return sum(len(word) for word in text.split())


def _attachments(export: Export, members: ZipMembers, uri: str, config: Config) -> Iterator[ExtractionResult]:
    pages = {page.id: page for page in export.pages}
    present = set(members.names)
    for number, attachment in enumerate(export.attachments, start=len(export.pages)):
        name = f"attachments/{attachment.page}/{attachment.id}/{attachment.version}"
        page = pages[attachment.page]
        place = _place(page, export.spaces.get(page.space, ("", ""))[0])
        if name not in present:
            yield ExtractionResult([], [Reject(number, number + 1, "unreadable", f"{place}!/{attachment.name}")])
            continue
        try:
            content = members.read(name)
        except ExtractionError as error:
            if error.reason == "too_large":
                raise
            yield ExtractionResult([], [Reject(number, number + 1, error.reason, f"{place}!/{attachment.name}")])
            continue
        yield extract_child(content, place, attachment.name, None, config, number, number + 1)


def _place(page: Page, key: str) -> str:
    title = re.sub(r"[\x00-\x1f/\\]+", "-", normalize_text(page.title)).strip(". ").replace(" ", "_")
    return f"{re.sub(r'[^A-Za-z0-9~_-]', '-', key) or 'space'}/{title or page.id}"


# --- HTML ----------------------------------------------------------------------------------------


def _html_page(data: bytes, uri: str, config: Config) -> ExtractionResult:
    """A page of an HTML export without breadcrumbs, author line, attachments and footer; any other page whole."""
    from datasets_pipeline.extract.decoding import decode

    page = decode(data, uri, declared=config.encoding, max_odd_share=config.max_odd_share).text
    main = _MAIN.search(page)
    if main is None:
        return extract.extract(data, uri, HTML, config)
    after = _AFTER_MAIN.search(page, main.end())
    body = page[main.start() : after.start() if after else len(page)]
    crumbs = _CRUMBS.search(page[: main.start()])
    path = [_plain(crumb) for crumb in _CRUMB.findall(crumbs.group(1))] if crumbs else []
    named = _TITLE.search(page[: main.start()])
    title = _plain(named.group(1)) if named else ""
    space = path[0] if path else title.partition(" : ")[0] if " : " in title else ""
    title = title.removeprefix(f"{space} : ") if space else title
    options = config.model_copy(update={"html": "all"})
    heading = f"<h1>{title.replace('&', '&amp;').replace('<', '&lt;')}</h1>" if title else ""
    whole = f"<html><body>{heading}{body}</body></html>".encode("utf-8", "replace")
    result = extract.extract(whole, uri, HTML, options)
    stamp = _METADATA.search(page[: main.start()])
    documents = [
        replace(
            document,
            start=0,
            end=len(data),
            extractor="confluence_html",
            extractor_version=VERSION,
            stated_date=_date(stamp.group(1)) if stamp else None,
            metadata=_facts(title, space, path[1:]),
        )
        for document in result.documents
    ]
    return ExtractionResult(documents, result.rejects)


def _facts(title: str, space: str, above: list[str]) -> dict[str, str | int | float]:
    named = {"title": title, "space": space, "breadcrumbs": " > ".join(above)}
    return {name: normalize_text(value) for name, value in named.items() if normalize_text(value)}


def _plain(markup: str) -> str:
    return " ".join(normalize_text(unescape(markup)).split())


def _date(words: str) -> str | None:
    """The last date of `Created by A on Jan 1, 2020, last modified by B on Feb 3, 2021`."""
    found = _DATE.findall(re.sub(r"<[^<>]*>", " ", words))
    if not found or found[-1][0] not in _MONTHS:
        return None
    month, day, year = found[-1]
    return iso_date(f"{year}-{_MONTHS.index(month) + 1}-{day}")
