"""Images with a caption each, kept as documents of image and text.

- name: icons
  source: captioned_images
  uri: /data/icons
  captions: captions.jsonl.gz
  image_field: file
  caption_field: caption

The text of such a document is its caption and a Markdown image that names the file's bytes by their SHA-256, so two
pictures with one caption are two documents and training finds the picture by the text alone. The bytes are kept in
the store as `images/<sha256>`. An image without a caption is passed over and counted.
"""

import csv
import gzip
import io
import json
import posixpath
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from pydantic import Field

from datasets_pipeline.normalize import normalize_text
from datasets_pipeline.sources import files
from datasets_pipeline.sources.base import (
    MEBIBYTE,
    ExtractedDocument,
    ExtractionError,
    ExtractionResult,
    FileContent,
    FileEntry,
    SourceConfig,
    with_stated_attributes,
)
from ingot.errors import DataError

VERSION = "1"

_MAX_CAPTIONS_BYTES = 256 * MEBIBYTE
_FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "WEBP": "image/webp"}


class Config(SourceConfig):
    """A folder of images and a file of captions."""

    include: tuple[str, ...] = Field(
        default=("**/*.png", "**/*.jpg", "**/*.jpeg", "**/*.gif", "**/*.webp"),
        description="Globs on the path relative to the uri; an image is taken when one of them matches.",
    )
    captions: str = Field(
        min_length=1, description="File below the uri with a caption a row: .jsonl or .csv with a header, also .gz."
    )
    image_field: str = Field(default="file", description="Field with the image's path relative to the captions file.")
    caption_field: str = Field(default="caption", description="Field with the caption.")
    licence_field: str | None = Field(default=None, description="Field with the image's licence; null: none.")
    max_file_bytes: int = Field(
        default=32 * MEBIBYTE, ge=1, description="Bytes from which an image is quarantined as too_large."
    )
    max_pixels: int = Field(
        default=100_000_000,
        ge=1,
        description="Pixels from which an image is quarantined as too_large; decoded it takes four bytes each.",
    )


def list_files(config: Config, skipped: Counter[str] | None = None) -> Iterator[FileEntry]:
    """The images that have a caption, sorted. Raises DataError for a captions file that cannot be used."""
    skipped = skipped if skipped is not None else Counter()
    captions = _captions(config)
    for entry in files.list_tree(config.uri, config.include, config.exclude, skipped):
        if entry.uri in captions:
            yield replace(entry, attributes=captions[entry.uri])
        else:
            skipped["without_caption"] += 1


def read_file(config: Config, entry: FileEntry) -> FileContent:
    """The bytes of one image, at most config.max_file_bytes."""
    return files.read_file(config.uri, entry, config.max_file_bytes)


def extract_file(config: Config, entry: FileEntry, data: bytes) -> ExtractionResult:
    """The image with its caption as one document; it is decoded, so that none is kept that cannot be shown."""
    if not data:
        raise ExtractionError("empty", f"{entry.uri}: the file is empty (0 bytes)")
    media_type, width, height = _decode(config, entry.uri, data)
    caption = entry.attributes["caption"]
    digest = FileContent(data).sha256
    document = ExtractedDocument(
        text=f"{caption}\n\n![{caption.translate(_NO_BRACKETS)}](sha256:{digest})",
        start=0,
        end=len(data),
        media_type=media_type,
        extractor="captioned_images",
        extractor_version=VERSION,
        metadata={"image_sha256": digest, "image_width": width, "image_height": height},
        keeps_file=True,
    )
    return with_stated_attributes(ExtractionResult([document]), entry.attributes)


def extraction_version(config: Config) -> dict[str, str]:
    """What besides the bytes and the attributes shapes the documents."""
    import importlib.metadata

    return {
        "source.captioned_images": VERSION,
        "pillow": importlib.metadata.version("pillow"),
        "option.max_pixels": str(config.max_pixels),
        "option.max_file_bytes": str(config.max_file_bytes),
    }


_NO_BRACKETS = str.maketrans({"[": "(", "]": ")", "\n": " "})


def _decode(config: Config, uri: str, data: bytes) -> tuple[str, int, int]:
    """(media type, width, height) of an image whose every pixel can be decoded."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=list(_FORMATS)) as image:
            width, height = image.size
            if width * height > config.max_pixels:
                raise ExtractionError("too_large", f"{uri}: {width} x {height} pixels, more than max_pixels; scale it")
            kind = _FORMATS[str(image.format)]
            image.load()
    except ExtractionError:
        raise
    except MemoryError:
        raise
    except Exception as error:
        failure = type(error).__name__
    else:
        return kind, width, height
    raise ExtractionError("parser_error", f"{uri}: decoding it as an image raised {failure}; it is damaged, replace it")


def _captions(config: Config) -> dict[str, dict[str, str]]:
    """What the captions file states, by the image's path relative to the uri."""
    folder = posixpath.dirname(config.captions)
    entry = FileEntry(config.captions, 0)
    try:
        data = files.read_file(config.uri, entry, _MAX_CAPTIONS_BYTES).data
        if data.startswith(b"\x1f\x8b"):
            data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(_MAX_CAPTIONS_BYTES + 1)
        text = data.decode("utf-8-sig")
    except (ExtractionError, OSError, EOFError, ValueError) as error:
        raise DataError(
            f"source {config.name}: captions {config.captions} cannot be read ({type(error).__name__}); "
            "name a UTF-8 file below the uri, .jsonl or .csv, also .gz"
        ) from None
    found: dict[str, dict[str, str]] = {}
    for number, row in enumerate(_rows(config, text), start=1):
        image, caption = row.get(config.image_field), row.get(config.caption_field)
        if not isinstance(image, str) or not isinstance(caption, str):
            raise DataError(
                f"source {config.name}: row {number} of {config.captions} has no text in {config.image_field} or "
                f"{config.caption_field}; mend it or name other fields"
            )
        if caption := normalize_text(caption):
            licence = row.get(config.licence_field) if config.licence_field else None
            stated = {"licence": str(licence), "licence_evidence": f"field {config.licence_field}"} if licence else {}
            found[posixpath.normpath(posixpath.join(folder, image))] = {"caption": caption, **stated}
    return found


def _rows(config: Config, text: str) -> Iterator[dict[str, object]]:
    if ".csv" in posixpath.basename(config.captions):
        yield from csv.DictReader(io.StringIO(text))
        return
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            row = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):
            row = "damaged"
        if row is None:
            continue
        if not isinstance(row, dict):
            raise DataError(f"source {config.name}: line {number} of {config.captions} is no JSON object; mend it")
        yield row
