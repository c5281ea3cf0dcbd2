"""PDF through docling, whose models see headings, tables and reading order; an option (`pdf_engine: docling`).

Its models lie in a folder that INGOT_DOCLING_MODELS names (`docling-tools models download -o FOLDER` on a machine with
a network fills one); nothing is fetched. Their digest is part of the extraction's version, their place is not.
It takes seconds a page and 2.5 GiB of address space, measured with weights of the layout model's size and without a
table model: `max_cpu_seconds` and `max_memory_bytes` of the source need raising. With 6 GiB a jailed process keeps its
models from file to file; one that holds more than half of its limit is replaced and loads them anew. A PDF of which
docling loses a page is refused, as the rest would look whole. Pages without a text layer are left to text recognition
by the other engine.
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

VERSION = "2"
PLACE = "INGOT_DOCLING_MODELS"
ABSENT = "absent"

_TABLE_MODEL = "tableformer/accurate/tm_config.json"
_OUT_OF_MEMORY = ("allocate memory", "bad_alloc", "MemoryError")


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

    try:
        converter = _converter(str(place))
    except Exception as error:
        _raise_if_out_of_memory([repr(error)])
        first = (str(error).splitlines() or [""])[0]
        raise ExtractionError(
            "converter_missing",
            f"{uri}: docling cannot load the models that {PLACE} names ({type(error).__name__}: {first}); "
            "fill the folder with `docling-tools models download -o FOLDER`",
        ) from error
    stream = DocumentStream(name="document.pdf", stream=io.BytesIO(data))
    result = converter.convert(stream, raises_on_error=False)
    if result.status != ConversionStatus.SUCCESS:
        _raise_if_out_of_memory([error.error_message for error in result.errors])
        lost = sorted({error.page_no for error in result.errors if error.page_no is not None})
        told = f"page {lost[0]} ({len(lost)} such pages)" if lost else "it"
        raise ExtractionError(
            "parser_error", f"{uri}: docling cannot read {told}; take `pdf_engine: docling` out, or exclude it"
        )
    text: str = result.document.export_to_markdown(image_placeholder="")
    return text


def _raise_if_out_of_memory(faults: list[str]) -> None:
    """docling reports a failed allocation as a fault of the model or the page. Raises MemoryError."""
    if any(words in fault for fault in faults for words in _OUT_OF_MEMORY):
        raise MemoryError


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
        do_table_structure=any(Path(place).rglob(_TABLE_MODEL)),
        enable_remote_services=False,
        allow_external_plugins=False,
        accelerator_options=AcceleratorOptions(num_threads=1, device=AcceleratorDevice.CPU),
    )
    converter = DocumentConverter(
        allowed_formats=[InputFormat.PDF], format_options={InputFormat.PDF: PdfFormatOption(pipeline_options=options)}
    )
    converter.initialize_pipeline(InputFormat.PDF)
    return converter


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
