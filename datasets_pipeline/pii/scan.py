"""Where personal data or a secret could stand in each text: one pass over the bytes of a batch (400 MB/s a core).

What is noted, each with its bytes [start, end):

- AT: an `@` between visible characters.
- NUMBER: seven digits or more, with at most three bytes of blanks, `.`, `-`, `/` or brackets between two of them, not
  behind a letter; SHORT_NUMBER: exactly six, behind a capital; DOTTED: a number with three single dots, of any length.
- COLONS: a run of hexadecimal digits, colons and dots with two colons.
- CODE: a run of ASCII letters, digits, `-` and `_`, of eight to twenty bytes with letters and six digits.
- SECRET: such a run with a digit, of sixteen bytes or with small and capital letters; or of thirty with both; or of
  exactly twenty from an A on.
- ACCOUNT: a run that starts with two letters and two digits.
- PEM: a run that starts like `-----BEGIN`.
"""

from collections.abc import Collection, Iterator

import numpy as np
import pyarrow as pa

from datasets_pipeline.pii.scan_kernel import (
    ACCOUNT,
    AT,
    CLASSES,
    CODE,
    COLONS,
    DOTTED,
    NUMBER,
    PEM,
    SECRET,
    SHORT_NUMBER,
    scan_kernel,
)

__all__ = ["ACCOUNT", "AT", "CODE", "COLONS", "DOTTED", "NUMBER", "PEM", "SECRET", "SHORT_NUMBER", "Places", "scan"]

Places = dict[int, list[tuple[int, int]]]
"""(start, end) in the text's order, by what could be there."""

_PLACES_PER_BYTE = 1 / 256


def scan(text: pa.LargeStringArray, wanted: Collection[int]) -> Iterator[tuple[int, Places]]:
    """(row, its places) of every row that has any of what is wanted. text: without nulls."""
    _, offset_buffer, data_buffer = text.buffers()
    if len(text) == 0 or data_buffer is None:
        return
    offsets = np.frombuffer(offset_buffer, np.int64)[text.offset : text.offset + len(text) + 1]
    data = np.frombuffer(data_buffer, np.uint8)
    table = np.empty((1024 + int((offsets[-1] - offsets[0]) * _PLACES_PER_BYTE), 4), np.int64)
    count = scan_kernel(data, offsets, CLASSES, table)
    if count > len(table):
        table = np.empty((count, 4), np.int64)
        scan_kernel(data, offsets, CLASSES, table)
    table = table[:count]
    table = table[np.isin(table[:, 0], list(wanted))]
    current, places = -1, Places()
    for what, row, start, end in zip(*(table[:, column].tolist() for column in range(4)), strict=True):
        if row != current:
            if places:
                yield current, places
            current, places = row, {}
        if what in places:
            places[what].append((start, end))
        else:
            places[what] = [(start, end)]
    if places:
        yield current, places
