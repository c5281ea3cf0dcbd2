"""International bank account numbers: ISO 13616, with the length of each country and the check digits (mod 97).

In one run, or in groups of four by blanks or hyphens, as they are printed; in small letters only with a word such as
account beside it. The examples of the registry are left alone
unless reserved ones are wanted.
"""

from collections.abc import Iterator, Sequence

from datasets_pipeline.pii.checksums import mod_97
from datasets_pipeline.pii.context import is_near, words
from datasets_pipeline.pii.found import Found

KIND = "bank_account"

# SWIFT IBAN registry, release 99.
LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19,
    "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29,
    "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
    "YE": 30,
}  # fmt: skip
_EXAMPLES = frozenset(
    (
        "AT611904300234573201", "BE68539007547034", "CH9300762011623852957", "CZ6508000000192000145399",
        "DE89370400440532013000", "DK5000400440116243", "ES9121000418450200051332", "FI2112345600000785",
        "FR1420041010050500013M02606", "FR7630006000011234567890189", "GB29NWBK60161331926819",
        "GB82WEST12345698765432", "GB33BUKB20201555555555", "GR1601101250000000012300695", "IE29AIBK93115212345678",
        "IT60X0542811101000000123456", "LU280019400644750000", "NL91ABNA0417164300", "NL02ABNA0123456789",
        "NO9386011117947", "PL61109010140000071219812874", "PT50000201231234567890154", "SE4550000000058398257466",
    )
)  # fmt: skip

_LETTERS_AND_DIGITS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_WORDS = words("iban", "account", "konto", "compte", "cuenta", "conto", "conta", "rekening", "rachunek", "rachunku")


def find(data: bytes, places: Sequence[tuple[int, int]], reserved: bool) -> Iterator[Found]:
    """The account numbers that start at some runs of two letters and two digits; their value has no blanks."""
    for start, _ in places:
        length = LENGTHS.get(data[start : start + 2].decode().upper())
        if length is None:
            continue
        end = _end(data, start, length)
        if end is None:
            continue
        written = data[start:end]
        account = written.replace(b" ", b"").replace(b"-", b"").decode().upper()
        if written.upper() != written and not is_near(_WORDS, data, start, end):
            continue
        if mod_97(account) and (reserved or account not in _EXAMPLES):
            yield Found(start, end, KIND, account.encode())


def _end(data: bytes, start: int, length: int) -> int | None:
    """Where `length` letters and digits end, a separator behind every fourth allowed; None where they do not."""
    position, count = start, 0
    while count < length:
        if position >= len(data):
            return None
        byte = data[position]
        if byte in _LETTERS_AND_DIGITS:
            count += 1
        elif byte not in b" -" or count % 4:
            return None
        position += 1
    return None if position < len(data) and data[position] in _LETTERS_AND_DIGITS else position
