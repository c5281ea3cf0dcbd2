"""National identity, tax, health and social security numbers of nine countries, by their published check digits.

A number whose shape is rare in text (Italy's codice fiscale, a French NIR, Spain's DNI and NIE) stands alone; one that
is plain digits (NHS, Steuer-ID, NIF, BSN, PESEL) needs a word beside it that says what it is. The US SSN has no check
digit: with hyphens it stands alone, else it needs a word. Numbers that were published as examples are left alone
unless reserved ones are wanted.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from datasets_pipeline.pii.checksums import mod_11_10, weighted
from datasets_pipeline.pii.context import is_near, words
from datasets_pipeline.pii.found import Found
from datasets_pipeline.pii.shapes import AFTER, BEFORE, MAX_BYTES, shape_of

KIND = "national_id"


class Scheme(NamedTuple):
    """One country's number: how it is written, whether it can be one, and what must stand beside it."""

    country: str
    shape: re.Pattern[bytes]
    """What its shape holds (shapes.py)."""
    pattern: re.Pattern[bytes]
    is_valid: Callable[[str], bool]
    """Of the capitals and digits alone."""
    words: re.Pattern[bytes]
    needs_word: Callable[[bytes], bool]
    """Of the number as written."""


def has_shape(shape: bytes, countries: Sequence[str]) -> bool:
    """Whether a number of this shape (shapes.py) could hold one of these countries."""
    return bool(_of_shape(shape, tuple(countries)))


def find(data: bytes, places: Sequence[tuple[int, int]], reserved: bool, countries: Sequence[str]) -> Iterator[Found]:
    """The numbers of these countries (ISO 3166, `US`) that start inside some places; their value has no punctuation."""
    wanted = tuple(countries)
    for start, end in places:
        first, last = max(0, start - BEFORE), min(len(data), end + AFTER)
        for scheme in _of_shape(shape_of(data, start, end), wanted) if end - start <= MAX_BYTES else _of(wanted):
            for match in scheme.pattern.finditer(data, first, last):
                value = re.sub(rb"[^A-Za-z0-9]", b"", match.group()).decode().upper()
                if not scheme.is_valid(value) or (not reserved and value in _EXAMPLES):
                    continue
                if scheme.needs_word(match.group()) and not is_near(scheme.words, data, *match.span()):
                    continue
                yield Found(match.start(), match.end(), KIND, value.encode())


@lru_cache(maxsize=16384)
def _of_shape(shape: bytes, countries: tuple[str, ...]) -> tuple[Scheme, ...]:
    return tuple(scheme for scheme in _of(countries) if scheme.shape.search(shape))


@lru_cache(maxsize=64)
def _of(countries: tuple[str, ...]) -> tuple[Scheme, ...]:
    return tuple(scheme for scheme in SCHEMES if scheme.country in countries)


_SEP = rb"(?:[ .-]|\xc2\xa0)"
_NOT_BEFORE = rb"(?<![A-Za-z0-9_/])(?<![0-9][.,-])(?<![A-Za-z]-)"
_NOT_AFTER = rb"(?![A-Za-z0-9_]|[.,/-][A-Za-z0-9])"


def _shape(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern.replace(b"~", _SEP))


def _written(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(_NOT_BEFORE + rb"(?:" + pattern.replace(b"~", _SEP) + rb")" + _NOT_AFTER)


def _always(written: bytes) -> bool:
    return True


def _never(written: bytes) -> bool:
    return False


def _is_one_run(written: bytes) -> bool:
    return written.isalnum()


def _is_without_hyphens(written: bytes) -> bool:
    return b"-" not in written


def _us_ssn(number: str) -> bool:
    """Social Security Administration: areas 000, 666 and 900 to 999, group 00 and serial 0000 are not given out."""
    area, group, serial = number[:3], number[3:5], number[5:]
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def _uk_nhs(number: str) -> bool:
    """NHS Data Dictionary: modulus 11, weights 10 to 2."""
    check = (11 - weighted(number[:9], tuple(range(10, 1, -1))) % 11) % 11
    return check == int(number[9]) and len(set(number)) > 1


def _uk_nino(number: str) -> bool:
    """HMRC NIM39110: which two letters a number may start with."""
    return number[:2] not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ")


def _de_steuer_id(number: str) -> bool:
    """Of the first ten digits one occurs two or three times, the others once; check digit of ISO 7064 MOD 11,10."""
    counts = sorted(number[:10].count(digit) for digit in set(number[:10]))
    return counts[-1] in (2, 3) and counts[-2] == 1 and mod_11_10(number)


def _fr_nir(number: str) -> bool:
    """INSEE: sex, year, month, department, commune, order, and 97 minus the rest modulo 97; 2A and 2B are Corsica."""
    body = number[:13].replace("2A", "19").replace("2B", "18")
    month = int(number[3:5])
    if not body.isdigit() or not (1 <= month <= 12 or month == 20 or 30 <= month <= 42 or month >= 50):
        return False
    return 97 - int(body) % 97 == int(number[13:]) and number[5:7] != "00" and number[10:13] != "000"


_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"


def _es_dni(number: str) -> bool:
    """Number modulo 23 as a letter; the NIE of foreigners starts with X, Y or Z for 0, 1 or 2."""
    digits = number[:-1].translate(str.maketrans("XYZ", "012"))
    return _DNI_LETTERS[int(digits) % 23] == number[-1] and len(set(digits)) > 2


_CF_ODD = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16,
         10, 22, 25, 24, 23),
        strict=True,
    )
)  # fmt: skip


def _it_codice_fiscale(code: str) -> bool:
    """D.M. 23 December 1976, article 9: odd places by a table, even places by value, modulo 26 as a letter."""
    odd = sum(_CF_ODD[character] for character in code[:15:2])
    even = sum(int(c) if c.isdigit() else ord(c) - 65 for c in code[1:15:2])
    return chr(65 + (odd + even) % 26) == code[15]


def _pt_nif(number: str) -> bool:
    """Weights 9 to 2 modulo 11; 0 and 1 give the digit 0."""
    remainder = weighted(number[:8], tuple(range(9, 1, -1))) % 11
    return (0 if remainder < 2 else 11 - remainder) == int(number[8]) and len(set(number)) > 1


def _nl_bsn(number: str) -> bool:
    """The eleven test: weights 9 to 2, the last digit counts minus one."""
    return weighted(number, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0 and len(set(number)) > 1


def _pl_pesel(number: str) -> bool:
    """Date of birth with the century in the month, weights 1 3 7 9 modulo 10."""
    month, day = int(number[2:4]) % 20, int(number[4:6])
    check = -weighted(number[:10], (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10
    return 1 <= month <= 12 and 1 <= day <= 31 and check == int(number[10])


SCHEMES = (
    Scheme(
        "US", _shape(rb"000(?P<s>[- ]?)00(?P=s)0000"),
        _written(rb"[0-8][0-9]{2}([- ]?)[0-9]{2}\1[0-9]{4}"), _us_ssn,
        words("ssns?", r"social[ _-]?security", r"soc\.? ?sec"), _is_without_hyphens,
    ),
    Scheme(
        "GB", _shape(rb"000(?P<s>[- ]?)000(?P=s)0000"),
        _written(rb"[0-9]{3}([- ]?)[0-9]{3}\1[0-9]{4}"), _uk_nhs,
        words("nhs", "national health", "health service"), _always,
    ),
    Scheme(
        "GB", _shape(rb"AA(?P<s> ?)00(?P=s)00(?P=s)00(?P=s)A"),
        _written(rb"[ABCEGHJ-PRSTW-Z][ABCEGHJ-NPRSTW-Z]( ?)[0-9]{2}\1[0-9]{2}\1[0-9]{2}\1[A-D]"),
        _uk_nino,
        words("ninos?", r"ni ?(?:no|number|num)?\.?", r"national[ _-]?insurance"), _is_one_run,
    ),
    Scheme(
        "DE", _shape(rb"00(?P<s>~?)000(?P=s)000(?P=s)000"),
        _written(rb"[1-9][0-9](~?)[0-9]{3}\1[0-9]{3}\1[0-9]{3}"), _de_steuer_id,
        words(
            r"steuer[ -]?(?:id|identifikations?[a-z-]*|nummer|nr)\.?(?:[ -]?nr\.?)?", r"id[ -]?nr\.?", "idnr",
            "identifikationsnummer", r"tax[ _-]?(?:id|number|identification)", "tin",
        ), _always,
    ),
    Scheme(
        "FR",
        _shape(rb"0~?00~?00~?(?:00|0A|0a)~?000~?000~?00"),
        _written(
            rb"[12378]~?[0-9]{2}~?[0-9]{2}~?(?:[0-9]{2}|2[ABab])~?[0-9]{3}~?[0-9]{3}~?[0-9]{2}"
        ),
        _fr_nir, words("nir", "sécu", "insee"), _never,
    ),
    Scheme(
        "ES", _shape(rb"00000000[ -]?A|00\.000\.000[ -]?A"),
        _written(rb"[0-9]{8}[ -]?[A-Z]|[0-9]{2}\.[0-9]{3}\.[0-9]{3}[ -]?[A-Z]"), _es_dni,
        words("dni", "nif", "nie", "documento nacional", "identidad"), _is_one_run,
    ),
    Scheme("ES", _shape(rb"A[ -]?0000000[ -]?A"),
        _written(rb"[XYZ][ -]?[0-9]{7}[ -]?[A-Z]"), _es_dni, words("nie"), _never),
    Scheme(
        "IT",
        _shape(rb"[Aa]{6}[0Aa]{2}[Aa][0Aa]{2}[Aa][0Aa]{3}[Aa]"),
        _written(
            rb"[A-Za-z]{6}[0-9LMNPQRSTUVlmnpqrstuv]{2}[ABCDEHLMPRSTabcdehlmprst][0-9LMNPQRSTUVlmnpqrstuv]{2}"
            rb"[A-Za-z][0-9LMNPQRSTUVlmnpqrstuv]{3}[A-Za-z]"
        ),
        _it_codice_fiscale, words("codice fiscale"), _never,
    ),
    Scheme(
        "PT", _shape(rb"000(?P<s> ?)000(?P=s)000"),
        _written(rb"[1-35689][0-9]{2}( ?)[0-9]{3}\1[0-9]{3}"), _pt_nif,
        words("nif", "contribuinte", r"identifica..?..?o fiscal", "fiscal"), _always,
    ),
    Scheme(
        "NL", _shape(rb"0000\.?00\.?000"),
        _written(rb"[0-9]{4}(?:\.?)[0-9]{2}\.?[0-9]{3}"), _nl_bsn,
        words("bsn", "burgerservicenummer", "burgerservicenr", "sofinummer", r"sofi[ -]?nr"), _always,
    ),
    Scheme("PL", _shape(rb"0{11}"),
        _written(rb"[0-9]{11}"), _pl_pesel, words("pesel", "pesel-?u", r"nr pesel"), _always),
)  # fmt: skip
COUNTRIES = tuple(dict.fromkeys(scheme.country for scheme in SCHEMES))

_EXAMPLES = frozenset(
    (
        "123456789", "078051120", "219099999", "457555462", "987654321", "111111111", "001010001",
        "9434765919", "1234567881", "QQ123456C", "AB123456C", "AA123456A", "JG103759A", "12345678901", "86095742719",
        "65929970489", "47036892816", "12345678Z", "00000000T", "X1234567L", "Y1234567X", "Z1234567R", "X0000000T",
        "RSSMRA85T10A562S", "RSSMRA80A01H501U", "BNCMRA80A01H501X", "123456782", "44051401359", "44051401458",
        "255081416802538",
    )
)  # fmt: skip
