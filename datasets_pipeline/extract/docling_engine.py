"""PDF through docling, whose models see headings, tables and reading order; an option (`pdf_engine: docling`).

Its models lie in a folder that INGOT_DOCLING_MODELS names (`docling-tools models download -o FOLDER` on a machine with
a network fills one); nothing is fetched. Their digest is part of the extraction's version, their place is not.
It takes seconds a page and gigabytes of address space: `max_cpu_seconds` and `max_memory_bytes` of the source need
raising. Pages without a text layer are left to text recognition by the other engine.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
import io
import os
from pathlib import Path
from typing import Any

from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.sources.base import ExtractionError

VERSION = "1"
PLACE = "INGOT_DOCLING_MODELS"
ABSENT = "absent"

_TABLE_MODELS = "*[tT]able[fF]ormer*"


def models(options: ExtractOptions) -> dict[str, str]:
    """Version of docling and SHA-256 (its first 16 digits) of its models, or `absent`; empty when it is not used."""
    if options.pdf_engine != "docling":
        return {}
    place = _place()
    return {"docling": _library(), "docling.models": _digest(place) if place is not None else ABSENT}


def markdown(data: bytes, uri: str) -> str:
    """The PDF's text as Markdown, blank when it has no text layer. Raises ExtractionError."""
    if _library() == ABSENT:
        raise ExtractionError(
            "converter_missing",
            f"{uri}: `pdf_engine: docling` needs the package docling, which is not installed; `pip install docling`, "
            "or take the option out",
        )
    place = _place()
    if place is None:
        raise ExtractionError(
            "converter_missing",
            f"{uri}: `pdf_engine: docling` needs {PLACE}, the folder of its models; set it, or take the option out",
        )
    from docling.datamodel.base_models import ConversionStatus, DocumentStream

    stream = DocumentStream(name="document.pdf", stream=io.BytesIO(data))
    result = _converter(str(place)).convert(stream, raises_on_error=False)
    if result.status not in (ConversionStatus.SUCCESS, ConversionStatus.PARTIAL_SUCCESS):
        raise ExtractionError(
            "parser_error", f"{uri}: docling cannot read it; take `pdf_engine: docling` out, or exclude it"
        )
    text: str = result.document.export_to_markdown(image_placeholder="")
    return text


@functools.cache
def _converter(place: str) -> Any:
    """Loading the models takes seconds; they serve every file of this process."""
    from docling.datamodel.accelerator_options import AcceleratorDevice, AcceleratorOptions
    from docling.datamodel.base_models import InputFormat
    from docling.datamodel.pipeline_options import PdfPipelineOptions
    from docling.document_converter import DocumentConverter, PdfFormatOption

    options = PdfPipelineOptions(
        artifacts_path=place,
        do_ocr=False,
        do_table_structure=any(Path(place).rglob(_TABLE_MODELS)),
        enable_remote_services=False,
        allow_external_plugins=False,
        accelerator_options=AcceleratorOptions(num_threads=1, device=AcceleratorDevice.CPU),
    )
    return DocumentConverter(
        allowed_formats=[InputFormat.PDF], format_options={InputFormat.PDF: PdfFormatOption(pipeline_options=options)}
    )


def _library() -> str:
    return importlib.metadata.version("docling") if importlib.util.find_spec("docling") else ABSENT


def _place() -> Path | None:
    place = os.environ.get(PLACE)
    return Path(place) if place and Path(place).is_dir() else None


def _digest(place: Path) -> str:
    files = sorted(path for path in place.rglob("*") if path.is_file())
    stamps = tuple((str(path.relative_to(place)), path.stat().st_size, path.stat().st_mtime_ns) for path in files)
    return _digest_of(str(place), stamps)


@functools.lru_cache(maxsize=4)
def _digest_of(place: str, stamps: tuple[tuple[str, int, int], ...]) -> str:
    """Read once per process and state of the folder: models are gigabytes."""
    whole = hashlib.sha256()
    for name, _, _ in stamps:
        with open(Path(place) / name, "rb") as file:
            whole.update(f"{name}\0".encode() + hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()[:16]
