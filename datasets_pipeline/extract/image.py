"""Pictures of text: scans, photographs of pages, screenshots. Read by text recognition, or rejected `no_text_layer`.

A TIFF may hold several pages; of animations the first frame is read. Pictures without at least three words that
were recognized with some certainty hold no text.
"""

import io
import warnings
from collections.abc import Iterator
from typing import Any

from datasets_pipeline.extract import ocr
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.extract.page_lines import Page
from datasets_pipeline.extract.page_text import text_of
from datasets_pipeline.sources.base import ExtractedDocument, ExtractionError, ExtractionResult, Reject

VERSION = "1"
MEDIA_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/tiff")
LIBRARIES = ("pillow",)

_MAX_PIXELS = 100_000_000  # greyscale and colour together 400 MB while it is decoded; A3 at 600 dpi has 70 million
_MAX_FRAMES = 1_000
_MIN_SIDE = 16  # pixels; below is an icon
_GOOD_DPI = 300
_SCREEN_DPI = 96
_MAX_SCREEN_SIDE = 2_200  # pixels; a page at 200 dpi, from which no enlargement is needed


def extract(data: bytes, uri: str, media_type: str, options: ExtractOptions) -> ExtractionResult:
    """The recognized text of a picture, or of all pages of a TIFF, as one document."""
    if not ocr.is_available(options):
        _open(data, uri)
        raise ExtractionError("no_text_layer", f"{uri}: a picture; {ocr.remedy(options)}")
    pages: list[Page] = []
    confidences: list[float] = []
    failed: list[ExtractionError] = []
    for frame, dpi in _frames(_open(data, uri), uri):
        try:
            recognized = ocr.recognize(frame, uri, options, dpi=dpi)
        except ExtractionError as error:
            if error.reason == "timeout":
                raise
            failed.append(error)
            continue
        pages.append(recognized.page)
        confidences += recognized.confidences
    if failed and not pages:
        raise failed[0]
    if not ocr.are_words(confidences):
        raise ExtractionError(
            "no_text_layer", f"{uri}: no text was recognized in the picture; exclude pictures that are no pages of text"
        )
    document = ExtractedDocument(
        text=text_of(pages), start=0, end=len(data), media_type=media_type, extractor="image",
        extractor_version=VERSION, metadata={"pages": len(pages), **ocr.summary(confidences)},
    )  # fmt: skip
    return ExtractionResult([document], [Reject(0, len(data), e.reason, None, e.message) for e in failed])


def _open(data: bytes, uri: str) -> Any:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "GIF", "WEBP", "TIFF"))
    except Image.DecompressionBombError:
        raise _too_large(uri) from None
    except Exception as error:  # decoders raise what they like; SyntaxError is among it
        failure = type(error).__name__
    else:
        if image.width * image.height > _MAX_PIXELS:
            raise _too_large(uri)
        return image
    raise ExtractionError(
        "parser_error", f"{uri}: the picture cannot be opened ({failure}); check whether the file is whole"
    )


def _too_large(uri: str) -> ExtractionError:
    return ExtractionError("too_large", f"{uri}: the picture has more than {_MAX_PIXELS:,} pixels; make it smaller")


def _frames(image: Any, uri: str) -> Iterator[tuple[Any, int]]:
    """(greyscale image, its dots an inch) of each page, at a size at which letters are recognized."""
    num = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
    if num > _MAX_FRAMES:
        raise ExtractionError("too_large", f"{uri}: {num:,} pages are more than {_MAX_FRAMES:,}; split the file")
    for number in range(num):
        if num > 1:
            image.seek(number)
        if image.width * image.height > _MAX_PIXELS:
            raise _too_large(uri)
        if min(image.size) >= _MIN_SIDE:
            yield _enlarged(_grey(image), _stated_dpi(image))


def _grey(image: Any) -> Any:
    """Upright, on white, 8 bits a pixel."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits
        image = image.point(lambda value: value * (1 / 256))
    elif image.mode in ("RGBA", "LA", "PA", "P") and ("A" in image.mode or "transparency" in image.info):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L")


def _stated_dpi(image: Any) -> int:
    """What the file states, where that can be: 72 and 96 are what programs write that do not know."""
    stated = image.info.get("dpi", (0, 0))[0]
    return round(stated) if 100 <= stated <= 1200 else 0


def _enlarged(image: Any, dpi: int) -> tuple[Any, int]:
    from PIL import Image

    longest = max(image.size)
    if not dpi:
        dpi = _SCREEN_DPI if longest < _MAX_SCREEN_SIDE else _GOOD_DPI
    factor = min(max(_GOOD_DPI / dpi, 1.0), 3.0, (ocr.MAX_PIXELS / (image.width * image.height)) ** 0.5)
    if abs(factor - 1) < 0.05:
        return image, dpi
    size = (max(round(image.width * factor), 1), max(round(image.height * factor), 1))
    return image.resize(size, Image.Resampling.LANCZOS), max(round(dpi * factor), 1)
