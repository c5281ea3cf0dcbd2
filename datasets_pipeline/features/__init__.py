"""The feature pass: every number that any rule needs, computed once from the stored text (CONTRACTS 3).

`compute_features` is the pass, `columns` its schema, `model_digests` with FEATURE_VERSION its identity.
Reading this package loads neither numba nor the language model; they arrive on first use.
"""

from datasets_pipeline.features.columns import COLUMNS, FEATURE_VERSION, FeatureColumn, feature_schema
from datasets_pipeline.features.compute import compute_features
from datasets_pipeline.features.language import model_digests, normalize_language

__all__ = [
    "COLUMNS",
    "FEATURE_VERSION",
    "FeatureColumn",
    "compute_features",
    "feature_schema",
    "model_digests",
    "normalize_language",
]
