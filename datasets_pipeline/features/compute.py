"""The feature pass: text in, one row of numbers per document out.

One walk over the UTF-8 buffers of each Arrow chunk by compiled kernels; Python objects exist only for the
short samples whose language must be guessed. A row depends on its document and its stated language alone:
not on batch, order, threads or machine. Measured on documentation, per core: see benchmarks/features.py.
"""

from functools import lru_cache
from typing import Any

import pyarrow as pa

from datasets_pipeline.features.columns import COUNT_COLUMNS, feature_schema
from datasets_pipeline.features.stop_words import STOP_WORD_LANGUAGES, STOP_WORDS
from ingot.errors import DataError


def compute_features(
    text: pa.ChunkedArray | pa.Array,
    media_type: pa.ChunkedArray | pa.Array,
    stated_language: pa.ChunkedArray | pa.Array,
) -> pa.Table:
    """Every feature of every document, as `columns.feature_schema()`, in the order of the rows given.

    text: string or large_string without nulls, any length, empty too. stated_language: a language tag
    (`de`, `pt-BR`) or null where the source states none; what cannot be read as a tag counts as not
    stated. Raises DataError for nulls in text or media_type and for columns of different lengths.
    """
    text, media_type, stated_language = (
        column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
        for column in (text, media_type, stated_language)
    )
    if not len(text) == len(media_type) == len(stated_language):
        raise DataError(
            f"compute_features: columns differ in length (text {len(text)}, media_type {len(media_type)}, "
            f"stated_language {len(stated_language)}); pass one row per document in each"
        )
    for name, column in (("text", text), ("media_type", media_type)):
        if column.null_count:
            raise DataError(
                f"compute_features: {name} holds {column.null_count} nulls; "
                "drop those rows, or give '' for a text and 'application/octet-stream' for a media type"
            )
    if text.type != pa.large_string():
        text = text.cast(pa.large_string())
    tables, start = [], 0
    for chunk in text.chunks:
        stated = stated_language.slice(start, len(chunk)).to_pylist()
        media = media_type.slice(start, len(chunk)).combine_chunks().cast(pa.string())
        tables.append(_chunk_features(chunk, media, stated))
        start += len(chunk)
    return pa.concat_tables(tables) if tables else feature_schema().empty_table()


@lru_cache(maxsize=1)
def _stop_word_tables() -> Any:
    """One row a language in the order of STOP_WORD_LANGUAGES, then an empty one for all others."""
    from datasets_pipeline.features.feature_kernels import stop_word_tables

    return stop_word_tables([*(STOP_WORDS[name] for name in STOP_WORD_LANGUAGES), ()])


def _chunk_features(text: pa.LargeStringArray, media_type: pa.Array, stated: list[str | None]) -> pa.Table:
    import numpy as np

    from datasets_pipeline.features import feature_kernels, language
    from datasets_pipeline.features.characters import character_classes, lower_case_table

    _, offset_buffer, data_buffer = text.buffers()
    if len(text) == 0 or offset_buffer is None:
        return feature_schema().empty_table()
    offsets = np.frombuffer(offset_buffer, np.int64)[text.offset : text.offset + len(text) + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else np.zeros(0, np.uint8)
    # Buffers read from a file are read-only, others are not: one kind, or the kernels are compiled for each.
    offsets.flags.writeable = data.flags.writeable = False
    classes = character_classes()

    codes = [language.normalize_language(tag) for tag in stated]
    scores = [1.0] * len(codes)
    is_stated = [code != language.UNKNOWN for code in codes]
    chosen = np.array([row for row, known in enumerate(is_stated) if not known], dtype=np.int64)
    if len(chosen):
        samples, bounds = feature_kernels.prose_samples(data, offsets, chosen, classes, language.SAMPLE_BYTES)
        whole = samples.tobytes()
        pieces = [whole[bounds[k] : bounds[k + 1]] for k in range(len(chosen))]
        for row, (code, score) in zip(chosen, language.detect_languages(pieces), strict=True):
            codes[row], scores[row] = code, score

    row_of = {name: row for row, name in enumerate(STOP_WORD_LANGUAGES)}
    rows = np.array([row_of.get(code, len(row_of)) for code in codes], dtype=np.int64)
    keys, bits = _stop_word_tables()
    counts = feature_kernels.count_features(data, offsets, rows, classes, lower_case_table(), keys, bits)
    columns = [
        media_type,
        pa.array(codes, pa.string()),
        pa.array(scores, pa.float64()),
        pa.array(is_stated, pa.bool_()),
        *(pa.array(np.ascontiguousarray(counts[:, index])) for index in range(len(COUNT_COLUMNS))),
    ]
    return pa.Table.from_arrays(columns, schema=feature_schema())
