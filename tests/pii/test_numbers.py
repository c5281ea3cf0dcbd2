"""Telephone, card, account and identity numbers: what is one, where exactly, and what only looks like one."""

import time

import pytest

from datasets_pipeline.pii import checksums
from tests.pii.places import found_in, values_in


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ring +49 30 901820 now", ["+49 30 901820"]),
        ("+49 (0)30 901820", ["+49 (0)30 901820"]),
        ("(+33 6 12 34 51 78)", ["+33 6 12 34 51 78"]),
        ("0048 22 694 75 00", ["0048 22 694 75 00"]),
        ("<tel:+442072193000>", ["+442072193000"]),
        ("(212) 736-5000, 415-701-2311 or 212.736.5000", ["(212) 736-5000", "415-701-2311", "212.736.5000"]),
        (
            "01 42 76 40 40 ou 01\u00a042\u00a076\u00a040\u00a041",
            ["01 42 76 40 40", "01\u00a042\u00a076\u00a040\u00a041"],
        ),
        ("(030) 901820", ["(030) 901820"]),
        ("0171/2345907", ["0171/2345907"]),
        ("Tel. 912 365 478", ["912 365 478"]),
        ("telefon: 512 365 478", ["512 365 478"]),
        ("Handy 01712345907", ["01712345907"]),
        ("☎ Telefon (Zentrale): 030 901820", ["030 901820"]),
        ("fax 212-736-5000x123", ["212-736-5000x123"]),
        ("电话+49 30 901820。", ["+49 30 901820"]),
        ("call us at 4157012311, cell: 2127365000", ["4157012311", "2127365000"]),
        ("you can call me on 020 7219 3000", ["020 7219 3000"]),
        ("phone us (030 901820)", ["030 901820"]),
        ("Fax : ( 617 ) 880 - 3456", ["617 ) 880 - 3456"]),
    ],
)
def test_telephone_numbers_are_found_with_their_exact_bytes(text: str, found: list[str]) -> None:
    assert found_in("phone", text) == found


@pytest.mark.parametrize(
    "text",
    [
        "", "2024-01-02 10:30", "1999-2004", "12345678", "3.14159265358", "order 9123456789", "1,234,567,890",
        "10.1.2.3", "call 81.2.69.142", "call 2024-01-02", "id=2127365000", "/2127365000/", "abc2127365000",
        "550e8400-e29b-41d4-a716",
        "(212) 555-0123", "+1 212 555 0123", "020 7946 0123", "tel 123-456-7890", "+49 1", "+999 30 901820",
        "Molecular Cell 173:221-233 (2018). Call for papers", "Cell 36:611\u2013623 (2016), tel",
        "| call tree | 7833101 |", "DOI: 10.1016/j.cell.2018.02.058, PMID: 29551271", "Mobile DNA 6. PMID: 26435754",
        "a call to poll() <td>2147483647</td>", "phone 4294967295",
        "00 01 02 03 04 05 06 07", "978-3-16-148410-0", "0.30901820", "1700000000", "tel 1700000000000000",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_telephone_number_is_left_alone(text: str) -> None:
    assert found_in("phone", text) == []


def test_digits_between_no_break_spaces_are_read_in_linear_time() -> None:
    found_in("phone", "Tel. 030 901820")
    start = time.process_time()
    assert found_in("phone", "\u00a01" * 1_000_000) == []
    assert time.process_time() - start < 15  # with time in the square about 30 s


def test_a_national_and_an_international_spelling_have_one_value() -> None:
    assert values_in("phone", "Tel. 030 901820, +49 30 901820, 0049 30 901820") == [b"+4930901820"] * 3


def test_only_the_chosen_countries_have_national_numbers() -> None:
    text = "(212) 736-5000 and Tel. 512 365 478 and +49 30 901820"
    assert found_in("phone", text, countries=("PL",)) == ["512 365 478", "+49 30 901820"]
    assert found_in("phone", "(212) 555-0123", reserved=True) == ["(212) 555-0123"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pay 4539 1488 0343 6467 now", ["4539 1488 0343 6467"]),
        ("4539-1488-0343-6467;", ["4539-1488-0343-6467"]),
        ("4539148803436467", ["4539148803436467"]),
        ("4539148803436467 12/29", ["4539148803436467"]),
        ("3714 496353 98440", []),
        ("3782 822463 10005", []),
        ("3700 000000 00002", []),
        ("3456 789012 34564", ["3456 789012 34564"]),
        ("card 6762 1234 5678 9010", ["6762 1234 5678 9010"]),
        ("6762 1234 5678 9010", []),
        ("4539148803436468", []),
        ("9539148803436467", []),
        ("0.4539148803436467", []),
        ("3333333344444444 4455555555556666", []),
        ("1234 4539 1488 0343 6467", []),
        ("4539 1488 0343 6467 1234", []),
        ("id-4539148803436467a", []),
        ("ca-pub-4539148803436467", []),
        ("4111 1111 1111 1111, 4242424242424242, 5555-5555-5555-4444", []),
    ],
)
def test_card_numbers_have_an_issuer_a_length_and_a_check_digit(text: str, found: list[str]) -> None:
    assert found_in("payment_card", text) == found


def test_test_cards_are_found_when_asked_for() -> None:
    text = "4111 1111 1111 1111, 378282246310005"
    assert found_in("payment_card", text, reserved=True) == text.split(", ")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("IBAN DE02 1203 0000 0000 2020 51.", ["DE02 1203 0000 0000 2020 51"]),
        ("DE02120300000000202051", ["DE02120300000000202051"]),
        ("(FR76 3000 6000 0112 3456 7890 188)", []),
        ("BE71 0961 2345 6769 oder", ["BE71 0961 2345 6769"]),
        ("GB98MIDL07009312345678", ["GB98MIDL07009312345678"]),
        ("MT31MALT01100000000000000000123", ["MT31MALT01100000000000000000123"]),
        ("my iban is de02120300000000202051", ["de02120300000000202051"]),
        ("de02120300000000202051", []),
        ("DE03120300000000202051", []),
        ("DE0212030000000020205", []),
        ("DE021203000000002020511", []),
        ("XX02120300000000202051", []),
        ("xDE02120300000000202051", []),
        ("DE89 3704 0044 0532 0130 00", []),
    ],
)
def test_account_numbers_have_their_countrys_length_and_check_digits(text: str, found: list[str]) -> None:
    assert found_in("bank_account", text) == found


def test_examples_of_the_registry_are_found_when_asked_for() -> None:
    assert found_in("bank_account", "DE89 3704 0044 0532 0130 00", reserved=True) == ["DE89 3704 0044 0532 0130 00"]
    assert values_in("bank_account", "DE02 1203 0000 0000 2020 51") == [b"DE02120300000000202051"]


# Numbers that public descriptions of each scheme cite; wrong ones differ in a character.
@pytest.mark.parametrize(
    ("words", "number", "wrong", "stands_alone"),
    [
        ("SSN", "536-22-8726", "666-22-8726", True),
        ("SSN", "536228726", "900228726", False),
        ("NHS number", "401 023 2137", "401 023 2138", False),
        ("National Insurance number", "CE 12 34 56 A", "QQ 12 34 56 A", True),
        ("NI number", "CE123456A", "BG123456A", False),
        ("Steuer-ID", "26954371827", "26954371828", False),
        ("Identifikationsnummer", "26 954 371 827", "26 954 371 826", False),
        ("NIR", "1 85 05 78 006 084 91", "1 85 05 78 006 084 92", True),
        ("NIR", "185057800608491", "185137800608491", True),
        ("DNI", "54362315K", "54362315L", False),
        ("DNI", "54362315-K", "54362315-T", True),
        ("NIE", "X2482300W", "X2482300A", True),
        ("codice fiscale", "MRTMTT91D08F205J", "MRTMTT91D08F205K", True),
        ("NIF", "501 442 600", "501 442 601", False),
        ("BSN", "111222333", "111222334", False),
        ("PESEL", "02070803628", "02070803627", False),
    ],
)
def test_identity_numbers_are_told_by_check_digits_and_words(
    words: str, number: str, wrong: str, stands_alone: bool
) -> None:
    assert found_in("national_id", f"{words}: {number}.") == [number]
    assert found_in("national_id", f"{words}: {wrong}.") == []
    assert found_in("national_id", f"the crate {number} left") == ([number] if stands_alone else [])
    assert found_in("national_id", f"{words}: 9{number}7") == []


def test_identity_numbers_of_other_countries_are_left_alone() -> None:
    text = "PESEL 02070803628, SSN 536-22-8726"
    assert found_in("national_id", text, countries=("PL",)) == ["02070803628"]
    assert found_in("national_id", text, countries=()) == []


@pytest.mark.parametrize("text", ["SSN 123-45-6789", "SSN 078-05-1120", "DNI 12345678Z", "CF RSSMRA85T10A562S"])
def test_published_examples_are_left_alone_unless_asked_for(text: str) -> None:
    assert found_in("national_id", text) == []
    assert found_in("national_id", text, reserved=True) == [text.split()[1]]


def test_check_digits_follow_their_published_examples() -> None:
    assert checksums.luhn("79927398713") and not checksums.luhn("79927398710")  # ISO/IEC 7812 as widely cited
    assert checksums.mod_97("GB82WEST12345698765432") and not checksums.mod_97("GB82WEST12345698765433")
    assert checksums.mod_11_10("86095742719") and not checksums.mod_11_10("86095742718")
