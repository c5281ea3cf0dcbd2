"""What sources of rows share: the columns a recipe names, and one record made into one document."""

import json
import math
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from datasets_pipeline.extract.licences import spdx_of
from datasets_pipeline.extract.stated import iso_date, iso_language
from datasets_pipeline.normalize import normalize_text
from datasets_pipeline.sources.base import MEBIBYTE, ExtractedDocument, Reject, SourceConfig


class RecordConfig(SourceConfig):
    """Columns of a source of rows. A column the recipe names for a fact may be empty in a row."""

    text_column: str = Field(default="text", min_length=1, description="The column that holds the text.")
    id_column: str | None = Field(default=None, description="Column with the row's own id, kept as metadata.")
    licence_column: str | None = Field(default=None, description="Column with the row's licence.")
    language_column: str | None = Field(default=None, description="Column with the row's language tag.")
    date_column: str | None = Field(default=None, description="Column with the row's date (YYYY-MM-DD...).")
    family_column: str | None = Field(default=None, description="Column that versions and translations share.")
    version_column: str | None = Field(default=None, description="Column with the row's version.")
    metadata_columns: tuple[str, ...] = Field(default=(), description="Columns kept as metadata.")
    media_type: str = Field(
        default="text/plain",
        pattern=r"^text/[a-z0-9.+-]+$",
        description="What the texts are, for rules that ask; text/markdown for Markdown.",
    )
    max_file_bytes: int = Field(
        default=256 * MEBIBYTE,
        ge=1,
        description="Bytes from which a file is quarantined as too_large; it is held in memory while it is read.",
    )
    max_decompressed_bytes: int = Field(
        default=1024 * MEBIBYTE,
        ge=1,
        description="Bytes after decompression from which a file is quarantined as too_large.",
    )

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column the recipe names, the text first, each once."""
        named = (
            self.text_column,
            self.id_column,
            self.licence_column,
            self.language_column,
            self.date_column,
            self.family_column,
            self.version_column,
            *self.metadata_columns,
        )
        return tuple(dict.fromkeys(column for column in named if column))


def document_of(
    record: Mapping[str, Any], config: RecordConfig, start: int, end: int, extractor: str, version: str
) -> ExtractedDocument | Reject:
    """One record as a document; a Reject bad_row or empty when it has no text."""
    text = record.get(config.text_column)
    if not isinstance(text, str):
        return Reject(start, end, "bad_row")
    if not normalize_text(text):
        return Reject(start, end, "empty")
    licence = _stated(record, config.licence_column)
    facts: dict[str, str | int | float] = {}
    identifier = _stated(record, config.id_column)
    if identifier is not None:
        facts["id"] = identifier
    for column in config.metadata_columns:
        value = _scalar(record.get(column))
        if value is not None:
            facts[column] = value
    return ExtractedDocument(
        text=text,
        start=start,
        end=end,
        media_type=config.media_type,
        extractor=extractor,
        extractor_version=version,
        licence=spdx_of(licence) if licence else None,
        licence_evidence=f"column {config.licence_column}" if licence else None,
        stated_date=iso_date(record.get(config.date_column)) if config.date_column else None,
        language=iso_language(record.get(config.language_column)) if config.language_column else None,
        family=_stated(record, config.family_column),
        version=_stated(record, config.version_column),
        metadata=facts,
    )


def options_version(config: RecordConfig) -> dict[str, str]:
    """The options that shape the documents of a source of rows."""
    chosen = config.model_dump(mode="json", include=set(RecordConfig.model_fields) - set(SourceConfig.model_fields))
    chosen["metadata_columns"] = ",".join(config.metadata_columns) or None
    return {f"option.{name}": str(value) for name, value in chosen.items() if value is not None}


def _stated(record: Mapping[str, Any], column: str | None) -> str | None:
    """A short fact as text: numbers and text, stripped; None for anything else or nothing."""
    value = record.get(column) if column else None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return normalize_text(str(value)) or None


def _scalar(value: Any) -> str | int | float | None:
    """A metadata value that canonical JSON can hold; nested values become their JSON text."""
    if value is None or isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return normalize_text(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return value
    try:
        return normalize_text(json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return normalize_text(str(value))
