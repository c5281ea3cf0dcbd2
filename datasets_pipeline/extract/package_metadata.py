"""METADATA and PKG-INFO files: the project page that came with an installed Python package.

The text is `# Name version`, the summary, and the long description, which is usually the README. Core
metadata up to 2.4 is understood: an RFC 822 header block, and the description as body or as an indented
header. Nothing else of the header is text: links and requirements are not sentences.
"""

import re
from dataclasses import dataclass
from email.errors import MessageError
from email.parser import HeaderParser

from datasets_pipeline.extract.decoding import decode
from datasets_pipeline.extract.licences import UNKNOWN, spdx_of, spdx_of_classifiers, spdx_of_text
from datasets_pipeline.extract.media_types import MARKDOWN, PACKAGE_METADATA, PLAIN, RESTRUCTURED_TEXT
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.normalize import normalize_text
from datasets_pipeline.sources.base import ExtractedDocument, ExtractionError, ExtractionResult

VERSION = "1"
MEDIA_TYPES = (PACKAGE_METADATA,)

_CONTINUATION = re.compile(r"^(?: {8}| {7}\|)", re.MULTILINE)


@dataclass(frozen=True)
class PackageMetadata:
    """The headers that say what a package is. licence: SPDX expression or `unknown`."""

    name: str
    version: str
    summary: str
    description: str
    description_type: str
    licence: str
    licence_evidence: str | None


def parse(text: str, uri: str) -> PackageMetadata:
    """Read core metadata. Raises ExtractionError parser_error when it names no package."""
    try:
        message = HeaderParser().parsestr(text)
    except (MessageError, ValueError, TypeError):
        raise ExtractionError("parser_error", f"{uri}: not a metadata file; exclude it or rename it") from None
    name, version = _header(message, "Name"), _header(message, "Version")
    if not name or not version:
        raise ExtractionError("parser_error", f"{uri}: no Name and Version; exclude it or rename it")
    body = message.get_payload()
    described = _CONTINUATION.sub("", str(message.get("Description", "")))
    licence, evidence = _licence(message)
    return PackageMetadata(
        name=name,
        version=version,
        summary=_header(message, "Summary"),
        description=(body if isinstance(body, str) and body.strip() else described).strip(),
        description_type=_description_type(_header(message, "Description-Content-Type")),
        licence=licence,
        licence_evidence=evidence,
    )


def extract(data: bytes, uri: str, media_type: str, options: ExtractOptions) -> ExtractionResult:
    """Title line, summary and description as one document of the description's media type."""
    decoded = decode(data, uri, declared=options.encoding, max_odd_share=options.max_odd_share)
    package = parse(decoded.text, uri)
    summary = "" if package.summary in ("", "UNKNOWN") else package.summary
    description = "" if package.description == "UNKNOWN" else package.description
    text = "\n\n".join(part for part in (f"# {package.name} {package.version}", summary, description) if part)
    document = ExtractedDocument(
        text=text,
        start=0,
        end=len(data),
        media_type=package.description_type,
        extractor="package_metadata",
        extractor_version=VERSION,
        licence=package.licence,
        licence_evidence=package.licence_evidence,
        family=package.name,
        version=package.version,
        metadata=decoded.metadata,
    )
    return ExtractionResult([document])


def _licence(message: object) -> tuple[str, str | None]:
    """The first of License-Expression, License and classifiers that names a licence we know."""
    get_all = message.get_all  # type: ignore[attr-defined]
    statements = [
        ("METADATA License-Expression", [spdx_of(str(value)) for value in get_all("License-Expression", [])]),
        ("METADATA License", [_of_field(str(value)) for value in get_all("License", [])]),
        ("METADATA classifiers", [spdx_of_classifiers([str(v).strip() for v in get_all("Classifier", [])])]),
    ]
    named = [(found, evidence) for evidence, values in statements for found in values if found != UNKNOWN]
    # A name without its variant (LicenseRef-BSD) gives way to a later statement that has one.
    exact = [(found, evidence) for found, evidence in named if not found.startswith("LicenseRef-")]
    if exact or named:
        return (exact or named)[0]
    stated = any(get_all(header) for header in ("License-Expression", "License"))
    return UNKNOWN, "METADATA License" if stated else None


def _of_field(value: str) -> str:
    """The License field holds a name, or by mistake the whole text."""
    named = spdx_of(value)
    return named if named != UNKNOWN else spdx_of_text(value)


def _header(message: object, name: str) -> str:
    return " ".join(normalize_text(str(message.get(name, ""))).split())[:1000]  # type: ignore[attr-defined]


def _description_type(stated: str) -> str:
    kind = stated.partition(";")[0].strip().lower()
    # Core metadata: reStructuredText is assumed when nothing is said.
    return {"text/markdown": MARKDOWN, "text/plain": PLAIN}.get(kind, RESTRUCTURED_TEXT)
