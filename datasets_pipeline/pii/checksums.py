"""Check digits of published schemes, over strings of ASCII digits (and letters where said)."""

import re

_LETTERS = {chr(code): str(code - 55) for code in range(65, 91)}


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B: payment cards."""
    total = 0
    for place, digit in enumerate(map(int, reversed(digits))):
        total += digit if place % 2 == 0 else (2 * digit - 9 if digit > 4 else 2 * digit)
    return total % 10 == 0


def mod_97(text: str) -> bool:
    """ISO 7064 MOD 97-10 as ISO 13616 applies it to an IBAN: capital letters and digits, first four characters last."""
    rearranged = text[4:] + text[:4]
    return int("".join(_LETTERS.get(character, character) for character in rearranged)) % 97 == 1


def mod_11_10(digits: str) -> bool:
    """ISO 7064 MOD 11,10, the last digit being the check: the German Steuer-ID."""
    product = 10
    for digit in map(int, digits[:-1]):
        total = (digit + product) % 10 or 10
        product = 2 * total % 11
    return (11 - product) % 10 == int(digits[-1])


def weighted(digits: str, weights: tuple[int, ...]) -> int:
    """Sum of digit times weight."""
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))


def digits_of(data: bytes) -> str:
    """The ASCII digits of some bytes."""
    return re.sub(rb"[^0-9]", b"", data).decode()
