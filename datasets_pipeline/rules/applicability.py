"""Where a rule may judge: languages it has lists and thresholds for, and media that hold prose.

Elsewhere a rule abstains, because a number out of its domain is not evidence: Gopher quality with English
stop words would drop every German page.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from datasets_pipeline.features.language import normalize_language
from datasets_pipeline.rules.verdicts import Bools, Floats

_Value = TypeVar("_Value")

# Programs and tables: their lines and words mean something else than prose does.
_NOT_PROSE = (
    "text/css",
    "text/csv",
    "text/javascript",
    "text/tab-separated-values",
    "application/javascript",
    "application/json",
    "application/toml",
    "application/xml",
    "application/yaml",
    "application/vnd.ms-excel",
    "application/vnd.oasis.opendocument.spreadsheet",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "text/xml",
    "text/yaml",
)
_TABLES = (
    "text/csv",
    "text/tab-separated-values",
    "application/vnd.ms-excel",
    "application/vnd.oasis.opendocument.spreadsheet",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
)
# text/x-... is source code, apart from these.
_PROSE = ("text/x-rst", "text/x-tex", "text/x-markdown", "text/x-python-metadata")


def in_languages(features: pa.Table, languages: Collection[str]) -> Bools:
    """bool [n]: the document's language is one of these."""
    return _numpy(pc.is_in(features["language"], value_set=pa.array(sorted(languages), pa.string())))


def is_prose(features: pa.Table) -> Bools:
    """bool [n]: the medium is not known to be a program or a table; unknown media count as prose."""
    media = features["media_type"]
    code = pc.and_not(pc.starts_with(media, "text/x-"), pc.is_in(media, value_set=pa.array(_PROSE, pa.string())))
    return ~_numpy(pc.or_(code, pc.is_in(media, value_set=pa.array(_NOT_PROSE, pa.string()))))


def is_code(features: pa.Table) -> Bools:
    """bool [n]: the medium is known to be source code, markup of programs or configuration; tables are not."""
    return ~is_prose(features) & ~_numpy(pc.is_in(features["media_type"], value_set=pa.array(_TABLES, pa.string())))


def by_language_code(values: dict[str, _Value]) -> dict[str, _Value]:
    """The mapping itself, for use as a pydantic validator; ValueError for a key that no document can have."""
    for tag in values:
        code = normalize_language(tag)
        if code != tag:
            raise ValueError(f"{tag!r} is not how languages are stored; write an ISO 639 code as {code!r}")
    return values


def with_language_thresholds(config: Any, known: Mapping[str, Mapping[str, float]]) -> dict[str, BaseModel]:
    """Thresholds by language: those of `per_language`, else the rule's own with what is known of the language.

    What the recipe sets for all languages holds for all: only fields that it leaves alone are replaced.
    """
    found: dict[str, BaseModel] = {}
    for language, values in known.items():
        found[language] = config.model_copy(
            update={name: value for name, value in values.items() if name not in config.model_fields_set}
        )
    return {**found, **config.per_language}


class LanguageThresholds:
    """Thresholds per row: the rule's own, or the complete set given for the row's language."""

    def __init__(self, features: pa.Table, default: BaseModel, per_language: Mapping[str, BaseModel]) -> None:
        names = sorted(per_language)
        self._sets: Sequence[BaseModel] = [default, *(per_language[name] for name in names)]
        index = pc.index_in(features["language"], value_set=pa.array(names, pa.string()))
        self._rows = _numpy(pc.fill_null(pc.add(index, 1), 0))

    def __getitem__(self, field: str) -> Floats:
        """float64 [n] of one threshold; NaN where it is switched off (None)."""
        values = [getattr(thresholds, field) for thresholds in self._sets]
        return np.array([np.nan if v is None else float(v) for v in values])[self._rows]


def _numpy(values: pa.ChunkedArray | pa.Array) -> np.ndarray:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    return values.to_numpy(zero_copy_only=False)
