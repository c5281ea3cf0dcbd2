"""What every source shares: its configuration, and the values that pass between its three verbs.

A source is one module with `Config`, `list_files`, `read_file` and `extract_file`:

    list_files    -> FileEntry      what is there; cheap, reads names and sizes
    read_file     -> FileContent    the bytes of one file, bounded
    extract_file  -> ExtractionResult   its documents and its rejects, each with a place in the file

A file that cannot be read as text raises ExtractionError with a reason from REASONS; it becomes one
quarantined row. Whatever else rises is a fault of the place (storage) or of ours, never of a document.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import ConfigDict, Field, field_validator

from datasets_pipeline.sources.access import AccessFacts, FolderRule
from datasets_pipeline.sources.globs import is_included
from ingot.errors import DataError, RecipeError

SourceClass = Literal["public", "licensed", "crawled", "user", "synthetic", "other"]

MEBIBYTE = 1024 * 1024

REASONS: Mapping[str, str] = {
    "empty": "nothing but blanks is in it",
    "not_text": "the bytes are not text, whatever the name says",
    "invalid_encoding": "too many bytes do not decode in any encoding that was tried",
    "too_large": "larger than the source's limit, before or after decompression",
    "parser_error": "the parser of its media type failed",
    "parser_returned_nothing": "the parser found next to nothing in an input that holds text",
    "unsupported_media_type": "no extractor reads this media type",
    "damaged": "cut off, or its bytes have changed: shorter than it states, or with another checksum",
    "bad_row": "a row that is not a record with a text",
    "schema_mismatch": "a table without the columns the recipe names, or with another type",
    "encrypted": "protected by a password, or encrypted",
    "no_text_layer": "a picture of text, and no text recognition is installed or allowed",
    "converter_missing": "a format that needs a converter which is not installed",
    "nested_too_deeply": "a file inside a file beyond the allowed depth",
    "unsafe_member": "an archive member that is a link or device, or whose name leaves the archive",
    "cpu_limit": "the parser used more processor time than a file may",
    "memory_limit": "the parser used more memory than a file may",
    "parser_crashed": "the parser process died on it",
    "content_elsewhere": "a pointer to content that is stored elsewhere and was not fetched, as git LFS writes it",
    "bad_sidecar": "its metadata sidecar cannot be read, so it is not known who may use it",
    "refused_by_site": "the site asks not to be read: robots.txt, an opt-out signal or a login",
    "not_there": "the site answers that there is no such page",
    "unreadable": "the file vanished, may not be read, or is not a regular file any more",
    "timeout": "the parser ran past its deadline; tried again in the next run",
    "killed": "the process that read it died; tried again in the next run",
}


_METADATA = "metadata."
"""Prefix of attributes that become metadata of a file's documents."""

ACCESS_FACTS = ("classification", "audience", "owner", "purpose", "retain_until")
"""What a source may state about who may use a document, how long, and for what."""


class ExtractionError(DataError):
    """A file that cannot be read as text. The message names the file and a cause, never its text.

    `reason` is a key of REASONS and is what a report counts.
    """

    code = "INGOT-EXTRACTION"

    def __init__(self, reason: str, message: str) -> None:
        assert reason in REASONS, reason
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


class SourceConfig(AccessFacts):
    """The part of a source's recipe section that all sources have; its access facts are defaults."""

    # Inputs stay out of validation errors: a refused uri may hold a password.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str = Field(
        min_length=1,
        max_length=100,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Name of the source in every record; unlike the uri it is part of a version's identity.",
    )
    uri: str = Field(
        min_length=1,
        description="Where the files are: a local path or an fsspec URL. A relative path in a recipe file is "
        "relative to that file's folder. A place, so it is never hashed.",
    )
    include: tuple[str, ...] = Field(
        default=("**",),
        description="Globs on the path relative to the uri; a file is taken when one of them matches. "
        "`**` is any number of folders, `*` stays within one name.",
    )
    exclude: tuple[str, ...] = Field(
        default=(),
        description="Globs of files that are left out although they are included.",
    )
    licence: str = Field(
        default="unknown",
        min_length=1,
        description="Licence of documents that do not state their own: an SPDX expression, or a word of yours.",
    )
    source_class: SourceClass = Field(
        default="other",
        description="What kind of source it is, for policies that treat crawled or user text differently.",
    )
    rank: int = Field(
        default=100,
        description="Among copies of one text the source with the smallest rank is the primary one; "
        "100 leaves room on both sides.",
    )
    folders: tuple[FolderRule, ...] | None = Field(
        default=None,
        description="Access facts of some folders, each with the glob `path` they hold for; the first match wins, "
        "and what it leaves out is the source's. Null: the source's facts hold everywhere.",
    )

    max_cpu_seconds: int = Field(
        default=60,
        ge=1,
        description="Processor time from which a file is quarantined as cpu_limit; slow files are usually attacks.",
    )
    max_memory_bytes: int = Field(
        default=2048 * MEBIBYTE,
        ge=256 * MEBIBYTE,
        description="Address space of the process that parses a file; a parser that needs more gives memory_limit.",
    )

    @field_validator("uri")
    @classmethod
    def _holds_no_credentials(cls, uri: str) -> str:
        refuse_credentials(uri)
        return uri

    @field_validator("include", "exclude")
    @classmethod
    def _globs_can_match(cls, globs: tuple[str, ...]) -> tuple[str, ...]:
        for glob in globs:
            is_included("", (glob,), ())  # raises RecipeError for a pattern that cannot be compiled
        return globs


@dataclass(frozen=True)
class FileEntry:
    """One file as a listing saw it.

    uri: posix path relative to the source's root. size: bytes. mtime_ns: None where the place has no
    clock; it tells that a file changed and is used for nothing else. etag: the store's own version
    mark, None on local disks. attributes: what the source states about the file (licence,
    licence_evidence, family, version, language, stated_date, the access facts, and `metadata.<name>` for more);
    they shape the record, so they belong in a cache key. part: [start, end) in bytes or rows when the entry
    is a part of a huge file, whose uri then has the range at its end; None for a whole file.
    """

    uri: str
    size: int
    mtime_ns: int | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    etag: str | None = None
    part: tuple[int, int] | None = None


@dataclass(frozen=True)
class FileContent:
    """The bytes of one file; the digest is taken from what was really read."""

    data: bytes = field(repr=False)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class ExtractedDocument:
    """One text with its place and with what its source states about it; not yet normalized.

    start, end: byte range in the file (in its decompressed bytes), or row range in a table.
    media_type: what the text is (docstrings are reStructuredText, not Python). licence: SPDX expression,
    "unknown" when one is stated that we cannot name, None when nothing is stated. language: ISO 639-1.
    stated_date, retain_until: ISO 8601 date. metadata: small facts worth keeping, scalars only.
    uri: of a document with a place of its own inside the file (`mail.eml!/report.pdf`, `tickets/4711`), relative
    to the source; None is the file's. classification, audience, owner, purpose: as the source states them.
    keeps_file: the text names the file's bytes as `sha256:<digest>`, so they are kept in the store.
    """

    text: str = field(repr=False)
    start: int
    end: int
    media_type: str
    extractor: str
    extractor_version: str
    licence: str | None = None
    licence_evidence: str | None = None
    stated_date: str | None = None
    language: str | None = None
    family: str | None = None
    version: str | None = None
    metadata: dict[str, str | int | float] = field(default_factory=dict, repr=False)
    uri: str | None = None
    classification: str | None = None
    audience: str | None = None
    owner: str | None = None
    purpose: str | None = None
    retain_until: str | None = None
    keeps_file: bool = False


@dataclass(frozen=True)
class Reject:
    """A part of a file that gave no document: its range (as in ExtractedDocument) and a key of REASONS.

    uri: of a part with a place of its own inside the file, as in ExtractedDocument. detail: what an error said;
    never text of the file.
    """

    start: int
    end: int
    reason: str
    uri: str | None = None
    detail: str = ""


@dataclass(frozen=True)
class ExtractionResult:
    """Everything one file gave, in file order."""

    documents: list[ExtractedDocument]
    rejects: list[Reject] = field(default_factory=list)


def refuse_credentials(uri: str) -> None:
    """Raise RecipeError when a URL holds a password or a token. The message does not repeat it."""
    if "://" not in uri:
        return
    parts = urlsplit(uri)
    queried = {key.lower() for key, _ in parse_qsl(parts.query, keep_blank_values=True)}
    user_part, at, _ = parts.netloc.rpartition("@")
    secret_keys = {"password", "passwd", "secret", "token", "key", "access_key", "secret_key", "sig", "signature"}
    if (at and ":" in user_part) or queried & secret_keys:
        raise RecipeError(
            f"a source's uri ({parts.scheme}://...) holds a password or token; recipes are copied into every "
            "record, so name a credential instead (`credentials: NAME`, read from INGOT_SECRET_NAME) "
            "and take the secret out of the uri"
        )


def with_stated_attributes(result: ExtractionResult, attributes: Mapping[str, str]) -> ExtractionResult:
    """The result with what the source states about the file, wherever the document itself states nothing."""
    if not attributes:
        return result
    return ExtractionResult([_with_attributes(document, attributes) for document in result.documents], result.rejects)


def _with_attributes(document: ExtractedDocument, attributes: Mapping[str, str]) -> ExtractedDocument:
    stated: dict[str, str | None] = {}
    if document.licence is None or (document.licence == "unknown" and "licence" in attributes):
        stated["licence"] = attributes.get("licence")
        stated["licence_evidence"] = attributes.get("licence_evidence")
    for name in ("language", "family", "version", "stated_date", *ACCESS_FACTS):
        if getattr(document, name) is None:
            stated[name] = attributes.get(name)
    more = {name.removeprefix(_METADATA): value for name, value in attributes.items() if name.startswith(_METADATA)}
    metadata = {**more, **document.metadata} if more else document.metadata
    return replace(document, metadata=metadata, **stated)  # type: ignore[arg-type]
