"""PPTX: slides in order, each under its title, shapes in reading order, through python-pptx.

Text frames, tables, charts (as tables), grouped shapes, diagrams and speaker notes are read; comments, masters and
pictures (but for their alternative text) are not. Hidden slides are read like the others.
"""

from collections.abc import Iterator
from typing import Any

from datasets_pipeline.extract import office_xml
from datasets_pipeline.extract.containers import PPTX
from datasets_pipeline.extract.office_zip import OfficeZip
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.extract.tables import markdown_table
from datasets_pipeline.sources.base import ExtractedDocument, ExtractionResult

VERSION = "1"
MEDIA_TYPES = (PPTX,)
LIBRARIES = ("python-pptx", "lxml")

_MAX_CHART_CELLS = 2000
"""A chart of more points is data that nobody reads."""
_DIAGRAM_DATA = "/diagramData"
_LINE_HEIGHT_EMU = 91_440
"""Shapes whose tops differ by less than a tenth of an inch stand on one line."""


def extract(data: bytes, uri: str, media_type: str, options: ExtractOptions) -> ExtractionResult:
    """The presentation as one document. Raises ExtractionError."""
    office = OfficeZip(data, uri)
    document = ExtractedDocument(
        text=_text_of(office),
        start=0,
        end=len(data),
        media_type=media_type,
        extractor="pptx",
        extractor_version=VERSION,
        **office_xml.stated(**office_xml.ooxml_properties(office)),
    )
    return ExtractionResult([document])


def _text_of(office: OfficeZip) -> str:
    import pptx

    blocks: list[str] = []
    for slide in pptx.Presentation(office.repacked()).slides:
        of_slide = list(_blocks_of_slide(slide))
        if blocks and of_slide and not of_slide[0].startswith("#"):
            blocks.append("---")  # where no heading tells that the next slide begins
        blocks += of_slide
    return "\n\n".join(blocks)


def _blocks_of_slide(slide: Any) -> Iterator[str]:
    title = slide.shapes.title
    heading = " ".join(title.text_frame.text.split()) if title is not None and title.has_text_frame else ""
    if heading:
        yield f"## {heading}"
    for shape in _in_reading_order(slide.shapes):
        if title is None or shape.shape_id != title.shape_id:
            yield from filter(None, _blocks_of_shape(shape))
    if slide.has_notes_slide and (frame := slide.notes_slide.notes_text_frame) is not None:
        notes = _paragraphs(frame, is_body=False)
        if notes:
            yield f"Notes:\n\n{notes}"


def _in_reading_order(shapes: Any) -> list[Any]:
    """Top to bottom, then left to right; a shape without a place of its own stays after those before it."""
    placed: list[tuple[int, int, int, Any]] = []
    top = left = 0
    for index, shape in enumerate(shapes):
        if shape.top is not None and shape.left is not None:
            top, left = int(shape.top) // _LINE_HEIGHT_EMU, int(shape.left)
        placed.append((top, left, index, shape))
    return [shape for *_, shape in sorted(placed, key=lambda item: item[:3])]


def _blocks_of_shape(shape: Any) -> Iterator[str]:
    from pptx.shapes.group import GroupShape
    from pptx.shapes.picture import Picture

    if isinstance(shape, GroupShape):
        for inner in _in_reading_order(shape.shapes):
            yield from _blocks_of_shape(inner)
    elif shape.has_text_frame:
        yield _paragraphs(shape.text_frame, is_body=shape.is_placeholder)
    elif getattr(shape, "has_table", False):
        yield markdown_table([[_cell(cell) for cell in row.cells] for row in shape.table.rows])
    elif getattr(shape, "has_chart", False):
        yield from _chart(shape.chart._chartSpace)
    elif isinstance(shape, Picture):
        yield " ".join((shape._element._nvXxPr.cNvPr.get("descr") or "").split())
    else:
        yield _diagram(shape)


def _cell(cell: Any) -> str:
    return "" if cell.is_spanned else str(cell.text_frame.text)


def _paragraphs(frame: Any, *, is_body: bool) -> str:
    """Paragraphs of a frame; those of a body with several, indented ones and bulleted ones are list items."""
    paragraphs = [p for p in frame.paragraphs if p.text.strip()]
    lines: list[str] = []
    for paragraph in paragraphs:
        text = " ".join(paragraph.text.split())
        bullet = _bullet(paragraph)
        is_item = bullet or (bullet is None and (paragraph.level > 0 or (is_body and len(paragraphs) > 1)))
        if is_item:
            lines += ["  " * paragraph.level + "- " + text]
        else:
            lines += ["", text, ""]
    return _without_double_blanks(lines)


def _bullet(paragraph: Any) -> bool | None:
    """Whether a paragraph states a bullet; None when its layout decides."""
    properties = paragraph._p.pPr
    names = {office_xml.local_name(child) for child in properties} if properties is not None else set()
    if "buNone" in names:
        return False
    return True if names & {"buChar", "buAutoNum", "buBlip"} else None


def _without_double_blanks(lines: list[str]) -> str:
    kept: list[str] = []
    for line in lines:
        if line or (kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept).strip("\n")


def _chart(space: Any) -> Iterator[str]:
    """The title of a chart, and its series over its categories as a table, from the values kept in the file."""
    titles = (element for element in space.iter() if office_xml.local_name(element) == "title")
    yield " ".join("".join(_texts(next(titles, ()))).split())
    header, columns = [""], []
    for series in (element for element in space.iter() if office_xml.local_name(element) == "ser"):
        parts = {office_xml.local_name(child): child for child in series}
        header.append(" ".join(_points(parts.get("tx", ())).values()))
        columns.append(
            (_points(parts.get("cat", parts.get("xVal", ()))), _points(parts.get("val", parts.get("yVal", ()))))
        )
    categories = columns[0][0] if columns else {}
    indices = sorted({index for names, values in columns for index in (*names, *values)})
    if len(indices) * len(columns) <= _MAX_CHART_CELLS:
        rows = [[categories.get(index, ""), *(values.get(index, "") for _, values in columns)] for index in indices]
        yield markdown_table([header, *rows])


def _points(reference: Any) -> dict[int, str]:
    """Cached values by index; of categories on several levels the innermost."""
    points: dict[int, str] = {}
    for element in reference.iter() if len(reference) else ():
        if office_xml.local_name(element) != "pt":
            continue
        index, value = element.get("idx", ""), "".join(child.text or "" for child in element)
        if index.isascii() and index.isdigit() and len(index) < 10:
            points.setdefault(int(index), _number(value))
    return points


def _number(value: str) -> str:
    """A value without the noise of binary fractions; what is no number stays."""
    try:
        return f"{float(value):.15g}" if "." in value else value
    except ValueError:
        return value


def _diagram(shape: Any) -> str:
    """The words of a diagram (SmartArt), a line for each of its points."""
    frame = shape._element
    for part in (relation.target_part for relation in shape.part.rels.values() if _is_diagram_of(relation, frame)):
        root = office_xml.parse(part.blob)
        points = (element for element in root.iter() if office_xml.local_name(element) == "pt")
        texts = (" ".join("".join(_texts(point)).split()) for point in points)
        return "\n".join(f"- {text}" for text in texts if text)
    return ""


def _is_diagram_of(relation: Any, frame: Any) -> bool:
    if relation.is_external or not relation.reltype.endswith(_DIAGRAM_DATA):
        return False
    return any(relation.rId in element.attrib.values() for element in frame.iter())


def _texts(point: Any) -> Iterator[str]:
    for element in point.iter() if len(point) else ():
        if office_xml.local_name(element) == "t":
            yield (element.text or "") + " "
