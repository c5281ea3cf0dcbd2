"""Files inside a file: members of an archive, attachments of a mail. Each is a document of its own.

A child's uri is its parent's, `!/` and its name: `2024.zip!/minutes/march.docx`. What is wrong with a child is a
reject of the parent's result; its siblings are kept.
"""

from dataclasses import replace

from datasets_pipeline import extract
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.sources.base import ExtractedDocument, ExtractionError, ExtractionResult, Reject

VERSION = "1"

MAX_DEPTH = 3
"""Files inside files inside a file; deeper is how bombs are built."""
_MARK = "!/"


def child_uri(parent: str, name: str) -> str:
    """The uri of a child by its name in the parent. Raises ExtractionError unsafe_member for a name that leaves it."""
    parts = [part for part in name.replace("\\", "/").split("/") if part != "."]
    if not any(parts) or name.startswith(("/", "\\")) or ".." in parts or "\x00" in name:
        raise ExtractionError("unsafe_member", f"{parent}: the name of a member leads out of it or is none; not read")
    clean = "/".join(filter(None, parts))
    return parent + _MARK + clean.replace(_MARK, "!%2F")


def extract_child(
    data: bytes, parent: str, name: str, media_type: str | None, options: ExtractOptions, start: int, end: int
) -> ExtractionResult:
    """The documents of one child; every one stands at [start, end) of the parent, in bytes or members.

    Raises nothing: what is wrong with the child is a reject with the child's uri.
    """
    uri = parent
    try:
        uri = child_uri(parent, name)
        if uri.count(_MARK) > MAX_DEPTH:
            raise ExtractionError(
                "nested_too_deeply", f"{uri}: deeper than {MAX_DEPTH} files inside a file; unpack it before"
            )
        result = extract.extract(data, uri, media_type, options)
    except ExtractionError as error:
        return ExtractionResult([], [Reject(start, end, error.reason, uri, error.message)])
    return ExtractionResult(
        [_placed(document, uri, start, end) for document in result.documents],
        [Reject(start, end, reject.reason, reject.uri or uri, reject.detail) for reject in result.rejects],
    )


def _placed(document: ExtractedDocument, uri: str, start: int, end: int) -> ExtractedDocument:
    return replace(document, uri=document.uri or uri, start=start, end=end)
