"""Made-up sentences with labelled, checksummed numbers, for the kinds that no public set labels.

Every number is drawn with a fixed seed and given its own check digits by the code here, which shares none with
`datasets_pipeline/pii`. A third of the sentences hold a decoy: the same shape with a wrong check digit, a date, a
version, an order number; nothing is labelled there.
"""

import random
import string
from collections.abc import Callable

Labelled = dict[str, object]
"""text, and spans as [[start, end, kind]] in characters."""

SEED = 20
BASE62 = string.ascii_letters + string.digits


def made_up(num_each: int = 100) -> list[Labelled]:
    """num_each sentences of every generator, and half as many decoys."""
    chosen = random.Random(SEED)
    rows: list[Labelled] = []
    for kind, make, sentences in _GENERATORS:
        for _ in range(num_each):
            before, after = chosen.choice(sentences).split("{}")
            value = make(chosen)
            rows.append({"text": f"{before}{value}{after}", "spans": [[len(before), len(before) + len(value), kind]]})
    for _ in range(num_each * len(_GENERATORS) // 2):
        before, after = chosen.choice(_DECOY_SENTENCES).split("{}")
        rows.append({"text": before + chosen.choice(_DECOYS)(chosen) + after, "spans": []})
    chosen.shuffle(rows)
    return rows


def _digits(chosen: random.Random, count: int) -> str:
    return "".join(chosen.choice(string.digits) for _ in range(count))


def _luhn_digit(body: str) -> str:
    doubled = [int(c) * (2 if place % 2 == 0 else 1) for place, c in enumerate(reversed(body))]
    return str(-sum(value // 10 + value % 10 for value in doubled) % 10)


def _card(chosen: random.Random) -> str:
    prefix, length = chosen.choice(
        (("4", 16), ("53", 16), ("2345", 16), ("37", 15), ("6011", 16), ("36", 14), ("3540", 16))
    )
    body = prefix + _digits(chosen, length - 1 - len(prefix))
    number = body + _luhn_digit(body)
    if length == 16 and chosen.random() < 0.6:
        return chosen.choice((" ", "-")).join(number[i : i + 4] for i in range(0, 16, 4))
    return number


_IBAN_BODIES: dict[str, Callable[[random.Random], str]] = {
    "DE": lambda c: _digits(c, 18),
    "FR": lambda c: _digits(c, 23),
    "GB": lambda c: "".join(c.choice(string.ascii_uppercase) for _ in range(4)) + _digits(c, 14),
    "ES": lambda c: _digits(c, 20),
    "IT": lambda c: c.choice(string.ascii_uppercase) + _digits(c, 22),
    "NL": lambda c: "ABNA" + _digits(c, 10),
    "PL": lambda c: _digits(c, 24),
    "PT": lambda c: _digits(c, 21),
    "AT": lambda c: _digits(c, 16),
    "CH": lambda c: _digits(c, 17),
}


def _iban(chosen: random.Random) -> str:
    country = chosen.choice(sorted(_IBAN_BODIES))
    body = _IBAN_BODIES[country](chosen)
    number = int("".join(str(int(c, 36)) for c in body + country + "00"))
    iban = f"{country}{98 - number % 97:02d}{body}"
    return " ".join(iban[i : i + 4] for i in range(0, len(iban), 4)) if chosen.random() < 0.5 else iban


def _ssn(chosen: random.Random) -> str:
    area = chosen.choice([n for n in range(1, 900) if n != 666])
    return f"{area:03d}-{chosen.randint(1, 99):02d}-{chosen.randint(1, 9999):04d}"


def _nhs(chosen: random.Random) -> str:
    while True:
        body = _digits(chosen, 9)
        check = 11 - sum(int(c) * w for c, w in zip(body, range(10, 1, -1), strict=True)) % 11
        if check != 10:
            number = body + str(check % 11)
            return f"{number[:3]} {number[3:6]} {number[6:]}" if chosen.random() < 0.5 else number


def _nino(chosen: random.Random) -> str:
    letters = chosen.choice(("AB", "CE", "JK", "PR", "SH", "TW", "ZX"))
    parts = [letters, *(f"{chosen.randint(0, 99):02d}" for _ in range(3)), chosen.choice("ABCD")]
    return (" " if chosen.random() < 0.5 else "").join(parts)


def _steuer_id(chosen: random.Random) -> str:
    while True:
        digits = chosen.sample(string.digits, 9)
        digits.insert(chosen.randrange(10), chosen.choice(digits))
        if digits[0] != "0":
            break
    product = 10
    for digit in digits:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    number = "".join(digits) + str((11 - product) % 10)
    return f"{number[:2]} {number[2:5]} {number[5:8]} {number[8:]}" if chosen.random() < 0.5 else number


def _nir(chosen: random.Random) -> str:
    parts = [
        chosen.choice("12"),
        f"{chosen.randint(40, 99)}",
        f"{chosen.randint(1, 12):02d}",
        f"{chosen.randint(1, 95):02d}",
    ]
    parts += [f"{chosen.randint(1, 990):03d}", f"{chosen.randint(1, 999):03d}"]
    parts.append(f"{97 - int(''.join(parts)) % 97:02d}")
    return (" " if chosen.random() < 0.5 else "").join(parts)


def _dni(chosen: random.Random) -> str:
    letters = "TRWAGMYFPDXBNJZSQVHLCKE"
    if chosen.random() < 0.5:
        number = chosen.randint(1_000_000, 99_999_999)
        return f"{number:08d}{chosen.choice(('', '-'))}{letters[number % 23]}"
    lead, number = chosen.randrange(3), chosen.randint(0, 9_999_999)
    return f"{'XYZ'[lead]}{number:07d}{letters[(lead * 10_000_000 + number) % 23]}"


def _codice_fiscale(chosen: random.Random) -> str:
    tens = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21)
    rest = (2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
    odd = dict(zip(string.digits + string.ascii_uppercase, (*tens, *tens, *rest), strict=True))
    body = "".join(chosen.choice("BCDFGLMNPRSTVZ") for _ in range(6)) + f"{chosen.randint(30, 99)}"
    body += (
        chosen.choice("ABCDEHLMPRST")
        + f"{chosen.randint(1, 31):02d}"
        + chosen.choice("ABCDEFGHIL")
        + _digits(chosen, 3)
    )
    total = sum(odd[c] if place % 2 == 0 else int(c, 36) - (10 if c.isalpha() else 0) for place, c in enumerate(body))
    return body + string.ascii_uppercase[total % 26]


def _nif(chosen: random.Random) -> str:
    body = chosen.choice("1235") + _digits(chosen, 7)
    remainder = sum(int(c) * w for c, w in zip(body, range(9, 1, -1), strict=True)) % 11
    number = body + str(0 if remainder < 2 else 11 - remainder)
    return f"{number[:3]} {number[3:6]} {number[6:]}" if chosen.random() < 0.4 else number


def _bsn(chosen: random.Random) -> str:
    while True:
        body = chosen.choice("12345678") + _digits(chosen, 7)
        check = sum(int(c) * w for c, w in zip(body, range(9, 1, -1), strict=True)) % 11
        if check < 10:
            return body + str(check)


def _pesel(chosen: random.Random) -> str:
    body = f"{chosen.randint(40, 99)}{chosen.randint(1, 12):02d}{chosen.randint(1, 28):02d}{_digits(chosen, 4)}"
    total = sum(int(c) * w for c, w in zip(body, (1, 3, 7, 9) * 3, strict=False))
    return body + str(-total % 10)


def _phone(chosen: random.Random) -> str:
    def d(count: int) -> str:
        return _digits(chosen, count)

    return chosen.choice(
        (
            lambda: f"+49 30 {chosen.randint(2, 8)}{d(6)}",
            lambda: f"0171 {chosen.randint(2, 9)}{d(6)}",
            lambda: f"+33 6 {chosen.randint(10, 60)} {d(2)} {d(2)} {d(2)}",
            lambda: f"01 4{d(1)} {d(2)} {d(2)} {d(2)}",
            lambda: f"+44 20 7{chosen.randint(1, 8)}{d(2)} {d(4)}",
            lambda: f"(212) {chosen.randint(2, 4)}{d(2)}-{d(4)}",
            lambda: f"415-{chosen.randint(6, 9)}{d(2)}-{d(4)}",
            lambda: f"+34 91 {chosen.randint(2, 8)}{d(2)} {d(2)} {d(2)}",
            lambda: f"+39 06 {chosen.randint(4, 8)}{d(3)} {d(4)}",
            lambda: f"+31 20 {chosen.randint(2, 7)}{d(2)} {d(4)}",
            lambda: f"+48 22 {chosen.randint(3, 8)}{d(2)} {d(2)} {d(2)}",
            lambda: f"0048 22 {chosen.randint(3, 8)}{d(2)} {d(2)} {d(2)}",
            lambda: f"+351 21 {chosen.randint(2, 4)}{d(2)} {d(4)}",
        )
    )()


def _api_key(chosen: random.Random) -> str:
    def b(count: int, alphabet: str = BASE62) -> str:
        return "".join(chosen.choice(alphabet) for _ in range(count))

    return chosen.choice(
        (
            lambda: "AKIA" + b(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
            lambda: "ghp_" + b(36),
            lambda: "glpat-" + b(20),
            lambda: f"xoxb-{_digits(chosen, 12)}-{_digits(chosen, 12)}-{b(24)}",
            lambda: "AIza" + b(35),
            lambda: "sk_live_" + b(24),
            lambda: "sk-proj-" + b(48),
            lambda: "npm_" + b(36),
            lambda: f"eyJ{b(33)}.eyJ{b(60)}.{b(43)}",
        )
    )()


def _named_secret(chosen: random.Random) -> str:
    return "".join(chosen.choice(BASE62 + "+/") for _ in range(chosen.choice((32, 40, 44))))


def _private_key(chosen: random.Random) -> str:
    lines = ["".join(chosen.choice(BASE62 + "+/") for _ in range(64)) for _ in range(12)]
    name = chosen.choice(("RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY"))
    return "\n".join([f"-----BEGIN {name}-----", *lines, f"-----END {name}-----"])


def _password(chosen: random.Random) -> str:
    return "".join(chosen.choice(BASE62 + "!$%_-") for _ in range(chosen.randint(8, 16)))


def _ipv6(chosen: random.Random) -> str:
    return "2a00:" + ":".join(f"{chosen.randint(0x1000, 0xFFFF):x}" for _ in range(7))


def _ipv4(chosen: random.Random) -> str:
    parts = (chosen.choice((81, 91, 134, 185, 212)), *(chosen.randint(1, 254) for _ in range(3)))
    return ".".join(map(str, parts))


_GENERATORS: tuple[tuple[str, Callable[[random.Random], str], tuple[str, ...]], ...] = (
    ("payment_card", _card, ("Please charge {} today.", "The card {} was declined", "Kartennummer {}\n", "{} 12/29")),
    ("bank_account", _iban, ("IBAN: {}", "Bitte auf {} überweisen.", "Virement sur le compte {}, merci")),
    ("national_id", _ssn, ("My SSN is {}.", "Social security number: {}", "{} is on the form")),
    ("national_id", _nhs, ("NHS number {}", "The patient's NHS no. is {}.")),
    ("national_id", _nino, ("National Insurance number: {}", "NI number {} please")),
    ("national_id", _steuer_id, ("Steuer-ID: {}", "Meine Identifikationsnummer lautet {}.", "IdNr. {}")),
    ("national_id", _nir, ("Numéro de sécurité sociale : {}", "NIR {} de l'assuré")),
    ("national_id", _dni, ("DNI {}", "con NIF {} y domicilio en Madrid", "NIE: {}.")),
    ("national_id", _codice_fiscale, ("Codice fiscale: {}", "il sottoscritto, C.F. {}, dichiara")),
    ("national_id", _nif, ("NIF: {}", "contribuinte n.º {}")),
    ("national_id", _bsn, ("BSN: {}", "Het burgerservicenummer is {}.")),
    ("national_id", _pesel, ("PESEL: {}", "nr PESEL {}, zamieszkały w Krakowie")),
    ("phone", _phone, ("Call me at {}.", "Tel. {}", "Telefon: {}, werktags", "Mon téléphone est le {}", "fax {}")),
    ("api_key", _api_key, ("export KEY={}", 'token = "{}"', "Authorization: Bearer {}\n", "we leaked {} last night")),
    ("api_key", _named_secret, ('client_secret: "{}"', "API_KEY={}\n", "aws_secret_access_key = {}")),
    ("private_key", _private_key, ("key.pem:\n{}\n", "{}")),
    ("password", _password, ("postgres://app:{}@db.salt-quay.org/main", "https://deploy:{}@git.salt-quay.org/x.git")),
    ("ip_address", _ipv6, ("The host {} is down", "from [{}]:443")),
    ("ip_address", _ipv4, ("The host {} is down", "ping {}, please")),
)  # fmt: skip

_DECOYS: tuple[Callable[[random.Random], str], ...] = (
    lambda c: (n := _card(c))[:-1] + str((int(n[-1]) + 1) % 10),
    lambda c: (n := _iban(c))[:-1] + str((int(n[-1]) + 1) % 10),
    lambda c: (n := _pesel(c))[:-1] + str((int(n[-1]) + 1) % 10),
    lambda c: _digits(c, c.choice((9, 10, 11, 14))),
    lambda c: (
        f"{c.randint(2000, 2030)}-{c.randint(1, 12):02d}-{c.randint(1, 28):02d} {c.randint(10, 23)}:{c.randint(10, 59)}"
    ),
    lambda c: f"v{c.randint(1, 30)}.{c.randint(0, 30)}.{c.randint(0, 30)}.{c.randint(0, 30)}",
    lambda c: "".join(c.choice("0123456789abcdef") for _ in range(c.choice((32, 40, 64)))),
    lambda c: f"{c.randint(1, 999)},{_digits(c, 3)},{_digits(c, 3)}.{_digits(c, 2)}",
    lambda c: f"{_digits(c, 8)}-{_digits(c, 4)}-4{_digits(c, 3)}-8{_digits(c, 3)}-{_digits(c, 12)}",
    lambda c: f"{c.randint(1900, 1999)}-{c.randint(2000, 2030)}",
    lambda c: f"ISBN 978-{c.randint(0, 9)}-{_digits(c, 4)}-{_digits(c, 4)}-{_digits(c, 1)}",
)
_DECOY_SENTENCES = (
    "Order {} has left the quay.",
    "See {} for details.",
    "commit {}\n",
    "id={}",
    "The build {} is green.",
)
