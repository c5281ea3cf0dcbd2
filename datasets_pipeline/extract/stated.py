"""Dates and languages as documents state them, in the one spelling that is stored."""

import re
from datetime import date, datetime

# ISO 639-2 codes of languages that have a two-letter code and are met in front matter and lang attributes.
_THREE_LETTERS = {
    "ara": "ar", "ben": "bn", "bul": "bg", "cat": "ca", "ces": "cs", "cze": "cs", "chi": "zh", "zho": "zh",
    "dan": "da", "deu": "de", "ger": "de", "ell": "el", "gre": "el", "eng": "en", "est": "et", "fas": "fa",
    "per": "fa", "fin": "fi", "fra": "fr", "fre": "fr", "heb": "he", "hin": "hi", "hrv": "hr", "hun": "hu",
    "ind": "id", "isl": "is", "ice": "is", "ita": "it", "jpn": "ja", "kor": "ko", "lat": "la", "lav": "lv",
    "lit": "lt", "nld": "nl", "dut": "nl", "nor": "no", "pol": "pl", "por": "pt", "ron": "ro", "rum": "ro",
    "rus": "ru", "slk": "sk", "slo": "sk", "slv": "sl", "spa": "es", "srp": "sr", "swe": "sv", "tam": "ta",
    "tha": "th", "tur": "tr", "ukr": "uk", "urd": "ur", "vie": "vi",
}  # fmt: skip
_LANGUAGE = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z0-9-_]{1,30})?\Z")
_DATE = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ].*)?\Z", re.DOTALL)


def iso_date(value: object) -> str | None:
    """`YYYY-MM-DD` from a date, a datetime or text that starts with year, month and day; else None.

    The day is taken as written: no time zone is applied. Day-first and month-first spellings are
    ambiguous and give None.
    """
    if isinstance(value, datetime | date):
        return value.isoformat()[:10]
    found = _DATE.match(value.strip()) if isinstance(value, str) else None
    if found is None:
        return None
    try:
        return date(*(int(part) for part in found.groups())).isoformat()
    except ValueError:
        return None


def iso_language(value: object) -> str | None:
    """The ISO 639-1 code of a language tag (`de-AT`, `pt_BR`, `eng`), lower case; None when there is none."""
    found = _LANGUAGE.match(value.strip()) if isinstance(value, str) else None
    if found is None:
        return None
    code = found.group(1).lower()
    return code if len(code) == 2 else _THREE_LETTERS.get(code)
