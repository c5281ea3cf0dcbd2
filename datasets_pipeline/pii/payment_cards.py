"""Payment card numbers: issuer ranges and lengths (ISO/IEC 7812, the networks' published ranges), and the Luhn digit.

Written in one run, or in the groups that are printed on cards (4-4-4-4, 4-6-5, 4-6-4), by blanks or hyphens. A network
whose numbers look like any others (Maestro, Visa of 13 and 19 digits) needs a word beside it that says card. The test
numbers of the networks and of payment services are left alone unless reserved ones are wanted.
"""

import re
from collections.abc import Iterator, Sequence

from datasets_pipeline.pii.checksums import digits_of, luhn
from datasets_pipeline.pii.context import is_near, words
from datasets_pipeline.pii.found import Found

KIND = "payment_card"

_CANDIDATE = re.compile(
    rb"(?<![A-Za-z0-9_.,/])(?<![A-Za-z0-9]-)"
    rb"(?:[0-6][0-9]{11,18}|"
    rb"(?<![0-9]{4} )[2-6][0-9]{3}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{3})?|"
    rb"(?<![0-9]{4} )3[0-9]{3}([ -])[0-9]{6}\2[0-9]{4,5})"
    rb"(?![A-Za-z0-9_]|[.,/][0-9]|[ -][0-9]{4}(?![0-9]))"
)
_SHAPE = re.compile(rb"0{12}|0000([ -])0000\1|0000[ -]000000[ -]")
_WORDS = words(
    "cards?", "visa", "mastercard", "maestro", "amex", "american express", "credit", "debit", "kreditkarte", "karte",
    "kartennummer", "carte", "tarjeta", "carta di credito", "carta", "cartão", "creditcard", "kaart", "karta",
    "karty", "pan", "cc",
)  # fmt: skip

# (first digits from, to, lengths, whether a word must say that it is a card)
_RANGES: tuple[tuple[str, str, frozenset[int], bool], ...] = tuple(
    (low, high, frozenset(lengths), needs_word)
    for low, high, lengths, needs_word in (
        ("4", "4", (16,), False),  # Visa
        ("4", "4", (13, 19), True),
        ("51", "55", (16,), False),  # Mastercard
        ("2221", "2720", (16,), False),
        ("34", "34", (15,), False),  # American Express
        ("37", "37", (15,), False),
        ("6011", "6011", (16, 19), False),  # Discover
        ("644", "659", (16, 19), False),
        ("300", "305", (14, 16), False),  # Diners Club
        ("3095", "3095", (14, 16), False),
        ("36", "36", (14,), False),
        ("38", "39", (14, 16), False),
        ("3528", "3589", (16, 19), False),  # JCB
        ("35", "35", (16,), True),
        ("2131", "2131", (15, 16), True),
        ("1800", "1800", (15, 16), True),
        ("62", "62", (16, 17, 18, 19), True),  # UnionPay
        ("2200", "2204", (16,), True),  # Mir
        ("50", "50", tuple(range(12, 20)), True),  # Maestro
        ("56", "58", tuple(range(12, 20)), True),
        ("0604", "0604", tuple(range(12, 20)), True),
        ("60", "69", tuple(range(12, 20)), True),
    )
)

_TEST_NUMBERS = frozenset(
    (
        "4111111111111111", "4242424242424242", "4012888888881881", "4222222222222", "4444333322221111",
        "4000056655665556", "4005519200000004", "4009348888881881", "4012000033330026", "4012000077777777",
        "4217651111111119", "4500600000000061", "4917610000000000", "4484070000000000", "4462030000000000",
        "5555555555554444", "5105105105105100", "5454545454545454", "5200828282828210", "5431111111111111",
        "5111111111111118", "2223003122003222", "2223000048400011", "2222405343248877", "2222990905257051",
        "378282246310005", "371449635398431", "378734493671000", "370000000000002", "374245455400126",
        "343434343434343", "6011111111111117", "6011000990139424", "6011000000000012", "6011601160116611",
        "6011981111111113", "30569309025904", "38520000023237", "36227206271667", "36700102000000", "3056930009020004",
        "3530111333300000", "3566002020360505", "3569990010030400", "6200000000000005", "6205500000000000004",
        "5019717010103742", "6759649826438453", "6304000000000000", "6799990100000000019",
    )
)  # fmt: skip
_TEST_PREFIXES = ("40000", "41111111", "42424242", "12345", "55555555", "601111111")


def has_shape(shape: bytes) -> bool:
    """Whether a number of this shape (shapes.py) could hold one."""
    return _SHAPE.search(shape) is not None


def find(data: bytes, places: Sequence[tuple[int, int]], reserved: bool) -> Iterator[Found]:
    """The card numbers in some numbers; their value is the digits."""
    for start, end in places:
        for match in _CANDIDATE.finditer(data, start, end + 6):
            digits = digits_of(match.group())
            needs_word = _needs_word(digits)
            if needs_word is None or not luhn(digits) or (not reserved and _is_test_number(digits)):
                continue
            if needs_word and not is_near(_WORDS, data, *match.span()):
                continue
            yield Found(match.start(), match.end(), KIND, digits.encode())


def _needs_word(digits: str) -> bool | None:
    """None for a number that no network gives out."""
    answers = [
        needs_word
        for low, high, lengths, needs_word in _RANGES
        if len(digits) in lengths and low <= digits[: len(low)] <= high
    ]
    return min(answers) if answers else None


def _is_test_number(digits: str) -> bool:
    return digits in _TEST_NUMBERS or digits.startswith(_TEST_PREFIXES) or len(set(digits)) <= 3
