"""Short ways to the feature pass for tests."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from datasets_pipeline.features import compute_features


def features_of(texts: Sequence[str], language: str | None = "en", media_type: str = "text/plain") -> pa.Table:
    """Features of texts that share a stated language and a medium."""
    return compute_features(
        pa.array(texts, pa.large_string()),
        pa.array([media_type] * len(texts), pa.string()),
        pa.array([language] * len(texts), pa.string()),
    )


def row_of(text: str, language: str | None = "en") -> dict[str, Any]:
    """The features of one text by column name."""
    return features_of([text], language).to_pylist()[0]
