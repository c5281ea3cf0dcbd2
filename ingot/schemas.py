"""Arrow schemas of everything in the store: column, type, nullable; meaning and unit beside each.

A reader accepts SCHEMA_VERSION and the one before.
"""

import pyarrow as pa

SCHEMA_VERSION = 1

DOC_ID = pa.binary(16)  # BLAKE2b-128 of the stored text

# documents/<unit>.parquet: one row per occurrence, in file order.
DOCUMENTS = pa.schema(
    [
        pa.field("doc_id", DOC_ID, nullable=False),
        pa.field("text", pa.large_string(), nullable=False),  # normalised; the only stored spelling of it
        pa.field("uri", pa.string(), nullable=False),  # relative to the source
        pa.field("start", pa.int64(), nullable=False),  # bytes or rows of the file, [start, end)
        pa.field("end", pa.int64(), nullable=False),
        pa.field("media_type", pa.string(), nullable=False),
        pa.field("language", pa.string()),  # as the source states it; null = not stated
        pa.field("licence", pa.string()),  # as the document states it; null = not stated
        pa.field("licence_evidence", pa.string()),
        pa.field("stated_date", pa.string()),  # ISO 8601 date the source states; never mtime
        pa.field("family", pa.string()),  # the page behind its versions and translations
        pa.field("version", pa.string()),
        pa.field("extractor", pa.string(), nullable=False),
        pa.field("extractor_version", pa.string(), nullable=False),
        pa.field("classification", pa.string()),  # this and the next four as the source states them; null = not stated
        pa.field("audience", pa.string()),
        pa.field("owner", pa.string()),
        pa.field("purpose", pa.string()),
        pa.field("retain_until", pa.string()),  # ISO 8601 date
        pa.field("metadata", pa.string(), nullable=False),  # JSON, sorted keys
    ]
)

# acquisition/<source>/<sequence>.parquet: every file ever seen, as of one look at the source.
ACQUISITION = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),  # sha256 of bytes, stated attributes, extraction
        pa.field("state", pa.string(), nullable=False),  # open | gone | superseded
        pa.field("outcome", pa.string(), nullable=False),  # read | quarantined
        pa.field("reason", pa.string()),  # why it is quarantined
        pa.field("retry", pa.bool_(), nullable=False),  # stopped from outside (killed): try again next run
        pa.field("unit", pa.string()),  # documents/<unit>.parquet; null when quarantined
        pa.field("quarantine_unit", pa.string()),  # quarantine/<unit>.parquet; null when nothing was refused
        pa.field("first_row", pa.int64(), nullable=False),
        pa.field("num_rows", pa.int64(), nullable=False),
        pa.field("num_rejects", pa.int64(), nullable=False),  # rows of the file that were quarantined
        pa.field("size", pa.int64(), nullable=False),  # bytes
        pa.field("mtime_ns", pa.int64()),  # clock value: only here
        pa.field("attributes_digest", pa.string(), nullable=False),
        pa.field("place_digest", pa.string(), nullable=False),  # of the absolute uri it was read from
        pa.field("first_seen", pa.string(), nullable=False),  # ISO 8601, UTC; clock value: only here
    ]
)

# quarantine/<unit>.parquet: what could not be read, row by row.
QUARANTINE = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("end", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("file", pa.string()),  # uri of the file that it was refused of; null in tables of before
    ]
)

SPAN = pa.struct(
    [
        pa.field("start", pa.int32(), nullable=False),  # UTF-8 bytes of the stored text, [start, end)
        pa.field("end", pa.int32(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("replacement", pa.string()),  # null = delete
        pa.field("keyed_hash", pa.string()),  # of what stands there, by a rule that tells people apart; never the value
    ]
)

# spans/<rule config digest>/<unit>.parquet: rows aligned with documents/<unit>.parquet; the rule's own numbers follow.
SPANS = pa.schema([pa.field("doc_id", DOC_ID, nullable=False), pa.field("spans", pa.list_(SPAN), nullable=False)])

# decisions/<sha256>.parquet, sorted by (doc_id, verdict_order).
DECISIONS = pa.schema(
    [
        pa.field("doc_id", DOC_ID, nullable=False),
        pa.field("verdict_order", pa.int32(), nullable=False),  # 0 = the final row, then recipe order
        pa.field("final", pa.bool_(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),  # kept | heldout | dropped | edited
        pa.field("rule", pa.string()),  # owner of the outcome; null = kept
        pa.field("reason", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("other_doc_id", DOC_ID),  # the twin it lost to, the held-out neighbour
        pa.field("spans", pa.list_(SPAN)),  # edits, without the text they cover
        pa.field("config_digest", pa.string()),  # of the rule's configuration
        pa.field("source", pa.string()),  # of the primary occurrence; final rows only, like the next six
        pa.field("uri", pa.string()),
        pa.field("language", pa.string()),
        pa.field("licence", pa.string()),
        pa.field("media_type", pa.string()),
        pa.field("num_bytes", pa.int64()),
        pa.field("num_occurrences", pa.int32()),
    ]
)

# shards/<sha256>.parquet: what others may read.
SHARDS = pa.schema(
    [
        pa.field("doc_id", DOC_ID, nullable=False),
        pa.field("text", pa.large_string(), nullable=False),  # after edits
        pa.field("text_sha256", pa.binary(32), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),  # "und" when unknown
        pa.field("licence", pa.string(), nullable=False),  # "unknown" when unknown
        pa.field("parents", pa.list_(DOC_ID), nullable=False),  # documents it was derived from
        pa.field("metadata", pa.string(), nullable=False),  # JSON, sorted keys
        pa.field("schema_version", pa.int16(), nullable=False),
    ]
)

# history/<signature version>/<segment>.parquet, sorted by (band, key, doc_id).
HISTORY = pa.schema(
    [
        pa.field("band", pa.uint8(), nullable=False),
        pa.field("key", pa.uint64(), nullable=False),
        pa.field("doc_id", DOC_ID, nullable=False),
    ]
)

# history/pairs-<verifier version>/<segment>.parquet: measured similarities, a cache.
PAIRS = pa.schema(
    [
        pa.field("left", DOC_ID, nullable=False),  # left < right
        pa.field("right", DOC_ID, nullable=False),
        pa.field("jaccard", pa.float64(), nullable=False),
    ]
)
