"""Rows of a database, by table or query: every row, or every group of rows, is a document at `<table>/<key>`.

- name: tickets
  source: sql
  uri: postgresql://reader@db.example/helpdesk
  credentials: helpdesk
  table: tickets
  key: number
  changed_column: updated_at
  text_template: "# {title}\n\n{body}"

What a listing shows as files are pages: runs of rows in the order of the key, cut behind keys that their hash chooses,
so that an inserted or deleted row moves no page but its own. With a changed_column a listing knows without reading a
text which pages are as they were; without one every page is read, and its digest decides. What is read is a page's
rows as lines of JSON; making documents of them touches no database.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pydantic import Field, field_validator, model_validator

from datasets_pipeline.sources import databases, records, sql_pages
from datasets_pipeline.sources.base import (
    MEBIBYTE,
    ExtractionError,
    ExtractionResult,
    FileContent,
    FileEntry,
    Reject,
)
from ingot import credentials
from ingot.errors import RecipeError

VERSION = "1"

_FETCH_ROWS = 500
_JSON = json.JSONEncoder(sort_keys=True, ensure_ascii=True, separators=(",", ":"))


class Config(records.RecordConfig):
    """A table, or a query, of a PostgreSQL or SQLite database."""

    uri: str = Field(
        min_length=1,
        description="The database: postgresql://USER@HOST/NAME or sqlite:////absolute/path. A place, so it is "
        "never hashed; a password is never part of it.",
    )
    include: tuple[str, ...] = Field(default=("**",), description="Not for databases; restrict the rows by `query`.")
    credentials: str | None = Field(
        default=None,
        pattern=credentials.NAME_PATTERN,
        description="Name of the password: INGOT_SECRET_<NAME>, or the file secrets/<name> of INGOT_HOME.",
    )
    table: str | None = Field(
        default=None,
        pattern=r"^[^.\x00]{1,100}(\.[^.\x00]{1,100})?$",
        description="Table or view, `schema.table` where it is not in the search path.",
    )
    query: str | None = Field(default=None, description="One SELECT instead of a table.")
    key: str = Field(min_length=1, description="Column that names a row: unique, never null, and best indexed.")
    changed_column: str | None = Field(
        default=None,
        min_length=1,
        description="Column whose value changes whenever the row does (updated_at, a version), also when a deleted key "
        "comes back. Null: every row is read in every run.",
    )
    page_rows: int = Field(
        default=1000,
        ge=1,
        le=1_000_000,
        description="Rows of a page on average; a page has four times as many at most.",
    )
    statement_timeout_seconds: float = Field(
        default=300.0, gt=0.0, le=86_400.0, description="Seconds after which a statement is given up."
    )
    max_row_bytes: int = Field(
        default=16 * MEBIBYTE, ge=1, description="Bytes from which a row is quarantined as too_large."
    )

    @field_validator("uri")
    @classmethod
    def _is_a_database(cls, uri: str) -> str:
        # `${NAME}` is filled in later, and checked then.
        if "${" not in uri:
            databases.check_uri(uri)
        return uri

    @field_validator("query")
    @classmethod
    def _is_one_statement(cls, query: str | None) -> str | None:
        if query is None:
            return None
        query = query.strip().removesuffix(";").strip()
        if ";" in query or "\x00" in query:
            raise RecipeError("query holds a ';': it is one statement; write a ';' inside of a text as chr(59)")
        if not query.lower().startswith(("select", "with", "values", "table")):
            raise RecipeError("query is not a SELECT; a source only reads")
        return query

    @model_validator(mode="after")
    def _rows_come_from_one_place(self) -> "Config":
        if (self.table is None) == (self.query is None):
            raise RecipeError("give either `table` or `query`")
        if self.include != ("**",) or self.exclude:
            raise RecipeError("include and exclude are for files; restrict the rows of a database by `query`")
        if self.credentials is not None and self.uri.startswith("sqlite:"):
            raise RecipeError("a SQLite database takes no credentials; take them out")
        return self

    @property
    def document_root(self) -> str:
        """What documents' places begin with."""
        return self.table or "query"


def list_files(config: Config, skipped: Counter[str] | None = None) -> Iterator[FileEntry]:
    """The pages of the table in the order of the key; `skipped` counts rows without a group.

    Raises DataError for a key that is null or not unique, or a table without a row or without a named column.
    """
    relation = sql_pages.relation_of(config.table, config.query)
    order = (config.group_by, config.key) if config.group_by else (config.key,)
    scan = sql_pages.Scan(relation, order, config.changed_column, config.page_rows, config.document_root)
    pages = databases.read(
        config.uri,
        config.credentials,
        config.statement_timeout_seconds,
        lambda connection: list(sql_pages.pages(connection, scan, config.columns, skipped)),
    )
    yield from pages


def read_file(config: Config, entry: FileEntry) -> FileContent:
    """The rows of a page as lines of JSON, at most config.max_file_bytes."""
    relation = sql_pages.relation_of(config.table, config.query)
    order = (config.group_by, config.key) if config.group_by else (config.key,)
    columns = tuple(dict.fromkeys((config.key, *config.columns)))

    def work(connection: Any) -> bytes:
        lines: list[bytes] = []
        num_bytes = 0
        for row in sql_pages.rows(connection, relation, order, columns, entry.attributes, _FETCH_ROWS):
            line = _line(row, config, entry.uri)
            num_bytes += len(line)
            if num_bytes > config.max_file_bytes:
                raise ExtractionError(
                    "too_large",
                    f"{entry.uri}: its rows have more than max_file_bytes ({config.max_file_bytes:,}); lower "
                    "page_rows or raise the limit",
                )
            lines.append(line)
        return b"".join(lines)

    return FileContent(databases.read(config.uri, config.credentials, config.statement_timeout_seconds, work))


def extract_file(config: Config, entry: FileEntry, data: bytes) -> ExtractionResult:
    """One document a row or group. Raises ExtractionError for a page that is not what read_file gives."""
    return records.result_of(
        _records(config, entry, data), config, replace(entry, uri=config.document_root), "sql", VERSION
    )


def extraction_version(config: Config) -> dict[str, str]:
    """What besides the rows shapes the extracted documents: with a query, what it asks for."""
    chosen = {"table": config.table, "query": config.query, "max_row_bytes": str(config.max_row_bytes)}
    own = {f"option.{name}": value for name, value in chosen.items() if value is not None}
    return {"source.sql": VERSION} | own | records.options_version(config)


def _line(row: dict[str, Any], config: Config, uri: str) -> bytes:
    try:
        values = {column: sql_pages.plain(value) for column, value in row.items()}
    except TypeError:
        raise ExtractionError(
            "schema_mismatch",
            f"{uri}: a column among {', '.join(row)} holds bytes, not text or numbers; leave it out or cast it",
        ) from None
    line = _JSON.encode({"row": values})
    if len(line) > config.max_row_bytes:
        kept = {name: values[name] for name in (config.key, config.group_by) if name}
        line = _JSON.encode({"row": kept, "too_large": len(line)})
    return line.encode() + b"\n"


def _records(config: Config, entry: FileEntry, data: bytes) -> Iterator[records.Row | Reject]:
    from datasets_pipeline.sources.record_values import key_place, key_text

    for line in data.splitlines():
        record, num_bytes = {}, 0
        try:
            held = json.loads(line)
            record, num_bytes = dict(held["row"]), held.get("too_large", 0)
        except (ValueError, KeyError, TypeError, RecursionError):
            record = {}
        if not record:
            raise ExtractionError("parser_error", f"{entry.uri}: not a page of rows; list the source again")
        # A row's place is its key; where in a page it stands is chance, so no document says it.
        if num_bytes:
            key = key_text(record.get(config.group_by or config.key))
            place = key_place(config.document_root, key) if key else None
            yield Reject(0, 1, "too_large", place, f"a row of {num_bytes:,} bytes")
        else:
            yield records.Row(0, 1, record)
