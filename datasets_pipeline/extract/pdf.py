"""PDF: its text layer in reading order as Markdown; pages that are pictures of text by text recognition.

pdfium reads the pages (pdf_text), the page_* modules find columns, running headers, paragraphs, headings, lists and
tables. One PDF is one document; files attached to it are documents of their own. A page that cannot be read costs
that page and is a reject. pdfium is not thread-safe, so one PDF is read at a time. About 100,000 characters a second.
"""

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from datasets_pipeline.extract import docling_engine, ocr
from datasets_pipeline.extract.children import extract_child
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.extract.page_lines import Page
from datasets_pipeline.extract.page_text import text_of
from datasets_pipeline.extract.pdf_text import PageText, read_page
from datasets_pipeline.normalize import normalize_text
from datasets_pipeline.sources.base import MEBIBYTE, ExtractedDocument, ExtractionError, ExtractionResult, Reject

VERSION = "1"
MEDIA_TYPES = ("application/pdf",)
LIBRARIES = ("pypdfium2",)

_DPI = 300  # what tesseract's models were trained for
_GARBLED_SHARE = 0.3
"""Share of characters without a meaning from which a page's text layer is worth nothing; formulas stay below."""
_FEW_CHARACTERS = 100  # a stamp or a page number on a scanned page
_PICTURE_SHARE, _SOME_PICTURE = 0.7, 0.1  # of the page's area
_MANY_PATHS = 100  # letters drawn as curves
_MAX_ATTACHMENTS = 100
_MAX_ATTACHED_BYTES = 64 * MEBIBYTE
_COPY_PERMISSION = 1 << 4
_DATE = re.compile(r"\s*(?:D:)?(\d{4})(\d{2})(\d{2})")
_TITLE_NOISE = re.compile(
    r"^(?:Microsoft (?:Word|PowerPoint|Excel) - )|^(?:untitled\b.*|title|document)\d*$", re.IGNORECASE
)

_PDFIUM = threading.Lock()


@dataclass
class _Pages:
    """What the pages of one PDF gave.

    confidences: of the recognized words. num_recognized: pages that were looked at by text recognition. missing:
    reason and number of the pages that gave no text.
    """

    pages: list[Page] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    num_recognized: int = 0
    missing: list[tuple[str, int]] = field(default_factory=list)


def extract(data: bytes, uri: str, media_type: str, options: ExtractOptions) -> ExtractionResult:
    """The text of all pages as one document, and the documents of attached files."""
    with _PDFIUM:
        pdf = _open(data, uri)
        try:
            if len(pdf) > options.pdf_max_pages:
                raise ExtractionError(
                    "too_large",
                    f"{uri}: {len(pdf):,} pages are more than pdf_max_pages ({options.pdf_max_pages:,}); "
                    "raise the limit, or split the file",
                )
            found = _read_pages(pdf, uri, options)
            facts = _facts(pdf)
            stated_date = _stated_date(pdf)
            attached, rejects = _attachments(pdf, uri, len(data))
        finally:
            pdf.close()
    text = text_of(found.pages)
    # docling sees no recognized text: a PDF with scanned pages would lose them.
    if (
        options.pdf_engine == "docling"
        and not found.num_recognized
        and (seen := docling_engine.markdown(data, uri)).strip()
    ):
        text = seen
        facts |= {"pdf_engine": "docling"}
    documents: list[ExtractedDocument] = []
    if normalize_text(text):
        if found.confidences:
            facts |= {"ocr_pages": found.num_recognized, **ocr.summary(found.confidences)}
        documents.append(
            ExtractedDocument(
                text=text, start=0, end=len(data), media_type=media_type, extractor="pdf",
                extractor_version=VERSION, stated_date=stated_date, metadata=facts,
            )
        )  # fmt: skip
    rejects += list(_rejects(found, uri, len(data), options))
    # Children only after pdfium was let go: one of them may be a PDF.
    for name, content in attached:
        child = extract_child(content, uri, name, None, options, 0, len(data))
        documents += child.documents
        rejects += child.rejects
    if not documents:
        if not rejects:
            if found.num_recognized:
                raise ExtractionError(
                    "no_text_layer", f"{uri}: no text was recognized in its pictures; exclude the file"
                )
            raise ExtractionError("empty", f"{uri}: none of its {len(found.pages):,} pages holds text or a picture")
        if len(rejects) == 1:
            raise ExtractionError(rejects[0].reason, rejects[0].detail)
    return ExtractionResult(documents, rejects)


def _open(data: bytes, uri: str) -> Any:
    import pypdfium2
    import pypdfium2.raw as pdfium

    try:
        pdf = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        code = error.err_code
    else:
        if len(pdf):
            return pdf
        pdf.close()
        raise ExtractionError("parser_error", f"{uri}: the PDF has no pages; check whether the file is whole")
    if code in (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY):
        raise ExtractionError(
            "encrypted", f"{uri}: the PDF asks for a password; save a copy without one, or exclude the file"
        )
    raise ExtractionError(
        "parser_error", f"{uri}: pdfium cannot open the PDF (error {code}); check whether the file is whole"
    )


def _read_pages(pdf: Any, uri: str, options: ExtractOptions) -> _Pages:
    import pypdfium2

    found = _Pages()
    can_recognize = ocr.is_available(options)
    for number in range(1, len(pdf) + 1):
        try:
            page = pdf[number - 1]
            text_page = page.get_textpage()
        except pypdfium2.PdfiumError:
            found.missing.append(("parser_error", number))
            continue
        read = read_page(page, text_page)
        reason = _what_is_missing(page, read)
        if reason is not None:
            read.page = _instead(found, page, read.page, reason, number, uri, options if can_recognize else None)
        found.pages.append(read.page)
        text_page.close()
        page.close()
    return found


def _instead(
    found: _Pages, page: Any, layer: Page, reason: str, number: int, uri: str, options: ExtractOptions | None
) -> Page:
    """What stands for a page whose text layer is not its text. options None: nothing can be recognized."""
    kept = layer if reason == "no_text_layer" else Page(layer.width, layer.height)
    if options is None or found.num_recognized >= options.ocr_max_pages:
        found.missing.append((reason, number))
        return kept
    found.num_recognized += 1
    try:
        recognized = _recognize(page, uri, options)
    except ExtractionError as error:
        if error.reason == "timeout":
            raise  # says nothing about the page; the file is tried again
        found.missing.append((error.reason, number))
        return kept
    if ocr.are_words(recognized.confidences):
        found.confidences += recognized.confidences
        return recognized.page
    if reason == "invalid_encoding":
        found.missing.append((reason, number))
    return kept


def _what_is_missing(page: Any, read: PageText) -> str | None:
    """`invalid_encoding` for a garbled text layer, `no_text_layer` for a picture of text, None for a good page."""
    if read.num_odd > _GARBLED_SHARE * read.num_characters:
        return "invalid_encoding"
    if read.num_characters >= _FEW_CHARACTERS:
        return None
    pictures, num_paths = _pictures(page)
    if pictures >= _PICTURE_SHARE or (not read.num_characters and (pictures >= _SOME_PICTURE or num_paths)):
        return "no_text_layer"
    return None


def _pictures(page: Any) -> tuple[float, bool]:
    """(share of the page that images cover, whether there are as many curves as drawn letters need)."""
    import pypdfium2
    import pypdfium2.raw as pdfium

    width, height = page.get_size()
    area, num_paths = 0.0, 0
    for number, shape in enumerate(page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE, pdfium.FPDF_PAGEOBJ_PATH])):
        if number > 20_000:
            break
        if shape.type == pdfium.FPDF_PAGEOBJ_PATH:
            num_paths += 1
            continue
        try:
            left, bottom, right, top = shape.get_bounds()
        except pypdfium2.PdfiumError:
            continue
        area += max(min(right, width) - max(left, 0), 0) * max(min(top, height) - max(bottom, 0), 0)
    return area / max(width * height, 1.0), num_paths >= _MANY_PATHS


def _recognize(page: Any, uri: str, options: ExtractOptions) -> ocr.Recognized:
    width, height = page.get_size()
    scale = min(_DPI / 72, (ocr.MAX_PIXELS / max(width * height, 1.0)) ** 0.5)
    bitmap = page.render(scale=scale, grayscale=True)
    try:
        return ocr.recognize(bitmap.to_pil().convert("L"), uri, options, dpi=max(round(72 * scale), 1))
    finally:
        bitmap.close()


def _rejects(found: _Pages, uri: str, end: int, options: ExtractOptions) -> Iterator[Reject]:
    """One reject a reason, with the numbers of the pages."""
    recognition = "raise ocr_max_pages, or exclude the file" if ocr.is_available(options) else ocr.remedy(options)
    remedies = {
        "no_text_layer": f"they are pictures; {recognition}",
        "invalid_encoding": f"their fonts do not say which characters they draw; {recognition}",
        "parser_error": "pdfium or tesseract cannot read them; check whether the file is whole",
    }
    for reason in sorted({reason for reason, _ in found.missing}):
        numbers = _ranges([number for why, number in found.missing if why == reason])
        yield Reject(
            0, end, reason, None, f"{uri}: pages {numbers} gave no text; {remedies.get(reason, 'look at them')}"
        )


def _ranges(numbers: list[int]) -> str:
    """`1-3, 7`; at most ten of them."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    shown = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs[:10]]
    return ", ".join(shown) + (", ..." if len(runs) > 10 else "")


def _facts(pdf: Any) -> dict[str, str | int | float]:
    import pypdfium2.raw as pdfium

    facts: dict[str, str | int | float] = {"pages": len(pdf)}
    title = " ".join(normalize_text(_TITLE_NOISE.sub("", _value(pdf, "Title").replace("\x00", "").strip())).split())
    if title:
        facts["title"] = title[:300]
    if not pdfium.FPDF_GetDocPermissions(pdf.raw) & _COPY_PERMISSION:
        # Its author asks readers not to copy from it; whether that matters is for the recipe to say.
        facts["copying_restricted"] = 1
    return facts


def _value(pdf: Any, key: str) -> str:
    try:
        return str(pdf.get_metadata_value(key))
    except (UnicodeError, ValueError):
        return ""


def _stated_date(pdf: Any) -> str | None:
    """The day of the last change, else of creation; dates from before PDF was, or far ahead, are no statements."""
    for key in ("ModDate", "CreationDate"):
        found = _DATE.match(_value(pdf, key))
        if found is None:
            continue
        year, month, day = map(int, found.groups())
        try:
            stated = date(year, month, day)
        except ValueError:
            continue
        if 1990 <= year < 2100:
            return stated.isoformat()
    return None


def _attachments(pdf: Any, uri: str, end: int) -> tuple[list[tuple[str, bytes]], list[Reject]]:
    """(name, bytes) of the files attached to a PDF, and rejects for those that are too large or too many."""
    import ctypes

    import pypdfium2
    import pypdfium2.raw as pdfium

    attached: list[tuple[str, bytes]] = []
    rejects: list[Reject] = []
    room = _MAX_ATTACHED_BYTES
    num = max(pdf.count_attachments(), 0)
    for index in range(min(num, _MAX_ATTACHMENTS)):
        try:
            attachment = pdf.get_attachment(index)
            name = attachment.get_name().replace("\x00", "") or f"attachment-{index + 1}"
            size = ctypes.c_ulong()
            if not pdfium.FPDFAttachment_GetFile(attachment.raw, None, 0, size):
                continue
            if size.value > room:
                rejects.append(Reject(0, end, "too_large", None, f"{uri}: an attachment of {size.value:,} bytes"))
                continue
            content = bytes(attachment.get_data())
        except (pypdfium2.PdfiumError, UnicodeError):
            rejects.append(Reject(0, end, "parser_error", None, f"{uri}: attachment {index + 1} cannot be read"))
            continue
        room -= len(content)
        if content:
            attached.append((name, content))
    if num > _MAX_ATTACHMENTS:
        what = f"{uri}: {num:,} attachments; only the first {_MAX_ATTACHMENTS} were read"
        rejects.append(Reject(0, end, "too_large", None, what))
    return attached, rejects
