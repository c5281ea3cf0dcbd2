"""Pages of segments as one Markdown text: margins off, regions in order, blocks written out."""

from collections.abc import Sequence

from datasets_pipeline.extract.page_blocks import ASIDE, CODE, HEADING, ITEM, TABLE, Block, blocks_of, merged
from datasets_pipeline.extract.page_headings import Typography
from datasets_pipeline.extract.page_hyphens import Joiner, settled
from datasets_pipeline.extract.page_lines import Page, Row, rows_of
from datasets_pipeline.extract.page_margins import without_margins
from datasets_pipeline.extract.page_marks import LEADERS
from datasets_pipeline.extract.page_order import regions


def text_of(pages: Sequence[Page]) -> str:
    """The text of all pages in reading order; paragraphs go on over column and page ends."""
    pages = without_margins(pages)
    typography = Typography([segment for page in pages for segment in page.segments])
    by_page: list[tuple[list[list[Row]], list[Row]]] = [
        ([rows_of(region) for region in regions(page.segments)], rows_of(page.asides)) for page in pages
    ]
    joiner = Joiner(row.text for parts, _ in by_page for rows in parts for row in rows)
    blocks: list[Block] = []
    for parts, aside in by_page:
        for rows in parts:
            blocks += blocks_of(rows, typography, joiner)
        blocks += [Block(ASIDE, row.text) for row in aside]
    return _written(merged(blocks, joiner))


def _written(blocks: Sequence[Block]) -> str:
    parts: list[str] = []
    last = ""
    for block in blocks:
        if parts:
            parts.append("\n" if block.kind == last == ITEM else "\n\n")
        parts.append(_lines_of(block))
        last = block.kind
    return "".join(parts)


def _lines_of(block: Block) -> str:
    if block.kind == CODE:
        lines = [settled(line).rstrip() for line in block.lines]
        fence = "````" if any(line.lstrip().startswith("```") for line in lines) else "```"
        return "\n".join([fence, *lines, fence])
    if block.kind == TABLE:
        return "\n".join(_plain(line) for line in block.lines)
    text = _plain(block.text)
    if block.kind == HEADING:
        return "#" * block.level + " " + text
    return "  " * block.level + text if block.kind == ITEM else text


def _plain(text: str) -> str:
    """Without the dots that lead to a page number, and with plain hyphens."""
    return LEADERS.sub(" ... ", settled(text)).strip()
