"""Dumps of a MediaWiki (XML, also .bz2, .gz, .xz, .zst): the current revision of each page as Markdown.

    - name: wiki
      source: mediawiki
      uri: /dumps/wiki-pages-articles.xml.bz2
      licence: CC-BY-SA-4.0

The dump is read as a stream: one page is in memory, and XML that declares a document type or an entity is refused.
A page is named `<wiki>/<title>`, whatever the dump's file is called. Redirects, other namespaces and pages that
are no wikitext are passed over, and counted in the log. mwparserfromhell reads about 1 MB of wikitext a second.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field

from datasets_pipeline.extract import markdown_writing as md
from datasets_pipeline.extract.packed import BoundedReader
from datasets_pipeline.extract.stated import iso_date, iso_language
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

logger = logging.getLogger(__name__)

VERSION = "1"

_MAX_DEPTH = 32
_PACKED = ("", ".bz2", ".gz", ".xz", ".zst")
_WANTED = frozenset({
    "title", "ns", "id", "timestamp", "model", "text", "sitename", "dbname", "namespace",
})  # fmt: skip
_MAX_SHORT = 4096  # characters of anything but a page's text
_FILE_NAMESPACE, _CATEGORY_NAMESPACE = "6", "14"


class Config(SourceConfig):
    """One dump, or a folder of its parts."""

    include: tuple[str, ...] = Field(
        default=tuple(f"**/*.xml{packed}" for packed in _PACKED),
        description="Globs on the path relative to the uri; a file is taken when one of them matches.",
    )
    namespaces: tuple[int, ...] = Field(
        default=(0,), min_length=1, description="Numbers of the namespaces that are read; 0 is the articles."
    )
    templates: Literal["drop", "words"] = Field(
        default="drop",
        description="`drop` leaves templates out; `words` keeps the words of their parameters, infoboxes too.",
    )
    max_page_bytes: int = Field(
        default=8 * MEBIBYTE, ge=1, description="Characters from which a page is quarantined as too_large."
    )
    max_file_bytes: int = Field(
        default=1024 * MEBIBYTE,
        ge=1,
        description="Bytes from which a dump is too_large; it is held in memory as packed.",
    )
    max_decompressed_bytes: int = Field(
        default=16 * 1024 * MEBIBYTE, ge=1, description="Bytes after decompression from which a dump is too_large."
    )


@dataclass
class _Page:
    """The page being read and the newest revision of it so far."""

    start: int
    title: str = ""
    namespace: str = ""
    page_id: str = ""
    is_redirect: bool = False
    timestamp: str = ""
    model: str = ""
    text: str | None = field(default=None, repr=False)
    too_large: bool = False


def list_files(config: Config, skipped: Counter[str] | None = None) -> Iterator[FileEntry]:
    """The dumps the globs select, sorted."""
    return files.list_tree(config.uri, config.include, config.exclude, skipped)


def read_file(config: Config, entry: FileEntry) -> FileContent:
    """The bytes of one dump as stored, at most config.max_file_bytes."""
    return files.read_file(config.uri, entry, config.max_file_bytes)


def extract_file(config: Config, entry: FileEntry, data: bytes) -> ExtractionResult:
    """One document a page; a cut dump keeps the pages before the cut. Raises ExtractionError for the dump."""
    if not data:
        raise ExtractionError("empty", f"{entry.uri}: the file is empty (0 bytes)")
    dump = _Dump(config, entry.uri)
    dump.read(BoundedReader(data, entry.uri, config.max_decompressed_bytes))
    if not dump.documents and not dump.rejects and not dump.passed_over:
        raise ExtractionError("parser_returned_nothing", f"{entry.uri}: no page is in it; is it a MediaWiki dump?")
    logger.info("%s: %d pages read, passed over: %s", entry.uri, len(dump.documents), dict(dump.passed_over))
    return with_stated_attributes(ExtractionResult(dump.documents, dump.rejects), entry.attributes)


def extraction_version(config: Config) -> dict[str, str]:
    """What besides the bytes shapes the extracted documents."""
    import importlib.metadata

    own = set(Config.model_fields) - set(SourceConfig.model_fields)
    chosen = config.model_dump(mode="json", include=own)
    return {
        "source.mediawiki": VERSION,
        "extract.markdown_writing": md.VERSION,
        "mwparserfromhell": importlib.metadata.version("mwparserfromhell"),
    } | {f"option.{name}": str(value) for name, value in sorted(chosen.items())}


class _Dump:
    """Handlers of the XML parser, and what they found."""

    def __init__(self, config: Config, uri: str) -> None:
        from xml.parsers import expat

        self.documents: list[ExtractedDocument] = []
        self.rejects: list[Reject] = []
        self.passed_over: Counter[str] = Counter()
        self._config, self._uri = config, uri
        self._path: list[str] = []
        self._words: list[str] | None = None
        self._num_characters = 0
        self._page: _Page | None = None
        self._revision: dict[str, str] = {}
        self._wiki = ""
        self._language: str | None = None
        self._namespace_names: dict[str, set[str]] = {_FILE_NAMESPACE: set(), _CATEGORY_NAMESPACE: set()}
        self._namespace_key = ""
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.EntityDeclHandler = self._refuse
        self._error = expat.ExpatError

    def read(self, reader: BoundedReader) -> None:
        """Everything; a fault of archive or XML becomes a reject behind the pages that were read."""
        reason = ""
        try:
            while block := reader.read():
                self._parser.Parse(block, False)
            self._parser.Parse(b"", True)
        except self._error:
            reason = "parser_error"
        except ExtractionError as error:
            if error.reason != "parser_error" or not (self.documents or self.passed_over):
                raise
            reason = "parser_error"
        if reason and not (self.documents or self.passed_over or self.rejects):
            raise ExtractionError("parser_error", f"{self._uri}: not well-formed XML of a MediaWiki dump")
        if reason:
            start = self._page.start if self._page else reader.num_bytes
            self.rejects.append(Reject(start, reader.num_bytes, reason, None, "the dump ends or is damaged here"))

    def _refuse(self, *_: Any) -> None:
        raise ExtractionError("parser_error", f"{self._uri}: declares a document type or entities; no dump does")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        if len(self._path) > _MAX_DEPTH:
            raise ExtractionError("nested_too_deeply", f"{self._uri}: XML deeper than {_MAX_DEPTH} levels")
        if len(self._path) == 1:
            self._language = iso_language(attributes.get("xml:lang"))
        elif name == "page":
            self._page = _Page(self._parser.CurrentByteIndex)
        elif name == "revision":
            self._revision = {}
        elif name == "redirect" and self._page:
            self._page.is_redirect = True
        elif name == "namespace":
            self._namespace_key = attributes.get("key", "")
        if name in _WANTED:
            self._words, self._num_characters = [], 0

    def _characters(self, words: str) -> None:
        if self._words is None:
            return
        self._num_characters += len(words)
        limit = self._config.max_page_bytes if self._path[-1] == "text" else _MAX_SHORT
        if self._num_characters <= limit:
            self._words.append(words)

    def _end(self, name: str) -> None:
        self._path.pop()
        value = "".join(self._words) if self._words is not None and name in _WANTED else None
        parent = self._path[-1] if self._path else ""
        if value is not None:
            self._words = None
            self._value(name, parent, value)
        if name == "revision" and self._page:
            self._keep_newest(self._page)
        elif name == "page" and self._page:
            self._finish(self._page, self._parser.CurrentByteIndex + len("</page>"))
            self._page = None

    def _value(self, name: str, parent: str, value: str) -> None:
        if name == "namespace" and self._namespace_key in self._namespace_names:
            self._namespace_names[self._namespace_key].add(value.strip().lower())
        elif name == "dbname" or (name == "sitename" and not self._wiki):
            self._wiki = value.strip()
        elif parent == "revision":
            self._revision[name] = value
            if name == "text" and self._num_characters > self._config.max_page_bytes:
                self._revision["too_large"] = "1"
        elif parent == "page" and self._page:
            if name == "title":
                self._page.title = value.strip()
            elif name == "ns":
                self._page.namespace = value.strip()
            elif name == "id":
                self._page.page_id = value.strip()

    def _keep_newest(self, page: _Page) -> None:
        stamp = self._revision.get("timestamp", "").strip()
        if page.text is None or stamp >= page.timestamp:
            page.timestamp, page.text = stamp, self._revision.get("text", "")
            page.model = self._revision.get("model", "").strip()
            page.too_large = "too_large" in self._revision

    def _finish(self, page: _Page, end: int) -> None:
        text = page.text or ""
        if page.namespace not in {str(number) for number in self._config.namespaces} | {""}:
            self.passed_over["other namespace"] += 1
        elif page.is_redirect or text.lstrip()[:9].lower() == "#redirect":
            self.passed_over["redirect"] += 1
        elif page.model not in ("", "wikitext"):
            self.passed_over["not wikitext"] += 1
        elif page.too_large:
            self.rejects.append(Reject(page.start, end, "too_large", self._place(page)))
        else:
            self._add(page, text, end)

    def _add(self, page: _Page, text: str, end: int) -> None:
        from datasets_pipeline.extract.wikitext_markdown import to_markdown

        failure = ""
        body = ""
        try:
            body = to_markdown(
                text,
                keep_template_words=self._config.templates == "words",
                file_names=frozenset(self._namespace_names[_FILE_NAMESPACE]),
                category_names=frozenset(self._namespace_names[_CATEGORY_NAMESPACE]),
            )
        except Exception as error:  # one page the parser cannot read is one reject
            failure = type(error).__name__
        if failure or not normalize_text(body):
            reason = "parser_error" if failure else "empty"
            self.rejects.append(Reject(page.start, end, reason, self._place(page), failure))
            return
        self.documents.append(
            ExtractedDocument(
                text=md.joined([md.heading(page.title, 1) if page.title else "", body]),
                start=page.start,
                end=end,
                media_type="text/x-wiki",
                extractor="mediawiki",
                extractor_version=VERSION,
                stated_date=iso_date(page.timestamp),
                language=self._language,
                metadata={"title": normalize_text(page.title), "page_id": normalize_text(page.page_id)},
                uri=self._place(page),
            )
        )

    def _place(self, page: _Page) -> str:
        """`<wiki>/<title>`, with underscores as in the wiki's own addresses."""
        title = normalize_text(page.title).replace(" ", "_") or f"page-{page.page_id}"
        parts = [
            part if part.strip(".") else "%2E" * len(part) or "_"
            for part in f"{self._wiki or 'wiki'}/{title}".split("/")
        ]
        return "/".join(parts)
