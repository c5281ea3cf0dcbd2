"""What Parquet and Arrow files share: the check of their columns, and their batches as rows."""

from collections.abc import Iterator

import pyarrow as pa

from datasets_pipeline.sources import records
from datasets_pipeline.sources.base import ExtractionError

BATCH_ROWS = 1024


def check_schema(config: records.RecordConfig, uri: str, schema: pa.Schema) -> None:
    """Raise ExtractionError schema_mismatch for a table without a named column, or whose text is none."""
    missing = [column for column in config.columns if column not in schema.names]
    if missing:
        raise ExtractionError(
            "schema_mismatch",
            f"{uri}: no column {', '.join(missing)}; it has {', '.join(schema.names[:30])}; "
            "name its columns in the source",
        )
    twice = [column for column in config.columns if schema.names.count(column) > 1]
    if twice:
        raise ExtractionError("schema_mismatch", f"{uri}: more than one column {', '.join(twice)}; rename one")
    if config.text_column is None:
        return
    kind = schema.field(config.text_column).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise ExtractionError(
            "schema_mismatch", f"{uri}: column {config.text_column} is {kind}, not text; name another text_column"
        )


def rows_of(batch: pa.RecordBatch, first_row: int) -> Iterator[records.Row]:
    """A batch's rows, numbered from first_row; a small share of them is held as Python values at a time."""
    for start in range(0, len(batch), BATCH_ROWS):
        for offset, record in enumerate(batch.slice(start, BATCH_ROWS).to_pylist()):
            row = first_row + start + offset
            yield records.Row(row, row + 1, record)
