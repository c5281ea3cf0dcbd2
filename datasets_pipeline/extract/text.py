"""Plain text and everything that is read as it stands: reStructuredText, source code, data files."""

from datasets_pipeline.extract.decoding import decode
from datasets_pipeline.extract.licences import spdx_of_header
from datasets_pipeline.extract.media_types import PLAIN
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.sources.base import ExtractedDocument, ExtractionResult

VERSION = "1"
MEDIA_TYPES = (PLAIN,)  # and, as the fallback of extract(), every other media type that is text


def extract(data: bytes, uri: str, media_type: str, options: ExtractOptions) -> ExtractionResult:
    """The decoded file as one document, with the licence its opening states."""
    decoded = decode(data, uri, declared=options.encoding, max_odd_share=options.max_odd_share)
    licence, evidence = spdx_of_header(decoded.text) or (None, None)
    document = ExtractedDocument(
        text=decoded.text,
        start=0,
        end=len(data),
        media_type=media_type,
        extractor="text",
        extractor_version=VERSION,
        licence=licence,
        licence_evidence=evidence,
        metadata=decoded.metadata,
    )
    return ExtractionResult([document])
