"""Jupyter notebooks (nbformat 3 and 4) as Markdown: prose as written, code as fences, text outputs bounded.

Of the outputs only text/plain, streams and the name and value of an error are read; pictures, HTML, widgets and
tracebacks are not words of the author. Raw cells are kept as text unless they are meant for another format.
"""

import contextlib
import json
import re
from typing import Any

from datasets_pipeline.extract import markdown_writing as md
from datasets_pipeline.extract.decoding import decode
from datasets_pipeline.extract.licences import spdx_of
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.normalize import normalize_text
from datasets_pipeline.sources.base import ExtractedDocument, ExtractionError, ExtractionResult

VERSION = "1"
NOTEBOOK = "application/x-ipynb+json"
MEDIA_TYPES = (NOTEBOOK,)

_RAW_AS_TEXT = frozenset({"", "text/markdown", "text/x-rst", "text/restructuredtext", "text/plain"})
_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TITLE = re.compile(r"^#[ \t]+(.{1,300})$", re.MULTILINE)


def extract(data: bytes, uri: str, media_type: str, options: ExtractOptions) -> ExtractionResult:
    """The cells in order as one document. Raises ExtractionError parser_error for what is no notebook."""
    decoded = decode(data, uri, max_odd_share=options.max_odd_share)
    notebook = _parsed(decoded.text, uri)
    language = _language(notebook)
    blocks = [_cell(cell, language, options.notebook_output_characters) for cell in _cells(notebook, uri)]
    text = md.joined(blocks)
    stated = _mapping(notebook.get("metadata"))
    licence = _licence(stated)
    title = _title(stated, blocks)
    document = ExtractedDocument(
        text=text,
        start=0,
        end=len(data),
        media_type=media_type,
        extractor="notebook",
        extractor_version=VERSION,
        licence=licence,
        licence_evidence="notebook metadata" if licence else None,
        metadata={
            **decoded.metadata,
            "programming_language": language,
            "num_cells": len(blocks),
            **({"title": title} if title else {}),
        },
    )
    return ExtractionResult([document])


def _parsed(text: str, uri: str) -> dict[str, Any]:
    notebook: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        notebook = json.loads(text, parse_constant=lambda _: None)
    if not isinstance(notebook, dict):
        raise ExtractionError("parser_error", f"{uri}: not a notebook (JSON object); mend it or exclude it")
    return notebook


def _cells(notebook: dict[str, Any], uri: str) -> list[dict[str, Any]]:
    """The cells of nbformat 4, or those of all worksheets of nbformat 3."""
    worksheets = notebook.get("worksheets")
    lists = [notebook.get("cells")]
    if isinstance(worksheets, list):
        lists += [sheet.get("cells") for sheet in worksheets if isinstance(sheet, dict)]
    found = [cells for cells in lists if isinstance(cells, list)]
    if not found:
        raise ExtractionError("parser_error", f"{uri}: a notebook without cells (nbformat 3 or 4); save it again")
    return [cell for cells in found for cell in cells if isinstance(cell, dict)]


def _cell(cell: dict[str, Any], language: str, max_output_characters: int) -> str:
    kind = cell.get("cell_type")
    source = _text(cell.get("source"))
    if kind == "markdown":
        return source
    if kind == "heading":  # nbformat 3
        level = cell.get("level")
        return md.heading(source, level if isinstance(level, int) else 1)
    if kind == "code":
        source = source or _text(cell.get("input"))  # nbformat 3
        own = cell.get("language")
        code = md.fenced(source, own if isinstance(own, str) else language) if source.strip() else ""
        return md.joined([code, _outputs(cell.get("outputs"), max_output_characters)])
    stated = _mapping(cell.get("metadata"))
    mime = stated.get("raw_mimetype", stated.get("format", ""))
    return source if mime in _RAW_AS_TEXT else ""


def _outputs(outputs: Any, max_characters: int) -> str:
    """The text outputs of a cell in one fence, at most so many characters; the cut is marked."""
    if not isinstance(outputs, list) or max_characters == 0:
        return ""
    parts = [_output(output) for output in outputs if isinstance(output, dict)]
    text = "\n".join(part.strip("\n") for part in parts if part.strip())
    text = _TERMINAL_CODES.sub("", text)
    if len(text) > max_characters:
        text = text[:max_characters].rstrip() + "\n[...]"
    return md.fenced(text, "text") if text.strip() else ""


def _output(output: dict[str, Any]) -> str:
    kind = output.get("output_type")
    if kind == "stream":
        return _text(output.get("text")) if output.get("name", output.get("stream")) != "stderr" else ""
    if kind in ("error", "pyerr"):
        return f"{_text(output.get('ename'))}: {_text(output.get('evalue'))}"
    if kind in ("execute_result", "display_data", "pyout"):
        bundle = _mapping(output.get("data"))
        # What has a richer form is a picture or a table whose plain form is only its name: <Figure size 640x480>.
        plain = _text(bundle.get("text/plain")) or _text(output.get("text"))
        return "" if any(name.startswith("image/") for name in bundle) or "png" in output else plain
    return ""


def _language(notebook: dict[str, Any]) -> str:
    stated = _mapping(notebook.get("metadata"))
    for name in (
        _mapping(stated.get("language_info")).get("name"),
        _mapping(stated.get("kernelspec")).get("language"),
        _mapping(stated.get("kernel_info")).get("language"),
    ):
        if isinstance(name, str) and name.strip():
            return normalize_text(name)[:40].lower()
    return "python"


def _licence(stated: dict[str, Any]) -> str | None:
    named = stated.get("license", stated.get("licence"))
    if isinstance(named, dict):
        named = named.get("id", named.get("name", named.get("full_name")))
    return spdx_of(named) if isinstance(named, str) and named.strip() else None


def _title(stated: dict[str, Any], blocks: list[str]) -> str | None:
    named = stated.get("title")
    if isinstance(named, str) and named.strip():
        return md.one_line(normalize_text(named))[:300]
    found = _TITLE.search(blocks[0]) if blocks else None
    return normalize_text(found.group(1)) if found else None


def _text(value: Any) -> str:
    """A multi-line string of the format: text, or a list of lines that carry their line ends."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return ""


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
