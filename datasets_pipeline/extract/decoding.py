"""Bytes to characters: a ladder of encodings, with a count of what could not be read.

    1  a byte-order mark          UTF-8, UTF-16, UTF-32 as it says
    2  UTF-8, strictly            almost every file; a text that is valid UTF-8 by chance is not met
    3  UTF-16 without a mark      every other byte is NUL
    4  UTF-8 with a few faults    when more of its characters are whole than broken
    5  the declared encoding      what the page or the recipe says
    6  cp1252                     Western European, with C1 controls where it has no character

Each rung is deterministic; nothing is guessed from letter statistics except whether rung 6 gave words.
"""

import codecs
import re
from dataclasses import dataclass

from datasets_pipeline.extract.media_types import num_control_bytes, utf16_without_mark
from datasets_pipeline.normalize import REPLACEMENT_CHARACTER
from datasets_pipeline.sources.base import ExtractionError

VERSION = "1"

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark starts with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# C0 and C1 controls that no text needs; U+0085 is a line end in some exports.
_ODD = re.compile("[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f\x80-\x84\x86-\x9f]")
_ASCII_LETTER = re.compile("[A-Za-z]")
_HIGH = re.compile("[\x80-\U0010ffff]")
# Of the letters in Western European text at most 15 % are accented (Icelandic); a page of Cyrillic or
# Japanese read as cp1252 has nearly all of them high.
_MAX_HIGH_SHARE = 0.3


@dataclass(frozen=True)
class Decoded:
    """A text, the encoding it was read in, and how many of its characters stand for unreadable bytes."""

    text: str
    encoding: str
    num_replaced: int

    @property
    def metadata(self) -> dict[str, str | int | float]:
        """What to record about the decoding; empty for plain UTF-8, which needs no word."""
        if self.encoding == "utf-8" and not self.num_replaced:
            return {}
        return {"encoding": self.encoding, "replaced_characters": self.num_replaced}


def decode(data: bytes, uri: str, *, declared: str | None = None, max_odd_share: float = 0.02) -> Decoded:
    """Decode a file. Raises ExtractionError not_text, invalid_encoding or empty.

    declared: an encoding the file or the recipe names; a name Python does not know is ignored.
    max_odd_share: replaced and control characters per character from which the file is refused.
    """
    if not data:
        raise ExtractionError("empty", f"{uri}: the file is empty (0 bytes)")
    num_control = num_control_bytes(data)
    decoded = _climb(data, uri, _usable(declared), num_control)
    if decoded.encoding == "utf-8" and not decoded.num_replaced and b"\xc2" not in data:
        num_odd = num_control  # the same count, 30 times as fast; U+0080 to U+009F begin with this byte
    else:
        num_odd = decoded.num_replaced + len(_ODD.findall(decoded.text))
    if num_odd > max_odd_share * len(decoded.text):
        raise ExtractionError(
            "invalid_encoding",
            f"{uri}: {num_odd:,} of {len(decoded.text):,} characters are broken when read as {decoded.encoding}; "
            "name the file's encoding in the source (`encoding:`) or convert it to UTF-8",
        )
    return decoded


def _climb(data: bytes, uri: str, declared: str | None, num_control: int) -> Decoded:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _replacing(data[len(mark) :], encoding)
    if declared and declared.startswith("iso2022"):
        return _replacing(data, declared)  # seven-bit, so valid UTF-8 as well: only a declaration tells
    wide = utf16_without_mark(data) if b"\x00" in data else None
    if wide:
        return _replacing(data, wide)
    if num_control * 50 > len(data):
        raise ExtractionError("not_text", f"{uri}: more than 1 in 50 of its {len(data):,} bytes are control bytes")
    try:
        return Decoded(data.decode("utf-8"), "utf-8", 0)
    except UnicodeDecodeError:
        pass
    lenient = _replacing(data, "utf-8")
    num_whole = len(_HIGH.findall(lenient.text)) - lenient.num_replaced
    if num_whole > lenient.num_replaced:
        return lenient
    if declared and declared != "utf-8":
        return _replacing(data, declared)
    return _western(data, uri)


def _replacing(data: bytes, encoding: str) -> Decoded:
    text = data.decode(encoding, "replace")
    return Decoded(text, encoding, text.count(REPLACEMENT_CHARACTER))


def _western(data: bytes, uri: str) -> Decoded:
    text = data.decode("cp1252", "replace")
    if REPLACEMENT_CHARACTER in text:  # 0x81 and four more have no character in cp1252; latin-1 has a control
        text = "".join(
            chr(byte) if character == REPLACEMENT_CHARACTER else character
            for character, byte in zip(text, data, strict=True)
        )
    num_high, num_letters = len(_HIGH.findall(text)), len(_ASCII_LETTER.findall(text))
    if num_high > _MAX_HIGH_SHARE * (num_high + num_letters):
        raise ExtractionError(
            "invalid_encoding",
            f"{uri}: not UTF-8, and {num_high:,} of {num_high + num_letters:,} letters are not ASCII, so not "
            "Western European either; name the file's encoding in the source (`encoding:`)",
        )
    return Decoded(text, "cp1252", 0)


def _usable(declared: str | None) -> str | None:
    """Python's name of a declared text encoding; None for none, an unknown one, or one that is no text."""
    if not declared:
        return None
    try:
        name = codecs.lookup(declared.strip()).name
        b"a".decode(name)
    except (LookupError, ValueError):
        return None
    # Declared as Latin-1, meant as cp1252: the rule of the HTML standard. UTF-16 cannot be declared in ASCII.
    if name in ("iso8859-1", "ascii") or name.startswith(("utf-16", "utf-32", "utf-7")):
        return None
    return name
