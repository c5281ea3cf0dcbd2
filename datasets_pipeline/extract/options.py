"""The options of a source that change the text an extractor returns; every one is part of a cache key."""

import codecs
import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ingot.errors import RecipeError


class ExtractOptions(BaseModel):
    """How bytes become text. Sources that read files of any media type take these as their own options."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    html: Literal["content", "main", "all"] = Field(
        default="content",
        description="`content` leaves out navigation, banners, footers and asides; `main` reads what the page itself "
        "names as its main part (main, role=main, its only article), and else the content; `all` keeps every visible "
        "word.",
    )
    python: Literal["source", "docstrings"] = Field(
        default="source",
        description="What a Python file is read as: its source, or its docstrings under their qualified names.",
    )
    encoding: str | None = Field(
        default=None,
        description="Encoding of files that are neither UTF-8 nor UTF-16, e.g. shift_jis; null tries cp1252.",
    )
    notebook_output_characters: int = Field(
        default=2000,
        ge=0,
        description="Characters of text output kept of each cell of a notebook; 0 keeps none. Enough for a result "
        "or the head of a table; logs of a training run are not prose.",
    )
    max_odd_share: float = Field(
        default=0.02,
        ge=0.0,
        le=1.0,
        description="Share of replaced or control characters from which a file counts as wrongly decoded; "
        "2 % is one broken character in a line of text.",
    )

    pdf_engine: Literal["pdfium", "docling"] = Field(
        default="pdfium",
        description="What reads the text layer of a PDF: pdfium with our own reading order, or docling, where it is "
        "installed and INGOT_DOCLING_MODELS names the folder of its models; it takes seconds a page.",
    )
    pdf_max_pages: int = Field(
        default=10_000, ge=1, description="Pages from which a PDF is quarantined as too_large; none is cut off."
    )
    ocr_languages: tuple[str, ...] | None = Field(
        default=("eng",),
        description="Languages of the text in scanned pages and pictures, by tesseract's names (deu, fra, chi_sim), "
        "the main one first. Read only where tesseract and their data are installed. Null reads no pictures.",
    )
    ocr_max_pages: int = Field(
        default=100,
        ge=0,
        description="Most pages of one PDF that are read by text recognition, at one to five seconds each.",
    )

    mail_headers: Literal["subject", "all"] = Field(
        default="subject",
        description="Which fields of a mail stand in its text: its subject, or also From, To, Cc and Date. Names and "
        "addresses are personal data, so they are left out unless asked for.",
    )
    mail_quotes: Literal["drop", "keep"] = Field(
        default="drop",
        description="Whether a reply keeps what it quotes, and its signature. Dropped by default: the quoted mail is a "
        "document of its own, and would be read once for every answer to it. Forwarded mails stay whole.",
    )
    max_archive_bytes: int = Field(
        default=512 * 1024 * 1024,
        ge=1,
        description="Bytes that one file may unpack to, with all archives inside of it; what comes beyond is "
        "quarantined as too_large. A quarter of the memory of the process that reads it.",
    )
    max_archive_members: int = Field(
        default=50_000,
        ge=1,
        description="Most members of one archive; a larger one is better unpacked and read as a folder.",
    )

    @field_validator("ocr_languages")
    @classmethod
    def _languages_are_names(cls, languages: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if languages is not None and not languages:
            raise RecipeError("ocr_languages is an empty list; name a language such as eng, or write null for none")
        for language in languages or ():
            if not re.fullmatch(r"[a-z]{3}(?:_[A-Za-z]+)*", language):
                raise RecipeError("a name in ocr_languages is none of tesseract's; use eng, deu, chi_sim and the like")
        return languages

    @field_validator("encoding")
    @classmethod
    def _encoding_exists(cls, encoding: str | None) -> str | None:
        if encoding is None:
            return None
        try:
            name = codecs.lookup(encoding).name
            b"a".decode(name)
        except (LookupError, UnicodeError) as error:
            raise RecipeError(
                f"encoding '{encoding}' is not a text encoding; use a name such as shift_jis, gb18030 or koi8-r"
            ) from error
        return name
