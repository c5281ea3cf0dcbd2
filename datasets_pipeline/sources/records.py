"""What sources of rows share: the columns a recipe names, and rows made into documents.

- name: tickets
  source: csv
  uri: /exports/tickets
  text_template: "# {title}\n\n{body}"
  group_by: ticket
  order_by: posted
  classification_column: class

A row is a document, or with `group_by` a part of one. With a key, or as a group, a document has a place of its own
below its file's (`tickets.csv/4711`), so that its next text supersedes this one wherever it stands in the file.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import Field, model_validator

from datasets_pipeline.extract.licences import spdx_of
from datasets_pipeline.extract.stated import iso_date, iso_language
from datasets_pipeline.normalize import normalize_text
from datasets_pipeline.sources import parts
from datasets_pipeline.sources.base import (
    ACCESS_FACTS,
    MEBIBYTE,
    ExtractedDocument,
    ExtractionError,
    ExtractionResult,
    FileEntry,
    Reject,
    SourceConfig,
)
from datasets_pipeline.sources.record_groups import Row, joined, without_clashes
from datasets_pipeline.sources.record_values import (
    fill_template,
    key_place,
    key_text,
    scalar,
    stated,
    template_fields,
)
from ingot.errors import RecipeError

__all__ = ["RecordConfig", "Row", "options_version", "result_of"]

PART_BYTES = 64 * MEBIBYTE


class RecordConfig(SourceConfig):
    """Columns of a source of rows. A column the recipe names for a fact may be empty in a row."""

    text_column: str | None = Field(
        default="text", min_length=1, description="The column that holds the text; null with a text_template."
    )
    text_template: str | None = Field(
        default=None,
        description="The text out of several columns: '# {title}\\n\\n{body}'. Fields are plain column names; "
        "an empty or missing column writes nothing.",
    )
    key: str | None = Field(
        default=None,
        min_length=1,
        description="Column whose value names the row: its document gets the place <file>/<key>, so that an "
        "edited row supersedes its predecessor. Null: the place is the file's.",
    )
    group_by: str | None = Field(
        default=None,
        min_length=1,
        description="Rows with the same value in this column are one document (a ticket and its comments), at "
        "the place <file>/<value>. A file is then read whole.",
    )
    order_by: str | None = Field(
        default=None, min_length=1, description="Column that orders the rows of a group; null: as they stand."
    )
    group_separator: str | None = Field(
        default=None, description="What stands between the rows of a group; null: an empty line."
    )
    id_column: str | None = Field(default=None, description="Column with the row's own id, kept as metadata.")
    licence_column: str | None = Field(default=None, description="Column with the row's licence.")
    language_column: str | None = Field(default=None, description="Column with the row's language tag.")
    date_column: str | None = Field(default=None, description="Column with the row's date (YYYY-MM-DD...).")
    family_column: str | None = Field(default=None, description="Column that versions and translations share.")
    version_column: str | None = Field(default=None, description="Column with the row's version.")
    classification_column: str | None = Field(default=None, description="Column with the row's classification.")
    audience_column: str | None = Field(default=None, description="Column with who may read the row.")
    owner_column: str | None = Field(default=None, description="Column with who answers for the row.")
    purpose_column: str | None = Field(default=None, description="Column with what the row may be used for.")
    retain_until_column: str | None = Field(
        default=None, description="Column with the last day (YYYY-MM-DD) on which the row may be kept."
    )
    metadata_columns: tuple[str, ...] = Field(default=(), description="Columns kept as metadata.")
    media_type: str = Field(
        default="text/plain",
        pattern=r"^text/[a-z0-9.+-]+$",
        description="What the texts are, for rules that ask; text/markdown for Markdown.",
    )
    max_file_bytes: int = Field(
        default=256 * MEBIBYTE,
        ge=1,
        description="Bytes from which a file, or the part of a file that is read at once, is quarantined as "
        "too_large; it is held in memory while it is read.",
    )
    max_decompressed_bytes: int = Field(
        default=1024 * MEBIBYTE,
        ge=1,
        description="Bytes after decompression from which a file is quarantined as too_large.",
    )
    part_bytes: int | None = Field(
        default=None,
        ge=1024,
        description="Bytes of the parts that a larger file is read in, where its format allows it; null: 64 MiB. "
        "How a file is cut never shows in a document.",
    )

    @model_validator(mode="before")
    @classmethod
    def _text_comes_from_one_place(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or values.get("text_template") is None:
            if isinstance(values, Mapping) and values.get("text_column", "text") is None:
                raise RecipeError("text_column is null and there is no text_template; give one of them")
            return values
        if values.get("text_column") is not None:
            raise RecipeError("text_column and text_template are both given; keep one")
        return {**values, "text_column": None}

    @model_validator(mode="after")
    def _groups_and_fields_are_whole(self) -> "RecordConfig":
        if self.text_template is not None:
            template_fields(self.text_template)
        if self.group_by is None and (self.order_by is not None or self.group_separator is not None):
            raise RecipeError("order_by and group_separator say how groups are joined; add group_by, or take them out")
        return self

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns the text comes from."""
        return template_fields(self.text_template) if self.text_template is not None else (self.text_column or "",)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column the recipe names, the text first, each once."""
        named = (
            *self.text_columns,
            self.id_column,
            self.licence_column,
            self.language_column,
            self.date_column,
            self.family_column,
            self.version_column,
            *self.needed_columns,
            *self.metadata_columns,
        )
        return tuple(dict.fromkeys(column for column in named if column))

    @property
    def needed_columns(self) -> tuple[str, ...]:
        """Columns that a mistyped name would make dangerous: where a row belongs, and who may use it."""
        access = (getattr(self, f"{fact}_column") for fact in ACCESS_FACTS)
        return tuple(column for column in (self.key, self.group_by, self.order_by, *access) if column)

    @property
    def bytes_of_a_part(self) -> int:
        """Bytes from which a file is read in parts, and of each part."""
        return min(self.part_bytes or PART_BYTES, self.max_file_bytes)


def result_of(
    rows: Iterable[Row | Reject], config: RecordConfig, entry: FileEntry, extractor: str, version: str
) -> ExtractionResult:
    """The documents of a file's rows, or of a part's; what is none is a reject with its range.

    Raises ExtractionError schema_mismatch when no row has a column that may not be missing.
    """
    file = parts.file_uri(entry)
    place = None if entry.part is None else file
    rejects: list[Reject] = []
    drafts: list[tuple[ExtractedDocument, Row]] = []
    missing, num_rows, saw_text = set(config.needed_columns), 0, False
    for row in rows:
        if isinstance(row, Reject):
            rejects.append(replace(row, uri=row.uri or place))
            continue
        num_rows += 1
        missing -= row.record.keys()
        saw_text = saw_text or config.text_template is None or any(name in row.record for name in config.text_columns)
        made = _draft(row, config, file, place, extractor, version)
        if isinstance(made, Reject):
            rejects.append(made)
        else:
            drafts.append((made, row))
    if num_rows and (missing or not saw_text):
        names = sorted(missing) or list(config.text_columns)
        raise ExtractionError(
            "schema_mismatch",
            f"{file}: no row has a column {', '.join(names)}; name its columns in the source",
        )
    if config.key:
        drafts = without_clashes(drafts, config.key, file, rejects)
    documents = (
        joined(drafts, config.order_by, config.group_separator, rejects)
        if config.group_by
        else [document for document, _ in drafts]
    )
    kept = [document for document in documents if normalize_text(document.text)]
    rejects += [Reject(d.start, d.end, "empty", d.uri) for d in documents if not normalize_text(d.text)]
    return ExtractionResult(kept, sorted(rejects, key=lambda reject: (reject.start, reject.end)))


def options_version(config: RecordConfig) -> dict[str, str]:
    """The options that shape the documents of a source of rows."""
    chosen = config.model_dump(mode="json", include=set(RecordConfig.model_fields) - set(SourceConfig.model_fields))
    chosen["metadata_columns"] = ",".join(config.metadata_columns) or None
    del chosen["part_bytes"]
    return {f"option.{name}": str(value) for name, value in chosen.items() if value is not None}


def _draft(
    row: Row, config: RecordConfig, file: str, place: str | None, extractor: str, version: str
) -> ExtractedDocument | Reject:
    """One row with its facts, its text perhaps blank; a Reject bad_row for what is no record with a text."""
    record = row.record
    named = config.group_by or config.key
    if named:
        key = key_text(record.get(named))
        if key is None:
            return Reject(row.start, row.end, "bad_row", place, f"no key in column {named}")
        place = key_place(file, key)
    if config.text_template is not None:
        text = fill_template(config.text_template, record)
    else:
        text = record.get(config.text_column or "")
    if not isinstance(text, str):
        return Reject(row.start, row.end, "bad_row", place)
    access: dict[str, str | None] = {}
    for fact in ACCESS_FACTS:
        column = getattr(config, f"{fact}_column")
        access[fact] = stated(record, column)
        if fact == "retain_until" and column:
            access[fact] = iso_date(record.get(column))
        # A limit that cannot be read must not become no limit.
        if column and access[fact] is None and not _says_nothing(record.get(column)):
            return Reject(row.start, row.end, "bad_row", place, f"column {column} is not a {fact.replace('_', ' ')}")
    licence = stated(record, config.licence_column)
    facts: dict[str, str | int | float] = {}
    identifier = stated(record, config.id_column)
    if identifier is not None:
        facts["id"] = identifier
    for column in config.metadata_columns:
        value = scalar(record.get(column))
        if value is not None:
            facts[column] = value
    return ExtractedDocument(
        text=text,
        start=row.start,
        end=row.end,
        media_type=config.media_type,
        extractor=extractor,
        extractor_version=version,
        licence=spdx_of(licence) if licence else None,
        licence_evidence=f"column {config.licence_column}" if licence else None,
        stated_date=iso_date(record.get(config.date_column)) if config.date_column else None,
        language=iso_language(record.get(config.language_column)) if config.language_column else None,
        family=stated(record, config.family_column),
        version=stated(record, config.version_column),
        metadata=facts,
        uri=place,
        **access,  # type: ignore[arg-type]
    )


def _says_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not normalize_text(value))
