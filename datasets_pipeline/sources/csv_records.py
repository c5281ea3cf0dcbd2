"""The records of a delimited text with their byte ranges, by Python's csv reader.

A quote that is never closed would swallow the rows up to the next quote, or the rest of the file, as one cell: such a
record costs its first line, and reading goes on behind it.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, islice

from datasets_pipeline.normalize import normalize_text

DELIMITERS = (",", ";", "\t", "|")
_SAMPLE_RECORDS = 20


@dataclass(frozen=True)
class Lines:
    """A text cut at its line ends, with the byte at which every line begins, and the end."""

    texts: list[str]
    starts: list[int]


def lines_of(text: str, data: bytes, encoding: str) -> Lines:
    """A decoded text's lines and where they stand in the bytes it was decoded from."""
    end = "\n" if "\n" in text or "\r" not in text else "\r"  # \r alone: spreadsheets of old
    texts = _with_ends(text.split(end), end)
    raw = [len(line) + 1 for line in data.split(end.encode())]
    if encoding.startswith(("utf-16", "utf-32")) or len(raw) not in (len(texts), len(texts) + 1):
        widths = [len(line.encode(encoding, "surrogatepass")) for line in texts]
        mark = len(data) - sum(widths)
        return Lines(texts, list(accumulate(widths, initial=mark if mark in (2, 4) else 0)))
    starts = list(accumulate(raw[: len(texts)], initial=0))
    starts[-1] = min(starts[-1], len(data))
    return Lines(texts, starts)


def _with_ends(pieces: list[str], end: str) -> list[str]:
    last = pieces.pop()
    return [piece + end for piece in pieces] + ([last] if last else [])


def records(
    lines: Lines, delimiter: str, quote: str, max_record_bytes: int
) -> Iterator[tuple[int, int, list[str] | str]]:
    """(start, end, cells) of every record; a reason in place of the cells of one that cannot be read."""
    limit = csv.field_size_limit(max_record_bytes)
    try:
        yield from _records(lines, delimiter, quote, max_record_bytes)
    finally:
        csv.field_size_limit(limit)


def _records(
    lines: Lines, delimiter: str, quote: str, max_record_bytes: int
) -> Iterator[tuple[int, int, list[str] | str]]:
    num_lines, starts = len(lines.texts), lines.starts
    reread_bytes = 4 * starts[-1]  # hostile quotes must not make reading quadratic
    first = 0
    while first < num_lines:
        reader = csv.reader(map(lines.texts.__getitem__, range(first, num_lines)), delimiter=delimiter, quotechar=quote)
        line = first
        while line < num_lines:
            reason, cells = "", list[str]()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                reason = "too_large" if "field limit" in str(error) else "bad_row"
            stop = min(first + reader.line_num, num_lines)
            if not reason and starts[stop] - starts[line] > max_record_bytes:
                reason = "too_large"
            swallowed = stop - line > 1 and (bool(reason) or not _is_sound(lines.texts[line:stop], delimiter, quote))
            if not reason and not swallowed:
                if cells:
                    yield starts[line], starts[stop], cells
                line = stop
                continue
            reread_bytes -= starts[stop] - starts[line]
            end = line + 1 if swallowed and reread_bytes >= 0 else stop
            yield starts[line], starts[end], reason or "bad_row"
            first = end
            break
        else:
            return


def _is_sound(texts: list[str], delimiter: str, quote: str) -> bool:
    """Whether every quote of a record of several lines is closed, and closed at the end of its cell."""
    try:
        return sum(1 for _ in csv.reader(texts, delimiter=delimiter, quotechar=quote, strict=True)) == 1
    except csv.Error:
        return False


def delimiter_of(sample: str, quote: str, columns: tuple[str, ...], names: tuple[str, ...] | None) -> str:
    """The delimiter under which the first records make the most sense; a comma when none does.

    Best is one that makes the named columns appear in the header (or as many cells as there are names), then one with
    as many cells in every record, then the one with the most cells.
    """
    return max(DELIMITERS, key=lambda delimiter: _sense(sample, delimiter, quote, columns, names))


def _sense(
    sample: str, delimiter: str, quote: str, columns: tuple[str, ...], names: tuple[str, ...] | None
) -> tuple[bool, bool, int]:
    rows = first_records(sample, delimiter, quote, _SAMPLE_RECORDS)
    if not rows:
        return False, False, 0
    fits = len(rows[0]) == len(names) if names else set(columns) <= set(rows[0])
    even = sum(len(row) == len(rows[0]) for row in rows)
    return fits, len(rows[0]) > 1 and 10 * even >= 9 * len(rows), len(rows[0])


def first_records(sample: str, delimiter: str, quote: str, num_records: int) -> list[list[str]]:
    """The first records that are not blank, their cells normalised."""
    lines = lines_of(sample, sample.encode("utf-8", "surrogatepass"), "utf-8").texts
    found: list[list[str]] = []
    try:
        for cells in islice(filter(None, csv.reader(lines, delimiter=delimiter, quotechar=quote)), num_records):
            found.append([normalize_text(cell) for cell in cells])
    except csv.Error:
        pass
    return found
