"""Telephone numbers: what the numbering plans of libphonenumber (the `phonenumbers` package, offline) call valid.

An international number (`+49 30 ...`, `0049 ...`) stands alone; with a word beside it, it need only be of a possible
length. A national one does where its shape says telephone: US
numbers with brackets, hyphens or dots (`(212) 555-2368`), French ones in five pairs, and numbers with a leading zero in
brackets or groups; any other needs a word beside it (telephone, Handy, fax, ...). Numbers set aside for fiction (US
555-0100 to 0199, the ranges of Ofcom and Arcep) are left alone unless reserved ones are wanted.

The value is the number as E.164 has it, so that `030 901820` and `+49 30 901820` are one, in the first of the
configured countries in whose plan a national number is valid.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from datasets_pipeline.pii.checksums import digits_of
from datasets_pipeline.pii.context import BYTES_BEFORE, is_near, words
from datasets_pipeline.pii.found import Found
from datasets_pipeline.pii.shapes import AFTER, BEFORE

KIND = "phone"

COUNTRIES = ("US", "GB", "DE", "FR", "ES", "IT", "PT", "NL", "PL")
_MAX_NUMBER_BYTES = 40
"""The longest number with its separators."""
MIN_DIGITS, MAX_DIGITS = 7, 13
"""Of a national number."""
_WITH_ZERO = ("DE", "FR", "GB", "IT", "NL")

_WORDS = words(
    r"tele(?:ph|f)on[a-z.]*", "téléphone", "tel(?:é|e)fono", "tel", "tél", "tlf", "telef", "phones?", "fon", "fax",
    "telefax", "mobil[a-z]{0,4}", "móvil", "telemóvel", "cellulare", "celular", "handynummer",
    "rufnummer", "sms", "text me", "whatsapp", "hotline", "helpline",
    "contact", "kom", "komórkowy", "telefonu", "dzwoń", "bellen", "gsm", "anrufen", "appelez", "llamar", "llame",
    "chiamare", "ligue", "phone[ _]?number",
)  # fmt: skip
# Words that mean other things too (the journal Cell, a call of a function): only right before the number.
_WORDS_BEFORE = re.compile(
    rb"(?<![A-Za-z0-9\x80-\xff.])(?:cell|calls?|called|calling|dial|ring|handy|portable)"
    rb"(?:[ \t]+(?:us|me|him|her|them|at|on|now|is|no\.?|the|number)){0,4}[ \t:*_>.]{1,4}\(?\Z",
    re.IGNORECASE,
)
_BOUNDED = (
    rb"(?<![A-Za-z0-9_.,/=&?#%$-])(?<![0-9][ .-])(?<![0-9])",
    rb"(?![A-WYZa-wyz0-9_%]|x[^0-9 ]|[.,/-][0-9]|/[A-Za-z]|[ .-][0-9])",
)


def _bounded(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(_BOUNDED[0] + rb"(?:" + pattern + rb")" + _BOUNDED[1])


# (country, shape that says telephone)
_US = _bounded(rb"(?:1[ .-]?)?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}([-.]))[2-9][0-9]{2}(?(1)\1|[-.])[0-9]{4}")
_FR = _bounded(rb"0[1-9](?:([ .-])[0-9]{2})(?:\1[0-9]{2}){3}")
_ZERO = _bounded(
    rb"\(0[1-9][0-9]{1,4}\) ?[0-9]{2,8}(?:[ -][0-9]{2,6}){0,3}|"
    rb"0[1-9][0-9]{1,4}(?: ?/ ?|-)[0-9]{3,8}(?:[ -][0-9]{2,6}){0,3}|"
    rb"0[1-9][0-9]{1,4} [0-9]{3,8}(?: [0-9]{2,6}){0,3}"
)
_ANY = _bounded(rb"\(?[0-9](?:[0-9]|[ ./()-]{1,3}(?=[0-9])){6,24}")
_INTERNATIONAL = re.compile(rb"(?:\+|(?<![0-9.,])00 ?(?=[1-9]))[(]?[0-9](?:[0-9]|[ ./()-]{1,3}(?=[0-9])){6,30}")
_LONG = re.compile(rb"(?<![0-9.,])00 ?[0-9(](?:[0-9]|[ ./()-]{1,3}(?=[0-9])){8,30}")
# Dates, ranges of years, IP addresses, version and decimal numbers, limits of integers.
_NO_PHONE = re.compile(
    rb"(?:1[89]|20)[0-9]{2}[-./ ](?:0?[1-9]|1[0-2])[-./ ](?:0?[1-9]|[12][0-9]|3[01])(?![0-9])|"
    rb"(?:0?[1-9]|[12][0-9]|3[01])[-./](?:0?[1-9]|1[0-2])[-./](?:1[89]|20)[0-9]{2}(?![0-9])|"
    rb"(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9.])|"
    rb"(?:1[89]|20)[0-9]{2} ?[-/] ?(?:1[89]|20)[0-9]{2}\Z|[0-9]+\.[0-9]+\Z|"
    rb"(?:2147483647|2147483648|4294967295)(?![0-9])"  # the largest numbers of 32 bits
)
_OTHER_NUMBER = re.compile(rb"(?<![A-Za-z])(?:pmid|pmcid|doi|isbn|issn)[ \t:]{0,3}\Z", re.IGNORECASE)
"""What stands before the number of a publication."""
_FICTION = re.compile(
    r"\+1[2-9]\d{2}55501\d\d|\+1800555\d{4}|\+1[2-9]\d{2}5551212|"
    r"\+44(?:(?:113|114|115|116|117|118|121|131|141|151|161)4960\d{3}|2079460\d{3}|1914980\d{3}|2890180\d{3}|"
    r"2920180\d{3}|1632960\d{3}|7700900\d{3}|8081570\d{3}|9098790\d{3}|3069990\d{3})|"
    r"\+33(?:19900|26191|35301|46571|53649|63998)\d{4}|"
    r"\+49(?:3023125\d{3}|69900000?\d{2,3}|4066969\d{3}|22147 ?1?\d{0,3}|8999998\d{3})"
)
_EXTENSION = re.compile(rb",? ?(?:x|ext\.?|extension) ?[0-9]{1,5}(?![0-9A-Za-z])")
_COUNTING = re.compile(r"12345678|98765432|(\d)\1{6}")
"""As in `123-456-7890`: nobody's number."""


def has_shape(shape: bytes) -> bool:
    """Whether a number of this shape (shapes.py) could hold one."""
    text, _ = _plain(shape)
    if b"+" in text:
        return True
    # A shape does not tell 00 from other digits; an international number so written has ten digits or more.
    return _LONG.search(text) is not None or any(
        MIN_DIGITS <= text.count(b"0", *match.span()) <= MAX_DIGITS for match in _ANY.finditer(text)
    )


def find(data: bytes, places: Sequence[tuple[int, int]], reserved: bool, countries: Sequence[str]) -> Iterator[Found]:
    """The telephone numbers in some numbers; countries: whose national numbers are looked for (ISO 3166)."""
    for start, end in places:
        first = max(0, start - BEFORE)
        text, offsets = _plain(data[first : end + AFTER])
        inner = range(start - first, end - first)
        for begin, stop, number in _numbers(text, data, first, offsets, inner, tuple(countries)):
            if reserved or not (_FICTION.fullmatch(number) or _COUNTING.search(number)):
                last = first + offsets[stop]
                extension = _EXTENSION.match(data, last)
                yield Found(first + offsets[begin], extension.end() if extension else last, KIND, number.encode())


_NO_BREAK = re.compile(rb"\xc2\xa0|\xe2\x80\xaf|\xe2\x80\x91")


def _plain(data: bytes) -> tuple[bytes, Sequence[int]]:
    """The bytes with simple blanks and hyphens, and the place in data of each of them and of the end."""
    if data.isascii() or _NO_BREAK.search(data) is None:
        return data, range(len(data) + 1)
    parts: list[bytes] = []
    offsets: list[int] = []
    position = 0
    for match in _NO_BREAK.finditer(data):
        parts += data[position : match.start()], b"-" if match.group()[-1] == 0x91 else b" "
        offsets += range(position, match.start() + 1)
        position = match.end()
    return b"".join([*parts, data[position:]]), [*offsets, *range(position, len(data) + 1)]


def _numbers(
    text: bytes, data: bytes, first: int, offsets: Sequence[int], inner: range, countries: tuple[str, ...]
) -> Iterator[tuple[int, int, str]]:
    """(start, end, E.164) in text; its byte i is data[first + offsets[i]]; the number's digits are at `inner`."""
    match = _INTERNATIONAL.search(text)
    if match is not None and match.start() <= inner.start:
        start, end = first + offsets[match.start()], first + offsets[match.end()]
        found = list(_international(text[: inner.stop], match, is_lenient=_is_announced(data, start, end)))
        if found or text[match.start() : match.start() + 1] == b"+":
            yield from found
            return
    if _NO_PHONE.match(text, inner.start):
        return
    shaped = False
    for pattern, regions in ((_US, ("US",)), (_FR, ("FR",)), (_ZERO, _WITH_ZERO)):
        for match in pattern.finditer(text):
            number = _national(match.group().decode(), tuple(c for c in countries if c in regions))
            if number is not None and not shaped:
                yield (*match.span(), number)
                shaped = True
    if shaped:
        return
    for match in _ANY.finditer(text):
        start, end = first + offsets[match.start()], first + offsets[match.end()]
        if not MIN_DIGITS <= len(digits_of(match.group())) <= MAX_DIGITS or not _is_announced(data, start, end):
            continue
        # `(030 901820` stands in brackets; `233 (2018` is the page and the year of a citation.
        shift = 1 if match.group().startswith(b"(") and b")" not in match.group() else 0
        written = match.group()[shift:]
        if written.rfind(b"(") > written.rfind(b")"):
            continue
        number = _national(written.decode(), countries)
        if number is not None:
            yield match.start() + shift, match.end(), number


def _is_announced(data: bytes, start: int, end: int) -> bool:
    """Whether a word beside data[start:end] says telephone, and none that it is something else."""
    first = max(0, start - BYTES_BEFORE)
    if _OTHER_NUMBER.search(data, first, start):
        return False
    return is_near(_WORDS, data, start, end) or _WORDS_BEFORE.search(data, first, start) is not None


def _international(text: bytes, match: re.Match[bytes], *, is_lenient: bool) -> Iterator[tuple[int, int, str]]:
    """Numbers of a valid country; is_lenient: also those of a length that the country has, but of no range in use."""
    library = _library()
    begin, tail = match.start(), text[match.start() : match.start() + _MAX_NUMBER_BYTES]
    # The library reads 00 as a prefix only with a country that dials it so.
    spelled, shift = (tail, begin) if tail[:1] == b"+" else (b"+" + tail[2:].lstrip(b" "), 0)
    if shift == 0 and tail[:1] != b"+":
        shift = begin + len(tail) - len(spelled)
    leniency = library.Leniency.POSSIBLE if is_lenient else library.Leniency.VALID
    matcher = library.PhoneNumberMatcher(spelled.decode("ascii", "replace"), None, leniency)
    for hit in matcher:
        start = begin if hit.start == 0 else shift + hit.start
        yield start, shift + hit.end, library.format_number(hit.number, library.PhoneNumberFormat.E164)


@lru_cache(maxsize=4096)
def _national(number: str, countries: tuple[str, ...]) -> str | None:
    """The number as E.164 in the first country in whose plan it is valid."""
    library = _library()
    for country in countries:
        try:
            parsed = library.parse(number, country)
        except library.NumberParseException:
            continue
        if library.is_valid_number_for_region(parsed, country):
            return str(library.format_number(parsed, library.PhoneNumberFormat.E164))
    return None


def _library() -> Any:
    import phonenumbers  # its metadata takes 50 ms to import

    return phonenumbers


def library_version() -> str:
    """The release of the numbering plans."""
    return str(_library().__version__)
