"""Bytes to text: one file per media type, one door for all of them.

A module has VERSION, MEDIA_TYPES and `extract(data, uri, media_type, options) -> ExtractionResult`; LIBRARIES
names the distributions and `programs()` the external programs whose versions shape its text, `models(options)` the
digests of the data files that do, where there are any.
Whatever a parser does with hostile bytes, only ExtractionError leaves this door.
"""

import importlib
import importlib.metadata
import platform
from types import ModuleType

from datasets_pipeline.extract import media_types
from datasets_pipeline.extract.budgets import budget_of
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.jail.limits import MEMORY_REMEDY
from datasets_pipeline.normalize import TEXT_VERSION, UNICODE_VERSION, normalize_text
from datasets_pipeline.sources.base import ExtractionError, ExtractionResult, Reject

__all__ = ["ExtractOptions", "extract", "extraction_version"]

_MODULES = (
    "text", "markdown", "html", "rst", "notebook", "code", "python_source", "package_metadata",
    "docx", "pptx", "odf", "sheets", "epub", "legacy_office",
    "pdf", "image",
    "archives", "mail", "mbox",
)  # fmt: skip
# Modules that shape the text of several media types.
_SHARED = (
    "budgets", "children", "containers", "decoding", "docling_engine",
    "licences", "mail_headers", "mail_quotes", "mail_parts",
    "mail_text",
    "markdown_writing", "media_types", "ocr",
    "office_html", "office_xml", "office_zip", "ole", "omml", "packed", "page_lines", "sheet_bounds", "tables",
    "tar_members", "zip_recovery", "zips",
)  # fmt: skip


def extract(data: bytes, uri: str, media_type: str | None, options: ExtractOptions) -> ExtractionResult:
    """The documents of one file; a document without a word is a reject `empty`.

    media_type None: told from the name and the bytes. Raises ExtractionError, and nothing else, for
    whatever is wrong with the file.
    """
    if not data:
        raise ExtractionError("empty", f"{uri}: the file is empty (0 bytes)")
    media_type = media_type or media_types.media_type_of(uri, data)
    module = _module_for(media_type)
    if module is None:
        raise ExtractionError(
            "unsupported_media_type",
            f"{uri}: no extractor reads {media_type}; exclude such files, or convert them to text, Markdown or HTML",
        )
    with budget_of(len(data), options.max_archive_bytes):
        result = _call_parser(module, data, uri, media_type, options)
    kept = [document for document in result.documents if not _is_blank(document.text)]
    blank = [Reject(d.start, d.end, "empty") for d in result.documents if _is_blank(d.text)]
    if blank and not kept and not result.rejects:
        raise ExtractionError("empty", f"{uri}: nothing but blanks is in it")
    return ExtractionResult(kept, sorted([*result.rejects, *blank], key=lambda r: (r.start, r.end)))


def _is_blank(text: str) -> bool:
    # Normalising a whole text to see whether it is empty would be done once more when it is stored.
    return not any(map(str.isalnum, text[:1000])) and not normalize_text(text)


def extraction_version(options: ExtractOptions) -> dict[str, str]:
    """Everything besides the bytes that shapes extracted text: module, library and option versions.

    Part of the cache key of an extraction and of a corpus version's identity.
    """
    versions = {f"extract.{name}": _load(name).VERSION for name in (*_MODULES, *_SHARED)}
    chosen = options.model_dump(mode="json", include=set(ExtractOptions.model_fields))  # options may be a whole source
    versions |= {f"option.{name}": str(value) for name, value in chosen.items() if value is not None}
    for name in (*_MODULES, *_SHARED):
        module = _load(name)
        versions |= {library: importlib.metadata.version(library) for library in getattr(module, "LIBRARIES", ())}
        # A machine without a program reads other files than one with it: that is another version, not a surprise.
        versions |= {f"program.{name}": version for name, version in getattr(module, "programs", dict)().items()}
        if hasattr(module, "models"):
            versions |= {f"model.{name}": digest for name, digest in module.models(options).items()}
    versions["text"] = TEXT_VERSION
    versions["unicode"] = UNICODE_VERSION
    if options.python == "docstrings":
        # Which files parse at all depends on the grammar of the interpreter.
        versions["python"] = ".".join(platform.python_version_tuple()[:2])
    return versions


def _call_parser(
    module: ModuleType, data: bytes, uri: str, media_type: str, options: ExtractOptions
) -> ExtractionResult:
    """Run a parser on hostile bytes, in the process that `datasets_pipeline.jail` has made for it.

    The cause is named by its type only: messages of parsers quote the text they failed on.
    """
    failure = ""
    try:
        return module.extract(data, uri, media_type, options)  # type: ignore[no-any-return]
    except ExtractionError:
        raise
    except Exception as error:  # RecursionError and MemoryError are among them
        failure = type(error).__name__
    if failure == "MemoryError":
        raise ExtractionError("memory_limit", f"{uri}: {MEMORY_REMEDY}")
    raise ExtractionError(  # outside of the handler: a chained exception would carry the text along
        "parser_error",
        f"{uri}: extractor {module.__name__.rpartition('.')[2]} {module.VERSION} raised {failure} on "
        f"{len(data):,} bytes of {media_type}; exclude the file or report it",
    )


def _module_for(media_type: str) -> ModuleType | None:
    for name in _MODULES:
        module = _load(name)
        if media_type in module.MEDIA_TYPES:
            return module
    return _load("text") if media_types.is_text(media_type) else None


def _load(name: str) -> ModuleType:
    return importlib.import_module(f"datasets_pipeline.extract.{name}")
