"""The plan of a version: what stands where in it, before any text is read.

A plan is a chain of objects `plans/<sha256>.parquet`; their rows, one after the other, are in the order of the version.
"""

import json

import pyarrow as pa

from datasets_pipeline.classification_order import UNKNOWN
from ingot.schemas import SPAN

PLAN = pa.schema(
    [
        pa.field("doc_id", pa.binary(16), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("licence", pa.string(), nullable=False),
        pa.field("metadata", pa.string(), nullable=False),
        pa.field("spans", pa.list_(SPAN), nullable=False),
        pa.field("num_bytes", pa.int64(), nullable=False),  # of the stored text
        pa.field("unit", pa.string(), nullable=False),  # where the text lies; a place, not identity
        pa.field("row", pa.int64(), nullable=False),
    ]
)

_METADATA = (
    "media_type", "stated_date", "family", "version", "licence_evidence", "source_class", "start", "end", "extractor",
    "extractor_version",
)  # fmt: skip


def plan_metadata(documents: pa.Table) -> list[str]:
    """The `metadata` column of the shards: what is known of each document beside their other columns."""
    columns = [documents[name].to_pylist() for name in _METADATA]
    rest = zip(documents["classification"].to_pylist(), documents["metadata"].to_pylist(), strict=True)
    return [_metadata(row, *more) for row, more in zip(zip(*columns, strict=True), rest, strict=True)]


def _metadata(row: tuple[object, ...], classification: str, stated: str) -> str:
    values = {name: value for name, value in zip(_METADATA, row, strict=True) if value is not None}
    if classification != UNKNOWN:
        values["classification"] = classification
    if stated != "{}" and (parsed := json.loads(stated)):
        values["stated"] = parsed
    return json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
