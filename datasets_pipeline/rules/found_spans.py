"""What a span rule found, row by row, as the column that is stored."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from ingot.schemas import SPAN

Found = tuple[int, int, str, str | None]
"""start, end (UTF-8 bytes), kind, replacement (None: delete)"""


def without_overlaps(spans: Sequence[Found]) -> list[Found]:
    """Sorted; of overlapping spans the one that starts first stays, then the longer one."""
    kept: list[Found] = []
    for span in sorted(spans, key=lambda s: (s[0], -s[1])):
        if not kept or span[0] >= kept[-1][1]:
            kept.append(span)
    return kept


def span_column(found: Mapping[int, Sequence[Found]], num_rows: int) -> pa.Array:
    """list<SPAN> [num_rows]: the spans of the rows that have some, sorted as given."""
    lengths = np.zeros(num_rows + 1, np.int32)
    for row, spans in found.items():
        lengths[row + 1] = len(spans)
    flat = [span for row in sorted(found) for span in found[row]]
    values = pa.StructArray.from_arrays(
        [
            pa.array([span[0] for span in flat], pa.int32()),
            pa.array([span[1] for span in flat], pa.int32()),
            pa.array([span[2] for span in flat], pa.string()),
            pa.array([span[3] for span in flat], pa.string()),
            pa.nulls(len(flat), pa.string()),
        ],
        fields=list(SPAN),
    )
    return pa.ListArray.from_arrays(pa.array(np.cumsum(lengths, dtype=np.int32)), values)
